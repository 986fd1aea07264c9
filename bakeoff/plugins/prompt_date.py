"""Lets dated chat templates print one day, ``BAKEOFF_PROMPT_DATE=YYYY-MM-DD``, instead of today.

Given to ms-swift by ``--external_plugins``, for training and for serving, in any environment. Reason: ``llama3_2``,
``gpt_oss`` and some Mistral templates print the day into the system prompt (some when ms-swift is imported, some for
each request), so a model trained on Monday is asked something else on Tuesday.
"""

from __future__ import annotations

import datetime
import os
import re
import sys
from types import SimpleNamespace
from typing import Any

VARIABLE = "BAKEOFF_PROMPT_DATE"
_BAKED = (
    (re.compile(r"(?<=Today Date: )\d{2} [A-Z][a-z]{2} \d{4}"), "%d %b %Y"),
    (re.compile(r"(?<=[Cc]urrent date is )\d{4}-\d{2}-\d{2}"), "%Y-%m-%d"),
)


def pin(day: datetime.date) -> None:
    """From now on every ms-swift template of this process prints *day*."""

    class Pinned(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Pinned:
            return cls(day.year, day.month, day.day, tzinfo=tz)

        @classmethod
        def today(cls) -> Pinned:
            return cls.now()

    for name, module in list(sys.modules.items()):
        if not re.match(r"swift(\.llm\.template|\.template)\.", name):
            continue
        if getattr(module, "datetime", None) is datetime.datetime:
            module.datetime = Pinned  # type: ignore[attr-defined]
        if getattr(module, "dt", None) is datetime:
            module.dt = SimpleNamespace(**{**vars(datetime), "datetime": Pinned})  # type: ignore[attr-defined]
    for meta in _metas().values():
        for field in ("prefix", "system_prefix", "default_system", "prompt"):
            setattr(meta, field, _pinned(getattr(meta, field, None), day))


def _metas() -> dict[str, Any]:
    try:
        from swift.template import TEMPLATE_MAPPING
    except ImportError:  # ms-swift 3
        from swift.llm import TEMPLATE_MAPPING
    return dict(TEMPLATE_MAPPING)


def _pinned(value: Any, day: datetime.date) -> Any:
    if isinstance(value, list):
        return [_pinned(one, day) for one in value]
    if isinstance(value, str):
        for pattern, form in _BAKED:
            value = pattern.sub(day.strftime(form), value)
    return value


if __name__ != "bakeoff.plugins.prompt_date" and os.environ.get(VARIABLE):  # imported by ms-swift, not by us
    pin(datetime.date.fromisoformat(os.environ[VARIABLE]))
