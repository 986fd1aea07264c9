# mypy: disable-error-code="misc"
# EvalScope ships no types: its classes are Any here.
"""EvalScope's evaluator with hundreds of requests in flight.

Questions, prompts, grading, files and reports are EvalScope's own. What differs is who hands the questions out: its
loop looks once a second which requests have ended, so that a slot stands empty for half a second after each of them,
and for each question it writes out texts for a log that nobody reads.
"""

from __future__ import annotations

import json
import threading
import traceback
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, cast

from evalscope.api.dataset import Sample
from evalscope.api.evaluator import CacheManager, Evaluator, TaskState
from evalscope.api.evaluator.cache import ModelResult, ReviewResult
from evalscope.api.metric import SampleScore
from evalscope.api.model import Model
from evalscope.api.registry import EVALUATOR_REGISTRY
from evalscope.constants import HEARTBEAT_INTERVAL_SEC
from evalscope.evaluator.evaluator import BatchReviewer, DefaultEvaluator
from evalscope.utils.asyncio_runtime import AsyncioLoopRunner
from evalscope.utils.io_utils import JsonlWriter, OutputsStructure, convert_normal_types
from evalscope.utils.logger import get_logger
from evalscope.utils.tqdm_utils import TqdmLogging

from bakeoff.evalscope.asking import AskingAPI
from bakeoff.evalscope.loading import Loaded

_LOOK_S = 1.0
"""How often the progress of a suite is written to the log while nothing ends."""


class Crew:
    """The threads that all suites of a plan share.

    There is one for each request that may be in flight. Suites take turns in the order in which they come, so that the
    first is graded while the next is asked.
    """

    def __init__(self, size: int) -> None:
        self.threads = ThreadPoolExecutor(size, thread_name_prefix="asking")

    def do(self, tasks: Sequence[Callable[[], None]], look: Callable[[], None]) -> None:
        """Return when all *tasks* are done; until then, *look* from time to time.

        Raises:
            BaseException: the first that a task raised; those not yet begun are left out.
        """
        done = threading.Event()
        lock = threading.Lock()
        left, failed = len(tasks), list[BaseException]()

        def carry_out(task: Callable[[], None]) -> None:
            nonlocal left
            try:
                if not failed:
                    task()
            except BaseException as error:
                failed.append(error)
            finally:
                with lock:
                    left -= 1
                if not left:
                    done.set()

        for task in tasks:
            self.threads.submit(carry_out, task)
        while left and not done.wait(_LOOK_S):
            look()
        if failed:
            raise failed[0]

    def end(self) -> None:
        """Let the threads go."""
        self.threads.shutdown()


def evaluator_of(loaded: Loaded, api: AskingAPI, crew: Crew) -> Evaluator:
    """What evaluates *loaded*: ours, where its benchmark names no other."""
    outputs = OutputsStructure(outputs_dir=str(loaded.folder))
    model = _Model(api, loaded.task.generation_config, {})
    named = {"benchmark": loaded.benchmark, "model": model, "outputs": outputs, "task_config": loaded.task}
    theirs = EVALUATOR_REGISTRY.get(loaded.benchmark.name) or EVALUATOR_REGISTRY["default"]
    if theirs is not DefaultEvaluator:
        return theirs(**named)
    return CrewedEvaluator(crew, **named)


class _Model(Model):
    def generate(
        self, input: Any, tools: Any = None, tool_choice: Any = None, config: Any = None
    ) -> Any:  # as EvalScope's
        """The reply to *input*; without a copy of the settings for each question."""
        if tools or config is not None or isinstance(input, str):
            return super().generate(input, tools, tool_choice, config)
        return self.api.generate(input=input, tools=[], tool_choice="none", config=self.config)


class _Item(Protocol):
    """A question in EvalScope's hands."""

    subset: str
    needs_predict: bool


class _Context(Protocol):
    """The questions of a suite in EvalScope's hands."""

    work_items: Sequence[_Item]
    total_cached: int
    grand_total: int
    model_prediction_dir: str


_Graded = tuple[TaskState, SampleScore | None]


class CrewedEvaluator(DefaultEvaluator):
    """EvalScope's evaluator; the threads of a :class:`Crew` ask its questions."""

    def __init__(self, crew: Crew, **named: object) -> None:
        super().__init__(**named)
        self.crew = crew
        self.written = threading.Lock()
        self.cache_manager = _Rows(
            outputs=self.outputs, model_name=self.model_name, benchmark_name=self.benchmark_name
        )
        self.batch_reviewer = BatchReviewer(
            benchmark=self.benchmark, cache_manager=self.cache_manager, task_config=self.task_config
        )

    def _run_pool(self, context: _Context) -> dict[str, list[_Graded]]:
        results: dict[str, list[_Graded]] = defaultdict(list)
        with TqdmLogging(
            total=context.grand_total,
            initial=context.total_cached,
            desc=f"Evaluating[{self.benchmark_name}]",
            mininterval=1,
            dynamic_ncols=True,
            logger=get_logger(),
            log_interval=HEARTBEAT_INTERVAL_SEC,
            track_progress=True,
        ) as bar:

            def carry_out(item: _Item) -> None:
                try:
                    result = self._process_work_item(item, context.model_prediction_dir)
                    with self.written:
                        self._persist_result(item, *result)
                        results[item.subset].append(result)
                except Exception as error:
                    self._failed(item, error)
                finally:
                    AsyncioLoopRunner.shutdown_for_thread()
                    with self.written:
                        bar.update(1)

            def look() -> None:
                with self.written:
                    bar.check_log()

            self.crew.do([lambda item=item: carry_out(item) for item in context.work_items], look)
        return results

    def _failed(self, item: _Item, error: Exception) -> None:
        with self.written:
            get_logger().error(
                f"Processing item in subset={item.subset!r} failed: {error}\nTraceback:\n{traceback.format_exc()}"
            )
            if not self.task_config.ignore_errors:
                raise error
            self._execution_tracker.record_error(item.subset)
            get_logger().warning("Error ignored, continuing with next sample.")

    def _predict_sample(self, sample: Sample, model_prediction_dir: str) -> TaskState:
        return self.benchmark.run_inference(model=self.model, sample=sample, output_dir=model_prediction_dir)

    def _persist_result(self, item: _Item, task_state: TaskState, sample_score: SampleScore | None) -> None:
        if sample_score is not None:
            self.cache_manager.save_review_cache(
                subset=item.subset,
                task_state=task_state,
                sample_score=sample_score,
                save_metadata=self.benchmark.save_metadata,
            )
        if self.task_config.collect_perf and item.needs_predict:
            self._record_perf(task_state)


class _Rows(CacheManager):
    """EvalScope's files of predictions and reviews.

    Row for row the same, made without a walk over each row.
    """

    def __init__(self, **named: object) -> None:
        super().__init__(**named)
        self.paths: dict[str, str] = {}

    def get_prediction_cache_path(self, subset: str) -> str:
        """The file of *subset*, whose folder is made once."""
        if (path := self.paths.get(subset)) is None:
            path = self.paths[subset] = str(super().get_prediction_cache_path(subset))
        return path

    def get_review_cache_path(self, subset: str) -> str:
        """The file of *subset*, whose folder is made once."""
        key = f"review of {subset}"
        if (path := self.paths.get(key)) is None:
            path = self.paths[key] = str(super().get_review_cache_path(subset))
        return path

    def save_prediction_cache(
        self, subset: str, task_state: TaskState, save_metadata: bool = True
    ) -> ModelResult:
        """Append the reply of a question; its row."""
        row = ModelResult.from_task_state(task_state, save_metadata)
        self._get_writer(self.get_prediction_cache_path(subset)).write(row.model_dump())
        return row

    def save_review_cache(
        self, subset: str, task_state: TaskState, sample_score: SampleScore, save_metadata: bool = True
    ) -> ReviewResult:
        """Append the grade of a question; its row."""
        path = self.get_review_cache_path(subset)
        row = ReviewResult.from_score_state(sample_score, task_state, save_metadata)
        self._get_writer(self._review_reruns.get(path, path)).write(row.model_dump())
        return row

    def _get_writer(self, cache_file: str) -> RowWriter:
        if cache_file not in self._writers:
            self._writers[cache_file] = RowWriter(cache_file)
        return cast(RowWriter, self._writers[cache_file])


class RowWriter(JsonlWriter):
    """EvalScope's writer of rows; what JSON lacks becomes a plain type."""

    def write(self, record: object) -> None:
        """Append *record*, safe from the end of the process when it returns."""
        file = self._ensure_open()
        file.write(json.dumps(record, ensure_ascii=False, default=_plain) + "\n")
        file.flush()


def _plain(value: object) -> object:
    """*value* as JSON can hold it, where it is none of its types."""
    plain: object = convert_normal_types(value)
    if plain is value:
        raise TypeError(f"{type(value).__name__} has no place in JSON")
    return plain
