"""Asks one suite or all suites of a plan, or shows results.

``python -m bakeoff.evalscope eval …``: EvalScope's own command line with our benchmarks, and two options more:
``--limit-total N`` and ``--key-env NAME`` (the environment variable that holds the service's key).
``python -m bakeoff.evalscope perf …``: EvalScope's own, likewise.
``python -m bakeoff.evalscope letters --model … --api-url … --suite … --work-dir …``: one suite by log-probabilities.
``python -m bakeoff.evalscope run plan.json``: all suites of one model in one process.
``python -m bakeoff.evalscope dashboard store/models``: EvalScope's own viewer on what is there.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bakeoff.evalscope.commands import evaluation_plan, spread
from bakeoff.evalscope.loading import prepared_afresh
from bakeoff.evalscope.types import EvaluationPlan
from bakeoff.evalscope.worker import run
from bakeoff.foundation.errors import BakeoffError, MatrixError, ScoreError, ToolError
from bakeoff.foundation.sentences import restored


def _own_options(argv: list[str]) -> tuple[list[str], argparse.Namespace]:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--limit-total", type=int)
    parser.add_argument("--key-env")
    ours, rest = parser.parse_known_args(argv)
    return rest, ours


def _evalscope(verb: str, argv: list[str]) -> None:
    """Run EvalScope's own *verb* with our benchmarks and checks."""
    rest, ours = _own_options(argv)
    if ours.key_env and ours.key_env not in os.environ:
        raise MatrixError(f"--key-env: the environment has no {ours.key_env}")
    from evalscope.api.benchmark import DefaultDataAdapter
    from evalscope.cli.cli import run_cmd
    from evalscope.models.openai_compatible import OpenAICompatibleAPI

    from bakeoff.evalscope.asking import AskingAPI
    from bakeoff.suites import register

    register()
    OpenAICompatibleAPI.handle_bad_request = AskingAPI.handle_bad_request
    if verb == "perf":
        _measure_uncounted_replies()
    if ours.limit_total is not None:
        load = DefaultDataAdapter.load_dataset

        def limited(adapter: Any) -> Any:
            datasets = load(adapter)
            taken = spread({name: len(datasets[name]) for name in datasets.keys()}, ours.limit_total)  # noqa: SIM118
            for name, count in taken.items():
                datasets[name] = datasets[name][:count]
            return datasets

        DefaultDataAdapter.load_dataset = limited
    key = ["--api-key", os.environ[ours.key_env]] if ours.key_env else []
    sys.argv = ["evalscope", verb, *rest, *key]
    local = any('"local_path"' in option for option in rest)
    with prepared_afresh() if local else contextlib.nullcontext():
        run_cmd()


def _measure_uncounted_replies() -> None:
    """Go on where a reply has no count of its tokens.

    EvalScope would end the whole measurement; see :mod:`bakeoff.evalscope.streamed` for what becomes of such a reply.
    """
    from evalscope.perf.plugin.api.openai_api import OpenaiPlugin

    parse = OpenaiPlugin.parse_responses

    def parsed(plugin: OpenaiPlugin, *arguments: object, **options: object) -> tuple[int, int]:
        try:
            prompt, completion = parse(plugin, *arguments, **options)
        except ValueError:
            return 0, 0
        return prompt or 0, completion or 0

    OpenaiPlugin.parse_responses = parsed


def gather_for_dashboard(root: Path, folder: Path) -> list[str]:
    """Lay the latest results out for EvalScope's viewer; return their names.

    The files are hard links: what the viewer deletes is gone from its folder only.
    """
    latest: dict[Path, tuple[int, Path]] = {}
    for path in root.rglob("result.json"):
        if (path.parent / "reports").is_dir():
            suite, written = path.parent.parent, path.stat().st_mtime_ns
            latest[suite] = max(latest.get(suite, (0, path.parent)), (written, path.parent))
    names = []
    for suite, (_, results) in sorted(latest.items()):
        names.append("-".join(part for part in suite.relative_to(root).parts if part != "evaluation"))
        shutil.copytree(results, folder / names[-1], copy_function=_link)
    return names


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def _dashboard(argv: list[str]) -> None:
    """Show the results under a folder in EvalScope's viewer.

    It has no login, so it listens on the loopback address only.
    """
    parser = argparse.ArgumentParser(prog="python -m bakeoff.evalscope dashboard")
    parser.add_argument("root", type=Path, help="store/models, or the folder of one evaluation")
    parser.add_argument("--port", type=int, default=9000)
    options = parser.parse_args(argv)
    if importlib.util.find_spec("flask") is None:
        raise ToolError("the viewer needs an extra: pip install 'evalscope[app]'")
    with tempfile.TemporaryDirectory(prefix="dashboard-") as folder:
        if not gather_for_dashboard(options.root, Path(folder)):
            raise ScoreError(f"{options.root}: no evaluation has finished below it")
        from evalscope.cli.cli import run_cmd

        sys.argv = [
            "evalscope",
            "service",
            "--host",
            "127.0.0.1",
            "--port",
            str(options.port),
            "--outputs",
            folder,
        ]
        run_cmd()


def _letters(argv: list[str]) -> EvaluationPlan:
    """The plan of one suite that is scored by log-probabilities."""
    parser = argparse.ArgumentParser(prog="python -m bakeoff.evalscope letters", allow_abbrev=False)
    parser.add_argument("--model", required=True, help="the name at the service")
    parser.add_argument("--api-url", required=True, help="…/v1 of an OpenAI-compatible service")
    parser.add_argument("--key-env", help="environment variable that holds the service's key")
    parser.add_argument("--in-flight", type=int, default=8)
    parser.add_argument("--timeout-s", type=float, default=120.0)
    parser.add_argument("--suite", type=json.loads, required=True, help="the suite, as in plan.json")
    parser.add_argument("--work-dir", required=True)
    options = parser.parse_args(argv)
    plan = evaluation_plan(
        options.api_url,
        options.model,
        (),
        Path(options.work_dir),
        data_dirs={},
        weights="",
        answers_as="*",
        in_flight=options.in_flight,
        key_env=options.key_env,
        timeout_s=options.timeout_s,
    )
    Path(options.work_dir).mkdir(parents=True, exist_ok=True)
    plan["suites"] = [options.suite]
    return plan


def main(argv: Sequence[str]) -> int:
    """Carry out one verb; 0 when a suite has a result, trusted or not."""
    verb, *rest = argv or ("",)
    try:
        if verb in ("eval", "perf"):
            _evalscope(verb, rest)
        elif verb == "dashboard":
            _dashboard(rest)
        elif verb == "letters" or (verb == "run" and len(rest) == 1):
            plan = (
                _letters(rest) if verb == "letters" else json.loads(Path(rest[0]).read_text(encoding="utf-8"))
            )
            results = run(restored(plan))
            for name, result in results.items():
                if why := result.get("error"):
                    print(f"{name}: broken: {why}")
                    continue
                total = result["scores"][0]
                value = "no score" if total["value"] is None else f"{total['value']:.4f}"
                print(
                    f"{name}: {total['metric']} {value}, {json.dumps(result['ledger'])} {result['why_not']}".rstrip()
                )
        else:
            print(__doc__, file=sys.stderr)
            return 2
    except BakeoffError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2 if isinstance(error, MatrixError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
