"""Ports of the loopback interface: which are free, who listens."""

from __future__ import annotations

import contextlib
import socket

import psutil

HOST = "127.0.0.1"


def free_port() -> int:
    """A port of the loopback interface that nobody uses."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def bindable(port: int, lingering_counts: bool) -> bool:
    """Return whether *port* can be listened on.

    With *lingering_counts* not while connections of an ended server are on it.
    """
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, not lingering_counts)
        probe.bind((HOST, port))
        return True
    return False


def listener(port: int) -> int | None:
    """Return the process that listens on *port*, if the system tells."""
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            here = connection.laddr and connection.laddr.port == port and connection.laddr.ip in _HEARD_AT
            if here and connection.status == psutil.CONN_LISTEN and connection.pid:
                return int(connection.pid)
    return None


_HEARD_AT = (HOST, "0.0.0.0", "::", f"::ffff:{HOST}")
"""Where one may listen and get what is sent to :data:`HOST`."""
