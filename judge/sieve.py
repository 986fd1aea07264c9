"""The page's own requests to Gradio, and 4xx in words for all others.

Gradio would end some of them in a traceback.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

if TYPE_CHECKING:
    import gradio as gr
    from gradio.components.base import Component
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_VALUES = 100_000
"""Values in one message; a long talk has some thousands."""
MOST_LEVELS = 40
"""Objects and lists within one another; what the page sends has about eight."""

_CALLS = re.compile(r".*/gradio_api/(?:run/(\w+)|queue/join)/?")
_STREAM = re.compile(r".*/gradio_api/queue/data/?")
_SIGNALS = re.compile(r".*/gradio_api/(?:cancel|reset)/?")
_FIELDS: dict[str, tuple[type, ...]] = {
    "data": (list,),
    "session_hash": (str, type(None)),
    "event_id": (str, type(None)),
    "fn_index": (int, type(None)),
    "trigger_id": (int, type(None)),
    "event_data": (object,),
}


class Sieve:
    """Passes on what the page's own script could have sent, and answers 422 to the rest.

    Stands inside the guard, which has bounded the length of what is read here.
    """

    def __init__(self, app: ASGIApp, page: gr.Blocks) -> None:
        self.app = app
        self.page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102 (the ASGI call)
        path = str(scope.get("path", ""))
        if scope["type"] == "http" and _STREAM.fullmatch(path) and self._is_unknown(scope["query_string"]):
            await _refuse(send, 404, "Nothing is under way in this session; reload the page.")
            return
        called = _CALLS.fullmatch(path)
        if scope["type"] != "http" or scope["method"] != "POST" or not (called or _SIGNALS.fullmatch(path)):
            await self.app(scope, receive, send)
            return
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return  # whoever asked has gone
            body += message.get("body", b"")
            more = message.get("more_body", False)
        try:
            self._check(body, called)
        except (ValueError, RecursionError):
            await _refuse(send, 422, "The page of the judge sends nothing like this.")
            return
        again: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replayed() -> Message:
            return again.pop() if again else await receive()

        await self.app(scope, replayed, send)

    def _is_unknown(self, query: bytes) -> bool:
        # Gradio looks only when it has begun to answer, and can then neither refuse nor go on.
        named = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("session_hash")
        return named is not None and named[-1] not in self.page._queue.pending_messages_per_session

    def _check(self, body: bytes, called: re.Match[str] | None) -> None:
        """Look at a *body*.

        Args:
            called: the function that it calls; None where it only ends one.

        Raises:
            ValueError: the page sends nothing like it.
        """
        content = json.loads(body)
        if not isinstance(content, Mapping):
            raise ValueError("no object")
        _check_values(content)
        if called is None:
            # Half a character could not be named in an answer.
            json.dumps(content, ensure_ascii=False).encode()
            return
        for name, value in content.items():
            if isinstance(value, bool) or not isinstance(value, _FIELDS.get(name, ())):
                raise ValueError(f"field {name}")
        self._check_inputs(content, called[1])

    def _check_inputs(self, content: Mapping[str, object], api_name: str | None) -> None:
        functions = self.page.fns
        index = content.get("fn_index")
        if index is None:
            index = next((key for key, each in functions.items() if each.api_name == api_name), None)
        function = functions.get(index) if isinstance(index, int) else None
        if function is None:
            raise ValueError("no such function")
        if function.cancels:
            return
        data = content.get("data", [])
        if not isinstance(data, list) or len(data) != len(function.inputs):
            raise ValueError("more or fewer values than the function takes")
        for component, value in zip(function.inputs, data, strict=True):
            _check_value(component, value)


def _check_value(component: Component, value: object) -> None:
    model = getattr(component, "data_model", None)
    try:
        component.preprocess(value if model is None or value is None else model.model_validate(value))
    except Exception as error:  # whatever a component makes of junk
        raise ValueError(f"not a value of {type(component).__name__}") from error


def _check_values(content: object) -> None:
    """Look through *content* for what the page never sends.

    Raises:
        ValueError: it is too deep or too many, or has a number that JSON does not have, or a file.
    """
    level: list[object] = [content]
    count = 0
    for _ in range(MOST_LEVELS):
        count += len(level)
        if count > MOST_VALUES:
            raise ValueError("too many values")
        deeper: list[object] = []
        for value in level:
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError("a number without end")
            if isinstance(value, Mapping):
                if value.get("_type") == "gradio.FileData":
                    raise ValueError("the page takes no files")
                deeper += value.values()
            elif isinstance(value, list):
                deeper += value
        if not deeper:
            return
        level = deeper
    raise ValueError("too deep")


async def _refuse(send: Send, status: int, why: str) -> None:
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps({"detail": why}).encode()})
