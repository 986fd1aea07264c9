"""Did every case get a reply that people can judge?"""

from __future__ import annotations

import pytest

from bakeoff.store.facts import RepliesFacts
from bakeoff.store.stages import Record

pytestmark = pytest.mark.judge


def test_every_case_got_a_reply(replies: Record) -> None:
    """No case is without a reply.

    One that never came would be missing from the study without a word; `python -m judge` scores the rest.
    """
    assert RepliesFacts.read(replies.facts).errored == 0
