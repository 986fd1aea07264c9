"""Ask a hub for a commit, or fetch its files, as a program.

``python -m bakeoff.tools.hub_client``.

The hubs' own libraries do the work and keep their own caches, so that what was fetched before is not fetched again. A
token comes from the environment or from a login, never from the line. What cannot be done is written into ``--out`` in
words; a connection that was cut ends with exit code 1, because trying again takes up where it stopped.
"""

from __future__ import annotations

import argparse
import errno
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from bakeoff.foundation.files import write_json
from bakeoff.foundation.secrecy import redact
from bakeoff.tools.hub_bounds import files_up_to, memory_for_a_listing
from bakeoff.tools.hub_listings import Listing
from bakeoff.tools.hub_refusals import (
    Refused,
    asked_to_wait,
    error_number,
    may_pass,
    no_cache,
    no_room,
    too_large,
    unsendable,
)
from bakeoff.tools.hub_sites import HuggingFace, ModelScope, say
from bakeoff.tools.hubs import (
    TITLES,
    TOKENS,
    Answer,
    Source,
    find_cached,
    gib,
    link_snapshot,
    offline,
    repository_folder,
)

REPORT_S = 1.0
"""How often the log is told how far the download is, while it moves."""


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


class Reporter:
    """Tells the log how many bytes are here, once a second while more come."""

    def __init__(self, here: Callable[[], int], total: int) -> None:
        self.here = here
        self.total = total
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Reporter:
        self.began, self.first, self.last = time.monotonic(), self.here(), -1
        self._tell()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._tell()

    def _follow(self) -> None:
        while not self._done.wait(REPORT_S):
            self._tell()

    def _tell(self) -> None:
        here = self.here()
        if here == self.last:
            return
        self.last = here
        share = here / self.total if self.total else 1.0
        words = f"{gib(here)} of {gib(self.total)} ({share:.0%})"
        seconds = time.monotonic() - self.began
        if here > self.first and seconds > 0:
            speed = (here - self.first) / seconds
            words += f", {gib(speed)}/s"
            if here < self.total:
                words += f", about {max((self.total - here) / speed / 60, 0.1):.1f} min left"
        say(words)


def answer(verb: str, source: Source, commit: str = "") -> Answer:
    """What is written into ``--out``.

    Raises:
        Refused: the hub cannot give it, or there is no room.
        Exception: the connection was cut.
    """
    if not os.environ.get(token := TOKENS[source.hub], "").isascii():
        raise Refused("no token", unsendable(token))
    hub: HuggingFace | ModelScope = (HuggingFace if source.hub == "huggingface" else ModelScope)(
        source, commit
    )
    with memory_for_a_listing(source):
        listing = _patiently(hub.listing)
    if not listing.files:
        raise Refused("no repository", f"{source} holds no files")
    root = repository_folder(source, os.environ)

    def here() -> int:
        return sum(min(hub.size_here(file), file.size) for file in listing.files)

    lacking, free = listing.size - here(), _free(root)
    facts: Answer = {
        "commit": listing.commit,
        "size": listing.size,
        "lacking": lacking,
        "files": len(listing.files),
    }
    if lacking > free:
        raise Refused("no room", no_room(source, lacking, free, root))
    if verb == "resolve":
        return facts
    say(
        f"{source}: commit {listing.commit}, {len(listing.files)} files, {gib(listing.size)}, {gib(lacking)} to fetch"
    )
    try:
        with Reporter(here, listing.size), files_up_to(max(file.size for file in listing.files)):
            folder = hub.fetch(listing)
    except Exception as error:
        if error_number(error) == errno.EFBIG:
            raise Refused("endless", too_large(source)) from None
        if error_number(error) in (errno.ENOSPC, errno.EDQUOT):
            raise Refused("no room", no_room(source, listing.size - here(), _free(root), root)) from None
        raise
    hub.note(listing.commit)
    lost = [file.path for file in listing.files if not (folder / file.path).is_file()]
    if lost:
        raise ConnectionError(f"Connection aborted before {', '.join(lost[:3])} had come")
    return {**facts, "folder": str(folder), "sha256": {f.path: f.sha256 for f in listing.files if f.sha256}}


_TRIES = 6
_LONGEST_WAIT_S = 60.0


def _patiently(work: Callable[[], Listing]) -> Listing:
    """Return what *work* returns, asked again while the hub is busy.

    Raises:
        Exception: what *work* raises otherwise, or at last.
    """
    for attempt in range(1, _TRIES + 1):
        try:
            return work()
        except Refused:
            raise
        except Exception as error:
            wait_s = asked_to_wait(error)
            if wait_s is None or wait_s > _LONGEST_WAIT_S or attempt == _TRIES:
                raise
            wait_s = wait_s or 2.0 ** (attempt - 1)
            say(f"the hub is busy ({type(error).__name__}); asked again in {wait_s:g} s")
            time.sleep(wait_s)
    raise AssertionError("the last attempt returns or raises")


def main(argv: list[str]) -> int:
    """Do what the line says; exit code 1 where trying again may help."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("verb", choices=["resolve", "download"])
    options.add_argument("hub", choices=list(TITLES))
    options.add_argument("kind", choices=["model", "dataset"])
    options.add_argument("id")
    options.add_argument(
        "--revision", default="", help="branch, tag or commit; the main branch where it is left out"
    )
    options.add_argument(
        "--commit", default="", help="the commit to fetch, where its branch may have moved since"
    )
    options.add_argument(
        "--link", type=Path, help="a folder to fill with links to the files that were fetched"
    )
    options.add_argument("--out", type=Path, help="receives the answer as JSON")
    options_given = options.parse_args(argv)
    source = Source(options_given.hub, options_given.kind, options_given.id, options_given.revision)
    result = _from_cache(source, options_given) if offline(source.hub, os.environ) else None
    try:
        result = result or answer(options_given.verb, source, options_given.commit)
    except Refused as error:
        result = {"error": error.kind, "message": redact(str(error))}
    except Exception as error:
        if may_pass(error):
            say(_away(source, error))
            if not (result := _from_cache(source, options_given)):
                return 1
        elif isinstance(error, OSError) and error.filename:
            result = {"error": "no cache", "message": redact(no_cache(source, error))}
        else:
            raise
    if options_given.link and "folder" in result:
        link_snapshot(Path(result["folder"]), options_given.link, code=options_given.kind == "model")
        result["folder"] = str(options_given.link)
    if options_given.out:
        write_json(options_given.out, result)
    if message := result.get("message"):
        say(message)
        return 0 if options_given.out else 2
    say(f"{result.get('folder') or result['commit']}")
    return 0


def _from_cache(source: Source, options: argparse.Namespace) -> Answer | None:
    """Return a whole snapshot in the cache, for a line without a commit."""
    if options.verb != "download" or options.commit or not (cached := find_cached(source, os.environ)):
        return None
    say(f"{source}: taken from the cache without asking the hub")
    return {"commit": cached.commit, "folder": str(cached.folder)}


def _away(source: Source, error: BaseException) -> str:
    what = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return f"ConnectionError: {TITLES[source.hub]} was not reached or the connection was cut: {what}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
