"""Passwords compared apart, and sessions that the raters file ends."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from bakeoff.foundation.errors import StoreError
from bakeoff.judgement.invitations import Invitations
from bakeoff.judgement.raters import Raters, Sessions
from judge.guard import CLIENT_ADDRESS

if TYPE_CHECKING:
    import gradio as gr

SIGN_INS_AT_ONCE = max(1, min(2, (os.cpu_count() or 2) // 2))  # 32 MiB and a core each
WAITING, WAITING_PER_ADDRESS = 256, 64


class SignIn:
    """Compares passwords in threads of its own, so that raters keep their speed while strangers try."""

    def __init__(self, raters: Raters) -> None:
        self.raters = raters
        self._pool = ThreadPoolExecutor(SIGN_INS_AT_ONCE, thread_name_prefix="sign-in")
        self._waiting: Counter[str] = Counter()

    async def __call__(self, name: str, password: str) -> bool:
        """Whether *password* is that of *name*.

        Raises:
            HTTPException: 429 where too many wait or an address failed too often; 503 where nobody can sign in.
        """
        from fastapi import HTTPException

        address = CLIENT_ADDRESS.get()
        if self._waiting.total() >= WAITING or self._waiting[address] >= WAITING_PER_ADDRESS:
            raise HTTPException(429, "Too many sign-ins at once; try again in a minute.")
        self._waiting[address] += 1
        try:
            loop = asyncio.get_running_loop()
            right = await loop.run_in_executor(self._pool, self._compare, name, password, address)
        except StoreError as error:
            print(f"judge: {error}", file=sys.stderr, flush=True)
            raise HTTPException(503, "Nobody can sign in just now; the owner's log says why.") from None
        finally:
            self._waiting[address] -= 1
            if not self._waiting[address]:
                del self._waiting[address]
        if right is None:
            raise HTTPException(429, "Too many wrong sign-ins from here; try again in a minute.")
        return right

    def _compare(self, name: str, password: str, address: str) -> bool | None:
        # Asked only here, when it is this attempt's turn: then those before it have been counted.
        if self.raters.is_refused(address):
            return None
        return self.raters.signs_in(name, password, address)


def keep_sessions(
    raters: Raters, invitations: Invitations, applications: Iterable[gr.routes.App]
) -> Callable[[str], str | None]:
    """Return who is signed in, by the cookies of a request.

    Gradio's *applications* get sessions that end with the raters file.
    """
    from starlette.requests import cookie_parser

    sessions = Sessions(raters, invitations.session, invitations.end_sessions)
    cookie_id = invitations.cookie_id()
    for application in applications:
        application.tokens = sessions
        application.cookie_id = cookie_id

    def rater_of(cookies: str) -> str | None:
        # In the order in which Gradio looks.
        named = cookie_parser(cookies)
        token = named.get(f"access-token-{cookie_id}") or named.get(f"access-token-unsecure-{cookie_id}")
        return sessions.get(token)

    return rater_of
