"""Secrets stay in the environment: what is shown or stored has none."""

from __future__ import annotations

import base64
import codecs
import contextlib
import html
import io
import json
import os
import quopri
import re
import shlex
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

from bakeoff.foundation.files import read_text

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
_LONGEST = 4096
"""Characters of the longest value whose signs are looked for in every escape."""
_LONGEST_CUT = 160
"""Characters of the longest secret of which parts are looked for, too."""
_HARMLESS = {"", "EMPTY", "none", "None", "0", "1", "true", "false"}
_PLACE_NAMES = re.compile(r"(HOME|DIR|PATH|CACHE|FOLDER|ROOT|FILE|STORE|ENDPOINT)$", re.IGNORECASE)
_PLAIN = re.compile(
    r"[A-Za-z]{1,8}|localhost|\d{1,5}|[\d.,:]*[.,:][\d.,:]*|([\w.*-]*[.:*][\w.*:/-]*|localhost)(,[\w.*:/-]+)+"
)
"""Values of .env without a telling name that hide nothing: words, numbers, versions, lists of hosts."""
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_USERINFO = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*://)(?P<userinfo>[^\s/?#'\"<>]+)@")

_FEWEST = 12
"""Letters of a spelling that is looked for between other signs; fewer would be found in prose."""
_BETWEEN = bytes([*range(33), *b"\"',-.:;_\x7f", *range(128, 256)])
"""What stands between the letters of a value that was wrapped, listed or spaced out."""
_LETTERS = bytes(byte for byte in range(256) if byte not in _BETWEEN)
_COLOURS = re.compile(rb"\x1b\[[0-9;]*[A-Za-z]")
_FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}


def declare(name: str) -> None:
    """Treat the value of the environment variable *name* as a secret."""
    names = _declared()
    if name and name not in names:
        os.environ[_DECLARED] = ",".join([*names, name])


def _declared() -> list[str]:
    return [name for name in os.environ.get(_DECLARED, "").split(",") if name]


def secrets() -> list[str]:
    """The values of all secret variables of this process, longest first."""
    return list(_secrets_in(tuple(os.environ.items())))


@lru_cache(maxsize=4)
def _secrets_in(environment: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    values: set[str] = set()
    declared = _declared()
    for name, value in environment:
        stripped = value.strip()
        if name in declared or NAMES.search(name):
            values |= {stripped, *(line.strip() for line in stripped.splitlines() if len(line.strip()) >= 16)}
        if "://" in value:
            values |= set(_of_url(value))
    long_enough = {value for value in values if value not in _HARMLESS and len(value) >= _SHORTEST}
    return tuple(sorted(long_enough, key=len, reverse=True))


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


def _spellings_of(value: str) -> Iterator[str]:
    """Yield *value* in every notation, some of them more than once."""
    data = value.encode("utf-8", "surrogateescape")
    yield from _escaped(value, data)
    yield from _in_urls(data)
    for once in _in_base64(data):
        yield once
        yield from _in_base64(once.encode())  # encoded twice
    for wide in (value.encode("utf-16-le", "surrogatepass"), value.encode("utf-16-be", "surrogatepass")):
        yield from (repr(wide)[2:-1], base64.b64encode(wide).decode().rstrip("="), wide.hex())
    yield from (base64.b32encode(data).decode().rstrip("="), base64.b85encode(data).decode())
    yield base64.a85encode(data).decode()
    yield from (value[::-1], codecs.encode(value, "rot13"), value.translate(_FULL_WIDTH))
    yield from (data.decode("latin-1"), quopri.encodestring(data).decode("latin-1"))
    yield from (unicodedata.normalize(form, value) for form in ("NFC", "NFD", "NFKC"))
    if len(value) >= _FEWEST and re.search(r"\d", value):
        yield from (value.upper(), value.lower())
    yield from _by_number(value, data)
    yield from _cut(value)


def _cut(value: str) -> Iterator[str]:
    """The beginnings and ends of *value* that a cut message may leave."""
    if not 16 <= len(value) <= _LONGEST_CUT:
        return
    for length in range(max(12, len(value) * 3 // 5), len(value)):
        yield from (value[:length], value[-length:])


def _escaped(value: str, data: bytes) -> Iterator[str]:
    plain = [
        value,
        repr(value)[1:-1],
        repr(data)[2:-1],
        shlex.quote(value).strip("'"),
        json.dumps(value)[1:-1],
    ]
    plain += [written.replace("/", "\\/") for written in plain]
    yield from plain
    for text in dict.fromkeys(plain):
        yield from (html.escape(text), html.escape(text, quote=False))
        yield html.escape(text).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
    # YAML and TOML escape as JSON does, but for letters up to ÿ
    yield re.sub(r"\\u00([0-9a-f]{2})", lambda hit: f"\\x{hit[1].upper()}", json.dumps(value)[1:-1])


def _in_urls(data: bytes) -> Iterator[str]:
    for safe in ("", "/", "/:@", "!*'()", "/!*'()"):
        for encoded in (quote(data, safe=safe), quote_plus(data, safe=safe)):
            yield encoded
            yield re.sub(r"%[0-9A-F]{2}", lambda pair: pair[0].lower(), encoded)
            yield from (quote(encoded, safe=""), quote(encoded))


def _by_number(value: str, data: bytes) -> Iterator[str]:
    """*value* by the numbers of its bytes or letters, each with a mark."""
    for before, digits, after in (
        ("", "02x", ""),
        ("", "02x", " "),
        ("", "02x", ":"),
        ("%", "02x", ""),
        ("\\x", "02x", ""),
        ("\\", "03o", ""),
        ("0x", "02x", ", "),
        ("", "d", ", "),
        ("", "08b", " "),
    ):
        for form in (digits, "02X") if digits == "02x" else (digits,):
            yield "".join(f"{before}{byte:{form}}{after}" for byte in data).rstrip(": ,")
    for numbers in (list(data), [ord(sign) for sign in value]):
        yield "".join(f"&#{number};" for number in numbers)
        for digits in ("x", "02x", "X"):
            yield "".join(f"&#x{number:{digits}};" for number in numbers)
        yield "".join(f"\\u{number:04x}" for number in numbers)


def _in_base64(data: bytes) -> Iterator[str]:
    """What of a base64 text *data* alone decides, wherever it begins."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(data).decode().rstrip("=")
    for before in range(3):
        padded = bytes(before) + data
        first = -(-before * 8 // 6)
        last = len(padded) * 8 // 6
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            part = encode(padded).decode()[first:last]
            if len(part) >= 7:
                yield part


def _cores_of(value: str) -> Iterator[bytes]:
    """Yield spellings of *value* without what may stand between letters.

    :func:`_scattered` looks for them.
    """
    data = value.encode("utf-8", "surrogateescape")
    texts = [value, data.hex(), data.hex().upper(), "".join(f"0x{byte:02x}" for byte in data)]
    texts += ["".join(map(str, data)), *_in_base64(data)]
    for text in texts:
        core = text.encode("utf-8", "surrogateescape").translate(None, _BETWEEN)
        if len(core) >= _FEWEST and re.search(rb"\d", core):
            yield core


def _scattered(data: bytes, looked_for: Sequence[bytes]) -> list[tuple[int, int]]:
    """Return where *data* holds a core with other signs between its letters.

    Such signs are line ends, blanks, separators, what is not seen, and a terminal's colours. The places are in order,
    and none lies within another.
    """
    text = _COLOURS.sub(lambda hit: b" " * len(hit[0]), data) if b"\x1b" in data else data
    squeezed = text.translate(None, _BETWEEN)
    present = [core for core in looked_for if core in squeezed]
    if not present:
        return []
    places = [place for place, byte in enumerate(text) if byte in _LETTERS]
    every = []
    for core in present:
        start = squeezed.find(core)
        while start >= 0:
            every.append((places[start], places[start + len(core) - 1] + 1))
            start = squeezed.find(core, start + 1)
    spans: list[tuple[int, int]] = []
    for first, last in sorted(every):
        if spans and first <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(last, spans[-1][1]))
        else:
            spans.append((first, last))
    return spans


@lru_cache(maxsize=8)
def _spellings(values: tuple[str, ...]) -> tuple[str, ...]:
    """Every way in which programs write *values*, longest first."""
    forms = {form for value in values for form in _spellings_of(value) if len(form) >= _SHORTEST}
    return tuple(sorted(forms, key=len, reverse=True))


@lru_cache(maxsize=8)
def _cores(values: tuple[str, ...]) -> tuple[bytes, ...]:
    return tuple(dict.fromkeys(core for value in values for core in _cores_of(value)))


@lru_cache(maxsize=8)
def _escapes(values: tuple[str, ...]) -> tuple[tuple[str, re.Pattern[str]], ...]:
    """A pattern for each value with signs that programs escape.

    It finds them however often they were escaped. With each comes the longest stretch that no program escapes, so that
    most texts need no search.
    """
    patterns = []
    for value in values:
        runs = re.findall(r"[A-Za-z0-9]+", value)
        if len(value) > _LONGEST or re.fullmatch(r"[A-Za-z0-9_.~-]*", value) or not runs:
            continue
        signs = "".join(map(_any_escape, value))
        patterns.append((max(runs, key=len), re.compile(signs, re.IGNORECASE)))
    return tuple(patterns)


def _any_escape(sign: str) -> str:
    """A pattern for *sign*, bare or escaped by any program."""
    if sign.isascii() and sign.isalnum():
        return sign
    number, data = ord(sign), sign.encode("utf-8", "surrogateescape")
    forms = [rf"\\*{re.escape(sign)}", rf"\\+(?:x|u00|u\{{)?{number:02x}\}}?"]
    forms += [rf"\\+u{number:04x}", rf"\\+u{number:08x}"]
    forms += [rf"&(?:amp;)*#0*{number};", rf"&(?:amp;)*#x0*{number:x};"]
    if number > 0xFFFF:
        forms.append("".join(rf"\\+u{unit:04x}" for unit in _utf16(sign)))
    forms.append("".join(f"%(?:25)*{byte:02x}" for byte in data))
    forms.append("".join(rf"\\+x{byte:02x}" for byte in data))
    if (name := html.escape(sign)) != sign:
        forms.append(name.replace("&", "&(?:amp;)*"))
    forms += [rf"\\*{re.escape(data.decode('latin-1'))}"] * (number > 127) + [r"\+"] * (sign == " ")
    return f"(?:{'|'.join(forms)})"


def _utf16(sign: str) -> list[int]:
    data = sign.encode("utf-16-be", "surrogatepass")
    return [data[place] << 8 | data[place + 1] for place in range(0, len(data), 2)]


def redact(text: str) -> str:
    """*text* with every secret value, however spelled, replaced by ``***``."""
    values = tuple(secrets())
    # to look for each spelling alone is several times as fast as for all of them at each letter
    for form in _spellings(values):
        if form in text:
            text = text.replace(form, "***")
    for stretch, escaped in _escapes(values):
        if stretch in text:
            text = escaped.sub("***", text)
    text = _without_scattered(text, values)
    return without_userinfo(text) if "://" in text else text


def _without_scattered(text: str, values: tuple[str, ...]) -> str:
    """*text* without secrets that are wrapped, listed or spaced out."""
    if not values:
        return text
    data = text.encode("utf-8", "surrogatepass")
    spans = _scattered(data, _cores(values))
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
    values = tuple(secrets())
    if not values or not path.is_file():
        return
    content = path.read_bytes()
    spellings = (form.encode("utf-8", "surrogateescape") for form in _spellings(values))
    spans = _scattered(content, _cores(values))
    for stretch, escaped in _escapes(values):
        if stretch.encode() in content:  # a byte a letter, so that places in text and file are the same
            spans += [match.span() for match in escaped.finditer(content.decode("latin-1"))]
    if present := [form for form in spellings if form in content]:
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
