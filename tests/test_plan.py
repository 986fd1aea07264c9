"""The matrix is held against the tools that its rows use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bakeoff.environments import digest
from bakeoff.errors import MatrixError
from bakeoff.matrix import Environment
from bakeoff.plan import load
from bakeoff.workspace import Workspace


def plant_older_swift(environment: Environment, workspace: Workspace) -> None:
    """What a build of *environment* with ms-swift 3.0.3 leaves, as far as it is read."""
    folder = workspace.environments / digest(environment)
    package = folder / "venv" / "lib" / "python3.11" / "site-packages" / "swift"
    for part, names in (("model", ("chatglm3",)), ("template", ("glm4", "chatglm3"))):
        (package / "llm" / part).mkdir(parents=True)
        lines = "".join(f"    {name} = {name!r}\n" for name in names)
        (package / "llm" / part / "constant.py").write_text(f"class Names:\n{lines}")
    (package / "version.py").touch()
    python = folder / "venv" / "bin" / "python"
    python.parent.mkdir()
    python.touch()
    record = {"python": "venv/bin/python", "python_version": "3.11.7", "versions": {"ms-swift": "3.0.3"}}
    (folder / "environment.json").write_text(json.dumps(record))


def test_a_name_is_held_against_the_ms_swift_of_its_row_and_in_its_words(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "store")
    plant_older_swift(Environment(name="old", requirements=("ms-swift==3.0.3",)), workspace)
    path = tmp_path / "matrix.yaml"
    path.write_text(
        "environments: {old: {requirements: [ms-swift==3.0.3]}}\n"
        "defaults: {dataset: [o/d], environment: {train: old, serve: old}}\n"
        "models:\n"
        "  right: {model: o/m, model_type: chatglm3, template: chatglm4}\n"
        "  wrong: {model: o/m, model_type: chatglm4, template: chatglm4}\n"
    )
    with pytest.raises(MatrixError) as caught:
        load(path, None, workspace)
    assert caught.value.complaints == [
        "wrong.model_type: the ms-swift of environment 'old' does not know 'chatglm4'; is it 'chatglm3'?"
    ]


def test_a_plugin_of_the_user_may_register_what_it_likes(tmp_path: Path) -> None:
    path = tmp_path / "matrix.yaml"
    path.write_text(
        "models:\n  a: {model: o/m, dataset: [o/d], template: mine, training: {extra: {external_plugins: mine.py}}}\n"
    )
    assert load(path, None, Workspace(tmp_path / "store")).models["a"].template == "mine"
