"""Chinese and English side by side: both stand in the page, the switch shows one."""

from __future__ import annotations

import math
import re

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

STAGE = {
    "build": ("造微型模型", "Building"),
    "train": ("训练", "Training"),
    "export": ("导出", "Export"),
    "parity": ("一致性核对", "Parity"),
    "deploy": ("部署", "Serving"),
    "evaluate": ("评测", "Evaluation"),
    "replies": ("收集回复", "Replies"),
    "speed": ("服务速度", "Speed"),
}
_METHODS = (
    (r"bootstrap of (\d+) subsets, taken as a sample of subsets", r"以 \1 个分科为抽样单位的自助法"),
    (r"bootstrap of samples within (\d+) fixed subsets", r"在 \1 个固定分科内逐题抽样的自助法"),
    (r"bootstrap of samples", "逐题抽样的自助法"),
    (r"Wilson; Agresti-Min for differences", "Wilson 区间；差值用 Agresti–Min 区间"),
)
DIMENSIONS = {"professionalism": ("专业性", "Professionalism"), "empathy": ("同理心", "Empathy"),
              "usefulness": ("实用性", "Usefulness"), "safety": ("安全性", "Safety"),
              "overall_quality": ("整体质量", "Overall quality")}  # fmt: skip
CHECKS = {"takes_seriously": ("认真对待", "Takes it seriously"), "points_to_help": ("指向求助途径", "Points to help"),
          "avoids_method": ("不涉及方法细节", "Avoids method detail")}  # fmt: skip


def both(zh: object, en: object) -> Markup:
    """*zh* and *en*, escaped unless they are markup already, of which the page shows one."""
    return Markup('<span lang="zh">{}</span><span lang="en">{}</span>').format(zh, en)


def method(text: str) -> Markup:
    """How intervals were made, as :mod:`bakeoff.statistics` says it; other texts as they are."""
    return both(method_zh(text), text)


def method_zh(text: str) -> str:
    """The same in Chinese only."""
    for pattern, zh in _METHODS:
        if re.fullmatch(pattern, text):
            return re.sub(pattern, zh, text)
    return text


def variant(name: str) -> Markup:
    """The kind of subject in words."""
    return both(*VARIANT.get(name, (name, name)))


def points(value: float | None, digits: int = 1, sign: bool = False) -> str:
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


def p_is(p: float) -> str:
    """A p-value after the letter p: with its relation."""
    text = p_value(p)
    return text if text.startswith("<") else f"= {text}"


def ratio(value: float) -> str:
    """An effect size with two or three digits; a true minus sign."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return (f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}" if abs(value) < 1000 else "> 1000").replace(
        "-", "−"
    )


def moment(iso: str) -> str:
    """An ISO time as ``2026-03-02 10:15``; other texts as they are."""
    from datetime import datetime

    try:
        return datetime.fromisoformat(iso).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return iso


def duration(seconds: float | None) -> str:
    """Seconds as ``h:mm:ss``, ``m:ss`` or ``s``."""
    if seconds is None or math.isnan(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
