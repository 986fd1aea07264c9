"""What a run will do: its cases, their order, and its command lines."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import groupby
from pathlib import Path
from typing import Any

from bakeoff.chain.chain import Bench, Chain
from bakeoff.chain.needs import why_unmet
from bakeoff.environments.building import interpreter, swift_version
from bakeoff.environments.installed import names_in_source, near_templates, nearest
from bakeoff.forms.published import TINY as PUBLISHED
from bakeoff.forms.published import why_refused
from bakeoff.foundation.command import Command
from bakeoff.foundation.errors import Complaint, MatrixError
from bakeoff.foundation.sentences import Template
from bakeoff.foundation.suggestions import IS_IT, NEAREST, suggestion
from bakeoff.foundation.workspace import Workspace
from bakeoff.matrix.complaints import why_no_place
from bakeoff.matrix.loading import read_matrix
from bakeoff.matrix.schema import Matrix, ModelSpec
from bakeoff.matrix.seeds import is_further_seed, needs_no_merge
from bakeoff.runs.expected import expected
from bakeoff.store.stage import Line
from bakeoff.tiny import TINY
from bakeoff.tools import swift

LEFT_OUT = Template(
    "runs.plan.left_out",
    "left out by --rows {choice}",
    zh="未包含在 --rows {choice} 中",
    en="not in --rows {choice}",
)
TINY_LEFT_OUT = Template(
    "runs.plan.tiny_left_out",
    "left out because a full-size row can run here; --rows smoke runs the tiny ones",
    zh="本机可运行正式模型，故未运行微型模型；用 --rows smoke 运行",
    en="not run because full-size models can run here; --rows smoke runs the tiny ones",
)
NOT_TRAINED = Template(
    "runs.plan.not_trained",
    "{row} starts from what exists already: nothing is trained",
    zh="{row} 使用现成的权重，无需训练",
    en="{row} uses existing weights: no training needed",
)

NO_RECIPE = Template(
    "runs.plan.no_recipe", "there is no tiny recipe {recipe!r}", zh="没有微型模型的配方 {recipe!r}"
)
NOT_IN_SWIFT = Template(
    "runs.plan.not_in_swift",
    "the ms-swift of environment {environment!r} does not know {value!r}",
    zh="环境 {environment!r} 的 ms-swift 没有 {value!r}",
)

MARKERS = {
    "train": "LoRA fine-tuning (guide, section 2)",
    "export": "merged weights (section 3)",
    "deploy": "service health (section 4)",
    "eval": "EvalScope suites (section 5)",
    "judge": "replies for human and model judgement (section 6)",
    "speed": "serving speed",
}
"""The stages, as pytest markers, in the order of the guide."""

NARROWING = {
    "expecting": "only for suites of which the matrix expects an outcome",
    "merging": "only for variants that are served as a merge of base and adapter",
}
"""Markers that narrow a test to the cases that it has a question for."""


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
    """Whether a ``-m`` expression names stages, and so means ``benchmarks/``.

    A name in the wrong case, or nearly right, is meant for them, too: there it is answered with the right one.
    """
    words = [word.lower() for word in re.findall(r"\w+", expression)]
    similar = (get_close_matches(word, MARKERS, n=1, cutoff=0.7) for word in words)
    return any(word.startswith(tuple(MARKERS)) for word in words) or any(similar)


def load(path: Path, data_dir: Path | None, workspace: Workspace) -> Matrix:
    """The matrix in *path*, checked against installed tools and data.

    Raises:
        MatrixError: with every mistake.
    """
    from bakeoff.evalscope import check_settings, check_suite

    matrix, complaints = read_matrix(path)
    used = {name for spec in matrix.models.values() for name in spec.suites}
    for suite in (suite for name, suite in matrix.suites.items() if name in used):
        folder = suite.folder(data_dir)
        # Data that this machine lacks is a reason to skip; a path that is written out or mistyped is a mistake.
        lacks = suite.why_no_data(data_dir) and (suite.data is None or suite.data.startswith("data:"))
        skipped = lacks and not (folder and _mistyped(folder))
        complaints += check_settings(suite) if skipped else check_suite(suite, folder)
    for spec in matrix.models.values():
        complaints += _unknown_names(spec, matrix, workspace)
    if complaints:
        raise MatrixError(complaints, matrix.source)
    return matrix


def _unknown_names(spec: ModelSpec, matrix: Matrix, workspace: Workspace) -> Iterator[str]:
    if spec.tiny is not None and spec.tiny not in {*TINY, *PUBLISHED}:
        hint = suggestion(spec.tiny, (*TINY, *PUBLISHED))
        yield Complaint(f"{spec.name}.model", NO_RECIPE(recipe=spec.tiny), hint)
    if why_no_place(spec.model or ""):
        return  # told already; there is nothing to look into
    if why := why_refused(spec.model or "", trusts_code=spec.trust_remote_code):
        yield Complaint(f"{spec.name}.model", why)
    if spec.url or {"external_plugins", "custom_register_path"} & set(spec.training.extra):
        return  # nothing of ours renders its prompts, or a plugin of the user's may register what it likes
    roles = [spec.environment.train] + [spec.environment.serve] * (spec.serving.engine == "transformers")
    for name in dict.fromkeys(roles):
        environment, root = matrix.environments.get(name), workspace.environments
        if environment is None or (python := interpreter(environment, root)) is None:
            continue
        version = swift_version(environment, root) or swift.NEWEST
        line = swift.export(spec, checkpoint=Path(), base="", output=Path(), version=version)
        for key, names in (names_in_source(python) or {}).items():
            value = line.value_of(f"--{key}")
            if value is not None and value not in names and value not in swift.OWN_TEMPLATES:
                meant = nearest(value, sorted(names))
                near = [repr(each) for each in get_close_matches(value, names, 3, 0)]
                hint = IS_IT(names=[repr(meant)]) if meant else NEAREST(names=near)
                if key == "template":
                    hint = near_templates(value, python, spec.model or "")
                yield Complaint(f"{spec.name}.{key}", NOT_IN_SWIFT(environment=name, value=value), hint)


def _mistyped(folder: Path) -> bool:
    """Whether a folder of nearly this name lies where *folder* does not."""
    beside = [path.name for path in folder.parent.iterdir()] if folder.parent.is_dir() else []
    return bool(get_close_matches(folder.name, beside, cutoff=0.8))


def cases(
    matrix: Matrix,
    parameters: Sequence[str],
    data_dir: Path | None,
    marks: Collection[str] = (),
    *,
    elsewhere: bool = False,
) -> list[Case]:
    """Every combination of model, variant and suite that a test runs for.

    Of the marks, ``export`` and those of :data:`NARROWING` count. What runs *elsewhere* need not be able to run here.
    """
    combinations = []
    for spec in matrix.models.values():
        unmet = "" if elsewhere else why_unmet(spec, matrix)
        if ("export" in marks and needs_no_merge(spec)) or ("judge" in marks and is_further_seed(spec)):
            continue
        if parameters == ["model"]:
            combinations.append(Case((spec.name,), unmet or _why_not_trained(spec)))
            continue
        for variant in spec.variants:
            if "merging" in marks and not _merges(spec, variant):
                continue
            if "suite" not in parameters:
                combinations.append(Case((spec.name, variant), unmet))
                continue
            combinations += [
                Case((spec.name, variant, suite.name), unmet or suite.why_no_data(data_dir) or "")
                for suite in matrix.suites_of(spec)
                if "expecting" not in marks or suite.expect.of(variant)
            ]
    return combinations


def _merges(spec: ModelSpec, variant: str) -> bool:
    return variant == "tuned" and spec.serving.way == "merged" and not (spec.weights or spec.url)


def left_out(matrix: Matrix, runnable: Collection[str], choice: str) -> dict[str, str]:
    """The rows that ``--rows`` *choice* leaves out, each with the reason.

    Args:
        runnable: rows that are selected and can run here.
        choice: smoke, full or auto (full where such a row can run, everything where none can).
    """
    why: str = LEFT_OUT(choice=choice)
    if choice == "auto":
        if not any(matrix.models[name].group == "full" for name in runnable):
            return {}
        choice, why = "full", TINY_LEFT_OUT()
    return {name: why for name, spec in matrix.models.items() if spec.group != choice}


def _why_not_trained(spec: ModelSpec) -> str:
    return "" if spec.trains else NOT_TRAINED(row=spec.name)


def order(matrix: Matrix, params: Mapping[str, Any], marks: Sequence[str]) -> tuple[int, int, int, int]:
    """A test's place: by row, then base before tuned, then stage, then suite.

    A service stays up until the last test of its variant, and a training has its card to itself: so it comes first.
    """
    if "model" not in params:
        return (-1, 0, 0, 0)
    stage = next((number for number, name in enumerate(MARKERS) if name in marks), len(MARKERS))
    variant = params.get("variant", "")
    phase = {"": 0, "base": 1, "tuned": 2}[variant]
    suites = list(matrix.suites)
    suite = suites.index(params["suite"]) if "suite" in params else -1
    return (list(matrix.models).index(params["model"]), phase, stage, suite)


def expected_seconds(matrix: Matrix, workspace: Workspace, data_dir: Path | None = None) -> dict[str, float]:
    """How long each row may take, as last time or guessed by its work."""
    bench = Bench.at_rest(matrix, workspace, data_dir)
    return {name: expected(Chain(spec, bench), matrix.models).seconds for name, spec in matrix.models.items()}


def dry_run(
    matrix: Matrix, rows: Sequence[str], workspace: Workspace, data_dir: Path | None
) -> Iterator[str]:
    """Every command line of *rows*, in order and ready to paste."""
    bench = Bench.at_rest(matrix, workspace, data_dir)
    for name in rows:
        chain = Chain(matrix.models[name], bench)
        yield f"\n# == {name}" + (
            f"  (skipped here: {why})" if (why := why_unmet(chain.spec, matrix)) else ""
        )
        lender = chain.spec.weights_of if chain.spec.weights_of in rows else None
        if lender:
            yield f"# trained and merged as {lender}, above"
        for title, lines in groupby(_lines(chain, lender), key=lambda line: line.title):
            yield f"# {title}"
            yield from ("# " * line.instead + str(line.command) for line in lines)


def _lines(chain: Chain, lender: str | None = None) -> Iterator[Line]:
    """Yield the lines that build missing environments, then the stages.

    Those of *lender* are left out.
    """
    spec, bench = chain.spec, chain.bench
    for name in dict.fromkeys(name for _, name in spec.environment if not spec.url):
        if interpreter(bench.matrix.environments[name], bench.workspace.environments) is None:
            matrix = str(Path(bench.matrix.source).absolute())
            places = ("--matrix", matrix, "--store", str(bench.workspace.root))
            command = Command((sys.executable, "-m", "bakeoff.environments", *places, name))
            yield Line(command=command, title=f"environment: {name} is not built yet (guide 0)")
    for stage in chain.stages():
        if stage.row != lender:
            yield from (replace(line, command=stage.command(line)) for line in stage.lines)
