"""How fast does the service answer, at one request and at many?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bakeoff.store.stages import Record

pytestmark = pytest.mark.speed


def test_every_request_was_answered(speed: Record) -> None:
    """No request failed.

    Time to first token, tokens and requests per second over failed requests would be too good.
    """
    rows = json.loads(Path(speed.output).read_text(encoding="utf-8"))["scores"]
    assert rows
    assert not any(row["n_errored"] for row in rows), "; ".join(
        sorted({row["why_not"] for row in rows} - {""})
    )
    assert not [row["why_not"] for row in rows if not row["trusted"]]
