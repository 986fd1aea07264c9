"""The command line of ``python -m judge``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TypeAlias

from bakeoff.judgement.blind import LAYOUTS
from bakeoff.matrix.schema import VARIANTS
from judge.guard import host_name, path_prefix

STORE = Path("store/judge/ratings.sqlite")
RATERS = Path("store/judge/raters.json")
MATRIX = Path("model_matrix.yaml")


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


COMMANDS = (
    "add-rater",
    "reset",
    "remove-rater",
    "study",
    "gather",
    "ask",
    "results",
    "export",
    "invite",
    "erase",
    "paper",
)
_LISTS = ("--name", "--services", "--models", "--variants")
_SEVERAL = "several: one after the other, or the option again"


def each_apart(arguments: Sequence[str]) -> list[str]:
    """Return *arguments* with each of several values after its own option.

    ``--name A B study`` becomes ``--name A --name B study``: a list before a command would else swallow it.
    """
    apart: list[str] = []
    option = ""
    for place, word in enumerate(arguments):
        before = arguments[place - 1] if place else ""
        is_first = before.startswith("-") and "=" not in before
        if not is_first and _is_command(word, option):
            return [*apart, *arguments[place:]]
        if word.startswith("-"):
            option = next((name for name in _LISTS if len(word) > 2 and name.startswith(word)), "")
        elif option and not is_first:
            apart.append(option)
        apart.append(word)
    return apart


def _is_command(word: str, option: str) -> bool:
    """Whether *word* is a command, or among host names a misspelt one."""
    near = get_close_matches(word, COMMANDS, 1, 0.8) if option in ("--name", "--variants") else []
    return word in COMMANDS or bool(near and "." not in word)


class _Parser(argparse.ArgumentParser):
    """Takes lists of names before a command."""

    def parse_known_args(self, args=None, namespace=None):  # type: ignore[no-untyped-def]
        return super().parse_known_args(each_apart(sys.argv[1:] if args is None else args), namespace)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    main = _Parser(prog="python -m judge", description="Blind scoring of replies by people and models.")
    _serving(main)
    commands = main.add_subparsers(dest="command", metavar="COMMAND", parser_class=argparse.ArgumentParser)

    _for_sign_in(commands)
    _for_studies(commands)
    _for_gathering(commands)
    _for_asking(commands)
    _for_owners(commands)
    _for_results(commands)
    return main


def _for_sign_in(commands: Commands) -> None:
    command = commands.add_parser(
        "add-rater", help="let somebody sign in; asks for the password, or reads it from stdin"
    )
    command.add_argument("name")
    command.add_argument(
        "--owner",
        action=argparse.BooleanOptionalAction,
        help="may also see the results, names revealed (default: as before; a new rater may not)",
    )
    command.add_argument("--raters", type=Path, default=RATERS, metavar="FILE")

    for name, purpose in (
        ("reset", "give a rater a new password, which ends their sessions"),
        ("remove-rater", "let somebody sign in no more, which ends their sessions; their scores stay"),
    ):
        command = commands.add_parser(name, help=purpose)
        command.add_argument("name")
        command.add_argument("--raters", type=Path, default=RATERS, metavar="FILE")


def _for_studies(commands: Commands) -> None:
    command = commands.add_parser("study", help="build a blind study from gathered replies")
    command.add_argument(
        "--replies",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="JSONL files, one per subject (default: what the last run gathered from the rows of the matrix)",
    )
    command.add_argument("--cases", type=Path, metavar="FILE", help="default: the shipped cases")
    command.add_argument("--out", type=Path, required=True, metavar="FILE")
    command.add_argument("--id", metavar="NAME", help="default: the name of --out")
    command.add_argument("--title", default="")
    _choosing(command)
    command.add_argument(
        "--store", type=Path, default=STORE, metavar="FILE", help="whose run's replies to take"
    )
    command.add_argument("--seed", type=int, default=0)
    command.add_argument(
        "--repeats", type=float, default=0.1, metavar="SHARE", help="share shown twice (default 0.1)"
    )
    command.add_argument(
        "--keep-names", action="store_true", help="do not hide makers' names in replies, only list them"
    )
    command.add_argument(
        "--names",
        nargs="+",
        default=[],
        metavar="NAME",
        help="what else to hide, such as a name taught in training",
    )
    command.add_argument(
        "--expect-raters", type=int, default=3, metavar="N", help="how many will score (default 3)"
    )
    command.add_argument(
        "--difference",
        type=float,
        default=0.5,
        metavar="POINTS",
        help="difference worth finding (default 0.5 points)",
    )
    command.add_argument(
        "--pilot", action="store_true", help="build it even where no difference could come out of it"
    )


def _for_gathering(commands: Commands) -> None:
    command = commands.add_parser("gather", help="ask a served model all cases and keep its replies")
    command.add_argument(
        "--url", required=True, help="OpenAI-compatible root, such as http://127.0.0.1:8000/v1"
    )
    command.add_argument("--served-name", required=True, metavar="NAME")
    command.add_argument("--model", required=True, metavar="ROW", help="the row's name in the matrix")
    command.add_argument("--variant", default="tuned", choices=("base", "tuned"))
    command.add_argument("--cases", type=Path, metavar="FILE", help="default: the shipped cases")
    command.add_argument("--out", type=Path, required=True, metavar="FILE")


def _for_asking(commands: Commands) -> None:
    command = commands.add_parser("ask", help="let a judge model score a study by the same rubric")
    command.add_argument("--store", type=Path, default=STORE, metavar="FILE")
    command.add_argument("--study", type=Path, metavar="FILE", help="default: the replies of the last run")
    _choosing(command)
    command.add_argument("--url", help="OpenAI-compatible root of the judge")
    command.add_argument("--model", metavar="NAME", help="the judge's served name")
    command.add_argument(
        "--row", metavar="ROW", help="instead: a row of the matrix, deployed as long as it judges"
    )
    command.add_argument(
        "--api-key-env", default="", metavar="NAME", help="environment variable that holds the key"
    )
    command.add_argument("--repeats", type=int, default=2, help="how often each reply is scored (default 2)")
    command.add_argument(
        "--max-tokens",
        type=int,
        default=2048,
        metavar="N",
        help="longest verdict, thinking included (default 2048)",
    )
    command.add_argument(
        "--no-pairs", action="store_true", help="leave out the pairwise comparison in both orders"
    )


def _for_results(commands: Commands) -> None:
    command = commands.add_parser("results", help="print the results of a study as JSON (names revealed)")
    command.add_argument("--store", type=Path, default=STORE, metavar="FILE")
    command.add_argument("--id", metavar="STUDY", help="default: the newest study")

    command = commands.add_parser("export", help="write judgements as CSV")
    command.add_argument("--store", type=Path, default=STORE, metavar="FILE")
    command.add_argument(
        "--id", metavar="STUDY", help="only this study (default: everything, chat scores too)"
    )
    command.add_argument("--out", type=Path, required=True, metavar="FILE")


def _choosing(command: argparse.ArgumentParser, *, repeated: bool = False) -> None:
    command.add_argument("--layout", choices=LAYOUTS, default=LAYOUTS[0])
    command.add_argument(
        "--variants",
        action="append" if repeated else "store",
        nargs=None if repeated else "+",
        choices=VARIANTS,
        default=[],
        help="of the last run's replies (default: tuned, where a row has it; give both to judge what tuning did)",
    )
    command.add_argument("--matrix", type=Path, default=MATRIX, metavar="FILE", help=f"default {MATRIX}")


def _serving(main: argparse.ArgumentParser) -> None:
    main.add_argument("--store", type=Path, default=STORE, metavar="FILE", help=f"default {STORE}")
    main.add_argument(
        "--study", type=Path, metavar="FILE", help="the study to score (default: the replies of the last run)"
    )
    _choosing(main, repeated=True)
    main.add_argument("--host", default="127.0.0.1")
    main.add_argument("--port", type=int, default=7860)
    main.add_argument(
        "--name",
        action="append",
        type=host_name,
        default=[],
        metavar="HOST",
        help="host names under which the page is served, as in the browser's address line, such as "
        f"judge.example.org (default: any, where raters sign in; this machine's own names always); {_SEVERAL}",
    )
    main.add_argument(
        "--root-path",
        type=path_prefix,
        default="",
        metavar="PATH",
        help="the prefix under which a proxy serves the page, such as /judge",
    )
    main.add_argument(
        "--raters", type=Path, metavar="FILE", help=f"who may sign in (default {RATERS} where it exists)"
    )
    main.add_argument(
        "--services",
        action="append",
        default=[],
        metavar="NAME=URL",
        help=f"served models for the chat tab; {_SEVERAL}",
    )
    main.add_argument(
        "--models",
        action="append",
        default=[],
        metavar="ROW",
        help="rows of the matrix (or ROW/base) that are deployed for the chat tab, until the page ends; "
        f"{_SEVERAL}",
    )
    main.add_argument(
        "--results", action="store_true", help="without sign-in: show the results to whoever opens the page"
    )


def _for_owners(commands: Commands) -> None:
    command = commands.add_parser("invite", help="make links that let raters in once, without a password")
    command.add_argument("--raters", type=Path, default=RATERS, metavar="FILE")
    command.add_argument("--url", required=True, metavar="ADDRESS", help="of the page, as raters reach it")
    command.add_argument("--study", metavar="STUDY", help="default: whichever study is open when they come")
    command.add_argument("--count", type=int, default=1, metavar="N", help="how many to invite (default 1)")
    command.add_argument(
        "--label",
        nargs="+",
        default=[],
        metavar="WHO",
        help="who they are, one each; kept in the raters file only",
    )
    command.add_argument("--again", metavar="RATER", help="a new link for somebody invited before")
    command.add_argument(
        "--days", type=float, default=14, metavar="N", help="how long a link works (default 14)"
    )

    command = commands.add_parser("erase", help="erase a rater's identity, or all that they handed in")
    command.add_argument("rater")
    which = command.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--identity", action="store_true", help="name and label; the scores stay, under a new code"
    )
    which.add_argument(
        "--judgements", action="store_true", help="identity and all scores, comments, drafts, talks"
    )
    command.add_argument("--store", type=Path, default=STORE, metavar="FILE")
    command.add_argument("--raters", type=Path, default=RATERS, metavar="FILE")

    command = commands.add_parser(
        "paper", help="write what a paper needs: data, codebook, scripts, tables, methods"
    )
    command.add_argument("--store", type=Path, default=STORE, metavar="FILE")
    command.add_argument("--id", metavar="STUDY", help="default: the newest study that people scored")
    command.add_argument("--out", type=Path, required=True, metavar="FOLDER")
