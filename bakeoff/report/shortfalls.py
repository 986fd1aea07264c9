"""What a run was asked for and did not do, in one sentence."""

from __future__ import annotations

from collections.abc import Collection

from bakeoff.foundation.sentences import Statement, plural
from bakeoff.matrix.schema import NO_DATA
from bakeoff.report.findings import Findings
from bakeoff.report.sentences import LISTED, Sentence, both_lists
from bakeoff.report.words import stage_names


def shortfall(findings: Findings) -> list[Sentence]:
    """Return what failed or was left out, in a sentence; may be none."""
    failed, left_out, skipped = failures(findings), *_skipped(findings)
    broken = _broken_stages(findings, failed)
    zh, en = [], []
    if failed:
        listed = [(suite, both_lists(models, LISTED)) for suite, models in failed.items()]
        zh_names, en_names = [f"{s}：{m.zh}" for s, m in listed], [f"{s}: {m.en}" for s, m in listed]
        more = len(listed) - LISTED
        zh.append(
            f"{len(failed)} 个测试集评测失败（{'；'.join(zh_names[:LISTED])}{f'；另有 {more} 个' if more > 0 else ''}）"
        )
        en.append(
            f"the evaluation of {len(failed)} {plural(len(failed), 'suite')} failed "
            f"({'; '.join(en_names[:LISTED])}{f'; and {more} more' if more > 0 else ''})"
        )
    if broken:
        zh_names, en_names = ([names[place] for names in broken] for place in (0, 1))
        zh.append(f"{len(broken)} 个步骤失败（{both_lists(zh_names, LISTED).zh}）")
        en.append(f"{len(broken)} {plural(len(broken), 'stage')} failed ({both_lists(en_names, LISTED).en})")
    if left_out:
        names = both_lists(left_out, LISTED)
        zh.append(f"{len(left_out)} 个测试集未评测（{names.zh}）")
        were = "was" if len(left_out) == 1 else "were"
        en.append(f"{len(left_out)} {plural(len(left_out), 'suite')} {were} left out ({names.en})")
    rows = [what for what in skipped if skipped_names(what) == (what, what)]
    stages = [what for what in skipped if what not in rows]
    for these, zh_noun, en_noun in ((rows, "个模型", "row"), (stages, "个步骤", "stage")):
        if not these:
            continue
        zh_names, en_names = ([skipped_names(what)[place] for what in these] for place in (0, 1))
        zh.append(f"{len(these)} {zh_noun}未执行（{both_lists(zh_names, LISTED).zh}）")
        were = "was" if len(these) == 1 else "were"
        en.append(
            f"{len(these)} {plural(len(these), en_noun)} {were} skipped ({both_lists(en_names, LISTED).en})"
        )
    if not zh:
        return []
    text = "; ".join(en)
    bad = bool(failed or broken)
    link = "#bk-failed" if bad and _has_failed_stage(findings) else "#bk-skipped"
    return [Sentence("；".join(zh) + "。", text[0].upper() + text[1:] + ".", link, bad)]


def skipped_names(what: str) -> tuple[str, str]:
    """Return what was skipped in Chinese and English: a row, or a stage."""
    row, dot, stage = what.rpartition(" · ")
    zh, en = stage_names(stage)
    return f"{row}{dot}{zh}", f"{row}{dot}{en}"


def failures(findings: Findings) -> dict[str, list[str]]:
    """Return suite -> models that lack a score they should have.

    Those that were skipped do not count.
    """
    scored = _scored(findings)
    answered = {model for model, _, _ in scored}
    left_out, skipped = _skipped(findings)
    unclear = _unclear(findings)
    missing: dict[str, list[str]] = {}
    for model, variant, suite in findings.asked or ():
        gone = model in unclear or (model in skipped and model not in answered)
        if (model, variant, suite) not in scored and suite not in left_out and not gone:
            missing.setdefault(suite, []).append(model)
    for suite, model in _failed_evaluations(findings):
        missing.setdefault(suite, []).append(model)
    return {suite: list(dict.fromkeys(models)) for suite, models in missing.items()}


def _scored(findings: Findings) -> set[tuple[str, str, str]]:
    """(model, variant, suite) of every score that has a value."""
    scores = findings.scores[findings.scores["value"].notna()]
    return set(scores[["model", "variant", "suite"]].astype(str).itertuples(index=False, name=None))


def _failed_evaluations(findings: Findings) -> list[tuple[str, str]]:
    """(suite, model) of each evaluation that failed."""
    return [
        (str(suite), str(record.get("model", "")))
        for record in findings.stages
        if record.get("outcome") == "failed" and (suite := (record.get("facts") or {}).get("suite"))
    ]


def _unclear(findings: Findings) -> set[str]:
    """Return models of which older runs say in words what was skipped."""
    return {what for what, why in findings.skipped if not isinstance(why, Statement)}


def _has_failed_stage(findings: Findings) -> bool:
    return any(record.get("outcome") == "failed" for record in findings.stages)


def _broken_stages(findings: Findings, failed: Collection[str]) -> list[tuple[str, str]]:
    """Return failed stages in both languages, each failure once.

    An evaluation is reported by its suite or by its stage, not by both.
    """
    broken: dict[tuple[str, str], None] = {}
    for record in findings.stages:
        stage, model = str(record.get("stage", "")), str(record.get("model", ""))
        if record.get("outcome") == "failed" and not (failed and stage == "evaluate"):
            zh, en = stage_names(stage)
            row = f"{model} · " if model else ""  # the judge model's stages are no row's
            broken[row + zh, row + en] = None
    return list(broken)


_AS_IT_SHOULD = frozenset({"runs.plan.not_trained", "chain.deployment.only_asked"})
"""Reasons of what was never to run: such a row lacks nothing."""


def _skipped(findings: Findings) -> tuple[list[str], list[str]]:
    """(suites that were left out, everything else that was skipped).

    A suite is left out for a row that lacks its data. Where reasons have no ids, it is one that was asked of a model of
    which something was skipped, and whose evaluation did not fail.
    """
    left_out: dict[str, None] = {}
    rest: dict[str, None] = {}
    for what, why in findings.skipped:
        if isinstance(why, Statement) and NO_DATA.made(why):
            left_out[why.values["suite"]] = None
        elif not (isinstance(why, Statement) and why.template.id in _AS_IT_SHOULD):
            rest[what] = None
    scored, unclear = _scored(findings), _unclear(findings)
    failed = {suite for suite, _ in _failed_evaluations(findings)}
    for model, variant, suite in findings.asked or ():
        if model in unclear and suite not in failed and (model, variant, suite) not in scored:
            left_out[suite] = None
    return list(left_out), list(rest)
