"""``python -m judge``: the page, its raters, studies and results."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bakeoff.endpoint.address import LOOPBACK
from bakeoff.foundation.errors import BakeoffError, RatingError
from bakeoff.foundation.helps import localize
from bakeoff.foundation.secrecy import load_env_file
from bakeoff.foundation.terminal import complain, is_chinese, localized, tell
from bakeoff.foundation.workspace import Workspace
from bakeoff.judgement import spoken
from bakeoff.judgement.arrangement import current_study, open_study
from bakeoff.judgement.blind import Presentation, Study, build_study, read_study
from bakeoff.judgement.judge_model import JudgeModel, Tally, compare_replies, probe_planted, score_replies
from bakeoff.judgement.judged import judged_by_model
from bakeoff.judgement.raters import Raters
from bakeoff.judgement.ratings import RatingStore
from bakeoff.judgement.replies import Reply, Respondent, load_cases, read_replies
from bakeoff.judgement.replies import gather as ask_all
from bakeoff.judgement.rubric import DIMENSIONS
from bakeoff.judgement.soundness import doubts_of, doubts_of_study
from bakeoff.judgement.studio import Material
from bakeoff.judgement.verdicts import summarise
from bakeoff.matrix.loading import load_matrix
from bakeoff.matrix.schema import VARIANTS
from bakeoff.runs.judging import ask_deployed, gathered_replies, gathered_study
from bakeoff.runs.runs import new_id
from bakeoff.statistics.study import outlook
from judge.options import RATERS, parser
from judge.owner_commands import erase, invite, paper, store_at

if TYPE_CHECKING:
    from bakeoff.chain.deployment import Deployment

_ASKINGS = {"scores": spoken.SCORES, "pairs": spoken.PAIRS}


def serve(options: argparse.Namespace) -> None:
    """Serve the page until it is interrupted.

    Raises:
        RatingError: an address others can reach without anybody signing in, or a service that cannot be read.
    """
    raters = _raters(options)
    services = dict(_service(each) for each in options.services)
    store = RatingStore(options.store)
    study_id = _study(store, options)
    with _deployed(options, options.models) as deployed:
        import uvicorn

        from judge.app import Settings
        from judge.app import serve as application
        from judge.patience import PatientProtocol

        running = [deployment.service() for deployment in deployed]
        services |= {service.served_name: service.url for service in running}
        keys = {service.served_name: service.key_env for service in running if service.key_env}
        settings = Settings(
            store,
            study_id,
            raters,
            services,
            keys,
            options.results,
            options.root_path,
            options.name,
            _material(options),
            _reviving({deployment.served_name: deployment for deployment in deployed}),
        )
        page = application(settings, only_loopback=options.host in LOOPBACK)
        tell(
            spoken.SERVING(
                address=f"http://{options.host}:{options.port}",
                study=study_id or spoken.NO_STUDY(),
                who=spoken.SIGN_IN(count=len(raters.names)) if raters else spoken.OPEN(),
            )
        )
        uvicorn.run(
            page,
            host=options.host,
            port=options.port,
            http=PatientProtocol,
            log_level="warning",
            timeout_graceful_shutdown=5,
            proxy_headers=False,  # the guard reads them
            server_header=False,
        )


def _study(store: RatingStore, options: argparse.Namespace) -> str | None:
    """The id of the study that *options* mean, added to the store."""
    if not options.study:
        workspace = Workspace(options.store.absolute().parents[1])
        return add_newest(store, workspace, options) or next(reversed(store.studies()), None)
    study = read_study(options.study)
    store.add_study(study)
    if current_study(store) not in (None, study.study_id):
        open_study(store, study.study_id, "--study")
    return study.study_id


def add_newest(store: RatingStore, workspace: Workspace, options: argparse.Namespace) -> str | None:
    """The id of the study of the last run's replies, now in the store.

    None where it gathered nothing.
    """
    study = gathered_study(_gathered(workspace, options), options.layout, _cases_file(options))
    if study:
        store.add_study(study)
    return study.study_id if study else None


def _cases_file(options: argparse.Namespace) -> Path | None:
    """The file of cases that a run asks; None for the shipped ones."""
    chosen: Path | None = getattr(options, "cases", None)
    return chosen or (load_matrix(options.matrix).cases_file if options.matrix.exists() else None)


def _gathered(workspace: Workspace, options: argparse.Namespace) -> list[Reply]:
    rows = load_matrix(options.matrix).models if options.matrix.exists() else None
    replies, left_out = gathered_replies(workspace, rows, options.variants, _cases_file(options))
    for reason in left_out:
        tell(spoken.LEFT_OUT(why=reason), to=sys.stderr)
    return replies


def _material(options: argparse.Namespace) -> Callable[[], Material]:
    """What the studio can make studies of, read anew each time.

    All variants of the rows of the matrix.
    """
    workspace = Workspace(options.store.absolute().parents[1])

    def read() -> Material:
        rows = load_matrix(options.matrix).models if options.matrix.exists() else None
        cases_file = _cases_file(options)
        replies, left_out = gathered_replies(workspace, rows, VARIANTS, cases_file)
        return Material(replies, load_cases(cases_file), left_out)

    return read


@contextlib.contextmanager
def _deployed(options: argparse.Namespace, subjects: Sequence[str]) -> Iterator[list[Deployment]]:
    """Rows of the matrix behind services, until the block ends."""
    if not subjects:
        yield []
        return
    from bakeoff.chain.deployment import deployments

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was deployed is ended, too
    workspace = Workspace(options.store.absolute().parents[1])
    with deployments(load_matrix(options.matrix), subjects, workspace, new_id()) as rows:
        for row in rows:
            tell(spoken.STARTING(row=row.served_name), to=sys.stderr)
            row.service()
        yield rows


def _reviving(deployed: Mapping[str, Deployment]) -> Callable[[str], bool]:
    """What revives a deployed model, and says whether to ask it again."""

    def revive(model: str) -> bool:
        try:
            return model in deployed and deployed[model].revive()
        except BakeoffError as error:
            complain(error, f"judge: {model}: ", most=2000)
            return False

    return revive


def _raters(options: argparse.Namespace) -> Raters | None:
    path = options.raters or (RATERS if RATERS.exists() else None)
    raters = Raters(path) if path else None
    if raters is not None and not raters.names:
        raise RatingError(
            f"{path}: nobody may sign in yet; run `python -m judge add-rater NAME --raters {path}`",
            f"{path}：还没有人可以登录；请先运行 `python -m judge add-rater NAME --raters {path}`",
        )
    if raters is None and options.host not in LOOPBACK:
        raise RatingError(
            f"--host {options.host}: others could reach the page and nobody signs in; add raters first "
            "(`python -m judge add-rater NAME`) or leave the host at 127.0.0.1",
            f"--host {options.host}：其他人可以打开页面而无需登录；"
            "请先添加评分者（`python -m judge add-rater NAME`），或让主机保持 127.0.0.1",
        )
    return raters


def _service(text: str) -> tuple[str, str]:
    name, _, url = text.partition("=")
    if not name or not url.startswith(("http://", "https://")):
        raise RatingError(
            f"--services {text!r}: wanted NAME=URL, such as qwen2.5-7b-sft=http://127.0.0.1:8000/v1",
            f"--services {text!r}：格式应为 NAME=URL，例如 qwen2.5-7b-sft=http://127.0.0.1:8000/v1",
        )
    return name, url


def add_rater(options: argparse.Namespace) -> None:
    """Add a rater to the file, with a password from the prompt or stdin."""
    is_owner = Raters(options.raters).add(options.name, _password(options.name), owner=options.owner)
    tell((spoken.MAY_SEE if is_owner else spoken.MAY_SIGN_IN)(name=options.name, file=options.raters))


def reset(options: argparse.Namespace) -> None:
    """Give a rater who is there a new password."""
    raters = Raters(options.raters)
    if options.name not in raters.names:
        raise RatingError(
            f"{options.raters}: no rater {options.name!r}; there are: {', '.join(raters.names) or 'none'}",
            f"{options.raters}：没有评分者 {options.name!r}；现有：{'、'.join(raters.names) or '无'}",
        )
    raters.add(options.name, _password(options.name))
    tell(spoken.NEW_PASSWORD(name=options.name, file=options.raters))


def remove_rater(options: argparse.Namespace) -> None:
    """Take a rater out of the file; what they scored stays."""
    Raters(options.raters).remove(options.name)
    tell(spoken.REMOVED(name=options.name, file=options.raters))


def _password(name: str) -> str:
    """A password from the prompt, typed twice, or from stdin."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password = getpass.getpass(localized(spoken.PASSWORD(name=name)))
    if getpass.getpass(localized(spoken.AGAIN())) != password:
        raise RatingError("the two passwords differ; nothing was changed", "两次输入的密码不同；未作任何更改")
    return password


def study(options: argparse.Namespace) -> None:
    """Build a study file, which names the models: its owner alone reads it."""
    if options.replies:
        replies = read_replies(options.replies)
    else:
        replies = _gathered(Workspace(options.store.absolute().parents[1]), options)
    built = build_study(
        replies,
        load_cases(_cases_file(options)),
        Presentation(
            layout=options.layout,
            seed=options.seed,
            repeat_share=options.repeats,
            hide=not options.keep_names,
            names=tuple(options.names),
        ),
        study_id=options.id or options.out.stem,
        title=options.title,
    )
    counselling = sum(not case.crisis for case in built.cases)
    expected = outlook(
        counselling,
        len(built.subjects),
        raters=options.expect_raters,
        dimensions=len(DIMENSIONS),
        difference=options.difference,
    )
    if expected.is_hopeless and not options.pilot:
        raise RatingError(
            f"study: nothing could come out of it. {expected.words[0]}; build it with --pilot to try the form out",
            f"这样的研究不可能得出结论。{expected.words[1]}；如只想试用评分页面，请加 --pilot",
        )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(options.out, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="utf-8") as file:
        if options.out.is_file():
            os.fchmod(file.fileno(), 0o600)  # before the names are in it, also where the file was there
        file.truncate()
        file.write(built.to_json())
    named = sum(bool(reply.found) for reply in built.replies)
    tell(spoken.STUDY(file=options.out, cases=len(built.cases), models=len(built.subjects)))
    tell(spoken.SCREENS(screens=len(built.screens(0)), layout=built.layout))
    print(expected.words[is_chinese()])
    tell(spoken.NAMED(named=named, missing=len(built.missing)))
    for subject, why in doubts_of_study(built).items():
        tell(spoken.DOUBT(subject=subject, why=why), to=sys.stderr)


def gather(options: argparse.Namespace) -> int:
    """Gather the replies of one served model; 1 where a case got none."""
    cases = load_cases(options.cases)
    respondent = Respondent(
        url=options.url, name=options.served_name, model=options.model, variant=options.variant
    )
    replies = ask_all(respondent, cases, options.out)
    counts = Counter(reply.status for reply in replies)
    by_state = [spoken.STATES[status](count=count) for status, count in sorted(counts.items())]
    tell(spoken.GATHERED(file=options.out, counts=by_state))
    if why := doubts_of(replies, cases):
        tell(spoken.DOUBT(subject=f"{options.model}/{options.variant}", why=why), to=sys.stderr)
    if counts["errored"]:
        tell(spoken.SOME_LACK(), to=sys.stderr)
    return int(counts["errored"] > 0)


def ask(options: argparse.Namespace) -> int:
    """Let a judge model score a study, and say whether it may be believed.

    Returns:
        1 where a verdict is still lacking.
    """
    if bool(options.row) == bool(options.url and options.model):
        raise RatingError(
            "ask: give the judge either as --row ROW, or as --url URL and --model NAME",
            "ask：请用 --row ROW 指定评审模型，或用 --url URL 加 --model NAME",
        )
    store = RatingStore(options.store)
    study_id = _study(store, options)
    if study_id is None:
        raise RatingError(
            f"{options.store}: no study here and no replies of a run; run `pytest -m judge` first",
            f"{options.store}：没有研究，也没有运行留下的回复；请先运行 `pytest -m judge`",
        )
    rated_study = store.study(study_id)
    with _deployed(options, [options.row] if options.row else []) as deployed:
        judge = JudgeModel(options.url, options.model, options.api_key_env, options.max_tokens)
        if deployed:
            (deployment,) = deployed
            judge = JudgeModel(
                "", deployment.served_name, "", options.max_tokens, weights=deployment.fingerprint
            )
            tallies = ask_deployed(
                deployment, judge, lambda judge: _asked(store, rated_study, judge, options)
            )
        else:
            tallies = _asked(store, rated_study, judge, options)
    for name, tally in tallies.items():
        tell(spoken.TALLIED(what=_ASKINGS[name](), tally=tally.words))
    for entry in judged_by_model(store, study_id):
        if entry["judge"] == judge.judge_id:
            why = entry["why_zh" if is_chinese() else "why"]
            tell(spoken.CALIBRATED() if entry["calibrated"] else spoken.UNCALIBRATED(why=why))
    return int(any(tally.failed for tally in tallies.values()))


def _asked(
    store: RatingStore, study: Study, judge: JudgeModel, options: argparse.Namespace
) -> dict[str, Tally]:
    """Let *judge* give the lacking verdicts; how each kind of asking ended."""
    judge.probe()
    tallies = {
        "scores": score_replies(store, study, judge, repeats=options.repeats, progress=_telling("scores"))
    }
    probe_planted(store, study, judge)
    if not options.no_pairs:
        tallies["pairs"] = compare_replies(store, study, judge, progress=_telling("pairs"))
    return tallies


def _telling(what: str) -> Callable[[int, int], None]:
    """Tells about ten times how far the asking is."""

    def progress(done: int, count: int) -> None:
        if done == count or done % max(1, count // 10) == 0:
            tell(spoken.HOW_FAR(what=_ASKINGS[what](), done=done, count=count), to=sys.stderr)

    return progress


def results(options: argparse.Namespace) -> None:
    """Print the summary of a study."""
    store = store_at(options.store)
    study_id = options.id or next(reversed(store.studies()), "")
    print(json.dumps(summarise(store, study_id), ensure_ascii=False, indent=1))


def export(options: argparse.Namespace) -> None:
    """Write the judgements as CSV."""
    store = store_at(options.store)
    if options.id:
        store.study(options.id)
    store.export_csv(options.out, options.id)
    print(options.out)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command: 0; 1: something is still lacking; 2: it was refused."""
    options = localize(parser()).parse_args(arguments)
    commands: dict[str | None, Callable[[argparse.Namespace], int | None]] = {
        None: serve,
        "add-rater": add_rater,
        "reset": reset,
        "remove-rater": remove_rater,
        "invite": invite,
        "erase": erase,
        "paper": paper,
        "gather": gather,
        "study": study,
        "ask": ask,
        "results": results,
        "export": export,
    }
    try:
        load_env_file(Path(".env"))
        return commands[options.command](options) or 0
    except BakeoffError as error:
        complain(error, "judge: ")
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
