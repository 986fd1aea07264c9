"""What is wrong with a matrix is told before anything runs, and what the machine lacks is not wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bakeoff.chain.chain import Bench, Chain
from bakeoff.environments.building import digest as environment_digest
from bakeoff.foundation.errors import MatrixError
from bakeoff.foundation.provenance import digest
from bakeoff.foundation.workspace import Workspace
from bakeoff.matrix.loading import load_matrix
from bakeoff.matrix.schema import Environment
from bakeoff.runs.plan import dry_run, load
from bakeoff.stale import stale

ROOT = Path(__file__).parents[1]


def plant_older_swift(environment: Environment, workspace: Workspace) -> None:
    """What a build of *environment* with ms-swift 3.0.3 leaves, as far as it is read."""
    folder = workspace.environments / environment_digest(environment)
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


def test_the_dry_run_is_the_lines_of_the_stages_and_clean_stale_keeps_their_folders(tmp_path: Path) -> None:
    matrix, workspace = load_matrix(ROOT / "model_matrix.yaml"), Workspace(tmp_path)
    bench = Bench.at_rest(matrix, workspace)
    for name, spec in matrix.models.items():
        stages = list(Chain(spec, bench).stages())
        lines = [str(stage.command(line)) for stage in stages for line in stage.lines]
        shown = [line.removeprefix("# ") for line in dry_run(matrix, [name], workspace, None)]
        assert [line for line in shown if line in lines] == lines
        assert not any("\0" in line for line in lines)
        assert len({stage.folder for stage in stages}) == len(stages)
        for stage in stages:
            stage.folder.mkdir(parents=True)
    assert stale(matrix, workspace) == []


def test_a_stage_is_looked_at_without_making_anything(tmp_path: Path) -> None:
    matrix, workspace = load_matrix(ROOT / "model_matrix.yaml"), Workspace(tmp_path / "store")
    for spec in matrix.models.values():
        for stage in Chain(spec, Bench.at_rest(matrix, workspace)).stages():
            assert stage.facts.read({}) == stage.facts()
            assert digest(stage.recipe)
    assert not workspace.root.exists()


ROW = "models:\n  a: {model: 'tiny:qwen2', model_type: qwen2, template: qwen2_5, tune: false, suites: [s]}\n"


def complaints(tmp_path: Path, suite: str, data_dir: Path | None = None) -> list[str]:
    path = tmp_path / "matrix.yaml"
    path.write_text(f"{ROW}suites:\n  s: {{{suite}}}\n", encoding="utf-8")
    try:
        load(path, data_dir, Workspace(tmp_path / "store"))
    except MatrixError as error:
        return error.complaints
    return []


def test_a_path_that_is_not_there_does_not_hide_the_other_mistakes(tmp_path: Path) -> None:
    (tmp_path / "exams").mkdir()
    suite = f"benchmark: pceb_mcq, data: {tmp_path}/exam, few_shot: 2, metric: elastic"
    found = complaints(tmp_path, suite)
    assert len(found) == 3
    assert "few_shot" in found[0]
    assert "is it 'elastic_accuracy'" in found[1]
    assert "is it 'exams'" in found[2]


@pytest.mark.parametrize("where", ["hub: false, data: 'data:pceb'", "hub: false"])
def test_settings_are_checked_also_where_the_data_are_absent(where: str, tmp_path: Path) -> None:
    assert "is it 'pceb_mcq'" in complaints(tmp_path, f"benchmark: pceb_mcqq, {where}")[0]
    assert (
        "'temprature'" in complaints(tmp_path, f"benchmark: ceval, generation: {{temprature: 1}}, {where}")[0]
    )
    assert "is it 'logic'" in complaints(tmp_path, f"benchmark: ceval, subsets: [logics], {where}")[0]
    assert complaints(tmp_path, f"benchmark: pceb_mcq, {where}") == []


def test_a_data_folder_that_lacks_a_suite_is_no_mistake_but_a_mistyped_name_is(tmp_path: Path) -> None:
    (tmp_path / "counsellor").mkdir()
    assert complaints(tmp_path, "benchmark: pceb_mcq, data: 'data:other'", tmp_path) == []
    assert (
        "is it 'counsellor'"
        in complaints(tmp_path, "benchmark: pceb_mcq, data: 'data:counselor'", tmp_path)[0]
    )


def test_a_shipped_folder_that_we_do_not_ship_is_a_mistake(tmp_path: Path) -> None:
    assert "is it 'psyqa'" in complaints(tmp_path, "benchmark: psyqa, data: 'shipped:psyqaa'")[0]
