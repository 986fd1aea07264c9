"""Invitations: links with one-time tokens instead of passwords.

Only the hash of a token is kept.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from typing import NamedTuple, TypedDict

from bakeoff.foundation.errors import RatingError
from bakeoff.judgement.raters import Attempts, Pass, RaterEntry, Raters, RatersDocument, passes_of_others
from bakeoff.judgement.submissions import check_rater, short

DAYS = 14
MOST_DAYS = 365
MOST_AT_ONCE = 200
SESSION_S = 60 * 86400.0
MOST_LABEL_CHARS = 200
MOST_WRONG_PER_ADDRESS = 60
_LETTERS = "23456789ABCDEFGHJKMNPQRSTVWXYZ"  # nothing that is read as something else
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


class Invitation(NamedTuple):
    """What the owner hands on: *token* is shown this once and kept nowhere."""

    rater: str
    token: str
    expires: float


class Person(TypedDict):
    """Somebody who may rate, as the owner's page lists them; *link_until* is None without an open link."""

    rater: str
    label: str
    study: str
    joined: str
    has_password: bool
    link_until: float | None


class Invitations:
    """The invitations in the raters file. A rater who is invited is known by a pseudonym only.

    The label that says who that is (a name, an address) stands in the raters file alone: neither judgements nor
    exports hold it.
    """

    def __init__(self, raters: Raters) -> None:
        self.raters = raters
        self._wrong = Attempts(MOST_WRONG_PER_ADDRESS)

    def invite(self, study: str | None = None, label: str = "", days: object = DAYS) -> Invitation:
        """Invite somebody new, to *study* or to whichever is open.

        Raises:
            RatingError: an impossible label or time.
        """
        label = _checked_label(label)
        with self.raters.changing() as document:
            taken = document["raters"]
            name = _pseudonym()
            while name in taken:
                name = _pseudonym()
            entry: RaterEntry = {"owner": False, "label": label}
            if study:
                entry["study"] = study
            taken[name] = entry
            return _add(document, name, days)

    def again(self, rater: str, days: object = DAYS) -> Invitation:
        """A new link for somebody known; their unused ones end.

        Raises:
            RatingError: nobody has this name, or they are an owner, whom a link alone does not let in.
        """
        rater = check_rater(rater)
        with self.raters.changing() as document:
            if self.raters.entry(document, rater).get("owner"):
                raise RatingError(
                    f"{rater} is an owner and signs in with a password; give another rater",
                    f"{rater} 是研究负责人，用密码登录；请换一位评分者",
                )
            document["invitations"] = passes_of_others(document.get("invitations", {}), rater)
            return _add(document, rater, days)

    def redeem(self, token: object, address: str = "") -> tuple[str, str] | None:
        """The rater whom *token* lets in and their session; else None."""
        attempt = self._wrong.begin(address) if address else None
        if (address and attempt is None) or not isinstance(token, str) or not _TOKEN.fullmatch(token):
            return None
        key = _hashed(token)
        if not self._is_good(self.raters.invitations().get(key)):
            return None
        session = secrets.token_urlsafe(32)
        with self.raters.changing() as document:  # two at once: the second finds nothing
            invitation = document.get("invitations", {}).pop(key, None)
            if (
                invitation is None
                or not self._is_good(invitation)
                or invitation["rater"] not in document["raters"]
            ):
                return None
            rater = str(invitation["rater"])
            entry: Pass = {"rater": rater, "expires": time.time() + SESSION_S}
            now = time.time()
            old = {k: other for k, other in document.get("sessions", {}).items() if other["expires"] > now}
            document["sessions"] = old | {_hashed(session): entry}
            document["raters"][rater]["joined"] = time.strftime("%Y-%m-%d", time.gmtime())
        if attempt is not None:
            self._wrong.take_back(address, attempt)
        return rater, session

    @staticmethod
    def _is_good(invitation: Pass | None) -> bool:
        return invitation is not None and invitation["expires"] > time.time()

    def session(self, token: str) -> str | None:
        """The rater of a lasting session, also after a restart of the server."""
        entry = self.raters.sessions().get(_hashed(token))
        return str(entry["rater"]) if entry is not None and self._is_good(entry) else None

    def end_sessions(self, rater: str) -> None:
        """End what lasts of a rater's sessions, as signing out does."""
        if any(entry["rater"] == rater for entry in self.raters.sessions().values()):
            with self.raters.changing() as document:
                document["sessions"] = passes_of_others(document.get("sessions", {}), rater)

    def cookie_id(self) -> str:
        """What the session's cookie is called, over restarts."""
        name = self.raters.cookie_id()
        if not name:
            with self.raters.changing() as document:
                name = document.setdefault("cookie", secrets.token_urlsafe(16))
        return str(name)

    def listed(self) -> list[Person]:
        """Everybody but owners, and whether a link of theirs is out."""
        out: dict[str, float] = {}
        for invitation in self.raters.invitations().values():
            if self._is_good(invitation):
                out[invitation["rater"]] = invitation["expires"]
        return [
            {
                "rater": name,
                "label": entry.get("label", ""),
                "study": entry.get("study", ""),
                "joined": entry.get("joined", ""),
                "has_password": "scrypt" in entry,
                "link_until": out.get(name),
            }
            for name, entry in sorted(self.raters.entries().items())
            if not entry.get("owner")
        ]


def link(base: object, token: str) -> str:
    """The address to send: no browser sends what stands behind the #.

    Raises:
        RatingError: *base* is not the address of a page.
    """
    if not isinstance(base, str) or not re.fullmatch(r"https?://[^\s#?\"<>]{1,300}", base):
        raise RatingError(
            f"{short(base)}: must be the address of the judge's page, such as https://judge.example.org/",
            f"{short(base)}：应为评分页面的地址，例如 https://judge.example.org/",
        )
    return f"{base.rstrip('/')}/invite#{token}"


def qr_rows(text: str) -> list[str]:
    """A QR code of *text* as rows of 0 and 1, its quiet zone left out."""
    import segno

    return [
        "".join("1" if cell else "0" for cell in row)
        for row in segno.make(text, error="m", micro=False).matrix
    ]


def _add(document: RatersDocument, rater: str, days: object) -> Invitation:
    if isinstance(days, bool) or not isinstance(days, int | float) or not 0 < days <= MOST_DAYS:
        raise RatingError(
            f"days: {short(days)} is outside 0..{MOST_DAYS}", f"链接有效天数应大于 0，最多 {MOST_DAYS} 天"
        )
    token, now = secrets.token_urlsafe(32), time.time()
    expires = now + days * 86400
    valid = {key: entry for key, entry in document.get("invitations", {}).items() if entry["expires"] > now}
    document["invitations"] = valid | {_hashed(token): {"rater": rater, "expires": expires}}
    return Invitation(rater, token, expires)


def _checked_label(label: object) -> str:
    if not isinstance(label, str) or len(label) > MOST_LABEL_CHARS or any(ord(sign) < 32 for sign in label):
        raise RatingError(
            f"label {short(label)}: wanted a line of at most {MOST_LABEL_CHARS} characters",
            f"每位评分者的姓名应为一行，最多 {MOST_LABEL_CHARS} 个字",
        )
    return label.encode("utf-8", "replace").decode("utf-8").strip()


def _pseudonym() -> str:
    return "R-" + "".join(secrets.choice(_LETTERS) for _ in range(5))


def _hashed(token: str) -> str:
    # The token has 256 random bits: nothing slower than SHA-256 would make it harder to guess.
    return hashlib.sha256(token.encode()).hexdigest()
