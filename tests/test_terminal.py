"""Every command speaks the language of the terminal, in normal use and in refusals."""

from __future__ import annotations

import argparse
import ast
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from judge_app import study

from bakeoff import __main__ as programs
from bakeoff import chat, stale
from bakeoff.foundation import helps
from bakeoff.foundation.helps import texts_of
from bakeoff.foundation.terminal import cells, padded
from bakeoff.judgement.raters import Raters
from bakeoff.judgement.ratings import RatingStore
from bakeoff.report.__main__ import main as report
from bakeoff.start import demo, new
from bakeoff.verify import words
from bakeoff.verify.__main__ import main as verify
from judge.__main__ import main as judge
from judge.options import parser
from tests.synthetic_store import RUN, honest_store

ROOT = Path(__file__).parents[1]
HANZI = re.compile("[\u3400-\u9fff]")
PROSE = re.compile(r"\b[A-Za-z]?[a-z]+(?:[ ,]+[a-z]{2,}){2,}")
"""Three words of English in a row: no name, no unit and no flag reads like that."""
Main = Callable[[list[str]], object]


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, its report, an earlier run in which everything was better, and a study."""
    folder = tmp_path_factory.mktemp("house")
    runs = honest_store(folder, 5, models=1, count=6) / "runs"
    earlier = runs / f"2025{RUN[4:]}"
    shutil.copytree(runs / RUN, earlier)
    run = json.loads((earlier / "run.json").read_text(encoding="utf-8"))
    (earlier / "run.json").write_text(json.dumps(run | {"run_id": earlier.name}), encoding="utf-8")
    scores = json.loads((earlier / "scores.json").read_text(encoding="utf-8"))
    (earlier / "scores.json").write_text(json.dumps(scores[:-3]), encoding="utf-8")
    tampered = folder / "tampered"
    shutil.copytree(folder / "reports", tampered)
    (tampered / "scores.csv").write_text("model\nm0\n", encoding="utf-8")
    RatingStore(folder / "ratings.sqlite").add_study(study(4))
    (folder / "no-study.json").write_text("{}", encoding="utf-8")
    for name in ("anna", "bruno"):
        Raters(folder / "r.json").add(name, "a long password", owner=False)
    return folder


LINES: dict[str, tuple[Main, str, int | None]] = {
    "help": (programs.main, "--help", 0),
    "a misspelt command": (programs.main, "reprot", 2),
    "no matrix": (programs.main, "run", 4),
    "no such matrix": (programs.main, "run --matrix nowhere.yaml", 4),
    "no store": (report, "--store nowhere", 2),
    "no such run": (report, "--store store --run nope --out out", 2),
    "nothing to compare": (report, "--store store --compare nope --out out", 2),
    "compared": (report, f"--store store --compare 2025{RUN[4:]} --out out", 0),
    "verified": (verify, "reports", 0),
    "tampered": (verify, "tampered --store store", 1),
    "nothing to verify": (verify, "nowhere", 2),
    "no such cases": (judge, "study --cases nowhere.jsonl --replies no-study.json --out s.json", 2),
    "no page": (verify, "no-study.json/index.html", 2),
    "no matrix to hold the store against": (stale.main, "--matrix nowhere.yaml", 1),
    "nothing removed": (stale.main, "--matrix matrix.yaml --store store", None),
    "rater": (judge, "add-rater anna --raters r.json", 0),
    "owner": (judge, "add-rater maria --owner --raters r.json", 0),
    "new password": (judge, "reset anna --raters r.json", 0),
    "no rater to reset": (judge, "reset nobody --raters r.json", 2),
    "rater removed": (judge, "remove-rater bruno --raters r.json", 0),
    "no rater to remove": (judge, "remove-rater nobody --raters r.json", 2),
    "bad name": (judge, "add-rater a/../b --raters r.json", 2),
    "invitation": (judge, "invite --url https://judge.example.org/ --raters r.json", 0),
    "wrong address": (judge, "invite --url nowhere --raters r.json", 2),
    "too many": (judge, "invite --url https://judge.example.org/ --raters r.json --count 0", 2),
    "no database": (judge, "results --store nowhere.sqlite", 2),
    "no such study": (judge, "export --store ratings.sqlite --id nope --out x.csv", 2),
    "no ratings to write about": (judge, "paper --store ratings.sqlite --out paper", 2),
    "nobody to erase": (judge, "erase nobody --identity --store ratings.sqlite --raters r.json", 2),
    "no judge": (judge, "ask --store ratings.sqlite", 2),
    "no replies": (judge, "study --replies nowhere.jsonl --out s.json", 2),
    "no study": (judge, "--study no-study.json --store ratings.sqlite --raters r.json", 2),
    "open to others": (judge, "--host 0.0.0.0 --store ratings.sqlite", 2),
    "no service": (judge, "--services nonsense --store ratings.sqlite", 2),
}
"""A command line, and its exit code where it is decided by the line."""


@pytest.mark.parametrize("name", LINES)
def test_a_chinese_terminal_reads_chinese(
    name: str, house: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    main, line, expected = LINES[name]
    monkeypatch.chdir(house)
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    monkeypatch.setattr("sys.stdin", io.StringIO("a long password\n"))
    code = main(line.split())
    output = "".join(capsys.readouterr())
    assert code == expected or expected is None, output
    assert HANZI.search(output), output
    assert not PROSE.search(re.sub(r"`[^`]*`|['\"][^'\"]*['\"]|\([^()]*\)", "", output)), output


def test_an_english_terminal_reads_no_chinese(
    house: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(house)
    monkeypatch.setenv("LC_ALL", "en_GB.UTF-8")
    for name in (
        "help",
        "a misspelt command",
        "no such run",
        "nothing to verify",
        "nobody to erase",
        "no service",
    ):
        main, line, _ = LINES[name]
        main(line.split())
        output = "".join(capsys.readouterr())
        assert output
        assert not HANZI.search(output), output


def test_the_help_of_every_option_is_in_both_languages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    caught: list[argparse.ArgumentParser] = []

    def catch(self: argparse.ArgumentParser, *_: object) -> None:
        caught.append(self)
        raise SystemExit

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", catch)
    monkeypatch.setenv("LC_ALL", "en_GB.UTF-8")
    for main in (report, verify, chat.main, judge, new.main, demo.main):
        with pytest.raises(SystemExit):
            main([])
    texts = {text for options in caught for text in texts_of(options)}
    assert sorted(texts - helps.CHINESE.keys()) == []
    assert sorted(helps.CHINESE.keys() - texts) == []
    assert [text for text in texts if HANZI.search(text)] == []
    assert [zh for zh in helps.CHINESE.values() if PROSE.search(zh) or not HANZI.search(zh)] == []
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    for options in caught:
        shown = helps.localize(options).format_help()
        assert shown.startswith("用法：")
        assert not PROSE.search(re.sub(r"python -m [\w.]+", "", shown)), shown
    for command in ("run", "doctor"):
        assert programs.main([command, "--help"]) == 0
        chinese = capsys.readouterr().out
        monkeypatch.setenv("LC_ALL", "C")
        assert programs.main([command, "-h"]) == 0
        english = capsys.readouterr().out
        assert set(re.findall(r"--[a-z-]+", chinese)) == set(re.findall(r"--[a-z-]+", english))
        assert not HANZI.search(english)
        monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")


def test_every_rule_of_the_verifier_has_its_name_in_both_languages() -> None:
    used, english = set(), []
    for path in (ROOT / "bakeoff" / "verify").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            checks = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            if checks and node.func.attr in ("compare", "compare_keys", "fail"):
                used |= {rule.value for rule in node.args[:1] if isinstance(rule, ast.Constant)}
            if checks and node.func.attr in ("fail", "note"):
                values = node.args[2:] if node.func.attr == "fail" else node.args
                english += [ast.unparse(value) for value in values if isinstance(value, ast.Constant)]
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_RULE":
                used.add(ast.literal_eval(node.value))
    assert len(used) > 50
    assert used == set(words.RULES)
    assert not english  # what stands there, and what should, has its Chinese, too


def test_chinese_takes_two_cells() -> None:
    assert (cells("核对a"), padded("核对", 6), padded("9", 3, right=True)) == (5, "核对  ", "  9")


@pytest.mark.parametrize(
    ("line", "names", "command"),
    [
        ("--name a.org b.org", ["a.org", "b.org"], None),
        ("--name a.org --name b.org", ["a.org", "b.org"], None),
        ("--name a.org study --out s.json", ["a.org"], "study"),
        ("--name a.org b.org export --out x.csv", ["a.org", "b.org"], "export"),
        ("--name=a.org results", ["a.org"], "results"),
        ("--port 1 --name study results", ["study"], "results"),
        ("--models a b --name c.org results --id study", ["c.org"], "results"),
        ("--variants tuned base results", [], "results"),
        ("study --variants tuned base --replies a b --out s.json", [], "study"),
        ("--na a.org b.org results", ["a.org", "b.org"], "results"),
    ],
)
def test_a_list_of_names_swallows_no_command(line: str, names: list[str], command: str | None) -> None:
    options = parser().parse_args(line.split())
    assert (getattr(options, "name", []), options.command) == (names, command)


def test_a_misspelt_command_after_a_host_name_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["--name", "a.org", "reslts"])
    assert "reslts" in capsys.readouterr().err
