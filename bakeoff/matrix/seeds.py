"""Rows with several seeds, expanded to a row for each seed."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from bakeoff.matrix.schema import ModelSpec

LONGEST_NAME = 64
"""Characters of a row's name, as its pattern in the schema has it."""


def expand_seeds(
    rows: Mapping[str, ModelSpec], complaints: list[str]
) -> tuple[dict[str, ModelSpec], dict[str, tuple[str, ...]]]:
    """Return *rows* with a row per seed, and the rows of each recipe.

    The first one keeps its name and its seed, so that what it trained before stays valid; it also answers for the
    base. The others, ``NAME.seed43`` …, evaluate only what they trained. Complaints join *complaints*.
    """
    expanded: dict[str, ModelSpec] = {}
    recipes: dict[str, tuple[str, ...]] = {}
    for name, row in rows.items():
        if row.seeds == 1:
            expanded[name] = row
            continue
        expanded[name] = row.model_copy(update={"seeds": 1})
        if why := _why_no_seeds(row):
            complaints.append(f"{name}.seeds: {why}")
            continue
        children = [_child(row, row.training.seed + number) for number in range(1, row.seeds)]
        taken = [child.name for child in children if child.name in rows]
        if taken:
            complaints.append(
                f"{name}.seeds: needs the name {taken[0]!r} for a further seed, which another row has; rename that row"
            )
            continue
        expanded |= {child.name: child for child in children}
        recipes[name] = (name, *(child.name for child in children))
    return expanded, recipes


def _why_no_seeds(row: ModelSpec) -> str:
    """Why *row* cannot have several seeds, in words; empty where it can."""
    if not row.trains:
        return "a row that trains nothing has no seed; take 'seeds' out"
    if "tuned" not in row.variants:
        return "the seeds concern the tuned model, which 'evaluate' leaves out; add 'tuned' to it"
    if len(_child_name(row, row.training.seed + row.seeds - 1)) > LONGEST_NAME:
        return f"names such as {_child_name(row, row.training.seed + 1)!r} have at most {LONGEST_NAME} characters"
    return ""


def _child_name(row: ModelSpec, seed: int) -> str:
    return f"{row.name}.seed{seed}"


def _child(row: ModelSpec, seed: int) -> ModelSpec:
    """*row* under another *seed*.

    ms-swift draws the order of the data from ``data_seed``, which its ``seed`` leaves alone.
    """
    extra = {**row.training.extra, "data_seed": seed}
    training = row.training.model_copy(update={"seed": seed, "extra": extra})
    return row.model_copy(
        update={
            "name": _child_name(row, seed),
            "seeds": 1,
            "training": training,
            "evaluate": ("tuned",),
        }
    )


def is_further_seed(row: ModelSpec) -> bool:
    """Whether *row* is another row's recipe under a further seed."""
    seed = row.training.seed
    return row.name.endswith(f".seed{seed}") and row.training.extra.get("data_seed") == seed


def needs_no_merge(row: ModelSpec) -> bool:
    """Whether nothing of a run stands on a merge of *row*.

    A further seed that the service of the first one serves as an adapter; the merge itself is checked on the first.
    """
    return row.serving.shared and is_further_seed(row)


def first_of(name: str, rows: Collection[str]) -> str:
    """Return the row whose recipe *name* repeats; empty where none is."""
    match = re.fullmatch(r"(.+)\.seed[0-9]+", name)
    return match[1] if match and match[1] in rows else ""
