"""A rater's name and words, looked for in every byte of a store after they were erased."""

from __future__ import annotations

import json
import secrets
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from judge_app import study, verdict

from bakeoff.foundation.errors import StoreError
from bakeoff.foundation.workspace import Workspace
from bakeoff.judgement.arena import ArenaDesk
from bakeoff.judgement.desk import Desk
from bakeoff.judgement.erasure import erase_identity, erase_judgements
from bakeoff.judgement.invitations import Invitations
from bakeoff.judgement.raters import Raters
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.submissions import Judgement
from bakeoff.judgement.verdicts import summarise

NAME, LABEL, WORDS = "Zoë Quint", "zoe.quint@example.org", "unverkennbare Worte"
Erase = Callable[[RatingStore, str, Raters | None], object]


def lived_in(root: Path) -> tuple[RatingStore, Raters]:
    """A store in which somebody has left whatever a rater can leave, beside another rater."""
    store, raters = RatingStore(Workspace(root).ratings), Raters(root / "judge" / "raters.json")
    store.add_study(study(3, 2))
    raters.add(NAME, "correct horse")
    with raters.changing() as document:
        document["raters"][NAME]["label"] = LABEL
    invitation = Invitations(raters).again(NAME)
    Invitations(raters).redeem(invitation.token)
    Invitations(raters).again(NAME)
    (root / "judge" / "raters.json.bak").write_text("mine", encoding="utf-8")
    (root / "judge" / "raters.jsonx1y2_z3a").write_text(json.dumps({"raters": {NAME: {}}}), encoding="utf-8")
    for name in (NAME, "Boris"):
        desk = Desk(store, "trial")
        screen = desk.step({"action": "start", "consent": True}, name)
        words = WORDS if name == NAME else "andere"
        for _ in range(3):
            given = {
                r["item"]: verdict(3, crisis=screen["crisis"], strengths=words) for r in screen["replies"]
            }
            screen = desk.step({"action": "score", "token": screen["token"], "verdicts": given}, name)
        desk.keep_draft({"item": screen["replies"][0]["item"], "draft": {"weaknesses": words}}, name)
        arena = ArenaDesk(store, {"a": "http://x", "b": "http://y"})
        arena._complete = lambda model, payload: "gut"  # type: ignore[method-assign]
        arena.step({"action": "say", "text": words}, name)
        talk = [{"role": "user", "content": words}, {"role": "assistant", "content": "gut"}]
        scores = Judgement(scores=verdict(3)["scores"])
        store.record_chat(name, secrets.token_hex(8), "a", talk, scores)
    summary = dict(summarise(store, "trial"))
    run = {"run_id": "one", "ratings": {**summary, "others": [summary]}}
    Workspace(root).run("one").mkdir(parents=True)
    (Workspace(root).run("one") / "run.json").write_text(
        json.dumps(run, ensure_ascii=False), encoding="utf-8"
    )
    return store, raters


def holds(root: Path, words: str) -> list[str]:
    forms = {words.encode(), json.dumps(words).strip('"').encode()}
    return [
        str(path.relative_to(root))
        for path in sorted(root.rglob("*"))
        if path.is_file() and any(form in path.read_bytes() for form in forms)
    ]


@pytest.mark.parametrize(
    ("erase", "gone"), [(erase_identity, (NAME, LABEL)), (erase_judgements, (NAME, LABEL, WORDS))]
)
def test_no_byte_of_the_store_holds_who_was_erased(
    tmp_path: Path, erase: Erase, gone: tuple[str, ...]
) -> None:
    store, raters = lived_in(tmp_path)
    assert all(holds(tmp_path, words) for words in gone)
    erase(store, NAME, raters)
    assert {words: holds(tmp_path, words) for words in gone} == {words: [] for words in gone}
    assert holds(tmp_path, "andere")
    assert holds(tmp_path, "mine") == ["judge/raters.json.bak"]  # what somebody else put there is theirs
    assert "Boris" in store.raters("trial")
    run = json.loads((Workspace(tmp_path).run("one") / "run.json").read_text(encoding="utf-8"))
    assert "Boris" in run["ratings"]["counts"]["raters"]
    assert bool(holds(tmp_path, WORDS)) == (erase is erase_identity)


def test_an_erasure_that_a_reader_keeps_from_the_log_says_so(tmp_path: Path) -> None:
    store, raters = lived_in(tmp_path)
    reader = sqlite3.connect(store.path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM judgement").fetchone()
    store._db.execute("PRAGMA busy_timeout = 50")
    with pytest.raises(StoreError, match="erase once more"):
        erase_judgements(store, NAME, raters)
    reader.close()
    erase_judgements(store, NAME, raters)
    assert holds(tmp_path, NAME) == []
