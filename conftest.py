"""What pytest calls by name; what each hook does is in ``fixtures/``."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Generator
from typing import Any

import psutil
import pytest

from bakeoff.runs import plan, runs
from fixtures import reporting, selection
from fixtures.config import (
    BENCHMARKS,
    LEFT_OUT,
    ROOT,
    RUN_ID,
    SELECTED,
    asks_benchmarks,
    data_dir_of,
    matrix_of,
    places,
    refuse_unwritable,
    workspace_of,
)
from fixtures.far import elsewhere
from fixtures.progress import Followed

pytest_plugins = ["fixtures.session", "fixtures.models", "fixtures.evaluation"]


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Name the run, choose the suite, and give the report its file."""
    for name, meaning in plan.MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")
    for name, meaning in plan.NARROWING.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")
    if config.args_source is not config.ArgsSource.ARGS:  # no path was given
        folder = "benchmarks" if plan.names_a_stage(config.getoption("markexpr", "")) else "tests"
        config.args[:] = [str(ROOT / folder)]
    selection.refuse_no_stage(config)
    if config.getoption("dry_run") or config.getoption("doctor"):
        config.option.dist, config.option.tx = "no", []  # pytest-xdist's workers would run what -n hands them
    if all(place == BENCHMARKS or BENCHMARKS in place.parents for place in places(config)):
        config.pluginmanager.unregister(name="hypothesispytest")  # its summary imports all of hypothesis: 1 s
        config.option.force_short_summary = True  # in CI, its last lines repeat a stage's whole error
    worker = getattr(config, "workerinput", {})
    config.stash[RUN_ID] = worker.get("run_id") or runs.new_id()
    config.stash[SELECTED] = {}
    config.stash[LEFT_OUT] = {}
    if config.getoption("fail_on_regression") and not config.getoption("compare"):
        raise pytest.UsageError("--fail-on-regression needs --compare RUN: worse than which run?")
    if not worker:
        reporting.note_earlier(config)
    if config.getoption("doctor") and config.args_source is not config.ArgsSource.ARGS:
        config.args[:] = [str(ROOT / "benchmarks")]
    if not worker and not config.option.collectonly:
        refuse_unwritable("--store", workspace_of(config).root / ".writable")
    if (page := config.getoption("htmlpath", None)) and not worker:
        refuse_unwritable("--html", runs.report_page(page))
        config.option.htmlpath = str(runs.report_page(page))
        config.option.self_contained_html = True


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Every worker belongs to the same run (pytest-xdist)."""
    node.workerinput["run_id"] = node.config.stash[RUN_ID]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A scheduler that keeps rows together and starts with the longest."""
    if config.getoption("dist") != "load" or not asks_benchmarks(config):
        return None
    from fixtures.scheduling import ByRow

    matrix = matrix_of(config)
    return ByRow.of(plan.expected_seconds(matrix, workspace_of(config), data_dir_of(config)))(config, log)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Report mistakes of the matrix, then start to follow the run."""
    config = session.config
    if not asks_benchmarks(config):
        return
    elsewhere(config, matrix_of(config))  # with -n nothing is collected here, and workers know of no cluster

    def end_in_order(*_: object) -> None:
        """End as on Ctrl-C, with a report of what is there."""
        for worker in psutil.Process().children() if config.pluginmanager.hasplugin("dsession") else ():
            with contextlib.suppress(psutil.Error):
                worker.terminate()
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end_in_order)
    if hasattr(config, "workerinput"):
        return
    if not config.getoption("collectonly"):
        timeline = workspace_of(config).run(config.stash[RUN_ID]) / "events.jsonl"
        config.pluginmanager.register(Followed(timeline))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per row, and per variant and suite where a test takes them."""
    names = [name for name in selection.PARAMETERS if name in metafunc.fixturenames]
    if "model" in names:
        selection.parametrize(metafunc, names)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort by row and stage, and deselect what was not selected."""
    selection.select(config, items)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Note which suites are asked together."""
    selection.note_suites(session)


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """Print for ``--dry-run`` or ``--doctor`` instead of running."""
    if looked := selection.look_only(session):
        return looked
    selection.foretell(session)
    selection.send_elsewhere(session)
    return None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: list[str]) -> None:
    """Tell the controller which rows its workers selected (pytest-xdist)."""
    selection.refuse_unlike_of_workers(node.config, ids)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Our own errors are told in their own words, without a traceback."""
    error = call.excinfo.value if call.excinfo else None
    with reporting.without_sources(item.config, error):
        report = yield
    reporting.told_in_words(report, item, error)
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Put the run together.

    After pytest-xdist has ended its workers, which tell the timeline what was interrupted, and before pytest-html
    writes the page: of hooks that come last, the one that was registered first is called first.
    """
    reporting.finish(session)


@pytest.hookimpl(optionalhook=True)
def pytest_html_report_title(report: Any) -> None:
    """The page's title (pytest-html)."""
    report.title = "模型对比 · Model comparison"


@pytest.hookimpl(optionalhook=True)
def pytest_html_results_summary(
    prefix: list[str], summary: list[str], postfix: list[str], session: Any
) -> None:
    """The comparison heads the page (pytest-html)."""
    prefix.extend(reporting.comparison(session.config))


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int, config: pytest.Config) -> None:
    """The comparison in a few lines, and where everything is."""
    reporting.summarise(terminalreporter, exitstatus, config)


os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
