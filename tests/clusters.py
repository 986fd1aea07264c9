"""Small clusters for the tests: hosts out of namespaces on one machine, a real Slurm and a real Ray over them.

A *lab* is a namespace of network, processes and mounts with nothing but a loopback and a switch; its hosts have process
ids, names, boot ids, loopbacks, cables and temporary folders of their own and see the same disk. When the lab's first
process dies, so does all in it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

ROOT = Path(__file__).parents[1]
SLURM = ("slurmctld", "slurmd", "sbatch", "squeue", "scancel")
HOSTS = ("n1", "n2", "n3")
ENTER = ("--mount", "--net", "--pid", "--uts", "--ipc")


def wait_until(
    condition: Callable[[], object], timeout_s: float, what: str = "", every_s: float = 0.1
) -> None:
    """Wait for *condition*, and fail with *what* where it never holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, what or condition
        time.sleep(every_s)


def why_no_namespaces() -> str:
    """Why hosts cannot be made here; empty where they can."""
    missing = [name for name in ("unshare", "nsenter", "ip", "mount") if shutil.which(name) is None]
    if missing:
        return f"needs the program(s) {', '.join(missing)}"
    done = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--uts", "--ipc", "--fork", "--mount-proc", "sh", "-c",
         "ip link set lo up && hostname x && mount -t tmpfs none /mnt "
         "&& ip link add br0 type bridge && ip link add v0 type veth peer name v1"],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    return f"namespaces may not be made here: {done.stderr.strip()}" if done.returncode else ""


def why_no_slurm() -> str:
    missing = [name for name in SLURM if shutil.which(name) is None]
    return why_no_namespaces() or (f"Slurm is not installed: no {', '.join(missing)}" if missing else "")


def why_no_ray() -> str:
    done = subprocess.run([sys.executable, "-c", "import ray"], capture_output=True, timeout=60, check=False)
    return why_no_namespaces() or ("the package ray is not installed" if done.returncode else "")


def inside(pid: int) -> list[str]:
    return ["nsenter", "-t", str(pid), *ENTER, f"--wd={ROOT}", "--"]


def _end_with_us() -> None:
    """Let a lab end with the tests, however these end: ``unshare --kill-child`` then takes all of it along."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _shell_of(parent: Sequence[str], script: str, log: Path) -> tuple[subprocess.Popen[bytes], int]:
    """Start *script* as the first process of new namespaces; returns its parent and its id as seen from here."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*parent, "sh", "-c", script],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_end_with_us,
        )
    return process, process.pid


class Lab:
    """Hosts that share a disk and a loopback."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "lab.log"
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("submit", *HOSTS):
            (folder / f"tmp-{name}" / "ray").mkdir(parents=True)
        names = "".join(f"{address(name)} {name}\n" for name in ("submit", *HOSTS))
        (folder / "etc-hosts").write_text(f"127.0.0.1 localhost\n{names}")
        ready = folder / "ready"
        script = (
            "ip link set lo up && ip link add switch type bridge && ip link set switch up "
            f"&& ip addr add {address('submit')}/24 dev switch && hostname submit && mount --make-rprivate / "
            f"&& mount --bind {folder}/etc-hosts /etc/hosts {self._own_ray('submit')} "
            f"&& touch {ready} && exec sleep 3600"
        )
        self.process, _ = _shell_of(
            [
                "unshare",
                "--net",
                "--mount",
                "--pid",
                "--uts",
                "--ipc",
                "--fork",
                "--kill-child",
                "--mount-proc",
            ],
            script,
            self.log,
        )
        wait_until(ready.exists, 20, self.log.read_text())
        self.first = child_of(self.process.pid)
        self.hosts: dict[str, int] = {}

    def start_host(self, name: str) -> None:
        """A host of this *name*, with process ids, boot id and temporary folder of its own."""
        ready = self.folder / f"ready-{name}"
        ready.unlink(missing_ok=True)
        boot = self.folder / f"boot-{name}"
        boot.write_text(f"{uuid.uuid4()}\n")
        script = (
            f"hostname {name} && mount --bind {boot} /proc/sys/kernel/random/boot_id {self._own_ray(name)} "
            f"&& touch {ready} && while :; do sleep 3600; done"
        )
        make = [
            "unshare",
            "--net",
            "--mount",
            "--pid",
            "--uts",
            "--ipc",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ]
        process, _ = _shell_of([*inside(self.first), *make], script, self.log)
        self.hosts[name] = -process.pid
        wait_until(ready.exists, 20, self.log.read_text())
        self.hosts[name] = pid = _deepest(process.pid)
        self._ip("link", "delete", f"to-{name}")  # a host of this name that died may have left it
        self._ip("link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        self._ip("link", "set", f"to-{name}", "master", "switch", "up")
        for words in (f"addr add {address(name)}/24 dev eth0", "link set eth0 up", "link set lo up"):
            done = self.run(name, "ip", *words.split())
            assert done.returncode == 0, done.stderr

    def _ip(self, *words: str) -> None:
        """Configure the network of the lab, from outside, where process ids are ours."""
        subprocess.run(
            ["nsenter", "-t", str(self.first), "--net", "ip", *words],
            capture_output=True,
            timeout=30,
            check=False,
        )

    def cut(self, name: str) -> None:
        """Pull the cable of a host, which goes on and sees the disk."""
        self._ip("link", "set", f"to-{name}", "down")

    def heal(self, name: str) -> None:
        """Plug the cable in again."""
        self._ip("link", "set", f"to-{name}", "up")

    def _own_ray(self, name: str) -> str:
        """Ray's sockets lie in /tmp/ray, under names that hosts would share."""
        return f"&& mkdir -p /tmp/ray && mount --bind {self.folder}/tmp-{name}/ray /tmp/ray"

    def start(self, host: str | None, argv: Sequence[str], log: Path, **env: str) -> subprocess.Popen[bytes]:
        """Start a program on *host*, or on the one that submits."""
        pid = self.hosts[host] if host else self.first
        tmp = self.folder / f"tmp-{host or 'submit'}"
        with log.open("ab") as output:
            return subprocess.Popen(
                [*inside(pid), *argv],
                env={**os.environ, "TMPDIR": str(tmp), "PYTHONPATH": python_path(), **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def run(
        self, host: str | None, *argv: str, timeout_s: float = 300, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program on *host* to its end."""
        pid = self.hosts[host] if host else self.first
        tmp = self.folder / f"tmp-{host or 'submit'}"
        return subprocess.run(
            [*inside(pid), *argv],
            env={**os.environ, "TMPDIR": str(tmp), "PYTHONPATH": python_path(), **env},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def seen_from_here(self, host: str, pid: int) -> int:
        """Our id of the process *pid* of *host*, at once: what starts a program there may come too late."""
        space = Path(f"/proc/{self.hosts[host]}/ns/pid").readlink()
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                ids = (path / "status").read_text().partition("NSpid:")[2].splitlines()[0].split()
                if ids[-1] == str(pid) and (path / "ns" / "pid").readlink() == space:
                    return int(path.name)
        raise AssertionError(f"{pid} of {host} has ended")

    def processes(self) -> list[str]:
        """The command lines of everything that runs in the lab."""
        listed = self.run(None, "ps", "-eo", "args", "--no-headers").stdout.splitlines()
        return [line.strip() for line in listed if line.strip() and not line.startswith("ps ")]

    def kill_host(self, name: str) -> None:
        """The machine loses its power."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.hosts.pop(name), signal.SIGKILL)

    def close(self) -> None:
        """End the lab with all that runs in it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.first, signal.SIGKILL)
        self.process.kill()
        self.process.wait(20)


def address(name: str) -> str:
    """The address of a host, or of the one that submits."""
    return f"10.88.0.{1 + ('submit', *HOSTS).index(name)}"


def python_path() -> str:
    return os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))


def child_of(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children")
    wait_until(lambda: children.read_text().split(), 10)
    return int(children.read_text().split()[0])


def _deepest(pid: int) -> int:
    """The first process of the innermost namespace: nsenter -> unshare -> sh."""
    while True:
        status = Path(f"/proc/{pid}/status").read_text()
        ids = next(line for line in status.splitlines() if line.startswith("NSpid")).split()
        if len(ids) >= 4 and ids[-1] == "1":
            return pid
        pid = child_of(pid)


@contextlib.contextmanager
def lab(folder: Path) -> Iterator[Lab]:
    """A lab with three hosts."""
    made = Lab(folder)
    try:
        for name in HOSTS:
            made.start_host(name)
        yield made
    finally:
        made.close()


class CardWatch:
    """Looks all the time at who computes on which card of which host, as the processes themselves have it.

    What a runner started carries the runner's mark and the card's number; a card with two marks has two holders.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder).encode()
        self.holders: dict[tuple[str, str], set[str]] = {}
        """All marks that each card of each host ever had."""
        self.clashes: list[str] = []
        self.looks = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> CardWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.05):
            self.look()

    def attempts(self, cards: int = 2) -> int:
        """How many legs of so many *cards* each were ever on all of theirs."""
        return sum(len(marks) for marks in self.holders.values()) // cards

    def look(self) -> None:
        """Note who is on each card now."""
        now: dict[tuple[str, str], set[str]] = {}
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                environ, command = (path / "environ").read_bytes(), (path / "cmdline").read_bytes()
                if self.folder not in environ + command or b"bakeoff.execution.warm" in command:
                    continue  # a keeper computes nothing, and was there before the lease
                pairs = dict(pair.split("=", 1) for pair in environ.decode().split("\0") if "=" in pair)
                if mark := pairs.get("BAKEOFF_RUNNER"):
                    for card in filter(None, pairs.get("CUDA_VISIBLE_DEVICES", "").split(",")):
                        now.setdefault((pairs.get("SLURMD_NODENAME", ""), card), set()).add(mark)
        self.looks += 1
        for place, marks in now.items():
            self.holders.setdefault(place, set()).update(marks)
            if len(marks) > 1:
                self.clashes.append(f"{place}: {sorted(marks)}")


CONF = """\
ClusterName=lab
SlurmctldHost=submit(10.88.0.1)
SlurmctldPort=26817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
GresTypes=gpu
ReturnToService=2
SlurmdTimeout=10
SlurmctldTimeout=10
MessageTimeout=3
TCPTimeout=1
KillWait=5
MinJobAge=300
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=2,sched_min_interval=0,requeue_delay=0
NodeName=n1 NodeHostname=n1 NodeAddr=10.88.0.2 Port=26901 CPUs=4 RealMemory=4000 Gres=gpu:2 Feature=h100
NodeName=n2 NodeHostname=n2 NodeAddr=10.88.0.3 Port=26902 CPUs=4 RealMemory=4000 Gres=gpu:2
NodeName=n3 NodeHostname=n3 NodeAddr=10.88.0.4 Port=26903 CPUs=4 RealMemory=4000 Gres=gpu:2
PartitionName=main Nodes=n1,n2,n3 Default=YES MaxTime=1-0 PriorityTier=1 PreemptMode=REQUEUE State=UP
PartitionName=urgent Nodes=n1,n2,n3 MaxTime=1-0 PriorityTier=10 PreemptMode=OFF State=UP
"""


class SlurmCluster:
    """A real Slurm over the hosts of a lab."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.folder = folder = lab.folder / "slurm"
        for name in ("state", "dev", "cgroup"):
            (folder / name).mkdir(parents=True)
        for number in range(2):
            subprocess.run(["mknod", str(folder / "dev" / f"nvidia{number}"), "c", "1", "3"], check=True)
        (folder / "slurm.conf").write_text(CONF.format(folder=folder))
        (folder / "gres.conf").write_text(f"Name=gpu File={folder}/dev/nvidia[0-1]\n")
        (folder / "cgroup.conf").write_text(
            f"CgroupPlugin=cgroup/v1\nCgroupAutomount=no\nCgroupMountpoint={folder}/cgroup\n"
        )
        (folder / "munge.key").write_bytes(os.urandom(256))
        (folder / "munge.key").chmod(0o400)
        self.env = {"SLURM_CONF": str(folder / "slurm.conf")}
        self.log = folder / "daemons.log"
        lab.start(None, self.munge(), self.log)
        wait_until((folder / "munge.socket").exists, 20, "munge")
        self.start_controller("-i")
        for name in HOSTS:
            self.join(name)
        wait_until(lambda: self.idle() == len(HOSTS), 40, self.log.read_text())

    def start_controller(self, *options: str) -> None:
        self.controller = self.lab.start(None, ["slurmctld", "-D", *options], self.log, **self.env)

    def stop_controller(self) -> None:
        os.kill(child_of(self.controller.pid), signal.SIGTERM)
        self.controller.wait(30)

    def munge(self) -> list[str]:
        names = {
            "socket": "socket",
            "key-file": "key",
            "pid-file": "pid",
            "log-file": "log",
            "seed-file": "seed",
        }
        options = [f"--{option}={self.folder}/munge.{name}" for option, name in names.items()]
        return ["munged", "--foreground", "--force", *options]

    def join(self, host: str) -> None:
        self.lab.start(host, ["slurmd", "-D", "-N", host], self.log, **self.env)

    def run(self, *argv: str) -> str:
        return self.lab.run(None, *argv, **self.env).stdout

    def idle(self) -> int:
        return self.run("sinfo", "-h", "-N", "-p", "main", "-t", "idle", "-o", "%n").count("n")

    def jobs(self) -> list[str]:
        return self.run("squeue", "-h", "-o", "%i %j %T %N %r").splitlines()


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    if why := why_no_slurm():
        pytest.skip(why)
    with lab(tmp_path_factory.mktemp("slurm-lab")) as hosts:
        yield SlurmCluster(hosts)


class RayCluster:
    """A real Ray over the hosts of a lab: a head on the host that submits, a node with cards on each other."""

    ENV: ClassVar = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_health_check_initial_delay_ms": "1000",
        "RAY_health_check_period_ms": "500",
        "RAY_health_check_failure_threshold": "3",
        "RAY_enable_metrics_collection": "0",
    }
    ADDRESS = "10.88.0.1:6399"

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.folder = lab.folder / "ray"
        self.folder.mkdir()
        self.log = self.folder / "start.log"
        self.env = {**self.ENV, "RAY_ADDRESS": self.ADDRESS}
        common = ["--disable-usage-stats", "--object-store-memory=83886080"]
        head = ["--head", "--port=6399", "--num-cpus=0", "--num-gpus=0", "--include-dashboard=false"]
        self._start(None, [*head, "--node-ip-address=10.88.0.1", *common])
        self.wait_for_nodes(1)
        for name in HOSTS:
            self.join(name)
        self.wait_for_nodes(1 + len(HOSTS))

    def join(self, host: str) -> None:
        number = 2 + HOSTS.index(host)
        common = ["--disable-usage-stats", "--object-store-memory=83886080"]
        own = [f"--node-ip-address={address(host)}", f"--dashboard-agent-listen-port={52365 + number}"]
        own += [f"--min-worker-port={10000 + 1000 * number}", f"--max-worker-port={10999 + 1000 * number}"]
        self._start(host, [f"--address={self.ADDRESS}", "--num-cpus=4", "--num-gpus=2", *common, *own])

    def _start(self, host: str | None, options: list[str]) -> None:
        start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *options]
        argv = ["sh", "-c", 'for _ in 1 2 3; do "$@" && break; done', "sh", *start]  # it gives up after 30 s
        self.lab.start(host, argv, self.log, **self.env, TMPDIR="/tmp")  # each host has a /tmp/ray of its own

    def wait_for_nodes(self, count: int) -> None:
        code = (
            "import ray, sys, time\n"
            "deadline = time.monotonic() + 180\n"
            "def nodes():\n"
            "    try:\n"
            "        if not ray.is_initialized():\n"
            "            ray.init(address='auto', log_to_driver=False, logging_level='error')\n"
            "        return ray.nodes()\n"
            "    except Exception: return []\n"
            f"while sum(n['Alive'] for n in nodes()) != {count}:\n"
            "    if time.monotonic() > deadline: sys.exit(str(nodes()))\n"
            "    time.sleep(0.3)\n"
        )
        done = self.lab.run(None, sys.executable, "-c", code, timeout_s=240, **self.env)
        assert done.returncode == 0, done.stderr + self.log.read_text()


@pytest.fixture(scope="session")
def ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    if why := why_no_ray():
        pytest.skip(why)
    with lab(tmp_path_factory.mktemp("ray-lab")) as hosts:
        yield RayCluster(hosts)
