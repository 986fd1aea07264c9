"""The models that a service lists."""

from __future__ import annotations

import difflib
import time
from collections.abc import Sequence

import requests

from bakeoff.endpoint.answers import BadAnswer, parsed
from bakeoff.endpoint.transfer import arriving, in_pieces
from bakeoff.foundation.texts import beginning_of, kind_of

MOST_PAGES = 20
_MOST_SHOWN = 8


def listed_models(session: requests.Session, url: str, timeout_s: float) -> list[str]:
    """The names under ``<url>/models``, of all pages.

    Raises:
        requests.RequestException: nobody answered, or refused to.
        BadAnswer: what came is no list of models.
    """
    names: list[str] = []
    options: dict[str, str] = {}
    deadline = time.monotonic() + timeout_s
    for _ in range(MOST_PAGES):
        with session.get(f"{url}/models", params=options, timeout=timeout_s, stream=True) as answer:
            answer.raise_for_status()
            page = parsed(b"".join(in_pieces(arriving(answer), deadline)))
        new = [name for name in _names(page) if name not in names]
        names += new
        if page.get("has_more") is not True or not new:
            break
        options = {"after": new[-1]}
    return names


def _names(page: dict[str, object]) -> list[str]:
    entries = page.get("data", page.get("models"))
    if not isinstance(entries, list):
        what = page.get("error") or page.get("message") or page
        raise BadAnswer(f"no list of models came but {kind_of(entries)}: {beginning_of(what)}")
    names = [entry.get("id") or entry.get("name") if isinstance(entry, dict) else entry for entry in entries]
    return [name for name in names if isinstance(name, str)]


def shown_names(names: Sequence[str], name: str) -> str:
    """What a list of models holds in place of *name*, in words.

    Near names come first.
    """
    if not names:
        return "it lists no model"
    alike = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    first = [*alike, *(other for other in names if other not in alike)][:_MOST_SHOWN]
    more = f" and {len(names) - len(first)} more" if len(names) > len(first) else ""
    return f"it lists {[beginning_of(listed) for listed in first]}{more}"
