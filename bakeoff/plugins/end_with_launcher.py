"""Ends a process of a training on several cards together with the launcher that started it.

``torch.distributed.run`` gives each of its processes a session of its own, so that one that is killed leaves them
behind: on cards that nobody knows to be in use, writing into a folder that is somebody else's by now.
"""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

PR_SET_PDEATHSIG = 1


def end_with_launcher() -> None:
    """From now on this process is killed when its launcher ends; one that comes too late ends at once."""
    if os.environ.get("LOCAL_RANK") is None:  # nobody launched it
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if b"torch.distributed.run" not in Path(f"/proc/{os.getppid()}/cmdline").read_bytes():
        os._exit(1)


if __name__ != "bakeoff.plugins.end_with_launcher":  # ms-swift 4.6 names it by a hash
    end_with_launcher()
