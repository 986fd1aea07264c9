"""Reads a suite's questions and makes prompts before anything is asked.

Runs in the evaluation process.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import dataclasses
import hashlib
import json
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bakeoff.evalscope.commands import dataset_args, generation_config, spread
from bakeoff.evalscope.types import (
    AskedSuite,
    EvaluationPlan,
    Facts,
    Key,
    Message,
    Prediction,
    Question,
    Review,
)
from bakeoff.foundation.errors import DataError
from bakeoff.foundation.files import readable_rows, write_bytes
from bakeoff.scoring.labels import LETTERS
from bakeoff.scoring.letters import refers_to_others, rotated
from bakeoff.scoring.scores import Sample

if TYPE_CHECKING:
    from bakeoff.evalscope.asking import AskingAPI


Graded = tuple[str, str]
"""A subset and the hash of a prompt."""


@dataclasses.dataclass
class Loaded:
    """A suite whose questions are read and whose prompts are made, before anything is asked."""

    suite: AskedSuite
    folder: Path
    task: Any
    benchmark: Any
    datasets: Mapping[str, Sequence[Question]]
    questions: dict[Key, str]
    identity: str
    orders: dict[Key, list[Sequence[Message]]] = dataclasses.field(default_factory=dict)
    """Prompts of each question with its options in further orders, by subset and number."""

    alternatives: int = 0
    """Alternatives of a token that the service gives, where that was found out; 0 for what the suite says."""

    changed: int = 0
    """Replies on disk that were not the ones that had been graded."""

    read: dict[Path, tuple[tuple[int, int], list[Any]]] = dataclasses.field(default_factory=dict)
    """Rows of a file as they were last read, with its time and size then."""

    @property
    def by_letters(self) -> bool:
        """Whether the letters' log-probabilities are read instead of a reply."""
        return self.suite.get("scoring") == "logprob"

    @property
    def samples(self) -> list[tuple[str, Question]]:
        """All samples with their subset, in order."""
        return [(subset, sample) for subset, dataset in self.datasets.items() for sample in dataset]


def load(suite: AskedSuite, plan: EvaluationPlan, api: AskingAPI, work_dir: Path) -> Loaded:
    """Read the questions of *suite* and make their prompts.

    Its folder in *work_dir* is named by what will be asked.

    Raises:
        DataError: EvalScope cannot prepare it.
    """
    task = _task(suite, plan, api)
    questions: dict[Key, str] = {}
    orders: dict[Key, list[Sequence[Message]]] = {}
    benchmark = _prepared(suite, task, questions, orders)
    total = suite["limit"] if suite["limit_per"] == "total" else None
    taken = spread({name: len(dataset) for name, dataset in benchmark.test_dataset.items()}, total)
    for name, count in taken.items():
        if count:
            benchmark.test_dataset[name] = benchmark.test_dataset[name][:count]
        else:
            del benchmark.test_dataset[name]
    ready = benchmark.test_dataset
    digest = _identity(suite, plan, ready)
    folder = work_dir / suite["name"] / digest[:12]
    folder.mkdir(parents=True, exist_ok=True)
    task.work_dir = task.use_cache = str(folder)
    benchmark.load_dataset = lambda: ready  # the evaluator would read everything a second time
    loaded = Loaded(suite, folder, task, benchmark, ready, questions, digest, orders)
    if loaded.by_letters and (why := why_no_letters(loaded)):
        raise DataError(f"suites.{suite['name']}.scoring: {why}")
    return loaded


def _task(suite: AskedSuite, plan: EvaluationPlan, api: AskingAPI) -> Any:
    """What EvalScope is told to do for *suite*."""
    from evalscope.config import TaskConfig
    from evalscope.utils.io_utils import safe_filename

    view = argparse.Namespace(**suite)
    return TaskConfig(
        model=api,
        model_id=safe_filename(plan["served_name"]),
        eval_type="openai_api",
        datasets=[suite["benchmark"]],
        dataset_args={
            suite["benchmark"]: dataset_args(view, Path(suite["data_dir"]) if suite["data_dir"] else None)
        },
        generation_config={"timeout": plan["timeout_s"], **generation_config(view)},
        eval_batch_size=plan["in_flight"],
        limit=suite["limit"] if suite["limit_per"] == "subset" else None,
        ignore_errors=True,
        no_timestamp=True,
        rerun_review=True,
        judge={"strategy": "rule"},
    )


def _prepared(
    suite: AskedSuite, task: Any, questions: dict[Key, str], orders: dict[Key, list[Sequence[Message]]]
) -> Any:
    """EvalScope's benchmark with its data; fills *questions* and *orders*."""
    from evalscope.api.registry import get_benchmark

    more = int(suite.get("orders") or 1) - 1
    try:
        benchmark = get_benchmark(suite["benchmark"], task)
        benchmark.validate_judge_strategy()
        afresh = prepared_afresh() if suite["data_dir"] else contextlib.nullcontext()
        with (
            afresh,
            _remembering_questions(benchmark, questions, orders, more),
            _looking_once_at_each_folder(),
        ):
            benchmark.load_dataset()
    except Exception as error:  # EvalScope raises whatever its loaders raise
        where = suite["data_dir"] or "the hub"
        raise DataError(
            f"suites.{suite['name']}: EvalScope cannot prepare it from {where}: {error}"
        ) from error
    return benchmark


def _identity(suite: AskedSuite, plan: EvaluationPlan, datasets: Mapping[str, Sequence[Question]]) -> str:
    """A digest of all that decides the answers."""
    from bakeoff.evalscope.asking import prompt_sha

    identity = hashlib.sha256()
    facts: dict[str, object] = {
        "evalscope": version("evalscope"),
        "benchmark": suite["benchmark"],
        "served_name": plan["served_name"],
        "weights": plan["weights"],
        "generation": generation_config(argparse.Namespace(**suite)),
    }
    if answered_by := plan.get("answered_by"):
        facts["answered_by"] = answered_by
    if suite.get("scoring") == "logprob":
        facts |= {"scoring": "logprob", "orders": suite["orders"]}
    identity.update(json.dumps(facts, sort_keys=True, default=str).encode())
    for name, dataset in datasets.items():
        for question in dataset:
            row = [name, question.id, prompt_sha(question.input), question.target, question.choices]
            identity.update(json.dumps(row, ensure_ascii=False, default=str).encode())
    return identity.hexdigest()


def why_no_letters(loaded: Loaded) -> str:
    """Why these questions cannot be scored by letters; empty where they can."""
    for subset, sample in loaded.samples:
        letters = LETTERS[: len(sample.choices or ())]
        if not letters:
            return f"{loaded.benchmark.name} asks open questions (subset {subset}), which have no letters"
        target = "".join(sample.target)
        if len(target) != 1 or target not in letters or (sample.metadata or {}).get("multiple"):
            return (
                f"subset {subset} has questions with several right letters, and a log-probability tells of one letter "
                "alone; name the subsets with single choices under 'subsets', or score them by generation"
            )
    return ""


@contextlib.contextmanager
def prepared_afresh() -> Iterator[None]:
    """Let ``datasets`` prepare local files anew, well under a second.

    It keeps what it prepared under the README of their folder, not under their content: another folder with the same
    README, or the same one with other rows, would get the earlier questions.
    """
    import datasets.config

    usual = datasets.config.HF_DATASETS_CACHE
    with tempfile.TemporaryDirectory(prefix="datasets-") as folder:
        datasets.config.HF_DATASETS_CACHE = Path(folder)
        try:
            yield
        finally:
            datasets.config.HF_DATASETS_CACHE = usual


@contextlib.contextmanager
def _looking_once_at_each_folder() -> Iterator[None]:
    """Let ``datasets`` hash a local folder's README once, not per subset.

    (ceval has 52.)
    """
    import datasets.load

    look = datasets.load.dataset_module_factory
    seen: dict[str, object] = {}

    def looking(path: Any, **options: Any) -> Any:
        if not Path(path).is_dir():
            return look(path, **options)
        key = repr(
            (path, [options.get(name) for name in ("revision", "data_dir", "data_files", "cache_dir")])
        )
        if key not in seen:
            seen[key] = look(path, **options)
        return copy.deepcopy(seen[key])  # the caller takes things out of it

    datasets.load.dataset_module_factory = looking
    try:
        yield
    finally:
        datasets.load.dataset_module_factory = look


@contextlib.contextmanager
def _remembering_questions(
    benchmark: Any, questions: dict[Key, str], orders: dict[Key, list[Sequence[Message]]], more: int
) -> Iterator[None]:
    """Note each question's own text before the prompt replaces it.

    Into *orders* go its prompts in *more* orders of its options, where these do not speak of one another.
    """
    make_prompts = benchmark._post_process_samples

    def noting() -> None:
        for subset, dataset in benchmark.test_dataset.items():
            for sample in dataset:
                questions[subset, sample.id] = (
                    sample.input if isinstance(sample.input, str) else joined(sample.input)
                )
        shown = benchmark.test_dataset
        for order in range(1, more + 1):
            benchmark.test_dataset = {subset: _reordered(dataset, order) for subset, dataset in shown.items()}
            make_prompts()
            for subset, dataset in benchmark.test_dataset.items():
                for sample in dataset:
                    orders.setdefault((subset, sample.id), []).append(sample.input)
        benchmark.test_dataset = shown
        make_prompts()

    benchmark._post_process_samples = noting
    try:
        yield
    finally:
        del benchmark._post_process_samples


def _reordered(dataset: Iterable[Any], order: int) -> list[Any]:
    """Copies of the questions with their options in another *order*.

    A question that has no such order is left out.
    """
    copies = []
    for question in dataset:
        choices = list(question.choices or ())
        if (
            order < len(choices)
            and isinstance(question.input, str)
            and not refers_to_others(map(str, choices))
        ):
            places = rotated(len(choices), order)
            copies.append(question.model_copy(update={"choices": [choices[place] for place in places]}))
    return copies


def joined(messages: Iterable[Message]) -> str:
    """The text of *messages*, one under the other."""
    return "\n".join(str(message.text) for message in messages)


def drop_unusable(loaded: Loaded) -> None:
    """Remove torn rows, error texts, and replies that were changed since.

    A reply that is not the one that was graded goes, too: its question is asked again. :attr:`Loaded.changed` counts
    these.
    """
    from bakeoff.evalscope.asking import is_error_text, prompt_sha

    errored_before, replies = _graded_before(loaded.folder)
    refused: dict[str, set[int]] = {}
    graded: dict[tuple[str, int], set[str]] = {}
    for subset, sample in loaded.samples:
        key, name = (subset, prompt_sha(sample.input)), f"{loaded.benchmark.name}_{subset}.jsonl"
        if key in errored_before:
            refused.setdefault(name, set()).add(sample.id)
        elif key in replies:
            graded[name, sample.id] = replies[key]
    for kind in ("predictions", "reviews"):
        for path in (loaded.folder / kind).rglob("*.jsonl*"):
            if ".rerun-" in path.name:
                path.unlink()  # left by a run that was killed while it graded
                continue
            content = path.read_bytes()
            # What follows the last newline is torn; the next row would be glued to it.
            lines = [line + b"\n" for line in content.split(b"\n")[:-1]]
            usable = [line for line in lines if _text_of(line) is not None]
            if kind == "predictions":
                usable = [
                    line for line in usable if json.loads(line).get("index") not in refused.get(path.name, ())
                ]
                usable = [line for line in usable if not is_error_text(_text_of(line) or "")]
                whole_rows = len(usable)
                usable = [line for line in usable if _is_as_graded(line, path.name, graded)]
                loaded.changed += whole_rows - len(usable)
            if len(whole := b"".join(usable)) != len(content):
                write_bytes(path, whole)


def _graded_before(folder: Path) -> tuple[set[Graded], dict[Graded, set[str]]]:
    """What was last graded as a service's own text, and as replies."""
    path = folder / "samples.jsonl"
    replies: dict[Graded, set[str]] = {}
    errored_before: set[Graded] = set()
    for row in readable_rows(path) if path.is_file() else []:
        key = row["subset"], row["prompt_sha"]
        if row["status"] == "errored":
            errored_before.add(key)
        else:
            replies.setdefault(key, set()).add(row["reply"])
    return errored_before, replies


def _is_as_graded(line: bytes, name: str, graded: Mapping[tuple[str, int], set[str]]) -> bool:
    replies = graded.get((name, json.loads(line).get("index", -1)))
    return replies is None or _text_of(line) in replies


def _text_of(line: bytes) -> str | None:
    """The reply in a row, ``""`` where it has none; None if unreadable."""
    try:
        row = json.loads(line)
    except ValueError:
        return None
    with contextlib.suppress(KeyError, AttributeError, TypeError, IndexError):
        return reply_of(row)[0]
    return ""


def predictions_of(loaded: Loaded) -> dict[Key, Prediction]:
    """The last row of each sample in EvalScope's predictions."""
    return dict(_rows_of(loaded, "predictions"))


def reviews_of(loaded: Loaded) -> dict[Key, Review]:
    """The last row of each sample in EvalScope's reviews."""
    return dict(_rows_of(loaded, "reviews"))


def _rows_of(loaded: Loaded, kind: str) -> Iterator[tuple[Key, Any]]:
    for subset, dataset in loaded.datasets.items():
        path = loaded.folder / kind / loaded.task.model_id / f"{loaded.benchmark.name}_{subset}.jsonl"
        if not path.is_file():
            continue
        status = path.stat()
        state = (status.st_mtime_ns, status.st_size)
        if loaded.read.get(path, (None,))[0] != state:
            loaded.read[path] = state, readable_rows(path)
        numbers = {question.id for question in dataset}
        yield from (((subset, row["index"]), row) for row in loaded.read[path][1] if row["index"] in numbers)


def known_of(loaded: Loaded) -> Iterator[tuple[Facts, Key, Question]]:
    """Yield each question, in order: its sample's facts, its key, itself."""
    from bakeoff.evalscope.asking import prompt_sha

    seen: dict[str, int] = {}
    for number, (subset, sample) in enumerate(loaded.samples):
        question = loaded.questions.get((subset, sample.id)) or joined(sample.input)
        options = tuple(str(choice) for choice in sample.choices or ())
        target = "".join(sample.target) if options else _joined_target(sample.target)
        content = json.dumps([loaded.suite["benchmark"], subset, question, options], ensure_ascii=False)
        name = hashlib.sha256(content.encode()).hexdigest()[:16]
        seen[name] = seen.get(name, 0) + 1
        common: Facts = {
            "sample_id": name if seen[name] == 1 else f"{name}-{seen[name]}",
            "subset": subset,
            "index": number,
            "question": question,
            "options": options,
            "target": target,
            "prompt_sha": prompt_sha(sample.input),
        }
        yield common, (subset, sample.id), sample


def _joined_target(target: str | Sequence[str]) -> str:
    return target if isinstance(target, str) else "\n".join(str(part) for part in target or ())


def errored(common: Facts, why: str) -> Sample:
    """The sample of a question that got no reply, with the reason."""
    return Sample(
        **common,
        reply="",
        extracted="",
        extracted_alt="",
        status="errored",
        correct=math.nan,
        latency_s=math.nan,
        error=why,
    )


def reply_of(prediction: Prediction) -> tuple[str, str, float]:
    """Text, stop reason and seconds of a prediction row."""
    output = prediction["model_output"]
    choice = (output.get("choices") or [{}])[0]
    message = choice.get("message") or {}
    content = message.get("content") or ""
    if not isinstance(content, str):
        content = "\n".join(str(part.get("text") or "") for part in content if part.get("type") == "text")
    timing = message.get("perf_metrics") or {}
    seconds = timing.get("latency", output.get("time"))
    return content, str(choice.get("stop_reason") or ""), float(seconds) if seconds is not None else math.nan
