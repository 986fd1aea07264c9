"""A process that has imported ms-swift, and forks for each program: 9 s of imports once instead of every time."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

SERVER = """
import importlib, json, os, sys, traceback

requests, answers = map(int, sys.argv[1:3])
for name in sys.argv[3:]:
    importlib.import_module(name)
for line in os.fdopen(requests):
    asked = json.loads(line)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            for number, path in ((1, asked["out"]), (2, asked["err"])):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
            os.environ.clear()
            os.environ.update(asked["env"])
            sys.path[:0] = asked["path"]
            exec(compile(asked["program"], "<program>", "exec"), {"__name__": "__main__"})
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    os.write(answers, b"%d\\n" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
IMPORTED = ("torch", "transformers", "peft", "swift.pipelines.train.sft")


class Forks:
    """Runs programs in forks of one process; what it downloads or unpacks goes into *folder*."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.hub = {"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        theirs, self.requests = os.pipe()
        self.answers, answers = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(theirs), str(answers), *IMPORTED],
            env={**os.environ, **self.hub},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(theirs, answers),
        )
        os.close(theirs)
        os.close(answers)

    def run(self, program: str, *path: Path, **environment: str) -> str:
        """What *program* prints, with *path* before all others; a failure is an assertion with its last lines."""
        out, err = self.folder / "out", self.folder / "err"
        request = {
            "program": program,
            "path": [str(one) for one in path],
            "env": {**os.environ, **self.hub, **environment},
            "out": str(out),
            "err": str(err),
        }
        os.write(self.requests, json.dumps(request).encode() + b"\n")
        assert select.select([self.answers], [], [], 300)[0], f"no end after 300 s: {program}"
        code = os.read(self.answers, 20).decode().strip()
        assert code == "0", err.read_text(errors="replace")[-3000:] if code else "the imports failed"
        return out.read_text(encoding="utf-8")

    def run_line(self, argv: Sequence[str], **environment: str) -> str:
        """What ``python -m module …`` or ``python file …`` prints, whose interpreter *argv* does not name."""
        module = argv[0] == "-m"
        name, begin = (argv[1], "run_module") if module else (argv[0], "run_path")
        words = [name, *argv[2 if module else 1 :]]
        more = ", alter_sys=True" if module else ""
        return self.run(
            f"import runpy, sys\nsys.argv[:] = {words!r}\nrunpy.{begin}({name!r}, run_name='__main__'{more})",
            **environment,
        )

    def close(self) -> None:
        """End the process, and what it may still run."""
        self.process.kill()
        self.process.wait()
        os.close(self.requests)
        os.close(self.answers)


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """One for all test modules of a worker."""
    made = Forks(tmp_path_factory.mktemp("forks"))
    yield made
    made.close()
