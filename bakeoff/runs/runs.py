"""A run as a whole: its name, what it found, its pages and tables."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bakeoff.foundation.errors import StoreError
from bakeoff.foundation.files import readable_rows
from bakeoff.foundation.sentences import Template, restored
from bakeoff.foundation.terminal import is_chinese, localized
from bakeoff.foundation.workspace import Workspace
from bakeoff.report.findings import Findings, has_scores, known_runs, run_folder
from bakeoff.runs import forecast
from bakeoff.runs.ending import board
from bakeoff.runs.following import WORDS, fitted
from bakeoff.scoring.scores import SPEED
from bakeoff.store.events import Event
from bakeoff.store.stages import Record, record_of

NO_EARLIER_RUN = Template(
    "runs.runs.no_earlier_run",
    "--compare last: no earlier run in {place} has scores; run once without it",
    zh="--compare last：{place} 中没有更早且有成绩的运行；请先不带它运行一次",
)
NO_RUN_TO_COMPARE = Template(
    "runs.runs.no_run_to_compare",
    "--compare: no run {run!r} in {place}; known: {names}",
    zh="--compare：{place} 中没有运行 {run}；现有：{names}",
)
ASKED_TWICE = Template(
    "runs.runs.asked_twice",
    "of {n} questions asked twice, {replies} replies and {grades} grades were the same (grades: {low:.0%} to "
    "{high:.0%})",
    zh="{n} 题重问：{replies} 题回复相同，{grades} 题评分相同（评分：{low:.0%} 到 {high:.0%}）",
)
SCORINGS_AGREE = Template(
    "runs.runs.scorings_agree",
    "the likeliest letter is the generated answer of {suite} in {same} of {questions} questions",
    zh="{questions} 题中有 {same} 题概率最高的字母与 {suite} 中生成的答案相同",
)
CLOCK_BEHIND = Template(
    "runs.runs.clock_behind",
    "the clock is behind run {later}, which `make report` takes for the newest; this run's report: "
    "python -m bakeoff.report --run {run_id}",
    zh="系统时钟早于运行 {later}，`make report` 会把后者当作最新的运行；"
    "本次运行的报告：python -m bakeoff.report --run {run_id}",
)
TIMELINE = Template("runs.runs.timeline", "timeline: {path}", zh="时间线：{path}")
INVALID_AT = Template("runs.runs.invalid_at", "invalid at {loads}: {why}", zh="{loads}无效：{why}")
IN_FLIGHT = Template("runs.runs.in_flight", "{number} in flight", zh="同时 {number} 个请求")


def new_id() -> str:
    """A name for a run that sorts by time."""
    return datetime.now(UTC).strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(2)


def report_page(option: str) -> Path:
    """The file that ``--html`` means: ``index.html`` in a folder, or a file."""
    path = Path(option)
    return path if path.suffix in (".html", ".htm") else path / "index.html"


def events(workspace: Workspace, run_id: str) -> Iterator[Event]:
    """The timeline of a run, event by event, without truncated lines."""
    path = workspace.run(run_id) / "events.jsonl"
    if path.exists():
        yield from readable_rows(path)


def records(workspace: Workspace, run_id: str) -> list[Record]:
    """What every stage of a run did, in order, each stage once."""
    done: dict[str, Record] = {}
    for event in events(workspace, run_id):
        if event.pop("event") == "stage":
            event.pop("time")
            if not (record := record_of(event)):
                continue
            if record.output not in done or record.outcome != "reused":
                done[record.output] = record
    return list(done.values())


UNREADABLE = Template(
    "runs.runs.unreadable",
    "{output} cannot be read: {problem}; run again: it is made anew",
    zh="无法读取 {output}：{problem}；请重新运行，将重新生成",
    en="{output} cannot be read: {problem}; run again to make it anew",
)


def findings_of(workspace: Workspace, run_id: str | None = None) -> Findings:
    """The results of a run, by default the newest that has scores.

    Raises:
        StoreError: no such run, or one of its files cannot be read.
    """
    findings = Findings.from_store(workspace.root, run_id)
    if findings.run_id == run_folder(workspace.root).name:
        findings.ratings = ratings_of(workspace, findings.stages) or findings.ratings
    return findings


def ratings_of(
    workspace: Workspace, stages: Sequence[Mapping[str, Any]], by_judge: Sequence[str] = ()
) -> dict[str, Any] | None:
    """The verdicts of the newest study that people judged.

    Each says under ``stale`` of which of its subjects this run served something else. None where nobody has judged
    anything.

    Args:
        workspace: the store.
        stages: the records of the run, as ``run.json`` has them.
        by_judge: the studies that the judge of the matrix was given; they are shown in any case.
    """
    if not workspace.ratings.exists():
        return None
    from bakeoff.judgement.evidence import with_evidence
    from bakeoff.judgement.ratings import RatingStore

    with contextlib.closing(RatingStore(workspace.ratings)) as store:
        judged = {name: {row["source"] for row in store.judgements(name)} for name in store.studies()}
        by_people = [name for name, sources in judged.items() if "study" in sources]
        by_any = [name for name, sources in judged.items() if sources]
        shown = list(
            dict.fromkeys([*by_people[-1:], *by_any[-1:], *(name for name in by_judge if judged[name])])
        )
        verdicts = [with_evidence(store, name) for name in shown]
    weights = {
        f"{stage['model']}/{stage['variant']}": str(stage["identity"]["fingerprint"])
        for stage in stages
        if stage["variant"] and "fingerprint" in stage["identity"]
    }
    for verdict in verdicts:
        judged_weights = verdict["study"]["weights"]
        verdict["stale"] = [
            {"subject": subject, "judged": fingerprint, "now": weights[subject]}
            for subject, fingerprint in judged_weights.items()
            if weights.get(subject, fingerprint) != fingerprint
        ]
    return {**verdicts[0], "others": verdicts[1:]} if verdicts else None


def earlier(store: Path, name: str, run_id: str = "") -> str:
    """The id of the run that *name* or ``last`` means.

    Raises:
        StoreError: there is none.
    """
    run_ids = [folder.name for folder in known_runs(store)]
    if name == "last":
        before = run_ids[: run_ids.index(run_id)] if run_id in run_ids else run_ids
        scored = (name_of for name_of in reversed(before) if has_scores(store / "runs" / name_of))
        if newest := next(scored, None):
            return newest
        raise StoreError(NO_EARLIER_RUN(place=store / "runs"))
    if name not in run_ids:
        raise StoreError(NO_RUN_TO_COMPARE(run=name, place=store / "runs", names=run_ids[-5:] or "–"))
    return name


def _card(workspace: Workspace, run_id: str) -> Iterator[str]:
    """The sentences that head the report, and the board, in one language."""
    from bakeoff.report.analysis import analyse
    from bakeoff.report.answer import DEMONSTRATION, answer

    findings = Findings.from_store(workspace.root, run_id)
    chinese = is_chinese()
    if findings.demonstration:
        yield DEMONSTRATION.zh if chinese else DEMONSTRATION.en
    analysis = analyse(findings)
    for label_zh, label_en, sentence in answer(findings, analysis):
        yield f"{label_zh}：{sentence.zh}" if chinese else f"{label_en}: {sentence.en}"
    yield from board(analysis, chinese=chinese)


def _who(entry: Mapping[str, Any], suite: str) -> str:
    """A score's model, variant and suite in columns."""
    variant = str(entry["variant"])
    variant = WORDS.get(variant, variant) if is_chinese() else variant
    return f"{entry['model']:<16} {fitted(variant, 6)} {suite:<18}"


def _beside_scores(run: Mapping[str, Any]) -> Iterator[str]:
    """Noise of the replies, agreement of scorings, and forecast errors."""
    for entry in run.get("evaluations", ()):
        if noise := entry.get("noise"):
            n = noise["asked_twice"]
            if noise["same_replies"] < n:
                low, high = noise["grades_interval"]
                replies, grades = noise["same_replies"], noise["same_grades"]
                words = ASKED_TWICE(n=n, replies=replies, grades=grades, low=low, high=high)
                yield f"{_who(entry, entry['suite'])} {localized(words)}"
    for entry in run.get("scoring_agreement", ()):
        generated, same, questions = (entry[name] for name in ("generated", "same", "questions"))
        words = SCORINGS_AGREE(suite=generated, same=same, questions=questions)
        yield f"{_who(entry, entry['suite'])} {localized(words)}"
    if difference := forecast.difference(run.get("forecast", ())):
        yield localized(difference)


_SPEED_UNITS = {
    "ttft_s": Template(
        "runs.runs.ttft", "{value:.3g} s to the first token at {load}", zh="{load}：首词元 {value:.3g} 秒"
    ),
    "output_tokens_per_s": Template(
        "runs.runs.tokens_per_s", "{value:.3g} tokens/s at {load}", zh="{load}：{value:.3g} 词元/秒"
    ),
}


def summary(workspace: Workspace, run_id: str) -> Iterator[str]:
    """The answer card, the scores in a few lines, and the timeline's path."""
    path = workspace.run(run_id) / "scores.json"
    if not path.exists():
        return
    card: list[str] = []
    with contextlib.suppress(StoreError):  # a run that was killed at its end lacks tables
        card = list(_card(workspace, run_id))
    yield from card
    rows = restored(json.loads(path.read_text(encoding="utf-8")))
    totals = [] if card else [row for row in rows if row["subset"] == "ALL"]
    seen: set[tuple[str, ...]] = set()
    for row in totals:
        key = (row["model"], row["variant"], row["suite"])
        if key in seen:
            continue  # the first metric of a suite is its headline
        seen.add(key)
        value = "no score" if row["value"] is None else f"{row['value']:.1%}"
        note = "" if row["trusted"] else f"  invalid: {row['why_not']}"
        yield f"{row['model']:<16} {row['variant']:<6} {row['suite']:<18} {value:>8} of {row['n_asked']}{note}"
    yield from _speeds([row for row in rows if row["benchmark"] == SPEED])
    run = restored(json.loads((path.parent / "run.json").read_text(encoding="utf-8")))
    yield from _beside_scores(run)
    for stage in run["stages"]:
        if UNREADABLE.made(stage["why"]):
            yield f"{_who(stage, '').rstrip()} {localized(stage['why'])}"
    if later := _later_run(workspace, run_id):
        yield localized(CLOCK_BEHIND(later=later, run_id=run_id))
    yield localized(TIMELINE(path=workspace.run(run_id) / "events.jsonl"))


def _speeds(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line with the speeds of each service, and one against them."""
    speeds: dict[tuple[str, str], list[str]] = {}
    doubts: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        who = (row["model"], row["variant"])
        if row["metric"] in _SPEED_UNITS and row["value"] is not None:
            words = localized(_SPEED_UNITS[row["metric"]](value=row["value"], load=_load(row["subset"])))
            speeds.setdefault(who, []).append(words)
        why = row.get("why_not")
        if why and row["subset"] not in doubts.setdefault((*who, why), []):
            doubts[*who, why].append(row["subset"])
    speed, comma = ("服务速度", "，") if is_chinese() else ("speed", ", ")
    for (model, variant), values in speeds.items():
        yield f"{_who({'model': model, 'variant': variant}, speed)} {comma.join(values)}"
    for (model, variant, why), loads in doubts.items():
        words = INVALID_AT(loads=[_load(load) for load in loads], why=why)
        yield f"{_who({'model': model, 'variant': variant}, speed)} {localized(words)}"


def _load(subset: str) -> str:
    """Return how many requests were in flight, as a statement."""
    number = subset.removesuffix(" in flight")
    return IN_FLIGHT(number=number) if number != subset else subset


def _later_run(workspace: Workspace, run_id: str) -> str:
    """The run with scores that bears a time to come; empty for none.

    A clock was set back since.
    """
    times = (run_id[:15], new_id()[:15])
    names = [folder.name for folder in known_runs(workspace.root) if has_scores(folder)]
    return next((name for name in reversed(names) if name[:15] > max(times)), "")
