"""Secrets stay in the environment: what is shown or stored has none."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from bakeoff.files import read_text
from bakeoff.spellings import cores, scattered, spellings

NAMES = re.compile(
    r"(TOKENS?|(^|[_-]|API|ACCESS|PRIVATE)KEYS?|ACCESS[_-]?KEY[_-]?ID|SECRETS?|PASSWORDS?|PASSWD|PASSPHRASE"
    r"|CREDENTIALS?|COOKIES?|[_-]PWD|(^|[_-])(PAT|PASS|AUTH|DSN|JWT|BEARER)|AUTHORIZATION)$",
    re.IGNORECASE,
)
"""Environment variables whose values are secrets; PWD alone is the working directory."""

_SHORTEST = 6
"""Characters below which a value is no secret: it would turn every other word into stars."""
_DECLARED = "BAKEOFF_SECRET_VARIABLES"
"""Names declared secret, for the processes that this one starts."""
_HARMLESS = {"", "EMPTY", "none", "None", "0", "1", "true", "false"}
_PLACE_NAMES = re.compile(r"(HOME|DIR|PATH|CACHE|FOLDER|ROOT|FILE|STORE|ENDPOINT)$", re.IGNORECASE)
_PLAIN = re.compile(
    r"[A-Za-z]{1,8}|localhost|\d{1,5}|[\d.,:]*[.,:][\d.,:]*|([\w.*-]*[.:*][\w.*:/-]*|localhost)(,[\w.*:/-]+)+"
)
"""Values of .env without a telling name that hide nothing: words, numbers, versions, lists of hosts."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<userinfo>[^\s/?#'\"<>]+)@")


def declare(name: str) -> None:
    """Treat the value of the environment variable *name* as a secret."""
    names = _declared()
    if name and name not in names:
        os.environ[_DECLARED] = ",".join([*names, name])


def _declared() -> list[str]:
    return [name for name in os.environ.get(_DECLARED, "").split(",") if name]


def secrets() -> list[str]:
    """The values of all secret variables of this process, longest first."""
    values: set[str] = set()
    declared = _declared()
    for name, value in os.environ.items():
        stripped = value.strip()
        if name in declared or NAMES.search(name):
            values |= {stripped, *(line.strip() for line in stripped.splitlines() if len(line.strip()) >= 16)}
        if "://" in value:
            values |= set(_of_url(value))
    long_enough = {value for value in values if value not in _HARMLESS and len(value) >= _SHORTEST}
    return sorted(long_enough, key=len, reverse=True)


def _of_url(text: str) -> Iterator[str]:
    """The secrets in the URLs of *text*: passwords, users and query values."""
    for match in _USERINFO.finditer(text):
        user, colon, password = match["userinfo"].partition(":")
        if colon and password:
            yield from (password, unquote(password), f"{user}:{password}@")
        if not password or (len(user) >= 12 and re.search(r"\d", user)):  # a token in place of the user
            yield from (user, unquote(user))
    for url in _URL.findall(text):
        with contextlib.suppress(ValueError):
            yield from (value for name, value in parse_qsl(urlsplit(url).query) if NAMES.search(name))


@lru_cache(maxsize=8)
def _spellings(values: tuple[str, ...]) -> tuple[str, ...]:
    """Every way in which programs write *values*, longest first."""
    forms = {form for value in values for form in spellings(value) if len(form) >= _SHORTEST}
    return tuple(sorted(forms, key=len, reverse=True))


@lru_cache(maxsize=8)
def _cores(values: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(dict.fromkeys(core for value in values for core in cores(value)))


def redact(text: str) -> str:
    """*text* with every secret value, however spelled, replaced by ``***``."""
    values = tuple(secrets())
    # to look for each spelling alone is several times as fast as for all of them at each letter
    for form in _spellings(values):
        if form in text:
            text = text.replace(form, "***")
    text = _without_scattered(text, values)
    return without_userinfo(text) if "://" in text else text


def _without_scattered(text: str, values: tuple[str, ...]) -> str:
    """*text* without secrets that are wrapped, listed or spaced out."""
    if not values:
        return text
    data = text.encode("utf-8", "surrogatepass")
    spans = scattered(data, _cores(values))
    for first, last in sorted(spans, reverse=True):
        data = data[:first] + b"***" + data[last:]
    return data.decode("utf-8", "surrogatepass") if spans else text


def without_userinfo(text: str) -> str:
    """*text* with ``***`` for user and password of every URL in it."""
    return _USERINFO.sub(
        lambda match: f"{match['scheme']}***@" if ":" in match["userinfo"] else match[0], text
    )


def redacted(value: Any) -> Any:
    """*value* as JSON can hold it, without secrets in its texts.

    To be done before it is serialised: JSON writes a quotation mark or a backslash of a secret otherwise.
    """
    if isinstance(value, Mapping):
        return {redact(key) if isinstance(key, str) else key: redacted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float) else redact(str(value))


def scrub(path: Path) -> None:
    """Overwrite every secret value in the file *path*, keeping its length."""
    values = [form.encode("utf-8", "surrogateescape") for form in _spellings(tuple(secrets()))]
    if not values or not path.is_file():
        return
    content = path.read_bytes()
    present = [form for form in values if form in content]
    spans = scattered(content, _cores(tuple(secrets())))
    if present:
        spans += [match.span() for match in re.finditer(b"|".join(map(re.escape, present)), content)]
    if not spans:
        return
    with path.open("r+b") as file:
        for first, last in spans:
            file.seek(first)
            file.write(b"*" * (last - first))


def scrub_leftovers(logs: Iterable[Path]) -> None:
    """Scrub those *logs* whose stage was killed before it could."""
    for log in logs:
        try:
            record = log.with_name("record.json").stat().st_mtime
        except OSError:
            record = 0.0
        with contextlib.suppress(OSError):
            if log.stat().st_mtime > record:
                scrub(log)


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


def load_env_file(path: Path, tell: Callable[[str], None] = _to_stderr) -> list[str]:
    """Set the variables of the file *path*; return the names that were set.

    All of it is secret, but for values that hide nothing (words, numbers, places).

    Args:
        tell: is given each line that is not understood, in words and without the line itself.

    Raises:
        DataError: it cannot be read, or is not UTF-8.
    """
    if not path.exists() or path.is_dir():  # a folder of that name is a virtual environment
        return []
    from dotenv import dotenv_values
    from dotenv.parser import parse_stream

    text = read_text(path)
    for binding in parse_stream(io.StringIO(text)):
        blank = binding.original.string.strip()
        if binding.error or (binding.key is not None and binding.value is None):
            before = binding.original.string[: binding.original.string.find(blank[:1])]
            line = binding.original.line + before.count("\n")
            if blank:
                tell(f"{path}:{line}: not understood and left out; write NAME=value")
    names = []
    for name, value in dotenv_values(stream=io.StringIO(text)).items():
        if value is None:
            continue
        if "\0" in name + value or not name:
            tell(f"{path}: {name.partition(chr(0))[0]}: holds a NUL character and is left out")
            continue
        if name not in os.environ:
            os.environ[name] = value
            names.append(name)
        if not _hides_nothing(name, os.environ[name].strip()):
            declare(name)
    return names


def _hides_nothing(name: str, value: str) -> bool:
    """Whether a value of ``.env`` is harmless: a word, a number, a path."""
    if NAMES.search(name):
        return False
    if value in _HARMLESS or _PLAIN.fullmatch(value):
        return True
    if _URL.fullmatch(value):
        return not list(_of_url(value)) and not urlsplit(value).query
    if value.startswith(("/", "~", "./", "../")):
        return bool(_PLACE_NAMES.search(name)) or Path(value).expanduser().exists()
    return False
