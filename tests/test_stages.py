"""Run once, keep, say why it ran again."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from bakeoff.foundation.errors import CommandFailed, NotInStore
from bakeoff.foundation.workspace import Workspace
from bakeoff.store import locks
from bakeoff.store.facts import Facts
from bakeoff.store.identity import differences
from bakeoff.store.stage import Stage
from bakeoff.store.stages import Done, Record, Stages, Timeline


def of_an_older_version(path: Path, record: dict[str, Any]) -> None:
    """Write the *record* in *path* as a version did that kept no seal."""
    path.write_text(json.dumps(record), encoding="utf-8")
    (path.parent / "seal.json").unlink(missing_ok=True)


class Bench:
    """A store with one stage whose work is counted."""

    def __init__(self, root: Path, *, may_run: bool = True) -> None:
        self.timeline = Timeline(root / "events.jsonl")
        self.stages = Stages(Workspace(root), self.timeline, may_run=may_run)
        self.ran = 0

    def work(self, output: Path) -> Done:
        self.ran += 1
        output.write_text("made")
        return Done("a command", 0.5, {"steps": 3})

    def ensure(self, identity: dict[str, Any], work: Any = None) -> Record:
        folder = self.stages.folder("train", "row", {"recipe": identity.get("recipe")})
        folder.mkdir(parents=True, exist_ok=True)
        return self.stages.ensure(self.stage(identity), work or self.work)

    def stage(self, identity: dict[str, Any]) -> Stage[Facts]:
        folder = self.stages.folder("train", "row", {"recipe": identity.get("recipe")})
        return Stage(name="train", row="row", folder=folder, recipe={}, inputs=lambda: identity, facts=Facts)


def test_a_stage_runs_once_and_says_that_it_was_reused(tmp_path: Path) -> None:
    first, second = Bench(tmp_path), Bench(tmp_path)
    assert first.ensure({"a": 1}).outcome == "ran"
    record = second.ensure({"a": 1})
    assert (record.outcome, second.ran, record.facts) == ("reused", 0, {"steps": 3})
    assert record.why.startswith("reused: made ")


@pytest.mark.parametrize("fails", [False, True])
def test_the_time_of_a_stage_within_another_is_its_own(tmp_path: Path, fails: bool) -> None:
    bench = Bench(tmp_path)

    def within(output: Path) -> Done:
        time.sleep(0.4)
        return bench.work(output)

    def without(output: Path) -> Done:
        bench.ensure({"recipe": "within"}, within)
        if fails:
            raise CommandFailed("no")
        return bench.work(output)

    began = time.monotonic()
    with pytest.raises(CommandFailed) if fails else nullcontext():
        bench.ensure({"recipe": "without"}, without)
    took = time.monotonic() - began
    events = map(json.loads, (tmp_path / "events.jsonl").read_text().splitlines())
    inner, outer = (event["seconds"] for event in events if event["event"] == "stage")
    assert inner >= 0.4
    assert outer >= 0
    assert inner + outer < took + 0.02  # each is rounded to 0.01


def test_a_changed_input_is_told_in_words(tmp_path: Path) -> None:
    Bench(tmp_path).ensure({"train": {"learning_rate": "2e-4"}})
    record = Bench(tmp_path).ensure({"train": {"learning_rate": "1e-4"}})
    assert record.why == "ran: train.learning_rate: '2e-4' is now '1e-4'"


def test_another_recipe_is_kept_beside_and_says_what_differs(tmp_path: Path) -> None:
    Bench(tmp_path).ensure({"recipe": "slow"})
    assert Bench(tmp_path).ensure({"recipe": "fast"}).why == "ran: recipe: 'slow' is now 'fast'"
    assert Bench(tmp_path).ensure({"recipe": "slow"}).outcome == "reused"


def test_a_lost_output_is_made_again(tmp_path: Path) -> None:
    record = Bench(tmp_path).ensure({"a": 1})
    Path(record.output).unlink()
    assert Bench(tmp_path).ensure({"a": 1}).why == "ran: its output is gone"


def test_a_moved_store_tells_where_things_are_now(tmp_path: Path) -> None:
    Bench(tmp_path / "old").ensure({"a": 1})
    (tmp_path / "old").rename(tmp_path / "new")
    record = Bench(tmp_path / "new").ensure({"a": 1})
    assert record.outcome == "reused"
    assert Path(record.output).read_text() == "made"
    assert record.log.startswith(str(tmp_path / "new"))


@pytest.mark.parametrize("torn", ["", "{", '{"stage": "train"}', "[]", "null"])
def test_a_torn_record_is_never_taken_for_a_whole_one(tmp_path: Path, torn: str) -> None:
    record = Bench(tmp_path).ensure({"a": 1})
    (Path(record.output).parent / "record.json").write_text(torn)
    assert Bench(tmp_path).ensure({"a": 1}).outcome == "ran"


SHARDS = "model.safetensors.index.json"


class Folder(Bench):
    """A store whose stage leaves a folder of weights."""

    def work(self, output: Path) -> Done:
        self.left_over = sorted(path.name for path in output.glob("*"))
        output.mkdir(exist_ok=True)
        for name in ("config.json", "model.safetensors", SHARDS, "log.txt"):
            (output / name).write_text(f"made {name}")
        return super().work(output / "tokenizer.json")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda o: (o / "model.safetensors").write_text("made elsewhere"),
            "model.safetensors is another one",
        ),
        (lambda o: (o / "adapter_model.safetensors").write_text("x"), "adapter_model.safetensors is new"),
        (lambda o: (o / "config.json").unlink(), "config.json is gone"),
        (lambda o: (o / "args.json").write_text("{}"), "args.json is new"),
        (lambda o: (o / SHARDS).write_text("names fewer weights"), f"{SHARDS} is another one"),
    ],
    ids=["another", "new", "gone", "arguments", "shards"],
)
def test_what_a_stage_did_not_make_is_not_its_output(tmp_path: Path, change: Any, told: str) -> None:
    output = Path(Folder(tmp_path).ensure({"a": 1}).output)
    (output / "log.txt").write_text("decides nothing")
    assert Folder(tmp_path).ensure({"a": 1}).outcome == "reused"
    change(output)
    bench = Folder(tmp_path)
    assert not bench.stages.current(bench.stage({"a": 1}))
    assert bench.ensure({"a": 1}).why == f"ran: its output is not what it made ({told})"
    assert bench.left_over == []
    assert Folder(tmp_path).ensure({"a": 1}).outcome == "reused"


def test_a_record_that_knows_no_list_of_shards_is_reused(tmp_path: Path) -> None:
    output = Path(Folder(tmp_path).ensure({"a": 1}).output)
    path = output.with_name("record.json")
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["made"].pop(SHARDS)
    of_an_older_version(path, record)
    assert Folder(tmp_path).ensure({"a": 1}).outcome == "reused"


def edited(**changes: object) -> Callable[[Path], None]:
    """Return what edits the record beside an output; None takes a key away."""

    def edit(output: Path) -> None:
        path = output.with_name("record.json")
        record = {**json.loads(path.read_text(encoding="utf-8")), **changes}
        path.write_text(json.dumps({key: value for key, value in record.items() if value is not None}))

    return edit


def swap(output: Path) -> None:
    (output / "model.safetensors").write_text("another row's")


@pytest.mark.parametrize(
    ("edits", "words"),
    [
        ([edited(seconds=0.1)], "its record is not what it wrote"),
        ([edited(facts={"train_s": 0.1})], "its record is not what it wrote"),
        ([swap, edited(made=None)], "its record is not what it wrote"),
        ([swap, edited(made={})], "its record is not what it wrote"),
        ([swap, lambda output: output.with_name("record.json").unlink()], "model.safetensors is another one"),
        ([swap, lambda output: output.with_name("record.json").write_text("")], "model.safetensors is"),
    ],
)
def test_neither_record_nor_output_can_be_edited_alone(
    tmp_path: Path, edits: list[Callable[[Path], None]], words: str
) -> None:
    output = Path(Folder(tmp_path).ensure({"a": 1}).output)
    for edit in edits:
        edit(output)
    again = Folder(tmp_path).ensure({"a": 1})
    assert words in again.why
    assert (again.outcome, again.seconds == 0.1) == ("ran", False)
    assert (output / "model.safetensors").read_text() == "made model.safetensors"
    assert Folder(tmp_path).ensure({"a": 1}).outcome == "reused"


def test_an_output_that_is_a_file_is_held_against_what_was_made(tmp_path: Path) -> None:
    Path(Bench(tmp_path).ensure({"a": 1}).output).write_text("mode")
    assert (
        Bench(tmp_path).ensure({"a": 1}).why == "ran: its output is not what it made (output is another one)"
    )


def test_two_outputs_of_one_size_and_time_that_were_exchanged_are_found(tmp_path: Path) -> None:
    import os

    def large(letter: bytes) -> Any:
        def work(output: Path) -> Done:
            output.write_bytes(letter * (3 << 20))
            os.utime(output, (1, 1))
            return Done()

        return work

    first, second = (
        Path(Bench(tmp_path).ensure({"recipe": name}, large(name.encode())).output) for name in "ab"
    )
    first.rename(tmp_path / "aside")
    second.rename(first)
    (tmp_path / "aside").rename(second)
    assert "not what it made" in Bench(tmp_path).ensure({"recipe": "a"}, large(b"a")).why


def test_a_record_of_before_digests_were_kept_is_reused_and_keeps_one_from_then_on(tmp_path: Path) -> None:
    output = Path(Folder(tmp_path).ensure({"a": 1}).output)
    path = output.with_name("record.json")
    kept = json.loads(path.read_text())
    del kept["made"]
    of_an_older_version(path, kept)
    assert Folder(tmp_path, may_run=False).ensure({"a": 1}).outcome == "reused"
    assert "made" not in json.loads(path.read_text())
    assert Folder(tmp_path).ensure({"a": 1}).outcome == "reused"
    assert {**json.loads(path.read_text()), "made": None} == {**kept, "made": None}
    (output / "config.json").write_text("changed")
    assert "config.json is another one" in Folder(tmp_path).ensure({"a": 1}).why


def test_a_record_of_another_version_is_read(tmp_path: Path) -> None:
    path = Path(Bench(tmp_path).ensure({"a": 1}).output).with_name("record.json")
    kept = json.loads(path.read_text())
    for absent in (*kept, None):
        if absent in ("identity", "output"):
            continue
        record = {key: value for key, value in kept.items() if key != absent} | {"card": [1], "x": None}
        of_an_older_version(path, record)
        assert Bench(tmp_path).ensure({"a": 1}).outcome == "reused", absent


@pytest.mark.parametrize("odd", [{"identity": []}, {"output": ""}, {"output": 3}, {"identity": None}])
def test_a_record_that_does_not_say_what_it_is_of_is_none(tmp_path: Path, odd: dict[str, Any]) -> None:
    path = Path(Bench(tmp_path).ensure({"a": 1}).output).with_name("record.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **odd}))
    assert Bench(tmp_path).ensure({"a": 1}).outcome == "ran"


@pytest.mark.parametrize("name", ["seconds", "facts", "made", "why", "peak_memory_gib"])
def test_a_value_of_another_type_in_a_record_is_not_believed(tmp_path: Path, name: str) -> None:
    path = Path(Bench(tmp_path).ensure({"a": 1}).output).with_name("record.json")
    of_an_older_version(path, {**json.loads(path.read_text()), name: ["odd"]})
    record = Bench(tmp_path).ensure({"a": 1})
    assert (record.outcome, getattr(record, name) == ["odd"]) == ("reused", False)


def test_a_failure_is_not_repeated_in_the_same_run_but_in_the_next(tmp_path: Path) -> None:
    def fail(output: Path) -> Done:
        raise CommandFailed("no luck")

    bench = Bench(tmp_path)
    for _ in range(2):
        with pytest.raises(CommandFailed, match="no luck"):
            bench.ensure({"a": 1}, fail)
    events = [json.loads(line) for line in bench.timeline.path.read_text().splitlines()]
    assert [e["outcome"] for e in events if e["event"] == "stage"] == ["failed"]
    assert Bench(tmp_path).ensure({"a": 1}).outcome == "ran"


def test_an_error_that_nobody_foresaw_is_told_in_the_timeline_too(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for _ in range(2):
        with pytest.raises(json.JSONDecodeError):
            bench.ensure({"a": 1}, lambda output: Done(json.loads("{")))
    events = [json.loads(line) for line in bench.timeline.path.read_text().splitlines()]
    told = [e["why"] for e in events if e["event"] == "stage" and e["outcome"] == "failed"]
    assert len(told) == 1
    assert told[0].startswith("JSONDecodeError: Expecting property name")


@pytest.mark.parametrize("value", ['say-"please"-4711', "back\\slash-4711", "密码-秘密-4711"])
def test_a_secret_is_known_in_the_timeline_and_the_record_however_json_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("SWANLAB_API_KEY", value)
    bench = Bench(tmp_path)

    def show(output: Path) -> Done:
        output.write_text("made")
        return Done(f"a command with {value}", None, {"said": [value], "where": {"place": Path(value)}})

    record = Path(bench.ensure({"a": 1}, show).output).with_name("record.json")
    for path in (record, bench.timeline.path):
        assert "4711" not in path.read_text(encoding="utf-8")
        assert "a command with ***" in path.read_text(encoding="utf-8")


def test_who_is_waited_for_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "SILENT_S", 0.1)
    bench = Bench(tmp_path)
    lock = tmp_path / "locks" / "models-row-x.lock"
    lock.parent.mkdir()
    code = (
        "import sys; from filelock import FileLock; "
        "lock = FileLock(sys.argv[1]); lock.acquire(); print(1, flush=True); input()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout
        assert holder.stdout.readline() == "1\n"
        waiting = threading.Thread(target=lambda: bench.stages.lock(tmp_path / "models/row/x").__enter__())
        waiting.start()
        while waiting.is_alive() and not bench.timeline.path.exists():
            waiting.join(0.05)
    finally:
        holder.communicate("\n")
    waiting.join(30)
    assert not waiting.is_alive()
    event = json.loads(bench.timeline.path.read_text())
    assert (event["event"], event["stage"]) == ("waiting", "models-row-x")
    assert event["holder"].startswith(f"process {holder.pid} (")


def test_what_may_not_run_says_how_to_run_it(tmp_path: Path) -> None:
    with pytest.raises(NotInStore, match="pytest benchmarks/ -k row"):
        Bench(tmp_path, may_run=False).ensure({"a": 1})


def test_two_processes_do_a_stage_once(tmp_path: Path) -> None:
    code = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_stages import Bench
bench = Bench(Path({str(tmp_path)!r}))
def slow(output):
    time.sleep(0.5)
    return bench.work(output)
print(bench.ensure({{"a": 1}}, slow).outcome)
"""
    workers = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    assert sorted(worker.communicate(timeout=60)[0].strip() for worker in workers) == [
        "ran",
        "reused",
        "reused",
    ]


def test_differences_shorten_digests_and_count_the_rest() -> None:
    assert differences({"w": "a" * 64}, {"w": "b" * 64}) == "w: 'aaaaaaaaaa…' is now 'bbbbbbbbbb…'"
    many = {str(n): n for n in range(9)}
    assert differences({}, many).endswith("and 3 more")
    assert differences(many, many) == ""
