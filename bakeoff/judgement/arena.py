"""The blind arena: two hidden models answer the same client.

Talks go on turn by turn; they are kept apart from studies and read as pairs.
"""

from __future__ import annotations

import json
import random
import secrets
import sqlite3
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from typing import TYPE_CHECKING, TypedDict, cast

from bakeoff.endpoint.address import http_session
from bakeoff.endpoint.asking import complete
from bakeoff.foundation.errors import BakeoffError, RatingError, StoreError
from bakeoff.judgement.database import stored_object, timestamp
from bakeoff.judgement.duels import bradley_terry, win_rates
from bakeoff.judgement.hiding import hide_makers
from bakeoff.judgement.messages import Answer, Request, fresh_answer, request_of
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.refusals import plain, refusal
from bakeoff.judgement.rubric import COMMENTS, DIMENSIONS
from bakeoff.judgement.submissions import Judgement, check_rater
from bakeoff.judgement.tables import records

if TYPE_CHECKING:
    import pandas as pd

MOST_TURNS = 20
MOST_TEXT_CHARS = 8_000
MOST_REPLY_CHARS = 32_000
MOST_REPLY_TOKENS = 1024
PATIENCE_S = 180.0
SIDES = ("left", "right")
CHOICES = ("left", "right", "tie", "bad")
"""Which reply is better; "bad": neither would do, which counts as a tie."""

_FIELDS = {
    "begin": ("left", "right"),
    "turn": ("text", "left", "right", "raw_left", "raw_right"),
    "prefer": ("choice",),
    "final": ("choice", "scores"),
}
"""What a row of each kind holds at least."""

_WORTH = {"left": 1.0, "right": 0.0, "tie": 0.5, "bad": 0.5}


class Turn(TypedDict):
    """A message of the client and both replies; *choice* is None until the rater has chosen."""

    text: str
    left: str
    right: str
    raw_left: str
    raw_right: str
    choice: str | None


class Final(TypedDict):
    """What a rater said of the whole talk: points per side, and the better one."""

    choice: str
    scores: dict[str, dict[str, int]]
    comment: str


class Talk(TypedDict):
    """A talk with two hidden models, by their served names; *final* is None while it is under way."""

    talk: str
    rater: str
    left: str
    right: str
    turns: list[Turn]
    final: Final | None


def talks(store: RatingStore, rater_id: str | None = None) -> list[Talk]:
    """Every talk: talk, rater, left, right, turns, final or None."""
    mine = "" if rater_id is None else "WHERE rater_id = ?"
    rows = store.rows(f"SELECT * FROM arena {mine} ORDER BY id", *([] if rater_id is None else [rater_id]))
    by_id: dict[str, Talk] = {}
    for row in rows:
        content = stored_object(row["content"], _FIELDS.get(row["kind"], ()))
        if row["kind"] == "begin":
            by_id[row["talk_id"]] = {
                "talk": row["talk_id"],
                "rater": row["rater_id"],
                "left": str(content["left"]),
                "right": str(content["right"]),
                "turns": [],
                "final": None,
            }
            continue
        try:
            talk = by_id[row["talk_id"]]
            if row["kind"] == "turn":
                talk["turns"].append(cast(Turn, content | {"choice": None}))
            elif row["kind"] == "prefer":
                talk["turns"][row["turn"]]["choice"] = str(content["choice"])
            else:
                talk["final"] = cast(Final, content)
        except LookupError:
            raise StoreError("the store of judgements is damaged: a talk of the arena lacks rows") from None
    return list(by_id.values())


def pairs(store: RatingStore, what: str = "turn") -> pd.DataFrame:
    """Duels of the arena as win_rates reads them, one talk an item.

    Args:
        what: "turn", the preference of every turn; "final", that of the whole talk; or a dimension, by its scores.
    """
    import pandas as pd

    rows = []
    for talk in talks(store):
        outcomes: list[float] = []
        if what == "turn":
            outcomes = [_WORTH[turn["choice"]] for turn in talk["turns"] if turn["choice"]]
        elif talk["final"] and what == "final":
            outcomes = [_WORTH[talk["final"]["choice"]]]
        elif talk["final"]:
            left, right = (talk["final"]["scores"][side].get(what) for side in SIDES)
            outcomes = [] if left is None or right is None else [(left > right) + 0.5 * (left == right)]
        turned = talk["left"] > talk["right"]
        a, b = sorted((talk["left"], talk["right"]))
        for outcome in outcomes:
            won = 1 - outcome if turned else float(outcome)
            rows.append({"a": a, "b": b, "outcome": won, "item": talk["talk"], "rater": talk["rater"]})
    return pd.DataFrame(rows, columns=["a", "b", "outcome", "item", "rater"])


class ArenaResults(TypedDict):
    """Talks of the arena, and what was won by turns, whole talks and dimensions."""

    talks: int
    duels: dict[str, dict[str, list[dict[str, object]]]]


def arena_results(store: RatingStore) -> ArenaResults:
    """For the owner: talks, win rates and strengths, names revealed."""
    results: ArenaResults = {"talks": len(talks(store)), "duels": {}}
    for what in ("turn", "final", *DIMENSIONS):
        met = pairs(store, what)
        if len(met):
            results["duels"][what] = {
                "wins": records(win_rates(met)),
                "strengths": records(bradley_terry(met).rename(columns={"model": "subject"})),
            }
    return results


class ArenaDesk:
    """The arena tab. Holds nothing of any rater: the store knows which talk is under way.

    Args:
        services: served name -> OpenAI-compatible root; names never leave here.
        keys: served name -> environment variable of that service's key.
        revive: called with the name of a model that gave no reply; whether to ask it once more.
    """

    def __init__(
        self,
        store: RatingStore,
        services: Mapping[str, str],
        keys: Mapping[str, str] | None = None,
        revive: Callable[[str], bool] = lambda model: False,
    ) -> None:
        self.store = store
        self.revive = revive
        self.services = dict(services)
        self.keys = dict(keys or {})

    def step(self, message: object, signed_in: str | None) -> Answer:
        """Do what *message* asks; the talk as it stands, without names.

        Args:
            message: untrusted: ``{"action": "open" | "say" | "prefer" | "finish" | "anew", "rater", "talk", "turn",
                "text", "choice", "scores", "comment"}``.
        """
        request = request_of(message)
        fresh = fresh_answer(error="", rater=signed_in or "")
        claimed = signed_in or request.get("rater")
        if not claimed:
            return fresh | {"view": "name"}
        actions: dict[str, Callable[[str, Request], None]] = {
            "say": self._say,
            "prefer": self._prefer,
            "finish": self._finish,
        }
        try:
            rater = check_rater(claimed)
            fresh["rater"] = rater
            action = request.get("action")
            if isinstance(action, str) and action in actions:
                actions[action](rater, request)
            return fresh | {"view": "arena"} | self._shown(rater, anew=action == "anew")
        except BakeoffError as error:
            return fresh | {"view": "refused"} | refusal(error)

    def _open_talk(self, rater: str) -> Talk | None:
        mine = talks(self.store, rater)
        return mine[-1] if mine and not mine[-1]["final"] else None

    def _shown(self, rater: str, *, anew: bool) -> Answer:
        mine = talks(self.store, rater)
        finished = sum(bool(talk["final"]) for talk in mine)
        talk = mine[-1] if mine and not (anew and mine[-1]["final"]) else None
        if talk is None:
            return {"talk": "", "turns": [], "final": False, "finished": finished}
        turns = [{key: turn[key] for key in ("text", "left", "right", "choice")} for turn in talk["turns"]]
        return {"talk": talk["talk"], "turns": turns, "final": bool(talk["final"]), "finished": finished}

    def _this(self, rater: str, request: Request) -> Talk:
        talk = self._open_talk(rater)
        if talk is None or talk["talk"] != request.get("talk"):
            raise RatingError(
                "this conversation is not open any more; reload the page", "这段对话已结束，请刷新页面"
            )
        return talk

    def _say(self, rater: str, request: Request) -> None:
        text = request.get("text")
        if not isinstance(text, str) or not text.strip():
            raise RatingError("type a message first", "请先输入消息")
        text = plain(text[:MOST_TEXT_CHARS])
        talk = self._this(rater, request) if request.get("talk") else self._open_talk(rater)
        if talk and any(turn["choice"] is None for turn in talk["turns"]):
            raise RatingError("say which reply is better first", "请先选出本轮更好的回复")
        if talk and len(talk["turns"]) >= MOST_TURNS:
            raise RatingError("the conversation is long enough; finish it", "对话已足够长，请结束并评分")
        left, right = (talk["left"], talk["right"]) if talk else self._draw()
        turns = talk["turns"] if talk else []
        with ThreadPoolExecutor(2) as pool:
            futures = [
                pool.submit(self._ask, name, side, turns, text)
                for name, side in ((left, "left"), (right, "right"))
            ]
            answers = [each.result() for each in futures]
        name = talk["talk"] if talk else secrets.token_hex(12)
        turn = {"text": text}
        for side, answer in zip(SIDES, answers, strict=True):
            turn |= {side: hide_makers(answer, self.services)[0], f"raw_{side}": answer}
        with self.store.writing() as db:
            if not talk:
                self._put(db, rater, name, "begin", 0, {"left": left, "right": right})
            self._put(db, rater, name, "turn", len(turns), turn)

    def _draw(self) -> tuple[str, str]:
        """Two models that have met least often, sides drawn by lot."""
        met = Counter(frozenset((talk["left"], talk["right"])) for talk in talks(self.store))
        choices = list(combinations(sorted(self.services), 2))
        if not choices:
            raise RatingError("the arena needs two models", "对比至少需要两个模型")
        least = min(met[frozenset(pair)] for pair in choices)
        lot = random.SystemRandom()
        pair = list(lot.choice([pair for pair in choices if met[frozenset(pair)] == least]))
        lot.shuffle(pair)
        return pair[0], pair[1]

    def _ask(self, name: str, side: str, turns: list[Turn], text: str) -> str:
        messages = []
        for turn in turns:  # each model goes on with what it said itself
            messages.append({"role": "user", "content": turn["text"]})
            raw = turn["raw_left"] if side == "left" else turn["raw_right"]
            messages.append({"role": "assistant", "content": raw})
        messages.append({"role": "user", "content": text})
        payload: dict[str, object] = {
            "model": name,
            "messages": messages,
            "temperature": 0,
            "max_tokens": MOST_REPLY_TOKENS,
        }
        try:
            try:
                answer = self._complete(name, payload)
            except Exception:
                if not self.revive(name):
                    raise
                answer = self._complete(name, payload)
        except Exception as error:  # whatever a service sends is an answer in words, and names no model
            print(
                f"judge: arena: {name}: {type(error).__name__}: {error}"[:2000], file=sys.stderr, flush=True
            )
            raise RatingError(
                "one of the two models does not answer; try again, or tell whoever runs this page",
                "其中一个模型没有回答，请重试，或告诉研究负责人",
            ) from None
        return plain(answer[:MOST_REPLY_CHARS])

    def _complete(self, name: str, payload: dict[str, object]) -> str:
        url, key = self.services[name], self.keys.get(name, "")
        answer, _ = complete(http_session(url), url, payload, api_key_env=key, timeout_s=PATIENCE_S)
        return answer

    def _prefer(self, rater: str, request: Request) -> None:
        talk, choice = self._this(rater, request), request.get("choice")
        place = len(talk["turns"]) - 1
        if choice not in CHOICES or request.get("turn") != place:
            raise RatingError("choose which reply is better", "请选择哪条回复更好")
        if talk["turns"][place]["choice"] is None:
            with self.store.writing() as db:
                self._put(db, rater, talk["talk"], "prefer", place, {"choice": choice})

    def _finish(self, rater: str, request: Request) -> None:
        talk, choice, raw = self._this(rater, request), request.get("choice"), request.get("scores")
        if choice not in CHOICES or not isinstance(raw, Mapping):
            raise RatingError("score both sides and choose the better one", "请为两侧评分并选出更好的一侧")
        if any(turn["choice"] is None for turn in talk["turns"]):
            raise RatingError("say which reply is better first", "请先选出本轮更好的回复")
        comment = request.get("comment", "")
        judged = {side: Judgement.parse({"scores": raw.get(side), COMMENTS[0]: comment}) for side in SIDES}
        content = {
            "choice": choice,
            "scores": {side: dict(judgement.scores) for side, judgement in judged.items()},
            "comment": comment,
        }
        with self.store.writing() as db:
            self._put(db, rater, talk["talk"], "final", 0, content)

    @staticmethod
    def _put(
        db: sqlite3.Connection, rater: str, talk: str, kind: str, turn: int, content: Mapping[str, object]
    ) -> None:
        # A message that is sent twice meets the unique key and is kept once.
        db.execute(
            "INSERT OR IGNORE INTO arena (talk_id, rater_id, kind, turn, content, created_at) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (talk, rater, kind, turn, json.dumps(dict(content), ensure_ascii=False), timestamp()),
        )
