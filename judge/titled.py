"""A name for the browser's tab, which Gradio's sign-in page lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEAD = b"<head>"


class Titled:
    """Passes everything on, and writes *title* into the head of the page itself."""

    def __init__(self, app: ASGIApp, title: str) -> None:
        self.app = app
        self.mark = _HEAD + f"<title>{title}</title>".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102 (the ASGI call)
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or scope["path"] != "/":
            await self.app(scope, receive, send)
            return
        start: Message | None = None

        async def titled(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            if start is not None:
                body = message.get("body", b"")
                marked = body.replace(_HEAD, self.mark, 1)
                # Where the page comes in pieces, its length is unknown and Gradio states none.
                headers = [
                    (name, str(int(value) + len(marked) - len(body)).encode())
                    if name.lower() == b"content-length" and marked != body
                    else (name, value)
                    for name, value in start["headers"]
                ]
                await send({**start, "headers": headers})
                start, message = None, {**message, "body": marked}
            await send(message)

        await self.app(scope, receive, titled)
