# mypy: disable-error-code="misc"
"""Connections for hundreds of requests at a time, whose answers end.

Their first lines, headers and trailers end, too. A timeout of httpx bounds one wait, which a letter each second, or
"100 Continue" without end, never lets run out.
"""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from queue import LifoQueue
from typing import Any

import httpcore
import httpx

from bakeoff.endpoint.address import own_certificates, proxy_of
from bakeoff.endpoint.answers import REPLIES, Answer, BadAnswer, read_answer
from bakeoff.endpoint.transfer import MAX_REDIRECTS, REDIRECTS, in_pieces, redirected, refuse_nested
from bakeoff.foundation.texts import beginning_of, decoded

_SECRET_HEADERS = {b"authorization", b"cookie", b"api-key", b"x-api-key"}
_BODY_HEADERS = {"content-length", "content-encoding", "transfer-encoding"}
ENCODINGS = "gzip, deflate"
"""What may pack an answer: a piece of it unpacks to a thousand times its size at most, of zstd and br to gigabytes."""
_UNPACKED_IN_PIECES = {"", "identity", "gzip", "deflate"}
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

    def drop_leftovers(self) -> None:
        """Close the connection where more came than the answer.

        What a service sends beyond a body would be read as the answer to the next request.
        """
        for connection in self._pool.connections:
            inner: Any = connection
            while inner is not None and not hasattr(inner, "_h11_state"):
                inner = getattr(inner, "_connection", None)
            if inner is not None and inner._h11_state.trailing_data[0]:
                connection.close()


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


class Slots:
    """*count* requests at a time, each on a connection of its own.

    The pool of an httpx client looks at every connection that it has whenever a request begins or ends, under a lock:
    with 256 in flight that takes several times the processor time of all else that a request needs.
    """

    def __init__(self, count: int, service_url: str, timeout_s: float) -> None:
        # a client with a transport of its own does not look for proxies itself
        proxy = proxy_of(service_url) or None
        self.timeout_s = timeout_s
        certificates = _certificates()  # once: it reads a file
        # the last used one first: it is still connected
        self.free: LifoQueue[TimedTransport] = LifoQueue()
        for _ in range(count):
            self.free.put(TimedTransport(timeout_s, certificates, proxy))
        self.mine = threading.local()

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Wait for a slot; this thread's requests go over its connection."""
        self.mine.transport = transport = self.free.get()
        try:
            yield
        finally:
            self.free.put(transport)

    def answer(self, request: httpx.Request) -> Answer | httpx.Response:
        """The checked answer to *request*, or the response that refuses it.

        Redirects are followed with the same request.

        Raises:
            BadAnswer: what came is neither.
        """
        self.mine.answer = None
        for _ in range(MAX_REDIRECTS + 1):
            response = self.mine.transport.handle_request(request)
            if response.status_code not in REDIRECTS or "location" not in response.headers:
                return self._read(response)
            response.close()
            url, same_host = redirected(str(request.url), response.headers["location"])
            headers = [(k, v) for k, v in request.headers.raw if k.lower() != b"host"]
            if not same_host:
                headers = [(k, v) for k, v in headers if k.lower() not in _SECRET_HEADERS]
            extensions = request.extensions
            request = httpx.Request(
                request.method, url, headers=headers, content=request.read(), extensions=extensions
            )
        raise BadAnswer(f"redirected more than {MAX_REDIRECTS} times")

    def _read(self, response: httpx.Response) -> Answer | httpx.Response:
        deadline = time.monotonic() + self.timeout_s
        try:
            encoding = response.headers.get("content-encoding", "")
            refuse_nested(encoding)
            if encoding.strip().lower() not in _UNPACKED_IN_PIECES:
                raise BadAnswer(
                    f"the answer is packed as {beginning_of(encoding)}, which was not asked for; not unpacked"
                )
            body = b"".join(in_pieces(response.iter_bytes(), deadline))
        finally:
            response.close()
            self.mine.transport.drop_leftovers()
        if response.status_code in REPLIES:
            self.mine.answer = answer = read_answer(body, response.headers.get("content-type", ""))
            return answer
        if response.status_code < 300:
            # the client would take it for a reply
            raise BadAnswer(
                f"HTTP {response.status_code} in place of a reply: {beginning_of(decoded(body))!r}"
            )
        headers = {k: v for k, v in response.headers.items() if k not in _BODY_HEADERS}
        body = decoded(body).encode("utf-8", "replace")
        return httpx.Response(response.status_code, headers=headers, content=body)


def _certificates() -> ssl.SSLContext:
    bundle = own_certificates()
    if not bundle:
        return httpx.create_ssl_context(trust_env=False)
    is_folder = Path(bundle).is_dir()
    return ssl.create_default_context(
        cafile=None if is_folder else bundle, capath=bundle if is_folder else None
    )
