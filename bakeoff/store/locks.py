"""Locks of the store: one process at a time.

Who holds a lock is told to those who wait.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from bakeoff.foundation.errors import StoreError
from bakeoff.foundation.secrecy import redact
from bakeoff.foundation.sentences import Template, joined

SILENT_S = 5.0
"""How long a lock is waited for before the timeline says who holds it."""
AGAIN_S = 3600.0
"""How often it says so again, while the same one holds it."""


MOUNT_TO_WRITE = Template(
    "store.locks.mount_to_write",
    "mount it so that it can be written, or give another --store",
    zh="请以可写方式挂载，或改用其他 --store",
)
GIVE_RIGHT = Template(
    "store.locks.give_right",
    "give this user the right to write there, or give another --store",
    zh="请授予该用户写权限，或改用其他 --store",
)
FREE_SPACE = Template(
    "store.locks.free_space", "free some space (`make clean-stale`)", zh="请释放空间（`make clean-stale`）"
)
SHARE_USED_UP = Template(
    "store.locks.share_used_up",
    "your share of the disk is used up: free some space (`make clean-stale`)",
    zh="磁盘配额已用完：请释放空间（`make clean-stale`）",
)
LOCKS_THAT_HOLD = Template(
    "store.locks.locks_that_hold",
    "put --store on a file system with locks (NFS with its lock daemon, Lustre mounted with -o flock), or work with "
    "one host and a local disk",
    zh="请将 --store 放在支持锁的文件系统上（启用锁服务的 NFS，或以 -o flock 挂载的 Lustre），或只用一台主机和本地磁盘",
)
GRANTED_TWICE = Template(
    "store.locks.granted_twice",
    "{folder}: its file system grants a lock twice, so a stage could run twice at once",
    zh="{folder}：该文件系统会重复授予同一把锁，同一阶段可能同时运行两次",
)
UNWRITABLE = Template(
    "store.locks.unwritable",
    "{folder}: nothing can be written there on {host} ({error})",
    zh="{folder}：在 {host} 上无法写入（{error}）",
)
NO_LOCKS = Template(
    "store.locks.no_locks",
    "{folder}: its file system has no usable locks ({error})",
    zh="{folder}：该文件系统没有可用的锁（{error}）",
)
_UNWRITABLE = {
    errno.EROFS: MOUNT_TO_WRITE(),
    errno.EACCES: GIVE_RIGHT(),
    errno.EPERM: GIVE_RIGHT(),
    errno.ENOSPC: FREE_SPACE(),
    errno.EDQUOT: SHARE_USED_UP(),
}
"""What to do where the store is at fault and not its locks."""


@contextmanager
def lock(folder: Path, name: str, tell: Callable[..., None]) -> Iterator[None]:
    """Let one process at a time into the block that works on *name*.

    The kernel frees the lock of a process that dies.

    Args:
        folder: holds the locks of a store.
        name: what is worked on, as a file name.
        tell: is told who holds the lock, see :meth:`bakeoff.store.stages.Timeline.tell`.
    """
    file_lock, note = FileLock(folder / f"{name}.lock"), folder / f"{name}.holder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file_lock.acquire(timeout=SILENT_S)
    except Timeout:
        _wait(file_lock, name, note, tell)
    except (OSError, NotImplementedError):
        raise StoreError(why_locks_unusable(folder) or f"{file_lock.lock_file} cannot be locked") from None
    try:
        with contextlib.suppress(OSError):  # only told to those who wait
            note.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield
    finally:
        note.unlink(missing_ok=True)
        file_lock.release()


def _wait(file_lock: FileLock, name: str, note: Path, tell: Callable[..., None]) -> None:
    """Wait until the holder of *file_lock* has ended, and tell who it is.

    It is told now, when another process has the lock, and every hour. There is no bound: a training may rightly take
    days, and the kernel frees the lock of one that dies.
    """
    last_holder, last_time = "", 0.0
    while True:
        holder = _holder(Path(file_lock.lock_file), note)
        if holder != last_holder or time.monotonic() - last_time > AGAIN_S:
            tell("waiting", stage=name, holder=holder)
            last_holder, last_time = holder, time.monotonic()
        with contextlib.suppress(Timeout):
            file_lock.acquire(timeout=SILENT_S)
            return


def why_locks_unusable(folder: Path) -> str:
    """Return why locks in *folder* would keep nobody out.

    In words; empty where they hold on this host.

    Whether they reach other hosts can only be tried from there.
    """
    probe = folder / f"probe-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with probe.open("w") as first, probe.open("w") as second:
            fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return ""
        return joined((GRANTED_TWICE(folder=folder), LOCKS_THAT_HOLD()))
    except OSError as error:
        why = os.strerror(error.errno or 0)
        if error.errno in _UNWRITABLE:
            what = UNWRITABLE(folder=folder, host=socket.gethostname(), error=why)
            return joined((what, _UNWRITABLE[error.errno]))
        return joined((NO_LOCKS(folder=folder, error=why), LOCKS_THAT_HOLD()))
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)


def _holder(lock: Path, note: Path) -> str:
    """Return who keeps the file *lock* locked, in words.

    As the kernel tells, or else the holder's own *note*.
    """
    with contextlib.suppress(OSError, psutil.Error):
        inode = str(lock.stat().st_ino)
        for line in Path("/proc/locks").read_text(encoding="ascii").splitlines():
            fields = line.split()  # 1: FLOCK ADVISORY WRITE <pid> <device>:<inode> 0 EOF
            if fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == inode:
                process = psutil.Process(int(fields[4]))
                return redact(f"process {process.pid} ({' '.join(process.cmdline())[:120]})")
    try:
        return note.read_text(encoding="utf-8") or "another process"
    except OSError:
        return "another process"
