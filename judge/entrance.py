"""What an invitation leads to: its token becomes a session, once."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bakeoff.foundation.errors import StoreError
from bakeoff.judgement.invitations import SESSION_S, Invitations
from judge.guard import CLIENT_ADDRESS

if TYPE_CHECKING:
    from fastapi import FastAPI

MOST_BYTES = 1024
PAGE = Path(__file__).with_name("invite.html")


def add_entrance(application: FastAPI, invitations: Invitations) -> None:
    """Serve ``/invite``: the page of a link, and what takes its token.

    The token stands behind the ``#``, so it is in no request line, log or referrer; opening the page uses nothing up
    (mail programs open links to look at them), only its button does.
    """
    from starlette.concurrency import run_in_threadpool
    from starlette.requests import Request
    from starlette.responses import HTMLResponse, JSONResponse, Response
    from starlette.routing import Route

    async def show(_: Request) -> Response:
        return HTMLResponse(PAGE.read_text(encoding="utf-8"))

    async def take(request: Request) -> Response:
        body = await request.body()
        try:
            token = json.loads(body[:MOST_BYTES])["token"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return JSONResponse({"entered": False}, status_code=422)
        try:
            entered = await run_in_threadpool(invitations.redeem, token, CLIENT_ADDRESS.get())
            cookie_id = invitations.cookie_id()
        except StoreError as error:
            print(f"judge: {error}", file=sys.stderr, flush=True)
            return JSONResponse({"entered": False}, status_code=503)
        if entered is None:
            return JSONResponse({"entered": False}, status_code=410)
        answer = JSONResponse({"entered": True})
        # The names under which Gradio looks for its session; the guard keeps the right one of the two.
        for name in (f"access-token-{cookie_id}", f"access-token-unsecure-{cookie_id}"):
            answer.set_cookie(name, entered[1], max_age=int(SESSION_S), httponly=True, samesite="lax")
        return answer

    application.router.routes.append(Route("/invite", show, methods=["GET"]))
    application.router.routes.append(Route("/invite", take, methods=["POST"]))
