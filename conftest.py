"""What pytest calls by name: parametrization from the matrix, selection, the report."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from bakeoff import doctor, history, plan, runs
from bakeoff.chain import Chain
from bakeoff.comparability import Difference, differences, why_not_comparable
from bakeoff.errors import BakeoffError, MatrixError, NotInStore, StoreError
from bakeoff.matrix import Matrix, Suite, load_matrix
from bakeoff.report import Findings
from bakeoff.secrecy import load_env_file
from bakeoff.workspace import Workspace
from fixtures.progress import Progress, terminal_of

pytest_plugins = ["fixtures.session", "fixtures.models", "fixtures.evaluation"]

ROOT = Path(__file__).parent
MATRIX = pytest.StashKey[Matrix]()
RUN_ID = pytest.StashKey[str]()
AGAINST = pytest.StashKey[str]()
CHANGES = pytest.StashKey[list[history.Change]]()
SELECTED = pytest.StashKey[dict[tuple[str, str], list[str]]]()


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Name the run, choose the suite, and give the report its file."""
    for name, meaning in plan.MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")
    config.addinivalue_line("markers", "expecting: only for suites of which the matrix expects an outcome")
    if config.args_source is not config.ArgsSource.ARGS:  # no path was given
        folder = "benchmarks" if plan.names_a_stage(config.getoption("markexpr", "")) else "tests"
        config.args[:] = [str(ROOT / folder)]
    worker = getattr(config, "workerinput", {})
    config.stash[RUN_ID] = worker.get("run_id") or runs.new_id()
    config.stash[SELECTED] = {}
    if (against := config.getoption("compare")) and not worker:
        try:
            config.stash[AGAINST] = runs.earlier(_workspace(config), config.stash[RUN_ID], against)
        except StoreError as error:
            raise pytest.UsageError(str(error)) from None
    if config.getoption("doctor") and config.args_source is not config.ArgsSource.ARGS:
        config.args[:] = [str(ROOT / "benchmarks")]
    if (page := config.getoption("htmlpath", None)) and not worker:
        config.option.htmlpath = str(runs.report_page(page))
        config.option.self_contained_html = True


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Every worker belongs to the same run (pytest-xdist)."""
    node.workerinput["run_id"] = node.config.stash[RUN_ID]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A row stays with one worker (pytest-xdist)."""
    if config.getoption("dist") != "load" or not _asks_benchmarks(config):
        return None
    from fixtures.scheduling import ByRow

    return ByRow.of(matrix_of(config).models)(config, log)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Mistakes of the matrix end pytest before it collects; from then on the terminal follows the run."""
    config = session.config
    if not _asks_benchmarks(config):
        return
    matrix_of(config)
    if hasattr(config, "workerinput"):
        return
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # as Ctrl-C: the report of what is there is written
    if not config.getoption("collectonly"):
        timeline = _workspace(config).run(config.stash[RUN_ID]) / "events.jsonl"
        config.add_cleanup(Progress(timeline, terminal_of(config)).close)


def _asks_benchmarks(config: pytest.Config) -> bool:
    folder = ROOT / "benchmarks"
    places = [(config.invocation_params.dir / argument.split("::")[0]).resolve() for argument in config.args]
    return any(place == folder or place in folder.parents or folder in place.parents for place in places)


def matrix_of(config: pytest.Config) -> Matrix:
    """The matrix, read once per process; its mistakes end pytest before any stage."""
    if MATRIX not in config.stash:
        load_env_file(Path(".env"))
        try:
            matrix = load_matrix(Path(config.getoption("matrix")))
            plan.check(matrix, _data_dir(config))
        except MatrixError as error:
            raise pytest.UsageError(str(error)) from None
        config.stash[MATRIX] = matrix
    return config.stash[MATRIX]


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
    expecting = any(mark.name == "expecting" for mark in metafunc.definition.iter_markers())
    cases = plan.cases(matrix, wanted, _data_dir(metafunc.config), expecting=expecting)
    params = []
    for case in cases:
        marks = [pytest.mark.skip(reason=case.why_not)] if case.why_not else []
        params.append(pytest.param(*case.values, marks=marks, id="-".join(case.values)))
    metafunc.parametrize(wanted, params, indirect=True, scope="session")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Order by row and stage; leave out the smoke rows where a full row can run, and speed unless asked for."""
    ours = [item for item in items if "model" in _params(item)]
    if not ours:
        return
    matrix = matrix_of(config)
    runnable = {_params(item)["model"] for item in ours if not item.get_closest_marker("skip")}
    full_size = any(matrix.models[name].group == "full" for name in runnable if name in matrix.models)
    asked = config.getoption("markexpr", "") + config.getoption("keyword", "")
    left_out = [
        item
        for item in ours
        if _params(item)["model"] not in matrix.models  # no row or suite for this test
        or (full_size and matrix.models[_params(item)["model"]].group == "smoke")
        or (item.get_closest_marker("speed") and "speed" not in asked)
    ]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    ours = [item for item in ours if item not in left_out]
    for item in ours:
        item.user_properties.append(("row", _params(item)["model"]))
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
    if not rows or hasattr(config, "workerinput"):
        return None
    matrix = matrix_of(config)
    if config.getoption("strict_comparability") and (why := why_not_comparable(_differences(matrix, rows))):
        raise pytest.UsageError(why)
    if config.getoption("dry_run"):
        for line in plan.dry_run(matrix, rows, _workspace(config), _data_dir(config)):
            print(line)
        return True
    if config.getoption("doctor"):
        specs = [matrix.models[name] for name in rows]
        found = doctor.findings(specs, matrix, _workspace(config), data_dir=_data_dir(config))
        print("", *([str(one) for one in found] or ["nothing speaks against this run"]), sep="\n")
        session.testsfailed += sum(finding.level == "error" for finding in found)
        return True
    return None


def _differences(matrix: Matrix, rows: list[str]) -> list[Difference]:
    return differences([matrix.models[name] for name in rows])


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
    elif isinstance(error, BakeoffError):
        report.longrepr = str(error)
    return report


def _skipped(config: pytest.Config) -> list[tuple[str, str]]:
    """What was skipped and why, once per row and reason."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    told = []
    for report in terminal.stats.get("skipped", []) if terminal else []:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        if row := dict(report.user_properties).get("row"):
            told.append((str(row), str(reason).removeprefix("Skipped: ")))
    return list(dict.fromkeys(told))


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Put the run together: what ran, what was skipped, every score."""
    config = session.config
    if hasattr(config, "workerinput"):
        return
    if session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and _asks_benchmarks(config):
        session.exitstatus = pytest.ExitCode.USAGE_ERROR  # a name that matches nothing is a mistake
    workspace = _workspace(config)
    if (workspace.run(config.stash[RUN_ID]) / "events.jsonl").exists():
        page = config.getoption("htmlpath", None)
        runs.finish(
            workspace,
            config.stash[RUN_ID],
            matrix_of(config),
            _skipped(config),
            Path(page).parent if page else None,
            may_judge=not config.getoption("no_run") and session.exitstatus in (0, 1),
        )
        if against := config.stash.get(AGAINST, None):
            before, after = (
                Findings.from_store(workspace.root, run) for run in (against, config.stash[RUN_ID])
            )
            config.stash[CHANGES] = history.moved(history.changes(before, after))
            if config.getoption("fail_on_regression") and any(
                one.regression for one in config.stash[CHANGES]
            ):
                session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED


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
    reports = Path(config.getoption("htmlpath")).parent
    prefix.append(
        runs.section(_workspace(config), config.stash[RUN_ID], reports, config.stash.get(AGAINST, None))
    )


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
    workspace = _workspace(config)
    for line in runs.summary(workspace, config.stash[RUN_ID]):
        terminalreporter.write_line(line)
    if against := config.stash.get(AGAINST, None):
        terminalreporter.write_line(f"since {against}:")
        moved = [str(change) for change in config.stash.get(CHANGES, [])]
        terminalreporter.write_line("\n".join(moved or ["nothing moved"]))


os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
