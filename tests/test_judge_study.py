"""`python -m judge` scores what the last run gathered, without a step in between."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from bakeoff.ratings import RatingStore
from bakeoff.replies import Reply, load_cases
from bakeoff.workspace import Workspace
from judge.__main__ import add_newest


def gathered(workspace: Workspace, row: str, variant: str, text: str) -> None:
    path = workspace.replies(row, variant)
    path.parent.mkdir(parents=True, exist_ok=True)
    made = [Reply(case.id, row, variant, text, "answered", case_sha=case.sha) for case in load_cases()]
    path.write_text(
        "".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in made), encoding="utf-8"
    )


def test_gathered_replies_become_one_study_of_the_tuned_models(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    store = RatingStore(workspace.ratings)
    add_newest(store, workspace)
    assert store.studies() == []
    for row, variant in (("one", "base"), ("one", "tuned"), ("two", "base")):
        gathered(workspace, row, variant, f"{row} says")
    add_newest(store, workspace)
    add_newest(store, workspace)
    (name,) = store.studies()
    assert set(store.study(name).subjects) == {"one/tuned", "two/base"}


def test_new_replies_make_a_new_study_and_keep_the_old(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    store = RatingStore(workspace.ratings)
    for text in ("first", "second"):
        gathered(workspace, "one", "tuned", text)
        gathered(workspace, "two", "tuned", text)
        add_newest(store, workspace)
    assert len(store.studies()) == 2
