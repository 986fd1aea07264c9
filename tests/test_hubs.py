"""What comes from a hub: its revision in the matrix, its download, its commit in every identity."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bakeoff.chain.chain import Bench, Chain
from bakeoff.doctor.finding import Visit
from bakeoff.doctor.hubs import check_hubs
from bakeoff.execution.runner import Runner
from bakeoff.foundation.errors import DataError, MatrixError
from bakeoff.foundation.provenance import ContentHashes
from bakeoff.foundation.workspace import Workspace
from bakeoff.matrix.datasets import dataset_name
from bakeoff.matrix.loading import load_matrix, parse_matrix
from bakeoff.matrix.schema import ModelSpec
from bakeoff.runs import ahead
from bakeoff.runs.plan import dry_run
from bakeoff.store.stages import Stages, Timeline
from bakeoff.tools import hubs, memory
from bakeoff.tools.hub_refusals import Refused, refuse_outside
from fixtures.describing import described
from tests.chains import ROW, SUITE
from tests.fakes.hub import LARGE, FakeHub, Repository, serving

HUBS = ("huggingface", "modelscope")
ROOT = Path(__file__).parents[1]
TOKEN = "hf_a-token-that-nobody-may-see-1"


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


# -- a hub on this machine -----------------------------------------------------------------------------------------


def weights(size: int = 3 * LARGE, seed: int = 0) -> bytes:
    """A safetensors file of *size* bytes."""
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    return (
        len(header).to_bytes(8, "little")
        + header
        + bytes((seed + at) % 251 for at in range(256)) * (size // 256)
    )


def files(seed: int = 0, **more: bytes) -> dict[str, bytes]:
    named = {name.replace("__", "."): data for name, data in more.items()}
    return {"config.json": b'{"model_type": "llama"}', "model.safetensors": weights(seed=seed), **named}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with serving() as server:
        yield server


@dataclass
class House:
    """A machine with a home, a store and a hub; each run is a chain of its own, as pytest makes it."""

    root: Path
    hub: FakeHub
    which: str
    monkeypatch: pytest.MonkeyPatch
    row: dict[str, Any] = field(default_factory=dict)
    runs: int = 0
    runners: list[Runner] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in list(os.environ):
            if name.startswith(
                ("HF_", "MODELSCOPE_", "HUGGING", "TRANSFORMERS_OFFLINE", "USE_HF", "XDG_CACHE")
            ):
                self.monkeypatch.delenv(name)
        self.set(
            HOME=str(self.root),
            HF_ENDPOINT=self.hub.url,
            MODELSCOPE_ENDPOINT=self.hub.url,
            HF_HUB_DISABLE_XET="1",
            PYTHONPATH=str(ROOT),
        )
        self.workspace = Workspace(self.root / "store")

    def set(self, **environ: str) -> None:
        for name, value in environ.items():
            self.monkeypatch.setenv(name, value)

    def away(self) -> None:
        """The hub does not answer any more."""
        self.set(HF_ENDPOINT="http://127.0.0.1:9", MODELSCOPE_ENDPOINT="http://127.0.0.1:9")

    @property
    def offline(self) -> dict[str, str]:
        return {"HF_HUB_OFFLINE" if self.which == "huggingface" else "MODELSCOPE_OFFLINE": "1"}

    @property
    def token(self) -> str:
        return hubs.TOKENS["huggingface" if self.which == "huggingface" else "modelscope"]

    def model(self, name: str = "o/n") -> Repository:
        return self.hub.repository("model", name)

    def run(self, *, may_run: bool = True, **keys: Any) -> Chain:
        """The row in a new run."""
        self.runs += 1
        raw = {**ROW, "model": "o/n", "use_hf": self.which == "huggingface", **self.row, **keys}
        raw = {key: value for key, value in raw.items() if value is not None}
        matrix = parse_matrix({"models": {"tiny": raw}, "suites": {"exam": SUITE}})
        self.timeline = self.workspace.run(f"20260101-00000{self.runs}-abcd") / "events.jsonl"
        stages = Stages(self.workspace, Timeline(self.timeline), may_run=may_run)
        self.runners.append(Runner(self.workspace.processes))
        hashes = ContentHashes(self.workspace.cache / "hashes.json")
        return Chain(matrix.models["tiny"], Bench(matrix, self.workspace, stages, self.runners[-1], hashes))

    def events(self, kind: str) -> list[dict[str, Any]]:
        text = self.timeline.read_text(encoding="utf-8") if self.timeline.exists() else ""
        return [event for line in text.splitlines() if (event := json.loads(line))["event"] == kind]

    def everything_written(self) -> bytes:
        return b"".join(path.read_bytes() for path in self.root.rglob("*") if path.is_file())


ON_ONE = pytest.mark.parametrize("house", HUBS[:1], indirect=True)
"""For what does not depend on which hub it is."""


@pytest.fixture(params=HUBS)
def house(
    request: pytest.FixtureRequest, tmp_path: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> Iterator[House]:
    made = House(tmp_path, hub, request.param, monkeypatch)
    yield made
    for runner in made.runners:
        runner.close()


def test_a_base_is_fetched_once_with_progress_and_known_by_its_commit(house: House) -> None:
    commit = house.model().commit(files(sub__py=b"print()"))
    base = house.run().base()
    assert base.record
    assert base.record.facts["commit"] == commit
    assert base.fingerprint.startswith(f"hub:{house.which}:o/n@{commit} ")
    assert (base.folder / "model.safetensors").read_bytes() == weights()
    assert base.folder.name == "n"
    told = [described(event) for event in house.events("progress")]
    assert len(told) == 1
    assert "3 files, 192." in told[0]
    assert "KiB to fetch" in told[0]
    log = Path(base.record.log).read_text(encoding="utf-8")
    assert "(100%)" in log
    assert str(base.record.command) in "\n".join(dry_lines(house))
    house.hub.forget()
    again = house.run().base()
    assert again.record
    assert again.record.outcome == "reused"
    assert again.fingerprint == base.fingerprint
    assert house.hub.requests("store") == []
    assert all("resolve" not in one.path or one.method == "HEAD" for one in house.hub.requests())


def dry_lines(house: House) -> list[str]:
    chain = house.run(may_run=False)
    return list(dry_run(chain.bench.matrix, ["tiny"], house.workspace, None))


@ON_ONE
def test_a_dry_run_asks_nobody_and_shows_the_lines_that_are_run(house: House) -> None:
    commit = house.model().commit(files())
    before = "\n".join(dry_lines(house))
    assert "--model o/n " in before
    assert house.hub.requests() == []
    chain = house.run()
    chain.base()
    house.hub.forget()
    after = "\n".join(dry_lines(house))
    assert house.hub.requests() == []
    assert f"--commit {commit} --link {chain.base_path()}" in after
    assert str(chain.train_command()) in after
    assert f"--model {chain.base_path()} " in after


@ON_ONE
def test_a_line_of_a_row_that_was_never_fetched_names_its_revision(house: House) -> None:
    house.row = {"revision": "v1"}
    assert "--model o/n --model_revision v1 " in "\n".join(dry_lines(house))


def test_a_cut_connection_is_taken_up_where_it_was_cut(house: House) -> None:
    """Of 24 MB half comes, twice; nothing that came is asked for again."""
    size = 24 * 10**6
    house.model().commit({**files(), "model.safetensors": weights(size)})
    house.hub.cut_after, house.hub.cuts = 11 * 2**20, 2
    base = house.run().base()
    assert (base.folder / "model.safetensors").stat().st_size > size - 256
    ranges = [one.range for one in house.hub.requests("store") if one.method == "GET"]
    assert len(ranges) == 3
    assert [bool(one) for one in ranges] == [False, True, True]
    assert int(ranges[2].removeprefix("bytes=").partition("-")[0]) > 15 * 2**20


def test_a_busy_hub_is_asked_again_when_it_says(house: House) -> None:
    commit = house.model().commit(files())
    busy = iter([(429, {"Retry_After": "0.1"}, b"{}"), (503, {"Retry_After": "0.1"}, b"{}")] * 2)
    house.hub.before = lambda *_: next(busy, None)
    assert commit in house.run().base().fingerprint


@pytest.mark.parametrize("name", ["../a", "/a", "a/../../b", "C:\\a", "..\\a", "~/a", "a\nb", "a//b"])
def test_names_that_would_leave_a_folder_are_known(name: str) -> None:
    source = hubs.Source("huggingface", "model", "o/n")
    with pytest.raises(Refused, match="would be written outside of its folder"):
        refuse_outside(source, ["config.json", name])
    refuse_outside(source, ["config.json", "sub/ünï.txt", "a..b", ".gitattributes"])


@pytest.mark.parametrize("name", ["../../../evil.txt", "/{outside}/evil.txt"])
def test_a_file_that_would_leave_its_folder_is_refused_before_anything_is_fetched(
    house: House, name: str
) -> None:
    house.model().commit({**files(), name.replace("/{outside}", str(house.root)): b"evil"})
    with pytest.raises(DataError, match="would be written outside of its folder"):
        house.run().base()
    assert house.hub.requests("store") == []
    assert not list(house.root.rglob("evil*"))


@pytest.mark.parametrize(
    ("house", "size"),
    [(HUBS[0], 3 * LARGE), (HUBS[0], 2 * 2**20), (HUBS[1], 3 * LARGE)],
    indirect=["house"],
)
def test_a_download_whose_content_was_changed_on_the_way_is_refused(house: House, size: int) -> None:
    commit = house.model().commit({**files(), "model.safetensors": weights(size)})
    house.hub.spoiled = True
    with pytest.raises(DataError, match=r"model\.safetensors came . times with another content than"):
        house.run().base()
    house.hub.spoiled = False
    assert commit in house.run().base().fingerprint


def test_a_refusal_of_another_kind_is_told_with_its_status(house: House) -> None:
    house.model().commit(files())
    house.hub.before = lambda *_: (451, {}, b"")
    with pytest.raises(DataError, match=r"refuses o/n with HTTP 451.* \(http"):
        house.run().base()


@ON_ONE
def test_a_branch_may_take_the_place_of_another_s_folder(house: House) -> None:
    repository = house.model()
    for seed, branch in enumerate(("work", "work/2", "work")):
        repository.branches.clear()
        commit = repository.commit(files(seed=seed), branch)
        assert commit in house.run(revision=branch).base().fingerprint


def test_a_killed_download_goes_on_in_the_next_run(house: House) -> None:
    size = 48 * 10**6
    house.model().commit({**files(), "model.safetensors": weights(size)})
    house.hub.chunk_s = 0.003
    chain = house.run()
    source = hubs.model_source(chain.spec, os.environ)
    assert source
    out = house.root / "out.json"
    process = chain.bench.runner.start(hubs.resolving(source, out), house.root / "log")
    assert process.wait(60) == 0
    commit = json.loads(out.read_text())["commit"]
    folder = house.workspace.hubs / "x" / "n"
    process = chain.bench.runner.start(hubs.fetching(source, commit, folder, out), house.root / "log")
    partial = hubs.repository_folder(source, os.environ)
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size > 12 * 2**20 for path in partial.rglob("*") if path.is_file()):
        assert process.alive()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)
    house.hub.chunk_s = 0.0
    house.hub.forget()
    base = house.run().base()
    assert (base.folder / "model.safetensors").stat().st_size > size - 256
    assert any(one.range for one in house.hub.requests("store"))


def test_a_disk_that_is_too_small_is_told_before_anything_is_fetched(house: House) -> None:
    house.model().commit(files())
    small = house.root / "small"
    small.mkdir()
    (small / "sitecustomize.py").write_text(
        "import shutil\nshutil.disk_usage = lambda path: type('usage', (), {'free': 1000})()\n"
    )
    house.set(PYTHONPATH=f"{small}{os.pathsep}{ROOT}")
    with pytest.raises(
        DataError, match=r"tiny: o/n needs 192\.\d KiB more, and .* has 1000 bytes free; make room"
    ):
        house.run().base()
    assert house.hub.requests("store") == []
    (failed,) = house.events("stage")
    assert failed["outcome"] == "failed"


def test_a_disk_that_fills_up_meanwhile_is_told_in_words(house: House) -> None:
    commit = house.model().commit({**files(), "model.safetensors": weights(3 * 2**20)})
    chain = house.run()
    source = hubs.model_source(chain.spec, os.environ)
    assert source
    full = house.root / "full"
    full.mkdir()
    (full / "sitecustomize.py").write_text(
        "import builtins, errno, io, pathlib\n"
        "def full(self, *_):\n    raise OSError(errno.ENOSPC, 'No space left on device')\n"
        "class Full(io.FileIO):\n    write = full\n"
        "really, ours = builtins.open, ('.part', '.incomplete')\n"
        "def open_(path, mode='r', *rest, **more):\n"
        "    if str(path).endswith(ours) and set('wa') & set(mode):\n        return Full(path, mode.replace('b', ''))\n"
        "    return really(path, mode, *rest, **more)\n"
        "builtins.open = io.open = open_\n"
        "pathlib.Path.open = lambda self, mode='r', *rest, **more: open_(self, mode, *rest, **more)\n"
    )
    house.set(PYTHONPATH=f"{full}{os.pathsep}{ROOT}")
    with pytest.raises(DataError, match=r"o/n needs .* more, and .*; make room and run again"):
        house.run().base()
    house.set(PYTHONPATH=str(ROOT))
    assert house.run().base().fingerprint.startswith(f"hub:{house.which}:o/n@{commit} ")


def test_a_branch_that_moved_is_told_and_makes_new_stages_beside_the_old_ones(house: House) -> None:
    repository = house.model()
    first = repository.commit(files())
    chain = house.run()
    before = (
        chain.base().fingerprint,
        chain.train_folder(),
        chain.export_folder(),
        chain.fingerprint("base"),
    )
    parity = chain.parity_folder("base", "merged")
    second = repository.commit(files(seed=1))
    moved = house.run()
    after = (moved.base().fingerprint, moved.train_folder(), moved.export_folder(), moved.fingerprint("base"))
    assert not set(before) & set(after)
    assert moved.parity_folder("base", "merged") != parity
    assert (chain.base().folder / "model.safetensors").read_bytes() == weights()
    assert (moved.base().folder / "model.safetensors").read_bytes() == weights(seed=1)
    (event,) = house.events("branch moved")
    assert f"was {first[:12]} when it was last asked for and is {second[:12]} now" in described(event)
    assert first in event["why"]
    calm = house.run()
    assert calm.base().fingerprint == after[0]
    assert house.events("branch moved") == []


@ON_ONE
def test_a_branch_that_moves_within_a_run_is_taken_where_it_was(house: House) -> None:
    repository = house.model()
    first = repository.commit(files())
    chain = house.run()
    assert first in chain.base().fingerprint
    repository.commit(files(seed=1))
    other_process = Chain(chain.spec, chain.bench)
    assert other_process.base().fingerprint == chain.base().fingerprint


@ON_ONE
def test_a_change_that_touches_no_weights_is_another_identity_too(house: House) -> None:
    repository = house.model()
    repository.commit(files())
    before = house.run().fingerprint("base")
    repository.commit(files(README__md=b"new words"))
    assert house.run().fingerprint("base") != before


def test_pinning_what_was_taken_changes_nothing(house: House) -> None:
    repository = house.model()
    commit = repository.commit(files())
    chain = house.run()
    made = (chain.base().fingerprint, chain.train_folder(), chain.fingerprint("base"))
    repository.commit(files(seed=1))
    house.away()
    pinned = house.run(revision=commit)
    assert (pinned.base().fingerprint, pinned.train_folder(), pinned.fingerprint("base")) == made
    assert house.events("hub not asked") == []


@pytest.mark.parametrize(("house", "revision"), [(HUBS[0], "v1"), (HUBS[1], "work")], indirect=["house"])
def test_a_tag_and_a_branch_are_taken_by_name(house: House, revision: str) -> None:
    repository = house.model()
    wanted = repository.commit(files(seed=2), "work")
    repository.tags["v1"] = wanted
    repository.commit(files())
    assert (house.run(revision=revision).base().folder / "model.safetensors").read_bytes() == weights(seed=2)


@pytest.mark.parametrize(
    ("revision", "words"),
    [("v2.O", "is it 'v2.0'?"), ("0" * 40, "has no revision"), ("deadbeef1", "has no revision")],
)
def test_a_revision_that_the_hub_lacks_is_told_with_near_names(
    house: House, revision: str, words: str
) -> None:
    repository = house.model()
    repository.tags["v2.0"] = repository.commit(files())
    with pytest.raises(DataError, match=words.replace("?", r"\?")):
        house.run(revision=revision).base()
    assert house.hub.requests("store") == []


@ON_ONE
def test_a_part_of_a_commit_is_told_to_be_none(house: House) -> None:
    commit = house.model().commit(files())
    for revision in (commit[:7], commit.upper()):
        with pytest.raises(DataError, match="a commit is given in full"):
            house.run(revision=revision).base()


def test_a_token_that_no_header_can_carry_is_told_by_its_name(house: House) -> None:
    house.model().commit(files())
    house.set(**{house.token: "你的密钥"})
    with pytest.raises(DataError, match=f"{house.token} holds characters that no HTTP header can carry"):
        house.run().base()
    assert house.hub.requests() == []


@ON_ONE
def test_a_torn_note_of_a_branch_in_the_cache_stops_nothing(house: House) -> None:
    house.model().commit(files())
    made = house.run().base().fingerprint
    for note in house.root.rglob("refs/*"):
        note.write_bytes(b"\xff\xfe")
    house.set(HF_HUB_OFFLINE=" On ")
    assert house.run().base().fingerprint == made


def test_a_pasted_conversion_takes_the_hubs_files_or_those_of_its_cache(house: House, tmp_path: Path) -> None:
    house.model().commit(files())
    flag = ["--use-hf"] if house.which == "huggingface" else []
    line = [sys.executable, "-m", "bakeoff.forms", "o/n", str(tmp_path / "native"), *flag]
    native = "the published form is the native one; use it as it is"
    for fetched in (True, house.which == "huggingface"):  # ModelScope's cache does not say where a branch is
        done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert (native if fetched else "cannot be fetched") in done.stderr.splitlines()[-1]
        house.away()


def test_a_repository_that_the_hub_lacks_is_told_with_the_other_hub(house: House) -> None:
    with pytest.raises(DataError, match=r"tiny: .* has no model o/n \(.*use_hf"):
        house.run().base()


def test_a_gated_model_tells_the_page_and_the_variable(house: House) -> None:
    house.model().commit(files())
    house.hub.repositories["model", "o/n"].readers = {TOKEN}
    with pytest.raises(DataError) as error:
        house.run().base()
    assert f"put a token of it into .env as {house.token}" in str(error.value)
    assert "/o/n with your account" in str(error.value)
    house.set(**{house.token: "hf_a-token-of-somebody-else"})
    with pytest.raises(DataError, match=f"the account of the token in {house.token} has no access"):
        house.run().base()
    assert house.hub.requests("store") == []


def test_a_token_goes_to_the_hub_alone_and_is_written_nowhere(house: House) -> None:
    house.model().commit(files())
    house.hub.repositories["model", "o/n"].readers = {TOKEN}
    house.set(**{house.token: TOKEN})
    base = house.run().base()
    assert base.record
    asked = house.hub.requests("hub")
    assert any(TOKEN in one.authorization for one in asked)
    assert house.hub.requests("store")
    assert not [one for one in house.hub.requests("store") if one.authorization or TOKEN in one.cookie]
    assert TOKEN.encode() not in house.everything_written()
    assert TOKEN not in base.record.command


def test_offline_the_cache_is_taken_and_nobody_is_asked(house: House) -> None:
    house.model().commit(files())
    made = house.run().base().fingerprint
    house.set(**house.offline)
    house.hub.forget()
    chain = house.run()
    assert chain.base().fingerprint == made
    assert house.hub.requests() == []
    for path in (house.workspace.root / "hubs").rglob("record.json"):
        path.unlink()  # also with another store: the cache is the machine's
    assert house.run().base().fingerprint == made


def test_offline_without_a_cache_ends_before_any_work(house: House) -> None:
    house.model().commit(files())
    house.set(**house.offline)
    with pytest.raises(
        DataError,
        match=rf"tiny: o/n@\w+ of .* is not whole in the cache .*{next(iter(house.offline))} is set",
    ):
        house.run().train()
    assert house.hub.requests() == []
    assert [event["stage"] for event in house.events("stage")] == ["download"]


@ON_ONE
def test_offline_half_a_snapshot_is_none(house: House) -> None:
    index = json.dumps({"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}).encode()
    house.model().commit(
        {**files(), "model.safetensors.index.json": index, "model-2.safetensors": weights(seed=3)}
    )
    base = house.run().base()
    (base.folder / "model-2.safetensors").resolve().unlink()
    house.set(**house.offline)
    with pytest.raises(DataError, match="is not whole in the cache"):
        house.run().base()


def test_a_hub_that_is_away_leaves_the_cache_and_a_caution(house: House) -> None:
    house.model().commit(files())
    made = house.run().base().fingerprint
    house.away()
    assert house.run().base().fingerprint == made
    (event,) = house.events("hub not asked")
    assert "does not answer: what the cache has of o/n is taken" in described(event)


@pytest.mark.parametrize("instead", [(200, b"<html>log in to this network</html>"), (503, b"")])
def test_who_answers_in_the_hub_s_place_is_no_hub(house: House, instead: tuple[int, bytes]) -> None:
    house.model().commit(files())
    made = house.run().base().fingerprint
    house.hub.instead = instead
    assert house.run().base().fingerprint == made
    assert len(house.events("hub not asked")) == 1


def bomb(mebibytes: int) -> bytes:
    """A gzip body of so many MiB of blanks, put together from one block."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    first = packer.compress(b" " * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)
    return first + (packer.compress(b" " * 2**20) + packer.flush(zlib.Z_FULL_FLUSH)) * (mebibytes - 1)


@pytest.mark.parametrize(
    ("place", "size", "words"),
    [("api/", 2048, "with more than 512 MiB; not read on"), ("config.json", 64, "larger than it lists")],
)
def test_a_page_and_a_file_without_end_are_not_read_on(
    house: House, place: str, size: int, words: str
) -> None:
    house.model().commit(files())
    page = bomb(size)
    headers = {"Content_Encoding": "gzip", "Content_Type": "application/json", "X_Repo_Commit": "a" * 40}

    def answer(_: str, method: str, path: str) -> tuple[int, dict[str, str], bytes] | None:
        is_file = "/resolve/" in path or "FilePath" in path
        wanted = place in path and (is_file or place == "api/")
        return (200, headers, page) if wanted and (method == "GET" or place == "api/") else None

    house.hub.before = answer
    with pytest.raises(DataError, match=words):
        house.run().base()
    largest = max(path.stat().st_size for path in house.root.rglob("*") if path.is_file())
    assert largest <= 16 * 2**20


def test_a_gated_model_that_the_cache_has_needs_no_token(house: House) -> None:
    house.model().commit(files())
    made = house.run().base().fingerprint
    house.hub.repositories["model", "o/n"].readers = {TOKEN}
    assert house.run().base().fingerprint == made


def test_a_cache_that_cannot_be_written_is_told_in_words(house: House) -> None:
    house.model().commit(files())
    (house.root / "file").write_text("")
    house.set(HF_HOME=str(house.root / "file"), MODELSCOPE_CACHE=str(house.root / "file"))
    with pytest.raises(DataError, match=r"tiny: .*o/n: .*: Not a directory; see to it"):
        house.run().base()


def test_a_hub_that_is_away_without_a_cache_is_told_in_words(house: House) -> None:
    house.away()
    with pytest.raises(DataError, match=r"does not answer, and the cache .* has no whole o/n.*Connect"):
        house.run().base()


def test_what_was_changed_in_the_cache_is_fetched_again(house: House) -> None:
    house.model().commit(files())
    base = house.run().base()
    blob = (base.folder / "model.safetensors").resolve()
    blob.write_bytes(weights(seed=9))
    house.set(**house.offline)
    with pytest.raises(DataError, match=r"model.safetensors is not what the hub has.* it is fetched again"):
        house.run().base()
    house.monkeypatch.delenv(*house.offline)
    again = house.run().base()
    assert again.fingerprint == base.fingerprint
    assert (again.folder / "model.safetensors").read_bytes() == weights()


@ON_ONE
def test_nothing_may_run_reads_what_a_run_took(house: House) -> None:
    house.model().commit(files())
    made = house.run()
    made.base()
    house.away()
    assert house.run(may_run=False).base().fingerprint == made.base().fingerprint
    assert house.run(may_run=False).train_folder() == made.train_folder()


def test_data_of_a_hub_are_fetched_and_known_by_their_commit(house: House) -> None:
    rows = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
    data = house.hub.repository("dataset", "o/talks")
    first = data.commit(
        {"train.jsonl": rows, "talks.py": b"raise SystemExit", "dataset_infos.json": b"{}"}, "v1"
    )
    data.commit({"train.jsonl": rows * 2})
    house.model().commit(files())
    chain = house.run(dataset=[{"id": "o/talks:default#500", "revision": "v1"}])
    line = chain.train_command()
    place = Path(str(line.value_of("--dataset")).partition(":")[0])
    assert sorted(path.name for path in place.iterdir()) == ["dataset_infos.json", "train.jsonl"]
    assert place.name == "talks"
    assert str(line.value_of("--dataset")).endswith("/talks:default#500")
    assert (place / "train.jsonl").read_bytes() == rows
    assert first in chain.origins.dataset_identity(chain.spec.dataset[0])
    other = house.run(dataset=["o/talks:default#500"])
    assert other.train_folder() != chain.train_folder()
    assert other.origins.dataset_arguments() != chain.origins.dataset_arguments()
    again = house.run(dataset=[{"id": "o/talks:default#500", "revision": first}])
    assert again.train_folder() == chain.train_folder()


@ON_ONE
def test_a_prefix_takes_one_data_set_from_the_other_hub(house: House) -> None:
    house.row = {"dataset": ["hf::o/a", "MS::o/b", "o/c"]}
    chain = house.run(may_run=False)
    assert [source.hub for source in chain.origins.sources()] == [
        house.which,
        "huggingface",
        "modelscope",
        house.which,
    ]


@ON_ONE
def test_a_row_that_trains_nothing_fetches_no_data(house: House) -> None:
    house.model().commit(files())
    chain = house.run(tune=False, dataset=["o/talks"])
    chain.fingerprint("base")
    assert not [one for one in house.hub.requests() if "talks" in one.path]


@ON_ONE
def test_python_files_of_a_model_are_refused_without_trust(house: House) -> None:
    own = json.dumps({"model_type": "own", "auto_map": {"AutoModel": "own.Model"}}).encode()
    house.model().commit({**files(own__py=b"raise SystemExit"), "config.json": own})
    with pytest.raises(DataError, match="names Python code of the model's own"):
        house.run().base()
    assert house.run(trust_remote_code=True).base().fingerprint


@ON_ONE
def test_an_args_json_of_a_hub_decides_nothing(house: House) -> None:
    house.model().commit(
        {**files(evil__py=b"open('PWNED', 'w')"), "args.json": b'{"external_plugins": ["evil.py"]}'}
    )
    with pytest.raises(DataError, match=r"args\.json names a Python file"):
        house.run().base()


def test_a_listing_of_modelscope_without_a_commit_is_known_by_its_newest_file(
    tmp_path: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path, hub, "modelscope", monkeypatch)
    hub.lists_commits = False
    commit = house.model().commit(files())
    assert commit in house.run().base().fingerprint
    house.runners[0].close()


@pytest.mark.parametrize("place", ["models/o/n", "hub/models/o/n", "models/o--n/snapshots/master"])
def test_what_modelscope_s_library_fetched_before_is_taken_over(
    place: str, tmp_path: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path, hub, "modelscope", monkeypatch)
    house.model().commit(files())
    folder = tmp_path / ".cache" / "modelscope" / place
    folder.mkdir(parents=True)
    for name, data in files().items():
        (folder / name).write_bytes(data)
    house.set(MODELSCOPE_OFFLINE="1")
    unknown = house.run().base()
    assert "@unknown-" in unknown.fingerprint
    house.monkeypatch.delenv("MODELSCOPE_OFFLINE")
    assert house.run().base().record
    assert house.hub.requests("store") == []
    for runner in house.runners:
        runner.close()


# -- before a run --------------------------------------------------------------------------------------------------


def doctors_findings(house: House, **keys: Any) -> list[str]:
    chain = house.run(**keys)
    matrix = chain.bench.matrix
    asked = Visit(
        list(matrix.models.values()),
        matrix,
        house.workspace,
        lambda row: [],
        None,
        dict(os.environ),
        lambda environment, out: None,
    )
    return [str(finding) for finding in check_hubs(asked)]


def test_the_doctor_finds_nothing_where_everything_can_be_had(house: House) -> None:
    house.model().commit(files())
    house.hub.repository("dataset", "o/talks").commit({"train.jsonl": b"{}"})
    assert doctors_findings(house, dataset=["o/talks"]) == []
    assert house.hub.requests("store") == []


def test_the_doctor_tells_what_cannot_be_had_and_of_which_rows(house: House) -> None:
    house.model().commit(files())
    house.hub.repositories["model", "o/n"].readers = {TOKEN}
    house.hub.repository("dataset", "o/talks").commit({"train.jsonl": b"{}"})
    gated, revision = doctors_findings(house, dataset=["o/talks@mian"])
    assert gated.startswith("error: model o/n: o/n is gated or private, and there is no token")
    assert revision.startswith("error: dataset o/talks: o/talks of ")
    assert "-> is it 'main'" in revision
    house.away()
    assert all("does not answer, and no cache has the whole of it" in one for one in doctors_findings(house))


def test_the_doctor_asks_nobody_offline_and_tells_what_the_cache_lacks(house: House) -> None:
    house.model().commit(files())
    house.run().base()
    house.set(**house.offline)
    house.hub.forget()
    assert doctors_findings(house) == []
    (finding,) = doctors_findings(house, revision="v9")
    assert "the cache has no whole o/n@v9" in finding
    assert house.hub.requests() == []


@ON_ONE
def test_a_base_is_fetched_ahead_and_a_hub_that_refuses_is_told_at_the_row_s_own_turn(house: House) -> None:
    name = "Qwen/Qwen2.5-7B-Instruct"  # its size is known before it is here
    row = {**ROW, "model": name, "use_hf": True}
    matrix = house.root / "matrix.json"  # which is YAML, too
    matrix.write_text(json.dumps({"models": {"first": ROW, "second": row}, "suites": {"exam": SUITE}}))
    house.monkeypatch.setattr(memory, "room_gib", lambda folder: (folder, 100.0))
    house.monkeypatch.setattr(ahead, "free_memory_gib", lambda: 100.0)

    def make_ahead() -> list[str]:
        expected = ahead.identity_of(load_matrix(matrix), "second")
        options = ["--run", "r", "--beside", "first", "--marks", "train", "--expect", expected, "second"]
        assert ahead.main(["--matrix", str(matrix), "--store", str(house.workspace.root), *options]) == 0
        house.timeline = house.workspace.run("r") / "events.jsonl"
        return [event["event"] for event in map(json.loads, house.timeline.read_text().splitlines())]

    assert make_ahead() == ["not made ahead"]
    assert "404" not in house.timeline.read_text()
    commit = house.model(name).commit(files())
    told = [event for event in make_ahead() if event != "progress"]
    assert told == ["not made ahead", "started", "stage", "made ahead"]
    house.hub.forget()
    base = house.run(**row).base()
    assert base.record
    assert (base.record.outcome, base.record.facts["commit"]) == ("reused", commit)
    assert house.hub.requests("store") == []
