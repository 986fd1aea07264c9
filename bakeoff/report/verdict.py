"""Three sentences about the numbers, in Chinese and English, that claim nothing the tests do not support."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from bakeoff.report.analysis import Analysis, Difference, SuiteView
from bakeoff.report.findings import Findings
from bakeoff.report.words import points


class Sentence(NamedTuple):
    """One sentence in both languages."""

    zh: str
    en: str


LISTED = 3
"""How many things of a kind a sentence names before it counts the rest."""


def verdict(findings: Findings, analysis: Analysis) -> list[Sentence]:
    """What was compared, which models differ, and what tuning did: one sentence each."""
    if not analysis.views:
        failed = sum(one.get("outcome") == "failed" for one in findings.stages)
        zh, en = "这次运行没有成绩可比", "This run has no scores to compare"
        if failed:
            zh, en = f"{zh}：{failed} 个步骤失败", f"{en}: {failed} {_s(failed, 'stage')} failed"
        return [Sentence(zh + "。", en + ".")]
    return [_scope(analysis), _between(analysis), _tuning(findings, analysis)]


def _scope(analysis: Analysis) -> Sentence:
    cells = [cell for view in analysis.views for cell in view.cells.values()]
    models = len({cell.subject.model for cell in cells})
    suites, questions = len(analysis.views), sum(view.n_questions for view in analysis.views)
    total, bad = len(cells), sum(not cell.ranked for cell in cells)
    zh = f"{models} 个模型答了 {suites} 个测试集的 {questions:,} 道题；"
    en = f"{models} {_s(models, 'model')} answered {questions:,} {_s(questions, 'question')} "
    en += f"of {suites} {_s(suites, 'suite')}; "
    if not bad:
        one = "all " + str(total) + " scores can be trusted." if total > 1 else "the score can be trusted."
        return Sentence(f"{zh}{total} 个成绩全部可信。", en + one)
    return Sentence(
        f"{zh}{total} 个成绩中有 {bad} 个不可信，未参与比较。",
        f"{en}{bad} of the {total} scores cannot be trusted and {'takes' if bad == 1 else 'take'} "
        "no part in the comparison.",
    )


def _between(analysis: Analysis) -> Sentence:
    views = [view for view in analysis.views if view.pairs]
    pairs = [pair for view in views for pair in view.pairs]
    if not pairs:
        return Sentence("没有两个模型可以互相比较。", "There are no two models to compare with each other.")
    shown = sum(pair.shown for pair in pairs)
    if not shown:
        low, high = points(min(view.mdd for view in views)), points(max(view.mdd for view in views))
        zh_reach = f"{low} 分" if low == high else f"{low} 到 {high} 分（因测试集而异）"
        en_reach = low if low == high else f"{low} to {high}"
        zh = "唯一的一对模型分不出高下" if len(pairs) == 1 else f"{len(pairs)} 对比较中没有一对能看出差别"
        en = (
            "The one pair of models cannot"
            if len(pairs) == 1
            else f"None of the {len(pairs)} pairs of models can"
        )
        return Sentence(
            f"{zh}：以这个题量，差距要到约 {zh_reach}才看得出来。",
            f"{en} be told apart: with this many questions a difference has to reach about {en_reach} points"
            f"{'' if low == high else ', depending on the suite,'} to be seen.",
        )
    zh, en = _leaders(views)
    rest_zh = f"{len(pairs)} 对比较中 {shown} 对的差别经校正后成立" + (
        "，其余分不出高下" if shown < len(pairs) else ""
    )
    rest_en = f"{shown} of {len(pairs)} pairs differ after correction"
    rest_en += ", the rest cannot be told apart" if shown < len(pairs) else ""
    return Sentence(f"{zh}；{rest_zh}。", f"{en}; {rest_en}.")


def _leaders(views: Sequence[SuiteView]) -> tuple[str, str]:
    """Who stands in the first group, over the suites on which any two models differ."""
    telling = [view for view in views if any(pair.shown for pair in view.pairs)]
    flat = [view.name for view in views if view not in telling]
    tops = {
        view.name: tuple(s.model for s in view.delivered if "A" in view.cells[s].letters) for view in telling
    }
    zh, en = [], []
    if len(set(tops.values())) <= 2:
        for top in dict.fromkeys(tops.values()):
            suites = [suite for suite, own in tops.items() if own == top]
            if len(top) == 1:
                zh.append(f"{'、'.join(suites)} 上 {top[0]} 独自领先")
                en.append(f"on {_and(suites)} {top[0]} leads alone")
            else:
                zh.append(f"{'、'.join(suites)} 上领先的是 {'、'.join(top)}，彼此分不出高下")
                en.append(f"on {_and(suites)} the lead is shared by {_and(top)}")
    else:
        count = {model: sum(model in top for top in tops.values()) for top in tops.values() for model in top}
        ordered = sorted(count, key=lambda model: -count[model])
        named = [f"{model} ({count[model]})" for model in ordered[:LISTED]]
        more = len(ordered) - len(named)
        zh.append(
            f"能分出高下的 {len(tops)} 个测试集里，最常处于第一组的是 {'、'.join(named)}"
            + (f"，另有 {more} 个模型也在其中出现过" if more else "")
        )
        en.append(
            f"of the {len(tops)} suites that tell models apart, the first group most often holds {_and(named)}"
            + (
                f"; {more} other {_s(more, 'model')} {'appears' if more == 1 else 'appear'} there too"
                if more
                else ""
            )
        )
    if flat:
        zh.append(f"{'、'.join(flat)} 上没有两个模型分得出高下")
        en.append(f"on {_and(flat)} no two models can be told apart")
    text = "; ".join(en)
    return "；".join(zh), text[0].upper() + text[1:]


def _tuning(findings: Findings, analysis: Analysis) -> Sentence:
    pairs = [pair for view in analysis.views for pair in view.tuning.values()]
    if not pairs:
        if "tuned" not in {cell.subject.variant for view in analysis.views for cell in view.cells.values()}:
            return Sentence("这次没有评测微调后的模型。", "No tuned model was evaluated.")
        return Sentence(
            "没有基座成绩可与微调后的对照，因此不知道微调得到了什么、丢了什么。",
            "No score of a base stands beside a tuned one, so what tuning gained or cost is unknown.",
        )
    up = sorted((p for p in pairs if p.verdict == "ahead"), key=lambda p: -p.value)
    down = sorted((p for p in pairs if p.verdict == "behind"), key=lambda p: p.value)
    rest = len(pairs) - len(up) - len(down)
    if not up and not down:
        if len(pairs) == 1:
            return Sentence("微调前后看不出变化。", "Between base and tuned no change can be shown.")
        return Sentence(
            f"{len(pairs)} 组微调前后的对照中，没有一组看得出变化。",
            f"In none of the {len(pairs)} comparisons of tuned with base can a change be shown.",
        )
    zh, en = [], []
    if up:
        zh.append(f"微调提高了 {_named(up, '、', ' 等 {} 项')}")
        en.append(f"tuning raised {_named(up, ', ', ' and {} more')}")
        for told in _taught(findings, up[:LISTED]):
            zh.append(told.zh)
            en.append(told.en)
    if down:
        zh.append(f"{'但' if up else '微调'}降低了 {_named(down, '、', ' 等 {} 项')}，即遗忘")
        en.append(
            f"{'it' if up else 'tuning'} lowered {_named(down, ', ', ' and {} more')}, which is forgetting"
        )
    if rest:
        zh.append(f"其余 {rest} 组看不出变化")
        en.append(f"in the other {rest} {_s(rest, 'comparison')} no change can be shown")
    text = "; ".join(en)
    return Sentence("；".join(zh) + "。", text[0].upper() + text[1:] + ".")


def _taught(findings: Findings, raised: Sequence[Difference]) -> list[Sentence]:
    """Which of the suites that tuning *raised* asked what the training data holds, and whether that was meant."""
    suites: dict[bool, dict[str, tuple[int, int]]] = {True: {}, False: {}}
    for one in findings.leakage:
        if any((one["model"], one["variant"], one["suite"]) == (*p.a, p.suite) for p in raised):
            known = suites[bool(one.get("expected"))]
            known[one["suite"]] = max(known.get(one["suite"], (0, 0)), (one["n_leaked"], one["n_asked"]))
    told = []
    for expected, counts in suites.items():
        if counts:
            zh = "、".join(f"{suite} 的 {n} 道题中有 {k} 道" for suite, (k, n) in counts.items())
            en = _and([f"{k} of the {n} questions of {suite}" for suite, (k, n) in counts.items()])
            told.append(
                Sentence(f"其中 {zh}是训练时有意教过的", f"{en} were taught on purpose")
                if expected
                else Sentence(f"其中 {zh}出现在训练数据里", f"but {en} occur in the training data")
            )
    return told


def _named(pairs: Sequence[Difference], separator: str, more: str) -> str:
    listed = separator.join(f"{p.a.model} · {p.suite} ({points(p.value, sign=True)})" for p in pairs[:LISTED])
    if len(pairs) <= LISTED:
        return listed
    return listed + more.format(len(pairs) if "等" in more else len(pairs) - LISTED)


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _s(count: int, word: str) -> str:
    return word if count == 1 else word + "s"
