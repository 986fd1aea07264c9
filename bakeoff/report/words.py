"""Chinese and English side by side: both stand in the page, the switch shows one."""

from __future__ import annotations

import math

from markupsafe import Markup

VARIANT = {"base": ("基座", "base"), "tuned": ("微调", "tuned")}
MISSING = {
    "unparsed": ("未能解析", "unparsed"),
    "empty": ("空回复", "empty"),
    "truncated": ("被截断", "truncated"),
    "errored": ("出错", "errored"),
}
OUTCOME = {"ran": ("已运行", "ran"), "reused": ("已复用", "reused"), "failed": ("失败", "failed"),
           "skipped": ("已跳过", "skipped")}  # fmt: skip


def both(zh: object, en: object) -> Markup:
    """*zh* and *en*, escaped unless they are markup already, of which the page shows one."""
    return Markup('<span lang="zh">{}</span><span lang="en">{}</span>').format(zh, en)


def variant(name: str) -> Markup:
    """The kind of subject in words."""
    return both(*VARIANT.get(name, (name, name)))


def points(value: float, digits: int = 1, sign: bool = False) -> str:
    """A share as points of 100; an en dash for NaN, a true minus sign."""
    if value is None or math.isnan(value):
        return "–"
    text = f"{100 * value:{'+' if sign else ''}.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def p_value(p: float) -> str:
    """A p-value as papers print it."""
    if math.isnan(p):
        return "–"
    if p < 0.001:
        return "< .001"
    return "1" if p > 0.995 else f"{p:.3f}".lstrip("0") if p < 0.1 else f"{p:.2f}".lstrip("0")


def duration(seconds: float | None) -> str:
    """Seconds as ``h:mm:ss``, ``m:ss`` or ``s``."""
    if seconds is None or math.isnan(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
