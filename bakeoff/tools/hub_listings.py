"""What a hub lists of a commit.

ModelScope's own lists, and files as the clients of both hubs read them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict


class Commit(TypedDict, total=False):
    """The last commit of a revision."""

    Id: str
    ShortId: str


class Entry(TypedDict, total=False):
    """A file of a repository as ModelScope lists it."""

    Path: str
    Name: str
    Size: int
    Sha256: str
    Type: str
    Revision: str
    CommittedDate: int


class Page(TypedDict, total=False):
    """A page of ModelScope's list of files."""

    Files: list[Entry]
    LatestCommitter: Commit


@dataclass(frozen=True)
class File:
    """One file of a commit."""

    path: str
    size: int
    sha256: str = ""
    """Of its content, where the hub says it."""
    blob: str = ""
    """Its name in the cache of Hugging Face."""

    def is_in(self, path: Path) -> bool:
        """Whether *path* holds what the hub lists.

        By its SHA-256, else by git's name of its content.
        """
        if self.sha256:
            return sha256_of(path) == self.sha256
        data = path.read_bytes()
        return len(self.blob) != 40 or self.blob == hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass(frozen=True)
class Listing:
    """A commit and its files."""

    commit: str
    files: tuple[File, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
