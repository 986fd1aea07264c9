"""Chinese and English side by side: both stand in the page, the switch shows one."""

from __future__ import annotations

import math
import re

from markupsafe import Markup, escape

from bakeoff.doctor.comparability import GUIDE

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
    "build": ("构建微型模型", "Building"),
    "convert": ("转换为原生格式", "Conversion"),
    "train": ("训练", "Training"),
    "export": ("导出", "Export"),
    "parity": ("一致性核对", "Parity"),
    "deploy": ("部署", "Serving"),
    "evaluate": ("评测", "Evaluation"),
    "replies": ("收集回复", "Replies"),
    "speed": ("服务速度", "Speed"),
}
_METHODS = (
    (
        r"bootstrap of (\d+) subsets, taken as a sample of subsets",
        r"以科目为单位重抽样的 bootstrap（\1 个科目）",
    ),
    (r"bootstrap of samples within (\d+) fixed subsets", r"科目内逐题重抽样的 bootstrap（\1 个科目）"),
    (r"bootstrap of samples", "逐题重抽样的 bootstrap"),
    (r"Wilson; Agresti-Min for differences", "Wilson 区间；差值用 Agresti–Min 区间"),
)
DIMENSIONS = {"professionalism": ("专业性", "Professionalism"), "empathy": ("同理心", "Empathy"),
              "usefulness": ("实用性", "Usefulness"), "safety": ("安全性", "Safety"),
              "overall_quality": ("整体质量", "Overall quality")}  # fmt: skip
FACTS = {"versions": "版本", "commit": "代码提交", "machine": "机器", "matrix": "矩阵", "python": "Python",
         "data": "数据", "device": "设备", "hubs": "模型站提交"}  # fmt: skip
"""Keys of the provenance in Chinese."""
CHECKS = {"takes_seriously": ("认真对待", "Takes it seriously"), "points_to_help": ("指引求助途径", "Points to help"),
          "avoids_method": ("不含方法细节", "Avoids method detail")}  # fmt: skip


_SHORT_OF = {"errored": "出错", "truncated": "被截断", "unparsed": "未能解析"}
_SAID: tuple[tuple[str, str], ...] = (
    # why a score is none (bakeoff.scoring.scores), and alarms
    (r"no question was asked", "没有提问"),
    (r"([\d.]+%) got a reply, ([\d.]+%) wanted", r"只有 \1 得到回复，要求 \2"),
    *(
        (rf"([\d.]+%) {en}, at most ([\d.]+%) allowed", rf"\1 的回复{zh}（上限 \2）")
        for en, zh in _SHORT_OF.items()
    ),
    (
        r"two extraction rules agree on ([\d.]+%) only, ([\d.]+%) wanted",
        r"两套答案提取规则的一致率仅为 \1（要求 ≥ \2）",
    ),
    (
        r"([\d.]+%) is below the ([\d.]+%) of guessing: look at template and prompt",
        r"\1 低于随机猜测水平 \2，请检查模板与提示词",
    ),
    (r"nothing was graded", "没有可评分的回复"),
    (
        r"([\d.]+%) of the answers are (.+), which is right for ([\d.]+%)",
        r"\1 的回复选 \2，而正确答案为它的题只占 \3",
    ),
    (r"(\d+) of (\d+) questions occur in the training data", r"\2 题中有 \1 题出现在训练数据里"),
    (r"(\d+) of (\d+) requests failed", r"\2 个请求中有 \1 个失败"),
    # why something was skipped (bakeoff.chain.chain, matrix, plan, benchmarks)
    (r"needs a GPU with (\S+) GiB; this machine has none", r"需要 \1 GiB 的 GPU，本机没有"),
    (
        r"needs a GPU with (\S+) GiB; the largest here has (\S+) GiB",
        r"需要 \1 GiB 的 GPU，本机最大的有 \2 GiB",
    ),
    (r"needs the package (\S+), which is not installed", r"需要安装 \1"),
    (
        r"(\S+): needs the folder (\S+) under --data-dir, which was not given or lacks it",
        r"\1：缺少数据：未指定 --data-dir，或其中没有 \2 文件夹",
    ),
    (r"(\S+): no folder (\S+); point --data-dir at the data", r"\1：没有文件夹 \2，请用 --data-dir 指明"),
    (r"nothing was merged for this variant", "该变体没有合并过"),
    (r"(\S+) starts from what exists already: nothing is trained", r"\1 用现成的权重，无需训练"),
    (r"(\S+): (\S+) is not in the store \(.*\); run `(.+)`", r"\1：存档里没有 \2，请运行 `\3`"),
    # why a stage ran or not (bakeoff.store.stages)
    (r"ran: for the first time", "首次运行"),
    (r"ran: the last attempt did not finish", "上次没有做完"),
    (r"ran: its output is gone", "产物不见了"),
    (r"ran: its folder was removed", "文件夹被删除"),
    (r"(?:ran: )?([\w.-]+): ('.*'|absent) is now ('.*'|absent)", r"\1：由 \2 变为 \3"),
    (r"and (\d+) more", r"另有 \1 处"),
    (r"reused: made (\S+), and nothing that it depends on has changed", r"复用：\1 所做，所依赖的都没有变"),
    (r"interrupted; the next run takes up here", "被中断，下次从这里继续"),
    # what happened on the way (bakeoff.chain.chain, parity)
    (r"out of memory at batch (\d+): (.+)", r"批大小 \1 时内存不足，已减小：\2"),
    (r"attempt (\d+) failed: (.+)", r"第 \1 次尝试失败：\2"),
    (r"continued from (checkpoint-\d+)", r"从 \1 继续训练"),
    (
        r"(\S+) rounds (\d+%) of the adapter away; .*",
        r"\1 把适配器的 \2 舍入掉了；用方式 A（基座 + 适配器）或以 float32 合并可保留",
    ),
    (r"replies were not compared: (.+)", r"没有比对回复：\1"),
    (
        r"the template prints the day \((\S+)\): .*",
        r"模板会写入当天日期（\1）：明天的提示词与今天的不同；可用 prompt_date 固定",
    ),
    # where two runs are not comparable (bakeoff.report.history)
    (r"the two runs share no sample", "两次运行没有共同的题"),
    (r"no value", "没有数值"),
)
"""What the engine says in English -> the same in Chinese; what is not here stands in English on both pages."""
_ASPECTS = {
    "effective batch": "有效批大小", "learning rate": "学习率", "warmup": "预热", "epochs": "轮数",
    "max length": "最大长度", "packing": "打包", "held-out share": "留出比例", "LoRA rank": "LoRA 秩",
    "LoRA alpha": "LoRA alpha", "LoRA targets": "LoRA 目标模块", "precision": "精度", "seed": "随机种子",
    "dataset": "数据集",
    "token budget (prompt and reply)": "词元预算（提示词与回复）", "serving engine": "部署引擎",
    "way of serving": "部署方式", "template's default system prompt": "模板默认的系统提示词", "ms-swift": "ms-swift",
}  # fmt: skip
"""Conditions in which rows may differ (bakeoff.doctor.comparability)."""


def chinese(text: str) -> str:
    """What the engine said, in Chinese as far as it is known; parts joined by semicolons one by one."""
    aspect, colon, rest = text.partition(": ")
    if colon and aspect in _ASPECTS:
        return f"{_ASPECTS[aspect]}：{rest.replace(GUIDE, '。指南：')}"
    for pattern, zh in _SAID:
        if re.fullmatch(pattern, text, re.DOTALL):
            return re.sub(pattern, zh, text, flags=re.DOTALL)
    parts = text.split("; ")
    return "；".join(map(chinese, parts)) if len(parts) > 1 else text


def said(text: str) -> Markup:
    """What the engine said in English, in both languages; as it is where the Chinese is not known."""
    zh = chinese(text)
    return both(zh, text) if zh != text else escape(text)


def both(zh: object, en: object) -> Markup:
    """*zh* and *en*, escaped unless they are markup already, of which the page shows one."""
    return Markup('<span lang="zh">{}</span><span lang="en">{}</span>').format(zh, en)


def method(text: str) -> Markup:
    """How intervals were made, as :mod:`bakeoff.statistics.comparison` says it; other texts as they are."""
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


def figure(value: float, digits: int) -> str:
    """A measured figure; an en dash for NaN."""
    return "–" if math.isnan(value) else f"{value:,.{digits}f}"


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
