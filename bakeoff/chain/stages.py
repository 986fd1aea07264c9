"""Every stage of a row as a value.

Its folder, its lines to paste, what decides it and how it is checked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from bakeoff import evalscope
from bakeoff.chain import parity as comparing
from bakeoff.chain.results import why_errored, why_unanswered, why_unmeasured, why_unreadable
from bakeoff.evalscope.speed import LEVELS
from bakeoff.forms.published import why_unbuilt
from bakeoff.foundation.command import CHECKPOINT, OUTPUT, Command
from bakeoff.foundation.provenance import digest, versions
from bakeoff.judgement.replies import MAX_TOKENS, load_cases
from bakeoff.matrix.schema import ModelSpec, Suite
from bakeoff.store.facts import (
    CommandFacts,
    ConversionFacts,
    EvaluationFacts,
    Facts,
    HealthFacts,
    ParityFacts,
    RepliesFacts,
    SpeedFacts,
    TrainingFacts,
)
from bakeoff.store.stage import OUTPUT_GONE, Limits, Line, Stage
from bakeoff.tools import checkpoints

if TYPE_CHECKING:
    from bakeoff.chain.chain import Chain

BY_HAND_PORT = 8000
"""The port in lines to paste, where the row names none."""


def of_row(chain: Chain) -> Iterator[Stage[Facts]]:
    """Yield every stage of a row, in their order."""
    spec = chain.spec
    yield from chain.origins.stages()
    if spec.tiny:
        yield build(chain)
    if chain.form_folder:
        yield convert(chain, chain.form_folder)
    if spec.trains:
        yield train(chain)
    if spec.tune and not (spec.url or spec.weights):
        yield export(chain)
    for variant in spec.variants:
        if not spec.url:
            yield parity(chain, variant)
        yield (served := deploy(chain, variant))
        for suite in chain.bench.matrix.suites_of(spec):
            yield evaluate(chain, variant, suite, served)
        yield replies(chain, variant, served)
        yield speed(chain, variant, served)


def build(chain: Chain) -> Stage[CommandFacts]:
    """Return the stage that builds a tiny base."""
    line = chain.build_command()
    assert line
    return Stage(
        name="build",
        row=chain.spec.name,
        folder=Path(chain.published_path()).parent,
        recipe=chain.tiny_recipe,
        inputs=lambda: {"versions": versions(("torch", "transformers"))},
        facts=CommandFacts,
        lines=(Line(command=line, title="base: build the tiny model"),),
        needs="build",
        limits=_limits(chain.spec, chain.spec.limits.export_s),
        why_broken=why_unbuilt
        if chain.form_folder
        else lambda output: checkpoints.why_truncated(output / "model.safetensors"),
    )


def convert(chain: Chain, folder: Path) -> Stage[ConversionFacts]:
    """Return the stage that keeps a base's native form in *folder*."""
    line = chain.convert_command()
    assert line
    return Stage(
        name="convert",
        row=chain.spec.name,
        folder=folder,
        recipe=chain.form_identity(),
        facts=ConversionFacts,
        lines=(Line(command=line, title="base: convert the published form into the native one"),),
        limits=_limits(chain.spec, chain.spec.limits.train_s),  # a hub's model is fetched first
        why_broken=checkpoints.why_weights_broken,
    )


def train(chain: Chain) -> Stage[TrainingFacts]:
    """Return the stage that trains the row's adapter."""
    spec = chain.spec
    recipe = {"train": _train_recipe(chain)}
    folder = train_folder(chain)
    line = chain.tools("train").within(chain.train_line())

    def inputs() -> dict[str, object]:
        datasets = [chain.origins.dataset_identity(dataset) for dataset in spec.dataset]
        return {
            "versions": chain.tools("train").versions,
            "inputs": {"base": chain.base().fingerprint, "dataset": datasets},
        }

    return Stage(
        name="train",
        row=spec.trained_as,
        folder=folder,
        recipe=recipe,
        inputs=cache(inputs),
        facts=TrainingFacts,
        lines=(Line(command=line, title="train (guide 2)", role="train"),),
        places={OUTPUT: folder / "output"},
        needs="train",
        limits=_limits(spec, spec.limits.train_s),
        why_broken=lambda output: checkpoints.why_unfinished(output, spec.training),
    )


def train_folder(chain: Chain) -> Path:
    """Return where the training of a row is kept."""
    return chain.bench.stages.folder("train", chain.spec.trained_as, {"train": _train_recipe(chain)})


def _train_recipe(chain: Chain) -> dict[str, str]:
    # A data file is known by its content, and here by the name that the matrix gives it: it may be moved.
    return chain.recipe_of(chain.train_line()) | {"dataset": " ".join(chain.origins.dataset_names())}


def export(chain: Chain) -> Stage[CommandFacts]:
    """Return the stage that merges the adapter into the base."""
    spec = chain.spec
    recipe, folder = _export_recipe(chain), export_folder(chain)
    line = chain.tools("train").within(chain.export_line())

    def inputs() -> dict[str, object]:
        return {
            "versions": chain.tools("train").versions,
            "inputs": {"base": chain.base().fingerprint, "adapter": chain.train().fingerprint},
        }

    return Stage(
        name="export",
        row=spec.trained_as,
        folder=folder,
        recipe=recipe,
        inputs=inputs,
        facts=CommandFacts,
        lines=(Line(command=line, title="export: merge the adapter (guide 3)", role="train"),),
        places={OUTPUT: folder / "output", CHECKPOINT: chain.checkpoint_path()},
        needs="export",
        limits=_limits(spec, spec.limits.export_s),
        why_broken=checkpoints.why_weights_broken,
    )


def export_folder(chain: Chain) -> Path:
    """Return where the merged weights of a row are kept."""
    return chain.bench.stages.folder("export", chain.spec.trained_as, _export_recipe(chain))


def _export_recipe(chain: Chain) -> dict[str, object]:
    adapter = chain.spec.adapter
    source = {"adapter": adapter} if adapter else {"train": _train_recipe(chain)}
    return {"export": chain.recipe_of(chain.export_line()), **source}


def parity_recipe(chain: Chain, variant: str, way: str) -> dict[str, object]:
    """Return what names the folder of a comparison.

    It precedes a service that is started the *way* it is.
    """
    spec = chain.spec
    return {
        "way": way,
        "engine": spec.serving.engine,
        "template": spec.template,
        "dated": spec.prompt_date,
        **chain.origins.commits(variant),
    }


def parity(chain: Chain, variant: str) -> Stage[ParityFacts]:
    """Return the stage that compares what is served with what was trained."""
    spec = chain.spec
    way = spec.serving.way
    other_way = "adapter" if way == "merged" else "merged"
    title = f"serve {variant}: with the chat template of the training"
    view = comparing.view_command(chain, variant)

    def inputs() -> dict[str, object]:
        plan = comparing.plan_for(chain, variant)
        return {
            "fingerprint": chain.fingerprint(variant),
            "plan": digest(chain.named(json.dumps(plan))),
            "probe": comparing.RULES,
            **({"beside": chain.train().fingerprint} if spec.serving.shared and variant == "base" else {}),
        }

    return Stage(
        name="parity",
        row=spec.name,
        variant=variant,
        folder=chain.parity_folder(variant, way),
        recipe=parity_recipe(chain, variant, way),
        inputs=inputs,
        recipe_counts=False,
        facts=ParityFacts,
        lines=(Line(command=view, title=title),) if view else (),
        needs="parity",
        limits=_limits(spec, spec.limits.export_s),
        output_name="parity.json",
        keeps=(chain.parity_folder(variant, other_way),),
    )


def deploy(chain: Chain, variant: str) -> Stage[HealthFacts]:
    """Return the stage that serves a variant and checks its health."""
    spec, first = chain.spec, chain.spec.variants[0]
    recipe = {
        "command": chain.recipe_of(chain.serve_command(variant, 0)),
        "url": spec.url,
    }
    health = Command(("curl", "--noproxy", "*", f"{by_hand_url(spec)}/models"))
    return Stage(
        name="deploy",
        row=spec.name,
        variant=variant,
        folder=chain.bench.stages.folder("deploy", spec.name, recipe, variant),
        recipe=recipe,
        inputs=lambda: {"fingerprint": chain.fingerprint(variant)},
        recipe_counts=False,
        facts=HealthFacts,
        lines=(*_serve_lines(chain, variant), Line(command=health, title="health check (guide 4)")),
        needs="serve",
        output_name="health.json",
        log=deploy(chain, first).log_file if spec.serving.shared and variant != first else None,
    )


def _serve_lines(chain: Chain, variant: str) -> Iterator[Line]:
    """Yield the line that serves *variant*, and those that could instead."""
    spec = chain.spec
    if spec.url:
        return
    port = spec.serving.port or BY_HAND_PORT
    instead = False
    for way, command in chain.serve_commands(variant, port).items():
        how = "in place of the line above" if instead else f"alone on port {port}; leave it running"
        if spec.serving.shared and variant != spec.variants[0]:
            instead, how = True, "which the line that serves base has started already"
        title = f"serve {variant}{way} (guide 4), {how}"
        yield Line(command=command, title=title, role="serve", instead=instead)
        instead = True


def by_hand_url(spec: ModelSpec) -> str:
    """Return the URL that recorded commands name.

    The run's own port was random and is released.
    """
    return spec.url or f"http://127.0.0.1:{spec.serving.port or BY_HAND_PORT}/v1"


def evaluate(
    chain: Chain, variant: str, suite: Suite, served: Stage[HealthFacts] | None = None
) -> Stage[EvaluationFacts]:
    """Return the stage that asks one suite of a variant.

    *served* is its deployment, where it is at hand.
    """
    spec, bench = chain.spec, chain.bench
    recipe = {"suite": suite.name, "in": (served or deploy(chain, variant)).folder.name}
    by_hand = bench.workspace.by_hand(spec.name, variant, suite.name)
    lacks = suite.why_no_data(bench.data_dir)
    title = f"evaluate {variant} (guide 5)"

    def inputs() -> dict[str, object]:
        data = suite.folder(bench.data_dir)
        datasets = chain.origins.dataset_arguments()
        return {
            "suite": suite.model_dump(
                exclude={"expect", "data", "hub", "may_be_untrusted", "interest", "margin"}
                | (set() if suite.scoring == "logprob" else {"scoring", "orders"})
            ),
            "data": bench.hashes.of(data) if data else f"hub:{suite.benchmark}",
            "fingerprint": chain.fingerprint(variant),
            "training": [bench.hashes.of(Path(path)) if Path(path).exists() else path for path in datasets],
            "grading_rules": evalscope.grading_rules(suite.scoring),
            "versions": versions(("evalscope",)),
        }

    return Stage(
        name="evaluate",
        row=spec.name,
        variant=variant,
        folder=bench.stages.folder(f"evaluate-{suite.name}", spec.name, recipe, variant),
        recipe=recipe,
        inputs=inputs,
        recipe_counts=False,
        facts=EvaluationFacts,
        lines=() if lacks else (Line(command=evaluate_line(chain, variant, suite), title=title),),
        limits=_limits(spec, spec.limits.evaluate_s),
        output_name="result.json",
        log=bench.workspace.evaluation(spec.name, variant) / "evaluation.log",
        keeps=(by_hand,),
        why_broken=why_unreadable,
        why_again=why_unanswered,
    )


def evaluate_line(chain: Chain, variant: str, suite: Suite) -> Command:
    """Return the line that evaluates *suite* at :func:`by_hand_url`."""
    spec, bench = chain.spec, chain.bench
    return evalscope.evaluate_command(
        by_hand_url(spec),
        spec.served_name(variant),
        suite,
        bench.workspace.by_hand(spec.name, variant, suite.name),
        data_dir=suite.folder(bench.data_dir),
        in_flight=spec.serving.in_flight,
        key_env=spec.key_env,
    )


def replies(chain: Chain, variant: str, served: Stage[HealthFacts] | None = None) -> Stage[RepliesFacts]:
    """Return the stage that gathers a variant's replies to the judge's cases."""
    spec, bench = chain.spec, chain.bench
    recipe = {
        "cases": [case.sha for case in load_cases(chain.bench.matrix.cases_file)],
        "max_tokens": MAX_TOKENS,
    }
    shared = bench.workspace.replies(spec.name, variant)
    # nothing is started for it: the service's log, or where somebody else serves, the timeline
    log = bench.stages.timeline.path if spec.url else (served or deploy(chain, variant)).log_file
    return Stage(
        name="replies",
        row=spec.name,
        variant=variant,
        folder=bench.stages.folder("replies", spec.name, recipe, variant),
        recipe=recipe,
        inputs=lambda: {"fingerprint": chain.fingerprint(variant)},
        facts=RepliesFacts,
        output_name="replies.jsonl",
        log=log,
        why_broken=lambda output: "" if output.exists() and shared.exists() else OUTPUT_GONE(),
        why_again=why_errored,
    )


def speed(chain: Chain, variant: str, served: Stage[HealthFacts] | None = None) -> Stage[SpeedFacts]:
    """Return the stage that measures how fast a variant is served."""
    spec = chain.spec
    recipe = {"levels": list(LEVELS), "in": (served or deploy(chain, variant)).folder.name}
    return Stage(
        name="speed",
        row=spec.name,
        variant=variant,
        folder=chain.bench.stages.folder("speed", spec.name, recipe, variant),
        recipe=recipe,
        inputs=lambda: {
            "fingerprint": chain.fingerprint(variant),
            "versions": versions(("evalscope",)),
        },
        facts=SpeedFacts,
        limits=_limits(spec, spec.limits.evaluate_s),
        output_name="result.json",
        why_broken=why_unreadable,
        why_again=why_unmeasured,
    )


def _limits(spec: ModelSpec, timeout_s: float) -> Limits:
    return Limits(timeout_s, spec.limits.stall_s, spec.limits.retries)
