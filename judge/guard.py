"""What every request passes before Gradio sees it."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Collection
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bakeoff.endpoint.address import LOOPBACK

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 4 * 2**20
STRANGER_BODY_BYTES = 16 * 2**10
"""For who is not signed in: a name of 40 letters and a password of 1,024 in their longest spelling fit."""
LARGE_BODY_BYTES = 256 * 2**10
LARGE_AT_ONCE = 2
"""Bodies over LARGE_BODY_BYTES that one rater may have under way: each costs several times its length."""
BODY_S = 30.0
"""For a whole body; who sends one letter a second keeps neither a connection nor its memory for longer."""
POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'self'"
)
CLIENT_ADDRESS: ContextVar[str] = ContextVar("client_address", default="")
"""The address that the request under way comes from; IPv6 by its /64, for a single machine has a whole network."""

ROUTES = re.compile(
    r"/|/invite|/(?:config|login)/?|/logout|/theme\.css|/favicon\.ico|/robots\.txt|/manifest\.json"
    r"|/(?:assets|static|svelte)/.+"
    r"|/gradio_api/(?:run/\w+/?|queue/(?:join|data)|info/?|app_id/?|login_check/?|startup-events|theme\.css"
    r"|cancel|reset/?|heartbeat/\w+|custom_component/.+)"
)
"""All that a rater's page asks for; whatever else Gradio serves, now or in a later version, is closed."""

ENTRANCES = ("/", "/invite")
"""Where a link on another page, or in a mail, may lead."""

_DOORS = ("/login", "/login/", "/invite")
_SESSION, _LOCKED = b"access-token-", b"__Host-access-token-"
"""The session's cookie as Gradio calls it, and by a name that no neighbouring host can set (TLS, no path prefix)."""
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?")
_SINGLE = ("host", "origin", "content-length", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest")
_STATIC = ("/assets/", "/static/", "/svelte/", "/theme.css", "/favicon.ico")
_HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
_HSTS = (b"strict-transport-security", b"max-age=31536000")


@dataclass(frozen=True)
class Seen:
    """A request as the browser sent it, whatever proxy passed it on.

    Attributes:
        host: name and port in the browser's address line, in lower case.
        path: below the path prefix.
    """

    method: str
    scheme: str
    host: str
    path: str
    address: str
    headers: dict[str, str]

    @property
    def site(self) -> str:
        """What the browser says of who asks; nothing where it does not say."""
        return self.headers.get("sec-fetch-site", "").strip().lower()

    @property
    def encrypted(self) -> bool:
        """Whether the browser speaks TLS, also to a proxy that does not say so."""
        # No page can make a browser say "same-origin" of a request that is not.
        is_ours = self.headers.get("origin", "").lower() == _origin("https", self.host)
        return self.scheme == "https" or (self.site == "same-origin" and is_ours)

    def is_foreign(self) -> bool:
        """Whether another origin asks; following a link here is not foreign."""
        origin = self.headers.get("origin")
        if origin is not None and origin.strip().lower() != _origin(
            "https" if self.encrypted else "http", self.host
        ):
            return True
        if self.site in ("", "same-origin", "none"):
            return False
        navigates = (self.headers.get("sec-fetch-mode"), self.headers.get("sec-fetch-dest")) == (
            "navigate",
            "document",
        )
        return not (navigates and self.method in ("GET", "HEAD") and self.path in ENTRANCES)


class Guard:
    """Serves the page's own origin only, and of Gradio only what a rater needs.

    Refuses requests of other origins, sign-in and sign-out included; uploads; bodies over 4 MiB, over 16 KiB of who
    is not signed in; and foreign host names, so that no web page elsewhere reaches the judge through a name that it
    points at this machine: all but this machine's own while nobody signs in, and all but *names* where these are
    stated. A proxy is believed (``X-Forwarded-*``) where it runs on this machine. Gradio's own cross-origin
    headers are taken away, its cookies stay on this site and, behind TLS, off unencrypted connections.
    """

    def __init__(
        self,
        app: ASGIApp,
        only_loopback: bool,
        root_path: str = "",
        names: Collection[str] = (),
        rater_of: Callable[[str], str | None] | None = None,
    ) -> None:
        """Guard *app*.

        Args:
            app: what answers the requests that pass.
            only_loopback: only this machine's own names are served.
            root_path: path prefix of the page.
            names: the only other host names under which the page is served; all where none is stated.
            rater_of: who is signed in by these cookies; None where nobody signs in.
        """
        self.app = app
        self.only_loopback = only_loopback
        self.root_path = root_path.rstrip("/")
        self.names = {name.lower() for name in names}
        self.rater_of = rater_of
        self._large: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102 (the ASGI call)
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        seen = _seen(scope, self.root_path)
        if seen is None:
            await _refuse(
                send, 400, "This request contradicts itself, or its Host is not the name of a machine."
            )
            return
        sending = _answering(send, seen, self.root_path)
        why = self._why_refused(seen)
        if why:
            await _refuse(sending, *why)
        elif self.root_path and scope["path"] == self.root_path:
            headers = [(b"location", f"{self.root_path}/".encode())]
            await sending({"type": "http.response.start", "status": 308, "headers": headers})
            await sending({"type": "http.response.body", "body": b""})
        else:
            CLIENT_ADDRESS.set(seen.address)
            await self._pass_on(_rewritten(scope, seen, self.root_path), receive, sending, seen)

    async def _pass_on(self, scope: Scope, receive: Receive, sending: Send, seen: Seen) -> None:
        """Hand a request on when its body is complete."""
        length = int(seen.headers.get("content-length", "0"))
        if not length:
            await self.app(scope, receive, sending)
            return
        rater = self.rater_of(_header(scope, b"cookie")) if self.rater_of else None
        if self.rater_of and length > STRANGER_BODY_BYTES and (rater is None or seen.path in _DOORS):
            status = 413 if seen.path in _DOORS else 401
            await _refuse(sending, status, "Sign in first: until then a request is short.")
            return
        who = rater or seen.address
        if length > LARGE_BODY_BYTES and self._large[who] >= LARGE_AT_ONCE:
            await _refuse(sending, 429, "Too many large requests at once; wait for the others to end.")
            return
        self._large[who] += length > LARGE_BODY_BYTES
        try:
            try:
                receiving = await _whole(receive)
            except TimeoutError:
                await _refuse(
                    sending, 408, f"The body of this request did not come within {BODY_S:g} seconds."
                )
                return
            if receiving is not None:
                await self.app(scope, receiving, sending)
        finally:
            self._large[who] -= length > LARGE_BODY_BYTES
            if not self._large[who]:
                del self._large[who]

    def _why_refused(self, seen: Seen) -> tuple[int, str] | None:
        name = seen.host.rsplit(":", 1)[0] if not seen.host.endswith("]") else seen.host
        length = seen.headers.get("content-length", "0")
        if self.only_loopback and name.strip("[]") not in LOOPBACK:
            return 403, "This judge is open to this machine only; add raters to open it to others."
        if self.names and name not in self.names and name.strip("[]") not in LOOPBACK:
            return 403, "The judge is not served under this name; its owner says under which it is (--name)."
        if seen.is_foreign():
            return 403, (
                "The judge answers its own page only. If this is its page, the proxy in front must pass on Host and "
                "X-Forwarded-Proto (docs/judge.md)."
            )
        if "/upload" in seen.path:
            return 403, "The judge takes no files."
        if not ROUTES.fullmatch(seen.path):
            return 403, "The judge's page has no use for this address, so it is closed."
        if not (length.isascii() and length.isdigit() and len(length) < 20):
            return 413, f"A request may hold {MAX_BODY_BYTES} bytes at most and must state its length."
        if int(length) > MAX_BODY_BYTES or "transfer-encoding" in seen.headers:
            return 413, f"A request may hold {MAX_BODY_BYTES} bytes at most and must state its length."
        return None


async def _whole(receive: Receive) -> Receive | None:
    """What hands on a whole body; None where whoever asked has gone.

    Raises:
        TimeoutError: it did not come in time.
    """
    body, more = bytearray(), True
    async with asyncio.timeout(BODY_S):
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            more = message.get("more_body", False)
    whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def receiving() -> Message:
        return whole.pop() if whole else await receive()

    return receiving


def path_prefix(text: str) -> str:
    """*text* with a slash before and none behind it; "" for none.

    Raises:
        ValueError: it is no path.
    """
    path = "/" + text.strip("/")
    if path != "/" and not re.fullmatch(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+", path):
        raise ValueError(f"{text!r} is no path prefix such as /judge")
    return path.rstrip("/")


def host_name(text: str) -> str:
    """*text* as a request's Host spells it.

    Raises:
        ValueError: it is no name of a machine, or has a port.
    """
    name = text.strip().lower()
    if not _HOST.fullmatch(name) or re.search(r":\d+$", name.rpartition("]")[2]):
        raise ValueError(f"{text!r} is no host name such as judge.example.org")
    return name


def _origin(scheme: str, host: str) -> str:
    return f"{scheme}://{host.removesuffix(':443' if scheme == 'https' else ':80')}"


def _seen(scope: Scope, root_path: str) -> Seen | None:
    """The request as the browser sent it; None where headers contradict."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name in headers and name in _SINGLE:
            return None
        headers[name] = value
    peer = (scope.get("client") or ("",))[0]
    forwarded = headers if _is_loopback(peer) else {}
    host = (_last(forwarded, "x-forwarded-host") or headers.get("host", "")).strip().lower()
    scheme = (_last(forwarded, "x-forwarded-proto") or scope.get("scheme", "http")).lower()
    if not _HOST.fullmatch(host) or scheme not in ("http", "https"):
        return None
    path = scope["path"]
    if root_path and (path + "/").startswith(root_path + "/"):
        path = path[len(root_path) :] or "/"
    address = _last(forwarded, "x-forwarded-for") or peer
    return Seen(scope["method"], scheme, host, path, _network(address) or _network(peer) or peer, headers)


def _last(headers: dict[str, str], name: str) -> str:
    # A proxy adds itself at the end; what stands before is whatever the client sent.
    return headers.get(name, "").rsplit(",", 1)[-1].strip()


def _network(address: str) -> str:
    with contextlib.suppress(ValueError):
        parsed = ipaddress.ip_address(address.strip("[]").split("%", 1)[0])
        if isinstance(parsed, ipaddress.IPv6Address):
            if parsed.ipv4_mapped:
                return str(parsed.ipv4_mapped)
            return str(ipaddress.ip_network((parsed, 64), strict=False))
        return str(parsed)
    return ""


def _is_loopback(address: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(address.removeprefix("::ffff:")).is_loopback
    return False


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name), "")


def _cookies(value: bytes, seen: Seen, root_path: str) -> bytes:
    """The cookies for Gradio; of its session's, only what this page set."""
    pairs = [pair.strip() for pair in value.split(b";")]
    locked = [pair for pair in pairs if pair.startswith(_LOCKED)]
    rest = [pair for pair in pairs if not pair.startswith(_LOCKED)]
    if locked or (seen.encrypted and not root_path):
        # A neighbouring host can set a cookie of any other name for the whole domain.
        rest = [pair for pair in rest if not pair.startswith(_SESSION)]
    elif seen.encrypted:
        # A neighbouring host could set the cookie without the Secure mark.
        rest = [pair for pair in rest if not pair.startswith(_SESSION + b"unsecure-")]
    return b"; ".join([*rest, *(pair.removeprefix(b"__Host-") for pair in locked)])


def _rewritten(scope: Scope, seen: Seen, root_path: str) -> Scope:
    """*scope* as if there were no proxy.

    Nobody behind this has to believe a forwarding header.
    """
    headers: list[tuple[bytes, bytes]] = []
    for name, value in scope["headers"]:
        lower = name.lower()
        if lower in (b"host", b"forwarded") or lower.startswith((b"x-forwarded-", b"x-gradio-")):
            continue
        headers.append((name, _cookies(value, seen, root_path) if lower == b"cookie" else value))
    headers.append((b"host", seen.host.encode("ascii")))
    scheme = "https" if seen.encrypted else "http"
    query = b"" if seen.path == "/" else scope.get("query_string", b"")  # "?deep_link=" and the like
    return {
        **scope,
        "headers": headers,
        "scheme": scheme,
        "path": seen.path,
        "raw_path": seen.path.encode("utf-8", "surrogateescape"),
        "query_string": query,
        "root_path": "",
    }


def _answering(send: Send, seen: Seen, root_path: str) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = _checked(message.get("headers", []), seen, root_path)
            headers += [*_HEADERS, *([_HSTS] if seen.encrypted else [])]
            if not seen.path.startswith(_STATIC):
                headers.append((b"cache-control", b"no-store"))
            # Gradio answers input of the wrong form with 500; the fault is the request's.
            junk = message["status"] == 500 and seen.path.startswith("/gradio_api/run/")
            message = {**message, "headers": headers, "status": 422 if junk else message["status"]}
        await send(message)

    return sending


def _checked(headers: list[tuple[bytes, bytes]], seen: Seen, root_path: str) -> list[tuple[bytes, bytes]]:
    """Gradio's own *headers*, without what would let other sites in."""
    checked = []
    for name, value in headers:
        lower = name.lower()
        if lower.startswith(b"access-control-") or (
            lower == b"cache-control" and not seen.path.startswith(_STATIC)
        ):
            continue
        if lower == b"set-cookie":
            plain = value.startswith(_SESSION + b"unsecure-")
            if value.startswith(_SESSION) and plain == seen.encrypted:
                continue  # one cookie only: the secure one behind TLS, the other without
            if value.startswith(_SESSION) and seen.encrypted and not root_path:
                value = b"__Host-" + value
            value = _cookie(value, seen.encrypted, root_path)
        if lower == b"location" and seen.path == "/logout":
            value = f"{root_path}/".encode()
        checked.append((name, value))
    return checked


def _cookie(value: bytes, encrypted: bool, root_path: str) -> bytes:
    parts = [part.strip() for part in value.split(b";")]
    fixed = (b"samesite", b"secure", b"path", b"domain", b"httponly")
    rest = [part for part in parts[1:] if part.split(b"=", 1)[0].lower() not in fixed]
    path = f"Path={root_path or '/'}".encode()
    marks = [path, b"HttpOnly", b"SameSite=Lax", *([b"Secure"] if encrypted else [])]
    return b"; ".join([parts[0], *rest, *marks])


async def _refuse(send: Send, status: int, why: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": why.encode()})
