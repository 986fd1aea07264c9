"""Rows with several seeds, expanded to a row for each seed."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from bakeoff.foundation.errors import Complaint
from bakeoff.foundation.sentences import Template
from bakeoff.matrix.schema import ModelSpec

NAME_TAKEN = Template(
    "matrix.seeds.name_taken",
    "needs the name {taken!r} for a further seed, which another row has; rename that row",
    zh="另一个种子需要名称 {taken!r}，但它已被另一行使用；请给那一行改名",
)
NO_SEED = Template(
    "matrix.seeds.no_seed",
    "a row that trains nothing has no seed; take 'seeds' out",
    zh="不训练的行没有种子；请删除 'seeds'",
)
TUNED_LEFT_OUT = Template(
    "matrix.seeds.tuned_left_out",
    "the seeds concern the tuned model, which 'evaluate' leaves out; add 'tuned' to it",
    zh="种子只影响微调后的模型，而 'evaluate' 没有包含它；请加上 'tuned'",
)
NAME_TOO_LONG = Template(
    "matrix.seeds.name_too_long",
    "names such as {name!r} have at most {most} characters",
    zh="{name!r} 这样的名称最多 {most} 个字符",
)
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
            complaints.append(Complaint(f"{name}.seeds", why))
            continue
        children = [_child(row, row.training.seed + number) for number in range(1, row.seeds)]
        taken = [child.name for child in children if child.name in rows]
        if taken:
            complaints.append(Complaint(f"{name}.seeds", NAME_TAKEN(taken=taken[0])))
            continue
        expanded |= {child.name: child for child in children}
        recipes[name] = (name, *(child.name for child in children))
    return expanded, recipes


def _why_no_seeds(row: ModelSpec) -> str:
    """Why *row* cannot have several seeds, in words; empty where it can."""
    if not row.trains:
        return NO_SEED()
    if "tuned" not in row.variants:
        return TUNED_LEFT_OUT()
    if len(_child_name(row, row.training.seed + row.seeds - 1)) > LONGEST_NAME:
        return NAME_TOO_LONG(name=_child_name(row, row.training.seed + 1), most=LONGEST_NAME)
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
    """Whether *row* is another row's recipe under a further seed.

    People and judge models score the replies of one run of a recipe, the first, so that such a row gathers none.
    """
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
