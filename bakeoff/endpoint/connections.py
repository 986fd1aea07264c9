"""Connections whose answers end: the first line, headers and trailers too.

A timeout of requests bounds one wait. A service that sends a letter each second, or "100 Continue" without end, never
lets it run out.
"""

from __future__ import annotations

import io
import socket
import time
from http.client import HTTPResponse
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.poolmanager import PoolManager

_LONGEST_S = 300.0
"""Where a connection has no timeout."""
_GRACE_S = 1.0
"""For what follows a body, whose own deadline is its reader's."""


class _TimedIO(socket.SocketIO):
    """What a socket sends until a deadline."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        super().__init__(sock, "r")
        self.sock, self.deadline = sock, deadline

    def readinto(self, buffer: Any) -> int | None:
        """Read into *buffer*, as long as there is time."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer was not whole when its time was over")
        patience = self.sock.gettimeout()
        self.sock.settimeout(left if patience is None else min(left, patience))
        try:
            return super().readinto(buffer)
        finally:
            self.sock.settimeout(patience)


class _TimedResponse(HTTPResponse):
    """An answer whose head ends within the connection's timeout, and its body within another."""

    def __init__(self, sock: socket.socket, *arguments: Any, **options: Any) -> None:
        super().__init__(sock, *arguments, **options)
        self.patience = sock.gettimeout() or _LONGEST_S
        self.timed = _TimedIO(sock, time.monotonic() + self.patience)
        self.fp.close()
        sock._io_refs += 1  # type: ignore[attr-defined]  # as makefile does: the answer keeps the socket open
        self.fp = io.BufferedReader(self.timed)

    def begin(self) -> None:
        """Read the head."""
        super().begin()
        self.timed.deadline = time.monotonic() + self.patience + _GRACE_S


class _Connection(HTTPConnection):
    response_class = _TimedResponse


class _SecureConnection(HTTPSConnection):
    response_class = _TimedResponse


class HTTPConnectionPool(urllib3.HTTPConnectionPool):
    """Called so in error texts."""

    ConnectionCls = _Connection


class HTTPSConnectionPool(urllib3.HTTPSConnectionPool):
    """Called so in error texts."""

    ConnectionCls = _SecureConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        _use_timed(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **options: Any) -> PoolManager:
        manager: PoolManager = super().proxy_manager_for(proxy, **options)
        if not proxy.lower().startswith("socks"):  # these have connections of their own kind
            _use_timed(manager)
        return manager


def _use_timed(manager: PoolManager) -> None:
    manager.pool_classes_by_scheme = {"http": HTTPConnectionPool, "https": HTTPSConnectionPool}


def bound(session: requests.Session) -> None:
    """Let every answer to *session* end."""
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter())
