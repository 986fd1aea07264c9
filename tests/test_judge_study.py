"""`python -m judge` scores what the last run gathered, without a step in between."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from bakeoff.foundation.workspace import Workspace
from bakeoff.judgement.blind import read_study
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.replies import Reply, load_cases
from judge.__main__ import add_newest, main, parser


def gathered(workspace: Workspace, row: str, variant: str, text: str) -> None:
    path = workspace.replies(row, variant)
    path.parent.mkdir(parents=True, exist_ok=True)
    made = [Reply(case.id, row, variant, text, "answered", case_sha=case.sha) for case in load_cases()]
    path.write_text(
        "".join(json.dumps(asdict(one), ensure_ascii=False) + "\n" for one in made), encoding="utf-8"
    )


def options(tmp_path: Path, *more: str) -> argparse.Namespace:
    return parser().parse_args(["--matrix", str(tmp_path / "matrix.yaml"), *more])


def test_gathered_replies_become_one_study_of_the_tuned_models(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    store = RatingStore(workspace.ratings)
    assert add_newest(store, workspace, options(tmp_path)) is None
    assert store.studies() == []
    for row, variant in (("one", "base"), ("one", "tuned"), ("two", "base")):
        gathered(workspace, row, variant, f"{row} {variant} says")
    add_newest(store, workspace, options(tmp_path))
    add_newest(store, workspace, options(tmp_path))
    (name,) = store.studies()
    assert set(store.study(name).subjects) == {"one/tuned", "two/base"}


def test_base_and_tuned_are_judged_side_by_side_where_that_is_asked_for(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    store = RatingStore(workspace.ratings)
    for variant in ("base", "tuned"):
        gathered(workspace, "one", variant, f"{variant} says")
    asked = options(tmp_path, "--variants", "base", "tuned", "--layout", "side-by-side")
    name = add_newest(store, workspace, asked)
    assert name
    assert set(store.study(name).subjects) == {"one/base", "one/tuned"}
    assert store.study(name).layout == "side-by-side"
    out = tmp_path / "study.json"
    argv = [
        "study",
        "--store",
        str(workspace.ratings),
        "--matrix",
        str(tmp_path / "none.yaml"),
        "--out",
        str(out),
    ]
    assert main([*argv, "--variants", "base"]) == 0
    assert read_study(out).subjects == ("one/base",)


def test_rows_that_cannot_be_compared_are_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = Workspace(tmp_path)
    store = RatingStore(workspace.ratings)
    for row in ("now", "gone", "older", "longer"):
        gathered(workspace, row, "tuned", "says")
    row_of = "{url: 'http://127.0.0.1:9/v1', served_model: m}"
    rows = ", ".join(f"{row}: {row_of}" for row in ("now", "older", "longer"))
    (tmp_path / "matrix.yaml").write_text(f"models: {{{rows}}}", encoding="utf-8")
    for row, change in (("older", {"case_sha": "0" * 12}), ("longer", {"settings": {"max_tokens": 9999}})):
        path = workspace.replies(row, "tuned")
        lines = [json.loads(line) | change for line in path.read_text(encoding="utf-8").splitlines()]
        path.write_text("".join(json.dumps(one) + "\n" for one in lines), encoding="utf-8")
    name = add_newest(store, workspace, options(tmp_path))
    assert name
    assert store.study(name).subjects == ("now/tuned",)
    said = capsys.readouterr().err
    for why in (
        "gone: not in the matrix",
        "older/tuned: answered an earlier",
        "longer/tuned: asked with another",
    ):
        assert why in said


def test_new_replies_make_a_new_study_and_keep_the_old(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    store = RatingStore(workspace.ratings)
    for text in ("first", "second"):
        gathered(workspace, "one", "tuned", text)
        gathered(workspace, "two", "tuned", text)
        add_newest(store, workspace, options(tmp_path))
    assert len(store.studies()) == 2


def test_a_study_that_an_earlier_version_hid_names_in_otherwise_does_not_stop_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(tmp_path)
    store = RatingStore(workspace.ratings)
    gathered(workspace, "one", "tuned", "<|im_end|> says")
    with monkeypatch.context() as earlier:
        earlier.setattr("bakeoff.judgement.hiding.CONTROL", re.compile(r"(?!)"))
        add_newest(store, workspace, options(tmp_path))
    add_newest(store, workspace, options(tmp_path))
    assert len(store.studies()) == 2


def test_people_judge_one_run_of_a_recipe_and_not_each_of_its_seeds(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    store = RatingStore(workspace.ratings)
    for row in ("one", "one.seed43", "two.seed43"):  # the last is a row that is called so
        gathered(workspace, row, "tuned", f"{row} says")
    name = add_newest(store, workspace, options(tmp_path))
    assert name
    assert set(store.study(name).subjects) == {"one/tuned", "two.seed43/tuned"}
