import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from bakeoff.environments.building import (
    ask,
    built,
    constraints,
    digest,
    ensure_environment,
    running_environment,
    swift_version,
)
from bakeoff.environments.installed import why_refused
from bakeoff.environments.probe import packages
from bakeoff.foundation.errors import EnvironmentFailed
from bakeoff.matrix.loading import load_matrix
from bakeoff.matrix.schema import Environment
from bakeoff.tools import engines


def wheel(folder: Path, name: str = "pebble", version: str = "1.0", program: str = "") -> str:
    """A requirement for a package made on the spot, so that no index is asked; *program* is what ``-m`` runs."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", f"VERSION = {version!r}\n{program}")
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")
    return f"{name} @ {path.as_uri()}"


@pytest.fixture(params=["pip", "uv"])
def builder(request, monkeypatch, tmp_path):
    uv = shutil.which("uv")
    if request.param == "uv" and not uv:
        pytest.skip("uv is not on the PATH")
    if request.param == "pip" and uv:
        monkeypatch.setenv(
            "PATH", os.pathsep.join(p for p in os.environ["PATH"].split(":") if not (Path(p) / "uv").exists())
        )
    return request.param


def test_an_environment_is_built_once_and_then_found(builder, tmp_path):
    environment = Environment(name="stones", requirements=(wheel(tmp_path),), env={"A": "1"})
    root = tmp_path / "environments"
    assert built(environment, root) is None
    first = ensure_environment(environment, root)
    record = root / first.digest / "environment.json"
    written = record.stat().st_mtime_ns
    again = ensure_environment(environment, root)
    assert again == first
    assert record.stat().st_mtime_ns == written
    assert first.version("Pebble") == "1.0"
    assert first.env == {"A": "1"}
    said = subprocess.run(
        [first.python, "-c", "import pebble; print(pebble.VERSION)"], capture_output=True, text=True
    )
    assert said.stdout == "1.0\n"


def test_the_callers_packages_do_not_leak_into_a_build(builder, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    environment = ensure_environment(
        Environment(name="stones", requirements=(wheel(tmp_path),)), tmp_path / "e"
    )
    assert "pytest" not in environment.versions


def test_the_name_does_not_decide_what_is_built_but_requirements_do(tmp_path):
    one = Environment(name="a", requirements=("x==1", "y==2"))
    assert digest(one) == digest(Environment(name="b", requirements=("y==2", "x==1")))
    assert digest(one) != digest(Environment(name="a", requirements=("x==1", "y==3")))
    assert digest(one) != digest(Environment(name="a", requirements=("x==1", "y==2"), python="3.9"))


def test_a_requirement_that_does_not_exist_is_named_with_the_log(builder, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    environment = Environment(name="stones", requirements=(wheel(tmp_path), "no-such-stone-9q==7.7"))
    with pytest.raises(EnvironmentFailed) as caught:
        ensure_environment(environment, tmp_path / "environments")
    message = str(caught.value)
    assert "'no-such-stone-9q==7.7' cannot be installed" in message
    assert "pebble" not in message.split("cannot be installed")[0]
    log = tmp_path / "environments" / digest(environment) / "build.log"
    assert str(log) in message
    assert log.read_text().startswith("$ ")
    assert built(environment, tmp_path / "environments") is None


def test_a_python_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentFailed, match=r"no python3\.99 on the PATH"):
        ensure_environment(Environment(name="old", python="3.99", requirements=("x",)), tmp_path)


FAKE_UV = """#!{python}
import os, pathlib, subprocess, sys, time
here = pathlib.Path(__file__).parent
with (here / "calls").open("a") as file:
    file.write(" ".join(sys.argv[1:3]) + "\\n")
if sys.argv[1] == "venv":
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", sys.argv[-1]], check=True)
else:
    (here / "installing").touch()
    while not (here / "go").exists():
        time.sleep(0.02)
"""
BUILD = """
import sys
from pathlib import Path
from bakeoff.environments.building import ensure_environment
from bakeoff.matrix.schema import Environment
print(ensure_environment(Environment(name="slow", requirements=("slow",)), Path(sys.argv[1])).digest)
"""


@pytest.fixture
def slow_uv(tmp_path, monkeypatch):
    """A uv that installs nothing, and not before it is told to go."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "uv"
    program.write_text(FAKE_UV.format(python=sys.executable))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def start_build(root: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", BUILD, str(root)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
        start_new_session=True,
    )


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, path
        time.sleep(0.02)


def test_a_killed_build_is_never_taken_for_a_whole_one(slow_uv, tmp_path):
    root = tmp_path / "environments"
    environment = Environment(name="slow", requirements=("slow",))
    process = start_build(root)
    wait_for(slow_uv / "installing")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert (root / digest(environment) / "venv").is_dir()
    assert built(environment, root) is None
    (slow_uv / "go").touch()
    assert ensure_environment(environment, root).digest == digest(environment)


def test_two_processes_build_one_environment_once(slow_uv, tmp_path):
    root = tmp_path / "environments"
    processes = [start_build(root) for _ in range(2)]
    wait_for(slow_uv / "installing")
    (slow_uv / "go").touch()
    said = {process.communicate(timeout=60)[0] for process in processes}
    assert len(said) == 1
    assert (slow_uv / "calls").read_text().splitlines() == ["venv --quiet", "pip install"]


FULL = "No solution found when resolving dependencies: Because you require torch=="
YIELDING_UV = (
    FAKE_UV.partition("else:")[0]
    + f"""else:
    held = pathlib.Path(sys.argv[sys.argv.index("-c") + 1]).read_text()
    if held:
        sys.exit("{FULL}" + held.strip().partition("==")[2] + " and slow, we can conclude")
"""
)


def test_what_the_machine_holds_a_build_to_yields_to_requirements_that_cannot_live_with_it(slow_uv, tmp_path):
    environment = Environment(name="slow", requirements=("slow",))
    if not constraints(environment.requirements):
        pytest.skip("this machine holds builds to nothing: it has a GPU, or another torch")
    (slow_uv / "uv").write_text(YIELDING_UV.format(python=sys.executable))
    told: list[str] = []
    there = ensure_environment(environment, tmp_path / "e", told.append)
    record = json.loads((tmp_path / "e" / there.digest / "environment.json").read_text())
    assert record["constraints"] == []
    assert [one for one in told if "cannot live with torch==" in one]


def test_a_build_that_hangs_is_ended_and_its_beginning_and_progress_are_told(slow_uv, tmp_path, monkeypatch):
    monkeypatch.setattr("bakeoff.environments.building.BUILD_S", 4.0)
    monkeypatch.setattr("bakeoff.environments.building.PROGRESS_S", 0.5)
    told: list[str] = []
    with pytest.raises(
        EnvironmentFailed, match=r"'slow' was not built in 4 s; .*python -m bakeoff\.environments slow"
    ):
        ensure_environment(Environment(name="slow", requirements=("slow",)), tmp_path / "e", told.append)
    assert told[0].startswith("building, which takes minutes; log: ")
    assert len(told) > 2


@pytest.mark.parametrize(
    ("requirement", "version"),
    [
        ("ms-swift==3.0.3", "3.0.3"),
        ("ms_swift[all] == 3.12.6", "3.12.6"),
        ("ms-swift>=3.6,<4", "3.12.6"),
        ("ms-swift~=3.8.1", "3.8.1"),
        ("ms-swift>=4", "4.6.0"),
        ("ms-swift", "4.6.0"),
        ("swift==1", None),
        ("./a/folder", None),
    ],
)
def test_the_words_of_an_environment_that_is_not_built_are_those_of_its_requirement(
    tmp_path, requirement, version
):
    assert swift_version(Environment(name="x", requirements=("y", requirement)), tmp_path) == version


LMDEPLOY = """
import argparse, sys
whole = argparse.ArgumentParser(prog="lmdeploy")
serve = whole.add_subparsers().add_parser("serve").add_subparsers().add_parser("api_server")
serve.add_argument("model_path")
names = "model-name server-name server-port tp session-len max-batch-size cache-max-entry-count logprobs-mode"
for name in names.split():
    serve.add_argument(f"--{name}")
serve.add_argument("--dtype", choices=["auto", "bfloat16"])
serve.add_argument("--enable-prefix-caching", action="store_true")
whole.parse_args()
sys.exit("the server would start now")
"""


def test_an_engines_own_server_is_asked_for_its_flags_and_not_started(builder, tmp_path):
    requirement = wheel(tmp_path, "lmdeploy", "0.18.0", LMDEPLOY)
    environment = ensure_environment(Environment(name="e", requirements=(requirement,)), tmp_path / "e")
    row = load_matrix(Path(__file__).parents[1] / "model_matrix.yaml").models["llama3.1-8b"]
    line = engines.serve(row, model="m", served_name="s", port=1)
    assert why_refused(line, environment, tmp_path, ask_now=False) == []
    assert why_refused(line, environment, tmp_path, ask_now=True) == []
    extra = row.serving.model_copy(update={"extra": {"enable-prefix-cachin": True, "sesion-len": 4}})
    wrong = engines.serve(row.model_copy(update={"serving": extra}), model="m", served_name="s", port=1)
    assert why_refused(wrong, environment, tmp_path, ask_now=False) == [  # by now it is known
        "lmdeploy 0.18.0: --sesion-len is not known; is it --session-len?"
    ]
    answer = ask(
        environment.python, "engine", json.dumps([wrong.module, *wrong.argv[3:]]), out=tmp_path / "a"
    )
    assert answer["refusals"] == ["--sesion-len"]


def test_the_default_environment_is_the_running_interpreter(tmp_path):
    environment = ensure_environment(Environment(name="default"), tmp_path)
    assert environment.python == Path(sys.executable)
    assert environment.version("pytest") == pytest.__version__
    assert list(tmp_path.iterdir()) == []


def test_a_build_on_a_machine_without_gpu_is_held_to_the_cpu_torch_unless_it_pins_another():
    torch = running_environment().version("torch") or ""
    held = constraints(("ms-swift==4.6.0", f"torch=={torch.split('+')[0]}"))
    assert held in ([], [f"torch=={torch}"])
    assert constraints(("torch<2",)) == []


def test_a_question_that_fails_says_how_to_ask_by_hand(tmp_path):
    with pytest.raises(EnvironmentFailed, match=r"by hand: .*probe\.py nonsense"):
        ask(Path(sys.executable), "nonsense", out=tmp_path / "answer.json")


def test_the_probe_does_not_import_the_modules_beside_it(tmp_path):
    answer = ask(Path(sys.executable), "versions", out=tmp_path / "answer.json")
    assert answer["packages"] == dict(running_environment().versions)
    assert json.loads((tmp_path / "answer.json").read_text()) == answer


def test_what_is_installed_does_not_depend_on_what_was_imported(monkeypatch, tmp_path):
    before = packages()
    copies = tmp_path / "_vendor"  # as setuptools does when something imports it
    (copies / "more_copies-1.dist-info").mkdir(parents=True)
    (copies / "more_copies-1.dist-info" / "METADATA").write_text("Name: more-copies\nVersion: 1\n")
    monkeypatch.syspath_prepend(str(copies))
    assert packages() == before
    monkeypatch.syspath_prepend(str(copies.rename(tmp_path / "site-packages")))
    assert packages() == before | {"more-copies": "1"}


def test_where_there_is_a_card_make_installs_and_pins_what_the_full_rows_need(monkeypatch):
    root = Path(__file__).parents[1]
    monkeypatch.setenv("PATH", f"{root / 'tests/fakes/tools'}{os.pathsep}{os.environ['PATH']}")
    shown = subprocess.run(
        ["make", "-n", "-B", "smoke"], capture_output=True, text=True, cwd=root, check=True
    )
    assert "dashboard,gpu,swanlab]" in shown.stdout
    pinned = {line.partition("==")[0] for line in (root / "constraints.txt").read_text().splitlines()}
    assert {"liger_kernel", "nvidia-ml-py", "swanlab"} <= pinned
