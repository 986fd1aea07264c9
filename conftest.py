"""What pytest calls by name: parametrization from the matrix, selection, the report."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import psutil
import pytest

from bakeoff.chain.chain import Chain, why_unmet
from bakeoff.doctor import doctor
from bakeoff.doctor.comparability import why_not_comparable
from bakeoff.errors import BakeoffError, DataError, MatrixError, NotInStore, StoreError, in_short
from bakeoff.matrix.schema import Matrix, Suite
from bakeoff.report import Findings, history, section, write_tables
from bakeoff.runs import plan, runs, tracking
from bakeoff.secrecy import load_env_file
from bakeoff.sentences import of_error, restored, with_statements
from bakeoff.workspace import Workspace
from fixtures.progress import Followed

pytest_plugins = ["fixtures.session", "fixtures.models", "fixtures.evaluation"]

ROOT = Path(__file__).parent
BENCHMARKS = ROOT / "benchmarks"
MATRIX = pytest.StashKey[Matrix]()
RUN_ID = pytest.StashKey[str]()
AGAINST = pytest.StashKey[str]()
FINDINGS = pytest.StashKey[Findings]()
SINCE = pytest.StashKey[history.Since]()
WHY_FAILED = pytest.StashKey[list[str]]()
SELECTED = pytest.StashKey[dict[tuple[str, str], list[str]]]()
TOLD = pytest.StashKey[dict[str, str]]()
"""Each error that was told -> the test that told it."""
UNWRITTEN = pytest.StashKey[str]()
LEFT_OUT = pytest.StashKey[dict[str, str]]()


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
    if config.getoption("dry_run") or config.getoption("doctor"):
        config.option.dist, config.option.tx = "no", []  # pytest-xdist's workers would run what -n hands them
    if all(place == BENCHMARKS or BENCHMARKS in place.parents for place in _places(config)):
        config.pluginmanager.unregister(name="hypothesispytest")  # its summary imports all of hypothesis: 1 s
        config.option.force_short_summary = True  # in CI, its last lines repeat a stage's whole error
    worker = getattr(config, "workerinput", {})
    config.stash[RUN_ID] = worker.get("run_id") or runs.new_id()
    config.stash[SELECTED] = {}
    config.stash[LEFT_OUT] = {}
    if config.getoption("fail_on_regression") and not config.getoption("compare"):
        raise pytest.UsageError("--fail-on-regression needs --compare RUN: worse than which run?")
    if (against := config.getoption("compare")) and not worker:
        try:
            config.stash[AGAINST] = runs.earlier(_workspace(config).root, against)
        except StoreError as error:
            raise pytest.UsageError(str(error)) from None
    if config.getoption("doctor") and config.args_source is not config.ArgsSource.ARGS:
        config.args[:] = [str(ROOT / "benchmarks")]
    if (page := config.getoption("htmlpath", None)) and not worker:
        _refuse_unwritable("--html", runs.report_page(page))
        config.option.htmlpath = str(runs.report_page(page))
        config.option.self_contained_html = True


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Every worker belongs to the same run (pytest-xdist)."""
    node.workerinput["run_id"] = node.config.stash[RUN_ID]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A row stays with one worker, the longest one begins first (pytest-xdist)."""
    if config.getoption("dist") != "load" or not _asks_benchmarks(config):
        return None
    from fixtures.scheduling import ByRow

    matrix = matrix_of(config)
    return ByRow.of(plan.expected_seconds(matrix, _workspace(config)))(config, log)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Mistakes of the matrix end pytest before it collects; from then on the terminal follows the run."""
    config = session.config
    if not _asks_benchmarks(config):
        return
    matrix_of(config)

    def end_in_order(*_: object) -> None:
        """As Ctrl-C in a terminal, which reaches pytest-xdist's workers, too: what is there is reported."""
        for worker in psutil.Process().children() if config.pluginmanager.hasplugin("dsession") else ():
            with contextlib.suppress(psutil.Error):
                worker.terminate()
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, end_in_order)
    if hasattr(config, "workerinput"):
        return
    if not config.getoption("collectonly"):
        timeline = _workspace(config).run(config.stash[RUN_ID]) / "events.jsonl"
        config.pluginmanager.register(Followed(timeline))


def _places(config: pytest.Config) -> list[Path]:
    return [(config.invocation_params.dir / argument.split("::")[0]).resolve() for argument in config.args]


def _asks_benchmarks(config: pytest.Config) -> bool:
    return any(
        place == BENCHMARKS or place in BENCHMARKS.parents or BENCHMARKS in place.parents
        for place in _places(config)
    )


def matrix_of(config: pytest.Config) -> Matrix:
    """The matrix, read once per process; its mistakes end pytest before any stage."""
    if MATRIX not in config.stash:
        terminal = config.get_terminal_writer()
        try:
            load_env_file(Path(".env"), lambda line: terminal.line(f"warning: {line}", yellow=True))
            config.stash[MATRIX] = plan.load(
                Path(config.getoption("matrix")), _data_dir(config), _workspace(config)
            )
        except (DataError, MatrixError) as error:
            raise pytest.UsageError(str(error)) from None
    return config.stash[MATRIX]


def _refuse_unwritable(option: str, file: Path) -> None:
    """What a run of hours is to write is tried before it begins: a file in *file*'s folder, or in what will hold it."""
    folder = next(place for place in file.absolute().parents if place.exists())
    try:
        if not folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if file.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with tempfile.TemporaryFile(dir=folder):
            pass
        if file.exists():
            with file.open("ab"):
                pass
    except OSError as error:
        raise pytest.UsageError(
            f"{option}: {file} cannot be written ({error.strerror}); name another folder"
        ) from None


def _data_dir(config: pytest.Config) -> Path | None:
    given = config.getoption("data_dir")
    if given and not Path(given).is_dir():
        raise pytest.UsageError(f"--data-dir: no folder {given!r}")
    return Path(given).absolute() if given else None


@pytest.fixture(scope="session")
def matrix(pytestconfig: pytest.Config) -> Matrix:
    """What is compared."""
    return matrix_of(pytestconfig)


@pytest.fixture(scope="session")
def run_id(pytestconfig: pytest.Config) -> str:
    """The name of this run, the same for every worker."""
    return pytestconfig.stash[RUN_ID]


@pytest.fixture(scope="session")
def selected_suites(pytestconfig: pytest.Config, chain: Chain, variant: str) -> list[Suite]:
    """The suites that this run asks of one variant of a row; they are evaluated together."""
    names = pytestconfig.stash[SELECTED].get((chain.spec.name, variant), [])
    return [suite for name, suite in chain.bench.matrix.suites.items() if name in names]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per row, and per variant and suite where the test asks for them."""
    wanted = [name for name in ("model", "variant", "suite") if name in metafunc.fixturenames]
    if "model" not in wanted:
        return
    matrix = matrix_of(metafunc.config)
    marks_of_test = {mark.name for mark in metafunc.definition.iter_markers()}
    cases = plan.cases(matrix, wanted, _data_dir(metafunc.config), marks_of_test)
    params = []
    for case in cases:
        marks = [pytest.mark.skip(reason=case.why_not)] if case.why_not else []
        params.append(pytest.param(*case.values, marks=marks, id="-".join(case.values)))
    metafunc.parametrize(wanted, params, indirect=True, scope="session")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order by row and stage; leave out what ``--rows`` does not mean, and speed unless asked for."""
    ours = [item for item in items if "model" in _params(item)]
    if not ours:
        return
    matrix = matrix_of(config)
    asked = config.getoption("markexpr", "") + config.getoption("keyword", "")
    left_out = [
        item
        for item in ours
        if _params(item)["model"] not in matrix.models  # no row or suite for this test
        or (item.get_closest_marker("speed") and "speed" not in asked)
    ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    ours = [item for item in ours if item not in left_out]
    runnable = {_params(item)["model"] for item in ours if not item.get_closest_marker("skip")}
    config.stash[LEFT_OUT] = plan.left_out(matrix, runnable, config.getoption("rows"))
    for item in ours:
        params = _params(item)
        row = params["model"]
        item.user_properties.append(("row", row))
        if row in config.stash[LEFT_OUT]:
            if not item.get_closest_marker("skip"):
                item.add_marker(pytest.mark.skip(reason=config.stash[LEFT_OUT][row]))
        elif "suite" in params:
            item.user_properties.append(("score", [row, params["variant"], params["suite"]]))
    items.sort(key=lambda item: plan.order(matrix, _params(item), [m.name for m in item.iter_markers()]))


def _params(item: pytest.Item) -> dict[str, Any]:
    spec = getattr(item, "callspec", None)
    return dict(spec.params) if spec else {}


def pytest_collection_finish(session: pytest.Session) -> None:
    """Note which suites are asked together."""
    config = session.config
    ours = [item for item in session.items if "model" in _params(item)]
    for item in ours:
        params = _params(item)
        if "suite" in params and not item.get_closest_marker("skip"):
            suites = config.stash[SELECTED].setdefault((params["model"], params["variant"]), [])
            suites.extend({params["suite"]}.difference(suites))


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop(session: pytest.Session) -> bool | None:
    """``--dry-run`` and ``--doctor`` print instead of running; rows that are not like for like may end the run."""
    config = session.config
    rows = list(dict.fromkeys(_params(item)["model"] for item in session.items if "model" in _params(item)))
    rows = [row for row in rows if row not in config.stash[LEFT_OUT]]
    if not rows or hasattr(config, "workerinput"):
        return None
    matrix = matrix_of(config)
    _refuse_unlike(config, rows)
    if config.getoption("dry_run"):
        for line in plan.dry_run(matrix, rows, _workspace(config), _data_dir(config)):
            print(line)
        return True
    if config.getoption("doctor"):
        specs = [matrix.models[name] for name in rows]
        found = doctor.findings(specs, matrix, _workspace(config), data_dir=_data_dir(config))
        found += doctor.traps(specs)
        print("", *([str(one) for one in found] or ["nothing speaks against this run"]), sep="\n")
        session.testsfailed += sum(finding.level == "error" for finding in found)
        return True
    return None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_node_collection_finished(node: Any, ids: list[str]) -> None:
    """The controller learns from its workers which rows were selected (pytest-xdist)."""
    from fixtures.scheduling import row_of

    config = node.config
    if config.getoption("strict_comparability") and _asks_benchmarks(config):
        matrix = matrix_of(config)
        rows = list(dict.fromkeys(row for one in ids if (row := row_of(one, matrix.models))))
        runnable = {row for row in rows if not why_unmet(matrix.models[row], matrix)}
        left_out = plan.left_out(matrix, runnable, config.getoption("rows"))
        _refuse_unlike(config, [row for row in rows if row not in left_out])


def _refuse_unlike(config: pytest.Config, rows: list[str]) -> None:
    """Where ``--strict-comparability`` is given, the *rows* that run on this machine must be like for like."""
    if not config.getoption("strict_comparability"):
        return
    matrix = matrix_of(config)
    specs = [spec for name in rows if not why_unmet(spec := matrix.models[name], matrix)]
    if why := why_not_comparable(doctor.known_differences(specs, matrix, _workspace(config))):
        raise pytest.UsageError(why)


def _workspace(config: pytest.Config) -> Workspace:
    return Workspace(Path(config.getoption("store")).absolute())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Our own errors are told in their own words, without a traceback."""
    report = yield
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, NotInStore):
        report.outcome = "skipped"
        report.longrepr = (str(item.path), item.location[1] or 0, f"Skipped: {error}")
        _note_why_skipped(report, of_error(error))
    elif isinstance(error, pytest.skip.Exception):
        _note_why_skipped(report, error.msg or "")
    elif isinstance(error, BakeoffError):
        timeline = _workspace(item.config).run(item.config.stash[RUN_ID]) / "events.jsonl"
        told = f"{error}\ntimeline: {timeline}" if timeline.exists() else str(error)
        where = item.config.stash.setdefault(TOLD, {}).setdefault(told, item.nodeid)
        report.longrepr = (
            told if where == item.nodeid else f"{in_short(str(error))}\nthe same error as of {where}"
        )
    return report


def _note_why_skipped(report: pytest.TestReport, why: str) -> None:
    """Keep *why* with the report, which xdist sends between processes as plain values."""
    report.user_properties.append(("why skipped", with_statements({"why": why})))


def _reason_of(report: pytest.TestReport) -> str:
    """What pytest says of a test that it skipped itself."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
    return str(reason).removeprefix("Skipped: ")


def _skipped(config: pytest.Config) -> list[tuple[str, str]]:
    """What was skipped and why, once per row and reason."""
    told = []
    for report in _reports(config, "skipped"):
        properties = dict(report.user_properties)
        if row := properties.get("row"):
            reason = restored(properties.get("why skipped") or {}).get("why")
            told.append((str(row), reason or _reason_of(report)))
    return list(dict.fromkeys(told))


def _asked(config: pytest.Config) -> list[tuple[str, str, str]]:
    """The scores (row, variant, suite) that this run was to make, also of tests that were skipped."""
    told = [dict(report.user_properties).get("score") for report in _reports(config)]
    return list(dict.fromkeys((str(m), str(v), str(s)) for m, v, s in filter(None, told)))


def _reports(config: pytest.Config, *outcomes: str) -> list[Any]:
    """The reports of tests, on whichever worker they ran."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    stats = terminal.stats if terminal else {}
    return [
        one for kind in outcomes or stats for one in stats.get(kind, []) if hasattr(one, "user_properties")
    ]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Put the run together: what ran, what was skipped, every score, and what moved.

    After pytest-xdist has ended its workers, which tell the timeline what was interrupted, and before pytest-html
    writes the page: of hooks that come last, the one that was registered first is called first.
    """
    config = session.config
    if hasattr(config, "workerinput"):
        return
    if session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and _asks_benchmarks(config):
        session.exitstatus = pytest.ExitCode.USAGE_ERROR  # a name that matches nothing is a mistake
    workspace, run_id = _workspace(config), config.stash[RUN_ID]
    if (workspace.run(run_id) / "events.jsonl").exists():
        may_judge = not config.getoption("no_run") and session.exitstatus in (0, 1)
        runs.finish(
            workspace, run_id, matrix_of(config), _skipped(config), _asked(config), may_judge=may_judge
        )
        config.stash[FINDINGS] = Findings.from_store(workspace.root, run_id)
        if page := config.getoption("htmlpath", None):
            try:
                write_tables(config.stash[FINDINGS], Path(page).parent)
            except OSError as error:
                config.stash[UNWRITTEN] = f"the report could not be written: {error}; again: make report"
    if against := config.stash.get(AGAINST, None):
        _hold_against(session, Findings.from_store(workspace.root, against))


def _hold_against(session: pytest.Session, before: Findings) -> None:
    """What moved since *before*, and with ``--fail-on-regression`` the verdict."""
    config = session.config
    if any(config.getoption(name) for name in ("dry_run", "doctor", "collectonly")):
        return
    after = config.stash.get(FINDINGS, None)
    if after:
        config.stash[SINCE] = history.Since.of(before, after)
    if config.getoption("fail_on_regression"):
        why = history.why_failed(config.stash[SINCE].changes, after) if after else ["this run made no score"]
        config.stash[WHY_FAILED] = why
        session.exitstatus = session.exitstatus or (pytest.ExitCode.TESTS_FAILED if why else 0)


@pytest.hookimpl(optionalhook=True)
def pytest_html_report_title(report: Any) -> None:
    """The page's title (pytest-html)."""
    report.title = "模型对比 · Model comparison"


@pytest.hookimpl(optionalhook=True)
def pytest_html_results_summary(
    prefix: list[str], summary: list[str], postfix: list[str], session: Any
) -> None:
    """The comparison heads the page (pytest-html)."""
    config = session.config
    if findings := config.stash.get(FINDINGS, None):
        reports = Path(config.getoption("htmlpath")).parent
        prefix.append(section(findings, reports, config.stash.get(SINCE, None)))


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int, config: pytest.Config) -> None:
    """The comparison in a few lines, and where everything is."""
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and MATRIX in config.stash:
        matrix = config.stash[MATRIX]
        asked = " ".join(
            f"{flag} {config.getoption(n)!r}" for flag, n in (("-k", "keyword"), ("-m", "markexpr"))
        )
        terminalreporter.write_line(f"ERROR: nothing matches {asked}", red=True)
        terminalreporter.write_line(f"rows: {', '.join(matrix.models)}")
        terminalreporter.write_line(
            f"suites: {', '.join(matrix.suites)}; stages (-m): {', '.join(plan.MARKERS)}"
        )
    skipped: dict[str, list[str]] = {}
    for row, why in _skipped(config):
        skipped.setdefault(why, []).append(row)
    for why, rows in skipped.items():
        terminalreporter.write_line(f"skipped: {', '.join(rows)}: {why}")
    workspace = _workspace(config)
    for line in runs.summary(workspace, config.stash[RUN_ID]):
        terminalreporter.write_line(line)
    if since := config.stash.get(SINCE, None):
        terminalreporter.write_line(str(since))
    if config.getoption("log_scores") and FINDINGS in config.stash:
        terminalreporter.write_line(tracking.log_scores(workspace.root, config.stash[RUN_ID]))
    if why := config.stash.get(UNWRITTEN, ""):
        terminalreporter.write_line(f"ERROR: {why}", red=True)
    for why in config.stash.get(WHY_FAILED, []):
        terminalreporter.write_line(f"--fail-on-regression: {why}", red=True)


os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
