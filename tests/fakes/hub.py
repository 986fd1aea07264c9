"""A hub on the loopback interface that speaks what huggingface_hub and modelscope ask.

Two servers: the hub itself, and the store of large files that it redirects to, under another name of this machine. Each
keeps what it was asked, with the headers, so that a test can see who was given a token.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, unquote, urlsplit

LARGE = 1 << 16
"""Bytes from which a file lies in the store of large files."""


@dataclass
class Repository:
    """One model or data set with its history."""

    kind: str
    id: str
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    readers: set[str] | None = None
    """The tokens that may read it; None: everybody."""

    def commit(self, files: dict[str, bytes], *branches: str) -> str:
        """A new commit with *files*, to which *branches* move."""
        text = json.dumps([len(self.commits), *sorted((name, _sha256(data)) for name, data in files.items())])
        name = hashlib.sha1(f"{self.id}{text}".encode()).hexdigest()
        self.commits[name] = files
        for branch in branches or ("main", "master"):
            self.branches[branch] = name
        return name

    def find(self, revision: str) -> str | None:
        """The commit of a branch, a tag or a commit."""
        known = {**self.branches, **self.tags}
        return known.get(revision) or (revision if revision in self.commits else None)


@dataclass(frozen=True)
class Asked:
    """A request as a server saw it."""

    server: str
    method: str
    path: str
    authorization: str
    cookie: str
    range: str


class FakeHub:
    """The hub and its store of large files.

    Attributes:
        cut_after: bytes of a large file after which its connection is cut, as often as :attr:`cuts` says.
        before: gets a request first (server, method, path); the status, headers and body that it gives are sent.
        spoiled: whether the store of large files sends other bytes than it has, as many.
        instead: status and page with which the hub answers everything, as who stands in its place does.
        lists_commits: whether a listing of ModelScope's kind says of which commit it is.
    """

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.asked: list[Asked] = []
        self.cuts = 0
        self.cut_after = LARGE
        self.chunk_s = 0.0
        self.lists_commits = True
        self.instead: tuple[int, bytes] | None = None
        self.before: Callable[[str, str, str], tuple[int, dict[str, str], bytes] | None] | None = None
        self.spoiled = False
        self.lock = threading.Lock()
        self._servers = [_Server(("127.0.0.1", 0), handler) for handler in (_Hub, _Store)]
        for server in self._servers:
            server.hub = self
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        """Where the hub answers."""
        return f"http://127.0.0.1:{self._servers[0].server_port}"

    @property
    def store_url(self) -> str:
        """Where the large files are: another host, as far as a client can tell."""
        return f"http://localhost:{self._servers[1].server_port}"

    def repository(self, kind: str, name: str) -> Repository:
        """A new, empty repository."""
        made = Repository(kind, name)
        self.repositories[kind, name] = made
        return made

    def blob(self, name: str) -> bytes | None:
        """The large file of this SHA-256."""
        commits = (files for one in self.repositories.values() for files in one.commits.values())
        return next((data for files in commits for data in files.values() if _sha256(data) == name), None)

    def requests(self, server: str = "") -> list[Asked]:
        """What was asked of a server ("hub", "store"), or of both."""
        with self.lock:
            return [one for one in self.asked if server in ("", one.server)]

    def forget(self) -> None:
        """Forget what was asked."""
        with self.lock:
            self.asked.clear()

    def close(self) -> None:
        """End both servers."""
        for server in self._servers:
            server.shutdown()
            server.server_close()


@contextlib.contextmanager
def serving() -> Iterator[FakeHub]:
    """A hub for the length of a block."""
    hub = FakeHub()
    try:
        yield hub
    finally:
        hub.close()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: FakeHub

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed is no error."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    name = ""

    def log_message(self, format: str, *args: object) -> None:
        """The test looks at what was asked."""

    @property
    def hub(self) -> FakeHub:
        assert isinstance(self.server, _Server)
        return self.server.hub

    def do_HEAD(self) -> None:
        self._handle()

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._handle()

    def _handle(self) -> None:
        headers = self.headers
        with self.hub.lock:
            self.hub.asked.append(
                Asked(
                    self.name,
                    self.command,
                    self.path,
                    headers.get("Authorization") or "",
                    headers.get("Cookie") or "",
                    headers.get("Range") or "",
                )
            )
        before = self.hub.before and self.hub.before(self.name, self.command, self.path)
        if before:
            self.send(before[0], before[2], **before[1])
        else:
            self.answer(urlsplit(self.path))

    def answer(self, address: object) -> None:
        raise NotImplementedError

    def send(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_json(self, value: object, status: int = 200, **headers: str) -> None:
        self.send(status, json.dumps(value).encode(), Content_Type="application/json", **headers)

    def send_file(self, data: bytes, *, may_cut: bool, **headers: str) -> None:
        """The file, or the part of it that the client asks for; cut short where the hub says so."""
        begin, end, status = 0, len(data), 200
        if (asked := self.headers.get("Range") or "").startswith("bytes="):
            first, _, last = asked.removeprefix("bytes=").partition("-")
            begin, end, status = int(first or 0), int(last) + 1 if last else len(data), 206
            if begin >= len(data):
                self.send(416, Content_Range=f"bytes */{len(data)}")
                return
            headers["Content_Range"] = f"bytes {begin}-{end - 1}/{len(data)}"
        part = data[begin:end]
        self.send_response(status)
        for name, value in {**headers, "Content_Length": str(len(part)), "Accept_Ranges": "bytes"}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "HEAD":
            return
        with self.hub.lock:
            cut = may_cut and self.hub.cuts > 0 and len(part) > self.hub.cut_after
            self.hub.cuts -= cut
        sent = part[: self.hub.cut_after] if cut else part
        for at in range(0, len(sent), LARGE):
            self.wfile.write(sent[at : at + LARGE])
            if self.hub.chunk_s:
                time.sleep(self.hub.chunk_s)
        if cut:
            self.wfile.flush()
            self.close_connection = True
            self.connection.close()


class _Store(_Handler):
    name = "store"

    def answer(self, address: object) -> None:
        name = urlsplit(self.path).path.rpartition("/")[2]
        data = self.hub.blob(name)
        if data is None:
            self.send(404)
        else:
            data = data[:-1] + bytes([data[-1] ^ 1]) if self.hub.spoiled else data
            self.send_file(data, may_cut=True, ETag=f'"{name}"', X_Linked_ETag=f'"{name}"')


class _Hub(_Handler):
    name = "hub"

    def answer(self, address: object) -> None:
        parts = urlsplit(self.path)
        words = [unquote(word) for word in parts.path.strip("/").split("/")]
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        if self.hub.instead:
            self.send(self.hub.instead[0], self.hub.instead[1], Content_Type="text/html")
        elif words[:2] == ["api", "v1"]:
            self._modelscope(words[2:], query)
        elif words[:1] == ["api"]:
            self._hugging_face_api(words[1:])
        elif "resolve" in words:
            self._resolve(words)
        else:
            self.send(404)

    # -- Hugging Face ----------------------------------------------------------------------------------------------

    def _token(self) -> str:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ")

    def _refuse(self, status: int, code: str) -> None:
        self.send_json({"error": code}, status, X_Error_Code=code, X_Error_Message=code)

    def _hugging_face_api(self, words: list[str]) -> None:
        repository = self.hub.repositories.get((words[0].removesuffix("s"), "/".join(words[1:3])))
        if repository is None:
            self._refuse(404 if self._token() else 401, "RepoNotFound")
            return
        verb, revision = (words[3:4] or [""])[0], "/".join(words[4:]) or "main"
        if verb == "refs":
            known = {"branches": repository.branches, "tags": repository.tags}
            refs = {
                key: [
                    {"name": name, "ref": f"refs/{key}/{name}", "targetCommit": to}
                    for name, to in names.items()
                ]
                for key, names in known.items()
            }
            self.send_json({**refs, "converts": []})
            return
        commit = repository.find(revision)
        if commit is None:
            self._refuse(404, "RevisionNotFound")
        elif verb == "tree":
            self.send_json([_entry(name, data) for name, data in repository.commits[commit].items()])
        else:
            files = [{"rfilename": name} for name in repository.commits[commit]]
            gated = "manual" if repository.readers is not None else False
            self.send_json(
                {"id": repository.id, "sha": commit, "siblings": files, "gated": gated, "private": False}
            )

    def _resolve(self, words: list[str]) -> None:
        kind, rest = ("dataset", words[1:]) if words[0] == "datasets" else ("model", words)
        repository = self.hub.repositories.get((kind, "/".join(rest[:2])))
        if repository is None:
            self._refuse(404 if self._token() else 401, "RepoNotFound")
            return
        if repository.readers is not None and self._token() not in repository.readers:
            self._refuse(403 if self._token() else 401, "GatedRepo")
            return
        commit, path = repository.find(rest[3]), "/".join(rest[4:])
        data = repository.commits[commit].get(path) if commit else None
        if data is None:
            self._refuse(404, "EntryNotFound" if commit else "RevisionNotFound")
            return
        own = {"X_Repo_Commit": str(commit)}
        if len(data) < LARGE:
            self.send_file(data, may_cut=False, ETag=f'"{_git_blob(data)}"', **own)
            return
        name = _sha256(data)
        linked = {"X_Linked_ETag": f'"{name}"', "X_Linked_Size": str(len(data))}
        self.send(302, Location=f"{self.hub.store_url}/blobs/{name}", **own, **linked)

    # -- ModelScope ------------------------------------------------------------------------------------------------

    def _modelscope(self, words: list[str], query: dict[str, str]) -> None:
        repository = self.hub.repositories.get((words[0].removesuffix("s"), "/".join(words[1:3])))
        if repository is None:
            self._fail(404, 10010205001, "record not found")
            return
        cookie = self.headers.get("Cookie") or ""
        known = {self._token(), *(part.strip().removeprefix("m_session_id=") for part in cookie.split(";"))}
        if repository.readers is not None and not known & repository.readers:
            self._fail(403, 10010105001, "no permission")
            return
        verb = "/".join(words[3:])
        if verb == "":
            self._succeed({"Name": repository.id, "Id": 1})
        elif verb == "revisions":
            named = {"Branches": repository.branches, "Tags": repository.tags}
            self._succeed(
                {"RevisionMap": {key: [{"Revision": name} for name in names] for key, names in named.items()}}
            )
        elif (commit := repository.find(query.get("Revision", "master"))) is None:
            self._fail(404, 10010205001, "revision not found")
        elif verb in ("repo/files", "repo/tree"):
            self._succeed(self._listing(commit, repository.commits[commit], query))
        elif verb == "repo":
            self._modelscope_file(repository.commits[commit].get(query.get("FilePath", "")))
        else:
            self._fail(404, 404, "no such page")

    def _listing(self, commit: str, files: dict[str, bytes], query: dict[str, str]) -> dict[str, object]:
        entries = [
            {
                "Name": path.rpartition("/")[2],
                "Path": path,
                "Type": "blob",
                "Size": len(data),
                "Sha256": _sha256(data),
                "Revision": commit,
                "CommittedDate": 1,
            }
            for path, data in sorted(files.items())
        ]
        page, size = int(query.get("PageNumber", 1)), int(query.get("PageSize", len(entries) or 1))
        latest = {"Id": commit, "ShortId": commit[:8]} if self.hub.lists_commits else {"Id": ""}
        return {"Files": entries[(page - 1) * size : page * size], "LatestCommitter": latest, "IsVisual": 0}

    def _modelscope_file(self, data: bytes | None) -> None:
        if data is None:
            self._fail(404, 10010205001, "no such file")
        elif len(data) < LARGE:
            self.send_file(data, may_cut=False)
        else:
            self.send(302, Location=f"{self.hub.store_url}/blobs/{quote(_sha256(data))}")

    def _succeed(self, data: object) -> None:
        self.send_json({"Code": 200, "Success": True, "Message": "success", "Data": data})

    def _fail(self, status: int, code: int, message: str) -> None:
        self.send_json({"Code": code, "Success": False, "Message": message}, status)


def _git_blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _entry(path: str, data: bytes) -> dict[str, object]:
    """A file as a tree of Hugging Face lists it."""
    entry: dict[str, object] = {"type": "file", "oid": _git_blob(data), "size": len(data), "path": path}
    if len(data) >= LARGE:
        entry["lfs"] = {"oid": _sha256(data), "size": len(data), "pointerSize": 134}
    return entry
