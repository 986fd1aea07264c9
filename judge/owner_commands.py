"""Invitations, erasure and the paper pack on the command line."""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path

from bakeoff.foundation.errors import RatingError
from bakeoff.foundation.terminal import tell
from bakeoff.judgement import spoken
from bakeoff.judgement.erasure import erase_identity, erase_judgements
from bakeoff.judgement.invitations import MOST_AT_ONCE, Invitations, link
from bakeoff.judgement.raters import Raters
from bakeoff.judgement.ratings import RatingStore


def store_at(path: Path) -> RatingStore:
    """The store at *path*, which must be there: reading makes none."""
    if not path.is_file():
        raise RatingError(
            f"{path}: no store of judgements here; give the right --store",
            f"{path}：没有评分数据库；请用 --store 指定",
        )
    return RatingStore(path)


def invite(options: argparse.Namespace) -> None:
    """Print a link per invitation; each is shown this once."""
    invitations = Invitations(Raters(options.raters))
    link(options.url, "")  # a wrong address is told before anybody is invited
    labels = list(options.label)
    count = max(options.count, len(labels))
    if not 0 < count <= MOST_AT_ONCE:
        raise RatingError(
            f"--count {count} is outside 1..{MOST_AT_ONCE}", f"--count {count} 不在 1 到 {MOST_AT_ONCE} 之间"
        )
    if options.again:
        invited = [invitations.again(options.again, options.days)]
    else:
        labels += [""] * (count - len(labels))
        invited = [invitations.invite(options.study, label, options.days) for label in labels]
    for each in invited:
        until = datetime.fromtimestamp(each.expires).isoformat(" ", "minutes")
        tell(spoken.INVITED(rater=each.rater, link=link(options.url, each.token), until=until))


def erase(options: argparse.Namespace) -> None:
    """Erase an identity, or everything of a rater, and say what went."""
    store, raters = store_at(options.store), Raters(options.raters)
    work = erase_judgements if options.judgements else erase_identity
    erased = work(store, options.rater, raters)
    tell((spoken.ALL_ERASED if options.judgements else spoken.IDENTITY_ERASED)(called=erased.called))
    tell(spoken.ERASED(judgements=erased.judgements, studies=list(erased.studies) or spoken.NO_STUDY()))
    tell(spoken.COPIES())


def paper(options: argparse.Namespace) -> None:
    """Write the paper pack of a study into a folder."""
    from bakeoff.judgement.paper import newest_scored, write_pack

    store = store_at(options.store)
    study_id = options.id or newest_scored(store)
    for path in write_pack(store, study_id, options.out):
        print(path)
