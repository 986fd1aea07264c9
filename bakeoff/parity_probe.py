"""Measures one variant of a row from inside its environment.

How prompts are rendered, and what the merge holds.

``python -m bakeoff.parity_probe check plan.json`` writes the file that the plan names as ``output``. The plan
is made, and the answer judged, by :mod:`bakeoff.chain.parity`; this program and :mod:`bakeoff.probes` only measure, and
need nothing else of the package, so that they run in any environment with ms-swift (or, for rendering with a tokenizer
alone, transformers).

``python -m bakeoff.parity_probe view --model M --folder F --template T …`` makes F a copy of the model folder
M (by links) whose tokenizer renders as ms-swift's template T does, for engines that ask the tokenizer.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

if not __package__:
    # Started as a file by another Python: this folder must not pass its modules for that environment's, and what is
    # installed beside the project must not be found at all.
    _HERE = Path(__file__).resolve().parent
    sys.path[:] = [place for place in sys.path if Path(place).resolve() != _HERE]
    _PACKAGE = ModuleType("bakeoff")
    _PACKAGE.__path__ = [str(_HERE)]
    sys.modules["bakeoff"] = _PACKAGE

from bakeoff.probes.loading import PLUGIN_FLAGS, has_asked_for_card, import_ahead, use_hub
from bakeoff.probes.rendering import render
from bakeoff.probes.replies import Subject, behaviour
from bakeoff.probes.tokenizers import tell_tokenizers_apart
from bakeoff.probes.views import view
from bakeoff.probes.weights import first_changed, merge

ALONE = "BAKEOFF_PROBE_ALONE"
"""In the environment: each fork imports for itself."""


def main(argv: list[str]) -> int:
    """Carry out ``check`` or ``view``."""
    if argv[0] == "view":
        flags = _flags(argv[1:])
        use_hub(flags.get("use_hf") == "true")
        model, folder = flags.pop("model"), str(flags.pop("folder"))
        view(folder, {"model": model, "model_type": flags.get("model_type"), "options": flags})
        return 0
    plan = json.loads(Path(argv[1]).read_text(encoding="utf-8"))
    use_hub(bool(plan.get("use_hf")))
    seconds: dict[str, float] = {}
    answer: dict[str, Any] = {"renders": {}, "seconds": seconds}
    if ALONE not in os.environ and "transformers" not in sys.modules:
        with _timed("imports", seconds):
            import_ahead([*plan["renders"].values(), *([plan["view"]["how"]] if plan.get("view") else [])])
        if has_asked_for_card():  # its forks could not any more: begin again, and let each import for itself
            os.environ[ALONE] = "1"
            os.execv(sys.executable, sys.orig_argv)
    if plan.get("view"):
        with _timed("view", seconds):
            _apart(lambda: view(**plan["view"]))
    for name, how in plan["renders"].items():
        with _timed(f"render {name}", seconds):
            answer["renders"][name] = _apart(
                partial(render, how, plan["dialogues"], prompts=plan.get("prompts") or {})
            )
    tell_tokenizers_apart(answer["renders"])
    if plan.get("tuned"):
        answer["tuned"] = {"changed": first_changed(**plan["tuned"])}
    if plan.get("merge"):
        with _timed("merge", seconds):
            answer["merge"] = merge(**plan["merge"])
    if plan.get("behaviour"):
        rendered = answer["renders"]["trained"]["dialogues"]
        prompts = {name: rendered[name]["ids"] for name in plan["asked"]}
        try:
            with _timed("behaviour", seconds):
                answer["behaviour"] = behaviour(prompts, Subject(**plan["behaviour"]))
        except Exception as error:
            # a model's own code may only work as ms-swift calls it, and a card may be too small after all
            if not plan["behaviour"]["trust_remote_code"] and "out of memory" not in str(error).lower():
                raise
            answer["behaviour"] = {"skipped": f"{type(error).__name__}: {error}"[:300]}
    Path(plan["output"]).write_text(json.dumps(answer, ensure_ascii=False, indent=1), encoding="utf-8")
    return 0


@contextmanager
def _timed(part: str, seconds: dict[str, float]) -> Iterator[None]:
    """Add what a part of the work takes to *seconds*, and print it."""
    began = time.monotonic()
    try:
        yield
    finally:
        seconds[part] = round(seconds.get(part, 0.0) + time.monotonic() - began, 2)
        print(f"parity: {part}: {seconds[part]:.1f} s", flush=True)


def _flags(argv: list[str]) -> dict[str, str | list[str]]:
    """``--name value …`` pairs by name; several values become a list."""
    pairs: dict[str, list[str]] = {}
    for part in argv:
        if part.startswith("--"):
            name = part[2:]
            pairs[name] = []
        else:
            pairs[name].append(part)
    return {name: values if name in PLUGIN_FLAGS else " ".join(values) for name, values in pairs.items()}


def _apart(measure: Callable[[], Mapping[str, object]]) -> dict[str, Any]:
    """Measure in a fork: a plugin of one render must not reach the next."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(reading)
            with os.fdopen(writing, "w", encoding="utf-8") as file:
                json.dump(measure(), file)
            code = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as file:
        text = file.read()
    _, status = os.waitpid(pid, 0)
    if status:
        raise SystemExit("a render failed; its traceback stands above")
    return dict(json.loads(text))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
