"""What pages send and get: untrusted requests, and answers as JSON."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

Request = Mapping[str, object]
"""What a browser sent: nothing in it is trusted, every value is checked where it is used."""

Answer = dict[str, object]
"""What a page gets to show: JSON that is only passed on."""


def request_of(message: object) -> Request:
    """Return *message* where it is an object, else an empty request."""
    return message if isinstance(message, Mapping) else {}


def fresh_answer(**values: object) -> Answer:
    """Return an answer that no other equals, so that a page notices it."""
    return {"nonce": secrets.token_hex(8), **values}
