"""Values of a row that are well formed, and that no run could use."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydantic import BaseModel

from bakeoff.matrix.complaints import of_folder, shown, why_no_place
from bakeoff.matrix.datasets import is_local_model
from bakeoff.matrix.schema import Matrix, ModelSpec

LARGEST = 2**31 - 1
"""What the tools take as a number of steps, tokens or seconds."""
MAY_BE_EMPTY = ("prelude", "revision")  # of a revision it is said elsewhere what can be one
OF_SELECTION = ("and", "or", "not")
"""Words of ``pytest -k``, which could select no row of such a name."""
OURS = {
    "training": ("model", "dataset", "output_dir", "adapters", "resume_from_checkpoint", "add_version"),
    "serving": (
        "model",
        "adapters",
        "port",
        "host",
        "server_name",
        "server_port",
        "served_model_name",
    ),
}
"""Flags that the harness sets by itself; another value would lead around what it records."""

_PLACES = ("model", "weights", "adapter")


def of_places(matrix: Matrix) -> Iterator[str]:
    """Yield which paths of suites and cases nothing could be read from."""
    for suite in matrix.suites.values():
        if suite.data and (why := why_no_place(suite.data)):
            yield f"suites.{suite.name}.data: {why}"
    if matrix.cases is None or (file := matrix.cases_file) is None:
        return
    if why := why_no_place(matrix.cases):
        yield f"cases: {why}"
    elif matrix.cases.startswith("shipped:"):
        yield "cases: the shipped cases are what is taken where none are given; take 'cases' out"
    elif file.is_dir():
        inside = [path.name for path in sorted(file.glob("*.jsonl"))[:3]]
        yield f"cases: {file} is a folder; name the JSONL file in it" + (
            f" ({', '.join(inside)})" if inside else ""
        )
    elif not file.is_file():
        yield f"cases: no such file {file}; a relative path counts from the matrix"


def of_values(spec: ModelSpec) -> Iterator[str]:
    """Yield which values of a row no run could use, each with what would do."""
    where = spec.name
    if spec.name in OF_SELECTION:
        yield f"{where}: is a word of 'pytest -k', which could not select this row; give it another name"
    yield from of_folder(where, where)
    yield from _empty_or_huge(spec, where)
    yield from _model(spec)
    yield from _cards(spec)
    if len(set(spec.suites)) < len(spec.suites):
        yield f"{where}.suites: names a suite twice; list each once"
    if len(set(spec.evaluate)) < len(spec.evaluate):
        yield f"{where}.evaluate: names a variant twice; list each once"
    if spec.suites and not spec.evaluate:
        yield f"{where}.evaluate: is empty, and the row asks for suites; list base, tuned or both, or take 'suites' out"
    for part, names in OURS.items():
        for name in names:
            if name in getattr(spec, part).extra:
                yield f"{where}.{part}.extra: '{name}' is set by the harness itself; take it out"
    if spec.key_env and _looks_like_a_key(spec.key_env):
        yield (
            f"{where}.key_env: must be the name of an environment variable, such as MY_API_KEY, and what stands there "
            "looks like the key itself; put the key into .env under such a name"
        )


def _empty_or_huge(part: BaseModel, where: str) -> Iterator[str]:
    for name, value in part:
        place = f"{where}.{name}"
        if isinstance(value, BaseModel):
            yield from _empty_or_huge(value, place)
        elif isinstance(value, str) and not value.strip() and name not in MAY_BE_EMPTY:
            yield f"{place}: is empty; give a value, or take the line out"
        elif isinstance(value, tuple) and any(isinstance(item, str) and not item.strip() for item in value):
            yield f"{place}: holds an empty text; give a value, or take it out"
        elif isinstance(value, int | float) and abs(value) > LARGEST:
            yield f"{place}: must be at most {LARGEST:,}, found {shown(value)}"


def _model(spec: ModelSpec) -> Iterator[str]:
    """Yield why a model is neither a folder nor an id of a hub."""
    places = {name: getattr(spec, name) or "" for name in _PLACES}
    if wrong := {name: why for name, text in places.items() if (why := why_no_place(text))}:
        yield from (f"{spec.name}.{name}: {why}" for name, why in wrong.items())
        return
    model = spec.model
    if not model or not model.strip() or spec.tiny is not None or is_local_model(model):
        return
    where = f"{spec.name}.model"
    if re.match(r"https?://", model):
        words = re.sub(r"https?://[^/]+/(models/)?", "", model).split("/")
        example = "/".join(words[:2]) if len(words) > 1 else "owner/name"
        yield f"{where}: is the address of a page; give the id of the hub, such as {shown(example)}, or a folder"
    elif not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", model, re.ASCII):
        yield (
            f"{where}: {shown(model)} is no id of a hub (owner/name of letters, digits, '.', '_' and '-'), and "
            "there is no such folder; begin a folder with '/' or './'"
        )


def _cards(spec: ModelSpec) -> Iterator[str]:
    """Yield why ``gpus`` names no cards."""
    if spec.visible is None:
        return
    names = [part.strip() for part in spec.visible.split(",")]
    if not all(re.fullmatch(r"\d{1,3}|(GPU|MIG)-[\w/-]+", name, re.ASCII) for name in names):
        yield (
            f'{spec.name}.gpus: must be numbers or UUIDs of cards as in CUDA_VISIBLE_DEVICES, such as "0,1", found '
            f"{shown(spec.visible)}; without quotes it is how many"
        )
    elif len(set(names)) < len(names):
        yield f"{spec.name}.gpus: names a card twice, found {shown(spec.visible)}; list each once"


def _looks_like_a_key(name: str) -> bool:
    """Whether *name* is a random mixture, as a key is."""
    kinds = [re.search(kind, name) for kind in ("[a-z]", "[0-9]")]
    return len(name) >= 20 and all(kinds) and sum(char.isdigit() for char in name) >= 4
