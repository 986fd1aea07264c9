"""What every request passes before Gradio sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bakeoff.endpoint import LOOPBACK

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 4 * 2**20
POLICY = (
    "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'; object-src 'none'; base-uri 'self'; "
    "form-action 'self'; frame-ancestors 'self'"
)


class Guard:
    """Refuses uploads, bodies over 4 MiB and (while nobody signs in) foreign host names; forbids foreign requests.

    The content policy keeps the browser from asking any other server for anything. The host check stops a web
    page elsewhere from reaching an open judge through a name that it points at this machine.
    """

    def __init__(self, app: ASGIApp, only_loopback: bool) -> None:
        self.app = app
        self.only_loopback = only_loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102 (the ASGI call)
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        host = (
            headers.get("host", "").rsplit(":", 1)[0].strip("[]") if headers.get("host") != "::1" else "::1"
        )
        length = headers.get("content-length", "0")
        if self.only_loopback and host not in LOOPBACK:
            await _refuse(
                send, 403, "This judge is open to this machine only; add raters to open it to others."
            )
        elif "/upload" in scope["path"]:
            await _refuse(send, 403, "The judge takes no files.")
        elif (not length.isdigit()) or int(length) > MAX_BODY_BYTES or "transfer-encoding" in headers:
            await _refuse(
                send, 413, f"A request may hold {MAX_BODY_BYTES} bytes at most and must state its length."
            )
        else:
            await self.app(scope, receive, _with_policy(send))


def _with_policy(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [
                *message["headers"],
                (b"content-security-policy", POLICY.encode()),
                (b"referrer-policy", b"no-referrer"),
                (b"x-content-type-options", b"nosniff"),
            ]
        await send(message)

    return sending


async def _refuse(send: Send, status: int, why: str) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": why.encode()})
