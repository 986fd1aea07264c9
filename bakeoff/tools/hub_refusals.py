"""Why a hub gives nothing: what its library's errors mean, in words."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path

from bakeoff.foundation.texts import printable
from bakeoff.tools.hubs import MAIN, TITLES, TOKENS, Source, gib


class Refused(Exception):
    """The hub cannot give what was asked; :attr:`kind` says why in a word, the message in a sentence."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def gated(source: Source, page: str, has_token: bool) -> str:
    """What to do about a repository that not everybody may read."""
    token = TOKENS[source.hub]
    if has_token:
        return (
            f"{source.id} is gated or private, and the account of the token in {token} has no access to it: accept its "
            f"terms at {page} with that account, or put another account's token into .env as {token}"
        )
    return (
        f"{source.id} is gated or private, and there is no token: accept its terms at {page} with your account of "
        f"{TITLES[source.hub]}, and put a token of it into .env as {token}=…"
    )


def unsendable(token: str) -> str:
    """What to do about a token that no request can carry."""
    return f"{token} holds characters that no HTTP header can carry; put the token itself into .env, or take it out"


def no_revision(source: Source, names: Sequence[str]) -> str:
    """Which revision was meant, perhaps."""
    is_hash = re.fullmatch(r"[0-9A-Fa-f]{7,}", source.branch)
    alike = get_close_matches(source.branch, names, 3, 0.5) or ([] if is_hash else list(names[:10]))
    words = (
        f"; is it {' or '.join(map(repr, alike))}?"
        if alike
        else "; a commit is given in full (40 digits, in small letters)"
    )
    default = f" (its main branch may not be called {MAIN[source.hub]!r})" if not source.revision else ""
    return f"{source.id} of {TITLES[source.hub]} has no revision {source.branch!r}{default}{words}"


def no_repository(source: Source, page: str, has_token: bool) -> str:
    """What may be wrong with an id."""
    other = "take 'use_hf' out" if source.hub == "huggingface" else "say 'use_hf: true'"
    token = "" if has_token else f", or it is private and needs a token in .env as {TOKENS[source.hub]}"
    return (
        f"{TITLES[source.hub]} has no {source.kind} {source.id} ({page}){token}; correct the id, or {other} where the "
        "other hub has it"
    )


def spoiled(source: Source, name: str, tries: int) -> str:
    """What to do about a file that comes otherwise than the hub lists it."""
    return (
        f"{source.id}: {name} came {tries} times with another content than {TITLES[source.hub]} lists for it (its "
        "SHA-256 differs): a proxy or a mirror in between changes it; fetch it another way, or ask who runs the mirror"
    )


def too_large(source: Source) -> str:
    """What to tell of a file that went on after its end."""
    return (
        f"{source.id}: {TITLES[source.hub]} sends a file that is larger than it lists; not read on. A proxy or a "
        "mirror in between may be at fault: fetch it another way, or ask who runs the mirror"
    )


def refuse_outside(source: Source, paths: Iterable[str]) -> None:
    """Raise Refused where one of *paths* would leave its repository's folder."""
    for path in paths:
        parts = path.replace("\\", "/").split("/")
        if (
            ".." in parts
            or "" in parts[:-1]
            or re.match(r"[A-Za-z]:|~", path)
            or re.search(r"[\x00-\x1f]", path)
        ):
            raise Refused(
                "outside",
                f"{source} lists a file {printable(repr(path))}, which would be written outside of its folder or has a "
                "name that not every system allows; nothing is fetched",
            )


def refused_for(source: Source, status: int, reason: str, page: str) -> str:
    """What a hub's refusal says that is none of the usual ones."""
    return f"{TITLES[source.hub]} refuses {source.id} with HTTP {status} {reason}".rstrip() + f" ({page})"


def no_room(source: Source, lacking: int, free: int, folder: Path) -> str:
    """What to do about a disk that is too small."""
    name = "HF_HOME" if source.hub == "huggingface" else "MODELSCOPE_CACHE"
    return (
        f"{source.id} needs {gib(lacking)} more, and {folder} has {gib(free)} free; make room and run again (what has "
        f"come so far is kept), or point {name} at a larger disk"
    )


def no_cache(source: Source, error: OSError) -> str:
    """What to do about a cache that cannot be written."""
    name = "HF_HOME" if source.hub == "huggingface" else "MODELSCOPE_CACHE"
    return f"{source.id}: {error.filename}: {error.strerror}; see to it, or point {name} at another folder"


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it stands for, and what it came from."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        cause = waiting.pop()
        if cause is None or id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        waiting += [cause.__cause__, cause.__context__, *getattr(cause, "failed_files", {}).values()]


def error_number(error: BaseException) -> int:
    """Return the number of the system's error behind *error*.

    0 for none; a full disk comes first.
    """
    numbers = [cause.errno for cause in causes(error) if isinstance(cause, OSError) and cause.errno]
    return next((n for n in numbers if n in (errno.ENOSPC, errno.EDQUOT)), numbers[0] if numbers else 0)


_CUT = (
    "Connect",
    "Connection",
    "Timeout",
    "Protocol",
    "Read",
    "Network",
    "Incomplete",
    "Chunked",
    "SSL",
    "Proxy",
)


def may_pass(error: BaseException) -> bool:
    """Return whether trying again may help.

    The network was away, or the hub had a moment.
    """
    for cause in causes(error):
        name = type(cause).__name__
        if any(word in name for word in _CUT) or "Consistency check failed" in str(cause):
            return True
        status = getattr(getattr(cause, "response", None), "status_code", None) or getattr(
            cause, "status_code", None
        )
        if status in (408, 429, 500, 502, 503, 504):
            return True
    return False


def asked_to_wait(error: BaseException) -> float | None:
    """Return after how many seconds a busy hub wants to be asked again.

    0 where it does not say when; None where it is not busy.
    """
    for cause in causes(error):
        response = getattr(cause, "response", None)
        status = getattr(response, "status_code", None) or getattr(cause, "status_code", None)
        after = str((getattr(response, "headers", None) or {}).get("Retry-After") or "").strip()
        if status == 429 or (status == 503 and after):
            return float(after) if re.fullmatch(r"\d+(?:\.\d+)?", after) else 0.0
    return None
