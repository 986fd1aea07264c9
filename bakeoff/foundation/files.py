"""Files that are written whole or not at all, and files of JSON lines.

A reader never sees half of a file that was written through :func:`replacing`. A line of JSON ends at a line feed and
nowhere else: U+2028, U+2029 and U+0085 may stand inside a text, where ``str.splitlines`` would cut it in two.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import json
import os
import secrets
import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bakeoff.foundation.errors import Complaint, DataError
from bakeoff.foundation.sentences import Template, of_error

UNREADABLE = Template("foundation.files.unreadable", "cannot be read ({error})", zh="无法读取（{error}）")
GIVE_FILE = Template("foundation.files.give_file", "give a file in it", zh="请给出其中的文件")
NOT_UTF8 = Template(
    "foundation.files.not_utf8",
    "not UTF-8: byte {byte} at {at}",
    zh="不是 UTF-8 编码：位置 {at} 的字节 {byte}",
)
NOT_UTF8_BUT_16 = Template(
    "foundation.files.not_utf8_but_16",
    "not UTF-8 (it looks like UTF-16): byte {byte} at {at}",
    zh="不是 UTF-8 编码（看来是 UTF-16）：位置 {at} 的字节 {byte}",
)
_PACKED = b"\x1f\x8b"
SAVE_AS_UTF8 = Template("foundation.files.save_as_utf8", "save it as UTF-8", zh="请存为 UTF-8 编码")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary neighbour that replaces *path* if the block ends well.

    The folder of *path* is made where it is missing. The content reaches the disk before the name changes, so a
    machine that loses power leaves the old file or the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # another host that shares the disk may have the same process ids
    unique = f"{os.getpid()}.{threading.get_ident()}.{secrets.token_hex(4)}"
    draft = path.with_name(f".{path.name}.{unique}.tmp")
    try:
        yield draft
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write *text* to *path* as UTF-8, whole or not at all."""
    with replacing(path) as draft:
        draft.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Write *content* to *path*, whole or not at all."""
    with replacing(path) as draft:
        draft.write_bytes(content)


def write_json(path: Path, value: object) -> None:
    """Write *value* to *path* as readable JSON, whole or not at all."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, default=str) + "\n")


def write_rows(path: Path, rows: Iterable[object]) -> None:
    """Write *rows* to *path* as JSON lines, whole or not at all."""
    with replacing(path) as draft, draft.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(json_line(row) for row in rows)


def look_again(*folders: Path) -> None:
    """Let this host see what others have just written into *folders*.

    A client of NFS goes by what it knew of a folder, absent names included, until it lists that folder.
    """
    for folder in folders:
        with contextlib.suppress(OSError):
            list(folder.iterdir())


def append_line(path: Path, row: object) -> None:
    """Append *row* to *path* as one JSON line.

    It is a single write, so that several processes may share the file.

    After a line that a kill or a full disk cut short, the row begins on a line of its own.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        torn = False
        if file.seek(0, os.SEEK_END):
            file.seek(-1, os.SEEK_END)
            torn = file.read(1) != b"\n"
        file.write(b"\n" * torn + json_line(row).encode())


def json_line(row: object) -> str:
    """Return *row* as JSON on one line, with its line feed."""
    return json.dumps(row, ensure_ascii=False, default=str) + "\n"


def read_text(path: Path) -> str:
    """Return the text of a UTF-8 file, without its byte order mark.

    Raises:
        DataError: it cannot be opened, or is not UTF-8; the message names the file, the byte and the way out.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        hint = GIVE_FILE() if error.errno == errno.EISDIR else ""
        what = UNREADABLE(error=os.strerror(error.errno or 0))
        raise DataError(Complaint(str(path), what, hint)) from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        wide = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        line = content.count(b"\n", 0, error.start) + 1
        what = (NOT_UTF8_BUT_16 if wide else NOT_UTF8)(byte=f"0x{content[error.start]:02x}", at=error.start)
        raise DataError(Complaint(f"{path}:{line}", what, SAVE_AS_UTF8())) from None


def unpacked_text(path: Path, way_out: str = "") -> tuple[str, bytes]:
    """Return the text of a file that gzip may have packed, and of a packed one its first byte.

    Raises:
        DataError: it is not UTF-8, or packed and torn; the message ends with *way_out*.
    """
    try:
        with path.open("rb") as file:
            if file.read(2) != _PACKED:
                return read_text(path), b""
        with gzip.open(path) as file:
            content = file.read()
        return content.decode("utf-8-sig"), content[:1]
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise DataError(Complaint(str(path), UNREADABLE(error=of_error(error)), way_out)) from None


def repeated_name(pairs: Sequence[tuple[str, object]]) -> str | None:
    """Return the first name that an object of JSON has twice; None for none.

    JSON alone would let the last of its values win without a word.
    """
    names = [name for name, _ in pairs]
    return None if len({*names}) == len(names) else next(name for name in names if names.count(name) > 1)


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield the lines of *text* that are not blank, counted from 1.

    A line ends at a line feed only.
    """
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, line


def read_rows(path: Path) -> list[Any]:
    """Return the rows of a file of JSON lines.

    Raises:
        DataError: the file is not UTF-8, or a line is not JSON; the message names file and line.
    """
    rows = []
    for number, line in numbered_lines(read_text(path)):
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}:{number}: not JSON ({error})") from None
    return rows


def readable_rows(path: Path) -> list[Any]:
    """Return the rows of a file that may still be growing.

    Lines that are not JSON are passed over.
    """
    rows = []
    for _, line in numbered_lines(path.read_text(encoding="utf-8", errors="replace")):
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError):  # a kill, or a full disk, cut it short
            continue
    return rows
