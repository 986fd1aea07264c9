"""``python -m judge``: serve the page; add a rater, gather replies, build a study, ask a judge model, export."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bakeoff.blind import LAYOUTS, build_study, read_study
from bakeoff.errors import BakeoffError, RatingError
from bakeoff.judge_model import JudgeModel, compare_replies, score_replies
from bakeoff.provenance import digest
from bakeoff.raters import Raters
from bakeoff.ratings import RatingStore
from bakeoff.replies import gather as ask_all
from bakeoff.replies import load_cases, read_replies
from bakeoff.verdicts import judged_by_model, summarise
from bakeoff.workspace import Workspace

STORE = Path("store/judge/ratings.sqlite")
RATERS = Path("store/judge/raters.json")
LOOPBACK = {"127.0.0.1", "localhost", "::1"}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    main = argparse.ArgumentParser(
        prog="python -m judge", description="Blind scoring of replies by people and models."
    )
    _serving(main)
    commands = main.add_subparsers(dest="command", metavar="COMMAND")

    one = commands.add_parser(
        "add-rater", help="let somebody sign in; asks for the password, or reads it from stdin"
    )
    one.add_argument("name")
    one.add_argument("--owner", action="store_true", help="may also see the results, names revealed")
    one.add_argument("--raters", type=Path, default=RATERS, metavar="FILE")

    one = commands.add_parser("study", help="build a blind study from gathered replies")
    one.add_argument(
        "--replies", type=Path, nargs="+", required=True, metavar="FILE", help="JSONL files, one per subject"
    )
    one.add_argument("--cases", type=Path, metavar="FILE", help="default: the shipped cases")
    one.add_argument("--out", type=Path, required=True, metavar="FILE")
    one.add_argument("--id", metavar="NAME", help="default: the name of --out")
    one.add_argument("--title", default="")
    one.add_argument("--layout", choices=LAYOUTS, default=LAYOUTS[0])
    one.add_argument("--seed", type=int, default=0)
    one.add_argument(
        "--repeats", type=float, default=0.1, metavar="SHARE", help="share shown twice (default 0.1)"
    )
    one.add_argument(
        "--keep-names", action="store_true", help="do not hide makers' names in replies, only list them"
    )
    one.add_argument(
        "--names",
        nargs="+",
        default=[],
        metavar="NAME",
        help="what else to hide, such as a name taught in training",
    )

    one = commands.add_parser("gather", help="ask a served model all cases and keep its replies")
    one.add_argument("--url", required=True, help="OpenAI-compatible root, such as http://127.0.0.1:8000/v1")
    one.add_argument("--served-name", required=True, metavar="NAME")
    one.add_argument("--model", required=True, metavar="ROW", help="the row's name in the matrix")
    one.add_argument("--variant", default="tuned", choices=("base", "tuned"))
    one.add_argument("--cases", type=Path, metavar="FILE", help="default: the shipped cases")
    one.add_argument("--out", type=Path, required=True, metavar="FILE")

    one = commands.add_parser("ask", help="let a judge model score a study by the same rubric")
    one.add_argument("--store", type=Path, default=STORE, metavar="FILE")
    one.add_argument("--study", type=Path, required=True, metavar="FILE")
    one.add_argument("--url", required=True, help="OpenAI-compatible root of the judge")
    one.add_argument("--model", required=True, metavar="NAME", help="the judge's served name")
    one.add_argument(
        "--api-key-env", default="", metavar="NAME", help="environment variable that holds the key"
    )
    one.add_argument("--repeats", type=int, default=2, help="how often each reply is scored (default 2)")
    one.add_argument(
        "--no-pairs", action="store_true", help="leave out the pairwise comparison in both orders"
    )

    one = commands.add_parser("results", help="print the results of a study as JSON (names revealed)")
    one.add_argument("--store", type=Path, default=STORE, metavar="FILE")
    one.add_argument("--id", metavar="STUDY", help="default: the newest study")

    one = commands.add_parser("export", help="write all judgements as CSV")
    one.add_argument("--store", type=Path, default=STORE, metavar="FILE")
    one.add_argument("--out", type=Path, required=True, metavar="FILE")
    return main


def _serving(main: argparse.ArgumentParser) -> None:
    main.add_argument("--store", type=Path, default=STORE, metavar="FILE", help=f"default {STORE}")
    main.add_argument(
        "--study", type=Path, metavar="FILE", help="the study to score (default: the newest in the store)"
    )
    main.add_argument("--host", default="127.0.0.1")
    main.add_argument("--port", type=int, default=7860)
    main.add_argument(
        "--raters", type=Path, metavar="FILE", help=f"who may sign in (default {RATERS} where it exists)"
    )
    main.add_argument(
        "--services", nargs="+", default=[], metavar="NAME=URL", help="served models for the chat tab"
    )
    main.add_argument(
        "--results", action="store_true", help="without sign-in: show the results to whoever opens the page"
    )


def serve(options: argparse.Namespace) -> None:
    """Serve the page until it is interrupted.

    Raises:
        RatingError: an address others can reach without anybody signing in, or a service that cannot be read.
    """
    raters = _raters(options)
    services = dict(_service(each) for each in options.services)
    store = RatingStore(options.store)
    if options.study:
        store.add_study(read_study(options.study))
    if not options.study:
        add_newest(store, Workspace(options.store.absolute().parents[1]))
    study_id = read_study(options.study).study_id if options.study else next(reversed(store.studies()), None)

    import uvicorn

    from judge.app import Settings
    from judge.app import serve as application

    settings = Settings(store, study_id, raters, services, options.results)
    page = application(settings, only_loopback=options.host in LOOPBACK)
    who = f"sign-in: {len(raters.names)} raters" if raters else "nobody signs in (this machine only)"
    print(f"judge: http://{options.host}:{options.port}  study: {study_id or 'none'}  {who}", flush=True)
    uvicorn.run(page, host=options.host, port=options.port, log_level="warning", timeout_graceful_shutdown=5)


def add_newest(store: RatingStore, workspace: Workspace) -> None:
    """Make a study of the replies that the last run gathered (tuned where there is one), unless it is there."""
    gathered = {path.parent.parent.name: path for path in sorted(workspace.models.glob("*/replies/*.jsonl"))}
    if not gathered:
        return
    content = "".join(path.read_text(encoding="utf-8") for path in gathered.values())
    name = f"replies-{digest([list(gathered), content])[:8]}"
    if name not in store.studies():
        store.add_study(build_study(read_replies(gathered.values()), load_cases(), study_id=name))


def _raters(options: argparse.Namespace) -> Raters | None:
    path = options.raters or (RATERS if RATERS.exists() else None)
    raters = Raters(path) if path else None
    if raters is not None and not raters.names:
        raise RatingError(
            f"{path}: nobody may sign in yet; run `python -m judge add-rater NAME --raters {path}`"
        )
    if raters is None and options.host not in LOOPBACK:
        raise RatingError(
            f"--host {options.host}: others could reach the page and nobody signs in; add raters first "
            "(`python -m judge add-rater NAME`) or leave the host at 127.0.0.1"
        )
    return raters


def _service(text: str) -> tuple[str, str]:
    name, _, url = text.partition("=")
    if not name or not url.startswith(("http://", "https://")):
        raise RatingError(
            f"--services {text!r}: wanted NAME=URL, such as qwen2.5-7b-sft=http://127.0.0.1:8000/v1"
        )
    return name, url


def add_rater(options: argparse.Namespace) -> None:
    """Add a rater to the file, with a password from the prompt or stdin."""
    if sys.stdin.isatty():
        password = getpass.getpass(f"Password for {options.name}: ")
        if getpass.getpass("Again: ") != password:
            raise RatingError("the two passwords differ; nothing was changed")
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    Raters(options.raters).add(options.name, password, owner=options.owner)
    print(f"{options.name} may sign in ({options.raters})")


def study(options: argparse.Namespace) -> None:
    """Build a study file, readable by its owner only: it holds the models' names."""
    built = build_study(
        read_replies(options.replies),
        load_cases(options.cases),
        study_id=options.id or options.out.stem,
        title=options.title,
        layout=options.layout,
        seed=options.seed,
        repeat_share=options.repeats,
        hide=not options.keep_names,
        names=options.names,
    )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.touch(mode=0o600)
    options.out.write_text(built.to_json(), encoding="utf-8")
    named = sum(bool(reply.found) for reply in built.replies)
    print(f"{options.out}: {len(built.cases)} cases x {len(built.subjects)} subjects")
    print(f"{len(built.screens(0))} screens per rater, layout {built.layout}")
    print(f"{named} replies name a maker; {len(built.missing)} replies are missing")


def gather(options: argparse.Namespace) -> None:
    """Gather the replies of one served model."""
    cases = load_cases(options.cases)
    replies = ask_all(
        options.url, options.served_name, cases, options.out, model=options.model, variant=options.variant
    )
    found = Counter(reply.status for reply in replies)
    print(f"{options.out}: {', '.join(f'{count} {status}' for status, count in sorted(found.items()))}")


def ask(options: argparse.Namespace) -> None:
    """Let a judge model score a study, and say whether it may be believed."""
    store, asked = RatingStore(options.store), read_study(options.study)
    judge = JudgeModel(options.url, options.model, options.api_key_env)
    print("scores:", score_replies(store, asked, judge, repeats=options.repeats))
    if not options.no_pairs:
        print("pairs:", compare_replies(store, asked, judge))
    for entry in judged_by_model(store, asked.study_id):
        if entry["judge"] == judge.judge_id:
            print("calibrated" if entry["calibrated"] else f"not calibrated: {entry['why']}")


def results(options: argparse.Namespace) -> None:
    """Print the summary of a study."""
    store = RatingStore(options.store)
    study_id = options.id or next(reversed(store.studies()), "")
    print(json.dumps(summarise(store, study_id), ensure_ascii=False, indent=1))


def export(options: argparse.Namespace) -> None:
    """Write the judgements as CSV."""
    RatingStore(options.store).export_csv(options.out)
    print(options.out)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 2 when it was refused."""
    options = parser().parse_args(arguments)
    commands = {
        None: serve,
        "add-rater": add_rater,
        "gather": gather,
        "study": study,
        "ask": ask,
        "results": results,
        "export": export,
    }
    try:
        commands[options.command](options)
    except BakeoffError as error:
        print(f"judge: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
