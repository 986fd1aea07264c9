"""Which weights gave which replies: digests followed from file to score.

The records of building, training and merging hold the digest of every file that they made. From these follow the
digests that the next stage names as its input, and the fingerprint under which a model was evaluated.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from bakeoff.foundation.provenance import WEIGHTS, digest
from bakeoff.matrix.loading import read_matrix
from bakeoff.matrix.schema import ModelSpec
from bakeoff.matrix.settings import TOOLS
from bakeoff.verify import words
from bakeoff.verify.audit import Audit
from bakeoff.verify.evidence import Evidence, Row, read_object
from bakeoff.verify.manifest import MATRIX

_RULE = "weights"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)/")
_LEFT_OUT = frozenset({"port", "in_flight", "ready_timeout_s", "restarts"})
_UNLESS_SET = frozenset({"deterministic", "shared"})


class _Made(NamedTuple):
    """Digests of what was made of a row: of the base, the adapter, and both merged; "" where not known."""

    base: str
    adapter: str
    merged: str


def check_weights(audit: Audit, evidence: Evidence) -> None:
    """Follow digests of weights from the records to the evaluations."""
    _check_alike(audit, evidence)
    path = evidence.tables / MATRIX
    if evidence.root is None or not path.is_file():
        return
    specs = read_matrix(path)[0].models
    stages: dict[str, dict[str, Row]] = defaultdict(dict)
    for stage in evidence.stages:
        if not stage.get("variant"):
            stages[str(stage["model"])][str(stage["stage"])] = stage
    made = {}
    for model, of_model in stages.items():
        if str(model) in specs:
            with audit.reading(f"weights of {model}"):
                made[model] = _made(audit, evidence, model, of_model)
    _check_fingerprints(audit, evidence, specs, made)


def _check_alike(audit: Audit, evidence: Evidence) -> None:
    """See that all stages of a model as it was served name the same weights."""
    first: dict[tuple[str, str], tuple[str, object]] = {}
    for stage in evidence.stages:
        stated = stage["identity"].get("fingerprint")
        if stated is None or not stage.get("variant"):
            continue
        place = (
            f"{stage['stage']} {stage['model']} {stage['variant']} {stage['facts'].get('suite', '')}".strip()
        )
        other, expected = first.setdefault((str(stage["model"]), str(stage["variant"])), (place, stated))
        audit.compare(_RULE, f"{place} fingerprint against {other}", stated, expected)


def _made(audit: Audit, evidence: Evidence, model: str, stages: Mapping[str, Row]) -> _Made:
    """Return the digests of what was made of a row, held against each other."""
    files = {name: _files(evidence, stage) for name, stage in stages.items()}
    # a published form is trained on as what it was converted into
    base = "convert" if "convert" in stages else "build"
    adapter, built = _adapter(files.get("train", {})), _content(files.get(base, {}))
    for name in ("train", "export"):
        inputs = stages[name]["identity"].get("inputs") if name in stages else None
        if not isinstance(inputs, Mapping):
            continue
        if built:
            audit.compare(_RULE, f"{name} {model} base", inputs.get("base"), built)
        if adapter and "adapter" in inputs:
            audit.compare(_RULE, f"{name} {model} adapter", inputs["adapter"], adapter)
    return _Made(built, adapter, _content(files.get("export", {})))


def _files(evidence: Evidence, stage: Row) -> dict[str, str]:
    """Return the digests that the record of a stage holds."""
    output = evidence.place(stage)
    path = output.with_name("record.json") if output else None
    if path is None or not path.is_file() or str(stage["output"]) in evidence.superseded:
        return {}
    return dict(read_object(path).get("made") or {})


def _content(files: Mapping[str, str]) -> str:
    """Return the digest of a folder of weights from those of its files."""
    named = [(name, sha) for name, sha in files.items() if _is_weight(name)]
    return digest(sorted(named)) if named else ""


def _is_weight(name: str) -> bool:
    return any(fnmatchcase(Path(name).name, pattern) for pattern in WEIGHTS)


def _adapter(files: Mapping[str, str]) -> str:
    """Return the digest of the last checkpoint of a training."""
    steps = {
        int(match[1]): match[0] for name in files if (match := _CHECKPOINT.match(name)) and _is_weight(name)
    }
    if not steps:
        return ""
    begin = steps[max(steps)]
    return _content({name[len(begin) :]: sha for name, sha in files.items() if name.startswith(begin)})


def _check_fingerprints(
    audit: Audit, evidence: Evidence, specs: Mapping[str, ModelSpec], made: Mapping[str, _Made]
) -> None:
    """Compute the fingerprint of each model anew from the digests of its weights.

    Other versions, and other engines, may compute it otherwise: where none of an engine's is as computed, that is
    told. One that is another model's is no matter of versions.
    """
    environments = evidence.run.get("provenance", {}).get("environments", {})

    def computed(spec: ModelSpec, row: _Made, variant: str) -> str:
        served = [row.base]
        if variant != "base":
            served = [row.base, row.adapter] if spec.serving.way == "adapter" else [row.merged]
        if spec.url or spec.weights or not row.base or not all(served):
            return ""  # what a hub or somebody's folder holds is not known
        versions = environments.get(spec.environment.serve, {}).get("versions", {})
        return fingerprint_of(spec, served, versions)

    own = {name: spec for name, spec in specs.items() if name in made}
    anybody = {
        computed(spec, row, variant)
        for spec in own.values()
        for row in made.values()
        for variant in ("base", "tuned")
    }
    engines: dict[str, Audit] = defaultdict(Audit)
    sound: set[str] = set()
    for stage in evidence.stages:
        model, variant = str(stage["model"]), str(stage["variant"])
        expected = computed(own[model], made[model], variant) if model in own else ""
        if stage["stage"] != "deploy" or not expected:
            continue
        stated, engine = str(stage["identity"].get("fingerprint")), str(own[model].serving.engine)
        engines[engine].compare(_RULE, f"deploy {model} {variant} fingerprint", stated, expected)
        if stated in anybody:
            sound.add(engine)
    for engine, part in engines.items():
        if engine in sound:
            audit.add(part)
        else:
            audit.note(words.OTHER_FINGERPRINTS(engine=engine))


def fingerprint_of(spec: ModelSpec, served: Sequence[str], versions: Mapping[str, str]) -> str:
    """Return the digest of all that decides the replies of a model.

    *served*: digests of the weights; *versions*: of the packages that were installed.
    """
    unset = {name for name in _UNLESS_SET if not getattr(spec.serving, name)}
    return digest(
        {
            "weights": list(served),
            "template": spec.template,
            "model_type": spec.model_type,
            "dtype": spec.training.dtype,
            "serving": spec.serving.model_dump(exclude={*_LEFT_OUT, *unset}),
            "prompt_date": spec.prompt_date,
            "versions": {name: versions[name] for name in TOOLS if name in versions},
        }
    )
