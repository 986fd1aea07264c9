"""Studies of what a run produced, for people and for the judge model."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

from bakeoff.chain.deployment import Deployment, deployments, see_alive, see_answering
from bakeoff.chain.service import Service
from bakeoff.foundation.errors import BakeoffError
from bakeoff.foundation.provenance import digest
from bakeoff.foundation.sentences import Template, joined, of_error, restored
from bakeoff.foundation.workspace import Workspace
from bakeoff.judgement.blind import Layout, Presentation, Study, build_study
from bakeoff.judgement.case_rows import CRISIS_WORDS
from bakeoff.judgement.judge_model import JudgeModel, compare_replies, probe_planted, score_replies, unscored
from bakeoff.judgement.judged import judged_by_model
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.replies import MAX_TOKENS, Case, Reply, Status, load_cases, read_replies
from bakeoff.judgement.rubric import DIMENSIONS
from bakeoff.judgement.soundness import doubts_of
from bakeoff.matrix.schema import Judge, Matrix
from bakeoff.matrix.seeds import first_of
from bakeoff.scoring.scores import ALL, CRISIS, Ledger, Score
from bakeoff.scoring.tables import score_row
from bakeoff.store.facts import EvaluationFacts
from bakeoff.store.stages import Record, Timeline, now

T = TypeVar("T")

NOT_IN_MATRIX = Template(
    "runs.judging.not_in_matrix", "{subject}: not in the matrix", zh="{subject}：不在矩阵中"
)
EARLIER_CASES = Template(
    "runs.judging.earlier_cases",
    "{subject}: answered an earlier version of the cases",
    zh="{subject}：回答的是个案的较早版本",
)
OTHER_LIMIT = Template(
    "runs.judging.other_limit",
    "{subject}: asked with another limit than {tokens} tokens",
    zh="{subject}：提问时的长度上限不是 {tokens} 个词元",
)
JUDGE_UNREACHABLE = Template(
    "runs.judging.judge_unreachable",
    "the judge model could not be asked: {error}",
    zh="评审模型无法使用：{error}",
    en="the judge model could not be used: {error}",
)
JUDGE_INTERRUPTED = Template(
    "runs.judging.judge_interrupted",
    "the judge model was interrupted; the next run asks for the rest",
    zh="评审模型的评分被中断，下次运行将补齐",
    en="rating by the judge model was interrupted; the next run completes it",
)
NOT_CALIBRATED = Template(
    "runs.judging.not_calibrated",
    "not calibrated: {why}",
    zh="评审模型未校准：{why}",
    en="judge not calibrated: {why}",
)
NO_VERDICT = Template(
    "runs.judging.no_verdict",
    "{count} of {total} replies have no verdict",
    zh="{total} 条回复中有 {count} 条没有评分",
    en="{count} of {total} replies have no rating",
)
VERDICTS = Template(
    "runs.judging.verdicts", "{study}: {count} of {total} verdicts", zh="{study}：已评 {count}/{total} 条"
)

COUNSELLING = "counselling"
"""The suite that the shipped cases make; their crises make :data:`~bakeoff.scoring.scores.CRISIS`."""


# -- for people ------------------------------------------------------------------------------------------------------


def gathered_replies(
    workspace: Workspace,
    rows: Iterable[str] | None = None,
    variants: Sequence[str] = (),
    cases_file: Path | None = None,
) -> tuple[list[Reply], list[str]]:
    """The comparable replies of the last run, and what was left out and why.

    Args:
        workspace: the store.
        rows: only these rows of the store; None takes all.
        variants: which variants; none given: tuned where there is one, else base.
        cases_file: the cases that were asked; None for the shipped ones.
    """
    cases = load_cases(cases_file)
    shas = {case.id: case.sha for case in cases}
    allowed = None if rows is None else set(rows)
    replies: list[Reply] = []
    left_out: list[str] = []
    for folder in sorted(workspace.models.glob("*/replies")):
        row, files = folder.parent.name, {path.stem: path for path in sorted(folder.glob("*.jsonl"))}
        if allowed is not None and row not in allowed:
            left_out.append(NOT_IN_MATRIX(subject=row))
            continue
        if first_of(row, {other.parent.name for other in workspace.models.glob("*/replies")}):
            continue  # people judge one run of a recipe, not each of its seeds
        for variant in [name for name in variants if name in files] if variants else list(files)[-1:]:
            answers = read_replies([files[variant]])
            if any(shas.get(reply.case_id, "") != reply.case_sha for reply in answers):
                left_out.append(EARLIER_CASES(subject=f"{row}/{variant}"))
            elif any(reply.settings.get("max_tokens", MAX_TOKENS) != MAX_TOKENS for reply in answers):
                left_out.append(OTHER_LIMIT(subject=f"{row}/{variant}", tokens=MAX_TOKENS))
            else:
                replies += answers
    return replies, left_out


def gathered_study(
    replies: Sequence[Reply], layout: Layout = "one-by-one", cases_file: Path | None = None
) -> Study | None:
    """A study of *replies* to the cases of a file; None without any reply."""
    if not any(reply.status != "errored" for reply in replies):
        return None
    return _named("replies", "咨询回复 · Counselling replies", replies, load_cases(cases_file), layout)


def _named(
    name: str, title: str, replies: Sequence[Reply], cases: Sequence[Case], layout: Layout = "one-by-one"
) -> Study:
    """A study whose id is derived from its whole content.

    Also how names are hidden counts, which a later version may do otherwise.
    """
    shown = Presentation(layout=layout)
    draft = build_study(replies, cases, shown, study_id="draft", title=title)
    name = f"{name[:40]}-{digest(draft.to_json())[:8]}"
    return build_study(replies, cases, shown, study_id=name, title=title)


# -- for the judge model ---------------------------------------------------------------------------------------------


@dataclass
class Judged:
    """What the judge model made of a run.

    Attributes:
        scores: rows of the scores table, metrics ``rubric_overall``, ``rubric_empathy`` …: 0 where every reply got
            1 point, 1 where every one got 5. Not to be trusted before the judge is calibrated.
        studies: ids of the studies in the store of judgements.
        problem: why it could not be asked, in words; empty where it could.
    """

    scores: list[dict[str, object]] = field(default_factory=list)
    studies: list[str] = field(default_factory=list)
    problem: str = ""


def judge_run(
    matrix: Matrix, workspace: Workspace, run_id: str, done: Sequence[Record], *, may_run: bool = True
) -> Judged:
    """Let the judge score a run's open questions and case replies.

    Verdicts that the store holds are not asked for again; without *may_run* nothing is asked at all.

    Args:
        done: what the stages of the run did.
    """
    assert matrix.judge
    judged = Judged()
    studies = _studies(matrix, done)
    if not studies:
        return judged
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(contextlib.closing(RatingStore(workspace.ratings)))
        for study in studies.values():
            store.add_study(study)
        judged.studies = [study.study_id for study in studies.values()]
        timeline = Timeline(workspace.run(run_id) / "events.jsonl")
        judge = _endpoint(matrix.judge)
        try:
            deployment = None
            if matrix.judge.row:
                deployment_of = deployments(matrix, [matrix.judge.row], workspace, run_id, may_run=may_run)
                (deployment,) = stack.enter_context(deployment_of)
                judge = replace(judge, name=deployment.served_name, weights=deployment.fingerprint)
            lacking = [s for s in studies.values() if unscored(store, s, judge, matrix.judge.repeats)]
            if lacking and may_run:
                asking = partial(_ask, store, lacking, repeats=matrix.judge.repeats, timeline=timeline)
                if deployment:
                    ask_deployed(deployment, judge, asking)
                else:
                    asking(judge)
        except BakeoffError as error:
            judged.problem = JUDGE_UNREACHABLE(error=of_error(error))
        except KeyboardInterrupt:  # the run is over, and its report is still to be written
            judged.problem = JUDGE_INTERRUPTED()
        for suite, study in studies.items():
            judged.scores += _score_rows(store, suite, study, judge, matrix)
        doubts = _doubts(matrix, done)
        for row in judged.scores:
            if doubt := doubts.get((str(row["model"]), str(row["variant"]), str(row["suite"]))):
                row["trusted"], row["why_not"] = False, joined([_text_of(row["why_not"]), doubt])
    return judged


def _endpoint(judge: Judge) -> JudgeModel:
    return JudgeModel(
        judge.url or "", judge.served_model or "", judge.key_env or "", max_tokens=judge.max_tokens
    )


def ask_deployed(deployment: Deployment, judge: JudgeModel, work: Callable[[JudgeModel], T]) -> T:
    """Return what *work* does with *judge* at a service that we deploy.

    *work* may be called again; what it has kept by then should not be asked for a second time.
    """

    def ask(service: Service) -> T:
        answer = work(replace(judge, url=service.url, api_key_env=service.key_env or ""))
        see_alive(service)
        if deployment.may_start_again:
            see_answering(service)
        return answer

    return deployment.ask(ask)


def _ask(
    store: RatingStore, studies: Sequence[Study], judge: JudgeModel, *, repeats: int, timeline: Timeline
) -> None:
    """Let *judge* score what it has given no verdict on."""
    judge.probe()
    for study in studies:
        if unscored(store, study, judge, repeats):
            _ask_about(store, study, judge, repeats, timeline)


def _ask_about(store: RatingStore, study: Study, judge: JudgeModel, repeats: int, timeline: Timeline) -> None:
    def tell(now_done: int, total: int) -> None:
        if now_done == total or now_done % max(1, total // 4) == 0:
            how_far = VERDICTS(study=study.title, count=now_done, total=total)
            timeline.tell("progress", stage="judge", model=judge.name, how_far=how_far)

    score_replies(store, study, judge, repeats=repeats, progress=tell)
    probe_planted(store, study, judge)
    if any(case.crisis for case in study.cases):  # the cases; pairs of every open question would be too many
        compare_replies(store, study, judge)


def _studies(matrix: Matrix, done: Sequence[Record]) -> dict[str, Study]:
    """The study of each suite: the case replies, and every open suite."""
    replies: list[Reply] = []
    suites_asked: dict[str, tuple[dict[str, Case], list[Reply]]] = {}
    for record in done:
        if record.outcome not in ("ran", "reused"):
            continue
        if record.stage == "replies" and not first_of(record.model, matrix.models):
            replies += read_replies([Path(record.output)])
        elif record.stage == "evaluate":
            suite = EvaluationFacts.read(record.facts).suite
            if suite in matrix.suites and matrix.suites[suite].kind == "open":
                cases, answers = suites_asked.setdefault(suite, ({}, []))
                for row in json.loads(Path(record.output).read_text(encoding="utf-8"))["samples"]:
                    case, reply = _of_sample(row, record)
                    cases[case.id] = case
                    answers.append(reply)
    studies = {}
    if any(reply.status != "errored" for reply in replies):
        studies[COUNSELLING] = _named(
            "cases", "咨询个案 · Counselling cases", replies, load_cases(matrix.cases_file)
        )
    for suite, (cases, answers) in suites_asked.items():
        if any(reply.status != "errored" for reply in answers):
            studies[suite] = _named(suite, suite, answers, list(cases.values()))
    return studies


def _text_of(value: object) -> str:
    """*value* as a text, which stays a statement where it is one."""
    return value if isinstance(value, str) else str(value)


def _doubts(matrix: Matrix, done: Sequence[Record]) -> dict[tuple[str, str, str], str]:
    """Why the replies of (row, variant, suite) cannot be trusted."""
    doubts: dict[tuple[str, str, str], str] = {}
    for record in done:
        if record.outcome not in ("ran", "reused"):
            continue
        if record.stage == "replies":
            why = doubts_of(read_replies([Path(record.output)]), load_cases(matrix.cases_file))
            doubts |= {(record.model, record.variant, suite): why for suite in (COUNSELLING, CRISIS)}
        elif record.stage == "evaluate":
            result = restored(json.loads(Path(record.output).read_text(encoding="utf-8")))
            suite = EvaluationFacts.read(record.facts).suite
            doubts[record.model, record.variant, suite] = result.get("why_not") or ""
    return doubts


def _of_sample(row: Mapping[str, object], record: Record) -> tuple[Case, Reply]:
    question = str(row["question"])
    case = Case(
        str(row["sample_id"]),
        question[:40],
        str(row["suite"]),
        bool(CRISIS_WORDS.search(question)),
        ({"role": "user", "content": question},),
    )
    status = cast(Status, "answered" if row["status"] == "unparsed" else row["status"])
    return case, Reply(
        case.id,
        record.model,
        record.variant,
        str(row["reply"]),
        status,
        case_sha=case.sha,
        fingerprint=str(record.identity.get("fingerprint", "")),
    )


def _score_rows(
    store: RatingStore, suite: str, study: Study, judge: JudgeModel, matrix: Matrix
) -> list[dict[str, object]]:
    """One row per subject and dimension; for the cases, crises as well."""
    verdicts = [part for part in judged_by_model(store, study.study_id) if part["judge"] == judge.judge_id]
    if not verdicts:
        return []
    (entry,) = verdicts
    label = "" if entry["calibrated"] else NOT_CALIBRATED(why=entry["why"])
    crises = {case.id for case in study.cases if case.crisis}
    rows = []
    for subject in study.subjects:
        case_ids = [part.case_id for part in study.replies if part.subject == subject]
        case_ids += [case_id for case_id, part, _ in study.missing if part == subject]
        for dimension in DIMENSIONS[-1:] + DIMENSIONS[:-1]:
            means = {part["subject"]: part for part in entry["parts"]["counselling"][dimension]}
            part = means.get(subject)
            mean = part["value"] if part else None
            value = math.nan if mean is None else (mean - 1) / 4
            metric = f"rubric_{dimension.removesuffix('_quality')}"
            count = sum(case_id not in crises for case_id in case_ids)
            if count:
                tally = _Tally(metric, value, count, part["n"] if part else 0)
                rows.append(_row(study, subject, suite, tally, label))
        if suite == COUNSELLING and crises.intersection(case_ids):
            answers = {
                check: next((part for part in rows_of if part["subject"] == subject), None)
                for check, rows_of in entry["checks"].items()
            }
            count = sum(case_id in crises for case_id in case_ids)
            counts = [part["n"] for part in entry["parts"]["crisis"]["safety"] if part["subject"] == subject]
            for check, answer in answers.items():
                share = answer["share"] if answer else None
                value = math.nan if share is None else share
                rows.append(_row(study, subject, CRISIS, _Tally(check, value, count, sum(counts)), label))
    for row in rows:
        suite_spec = matrix.suites.get(str(row["suite"]))
        row["benchmark"] = suite_spec.benchmark if suite_spec else row["suite"]
    return rows


@dataclass(frozen=True)
class _Tally:
    """A mean of verdicts by one metric: how many replies were to be scored, and how many were."""

    metric: str
    value: float
    total: int
    scored: int


def _row(study: Study, subject: str, suite: str, tally: _Tally, label: str) -> dict[str, object]:
    total, scored = tally.total, tally.scored
    model, _, variant = subject.rpartition("/")
    lacking = NO_VERDICT(count=total - scored, total=total) if scored < total else ""
    whole = 0.0 if math.isnan(tally.value) else tally.value * scored
    score = Score(
        subset=ALL,
        metric=tally.metric,
        value=tally.value,
        ledger=Ledger(total, scored, unparsed=0, empty=0, truncated=0, errored=total - scored),
        worst=whole / total,
        best=(whole + total - scored) / total,
        chance=math.nan,
        why_not=joined([label, lacking]),
    )
    return score_row(
        score,
        run_id="",
        model=model,
        variant=variant,
        suite=suite,
        fingerprint=next((reply.fingerprint for reply in study.replies if reply.subject == subject), ""),
        benchmark=suite,
        few_shot=0,
        finished_at=now(),
    )
