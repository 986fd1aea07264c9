"""Text from a service as it can be kept and shown."""

from __future__ import annotations

import contextlib
import re

from bakeoff.foundation.secrecy import redact


def printable(text: str) -> str:
    """*text* with control characters and direction marks spelled out.

    A terminal would obey them.
    """
    return _CONTROLS.sub(
        lambda match: f"\\x{ord(match[0]):02x}" if ord(match[0]) < 256 else f"\\u{ord(match[0]):04x}", text
    )


_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def whole_characters(text: str) -> str:
    """*text* with U+FFFD for each half of a character, which no file can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def has_half_character(text: str) -> bool:
    """Whether *text* holds a lone surrogate, which no file can hold."""
    return not text.isascii() and _HALVES.search(text) is not None


_HALVES = re.compile("[\ud800-\udfff]")


def clean(value: object) -> object:
    """JSON *value* with whole characters only."""
    if isinstance(value, str):
        return value if value.isascii() else whole_characters(value)
    if isinstance(value, list):
        return [clean(item) for item in value]
    if isinstance(value, dict):
        return {clean(name): clean(item) for name, item in value.items()}
    return value


def why_untrusted(words: str) -> str:
    """The way out where *words* tell of an untrusted certificate; "" else."""
    if not _UNTRUSTED.search(words):
        return ""
    return (
        " -> the service's certificate is signed by nobody that this machine trusts: append it (or the authority's) "
        'as PEM to a copy of the file that "python -m certifi" names, and export SSL_CERT_FILE=that copy'
    )


_UNTRUSTED = re.compile(r"certificate[ _]verify[ _]failed", re.IGNORECASE)


def kind_of(value: object) -> str:
    """What a JSON *value* is, in words."""
    names = {dict: "a mapping", list: "a list", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "null" if value is None else type(value).__name__)


def beginning_of(value: object) -> str:
    """The first 100 letters of *value* on one line, fit to be shown."""
    text = value if isinstance(value, str) else repr(value)
    # before it is cut: of a secret at the cut, the beginning would stay
    return printable(" ".join(redact(whole_characters(text)).split())[:400])[:100]


def decoded(body: bytes) -> str:
    """The text of *body*, to be shown.

    It is read as UTF-8, else as GB 18030, else as far as it can be.
    """
    for encoding in ("utf-8-sig", "gb18030"):
        with contextlib.suppress(UnicodeDecodeError):
            return body.decode(encoding)
    return body.decode("utf-8", "replace")


def words_of(body: bytes, key: str, most: int = 300) -> str:
    """The first *most* letters of *body*, without *key* and other secrets."""
    text = decoded(body)
    return printable(redact(text.replace(key, "***") if key else text)[:most])
