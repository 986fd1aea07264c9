"""What is to be done, before anything is: the cases of a run, their order, and the lines a person could paste."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from bakeoff import memory, parity
from bakeoff.chain import Bench, Chain, why_unmet
from bakeoff.errors import MatrixError
from bakeoff.matrix import Matrix, ModelSpec
from bakeoff.provenance import ContentHashes
from bakeoff.runner import Runner
from bakeoff.stages import Stages, Timeline, read_record
from bakeoff.workspace import Workspace

MARKERS = {
    "train": "LoRA fine-tuning (guide, section 2)",
    "export": "merged weights (section 3)",
    "deploy": "service health (section 4)",
    "eval": "EvalScope suites (section 5)",
    "judge": "replies for human and model judgement (section 6)",
    "speed": "serving speed",
}
"""The stages, as pytest markers, in the order of the guide."""


@dataclass(frozen=True)
class Case:
    """One parametrization of a test: the values of the fixtures it asks for, and why it cannot run here."""

    values: tuple[str, ...]
    why_not: str = ""

    @property
    def model(self) -> str:
        """The row."""
        return self.values[0]


def names_a_stage(expression: str) -> bool:
    """Whether a ``-m`` expression speaks of stages, so that it means ``benchmarks/`` without naming it."""
    return bool(set(re.findall(r"\w+", expression)) & set(MARKERS))


def check(matrix: Matrix, data_dir: Path | None) -> None:
    """Hold the matrix against the installed tools and the data, before anything runs.

    Raises:
        MatrixError: with every mistake.
    """
    from bakeoff.evalscope import check_suite

    used = {name for spec in matrix.models.values() for name in spec.suites}
    complaints = [
        complaint
        for name, suite in matrix.suites.items()
        if name in used and not suite.why_no_data(data_dir)
        for complaint in check_suite(suite, suite.folder(data_dir))
    ]
    if complaints:
        raise MatrixError(complaints, matrix.source)


def cases(
    matrix: Matrix, wanted: Sequence[str], data_dir: Path | None, *, expecting: bool = False
) -> list[Case]:
    """Every combination of the fixtures *wanted* (of model, variant, suite) that a test is run for.

    With *expecting*, only the suites of which the matrix expects an outcome.
    """
    found = []
    for spec in matrix.models.values():
        unmet = why_unmet(spec)
        if wanted == ["model"]:
            found.append(Case((spec.name,), unmet or _why_not_trained(spec)))
            continue
        for variant in spec.variants:
            if "suite" not in wanted:
                found.append(Case((spec.name, variant), unmet))
                continue
            found += [
                Case((spec.name, variant, suite.name), unmet or suite.why_no_data(data_dir))
                for suite in matrix.suites_of(spec)
                if not expecting or suite.expect.of(variant)
            ]
    return found


def _why_not_trained(spec: ModelSpec) -> str:
    return "" if spec.trains else f"{spec.name} starts from what exists already: nothing is trained"


def order(matrix: Matrix, params: Mapping[str, Any], marks: Sequence[str]) -> tuple[int, int, int, int]:
    """A test's place: by row, then base before training before tuned, then by stage, then by suite."""
    if "model" not in params:
        return (-1, 0, 0, 0)
    stage = next((number for number, name in enumerate(MARKERS) if name in marks), len(MARKERS))
    variant = params.get("variant", "tuned" if stage > 1 else "")
    phase = {"base": 0, "": 1, "tuned": 2}[variant]
    suites = list(matrix.suites)
    suite = suites.index(params["suite"]) if "suite" in params else -1
    return (list(matrix.models).index(params["model"]), phase, stage, suite)


SECONDS_PER_BILLION = 3600.0
"""A guess at a row that was never run, per 1e9 parameters; only its order among others matters."""


def expected_seconds(matrix: Matrix, workspace: Workspace) -> dict[str, float]:
    """How long each row may take: what its stages took when they last ran, else a guess by the size of its model."""
    found = {}
    for name, spec in matrix.models.items():
        records = map(read_record, workspace.model(name).glob("*/record.json"))
        took = sum(record.seconds for record in records if record)
        shape = memory.shape_of(spec.model or "")
        billions = shape.parameters / 1e9 if shape else 7.0 if spec.group == "full" else 0.01
        found[name] = took or SECONDS_PER_BILLION * billions
    return found


def why_short_of_disk(matrix: Matrix, rows: Sequence[str], workspace: Workspace) -> str:
    """How the disk lacks room for those of *rows* that the store lacks, in words; empty where it does not."""
    new = [
        matrix.models[name] for name in rows if not any(workspace.model(name).glob("export-*/record.json"))
    ]
    shapes = [
        (spec, memory.shape_of(spec.model or "")) for spec in new if not spec.url and not why_unmet(spec)
    ]
    needed = sum(memory.disk_gib(shape, spec) for spec, shape in shapes if shape)
    return memory.why_short_of_disk(needed, workspace.root, ", ".join(spec.name for spec, _ in shapes))


def dry_run(
    matrix: Matrix, rows: Sequence[str], workspace: Workspace, data_dir: Path | None
) -> Iterator[str]:
    """Every command line of *rows*, in order, ready to paste; a comment says what each one is for."""
    runner = Runner(workspace.processes)
    stages = Stages(workspace, Timeline(workspace.root / "dry-run.jsonl"), may_run=False)
    bench = Bench(matrix, workspace, stages, runner, ContentHashes(workspace.cache / "hashes.json"), data_dir)
    for name in rows:
        chain = Chain(matrix.models[name], bench)
        yield f"\n# == {name}" + (f"  (skipped here: {why})" if (why := why_unmet(chain.spec)) else "")
        for title, steps in groupby(_steps(chain), key=lambda step: step[0]):
            yield f"# {title}"
            yield from (line for _, line in steps)


def _steps(chain: Chain) -> Iterator[tuple[str, str]]:
    from bakeoff import evalscope

    spec, bench = chain.spec, chain.bench
    if command := chain.build_command():
        yield "base: build the tiny model", str(command)
    if spec.trains:
        yield "train (guide 2)", str(chain.train_command())
    if not (spec.url or spec.weights or not spec.tune):
        yield "export: merge the adapter (guide 3)", str(chain.export_command())
    suites = [suite for suite in bench.matrix.suites_of(spec) if not suite.why_no_data(bench.data_dir)]
    port = spec.serving.port or 8000
    for variant in spec.variants:
        url = spec.url or f"http://127.0.0.1:{port}/v1"
        if view := parity.view_command(chain, variant):
            yield f"serve {variant}: with the chat template of the training", str(view)
        if not spec.url:
            ways = chain.serve_commands(variant, port)
            for title, command in ways.items():
                yield f"serve {variant}{title} (guide 4); leave it running", str(command)
        yield "health check (guide 4)", f"curl --noproxy '*' {url}/models"
        for suite in suites:
            line = evalscope.evaluate_command(
                url,
                spec.served_name(variant),
                suite,
                bench.workspace.model(spec.name) / "by-hand" / f"{variant}-{suite.name}",
                data_dir=suite.folder(bench.data_dir),
                in_flight=spec.serving.in_flight,
                key_env=spec.key_env,
            )
            yield f"evaluate {variant} (guide 5)", str(line)
