"""Print the structure of the engine in numbers, or ``--drawing`` its rooms: ``python bench/structure.py``.

Rooms are the folders and single files of ``bakeoff/``; an arrow is a room that imports another one, a floor the longest
way down. Names, sizes and annotations are counted in the whole engine.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
ENGINE = ROOT / "bakeoff"
PRONOUNS = frozenset("one found told said asked kept given there known wanted made own held near".split())  # noqa: SIM905
MODULE_LINES, FUNCTION_LINES, PARAMETERS, DOCSTRING = 450, 60, 7, 72
Function = ast.FunctionDef | ast.AsyncFunctionDef


def modules() -> dict[Path, ast.Module]:
    """Return the parsed modules of the engine."""
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(ENGINE.rglob("*.py"))}


def room(path: Path) -> str:
    """Return the folder or file of the engine in which *path* lies; a program stands on the top of its folder."""
    first = path.relative_to(ENGINE).parts[0].removesuffix(".py")
    return f"python -m bakeoff.{first}" if path.name == "__main__.py" else first


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the rooms that a module imports, also within functions and for types alone."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "bakeoff":
            names = [f"bakeoff.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        for name in names:
            if name.startswith("bakeoff."):
                yield name.split(".")[1]


def arrows() -> dict[str, set[str]]:
    """Return for each room the rooms that it imports; the version in the package itself does not count."""
    graph: dict[str, set[str]] = {}
    for path, tree in modules().items():
        if path == ENGINE / "__init__.py":
            continue
        targets = graph.setdefault(room(path), set())
        targets |= set(imported(tree)) - {room(path), "__version__"}
    return graph


def climbing(graph: dict[str, set[str]]) -> list[tuple[str, str]]:
    """Return the arrows that lie on a circle: whichever way the rooms are stacked, one of them climbs."""

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for target in graph.get(waiting.pop(), ()):
                if target not in seen:
                    seen.add(target)
                    waiting.append(target)
        return seen

    below = {name: reach(name) for name in graph}
    return sorted((a, b) for a, targets in graph.items() for b in targets if a in below.get(b, ()))


def floors(graph: dict[str, set[str]]) -> dict[str, int]:
    """Return the floor of each room, the lowest being 1; arrows on a circle are passed over."""
    circle = set(climbing(graph))
    level: dict[str, int] = {}

    def of(name: str) -> int:
        if name not in level:
            targets = [b for b in graph.get(name, ()) if (name, b) not in circle]
            level[name] = 1 + max(map(of, targets), default=0)
        return level[name]

    for name in graph:
        of(name)
    return level


def direct(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return *graph* without the arrows that a longer way implies; it has no circle."""
    below: dict[str, set[str]] = {}

    def reach(name: str) -> set[str]:
        if name not in below:
            below[name] = set()  # ends the search where there is a circle after all
            below[name] = {target for other in graph.get(name, ()) for target in ({other} | reach(other))}
        return below[name]

    return {
        name: {b for b in targets if not any(b in reach(other) for other in targets - {b})}
        for name, targets in graph.items()
    }


def floors_of_the_map() -> dict[str, list[str]]:
    """Return the rooms of each floor, in the order of the table in docs/architecture.md."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms, table = set(arrows()), re.findall(r"^\| ([a-z ]+) \| (`.*?) \| .*\|$", text, re.MULTILINE)
    return {
        floor: [name for name in re.findall(r"`(\w+)/?`", cell) if name in rooms] for floor, cell in table
    }


def drawing() -> str:
    """Return the rooms and their imports as a Mermaid flowchart; an import that another one implies is left out."""
    graph = {name: targets for name, targets in arrows().items() if not name.startswith("python -m")}
    lines = ["flowchart TB"]
    placed = floors_of_the_map()
    for number, (floor, names) in enumerate(reversed(placed.items())):
        lines.append(f'  subgraph floor{number}["{floor}"]')
        lines += [f'    {name}["{name}"]' for name in names if name in graph]
        lines.append("  end")
    order = [name for names in placed.values() for name in names]
    shortened = direct(graph)
    for name in reversed(order):
        lines += [f"  {name} --> {target}" for target in order if target in shortened.get(name, ())]
    return "\n".join(lines)


def _bound(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name


def _signatures(functions: list[Function]) -> tuple[int, int]:
    """Return how many signatures name Any, and how many there are."""
    texts = [ast.unparse(function).partition(":\n")[0] for function in functions]
    return sum("Any" in text for text in texts), len(texts)


def measure() -> dict[str, str]:
    """Return every number by its name."""
    trees, graph = modules(), arrows()
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in trees}
    functions = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, Function)]
    long = [f for f in functions if (f.end_lineno or f.lineno) - f.lineno + 1 > FUNCTION_LINES]
    many = [f for f in functions if _parameters(f) > PARAMETERS]
    names = Counter(name for tree in trees.values() for name in _bound(tree))
    pronouns = sum(count for name, count in names.items() if name in PRONOUNS)
    any_count, signatures = _signatures(functions)
    documented = [ast.get_docstring(node) for node in (*trees.values(), *functions)]
    first_lines = [text.splitlines()[0] for text in documented if text]
    dicts = sum(path.read_text(encoding="utf-8").count("dict[str, Any]") for path in trees)
    large = [str(path.relative_to(ROOT)) for path, count in lines.items() if count > MODULE_LINES]
    return {
        "modules": str(len(trees)),
        "rooms": str(len(graph)),
        "arrows between rooms": str(sum(map(len, graph.values()))),
        "floors": str(max(floors(graph).values())),
        "arrows that climb": ", ".join(f"{a} -> {b}" for a, b in climbing(graph)) or "none",
        f"modules over {MODULE_LINES} lines": ", ".join(large) or "none",
        f"functions over {FUNCTION_LINES} lines": str(len(long)),
        f"functions with more than {PARAMETERS} parameters": str(len(many)),
        "lines of conftest.py": str(len((ROOT / "conftest.py").read_text(encoding="utf-8").splitlines())),
        "signatures with Any": f"{any_count / signatures:.1%} of {signatures}",
        "dict[str, Any]": str(dicts),
        "pronoun-like names": f"{pronouns / sum(names.values()):.1%} of {sum(names.values())}",
        f"first docstring lines over {DOCSTRING} characters": str(
            sum(len(line) > DOCSTRING for line in first_lines)
        ),
    }


def _parameters(function: Function) -> int:
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return sum(argument.arg not in ("self", "cls") for argument in every)


if __name__ == "__main__":
    if "--drawing" in sys.argv[1:]:
        print(drawing())
    else:
        for name, value in measure().items():
            print(f"{name:<48} {value}")
