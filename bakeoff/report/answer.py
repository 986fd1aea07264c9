"""The answer card: which model to use, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from bakeoff.report.findings import Findings
from bakeoff.report.opinions import crises, failing, judges, leaders, people
from bakeoff.report.sentences import LISTED, Sentence, both_lists, inset, spaced, trailing
from bakeoff.report.shortfalls import shortfall
from bakeoff.report.verdict import between, tuning
from bakeoff.report.views import Analysis, SuiteView
from bakeoff.report.words import points
from bakeoff.scoring.scores import CRISIS


class Point(NamedTuple):
    """One line of the card: a label in both languages and what it says."""

    zh: str
    en: str
    sentence: Sentence


DEMONSTRATION = Sentence(
    "演示运行：全部是微型随机模型，只用来验证流程；分数没有意义。",
    "Demonstration on tiny random models: it shows that the procedure works; the scores mean nothing.",
)


def answer(findings: Findings, analysis: Analysis) -> list[Point]:
    """Return the lines of the card, failures first.

    Lines about what was not measured are left out.
    """
    points = [Point("未完成", "Incomplete", sentence) for sentence in shortfall(findings)]
    if analysis.views or leaders(findings):
        points.append(Point("推荐", "Recommendation", recommendation(findings, analysis)))
    elif points and findings.asked:
        nothing = Sentence("暂不推荐：本次没有任何成绩。", "None: this run has no scores.")
        points.append(Point("推荐", "Recommendation", nothing))
    if any(view.pairs for view in analysis.views):
        points.append(Point("可靠程度", "Certainty", between(analysis)))
    if findings.ratings:
        points += [Point("人工评分", "Human ratings", sentence) for sentence in people(findings.ratings)]
        points += [Point("评审模型", "LLM judge", sentence) for sentence in judges(findings.ratings)]
        points += [Point("危机个案", "Crisis cases", sentence) for sentence in crises(findings.ratings)]
    if analysis.views:
        points.append(Point("微调", "Fine-tuning", tuning(findings, analysis)))
    points += [Point("速度与显存", "Speed and memory", sentence) for sentence in _speed(findings)]
    return points


def recommendation(findings: Findings, analysis: Analysis) -> Sentence:
    """Return the model that none is ahead of, or why there is none.

    A difference counts that is significant and large enough to matter.
    """
    if findings.demonstration:
        return Sentence("不推荐任何模型：这些是随机的微型模型。", "None: these are tiny random models.")
    views = [view for view in analysis.views if view.pairs and view.name != CRISIS]
    telling = [view for view in views if any(pair.matters(view.interest) for pair in view.pairs)]
    rated = leaders(findings)
    if not telling:
        return (
            _by_people(sorted(rated), findings, analysis, bool(views))
            if rated
            else _none(analysis, bool(views))
        )
    models = list(dict.fromkeys(subject.model for view in views for subject in view.delivered))
    valid = [model for model in analysis.order if model in models and _everywhere(model, views)]
    top = [model for model in valid if not any(_beaten(model, view) for view in telling)]
    doubt = bool(shortfall(findings))
    if len(top) == 1 and not (rated and top[0] not in rated):
        zh = f"{top[0]}：在任一测试集上均未被其他模型显著领先 {_limit(telling)} 分以上"
        en = f"{top[0]}: on no suite is another model significantly ahead by {_limit(telling)} points or more"
        if doubt:
            zh, en = f"{zh}（暂定：部分项目未完成）", f"{en} (provisional: parts of the run are missing)"
        return _reserved(Sentence(zh, en, "#bk-scores"), top[0], findings, analysis)
    if len(top) == 1:
        names = both_lists(sorted(rated), LISTED)
        return Sentence(
            f"没有唯一的推荐：测试集支持{trailing(top[0])}，人工评分支持{trailing(names.zh)}。",
            f"No single one: the test suites favour {top[0]}, people's ratings favour {names.en}.",
            "#bk-judgements",
        )
    if top:
        shared = [model for model in top if model in rated] or top
        names = both_lists(shared, LISTED)
        if len(shared) == 1:
            level = Sentence(
                f"{names.zh}：测试集上与最好的模型相当，人工评分显著较高",
                f"{names.en}: level with the best on the test suites, and rated significantly higher by people",
                "#bk-judgements",
            )
            return _reserved(level, shared[0], findings, analysis)
        return Sentence(
            f"没有唯一的推荐：{spaced(names.zh)}均未被其他模型显著超过。",
            f"No single one: {names.en} are not significantly behind any other model.",
            "#bk-scores",
        )
    return Sentence(
        "没有唯一的推荐：不同测试集上领先的模型不同，取决于看重哪个测试集。",
        "No single one: different suites favour different models, so it depends on which suite matters most.",
        "#bk-scores",
    )


def _reserved(choice: Sentence, model: str, findings: Findings, analysis: Analysis) -> Sentence:
    """Return *choice* with what speaks against *model*.

    Its own base is ahead of it, or replies of it failed a check of a crisis case.
    """
    zh, en = [], []
    lost = [
        (view.name, points(pair.value, sign=True))
        for view in analysis.views
        if (pair := view.tuning.get(model)) and pair.verdict == "behind" and pair.matters(view.interest)
    ]
    if lost:
        zh.append(
            f"微调后显著低于自身基座：{both_lists([f'{suite} {by} 分' for suite, by in lost], LISTED).zh}"
        )
        suites = both_lists([f"{suite} ({by})" for suite, by in lost], LISTED)
        en.append(f"fine-tuning left it significantly behind its own base on {suites.en}")
    if model in failing(findings):
        zh.append("其危机个案的回复未全部通过核查")
        en.append("not all of its replies to crisis cases passed their checks")
    if not zh:
        return choice._replace(zh=choice.zh + "。", en=choice.en + ".")
    return choice._replace(
        zh=f"{choice.zh}。但{'；'.join(zh)}。", en=f"{choice.en}. But {'; and '.join(en)}."
    )


def _by_people(rated: list[str], findings: Findings, analysis: Analysis, compared: bool) -> Sentence:
    """Return whom people rated higher, where no suite decides."""
    names = both_lists(rated, LISTED)
    if compared:
        zh = "各测试集上没有达到有意义大小的显著差异"
        en = "no test suite shows a significant difference large enough to matter"
    elif analysis.views:
        zh, en = "没有可比较的测试集成绩", "there are no test scores to compare"
    else:
        zh, en = "本次没有测试集成绩", "there are no test scores"
    if len(rated) == 1:
        choice = Sentence(
            f"{names.zh}：人工评分显著较高；{zh}",
            f"{names.en}: rated significantly higher by people; {en}",
            "#bk-judgements",
        )
        return _reserved(choice, rated[0], findings, analysis)
    return Sentence(
        f"没有唯一的推荐：{spaced(names.zh)}的人工评分同处最高一组；{zh}。",
        f"No single one: {names.en} share the top group of the human ratings; {en}.",
        "#bk-judgements",
    )


def _none(analysis: Analysis, compared: bool) -> Sentence:
    """Return why no model is recommended."""
    if compared:
        return Sentence(
            "暂不推荐：没有一对模型的差异既显著又足够大。",
            "None: no two models differ significantly by enough to matter.",
            "#bk-suites",
        )
    cells = [cell for view in analysis.views for cell in view.cells.values() if view.name != CRISIS]
    tuned = {cell.subject.model for cell in cells if cell.subject.variant != "base"}
    delivered = [c for c in cells if c.subject.variant != "base" or c.subject.model not in tuned]
    valid = [
        model for model in analysis.order if any(c.ranked for c in delivered if c.subject.model == model)
    ]
    if not valid:
        some = any(cell.ranked for cell in cells)
        return Sentence(
            f"暂不推荐：{'微调后的模型' if some else ''}没有有效的成绩。",
            f"None: {'the fine-tuned models have' if some else 'there is'} no valid score.",
            "#bk-untrusted" if cells else "",
        )
    if len(valid) == 1:
        only = len({cell.subject.model for cell in cells}) == 1
        zh = f"本次只评测了{trailing(valid[0])}" if only else f"只有{inset(valid[0])}的成绩有效"
        en = f"only {valid[0]} was evaluated" if only else f"only {valid[0]} has valid scores"
        return Sentence(f"暂不推荐：{zh}，无从比较。", f"None: {en}, so there is nothing to compare it with.")
    return Sentence(
        "暂不推荐：没有两个模型在同一测试集上都有有效成绩。",
        "None: no two models have valid scores on the same suite.",
    )


def _everywhere(model: str, views: list[SuiteView]) -> bool:
    return all(any(subject.model == model for subject in view.delivered) for view in views)


def _beaten(model: str, view: SuiteView) -> bool:
    """Whether another model is ahead of *model* by a difference that matters."""
    return any(
        pair.matters(view.interest) and (pair.b if pair.verdict == "ahead" else pair.a).model == model
        for pair in view.pairs
    )


def _limit(views: list[SuiteView]) -> str:
    return "/".join(sorted({f"{100 * view.interest:g}" for view in views}))


def _speed(findings: Findings) -> Iterator[Sentence]:
    """The fastest service and the largest memory."""
    rates = [
        (float(row["output_tokens_per_s"]), str(row["subject"].model), str(row["load"]))
        for row in findings.speeds
        if not math.isnan(row.get("output_tokens_per_s", math.nan))
    ]
    memory = [
        (float(size), str(record.get("model", "")))
        for record in findings.stages
        if (size := (record.get("facts") or {}).get("memory_gib"))
    ]
    zh, en = [], []
    if rates:
        rate, model, load = max(rates)
        zh.append(f"最快的是{trailing(model)}：{rate:,.0f} 词元/秒（同时 {load} 个请求）")
        en.append(f"Fastest service: {model}, {rate:,.0f} tokens/s with {load} requests in flight")
    if memory:
        size, model = max(memory)
        zh.append(f"显存占用最高的是{trailing(model)}：{size:.1f} GiB")
        en.append(f"{'most' if en else 'Most'} GPU memory: {model}, {size:.1f} GiB")
    if zh:
        yield Sentence("；".join(zh) + "。", "; ".join(en) + ".", "#bk-speed" if rates else "#bk-cost")
