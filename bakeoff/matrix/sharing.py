"""Which rows one service answers for: a base, and adapters on it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from bakeoff.foundation.errors import Complaint
from bakeoff.foundation.sentences import Template
from bakeoff.matrix.schema import ModelSpec
from bakeoff.matrix.seeds import is_further_seed

NOT_SHARED = Template(
    "matrix.sharing.not_shared",
    "one service for base and tuned loads the base and an adapter; it needs 'way: adapter' and a row whose base and "
    "tuned variants are both evaluated (or another row with 'shared' that evaluates the same base, served in the same "
    "way), or take it out",
    zh="基座与微调共用的服务加载基座和适配器；需要 'way: adapter'，且该行的基座与微调都参加评测"
    "（或另一个 'shared' 行以相同方式评测同一基座），否则请删除此项",
)
_SAME = {
    "model", "revision", "use_hf", "model_type", "template", "trust_remote_code", "prompt_date", "needs", "gpus"
}  # fmt: skip
_SAME_TRAINING = {"dtype", "lora_rank"}
"""The engine computes in this type, and keeps room for adapters of this rank."""
_MAY_DIFFER = {"port", "in_flight", "ready_timeout_s", "restarts"}


def host_of(row: ModelSpec, rows: Mapping[str, ModelSpec]) -> str:
    """Return the name of the row whose service answers for *row* as well.

    A further seed is served by the row that it is a seed of. A row that does not evaluate the base is served by the
    first shared one that does and loads the same base in the same way. Any other row serves itself.
    """
    if is_further_seed(row):
        row = rows.get(row.name.rpartition(".seed")[0], row)
    if not row.serving.shared or "base" in row.variants:
        return row.name
    return next((other.name for other in rows.values() if _hosts(other, row)), row.name)


def guests_of(row: ModelSpec, rows: Mapping[str, ModelSpec]) -> list[str]:
    """Return the other rows that the service of *row* answers for."""
    host = host_of(row, rows)
    return [name for name, other in rows.items() if name != row.name and host_of(other, rows) == host]


def of_sharing(rows: Iterable[ModelSpec]) -> Iterator[Complaint]:
    """Yield what is wrong with ``serving.shared``, row by row."""
    rows = list(rows)
    for row in rows:
        if not row.serving.shared:
            continue
        loads_both = not row.weights and row.serving.way == "adapter" and "tuned" in row.variants
        both_asked = "base" in row.variants or is_further_seed(row)
        if not (loads_both and (both_asked or any(_hosts(other, row) for other in rows))):
            yield Complaint(f"{row.name}.serving.shared", NOT_SHARED())


def _hosts(other: ModelSpec, row: ModelSpec) -> bool:
    """Whether the service of *other* could load the adapter of *row*."""
    return (
        other.name != row.name
        and other.serving.shared
        and not is_further_seed(other)
        and "base" in other.variants
        and _line(other) == _line(row)
    )


def _line(row: ModelSpec) -> tuple[object, ...]:
    return (
        row.model_dump(include=_SAME),
        row.training.model_dump(include=_SAME_TRAINING),
        row.serving.model_dump(exclude=_MAY_DIFFER),
        row.environment.serve,
    )
