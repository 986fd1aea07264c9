"""Rows with ``weights_of``, which serve the weights of another row."""

from __future__ import annotations

from collections.abc import Mapping

from bakeoff.matrix.complaints import shown, unknown
from bakeoff.matrix.presets import laid_over

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


def _why_not(name: str, row: Mapping[str, object], rows: Mapping[str, object]) -> str:
    where, lender_name = f"{name}.{KEY}", row[KEY]
    if not isinstance(lender_name, str) or lender_name not in rows or lender_name == name:
        others = [other for other in rows if other != name]
        return unknown(lender_name if isinstance(lender_name, str) else shown(lender_name), others, where)
    lender = rows[lender_name]
    if not isinstance(lender, dict):
        return f"{where}: {lender_name!r} is no row"
    if KEY in lender:
        return f"{where}: {lender_name!r} has the weights of {shown(lender[KEY])}; name that row here"
    if lender.get("url") or lender.get("tune") is False:
        return f"{where}: {lender_name!r} trains nothing and has no weights to lend; give its 'model' or 'url' here"
    if surplus := sorted(str(key) for key in row if key not in _OWN):
        return (
            f"{name}.{surplus[0]}: the weights are those of {lender_name!r}, and so is all that decides them; take it "
            f"out, or train this row itself without '{KEY}' (with it a row may say {', '.join(sorted(_OWN - {KEY}))})"
        )
    environment = row.get("environment")
    if isinstance(environment, dict) and "train" in environment:
        return f"{name}.environment.train: the training is that of {lender_name!r}; give 'serve' only"
    return ""
