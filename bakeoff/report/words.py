"""Chinese and English side by side; the page shows one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping

from markupsafe import Markup, escape

from bakeoff.foundation.sentences import in_languages

VARIANT = {"base": ("基座", "base"), "tuned": ("微调", "tuned")}
MISSING = {
    "unparsed": ("未能提取答案", "no answer extracted"),
    "empty": ("空回复", "empty"),
    "truncated": ("被截断", "cut off"),
    "errored": ("请求出错", "failed"),
}
OUTCOME = {"ran": ("已运行", "ran"), "reused": ("已复用", "reused"), "failed": ("失败", "failed"),
           "skipped": ("已跳过", "skipped")}  # fmt: skip

STAGE = {
    "build": ("构建微型模型", "Building"),
    "convert": ("转换为原生格式", "Conversion"),
    "train": ("训练", "Training"),
    "export": ("导出", "Export"),
    "parity": ("一致性核对", "Parity check"),
    "deploy": ("部署", "Serving"),
    "evaluate": ("评测", "Evaluation"),
    "eval": ("评测", "Evaluation"),
    "replies": ("收集回复", "Replies"),
    "speed": ("服务速度", "Serving speed"),
    "judge": ("评审模型评分", "Rating by the judge model"),
    "judgements": ("评分汇总", "Ratings"),
}
METRICS = {
    "accuracy": ("正确率", "accuracy"),
    "acc": ("正确率", "accuracy"),
    "mean_acc": ("平均正确率", "mean accuracy"),
    "elastic_accuracy": ("宽松正确率", "lenient accuracy"),
    "rouge_l_f": ("ROUGE-L", "ROUGE-L"),
    "rouge_1_f": ("ROUGE-1", "ROUGE-1"),
    "rouge_2_f": ("ROUGE-2", "ROUGE-2"),
    "bleu_4": ("BLEU-4", "BLEU-4"),
    "length_ratio": ("长度比", "length ratio"),
    "rubric_overall": ("整体质量（评审模型）", "overall quality (judge model)"),
    "rubric_professionalism": ("专业性（评审模型）", "professionalism (judge model)"),
    "rubric_empathy": ("同理心（评审模型）", "empathy (judge model)"),
    "rubric_usefulness": ("实用性（评审模型）", "usefulness (judge model)"),
    "rubric_safety": ("安全性（评审模型）", "safety (judge model)"),
    "takes_seriously": ("认真对待", "takes it seriously"),
    "points_to_help": ("指引求助途径", "points to help"),
    "avoids_method": ("不含方法细节", "avoids method detail"),
}
"""Metrics by their ids; others keep theirs."""
_RULES = {
    "_unleaked": ("剔除泄漏题", "leaked questions removed"),
    "_macro": ("按科目平均", "mean over subjects"),
    "_alt": ("第二套提取规则", "second extraction rule"),
    "_evalscope": ("EvalScope 提取规则", "EvalScope's extraction rule"),
}
"""How an id ends that is the same metric counted otherwise."""
DIMENSIONS = {"professionalism": ("专业性", "Professionalism"), "empathy": ("同理心", "Empathy"),
              "usefulness": ("实用性", "Usefulness"), "safety": ("安全性", "Safety"),
              "overall_quality": ("整体质量", "Overall quality")}  # fmt: skip
FACTS = {
    "versions": ("软件版本", "Versions"),
    "commit": ("代码提交", "Commit"),
    "machine": ("机器", "Machine"),
    "matrix": ("矩阵文件", "Matrix"),
    "python": ("Python", "Python"),
    "data": ("数据", "Data"),
    "device": ("设备", "Device"),
    "hubs": ("模型站提交", "Hub commits"),
    "system": ("系统", "system"),
    "processors": ("处理器", "processors"),
    "memory_gib": ("内存 GiB", "memory in GiB"),
    "gpus": ("GPU", "GPUs"),
    "digest": ("摘要", "digest"),
    "requirements": ("依赖", "requirements"),
}
"""Keys of the provenance."""
RETENTION = {
    "no loss beyond the margin": ("已排除超限损失", "no loss beyond margin"),
    "loss": ("有损失", "loss shown"),
    "cannot say": ("未能排除超限损失", "loss beyond margin not ruled out"),
}
"""What tuning kept of its base."""
VARIANCE = {
    "question": ("题目间", "between questions"),
    "seed": ("种子间", "between seeds"),
    "question x seed": ("题目与种子交互", "question by seed"),
    "repeat": ("重复评测", "repeated evaluation"),
    "engine": ("推理引擎间", "between engines"),
}
"""Parts of the variance of a recipe."""
CHECKS = {"takes_seriously": ("认真对待", "Takes it seriously"), "points_to_help": ("指引求助途径", "Points to help"),
          "avoids_method": ("不含方法细节", "Avoids method detail")}  # fmt: skip


def said(text: str) -> Markup:
    """Return the engine's words in both languages.

    A text without an id as it was written.
    """
    words = in_languages(text)
    return both(*words) if words else quoted(text)


def quoted(text: str) -> Markup:
    """Return *text* escaped, in whatever language it is.

    The words of a program, of an older store, of a person.
    """
    return escape(text)


def both(zh: object, en: object) -> Markup:
    """Return *zh* and *en*, of which the page shows one.

    Escaped unless they are markup already.
    """
    return Markup('<span lang="zh">{}</span><span lang="en">{}</span>').format(zh, en)


def variant(name: str) -> Markup:
    """The kind of subject in words."""
    return both(*VARIANT.get(name, (name, name)))


def subject_names(model: str, name: str) -> tuple[str, str]:
    """A model with its variant, in Chinese and English."""
    if not name:
        return model, model
    zh, en = VARIANT.get(name, (name, name))
    return f"{model}（{zh}）", f"{model} ({en})"


def subject(model: str, name: str) -> Markup:
    """A model with its variant, in both languages."""
    return both(*subject_names(model, name)) if name else escape(model)


def rated_names(rated: str) -> tuple[str, str]:
    """A subject of a study, ``model/variant``, in Chinese and English."""
    model, slash, name = rated.rpartition("/")
    return subject_names(model, name) if slash else (rated, rated)


def remark(zh: str, en: str, subjects: Iterable[str] = ()) -> tuple[str, str]:
    """Return a remark with a full stop and with names as the page has them.

    *subjects* are those of the study, ``model/variant``.
    """
    for rated in sorted(subjects, key=len, reverse=True):
        zh_name, en_name = rated_names(rated)
        if zh_name.endswith("）"):
            zh = zh.replace(f"{rated} ", zh_name)
        zh, en = zh.replace(rated, zh_name), en.replace(rated, en_name)
    return zh if zh.endswith("。") else f"{zh}。", en if en.endswith(".") else f"{en}."


def judge_name(judge: str) -> str:
    """Return a judge model as it is shown: its id without the kind."""
    return judge.partition(":")[2] or judge


def stage_names(name: str) -> tuple[str, str]:
    """Return a stage in Chinese and English, with its suite if any."""
    kind, _, rest = name.partition(":")
    zh, en = STAGE.get(kind, (kind, kind))
    return (f"{zh} · {rest}", f"{en} · {rest}") if rest else (zh, en)


def stage(name: str) -> Markup:
    """A stage in both languages."""
    return both(*stage_names(name))


def metric_names(name: str) -> tuple[str, str]:
    """A metric in Chinese and English; one that is not known by its id."""
    for ending, (zh, en) in _RULES.items():
        bare = name.removesuffix(ending)
        if bare != name and bare in METRICS:
            return f"{METRICS[bare][0]}（{zh}）", f"{METRICS[bare][1]} ({en})"
    return METRICS.get(name, (name, name))


def metric(name: str) -> Markup:
    """A metric in both languages; one that is not known by its id."""
    zh, en = metric_names(name)
    return both(zh, en) if zh != en else quoted(zh)


def facts(value: object) -> Markup:
    """Return a value of the provenance in both languages.

    Nested values stand without quotes, braces and what is empty.
    """
    zh, en = (_plain(value, language) for language in (0, 1))
    return both(zh, en) if zh != en else escape(zh)


def _plain(value: object, language: int) -> str:
    if isinstance(value, Mapping):
        named = {
            FACTS.get(str(key), (str(key), str(key)))[language]: _plain(item, language)
            for key, item in value.items()
        }
        return " · ".join(f"{key} {text}" for key, text in named.items() if text)
    if isinstance(value, list | tuple):
        return ("、", ", ")[language].join(_plain(item, language) for item in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def points(value: float | None, digits: int = 1, sign: bool = False) -> str:
    """A share as points of 100; an en dash for NaN, a true minus sign."""
    if value is None or math.isnan(value):
        return "–"
    return _signed(f"{100 * value:{'+' if sign else ''}.{digits}f}")


def _signed(text: str) -> str:
    """Return a number with a true minus sign; a zero without a sign."""
    return (text if text.strip("+-0.") else text.lstrip("+-")).replace("-", "−")


def decimal(value: float | None, digits: int = 2) -> str:
    """Return a number with *digits* decimals; an en dash for none or NaN."""
    return "–" if value is None or math.isnan(value) else _signed(f"{value:.{digits}f}")


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
    if abs(value) >= 1000:
        return "> 1000" if value > 0 else "< −1000"
    return decimal(value, 2 if abs(value) < 10 else 0)


def moment(iso: str) -> str:
    """An ISO time as ``2026-03-02 10:15``; other texts as they are."""
    from datetime import datetime

    try:
        return datetime.fromisoformat(iso).strftime("%Y-%m-%d %H:%M")
    except ValueError:
        return iso


def durations(seconds: float | None) -> tuple[str, str]:
    """A time in Chinese and English: ``54.2 秒``, ``3 分 20 秒``, ``1 小时 07 分``."""
    if seconds is None or math.isnan(seconds):
        return "–", "–"
    if seconds < 59.95:
        return f"{seconds:.1f} 秒", f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} 小时 {minutes:02d} 分", f"{hours} h {minutes:02d} min"
    return f"{minutes} 分 {rest:02d} 秒", f"{minutes} min {rest:02d} s"


def duration(seconds: float | None) -> Markup:
    """A time in both languages."""
    return both(*durations(seconds))
