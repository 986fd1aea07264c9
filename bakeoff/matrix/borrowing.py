"""Rows with ``weights_of``, which serve the weights of another row."""

from __future__ import annotations

from collections.abc import Mapping

from bakeoff.foundation.errors import Complaint
from bakeoff.foundation.sentences import Template
from bakeoff.matrix.complaints import shown, unknown
from bakeoff.matrix.presets import laid_over

NO_ROW = Template("matrix.borrowing.no_row", "{lender!r} is no row", zh="{lender!r} 不是模型行")
LENDER_BORROWS = Template(
    "matrix.borrowing.lender_borrows",
    "{lender!r} has the weights of {other}; name that row here",
    zh="{lender!r} 使用的是 {other} 的权重；请在此处写那一行",
)
LENDER_TRAINS_NOTHING = Template(
    "matrix.borrowing.lender_trains_nothing",
    "{lender!r} trains nothing and has no weights to lend; give its 'model' or 'url' here",
    zh="{lender!r} 不训练，没有权重可用；请在此处写它的 'model' 或 'url'",
)
SURPLUS = Template(
    "matrix.borrowing.surplus",
    "the weights are those of {lender!r}, and so is all that decides them; take it out, or train this row itself "
    "without '{key}' (with it a row may say {own})",
    zh="权重以及决定权重的一切都来自 {lender!r}；请删除此项，或去掉 '{key}' 单独训练该行（有 '{key}' 时可写 {own}）",
)
TRAINED_THERE = Template(
    "matrix.borrowing.trained_there",
    "the training is that of {lender!r}; give 'serve' only",
    zh="训练使用 {lender!r} 的环境；只需给出 'serve'",
)

KEY = "weights_of"
_OWN = frozenset({KEY, "serving", "environment", "suites", "evaluate", "needs", "limits"})
_ALONE = ("seeds",)
"""What is not taken over: it makes further rows of the lender."""


def with_lenders(rows: Mapping[str, object], complaints: list[str]) -> dict[str, object]:
    """Return *rows*, those with ``weights_of`` filled from their lender.

    Whatever decides the weights is the lender's. Complaints join *complaints*; a row that has one is left out.
    """
    filled: dict[str, object] = {}
    for name, row in rows.items():
        if not isinstance(row, dict) or row.get(KEY) is None:
            filled[name] = row
            continue
        if why := _why_not(name, row, rows):
            complaints.append(why)
            continue
        lender = rows[row[KEY]]
        assert isinstance(lender, dict)
        taken = {key: value for key, value in lender.items() if key not in _ALONE}
        filled[name] = laid_over(taken, row)
    return filled


def _why_not(name: str, row: Mapping[str, object], rows: Mapping[str, object]) -> Complaint | None:
    where, lender_name = f"{name}.{KEY}", row[KEY]
    if not isinstance(lender_name, str) or lender_name not in rows or lender_name == name:
        others = [other for other in rows if other != name]
        return unknown(lender_name if isinstance(lender_name, str) else shown(lender_name), others, where)
    lender = rows[lender_name]
    if not isinstance(lender, dict):
        return Complaint(where, NO_ROW(lender=lender_name))
    if KEY in lender:
        return Complaint(where, LENDER_BORROWS(lender=lender_name, other=shown(lender[KEY])))
    if lender.get("url") or lender.get("tune") is False:
        return Complaint(where, LENDER_TRAINS_NOTHING(lender=lender_name))
    if surplus := sorted(str(key) for key in row if key not in _OWN):
        return Complaint(
            f"{name}.{surplus[0]}", SURPLUS(lender=lender_name, key=KEY, own=sorted(_OWN - {KEY}))
        )
    environment = row.get("environment")
    if isinstance(environment, dict) and "train" in environment:
        return Complaint(f"{name}.environment.train", TRAINED_THERE(lender=lender_name))
    return None
