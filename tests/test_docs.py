"""Documents cannot lag: what they show is held against the program."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from bakeoff.matrix.loading import parse_matrix
from bakeoff.matrix.yaml_text import _Loader
from bakeoff.runs import plan

ROOT = Path(__file__).parents[1]
SPEC = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
assert SPEC
assert SPEC.loader
generate = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(generate)


@pytest.mark.parametrize("name", sorted(generate.MADE))
def test_generated_documents_are_what_the_program_says_today(name: str) -> None:
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == generate.MADE[name](), (
        "run: python docs/generate.py"
    )


def documents() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_every_option_in_the_documents_exists(run_pytest: Callable[..., Any]) -> None:
    known = set(re.findall(r"--[a-z][a-z-]+", run_pytest("--help").stdout))
    shown = {
        option
        for path in (ROOT / "README.md", ROOT / "docs" / "usage.md")
        for line in re.findall(r"pytest [^\n|]*", path.read_text(encoding="utf-8"))
        for option in re.findall(r"--[a-z][a-z-]+", line)
    }
    assert shown
    assert not shown - known


def test_every_option_of_ours_is_documented() -> None:
    text = (ROOT / "docs" / "usage.md").read_text(encoding="utf-8")
    ours = re.findall(r'add\("(--[a-z-]+)"', (ROOT / "fixtures" / "options.py").read_text(encoding="utf-8"))
    assert ours
    assert [option for option in ours if option not in text] == []
    assert [marker for marker in plan.MARKERS if marker not in text] == []


def test_every_room_of_the_engine_is_on_the_map() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = {
        f"`{path.stem}`" if path.is_file() else f"`{path.name}/`"
        for path in (ROOT / "bakeoff").iterdir()
        if path.suffix == ".py" or (path / "__init__.py").is_file()
    }
    assert sorted(room for room in rooms - {"`__init__`"} if room not in text) == []


def test_make_targets_in_the_documents_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    shown = {
        target
        for path in documents()
        for target in re.findall(r"`?make ([a-z]+(?:-[a-z]+)*)\b[ `\n]", path.read_text(encoding="utf-8"))
        if f"`make {target}" in path.read_text(encoding="utf-8")
        or f"\nmake {target}" in path.read_text(encoding="utf-8")
    }
    assert {"smoke", "test"} <= shown
    assert not shown - targets


def test_torch_comes_from_the_index_that_the_user_names() -> None:
    def installs(*given: str) -> str:
        line = ["make", "--dry-run", "--always-make", ".venv/.ready", *given]
        env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "TORCH_INDEX")}
        return subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout

    assert "--extra-index-url https://example.org/cpu torch\n" in installs(
        "TORCH_INDEX=https://example.org/cpu"
    )
    assert "--extra-index-url" not in installs()


def test_links_between_documents_lead_somewhere() -> None:
    for path in documents():
        for link in re.findall(r"\]\((?!http)([^)#]+)\)", path.read_text(encoding="utf-8")):
            assert (path.parent / link).exists(), f"{path}: {link}"


def test_the_shipped_matrix_fits_its_schema() -> None:
    jsonschema = pytest.importorskip(
        "jsonschema", reason="jsonschema comes with evalscope's or gradio's needs"
    )
    raw = yaml.load((ROOT / "model_matrix.yaml").read_text(encoding="utf-8"), Loader=_Loader)
    jsonschema.validate(
        raw, json.loads((ROOT / "docs" / "model_matrix.schema.json").read_text(encoding="utf-8"))
    )


def test_the_example_of_the_matrix_s_page_is_a_matrix() -> None:
    page = (ROOT / "docs" / "matrix.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    raw = yaml.load(example, _Loader)
    assert set(parse_matrix(raw).models) == set(raw["models"])
    for definition in generate.PARTS.values():
        assert [
            name for name in definition.model_fields if name != "name" and f"| `{name}` |" not in page
        ] == []


def blocks(page: str, kind: str) -> list[str]:
    """The code blocks of a page whose first line says *kind*."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_every_example_of_training_data_is_a_dialogue(tmp_path: Path) -> None:
    from bakeoff.training_data.health import check_dataset

    examples = blocks("your-data.md", "jsonl training")
    assert len(examples) == 4
    for number, example in enumerate(examples):
        file = tmp_path / f"{number}.jsonl"
        file.write_text(example, encoding="utf-8")
        health = check_dataset(file, max_length=3072)
        assert (health.rows, health.kept, health.ends_on_client) == (1, 1, 0), health.dropped


@pytest.mark.parametrize("name", ["choice_exam", "pceb_mcq", "psyqa"])
def test_every_example_of_an_exam_is_a_question_of_its_format(tmp_path: Path, name: str) -> None:
    from bakeoff.start.examples import look_at_exam

    (example,) = blocks("your-data.md", f"jsonl {name}")
    (tmp_path / "exam.jsonl").write_text(example, encoding="utf-8")
    look = look_at_exam(tmp_path)
    assert (look.count, look.format) == (1, name)


def test_the_example_of_a_case_is_a_case(tmp_path: Path) -> None:
    from bakeoff.judgement.replies import load_cases

    (example,) = blocks("your-data.md", "jsonl cases")
    file = tmp_path / "cases.jsonl"
    file.write_text(example, encoding="utf-8")
    assert len(load_cases(file)) == 1


def test_the_examples_of_matrices_in_the_pages_of_the_first_hour_are_matrices() -> None:
    (whole,) = blocks("first-run.md", "yaml")
    assert parse_matrix(yaml.load(whole, _Loader)).models["mine"].training.packing
    (suites,) = blocks("your-data.md", "yaml")
    raw = {
        **yaml.load(suites, _Loader),
        "models": {"m": {"model": "me/mine", "tune": False, "suites": ["my_exam"]}},
    }
    assert parse_matrix(raw).suites["my_exam"].benchmark == "choice_exam"


def test_every_command_in_the_pages_of_the_first_hour_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The programs' own parsers read the lines; `new` and `demo` are run, with files that the pages describe."""
    from bakeoff.__main__ import MODULES

    pages = [
        ROOT / "README.md",
        *(ROOT / "docs" / name for name in ("first-run.md", "your-data.md", "study.md")),
    ]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    shown = re.findall(r"^bakeoff ([a-z-]+)(.*?)(?:  +#.*)?$", text, re.MULTILINE)
    assert {command for command, _ in shown} >= {"new", "demo", "run", "doctor", "judge", "report"}
    assert {command for command, _ in shown} <= {*MODULES, "run", "doctor"}
    from bakeoff.start import demo, new
    from judge.options import parser as judge

    for command, rest in shown:
        words = rest.split()
        if command == "judge":
            judge().parse_args(words)
        elif command == "demo":
            demo.parser().parse_args(words)
        elif command in ("run", "doctor"):
            assert {word for word in words if word.startswith("--")} <= {"--dry-run", "--live-port"}
    monkeypatch.chdir(tmp_path)
    for name in ("training", "choice_exam", "cases"):
        (row,) = re.findall(rf"```jsonl {name}\n(.*?)\n```", text, re.DOTALL)[:1]
        place = {"training": "mine.jsonl", "choice_exam": "my_exam/questions.jsonl", "cases": "cases.jsonl"}[
            name
        ]
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text(row, encoding="utf-8")
    shutil.copy(tmp_path / "cases.jsonl", tmp_path / "my_cases.jsonl")
    for rest in (rest for command, rest in shown if command == "new"):
        asked = rest.replace("/data/", "").split()
        assert new.main([*asked, "--yes", "--force", "--lang", "en"]) == 0, capsys.readouterr().out
        (tmp_path / "model_matrix.yaml").unlink(missing_ok=True)


def test_a_study_needs_the_cases_that_its_page_names() -> None:
    from bakeoff.statistics.study import outlook

    page = (ROOT / "docs" / "study.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d) \| (\d+) \| (\d+) raters and (\d+) cases \|", page, re.MULTILINE)
    assert len(rows) == 3
    for models, fewest, raters, cases in rows:
        view = outlook(32, int(models))
        assert view.fewest_cases == int(fewest)
        assert view.plan
        assert view.plan[:2] == (int(raters), int(cases))


def test_the_examples_of_containers_and_actions_call_what_there_is() -> None:
    """They are parsed, and each command of theirs is held against the project; no container is built here."""
    folder = ROOT / "docs" / "examples"
    lines = (folder / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line.strip() and not line.startswith("#")]
    known = {"FROM", "ARG", "ENV", "RUN", "WORKDIR", "COPY", "USER", "ENTRYPOINT", "CMD"}
    assert {name for name, _ in steps} <= known
    assert steps[0][0] == "FROM"
    assert json.loads(dict(steps)["ENTRYPOINT"]) == ["bakeoff"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {
        extra for line in lines for found in re.findall(r"'\.\[(.*?)\]'", line) for extra in found.split(",")
    }
    assert extras
    assert extras <= set(project["optional-dependencies"])
    assert "bakeoff" in project["scripts"]

    action = yaml.safe_load((folder / "github-action.yml").read_text(encoding="utf-8"))
    commands = [step["run"] for step in action["jobs"]["smoke"]["steps"] if "run" in step]
    assert [command.split()[0] for command in commands] == ["make", ".venv/bin/pytest", ".venv/bin/pytest"]
    options = {option for command in commands for option in re.findall(r"--[a-z-]+", command)}
    assert options <= {"--doctor", "--rows", "--html"}
