"""A tab name, a main landmark and a heading for Gradio's sign-in page."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEAD = b"<head>"
_SIGN_IN = b'"auth_required":true'  # in the settings that Gradio sends along; the page behind has a landmark
_BEGIN, _END = b"<gradio-app", b"</gradio-app>"
_UNSEEN = "position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%)"


class Titled:
    """Passes everything on, and writes *title* into the page itself.

    The sign-in page also gets a main landmark and a heading, which are heard and not seen.
    """

    def __init__(self, app: ASGIApp, title: str) -> None:
        self.app = app
        self.title = f"<title>{title}</title>".encode()
        self.heading = f'<main style="display: contents"><h1 style="{_UNSEEN}">{title}</h1>'.encode()

    def _marked(self, body: bytes) -> bytes:
        marked = body.replace(_HEAD, _HEAD + self.title, 1)
        if _SIGN_IN in body and body.count(_BEGIN) == body.count(_END) == 1:
            marked = marked.replace(_BEGIN, self.heading + _BEGIN).replace(_END, _END + b"</main>")
        return marked

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
                marked = self._marked(body)
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
