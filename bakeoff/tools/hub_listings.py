"""ModelScope's lists of files, as its API gives them."""

from __future__ import annotations

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
