"""Scores questions by the log-probabilities of their letters.

Runs in the evaluation process.

One request for each question (and order of its options), the questions in their order, so that a service's prefix
cache finds what those of a subset share. Rows are kept in EvalScope's form, with ``letters`` beside each reply.
"""

from __future__ import annotations

import argparse
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from bakeoff.endpoint.answers import Answer, BadAnswer
from bakeoff.evalscope.commands import generation_config
from bakeoff.evalscope.loading import Loaded, errored, known_of, predictions_of, reply_of
from bakeoff.evalscope.types import (
    KeptReading,
    Key,
    LetterSummary,
    Message,
    Output,
    Prediction,
    Question,
    Usage,
)
from bakeoff.foundation.errors import ScoreError
from bakeoff.foundation.files import append_line
from bakeoff.foundation.secrecy import redact
from bakeoff.foundation.sentences import Template
from bakeoff.foundation.texts import beginning_of, printable
from bakeoff.scoring.labels import LETTERS
from bakeoff.scoring.letters import Reading, averaged, chosen, position_bias, read_letters
from bakeoff.scoring.scores import Sample

if TYPE_CHECKING:
    from bakeoff.evalscope.asking import AskingAPI

FEWER_ALTERNATIVES = (20, 10, 5)
"""How many alternatives are asked for in turn, where a service refuses more."""
LITTLE_MASS = 0.5
"""Mean share of the probability that the letters hold together, below which a score is not trusted."""

_THINKING = ("<think", "<|channel|>analysis", "<seed:think", "[THINK]")
LITTLE = Template(
    "evalscope.choosing.little_mass",
    "the letters hold {mean:.1%} of the probability in the mean: the model would begin its replies otherwise "
    "({beginnings}); generation.max_tokens says within how many tokens a letter is looked for",
    zh="各选项字母的概率合计平均仅 {mean:pct}：模型的回复另有开头（{beginnings}）；查找范围见 generation.max_tokens",
    en="the letters hold {mean:pct} of the probability on average: the model would begin its replies otherwise "
    "({beginnings}); generation.max_tokens says within how many tokens a letter is looked for",
)


class Letters:
    """Asks for the letters of the questions of one suite."""

    def __init__(self, loaded: Loaded, api: AskingAPI) -> None:
        self.loaded, self.api = loaded, api
        view = argparse.Namespace(**loaded.suite)
        self.settings = generation_config(view)
        self.alternatives = loaded.alternatives or int(str(self.settings["top_logprobs"]))
        self.settings["top_logprobs"] = self.alternatives

    def try_out(self, messages: Sequence[Message], letters: str) -> None:
        """Ask one question, and settle how many alternatives the service gives.

        Raises:
            ScoreError: it gives none, or its replies cannot begin with a letter.
        """
        most = self.alternatives
        refusal = ""
        counts = [most, *(count for count in FEWER_ALTERNATIVES if count < most)]
        for count in counts:
            self.settings["top_logprobs"] = count
            try:
                answer = self.api.tokens(messages, self.settings)
            except Exception as error:
                if getattr(error, "status_code", None) not in (400, 422):
                    return  # nothing is known: the questions will tell
                refusal = printable(redact(" ".join(str(error).split())))[:200]
                continue
            if why := why_unsuitable(answer, letters):
                raise ScoreError(f"{why}; score this suite by generation for this row")
            self.loaded.alternatives = count
            return
        self.settings["top_logprobs"] = most
        if "logprob" in refusal.lower():
            raise ScoreError(
                f"the service refuses to give log-probabilities ({refusal}); "
                "score this suite by generation for this row"
            )

    def of(self, key: Key, messages: Sequence[Message], letters: str) -> Prediction:
        """Return the row of one question: its letter, and what each order showed.

        Raises:
            Exception: whatever kept a reply from coming.
        """
        began = time.monotonic()
        prompts = [messages, *self.loaded.orders.get(key, ())]
        answers: list[Answer] = [self.api.tokens(prompt, self.settings) for prompt in prompts]
        for answer in answers:
            if why := why_malformed(answer.raw["choices"][0]):
                raise BadAnswer(why)
        readings = [_reading(answer, letters) for answer in answers]
        letter = chosen(averaged(readings, len(letters)))
        text = letter or readings[0].begins
        output: Output = {
            "model": answers[0].model,
            "choices": [{"message": {"role": "assistant", "content": text}, "stop_reason": "stop"}],
            "usage": _usage(answers[0]),
            "time": round(time.monotonic() - began, 6),
        }
        rows: list[KeptReading] = [
            {"logprobs": dict(r.logprobs), "mass": r.mass, "begins": r.begins[:200]} for r in readings
        ]
        return {"index": key[1], "model": self.api.model_name, "model_output": output, "letters": rows}


def _usage(answer: Answer) -> Usage:
    usage = answer.raw.get("usage")
    counts = usage if isinstance(usage, Mapping) else {}
    return {
        "input_tokens": counts.get("prompt_tokens"),
        "output_tokens": counts.get("completion_tokens"),
    }


def why_unsuitable(answer: Answer, letters: str) -> str:
    """Why no letter can be read from replies like *answer*; empty for none."""
    choice = answer.raw["choices"][0]
    message = choice.get("message") or {}
    content = _content(choice)
    if not content:
        if message.get("reasoning_content") or message.get("reasoning"):
            return (
                "the model thinks before it answers, so that no letter stands at the beginning of its replies"
            )
        return "the service gives no log-probabilities (asked with logprobs and top_logprobs)"
    if not any(isinstance(token, dict) and token.get("top_logprobs") for token in content):
        return "the service gives the log-probability of its own token alone, and none of the other letters"
    reading = _reading(answer, letters)
    if reading.is_read:
        return ""
    begins = reading.begins.lstrip()
    if begins.startswith(_THINKING):
        return f"replies begin with thinking ({begins[:40]!r}), so that no letter stands at their beginning"
    if begins.startswith("<|"):
        return (
            f"replies begin with marks of the chat template ({begins[:40]!r}); "
            "'generation: {max_tokens: 8}' reads the letter behind them"
        )
    return ""


def _content(choice: Mapping[str, object]) -> list[object]:
    listed = choice.get("logprobs")
    content = listed.get("content") if isinstance(listed, Mapping) else None
    return content if isinstance(content, list) else []


def why_malformed(choice: Mapping[str, object]) -> str:
    """Why the log-probabilities of *choice* are none; empty where they are."""
    content = _content(choice)
    if not content:
        return "the reply came without log-probabilities"
    for token in content:
        listed = token.get("top_logprobs") if isinstance(token, Mapping) else None
        if not isinstance(listed, list) or not listed:
            return "a token of the reply has no list of alternatives"
        for entry in (*listed, token):
            value = entry.get("logprob") if isinstance(entry, Mapping) else None
            if isinstance(value, bool) or not isinstance(value, int | float) or not value <= _ROUNDING:
                return f"an alternative has no log-probability: {beginning_of(entry)}"
        total = math.fsum(math.exp(entry["logprob"]) for entry in listed)
        if not _LEAST <= total <= _MOST:
            return f"the alternatives of a token have a probability of {total:.2f} together"
    return ""


_ROUNDING = 1e-3
"""How far above 0 a log-probability may be rounded."""
_LEAST, _MOST = 1e-6, 1.05
"""What the alternatives of a token may hold together; the likeliest of a vocabulary is no rarer than their mean."""


def _reading(answer: Answer, letters: str) -> Reading:
    return read_letters(_content(answer.raw["choices"][0]), letters, answer.text)


def ask_letters(loaded: Loaded, api: AskingAPI, in_flight: int) -> None:
    """Ask each question without an answer; failures go to ``api.errors``.

    Raises:
        ScoreError: the service or the model is unsuitable; nothing further was asked.
    """
    existing = predictions_of(loaded)
    missing = [(subset, entry) for subset, entry in loaded.samples if (subset, entry.id) not in existing]
    if not missing:
        return
    letters = Letters(loaded, api)
    letters.try_out(missing[0][1].input, LETTERS[: len(missing[0][1].choices or ())])
    from bakeoff.evalscope.asking import in_words, prompt_sha

    lock = threading.Lock()
    folder = loaded.folder / "predictions" / loaded.task.model_id

    def ask(question: tuple[str, Question]) -> None:
        subset, sample = question
        try:
            row = letters.of((subset, sample.id), sample.input, LETTERS[: len(sample.choices or ())])
        except Exception as error:
            # of whichever order: the question is known by the prompt of its own
            api.errors.setdefault(prompt_sha(sample.input), in_words(error))
            return
        with lock:
            append_line(folder / f"{loaded.benchmark.name}_{subset}.jsonl", row)

    with ThreadPoolExecutor(in_flight) as pool:
        list(pool.map(ask, missing))


def ask_again(loaded: Loaded, api: AskingAPI, key: Key, question: Question) -> str | None:
    """Return the letter of *question* once more; None where none comes.

    Leaves ``api.errors`` as they are.
    """
    earlier = dict(api.errors)
    try:
        row = Letters(loaded, api).of(key, question.input, LETTERS[: len(question.choices or ())])
    except Exception:
        api.errors.clear()
        api.errors.update(earlier)
        return None
    return reply_of(row)[0]


def _hash() -> Callable[[Sequence[Message]], str]:
    from bakeoff.evalscope.asking import prompt_sha  # which imports EvalScope

    return prompt_sha


def readings_of(row: Prediction) -> list[Reading]:
    """Return what was read in each order of a question, from its kept *row*."""
    return [Reading(order["logprobs"], order["mass"], order["begins"]) for order in row.get("letters", ())]


def samples_of(loaded: Loaded, api: AskingAPI) -> list[Sample]:
    """A sample for each question, in order, with each letter's likelihood."""
    prompt_sha = _hash()
    rows = predictions_of(loaded)
    samples: list[Sample] = []
    for common, key, question in known_of(loaded):
        if (row := rows.get(key)) is None:
            samples.append(errored(common, api.errors.get(prompt_sha(question.input), "no reply")))
            continue
        logprobs = averaged(readings_of(row), len(common["options"]))
        letter = chosen(logprobs)
        reply, _, latency_s = reply_of(row)
        right = float(letter == common["target"])
        samples.append(
            Sample(
                **common,
                reply=reply,
                extracted=letter,
                extracted_alt=letter,
                status="answered" if letter else "unparsed",
                correct=right,
                latency_s=latency_s,
                grades={"accuracy": right},
                letter_logprobs={
                    name: round(value, 6) for name, value in logprobs.items() if math.isfinite(value)
                },
            )
        )
    return samples


def summary_of(loaded: Loaded) -> tuple[LetterSummary, list[str]]:
    """Return what the letters show beside the score, and what is alarming."""
    rows = predictions_of(loaded).values()
    questions = [readings for row in rows if (readings := readings_of(row))]
    masses = [reading.mass for readings in questions for reading in readings if reading.is_read]
    permuted = [readings for readings in questions if len(readings) > 1]
    summary: LetterSummary = {
        "orders": loaded.suite["orders"],
        "read": sum(any(reading.is_read for reading in readings) for readings in questions),
        "mass": math.fsum(masses) / len(masses) if masses else None,
        "in_own_order_only": len(questions) - len(permuted) if loaded.suite["orders"] > 1 else 0,
        "same_in_all_orders": sum(map(_is_steady, permuted)) if permuted else None,
        "permuted": len(permuted),
        "position_bias": position_bias(questions),
    }
    alarms = []
    unread = [readings for readings in questions if not any(reading.is_read for reading in readings)]
    if unread:
        alarms.append(f"{len(unread)} replies show no letter; they begin with {_beginnings(unread)}")
    return summary, alarms


def why_little_mass(loaded: Loaded) -> str:
    """Why the letters say little of the model's answers; empty for nothing."""
    rows = predictions_of(loaded).values()
    questions = [readings for row in rows if (readings := readings_of(row))]
    masses = [reading.mass for readings in questions for reading in readings if reading.is_read]
    mean = math.fsum(masses) / len(masses) if masses else 1.0
    if mean >= LITTLE_MASS:
        return ""
    return LITTLE(mean=mean, beginnings=_beginnings(questions))


def _is_steady(readings: Sequence[Reading]) -> bool:
    """Whether the same option is the likeliest in every order."""
    count = max(len(reading.logprobs) for reading in readings)
    picks = set()
    for order, reading in enumerate(readings):
        alone = [Reading({}, 0.0, "")] * order + [reading]
        picks.add(chosen(averaged(alone, count)) if count else "")
    return len(picks) == 1 and "" not in picks


def _beginnings(questions: Sequence[Sequence[Reading]]) -> str:
    """The most frequent beginnings of replies, at most three."""
    counts = Counter(readings[0].begins[:20] for readings in questions)
    return ", ".join(repr(printable(text)) for text, _ in counts.most_common(3))
