"""People's ratings, recounted from the database of the judge's page."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import cast

from bakeoff.foundation.sentences import with_statements
from bakeoff.judgement.database import APPEND_ONLY
from bakeoff.judgement.evidence import with_evidence
from bakeoff.judgement.ratings import RatingStore
from bakeoff.verify import words
from bakeoff.verify.audit import Audit
from bakeoff.verify.evidence import Evidence, Row, read_object
from bakeoff.verify.queues import check_database

_RULE = "ratings"
_MANY, _VARIED = 12, 5
"""Replies, and different judgements among them, on which two people do not agree throughout by chance."""
_TRIED = 8
"""Ends of the database that may belong to a page: corrections do not change how many ratings there are."""
_LATER = ("judgement", "item", "setting", "adjudication", "erasure", "comparison")
"""Tables that a summary reads, and that grow while people work."""


def check_ratings(audit: Audit, evidence: Evidence, same_code: bool) -> None:
    """Recount the ratings that run and report show.

    *same_code*: whether the page is of this version, whose summary may be compared whole; that of another one is
    compared rating by rating.
    """
    first: dict[str, Row] = {}
    for folder in evidence.folders:
        path = folder / "run.json"
        ratings = read_object(path).get("ratings") if path.is_file() else None
        studies: list[Row] = [ratings, *ratings.get("others", ())] if isinstance(ratings, dict) else []
        for study in studies:
            place = f"{folder.name}/run.json ratings {study['study']['id']}"
            with audit.reading(place):
                _check_sums(audit, place, study)
                _check_counts(audit, place, study, first.setdefault(str(study["study"]["id"]), study))
                _check_study(audit, evidence, place, study, same_code)
        if not studies and folder == evidence.run_folder:
            _check_silence(audit, evidence, f"{folder.name}/run.json ratings")


def _database(evidence: Evidence) -> Path | None:
    path = evidence.root / "judge" / "ratings.sqlite" if evidence.root else None
    return path if path and path.is_file() else None


def _check_silence(audit: Audit, evidence: Evidence, place: str) -> None:
    """See that a run without ratings ended before there were any."""
    path, skipped = _database(evidence), evidence.run.get("skipped", [])
    if path is None or "ratings" not in evidence.run or any(what == "judgements" for what, _ in skipped):
        return
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        (before,) = db.execute(
            "SELECT COUNT(*) FROM judgement WHERE source != 'chat' AND created_at < ?", (evidence.ended,)
        ).fetchone()
    audit.compare(_RULE, place, f"{before} ratings of before its end are not shown" if before else "", "")


def _check_sums(audit: Audit, place: str, study: Row) -> None:
    """Recount the means of models from the ratings shown beside them."""
    if "items" not in study:
        audit.note(words.RATINGS_UNKEPT(place=place))
        return
    audit.compare(_RULE, f"{place} raters who scored alike throughout", twins(study["items"]), [])
    points: dict[tuple[str, str, str], list[int]] = {}
    for item in study["items"]:
        part = "crisis" if item["crisis"] else "counselling"
        for rating in item["ratings"]:
            if not rating["by_model"] and not rating["repeat"] and not rating["cannot_judge"]:
                for dimension, score in rating["scores"].items():
                    points.setdefault((part, dimension, str(item["subject"])), []).append(int(score))
    for part, verdicts in study["parts"].items():
        for dimension, scored in (verdicts or {"scores": {}})["scores"].items():
            for row in scored["subjects"]:
                scores = points.pop((part, dimension, str(row["subject"])), [])
                where = f"{place} {part} {dimension} {row['subject']}"
                counted = [sum(score == point for score in scores) for point in range(1, 6)]
                audit.compare(_RULE, f"{where} distribution", row["distribution"], counted)
                audit.compare(_RULE, f"{where} n_judgements", row["n_judgements"], len(scores))


def twins(items: Sequence[Row]) -> list[tuple[str, str]]:
    """Return pairs of raters who scored alike throughout.

    On so many replies, and with so many different judgements among them, that nobody does so by chance.
    """
    scores: dict[str, dict[int, tuple[tuple[str, int], ...]]] = {}
    for number, item in enumerate(items):
        for rating in item["ratings"]:
            if not rating["by_model"] and not rating["repeat"] and not rating["cannot_judge"]:
                scores.setdefault(str(rating["rater"]), {})[number] = tuple(sorted(rating["scores"].items()))
    found = []
    for a, b in combinations(sorted(scores), 2):
        both = scores[a].keys() & scores[b].keys()
        alike = {scores[a][number] for number in both if scores[a][number] == scores[b][number]}
        is_whole = all(scores[a][number] == scores[b][number] for number in both)
        if len(both) >= _MANY and is_whole and len(alike) >= _VARIED:
            found.append((a, b))
    return found


def _check_counts(audit: Audit, place: str, study: Row, other: Row) -> None:
    """Hold the counts of a report against those of its run.

    Only where both show the same ratings. A queue may have grown since, and a rating may have been corrected to the
    same scores.
    """
    if study.get("items") != other.get("items"):
        return
    for name in ("judgements", "cannot_judge", "other_rubric"):
        audit.compare(_RULE, f"{place} counts {name}", study["counts"].get(name), other["counts"].get(name))
    both = study["counts"]["raters"].keys() & other["counts"]["raters"].keys()
    for rater in sorted(both):
        shown, source = (each["counts"]["raters"][rater]["done"] for each in (study, other))
        audit.compare(_RULE, f"{place} counts {rater} done", shown, source)


def _check_study(audit: Audit, evidence: Evidence, place: str, study: Row, same_code: bool) -> None:
    """Hold a study against the database as it was at the time."""
    path = _database(evidence)
    if path is None:
        audit.note(words.NO_RATINGS())
        return
    name, states = str(study["study"]["id"]), []
    with tempfile.TemporaryDirectory(prefix="verify-") as scratch:
        copy = Path(scratch) / "ratings.sqlite"
        _copy(path, copy)
        _check_queue(audit, place, copy)
        check_database(audit, f"{place} database", copy, same_code)
        newest = _newest(copy)
        is_whole = all(moment <= evidence.ended for moment in newest.values())
        for last in _ends(copy, name, study, evidence.ended):
            states.append(_summary(copy.read_bytes(), name, last))
            if _agrees(states[-1], study, whole=is_whole and same_code):
                break
    if not states:
        audit.fail(_RULE, place, words.OTHER_COUNT(), words.COUNT_THEN())
        return
    if newest["erasure"] > evidence.ended:
        audit.note(words.ERASED(place=place))
        return
    expected = min(states, key=lambda state: _distance(state, study, same_code))
    names = sorted(expected) if same_code else ["items"]
    for key in names:
        if key == "counts" and not is_whole:
            continue  # who joined later is counted there
        audit.compare(_RULE, f"{place} {key}", study.get(key), expected[key])
    if not same_code:
        audit.note(words.OTHER_SUMMARY(place=place))
    _check_stale(audit, evidence, place, study)


def _check_queue(audit: Audit, place: str, copy: Path) -> None:
    """See that ratings and what raters were shown belong together."""
    with contextlib.closing(sqlite3.connect(copy)) as db:
        loose = [str(row[0]) for row in db.execute("PRAGMA foreign_key_check").fetchall()]
        apart = db.execute(
            "SELECT j.id FROM judgement j JOIN item i ON j.item_id = i.item_id WHERE j.study_id IS NOT i.study_id "
            "OR j.reply_id IS NOT i.reply_id OR j.case_id IS NOT i.case_id OR j.repeat IS NOT i.repeat"
        ).fetchall()
        orphaned = db.execute(
            "SELECT id FROM judgement WHERE source = 'study' AND item_id IS NULL AND study_id IS NOT NULL "
            "AND NOT EXISTS (SELECT 1 FROM erasure)"
        ).fetchall()
    audit.compare(_RULE, f"{place} rows of the database without what they refer to", sorted(set(loose)), [])
    audit.compare(_RULE, f"{place} ratings of something else than was shown", [row[0] for row in apart], [])
    audit.compare(_RULE, f"{place} ratings of nothing that was shown", [row[0] for row in orphaned], [])


def _check_stale(audit: Audit, evidence: Evidence, place: str, study: Row) -> None:
    """See that models judged under other weights are named as such."""
    weights = {
        f"{stage['model']}/{stage['variant']}": str(stage["identity"]["fingerprint"])
        for stage in evidence.run.get("stages", [])
        if stage["variant"] and "fingerprint" in stage["identity"]
    }
    judged: Mapping[str, str] = study["study"]["weights"]
    expected = {subject for subject, sha in judged.items() if weights.get(subject, sha) != sha}
    audit.compare(_RULE, f"{place} stale", sorted(row["subject"] for row in study["stale"]), sorted(expected))


def _copy(path: Path, copy: Path) -> None:
    """Copy a database as it stands, without a change to it."""
    with (
        contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as source,
        contextlib.closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)
        for table in APPEND_ONLY:
            target.execute(f"DROP TRIGGER IF EXISTS {table}_no_delete")
        target.commit()


def _newest(copy: Path) -> dict[str, str]:
    """Return when the newest row of each table that grows was written."""
    newest = dict.fromkeys(_LATER, "")
    with contextlib.closing(sqlite3.connect(copy)) as db:
        for table in _LATER:
            with contextlib.suppress(sqlite3.OperationalError):  # an older database lacks it, or its time
                (moment,) = db.execute(f"SELECT MAX(created_at) FROM {table}").fetchone()
                newest[table] = str(moment or "")
    return newest


def _ends(copy: Path, name: str, study: Row, ended: str) -> Iterator[int]:
    """Yield the last judgements that the summary may stand on, newest first."""
    shown = sum(len(item["ratings"]) for item in study.get("items", ()))
    with contextlib.closing(sqlite3.connect(copy)) as db:
        rows = db.execute(
            "SELECT id, created_at, corrects, study_id, source FROM judgement ORDER BY id"
        ).fetchall()
    count, ends = 0, []
    for number, (last, _, corrects, of_study, source) in enumerate(rows):
        count += of_study == name and source in ("study", "model") and corrects is None
        later = rows[number + 1][1] if number + 1 < len(rows) else ""
        if count == shown and not (later and later < ended):  # what there was by the end of the run counts
            ends.append(int(last))
    yield from ends[::-1][:_TRIED]


@lru_cache(maxsize=16)  # run and report show the same study
def _summary(database: bytes, name: str, last: int) -> Row:
    """Return the summary of a study up to the judgement *last*."""
    with tempfile.TemporaryDirectory(prefix="verify-") as scratch:
        part = Path(scratch) / "ratings.sqlite"
        part.write_bytes(database)
        with contextlib.closing(sqlite3.connect(part)) as db:
            db.execute("PRAGMA foreign_keys=OFF")
            db.execute("DELETE FROM judgement WHERE id > ?", (last,))
            db.commit()
        with contextlib.closing(RatingStore(part)) as store:
            summary = with_statements(with_evidence(store, name))
    return cast(Row, json.loads(json.dumps(summary)))


def _agrees(state: Row, study: Row, whole: bool) -> bool:
    names: Sequence[str] = list(state) if whole else ["items"]
    return all(state[key] == study.get(key) for key in names)


def _distance(state: Row, study: Row, same_code: bool) -> int:
    names: Sequence[str] = list(state) if same_code else ["items"]
    return sum(state[key] != study.get(key) for key in names)
