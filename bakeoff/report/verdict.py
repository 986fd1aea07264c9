"""What the tests support about the models, and nothing more."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bakeoff.foundation.sentences import plural
from bakeoff.report.findings import Findings
from bakeoff.report.sentences import LISTED, Sentence, both_lists, inset, joined, spaced, trailing
from bakeoff.report.shortfalls import shortfall
from bakeoff.report.views import Analysis, Difference, SuiteView
from bakeoff.report.words import p_is, points
from bakeoff.scoring.scores import ALL

NOTHING_TO_COMPARE = Sentence(
    "没有两个模型可以互相比较。", "There are no two models to compare with each other."
)
_ALL_NAMED = 6
"""How many models of a top group are all named."""


def verdict(findings: Findings, analysis: Analysis) -> list[Sentence]:
    """Return what failed, which models differ, what tuning did.

    The first sentence tells what failed or was left out, where anything was; the last ones are there where people or
    a judge model scored replies.
    """
    from bakeoff.report.opinions import opinions

    first = shortfall(findings)
    rated = opinions(findings)
    if not analysis.views:
        failed = sum(record.get("outcome") == "failed" for record in findings.stages)
        zh, en = "这次运行没有成绩可比", "This run has no scores to compare"
        if failed:
            zh, en = f"{zh}：{failed} 个步骤失败", f"{en}: {failed} {plural(failed, 'stage')} failed"
        return [*first, Sentence(zh + "。", en + "."), *rated]
    return [*first, _scope(findings, analysis), between(analysis), tuning(findings, analysis), *rated]


def _scope(findings: Findings, analysis: Analysis) -> Sentence:
    cells = [cell for view in analysis.views for cell in view.cells.values()]
    scored = {cell.subject.model for cell in cells}
    models = sum(any(model in scored for model in seeds) for seeds in findings.recipes.values())
    suites, questions = len(analysis.views), sum(view.n_questions for view in analysis.views)
    total, bad = len(cells), sum(not cell.ranked for cell in cells)
    runs = len(scored)
    seeds_zh, seeds_en = (
        (f"（按种子计 {runs} 个）", f" ({runs} counting every seed)") if runs > models else ("", "")
    )
    zh = f"{models} 个模型{seeds_zh}在 {suites} 个测试集上共作答 {questions:,} 题；"
    en = f"{models} {plural(models, 'model')}{seeds_en} answered {questions:,} {plural(questions, 'question')} "
    en += f"from {suites} test {plural(suites, 'suite')}. "
    subjects = _invalid_subjects(findings)
    also_zh = f"；另有 {subjects} 项科目成绩无效" if subjects else ""
    also_en = f", but {subjects} subject {plural(subjects, 'score')} {'is' if subjects == 1 else 'are'} not"
    also_en = also_en if subjects else ""
    if not bad:
        every = "Both" if total == 2 else f"All {total}"
        rest = f"{every} scores are valid" if total > 1 else "The score is valid"
        return Sentence(
            f"{zh}{f'{total} 项成绩全部' if total > 1 else '成绩'}有效{also_zh}。", f"{en}{rest}{also_en}."
        )
    if bad == total:
        every = "Both" if total == 2 else f"All {total}"
        rest = f"{every} scores are invalid" if total > 1 else "The score is invalid"
        return Sentence(
            f"{zh}{f'{total} 项成绩全部' if total > 1 else '成绩'}无效（原因见下表），没有可比较的成绩。",
            f"{en}{rest}, so there is nothing to compare.",
            "#bk-untrusted",
        )
    return Sentence(
        f"{zh}{total} 项成绩中 {bad} 项无效（原因见下表），未纳入比较。",
        f"{en}{bad} of the {total} scores {'is' if bad == 1 else 'are'} invalid and "
        f"{'was' if bad == 1 else 'were'} left out of the comparison.",
        "#bk-untrusted",
    )


def _invalid_subjects(findings: Findings) -> int:
    """Return how many subjects have invalid scores within valid suites."""
    scores = findings.scores
    names = ["model", "variant", "suite"]
    invalid = scores[(scores["trusted"].astype(str) == "False") & scores["value"].notna()]
    totals = set(invalid[invalid["subset"] == ALL][names].itertuples(index=False, name=None))
    parts = invalid[invalid["subset"] != ALL][[*names, "subset"]].drop_duplicates()
    return sum(row[:3] not in totals for row in parts.itertuples(index=False, name=None))


def between(analysis: Analysis) -> Sentence:
    """Return which models differ, or what could have been detected."""
    views = [view for view in analysis.views if view.pairs]
    pairs = [pair for view in views for pair in view.pairs]
    if not pairs:
        return NOTHING_TO_COMPARE
    shown = sum(pair.shown for pair in pairs)
    if not shown:
        reach = _reach(views)
        alone = len(pairs) == 1
        zh = "两个模型之间无显著差异" if alone else f"两两比较（{len(pairs)} 对）均无显著差异"
        en = "The two models do not" if alone else f"No two models ({len(pairs)} pairs)"
        return Sentence(f"{zh}。{reach.zh}", f"{en} differ measurably. {reach.en}", "#bk-suites")
    if len(pairs) == 1:
        return _only(pairs[0], views[0])
    leaders = _leaders(views)
    small = sum(pair.shown and not pair.matters(view.interest) for view in views for pair in view.pairs)
    zh = f"{len(pairs)} 对两两比较中 {shown} 对差异显著（Holm 校正后）"
    are = "is" if shown == 1 else "are"
    en = f"{shown} of {len(pairs)} pairwise differences {are} significant after Holm correction"
    if small:
        limit = _limits(views)
        zh += f"，其中 {small} 对差异小于 {limit} 分"
        en += f", {small} of them smaller than {limit} points"
    return Sentence(f"{leaders.zh}；{zh}。", f"{leaders.en}. {en}.", "#bk-suites")


def _only(pair: Difference, view: SuiteView) -> Sentence:
    """Return the difference of the only two models, which is significant."""
    ahead, behind = (pair.a, pair.b) if pair.verdict == "ahead" else (pair.b, pair.a)
    by, p = points(abs(pair.value)), p_is(pair.p)
    zh = f"{spaced(ahead.model)}在{inset(view.name)}上显著领先{inset(behind.model)}"
    zh = f"{zh.rstrip()}：相差 {by} 分，p {p}"
    en = f"On {view.name} {ahead.model} is significantly ahead of {behind.model}, by {by} points (p {p})"
    if not pair.matters(view.interest):
        limit = _limits([view])
        zh, en = f"{zh}，小于有意义的 {limit} 分", f"{en}, less than the {limit} points that matter"
    return Sentence(f"{zh}。", f"{en}.", "#bk-suites")


def _limits(views: Sequence[SuiteView]) -> str:
    return "/".join(f"{100 * interest:g}" for interest in sorted({view.interest for view in views}))


def _reach(views: Sequence[SuiteView]) -> Sentence:
    """Return which gap could have been detected.

    The larger of the power formula and the exact test's own limit counts.
    """
    reaches = [
        max(limits) for view in views if (limits := [x for x in (view.mdd, view.least) if not math.isnan(x)])
    ]
    if not reaches:
        return Sentence(
            "各模型的得分几乎完全相同，无法估计可检出的最小差距。",
            "The scores are so alike that the smallest detectable gap cannot be estimated.",
        )
    if math.isinf(max(reaches)):
        return Sentence(
            "题目太少：多大的差距都不可能达到显著。",
            "There are too few questions for any gap, however large, to be significant.",
        )
    low, high = (f"{100 * reach:.0f}" for reach in (min(reaches), max(reaches)))
    zh = f"约 {low} 分" if low == high else f"约 {low} 到 {high} 分（因测试集而异）"
    en = f"{low} points" if low == high else f"{low} to {high} points (depending on the suite)"
    return Sentence(
        f"以目前的题量，差距至少要达到{zh}才可能被检出。",
        f"With this few questions, only a gap of about {en} or more could be detected.",
    )


def _leaders(views: Sequence[SuiteView]) -> Sentence:
    """Return who stands in the top group of suites with differences."""
    telling = [view for view in views if any(pair.shown for pair in view.pairs)]
    flat = [view.name for view in views if view not in telling]
    tops = {
        view.name: tuple(s.model for s in view.delivered if "A" in view.cells[s].letters) for view in telling
    }
    zh, en = [], []
    if len(set(tops.values())) <= 2:
        for top in dict.fromkeys(tops.values()):
            suites = both_lists([suite for suite, models in tops.items() if models == top])
            names = both_lists(top, LISTED if len(top) > _ALL_NAMED else None)
            if len(top) == 1:
                zh.append(f"{spaced(names.zh)}在{inset(suites.zh)}上显著领先其他模型")
                en.append(f"on {suites.en} {names.en} is significantly ahead of all others")
            else:
                zh.append(f"{spaced(suites.zh)}上{inset(names.zh)}同处第一梯队，相互之间无显著差异")
                en.append(f"on {suites.en} the top group is {names.en}, which do not differ significantly")
    else:
        count = {model: sum(model in top for top in tops.values()) for top in tops.values() for model in top}
        ordered = sorted(count, key=lambda model: -count[model])
        listed = [(model, count[model]) for model in ordered[:LISTED]]
        more = len(ordered) - len(listed)
        zh.append(
            f"在有显著差异的 {len(tops)} 个测试集中，位居第一梯队的次数："
            + "，".join(f"{model} {times} 个" for model, times in listed)
            + (f"，另有 {more} 个模型也曾位居第一梯队" if more else "")
        )
        en.append(
            f"of the {len(tops)} suites with significant differences, "
            + joined(
                [
                    f"{model} {'' if place else 'is in the top group '}on {times}"
                    for place, (model, times) in enumerate(listed)
                ]
            )
            + (f" ({more} other {plural(more, 'model')} on some)" if more else "")
        )
    if flat:
        suites = both_lists(flat)
        zh.append(f"{spaced(suites.zh)}上各模型之间均无显著差异")
        en.append(f"on {suites.en} no two models differ significantly")
    text = "; ".join(en)
    return Sentence("；".join(zh), text[0].upper() + text[1:])


def tuning(findings: Findings, analysis: Analysis) -> Sentence:
    """What tuning gained and what it cost."""
    pairs = [pair for view in analysis.views for pair in view.tuning.values()]
    if not pairs:
        return _untold(analysis)
    up = sorted((p for p in pairs if p.verdict == "ahead"), key=lambda p: -p.value)
    down = sorted((p for p in pairs if p.verdict == "behind"), key=lambda p: p.value)
    rest = len(pairs) - len(up) - len(down)
    if not up and not down:
        zh = "微调前后无显著变化" if len(pairs) == 1 else f"{len(pairs)} 组微调前后的对照均无显著变化"
        en = "Fine-tuning changed no score measurably"
        en += "" if len(pairs) == 1 else f" ({len(pairs)} comparisons)"
        return Sentence(zh + "。", en + ".", "#bk-tuning")
    zh_parts, en_parts = [], []
    if up:
        zh_parts.append(f"微调后 {len(up)} 项成绩显著提升（{_named(up, '、', ' 等')}）")
        en_parts.append(
            f"fine-tuning improved {len(up)} {plural(len(up), 'score')} ({_named(up, ', ', ', …')})"
        )
        for taught in _taught(findings, up[:LISTED]):
            zh_parts.append(taught.zh)
            en_parts.append(taught.en)
    if down:
        zh_count = f"{len(down)} 项" if up else f"微调后 {len(down)} 项成绩"
        zh_parts.append(f"{zh_count}显著下降（{_named(down, '、', ' 等')}），即灾难性遗忘")
        scores = "" if up else f" {plural(len(down), 'score')}"
        what = f"{len(down)}{scores} ({_named(down, ', ', ', …')}): a sign of forgetting"
        en_parts.append(f"{'it' if up else 'fine-tuning'} lowered {what}")
    if rest:
        zh_parts.append(f"其余 {rest} 组无显著变化")
        others = "other shows" if rest == 1 else f"other {rest} show"
        en_parts.append(f"the {others} no measurable change")
    text = "; ".join(en_parts)
    return Sentence("；".join(zh_parts) + "。", text[0].upper() + text[1:] + ".", "#bk-tuning")


def _untold(analysis: Analysis) -> Sentence:
    """Return why tuned models cannot be held against their bases."""
    cells = [cell for view in analysis.views for cell in view.cells.values()]
    bases = {cell.subject.variant == "base" for cell in cells}
    if False not in bases or all(cell.subject.variant not in ("base", "tuned") for cell in cells):
        return Sentence("本次没有评测微调后的模型。", "No fine-tuned model was evaluated.")
    if True not in bases:
        return Sentence(
            "缺少基座模型的成绩，无法判断微调的得失。",
            "Without scores of the base models, what fine-tuning gained or cost is unknown.",
        )
    valid = {cell.subject.variant == "base" for cell in cells if cell.ranked}
    zh, en = {
        frozenset(): (
            "基座模型与微调后的模型均无有效成绩",
            "Neither base nor fine-tuned models have valid scores",
        ),
        frozenset([True]): ("微调后的模型没有有效成绩", "The fine-tuned models have no valid scores"),
        frozenset([False]): ("基座模型没有有效成绩", "The base models have no valid scores"),
        frozenset([True, False]): (
            "没有哪个测试集上基座与微调后的成绩都有效",
            "On no suite are the scores of both a model and its base valid",
        ),
    }[frozenset(valid)]
    return Sentence(
        f"{zh}，无法判断微调的得失。",
        f"{en}, so what fine-tuning gained or cost is unknown.",
        "#bk-untrusted" if valid != {True, False} else "",
    )


def _taught(findings: Findings, raised: Sequence[Difference]) -> list[Sentence]:
    """Return which of the *raised* suites the training data holds."""
    suites: dict[bool, dict[str, tuple[int, int]]] = {True: {}, False: {}}
    for leak in findings.leakage:
        if any((leak["model"], leak["variant"], leak["suite"]) == (*p.a, p.suite) for p in raised):
            shares = suites[bool(leak.get("expected"))]
            shares[leak["suite"]] = max(
                shares.get(leak["suite"], (0, 0)), (leak["n_leaked"], leak["n_asked"])
            )
    sentences = []
    for expected, counts in suites.items():
        if counts:
            zh = "、".join(
                f"{spaced(suite)}的 {n:,} 题均" if k == n else f"{spaced(suite)}的 {n:,} 题中有 {k:,} 题"
                for suite, (k, n) in counts.items()
            )
            en = joined(
                [
                    f"all {n:,} {suite} questions" if k == n else f"{k:,} of the {n:,} questions of {suite}"
                    for suite, (k, n) in counts.items()
                ]
            )
            sentences.append(
                Sentence(f"{zh}有意收入训练集，提升属预期", f"{en} are in the training set by design")
                if expected
                else Sentence(f"但{trailing(zh)}出现在训练数据中", f"but {en} occur in the training data")
            )
    return sentences


def _named(pairs: Sequence[Difference], separator: str, more: str) -> str:
    listed = separator.join(f"{p.a.model} · {p.suite} {points(p.value, sign=True)}" for p in pairs[:LISTED])
    return listed if len(pairs) <= LISTED else listed + more
