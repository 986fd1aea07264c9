"""What comes from a hub: its revision in the matrix, its download, its commit in every identity."""

from __future__ import annotations

from typing import Any

import pytest

from bakeoff.errors import MatrixError
from bakeoff.matrix.loading import parse_matrix
from bakeoff.matrix.schema import ModelSpec, dataset_name


def row(**keys: Any) -> ModelSpec:
    raw = {
        key: value for key, value in {"model": "o/n", "dataset": ["o/d"], **keys}.items() if value is not None
    }
    return parse_matrix({"models": {"r": raw}}).models["r"]


@pytest.mark.parametrize("revision", ["main", "v1.0", "refs/pr/1", "a" * 40, "2024"])
def test_a_model_and_its_data_are_pinned_by_a_revision(revision: str) -> None:
    spec = row(revision=revision, dataset=[{"id": "hf::o/d:sub#30", "revision": revision}])
    assert spec.revision == revision
    (name,) = map(dataset_name, spec.dataset)
    assert (name.hub, name.place, name.revision, name.subset, name.rows) == ("hf", "o/d", revision, "sub", 30)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"revision": 2024}, "numbers in quotes"),
        ({"revision": "a b"}, "r.revision: 'a b' is no name of a branch, a tag or a commit"),
        ({"revision": "../../etc"}, "is no name of a branch"),
        ({"revision": "a/../b"}, "is no name of a branch"),
        ({"revision": ""}, "is no name of a branch"),
        ({"revision": "v1", "model": "/tmp"}, "'/tmp' is a folder on this machine"),
        ({"revision": "v1", "model": "./nowhere"}, "'./nowhere' is a folder on this machine"),
        ({"revision": "v1", "model": "tiny:qwen2"}, "'tiny:qwen2' is built here"),
        ({"revision": "v1", "model": None, "weights": "/tmp"}, "the row names no 'model'"),
        ({"revision": "v1", "model": None, "url": "http://h/v1", "served_model": "x"}, "names no 'model'"),
        ({"dataset": [{"id": "/tmp", "revision": "v1"}]}, "take 'revision' out"),
        ({"dataset": ["/tmp@v1"]}, "take 'revision' out"),
        ({"dataset": [{"id": "./nope.jsonl", "revision": "v1"}]}, "take 'revision' out"),
        ({"dataset": [{"id": "shipped:facts_train.jsonl", "revision": "v1"}]}, "take 'revision' out"),
        ({"dataset": [{"id": "o/d", "revision": 2}]}, "put quotes around numbers"),
        ({"dataset": [{"id": "o/d", "rev": "2"}]}, "a mapping of texts with 'id' and 'revision'"),
        ({"dataset": [{"id": "o/d", "revision": "../x"}]}, "is no name of a branch"),
        ({"dataset": ["o/d@x y"]}, "is no name of a branch"),
    ],
)
def test_a_revision_that_nothing_can_have_is_told_in_words(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(MatrixError) as error:
        row(**keys)
    assert words in str(error.value)
    assert "1 mistake\n" in str(error.value)
