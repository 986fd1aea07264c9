# mypy: disable-error-code="misc"
"""A transport whose answers end: the first line, headers and trailers too.

A timeout of httpx bounds one wait, which a letter each second, or "100 Continue" without end, never lets run out.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterable
from typing import Any

import httpcore
import httpx

_GRACE_S = 1.0
"""For what follows a body, whose own deadline is its reader's."""


class TimedTransport(httpx.HTTPTransport):
    """One connection at a time, whose waits for an answer end together at a deadline."""

    def __init__(self, timeout_s: float, verify: ssl.SSLContext, proxy: str | None) -> None:
        super().__init__(verify=verify, proxy=proxy)
        self.timeout_s = timeout_s
        self.deadline = float("inf")
        # httpx hands no backend on
        self._pool._network_backend = _Backend(self._pool._network_backend, self)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer to *request*, its body not yet read."""
        patience = request.extensions.get("timeout", {}).get("read") or self.timeout_s
        self.deadline = time.monotonic() + patience
        response = super().handle_request(request)
        self.deadline = time.monotonic() + self.timeout_s + _GRACE_S
        return response


class _Stream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, owner: TimedTransport) -> None:
        self.stream, self.owner = stream, owner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left = self.owner.deadline - time.monotonic()
        if left <= 0:
            raise httpcore.ReadTimeout("the answer was not whole when its time was over")
        return self.stream.read(max_bytes, left if timeout is None else min(left, timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self.stream.write(buffer, timeout)

    def close(self) -> None:
        self.stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return _Stream(self.stream.start_tls(ssl_context, server_hostname, timeout), self.owner)

    def get_extra_info(self, info: str) -> Any:
        return self.stream.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    def __init__(self, backend: httpcore.NetworkBackend, owner: TimedTransport) -> None:
        self.backend, self.owner = backend, owner

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        options = list(socket_options or [])
        return _Stream(self.backend.connect_tcp(host, port, timeout, local_address, options), self.owner)

    def sleep(self, seconds: float) -> None:
        self.backend.sleep(seconds)
