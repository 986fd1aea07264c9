"""Answers read and graded once more, from the stored replies."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple, cast

from bakeoff.evalscope.cuts import own_limit, was_cut
from bakeoff.evalscope.loading import reply_of
from bakeoff.evalscope.types import Prediction
from bakeoff.scoring.extraction import extract_choice
from bakeoff.scoring.labels import LETTERS
from bakeoff.scoring.reading import final_part
from bakeoff.suites import OURS
from bakeoff.suites.overlap import METRICS as OVERLAPS
from bakeoff.suites.rows import asked
from bakeoff.verify import echoes, shapes, words
from bakeoff.verify.audit import Audit
from bakeoff.verify.cores import Check, Part
from bakeoff.verify.evidence import Evidence, Row, read_object, row_objects
from bakeoff.verify.ledgers import STATES, Key, grade_of, key_of, options_of
from bakeoff.verify.letters import check_letters
from bakeoff.verify.overlaps import overlap_of

_STOPS = ("max_tokens", "length", "model_length", "stop", "tool_calls", "content_filter", "unknown", "", None)
"""Why a reply may end, in EvalScope's words."""
_OF_A_SCORE = (
    "suite", "subset", "metric", "value", "worst", "best", "chance", "trusted", "why_not", "benchmark", "few_shot",
    "n_asked", "n_answered", "n_unparsed", "n_empty", "n_truncated", "n_errored", "n_judged", "finished_at",
)  # fmt: skip
_UNKNOWN = ("run_id", "model", "variant", "fingerprint", "commit", "versions", "record")
"""Columns of a score that the evaluation itself does not know."""
TOGETHER = 2_500
"""Samples that one check grades: few enough that no process waits long for the last one."""
LARGE = 10_000
"""Samples from which another process pays."""
_SERVICE = (
    "the service gave several questions the same error text",
    "the service gave several questions error texts of one kind",
)
_UNGRADED = "could not be graded"


def checks_of_answers(evidence: Evidence) -> list[Part]:
    """Return checks that read and grade every reply of the table again.

    One after the other in any process; together they are all.
    """
    choices = [sample for sample in evidence.samples if sample["options"]]
    # All replies to a question follow each other, for patterns are made of its options.
    choices.sort(key=lambda sample: (str(sample["suite"]), str(sample["sample_id"])))
    # What another version read is told once per evaluation, with all that differs in it.
    together = len(choices) if evidence.read_otherwise else TOGETHER
    parts = [("", choices[first : first + together]) for first in range(0, len(choices), max(1, together))]
    # Open replies are cut into words where their evaluation is held against its records, for that needs the words, too.
    spoken: dict[Key, list[Row]] = defaultdict(list)
    for sample in evidence.samples:
        if not sample["options"]:
            spoken[key_of(sample)].append(sample)
    parts += [(_name(key), samples) for key, samples in sorted(spoken.items())]
    checks = [(name, partial(_check_answers, evidence=evidence, samples=part)) for name, part in parts]
    return [Part(_guarded("samples.parquet", check), name) for name, check in checks]


def _name(key: Key) -> str:
    """Return the name by which checks of one evaluation share a process."""
    return " ".join(key)


def _guarded(place: str, check: Check) -> Check:
    def guarded(audit: Audit) -> None:
        with audit.reading(place):
            check(audit)

    return guarded


def _check_answers(audit: Audit, evidence: Evidence, samples: Sequence[Row]) -> None:
    benchmarks = {str(row["suite"]): str(row["benchmark"]) for row in evidence.scores}
    mains: dict[str, str] = {}
    for row in evidence.scores:
        mains.setdefault(str(row["suite"]), str(row["metric"]))
    apart: dict[Key, Audit] = {}
    for sample in samples:
        where = (
            f"samples.parquet {sample['model']} {sample['variant']} {sample['suite']} {sample['sample_id']}"
        )
        suite = str(sample["suite"])
        key = key_of(sample)
        part = apart.setdefault(key, Audit()) if key in evidence.read_otherwise else audit
        _check_reading(part, where, sample, benchmarks.get(suite, ""), mains.get(suite, ""))
    for key, part in apart.items():
        audit.merge_if_sound(part, words.OTHER_READING(subject=" ".join(key)))


def _check_reading(audit: Audit, where: str, sample: Row, benchmark: str, main: str) -> None:
    """Extract and grade one reply anew, as far as our own rules do."""
    if sample["status"] == "errored":
        blank = [sample["reply"] or "", sample["extracted"] or "", sample["correct"]]
        audit.compare("an error has no reply and no grade", where, blank, ["", "", None])
        return
    options, target, reply = options_of(sample), str(sample["target"]), str(sample["reply"])
    if options and set(target) <= set(LETTERS[: len(options)]):
        column = "extracted" if benchmark in OURS else "extracted_alt"
        value = str(sample[column] or "")
        # of a question with one right option, it is not told whether several were allowed, and a scenario's prompt
        # may have held more of it than the sample does
        question = asked(str(sample["subset"]), str(sample["question"] or ""))
        ways = [
            (several, known) for several in {_is_multiple(sample): 0, True: 0} for known in (question, "")
        ]
        readings = (_reading(reply, tuple(options), several, known) for several, known in ways)
        first = next(readings)
        audit.compare(
            "extraction", f"{where} {column}", value, value if value == first or value in readings else first
        )
        stated = str(sample["extracted" if benchmark in OURS else "extracted_alt"] or "")
        if main in ("accuracy", "acc"):
            right = bool(stated) and set(str(sample["extracted"])) == set(target)
            audit.compare("grading", f"{where} correct", sample["correct"], float(right))
        expected = {"unparsed"} if not stated else {"answered"}
        if not reply.strip():
            expected = {"empty"}
        audit.compare(
            "status", f"{where} status", sample["status"],
            sample["status"] if sample["status"] in {*expected, "truncated"} else sorted(expected)[0],
        )  # fmt: skip
    elif benchmark in OURS and main in OVERLAPS:
        audit.compare("extraction", f"{where} extracted", sample["extracted"], final_part(reply))
        audit.compare(
            "grading", f"{where} correct", sample["correct"], overlap_of(final_part(reply), target)[main]
        )


@lru_cache(maxsize=1024)  # all replies to a question follow each other, and some are alike
def _reading(reply: str, options: tuple[str, ...], is_multiple: bool, question: str) -> str:
    """Return the letters that *reply* to *question* gives."""
    return extract_choice(reply, options, multiple=is_multiple, question=question)


def _is_multiple(sample: Row) -> bool:
    """Return whether several letters are certainly meant."""
    return len(str(sample["target"])) > 1 or str(sample["subset"]).endswith("_multiple")


def checks_of_evidence(evidence: Evidence) -> list[Part]:
    """Return a check per result that holds it against replies and reviews."""
    if evidence.root is None:
        return [Part(lambda audit: audit.note(words.NO_STORE_REPLIES()))]
    evidence.asked_again  # noqa: B018 - read once, before processes share it
    return [
        Part(
            _guarded("replies", partial(_check_stage, evidence=evidence, stage=stage)),
            _name((str(stage["model"]), str(stage["variant"]), str(stage["facts"].get("suite")))),
        )
        for stage in evidence.stages
        if stage["stage"] == "evaluate"
    ]


def _check_stage(audit: Audit, evidence: Evidence, stage: Row) -> None:
    """Hold the result of one evaluation against the replies behind it."""
    output = evidence.place(stage)
    if output is None or not output.is_file() or str(stage["output"]) in evidence.superseded:
        return  # told where the digests are compared
    place = evidence.shown(output)
    with audit.reading(place):
        result = evidence.result(output)
        folder = evidence.replies_of(output)
        if folder is None:
            audit.fail(
                "raw replies are there",
                place,
                words.IS_GONE(what=str(result.get("folder", ""))),
                words.A_FOLDER(),
            )
            return
        key = (str(stage["model"]), str(stage["variant"]), str(stage["facts"].get("suite")))
        later = evidence.asked_again.get(folder, "")
        if later and later != str(result.get("finished_at")) and later == _finished(folder):
            audit.note(words.ASKED_AGAIN(subject=" ".join(key)))
            return
        beside = Audit() if key in evidence.read_otherwise else audit
        raw = echoes.raw_rows(audit, place, folder, str(result["benchmark"]))
        _check_result(audit, beside, place, result, folder, raw)
        echoes.check_rows(audit, place, raw, result)
        shapes.check_replies(audit, place, list(raw.predictions.values()), list(raw.reviews.values()))
        for name in ("scores", "samples"):
            shapes.check_fields(audit, f"{place} {name}", result[name])
        echoes.check_sums(audit, beside, place, folder, result, raw)
        if beside is not audit:
            audit.merge_if_sound(beside, words.OTHER_BESIDE(subject=" ".join(key)))


def check_all_descriptions(audit: Audit, evidence: Evidence) -> None:
    """Hold what EvalScope says of its settings and metrics against each other."""
    folders: dict[str, Path] = {}
    own: set[str] = set()
    for stage in evidence.stages:
        output = evidence.place(stage) if stage["stage"] == "evaluate" else None
        is_own = output and output.is_file() and str(stage["output"]) not in evidence.superseded
        folder = evidence.replies_of(output) if output and is_own else None
        if folder and folder not in evidence.asked_again:
            folders[evidence.shown(folder)] = folder
            if stage["outcome"] == "ran" and not evidence.run.get("legs"):  # all by this machine
                own.add(evidence.shown(folder))
    echoes.check_descriptions(audit, folders, own)


def _finished(folder: Path) -> str:
    """Return when the evaluation finished whose replies lie in *folder*."""
    return str(read_object(folder / "result.json").get("finished_at"))


def _check_result(
    audit: Audit, beside: Audit, place: str, result: Row, folder: Path, raw: echoes.Raw
) -> None:
    stored = _prompts((folder / "prompts.jsonl").read_bytes())
    prompts = dict(stored)
    audit.compare("prompt", f"{folder.name}/prompts.jsonl rows", len(stored), len(prompts))
    for sha, expected in prompts.items():
        audit.compare_raw("prompt", f"{folder.name}/prompts.jsonl", str(sha), sha, expected)
    asked_for = list(dict.fromkeys(str(sample["prompt_sha"]) for sample in result["samples"]))
    audit.compare("prompt", f"{folder.name}/prompts.jsonl order", list(prompts), asked_for)
    samples = sorted(result["samples"], key=lambda sample: int(sample["index"]))
    audit.compare("index", f"{place} samples", [s["index"] for s in samples], list(range(len(samples))))
    if "selected" in result:
        counted = Counter(str(sample["subset"]) for sample in samples)
        audit.compare("selected questions", f"{place} selected", result["selected"], dict(counted))
    for sample in samples:
        where = f"{place} {sample['subset']} {sample['sample_id']}"
        audit.compare("prompt", f"{where} prompt_sha", sample["prompt_sha"] in prompts, True)
        digest = _digest_of_question(str(result["benchmark"]), sample)
        audit.compare("question", f"{where} sample_id", str(sample["sample_id"]).partition("-")[0], digest)
    if any("messages" not in row for row in raw.predictions.values()):
        check_letters(audit, place, result, samples, raw.predictions)
    else:
        _check_replies(audit, beside, place, result, samples, raw)
    _check_copies(audit, place, result, samples, folder)
    _check_summary(audit, place, result, samples)


@lru_cache(maxsize=8)  # most models are asked alike
def _prompts(content: bytes) -> list[tuple[str, str]]:
    """Return for each prompt of a file the hash beside it and its own hash."""
    rows = (json.loads(line) for line in content.decode(errors="replace").split("\n") if line.strip())
    return [(row["prompt_sha"], sha_of(row["messages"])) for row in rows]


class _Answer(NamedTuple):
    """What EvalScope kept of a question: the reply, and the grade."""

    prediction: Row | None
    review: Row | None
    is_at_own_limit: bool = False


def _check_replies(
    audit: Audit, beside: Audit, place: str, result: Row, samples: Sequence[Row], raw: echoes.Raw
) -> None:
    """Hold every sample against its reply, and every reply against its sample."""
    predictions, reviews = _by_prompt(raw.predictions), raw.reviews
    limit = result.get("generation", {}).get("max_tokens")
    cut = own_limit(cast(dict[tuple[str, int], Prediction], raw.predictions), limit).keys
    for sample in samples:
        where = f"{place} {sample['subset']} {sample['sample_id']}"
        replies = predictions.get((str(sample["subset"]), str(sample["prompt_sha"])), [])
        prediction = replies.pop(0) if replies else None
        key = str(sample["subset"]), int(prediction["index"]) if prediction else -1
        answer = _Answer(prediction, reviews.get(key) if prediction else None, key in cut)
        _check_sample(audit, beside, where, sample, answer, result)
    for (subset, sha), rest in predictions.items():
        for row in rest:
            audit.fail(
                "every reply has a sample",
                f"{place} {subset} {sha}",
                words.REPLY_WITHOUT(index=row["index"]),
                words.A_SAMPLE(),
            )


def _without_statements(value: object) -> object:
    return {k: v for k, v in value.items() if k != "statements"} if isinstance(value, Mapping) else value


def _check_copies(audit: Audit, place: str, result: Row, samples: Sequence[Row], folder: Path) -> None:
    """Hold a result against the copy that lies beside its replies."""
    # Texts alone: which template made them is kept in the copy of one side, or on neither.
    first = read_object(folder / "result.json")
    plain = {name: _without_statements(value) for name, value in first.items()}
    same = {
        name: _without_statements(result.get(name))
        for name in first
        if name not in ("scores", "folder", "statements")
    }
    audit.compare_keys("both copies agree", f"{folder.name}/result.json against {place}", plain, same)
    own, others = (
        sorted(content.keys() - {"samples", "folder", "statements"}) for content in (first, result)
    )
    audit.compare("both copies agree", f"{folder.name}/result.json", own, others)
    scores = [{name: row.get(name) for name in _OF_A_SCORE} for row in result["scores"]]
    copied = [{name: row.get(name) for name in _OF_A_SCORE} for row in first["scores"]]
    audit.compare("both copies agree", f"{folder.name}/result.json against {place} scores", copied, scores)
    shapes.check_fields(audit, f"{folder.name}/result.json scores", first["scores"])
    for score in first["scores"]:
        for name in _UNKNOWN:
            audit.compare("both copies agree", f"{place} scores {name}", score.get(name) or "", "")
    copies = list(row_objects(folder / "samples.jsonl"))
    shapes.check_fields(audit, f"{folder.name}/samples.jsonl", copies)
    order, expected = ([str(row["sample_id"]) for row in part] for part in (copies, samples))
    audit.compare("both copies agree", f"{folder.name}/samples.jsonl order", order, expected)
    rows = {str(row["sample_id"]): row for row in copies}
    audit.compare("both copies agree", f"{place} samples", [len(copies), len(rows)], [len(samples)] * 2)
    for sample in samples:
        other = rows.get(str(sample["sample_id"]), {})
        where = f"{place} {sample['sample_id']}"
        # the evaluation itself does not know who answered
        told = {name: value for name, value in other.items() if value or name not in ("model", "variant")}
        audit.compare_keys("both copies agree", where, sample, told)
        if not other or sample.keys() - {"run_id"} == other.keys() - {"run_id"}:
            audit.counts["both copies agree"] += 1
        else:
            told_there, told_here = (sorted(row.keys() - {"run_id"}) for row in (other, sample))
            audit.compare("both copies agree", f"{where} fields", told_there, told_here)
        if not other:
            audit.fail(
                "both copies agree",
                f"{place} {sample['sample_id']}",
                words.NO_COPY(),
                words.ROW_OF_COPY(file=f"{folder.name}/samples.jsonl"),
            )


def _check_summary(audit: Audit, place: str, result: Row, samples: Sequence[Row]) -> None:
    """Recount what a result says of its samples as a whole."""
    states = Counter(str(sample["status"]) for sample in samples)
    ledger = {"asked": len(samples), "judged": len(samples) - states["errored"]}
    ledger |= {status: states[status] for status in STATES}
    audit.compare_keys("ledger", f"{place} ledger", result.get("ledger") or {}, ledger)
    choices = [sample for sample in samples if options_of(sample) and sample["status"] != "errored"]
    audit.compare(
        "answers", f"{place} answers", result.get("answers"), dict(Counter(s["extracted"] for s in choices))
    )
    pairs = [(s["extracted"], s["extracted_alt"]) for s in choices if s["status"] != "empty"]
    both = [ours == theirs or (len(ours) > 1 and theirs in {*ours}) for ours, theirs in pairs]
    audit.compare(
        "answers", f"{place} agreement", result.get("agreement"), sum(both) / len(both) if both else None
    )
    for name in ("trusted", "why_not", "suite", "metric"):
        first = result["scores"][0][name]
        audit.compare("told of an evaluation", f"{place} scores {name}", first, result.get(name))


def _check_sample(audit: Audit, beside: Audit, where: str, sample: Row, answer: _Answer, result: Row) -> None:
    """Hold one sample against the reply that came, and its grade.

    *beside*: for metrics beside the main one, which another version may have computed otherwise.
    """
    prediction, review, is_cut = answer
    if sample["status"] == "errored":
        why = str(result.get("errors", {}).get(sample["sample_id"], ""))
        audit.compare("an error says why", where, bool(why), True)
        came = prediction is not None and review is not None
        if came and not why.startswith(_SERVICE) and _UNGRADED not in why:
            audit.fail("a reply that came is graded", where, words.ERRORED(), words.GRADE_OF_REPLY())
        return
    if prediction is None or review is None:
        audit.fail("every grade has a reply", where, sample["status"], words.UNSTORED())
        return
    reply, stop, latency_s = reply_of(cast(Prediction, prediction))
    audit.compare_raw("reply", where, "reply", sample["reply"], reply)
    audit.compare_raw("reply", where, "latency_s", sample["latency_s"], latency_s)
    stated = sample["extracted"] if result["benchmark"] in OURS else sample["extracted_alt"]
    is_choice = bool(options_of(sample)) and set(str(sample["target"])) <= set(LETTERS)
    is_stated = bool(stated if is_choice else final_part(reply))
    limit = result.get("generation", {}).get("max_tokens")
    is_cut = is_cut or was_cut(cast(Prediction, prediction), limit, is_stated=is_stated)
    audit.compare_raw("status", where, "truncated", sample["status"] == "truncated", is_cut)
    audit.compare_raw("status", where, f"stop_reason {stop}", stop in _STOPS, True)
    message = prediction["model_output"]["choices"][0]["message"]
    audit.compare_raw("reply", where, "role", message.get("role"), "assistant")
    if (last := prediction["messages"][-1])["role"] == "assistant":
        audit.compare_raw(
            "reply", where, "reply in the conversation", _text(last["content"]).strip(), reply.strip()
        )
        timing = last.get("perf_metrics", message.get("perf_metrics"))
        audit.compare_raw("reply", where, "timing in the conversation", timing, message.get("perf_metrics"))
    graded = review["sample_score"]["score"]
    if (named := graded.get("main_score_name")) is not None:
        audit.compare_raw("review", where, "main metric", named in graded["value"], True)
    audit.compare_raw("review", where, "status", graded.get("status", "success"), "success")
    audit.compare(
        "review", f"{where} extracted", sample["extracted"], str(graded.get("extracted_prediction") or "")
    )
    if graded.get("prediction") is not None:
        audit.compare_raw("review", where, "graded reply", graded["prediction"], reply)
    target = review.get("target", sample["target"]) or ""
    separator = "" if options_of(sample) else "\n"
    joined = target if isinstance(target, str) else separator.join(map(str, target))
    audit.compare_raw("review", where, "target", sample["target"], joined)
    main = str(result["metric"])
    if main in graded["value"]:
        value = (
            float(graded["value"][main]) if stated or not is_choice or result["benchmark"] in OURS else 0.0
        )
        audit.compare_raw("review", where, "correct", sample["correct"], value)
    for metric, grade in graded["value"].items():
        computed = grade_of(sample, metric, main) if result["benchmark"] in OURS else None
        if computed is not None and metric != main:
            beside.compare("review", f"{where} {metric}", grade, computed)


def _digest_of_question(benchmark: str, sample: Row) -> str:
    """Return the name that a question has from its own texts."""
    return _digest(benchmark, sample["subset"], sample["question"], tuple(options_of(sample)))


@lru_cache(maxsize=65536)  # every model was asked the same
def _digest(benchmark: str, subset: str, question: str, options: tuple[str, ...]) -> str:
    content = [benchmark, subset, question, list(options)]
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()[:16]


def sha_of(messages: Iterable[Row]) -> str:
    """Return the hash of a prompt, as samples carry it."""
    text = "\x1e".join(f"{message['role']}\x1f{message['content']}" for message in messages)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _by_prompt(rows: Mapping[tuple[str, int], Row]) -> dict[tuple[str, str], list[Row]]:
    """Return the replies by subset and prompt, in order of questions."""
    table: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for (subset, _), row in sorted(rows.items()):
        messages = row["messages"]
        prompt = messages[:-1] if messages and messages[-1]["role"] == "assistant" else messages
        texts = [{"role": message["role"], "content": _text(message["content"])} for message in prompt]
        table[subset, sha_of(texts)].append(row)
    return table


def _text(content: object) -> str:
    if isinstance(content, list):
        return "\n".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return str(content)
