"""Who may sign in to the judge: names with salted scrypt hashes in one file that only its owner can read."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from bakeoff.errors import RatingError, StoreError
from bakeoff.judgement.ratings import check_rater

MIN_PASSWORD_CHARS = 8
MAX_FAILURES = 5
LOCK_S = 60.0
_COST = {"n": 2**15, "r": 8, "p": 1}
_MAX_MEMORY = 64 * 2**20


def _hash(password: str, salt: str) -> str:
    secret = password.encode("utf-8", "surrogatepass")
    return hashlib.scrypt(secret, salt=bytes.fromhex(salt), **_COST, maxmem=_MAX_MEMORY).hex()


class Raters:
    """The raters file *path*, read anew when it changes, so that somebody can be added while the page runs.

    There is no default password. After five wrong ones for a name within a minute, that name waits a minute.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._failures: dict[str, list[float]] = defaultdict(list)
        self._lock = threading.Lock()

    def _read(self) -> dict[str, dict[str, Any]]:
        if not self.path.exists():
            return {}
        try:
            raters = json.loads(self.path.read_text(encoding="utf-8"))["raters"]
            return {str(name): dict(entry) for name, entry in raters.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise StoreError(
                f"{self.path}: not a raters file ({type(error).__name__}); make one: `python -m judge add-rater NAME`"
            ) from None

    @property
    def names(self) -> list[str]:
        """Everybody who may sign in."""
        return sorted(self._read())

    def add(self, name: str, password: str, *, owner: bool = False) -> None:
        """Let *name* sign in with *password* (again: replaces it); an *owner* also sees the results.

        Raises:
            RatingError: an impossible name, or a password under eight characters.
        """
        name = check_rater(name)
        if len(password) < MIN_PASSWORD_CHARS:
            raise RatingError(f"rater {name}: the password needs at least {MIN_PASSWORD_CHARS} characters")
        raters = self._read()
        salt = secrets.token_hex(16)
        raters[name] = {"salt": salt, "scrypt": _hash(password, salt), "owner": owner}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=self.path.parent, prefix=self.path.name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump({"raters": raters}, file, ensure_ascii=False, indent=1)
            Path(part).replace(self.path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                Path(part).unlink()
            raise

    def signs_in(self, name: str, password: str) -> bool:
        """Whether *password* is that of *name*; as slow for an unknown name as for a known one."""
        now = time.monotonic()
        entry = self._read().get(name)
        with self._lock:
            recent = [moment for moment in self._failures[name] if now - moment < LOCK_S] if entry else []
            if len(recent) >= MAX_FAILURES:
                return False
        held = entry or {"salt": "00" * 16, "scrypt": ""}
        right = (
            hmac.compare_digest(_hash(password[:1024], held["salt"]), held["scrypt"]) and entry is not None
        )
        if entry is not None:
            with self._lock:
                self._failures[name] = [] if right else [*recent, now]
        return right

    def is_owner(self, name: str | None) -> bool:
        """Whether *name* may see the results, model names included."""
        return bool(name and self._read().get(name, {}).get("owner"))
