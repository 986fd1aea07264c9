"""Who may sign in to the judge: names with salted scrypt hashes.

One file that only its owner can read.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import hmac
import json
import os
import re
import secrets
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Required, TypedDict, cast

from bakeoff.foundation.errors import RatingError, StoreError
from bakeoff.judgement.submissions import check_rater

MIN_PASSWORD_CHARS = 8
MAX_PASSWORD_CHARS = 1024
MAX_NAME_CHARS = 64
"""Of a name that is tried, kept to count attempts; no name that is known has as many."""
MAX_FAILURES = 5
MAX_ADDRESS_FAILURES = 60
LOCK_S = 60.0
_COST = {"n": 2**15, "r": 8, "p": 1}
_MAX_MEMORY = 64 * 2**20
_DRAFT = re.compile(r"[a-z0-9_]{8}")
"""What tempfile puts behind the name."""

_NOBODY = {"salt": "00" * 16, "scrypt": "00" * 64}


def _hash(password: str, salt: str) -> str:
    secret = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(secret, salt=bytes.fromhex(salt), **_COST, maxmem=_MAX_MEMORY).hex()


class RaterEntry(TypedDict, total=False):
    """What the file holds of somebody: who they are, and how they sign in."""

    owner: bool
    label: str
    study: str
    joined: str
    salt: str
    scrypt: str


class Pass(TypedDict):
    """Whom the token of an invitation or a session lets in, and until when (seconds since 1970)."""

    rater: str
    expires: float


class RatersDocument(TypedDict, total=False):
    """The whole file; invitations and sessions go by the hash of their token."""

    raters: Required[dict[str, RaterEntry]]
    invitations: dict[str, Pass]
    sessions: dict[str, Pass]
    cookie: str


class Attempts:
    """Wrong attempts of the last minute by key: each counts from before it is tried until it proves right."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._moments: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def begin(self, key: str) -> float | None:
        """Note an attempt and return its moment; None where there were too many.

        Then nothing is noted.
        """
        now = time.monotonic()
        with self._lock:
            self._forget(now)
            moments = self._moments.setdefault(key, deque())
            if len(moments) >= self.most:
                return None
            moments.append(now)
            return now

    def is_full(self, key: str) -> bool:
        """Whether the next attempt would be one too many."""
        with self._lock:
            self._forget(time.monotonic())
            return len(self._moments.get(key, ())) >= self.most

    def take_back(self, key: str, moment: float) -> None:
        """The attempt that began at *moment* was right."""
        with self._lock, contextlib.suppress(KeyError, ValueError):
            self._moments[key].remove(moment)

    def clear(self, key: str) -> None:
        """Forget all attempts of *key*."""
        with self._lock:
            self._moments.pop(key, None)

    def _forget(self, now: float) -> None:
        # All keys, not only the one at hand: made-up names must not pile up.
        for key in list(self._moments):
            moments = self._moments[key]
            while moments and now - moments[0] >= LOCK_S:
                moments.popleft()
            if not moments:
                del self._moments[key]


def _document_of(content: object) -> RatersDocument:
    """Return the document that a file holds.

    Raises:
        TypeError, KeyError, ValueError: it is no raters file.
    """
    if not isinstance(content, dict):
        raise TypeError("not an object")
    raters = {str(name): cast(RaterEntry, dict(entry)) for name, entry in content["raters"].items()}
    document = cast(RatersDocument, {**content, "raters": raters})
    for passes in (document.get("invitations", {}), document.get("sessions", {})):
        for each in passes.values():
            float(each["expires"]), str(each["rater"])
    return document


def passes_of_others(passes: dict[str, Pass], name: str) -> dict[str, Pass]:
    """Return the *passes* of everybody but *name*."""
    return {key: each for key, each in passes.items() if each["rater"] != name}


class Raters:
    """The raters file *path*, read anew when it changes, so that somebody can be added while the page runs.

    There is no default password. After five wrong ones for a name within a minute, that name waits a minute, and so
    does an address after sixty. Known, unknown and locked names take alike: one hash each.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._by_name = Attempts(MAX_FAILURES)
        self._by_address = Attempts(MAX_ADDRESS_FAILURES)
        self._cache: tuple[tuple[int, int, int], RatersDocument] | None = None

    def _document(self) -> RatersDocument:
        try:
            state = self.path.stat()
        except FileNotFoundError:
            return {"raters": {}}
        mark, cache = (state.st_mtime_ns, state.st_size, state.st_ino), self._cache
        if cache and cache[0] == mark:
            return cache[1]
        try:
            document = _document_of(json.loads(self.path.read_text(encoding="utf-8")))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise StoreError(
                f"{self.path}: not a raters file ({type(error).__name__}); make one: `python -m judge add-rater NAME`"
            ) from None
        self._cache = (mark, document)
        return document

    def _read(self) -> dict[str, RaterEntry]:
        return self._document()["raters"]

    @property
    def names(self) -> list[str]:
        """Everybody who may sign in."""
        return sorted(self._read())

    def add(self, name: str, password: str, *, owner: bool | None = None) -> bool:
        """Let *name* sign in with *password*; return whether they are an owner.

        A second call replaces the password, and ends sessions and open invitations of that name.

        Args:
            owner: an owner also sees the results; None leaves that as it is, and makes a new rater none.

        Raises:
            RatingError: an impossible name, or a password under eight or over 1,024 characters.
        """
        name = check_rater(name)
        if len(password) < MIN_PASSWORD_CHARS:
            raise RatingError(
                f"rater {name}: the password needs at least {MIN_PASSWORD_CHARS} characters",
                f"评分者 {name}：密码至少 {MIN_PASSWORD_CHARS} 个字符",
            )
        if len(password) > MAX_PASSWORD_CHARS:
            raise RatingError(
                f"rater {name}: the password may have {MAX_PASSWORD_CHARS} characters at most",
                f"评分者 {name}：密码最多 {MAX_PASSWORD_CHARS} 个字符",
            )
        salt = secrets.token_hex(16)
        digest = _hash(password, salt)
        with self.changing() as document:
            before = document["raters"].get(name, RaterEntry())
            is_owner = bool(before.get("owner")) if owner is None else owner
            document["raters"][name] = {**before, "salt": salt, "scrypt": digest, "owner": is_owner}
            self._end_passes(document, name)
        self._by_name.clear(name)
        return is_owner

    def remove(self, name: str) -> None:
        """Let *name* sign in no more; what they scored stays.

        Raises:
            RatingError: nobody has this name.
        """
        with self.changing() as document:
            self.entry(document, name)
            del document["raters"][name]
            self._end_passes(document, name)

    @staticmethod
    def _end_passes(document: RatersDocument, name: str) -> None:
        """Let no link and no lasting session of *name* in any more."""
        document["invitations"] = passes_of_others(document.get("invitations", {}), name)
        document["sessions"] = passes_of_others(document.get("sessions", {}), name)

    def entry(self, document: RatersDocument, name: str) -> RaterEntry:
        """What *document* holds of *name*, to be changed.

        Raises:
            RatingError: nobody has this name.
        """
        raters = document["raters"]
        if name not in raters:
            raise RatingError(
                f"{self.path}: no rater {name!r}; there are: {', '.join(sorted(raters)) or 'none'}",
                f"{self.path}：没有评分者 {name!r}；现有：{'、'.join(sorted(raters)) or '无'}",
            )
        return raters[name]

    @contextlib.contextmanager
    def changing(self) -> Iterator[RatersDocument]:
        """Yield the whole file, to be changed; it is replaced when the block ends.

        Not where the block fails.
        """
        import fcntl

        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(self.path.with_name(f".{self.path.name}.lock"), os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two commands at once must not undo each other
            for draft in self.path.parent.glob(f"{self.path.name}????????"):
                if _DRAFT.fullmatch(draft.name.removeprefix(self.path.name)):
                    draft.unlink(missing_ok=True)  # left by a kill: nobody else writes one now
            document = copy.deepcopy(self._document())
            yield document
            handle, part = tempfile.mkstemp(dir=self.path.parent, prefix=self.path.name)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump(document, file, ensure_ascii=False, indent=1)
                Path(part).replace(self.path)
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    Path(part).unlink()
                raise
            self._cache = None
        finally:
            os.close(lock)

    def is_refused(self, address: str) -> bool:
        """Whether *address* has tried too often for now."""
        return bool(address) and self._by_address.is_full(address)

    def signs_in(self, name: str, password: str, address: str = "") -> bool:
        """Whether *password* is that of *name*.

        False, too, while *name* or *address* has to wait. Slow (one hash) and 32 MiB large: the caller decides how
        many run at once.
        """
        entry = self._read().get(name)
        by_address = self._by_address.begin(address) if address else None
        if address and by_address is None:
            return False
        # Noted before the hash: what is asked meanwhile already counts this attempt.
        by_name = self._by_name.begin(name[:MAX_NAME_CHARS])
        has_password = entry is not None and "scrypt" in entry
        expected = entry if entry is not None and has_password and by_name is not None else _NOBODY
        digest = _hash(password[:MAX_PASSWORD_CHARS], str(expected["salt"]))
        right = hmac.compare_digest(digest, str(expected["scrypt"])) and expected is not _NOBODY
        if not right or len(password) > MAX_PASSWORD_CHARS or self._read().get(name) != entry:
            return False
        if by_name is not None:
            self._by_name.take_back(name[:MAX_NAME_CHARS], by_name)
        if by_address is not None:
            self._by_address.take_back(address, by_address)
        return True

    def mark(self, name: str | None) -> str | None:
        """Return what changes with the password of *name*; None for a stranger.

        It ends with their entry.
        """
        entry = self._read().get(name or "")
        if entry is None:
            return None
        fields = sorted((key, value) for key, value in entry.items() if key in ("salt", "scrypt", "owner"))
        return hashlib.sha256(repr(fields).encode()).hexdigest()

    def entries(self) -> dict[str, RaterEntry]:
        """Name -> what the file holds of everybody."""
        return {name: entry.copy() for name, entry in self._read().items()}

    def invitations(self) -> dict[str, Pass]:
        """Hash of a token -> whom it lets in, and until when."""
        return dict(self._document().get("invitations", {}))

    def sessions(self) -> dict[str, Pass]:
        """Hash of a session's token -> whose it is, and until when."""
        return dict(self._document().get("sessions", {}))

    def cookie_id(self) -> str:
        """What the session's cookie is called; "" where that was never fixed."""
        return str(self._document().get("cookie", ""))

    def study_of(self, name: str | None) -> str | None:
        """The study that *name* was invited to; None where to none in particular."""
        study = self._read().get(name or "", RaterEntry()).get("study")
        return str(study) if study else None

    def is_owner(self, name: str | None) -> bool:
        """Whether *name* may see the results, model names included."""
        return bool(name and self._read().get(name, RaterEntry()).get("owner"))


class Sessions(dict[str, str]):
    """Token -> rater, for as long as the rater's entry in the file is the one that they signed in with.

    Args:
        lasting: looks up a session that outlives the server, such as an invited rater's, by its token.
        end: ends all lasting sessions of a rater.
    """

    def __init__(
        self,
        raters: Raters,
        lasting: Callable[[str], str | None] = lambda _: None,
        end: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__()
        self._raters = raters
        self._lasting = lasting
        self._end = end
        self._marks: dict[str, str | None] = {}

    def __setitem__(self, token: str, name: str) -> None:
        self._marks[token] = self._raters.mark(name)
        super().__setitem__(token, name)

    def get(self, token: str | None, default: str | None = None) -> str | None:  # type: ignore[override]
        """The rater who holds *token*, looked up in the file each time."""
        if token is None:
            return default
        try:
            name = super().get(token)
            if name is None:
                lasting = self._lasting(token)
                if lasting is None:
                    return default
                self[token] = name = lasting
            mark = self._raters.mark(name)
        except StoreError:
            return default  # a damaged file lets nobody in
        return name if mark is not None and mark == self._marks.get(token) else default

    def __delitem__(self, token: str) -> None:
        self._marks.pop(token, None)
        with contextlib.suppress(StoreError):
            self._end(self[token])
        super().__delitem__(token)
