"""Every way in which programs write a value: escaped, encoded, wrapped."""

from __future__ import annotations

import base64
import codecs
import html
import json
import quopri
import re
import shlex
import unicodedata
from collections.abc import Iterator, Sequence
from urllib.parse import quote, quote_plus

_LEVELS = 3
"""How often JSON, or Python's own notation, is written within itself."""
_FEWEST = 12
"""Letters of a spelling that is looked for between other signs; fewer would be found in prose."""
_BETWEEN = bytes([*range(33), *b"\"',-.:;_\x7f", *range(128, 256)])
"""What stands between the letters of a value that was wrapped, listed or spaced out."""
_LETTERS = bytes(byte for byte in range(256) if byte not in _BETWEEN)
_COLOURS = re.compile(rb"\x1b\[[0-9;]*[A-Za-z]")
_FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}


def spellings(value: str) -> Iterator[str]:
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


def _escaped(value: str, data: bytes) -> Iterator[str]:
    plain = [value, repr(value)[1:-1], repr(data)[2:-1], shlex.quote(value).strip("'")]
    for write in (json.dumps, _as_unicode, repr):
        written = value
        for _ in range(_LEVELS):
            written = str(write(written))[1:-1]
            plain += [written, written.replace("/", "\\/")]
    yield from plain
    for text in dict.fromkeys(plain):
        yield from (html.escape(text), html.escape(text, quote=False))
        yield html.escape(text).replace("&#x27;", "&#39;").replace("&quot;", "&#34;")
    # YAML and TOML escape as JSON does, but for letters up to ÿ
    yield re.sub(r"\\u00([0-9a-f]{2})", lambda hit: f"\\x{hit[1].upper()}", json.dumps(value)[1:-1])


def _as_unicode(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _in_urls(data: bytes) -> Iterator[str]:
    for safe in ("", "/", "/:@", "!*'()", "/!*'()"):
        for encoded in (quote(data, safe=safe), quote_plus(data, safe=safe)):
            yield encoded
            yield re.sub(r"%[0-9A-F]{2}", lambda pair: pair[0].lower(), encoded)
            yield from (quote(encoded, safe=""), quote(encoded))


def _by_number(value: str, data: bytes) -> Iterator[str]:
    """*value* by the numbers of its bytes, or letters, with a mark before each."""
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
        text = "".join(f"{before}{byte:{digits}}{after}" for byte in data).rstrip(": ,")
        yield from (
            (text, "".join(f"{before}{byte:{digits.upper()}}{after}" for byte in data).rstrip(": ,"))
            if (digits == "02x")
            else (text,)
        )
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


def cores(value: str) -> Iterator[bytes]:
    """Yield spellings of *value* without all that may stand between letters.

    To be looked for by :func:`scattered`.
    """
    data = value.encode("utf-8", "surrogateescape")
    texts = [value, data.hex(), data.hex().upper(), "".join(f"0x{byte:02x}" for byte in data)]
    texts += ["".join(map(str, data)), *_in_base64(data)]
    for text in texts:
        core = text.encode("utf-8", "surrogateescape").translate(None, _BETWEEN)
        if len(core) >= _FEWEST and re.search(rb"\d", core):
            yield core


def scattered(data: bytes, looked_for: Sequence[bytes]) -> list[tuple[int, int]]:
    """Return where *data* holds a core with other signs between its letters.

    In order, and none within another. Line ends, blanks, separators, signs that are not seen, and a terminal's colours.
    """
    text = _COLOURS.sub(lambda hit: b" " * len(hit[0]), data) if b"\x1b" in data else data
    squeezed = text.translate(None, _BETWEEN)
    found = [core for core in looked_for if core in squeezed]
    if not found:
        return []
    places = [place for place, byte in enumerate(text) if byte in _LETTERS]
    every = []
    for core in found:
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
