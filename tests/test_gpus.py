"""Cards are leased across processes; the lease of one that dies is free at once."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from bakeoff.chain.chain import Chain
from bakeoff.execution import gpus
from bakeoff.execution.gpus import Card, Holder, Leases, cards, common_folder
from bakeoff.execution.runner import Runner
from bakeoff.foundation.command import Command
from bakeoff.foundation.errors import BakeoffError
from tests.chains import bench_in, matrix_with

CARDS = [Card(number, "Pretended", 80.0, 80.0) for number in range(4)]

FIGHTER = """
import os, sys, time
from pathlib import Path
from bakeoff.execution.gpus import Card, Leases
folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
cards = [Card(n, "Pretended", 80.0, 80.0) for n in range(4)]
for _ in range(rounds):
    with Leases(folder / "leases").lease(cards, lambda card: card.total_gib, who=f"p{os.getpid()}") as (number,):
        here = folder / f"holder-{number}-{os.getpid()}"
        here.touch()
        others = [p for p in folder.glob(f"holder-{number}-*") if p != here]
        for other in others:
            pid = int(other.name.rpartition("-")[2])
            try:
                state, *_, flags = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:7]
                dead = state in "ZX" or int(flags) & 4  # PF_EXITING: its locks go before it is a zombie
            except (FileNotFoundError, ProcessLookupError):
                dead = True
            if not dead and other.exists():
                (folder / f"clash-{number}-{pid}-{os.getpid()}").touch()
        with (folder / "held").open("a") as file:
            file.write(f"{number}\\n")
        time.sleep(0.05)
        here.unlink()
"""


def test_sixteen_processes_fight_for_four_cards_and_some_are_killed(tmp_path: Path) -> None:
    draw = random.Random(4711)
    argv = [sys.executable, "-c", FIGHTER, str(tmp_path), "3"]
    fighters = [subprocess.Popen(argv) for _ in range(16)]
    try:
        deadline = time.monotonic() + 60
        killed = 0
        while any(one.poll() is None for one in fighters) and time.monotonic() < deadline:
            time.sleep(0.05)
            if killed < 8 and (tmp_path / "held").exists():
                # those that hold a card are the ones whose death would leave it locked
                holding = {int(p.name.rpartition("-")[2]) for p in tmp_path.glob("holder-*")}
                alive = [one for one in fighters if one.poll() is None and one.pid in holding]
                if alive:
                    draw.choice(alive).kill()
                    killed += 1
        assert killed == 8
        codes = [one.wait(1) for one in fighters]
    finally:
        for one in fighters:
            one.kill()
            one.wait()
    assert [p.name for p in tmp_path.glob("clash-*")] == []
    assert codes.count(0) == 16 - codes.count(-9)
    assert codes.count(0) >= 8
    assert len((tmp_path / "held").read_text().split()) >= 3 * codes.count(0)
    assert Leases(tmp_path / "leases").holders() == []
    assert not list((tmp_path / "leases").glob("*.lease"))


def test_two_share_a_card_only_if_their_memory_fits(tmp_path: Path) -> None:
    leases, one = Leases(tmp_path), CARDS[:1]
    with (
        leases.lease(one, lambda card: 30, who="a") as first,
        leases.lease(one, lambda card: 50, who="b") as second,
    ):
        assert first == second == (0,)
        assert sum(holder.gib for holder in leases.holders()) == 80
        with (
            pytest.raises(BakeoffError, match=r"c: no card became free; held: .*who='a'"),
            leases.lease(one, lambda card: 1, who="c", patience_s=0),
        ):
            pass
    with leases.lease(one, lambda card: 80, who="c") as third:
        assert third == (0,)


def test_the_emptiest_card_is_taken_and_several_are_taken_together(tmp_path: Path) -> None:
    leases = Leases(tmp_path)
    with leases.lease(CARDS, lambda card: 10, who="a") as first:
        assert first == (0,)
        with leases.lease(CARDS, lambda card: 10, who="b", count=2) as pair:
            assert pair == (1, 2)


def test_what_others_use_of_a_card_is_not_ours_to_lease(tmp_path: Path) -> None:
    occupied = Card(0, "Pretended", 80.0, 0.5)
    half, idle = Card(1, "Pretended", 80.0, 40.0), Card(2, "Pretended", 80.0, 79.4)
    leases = Leases(tmp_path)
    with leases.lease([occupied, half, idle], lambda card: 30, who="a") as first:
        assert first == (2,)
    with leases.lease([occupied, half], lambda card: 30, who="a") as first:
        assert first == (1,)
        # 30 of the 40 GiB in use may be the lease's by now
        with leases.lease([half], lambda card: 30, who="b") as second:
            assert second == (1,)
    with (
        pytest.raises(BakeoffError, match=r"a: no card became free; held: .*processes that are not ours"),
        leases.lease([occupied, half], lambda card: 41, who="a", patience_s=0),
    ):
        pass
    # a training takes the card to itself, but what it needs is less
    with leases.lease([half], lambda card: card.total_gib, who="t", whole_gib=30) as alone:
        assert alone == (1,)


PAIRS = """
import sys, time
from pathlib import Path
from bakeoff.execution.gpus import Card, Leases
folder, count, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
cards = [Card(n, "Pretended", 80.0, 80.0) for n in range(4)]
for _ in range(rounds):
    with Leases(folder / "leases").lease(cards, lambda card: card.total_gib, who="p", count=count) as numbers:
        here = [folder / f"holder-{number}" for number in numbers]
        for path in here:
            path.touch(exist_ok=False)  # a second holder of a card fails here
        with (folder / "held").open("a") as file:
            file.write(f"{count}\\n")
        time.sleep(0.05)
        for path in here:
            path.unlink()
"""


def test_those_who_need_several_cards_and_those_who_need_one_all_get_on(tmp_path: Path) -> None:
    counts = [4, 3, 2, 2, 1, 1, 1, 1]
    argv = [sys.executable, "-c", PAIRS, str(tmp_path)]
    fighters = [subprocess.Popen([*argv, str(count), "3"]) for count in counts]
    try:
        assert [one.wait(120) for one in fighters] == [0] * len(counts)
    finally:
        for one in fighters:
            one.kill()
            one.wait()
    held = [int(line) for line in (tmp_path / "held").read_text().split()]
    assert sorted(held) == sorted(counts * 3)
    assert [path.name for path in (tmp_path / "leases").iterdir()] in ([], ["all.lock"])


def test_who_needs_several_cards_is_not_overtaken_but_by_those_who_hold_one(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom bakeoff.execution.gpus import Card, Leases\n"
        "cards = [Card(n, 'Pretended', 80.0, 80.0) for n in range(4)]\n"
        "with Leases(Path(sys.argv[1])).lease(cards, lambda card: 80, who='several', count=4) as taken: print(*taken)"
    )
    leases = Leases(tmp_path)
    with leases.lease(CARDS, lambda card: 80, who="a") as first:
        several = subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("*.queued")):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with leases.lease(CARDS, lambda card: 80, who="what a needs beside it") as second:
            assert second != first  # else both would wait for ever
        queued = Leases(tmp_path)._kept_free(time.monotonic())
        assert queued == {0, 1, 2, 3}
    assert several.communicate(timeout=60)[0].split() == ["0", "1", "2", "3"]
    assert list(tmp_path.glob("*.queued")) == []


@pytest.mark.usefixtures("four_cards")
def test_a_card_that_others_leave_is_taken_by_the_one_who_waits(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    free = tmp_path / "free"
    free.write_text("".join(f"{number} 512\n" for number in range(4)))
    monkeypatch.setenv("FAKE_SMI_FREE", str(free))
    monkeypatch.setattr(gpus, "LOOK_S", 0.1)
    told = []

    def waiting(holders: list[Holder]) -> None:
        told.extend(holders)
        free.write_text("".join(f"{number} 512\n" for number in (0, 1, 3)))

    leases = Leases(tmp_path / "leases", waiting, look=cards)
    with leases.lease(cards(), lambda card: 30, who="a", patience_s=60) as numbers:
        assert numbers == (2,)
    assert [(one.card, one.pid) for one in told] == [(0, 0), (1, 0), (2, 0), (3, 0)]


def test_a_fixed_card_leaves_no_choice(tmp_path: Path) -> None:
    leases = Leases(tmp_path)
    with leases.lease(CARDS, lambda card: 80, who="a", fixed="2") as numbers:
        assert numbers == (2,)
    with (
        pytest.raises(BakeoffError, match=r"a: gpus: card 6 is not visible; visible are \[0, 1, 2, 3\]"),
        leases.lease(CARDS, lambda card: 80, who="a", fixed="6"),
    ):
        pass


def test_what_no_card_can_hold_is_refused_at_once(tmp_path: Path) -> None:
    with (
        pytest.raises(BakeoffError, match="needed size"),
        Leases(tmp_path).lease(CARDS, lambda card: 81, who="a"),
    ):
        pass


@pytest.mark.parametrize(
    ("visible", "numbers"),
    [(None, [0, 1, 2, 3]), ("1,3", [1, 3]), ("", []), ("GPU-00000002", [2]), ("0, 2", [0, 2])],
)
@pytest.mark.usefixtures("four_cards")
def test_only_visible_cards_count(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, numbers: list[int]
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [card.number for card in cards()] == numbers


@pytest.mark.usefixtures("four_cards")
def test_the_chain_puts_its_commands_on_the_cards_that_it_holds(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    runner = Runner(tmp_path / "processes", warm=False)
    line = Command(("true",), {"CUDA_VISIBLE_DEVICES": "7"})

    def chain(**row: object) -> Chain:
        matrix = matrix_with(**{"needs": {"gpu_memory_gib": 30}, **row})
        return Chain(matrix.models["tiny"], bench_in(tmp_path / "store", runner, matrix))

    filling = {"engine": "vllm", "memory_share": 0.8}
    with (
        chain().leased("train") as trains,
        chain().leased("serve") as serves,
        chain().leased("serve") as also,
    ):
        on = [placed(line).env["CUDA_VISIBLE_DEVICES"] for placed in (trains, serves, also)]
        assert on == ["0", "1", "2"]
        with chain(gpus="1").leased("serve") as shares:
            assert shares(line).env["CUDA_VISIBLE_DEVICES"] == "1"
        with chain(serving=filling).leased("serve") as fills:
            assert fills(line).env["CUDA_VISIBLE_DEVICES"] == "3"
            with pytest.raises(BakeoffError, match="held"), chain(gpus="0").leased("export"):
                pass
        with chain(needs={"gpu_memory_gib": 0}).leased("train") as beside:
            assert beside(line) is line
    assert Leases(common_folder()).holders() == []
