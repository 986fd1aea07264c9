"""Hugging Face and ModelScope through their own libraries.

What a commit holds, and its files.

They keep their own caches, so that what was fetched before is not fetched again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from bakeoff.foundation.files import write_text
from bakeoff.foundation.secrecy import redact
from bakeoff.tools.hub_listings import Commit, Entry, File, Listing, Page, sha256_of
from bakeoff.tools.hub_refusals import (
    Refused,
    causes,
    error_number,
    gated,
    may_pass,
    no_repository,
    no_revision,
    refuse_outside,
    refused_for,
    spoiled,
    too_large,
)
from bakeoff.tools.hubs import (
    NOT_FETCHED,
    TITLES,
    Source,
    gib,
    is_commit,
    is_fetched,
    older_folders,
    repository_folder,
    snapshot_folder,
)

RESUMED_FROM = 1 << 20
"""Bytes from which a file of Hugging Face is fetched so that a cut connection, or a kill, loses nothing of it."""
TRIES = 5
"""How often a file is asked for again without a byte having come."""
WORKERS = 4
_SPOILED_TRIES = 3
"""How often a file is fetched whose content is not what the hub lists."""


class HuggingFace:
    """Hugging Face, or who speaks like it (HF_ENDPOINT)."""

    def __init__(self, source: Source, commit: str = "") -> None:
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        import huggingface_hub
        from huggingface_hub import constants

        self.source, self.commit = source, commit
        self.library = huggingface_hub
        self.api = huggingface_hub.HfApi()
        self.endpoint = constants.ENDPOINT

    def listing(self) -> Listing:
        """The commit of the revision, and its files."""
        source = self.source
        with self._in_words():
            revision = self.commit or source.branch
            commit = str(self.api.repo_info(source.id, repo_type=source.kind, revision=revision).sha)
            tree = self.api.list_repo_tree(source.id, repo_type=source.kind, revision=commit, recursive=True)
            files = []
            for entry in tree:
                if (size := getattr(entry, "size", None)) is None or not is_fetched(source.kind, entry.path):
                    continue
                large = getattr(entry, "lfs", None)
                sha256 = str(large.sha256) if large else ""
                blob = sha256 or str(getattr(entry, "blob_id", ""))
                files.append(File(entry.path, int(size), sha256, blob))
            refuse_outside(source, (file.path for file in files))
            # a gated repository lists its files to everybody, and what the cache has needs no leave
            if any(self.size_here(file) < file.size for file in files):
                self._metadata(min(files, key=lambda file: file.size), commit)
        return Listing(commit, tuple(files))

    def size_here(self, file: File) -> int:
        """Bytes of *file* that the cache has."""
        blobs = repository_folder(self.source, os.environ) / "blobs"
        for path in (blobs / file.blob, blobs / f"{file.blob}.part"):
            with contextlib.suppress(OSError):
                return path.stat().st_size
        partial = blobs.glob(f"{file.blob}.*.incomplete")
        return sum(path.stat().st_size for path in partial if path.exists())

    def fetch(self, listing: Listing) -> Path:
        """Fetch the files and return their folder."""
        from huggingface_hub import constants

        blobs = repository_folder(self.source, os.environ) / "blobs"
        blobs.mkdir(parents=True, exist_ok=True)
        with self._in_words():
            whole = [file for file in listing.files if file.sha256 and (blobs / file.blob).exists()]
            for file in whole:
                if sha256_of(blobs / file.blob) != file.sha256:
                    say(
                        f"{file.path}: what the cache has of it is not what the hub lists; it is fetched again"
                    )
                    (blobs / file.blob).unlink()
            most = constants.MAX_HTTP_DOWNLOAD_SIZE
            large = [f for f in listing.files if f.sha256 and RESUMED_FROM <= f.size <= most]
            lacking = [f for f in large if not (blobs / f.blob).exists()]
            with ThreadPoolExecutor(WORKERS) as pool:
                list(pool.map(lambda file: self._fetch_large(file, listing.commit, blobs), lacking))
            new = [f for f in listing.files if f.size <= RESUMED_FROM and not (blobs / f.blob).exists()]
            folder = Path(
                self.library.snapshot_download(
                    self.source.id,
                    repo_type=self.source.kind,
                    revision=listing.commit,
                    ignore_patterns=list(NOT_FETCHED[self.source.kind]),
                    max_workers=WORKERS,
                )
            )
            for file in new:  # of these the library looks at the length alone
                if (folder / file.path).is_file() and not file.is_in(folder / file.path):
                    (folder / file.path).resolve().unlink()
                    raise Refused("spoiled", spoiled(self.source, file.path, 1))
            return folder

    def note(self, commit: str) -> None:
        """Let the cache know where the branch is, as the library itself does."""
        if not is_commit(self.source.branch):
            ref = repository_folder(self.source, os.environ) / "refs" / self.source.branch
            with contextlib.suppress(
                FileExistsError, NotADirectoryError, IsADirectoryError
            ):  # once work, now work/2
                ref.parent.mkdir(parents=True, exist_ok=True)
                write_text(ref, commit)

    def _metadata(self, file: File, commit: str) -> Any:
        url = self.library.hf_hub_url(self.source.id, file.path, repo_type=self.source.kind, revision=commit)
        return self.library.get_hf_file_metadata(url)

    def _fetch_large(self, file: File, commit: str, blobs: Path) -> None:
        """Fetch one file, from where an earlier attempt stopped."""
        from filelock import FileLock

        part = blobs / f"{file.blob}.part"
        with FileLock(f"{part}.lock"):
            if (blobs / file.blob).exists():
                return
            for _ in range(_SPOILED_TRIES):
                self._go_on(file, commit, part, import_module("huggingface_hub.utils").build_hf_headers())
                if sha256_of(part) == file.sha256:
                    part.replace(blobs / file.blob)
                    return
                part.unlink()
                say(f"{file.path}: its content is not what the hub lists; it is fetched again")
        raise Refused("spoiled", spoiled(self.source, file.path, _SPOILED_TRIES))

    def _go_on(self, file: File, commit: str, part: Path, headers: dict[str, str]) -> None:
        from huggingface_hub.file_download import http_get

        idle = 0
        while True:
            before = part.stat().st_size if part.exists() else 0
            if before > file.size:
                part.unlink()
                before = 0
            if before == file.size:
                return
            try:
                metadata = self._metadata(file, commit)
                sent = dict(headers)
                if urlsplit(metadata.location).netloc != urlsplit(self.endpoint).netloc:
                    sent.pop("authorization", None)  # the token is for the hub alone
                with part.open("ab") as stream:
                    http_get(
                        metadata.location, stream, resume_size=before, headers=sent, expected_size=file.size
                    )
            except Exception as error:
                if (number := error_number(error)) in (errno.ENOSPC, errno.EDQUOT) or not may_pass(error):
                    raise
                after = part.stat().st_size if part.exists() else 0
                idle = 0 if after > before else idle + 1
                if idle >= TRIES:
                    raise
                say(
                    f"{file.path}: cut at {gib(after)} ({type(error).__name__}, {number or 'no'} errno); going on"
                )
                time.sleep(min(2**idle - 1, 30))

    @contextlib.contextmanager
    def _in_words(self) -> Iterator[None]:
        errors = self.library.errors
        source = self.source
        page = f"{self.endpoint}/{'datasets/' if source.kind == 'dataset' else ''}{source.id}"
        has_token = bool(self.library.get_token())
        try:
            yield
        except errors.GatedRepoError:
            raise Refused("gated", gated(source, page, has_token)) from None
        except errors.RevisionNotFoundError:
            raise Refused("no revision", no_revision(source, self._names())) from None
        except errors.RepositoryNotFoundError:
            raise Refused("no repository", no_repository(source, page, has_token)) from None
        except errors.HfHubHTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            if status in (401, 403):
                raise Refused("gated", gated(source, page, has_token)) from None
            if status == 404 or status == 400:
                raise Refused("no repository", no_repository(source, page, has_token)) from None
            if 400 < status < 500 and status not in (408, 429):
                reason = error.response.reason_phrase
                raise Refused("refused", refused_for(source, status, reason, page)) from None
            raise
        except errors.HFValidationError as error:
            raise Refused("no repository", f"{source.id} is no id of {TITLES[source.hub]}: {error}") from None

    def _names(self) -> list[str]:
        with contextlib.suppress(Exception):  # the revision is wrong whatever the others are
            refs = self.api.list_repo_refs(self.source.id, repo_type=self.source.kind)
            return [ref.name for ref in (*refs.branches, *refs.tags)]
        return []


class ModelScope:
    """ModelScope, or who speaks like it (MODELSCOPE_ENDPOINT, MODELSCOPE_DOMAIN)."""

    def __init__(self, source: Source, commit: str = "") -> None:
        import requests

        self.source, self.commit = source, commit
        self.session = requests.Session()
        self.endpoint = _modelscope_endpoint(source)
        self.token = os.environ.get("MODELSCOPE_API_TOKEN", "").strip()
        host = urlsplit(self.endpoint).hostname or ""
        if self.token:
            self.session.cookies.set("m_session_id", self.token, domain=host, path="/")
            self.session.headers["Authorization"] = f"Bearer {self.token}"
        elif _login_file().is_file() and (
            cookies := import_module("modelscope.hub.api").ModelScopeConfig.get_cookies()
        ):
            self.session.cookies.update(cookies)
            self.token = "login"

    def listing(self) -> Listing:
        """The commit of the revision, and its files."""
        source = self.source
        names = self._names()
        if not self.commit and names and source.branch not in names and not _is_hexadecimal(source.branch):
            raise Refused("no revision", no_revision(source, names))
        entries: list[Entry] = []
        latest: Commit = {}
        for page in range(1, 10_000):
            data = self._files(page)
            batch = data.get("Files") or []
            entries += batch
            latest = data.get("LatestCommitter") or latest
            if source.kind == "model" or len(batch) < _PAGE:
                break
        files = tuple(
            File(
                str(entry.get("Path") or entry.get("Name")),
                int(entry.get("Size") or 0),
                entry.get("Sha256") or "",
            )
            for entry in entries
            if entry.get("Type") != "tree"
            and is_fetched(source.kind, str(entry.get("Path") or entry.get("Name")))
        )
        refuse_outside(source, (file.path for file in files))
        newest = max(entries, key=lambda entry: entry.get("CommittedDate") or 0, default=Entry())
        commit = latest.get("Id") or latest.get("ShortId") or newest.get("Revision") or ""
        if is_commit(self._asked):
            commit = self._asked
        if self.commit and commit != self.commit:
            raise Refused("moved", f"{source} moved while it was fetched; run again")
        self.commit = str(commit)
        return Listing(self.commit, files)

    @property
    def _asked(self) -> str:
        """Return the revision to name.

        What only a short commit is known of is asked for by its branch.
        """
        return self.commit if is_commit(self.commit) else self.source.branch

    def size_here(self, file: File) -> int:
        """Bytes of *file* that the cache has."""
        target = snapshot_folder(self.source, self.commit, os.environ) / file.path
        for path in (target, target.with_name(f"{target.name}.incomplete")):
            with contextlib.suppress(OSError):
                return path.stat().st_size
        return sum(path.stat().st_size for path in target.parent.glob(f"{target.name}_*_*"))

    def fetch(self, listing: Listing) -> Path:
        """Fetch the files and return their folder."""
        os.environ.setdefault("TQDM_DISABLE", "1")
        try:
            library = import_module("modelscope_hub.compat.snapshot_download")
        except ImportError:  # before modelscope 1.38
            library = import_module("modelscope.hub.snapshot_download")
        source = self.source
        folder = snapshot_folder(source, listing.commit, os.environ)
        folder.mkdir(parents=True, exist_ok=True)
        self._take_over(listing, folder)
        fetch = library.snapshot_download if source.kind == "model" else library.dataset_snapshot_download
        with self._in_words():
            return Path(
                fetch(
                    source.id,
                    revision=self._asked,
                    local_dir=str(folder),
                    ignore_patterns=list(NOT_FETCHED[source.kind]) or None,
                )
            )

    def note(self, commit: str) -> None:
        """Nothing: this cache has no place for where a branch is."""

    def _take_over(self, listing: Listing, folder: Path) -> None:
        """Link what the library fetched before under another name.

        It checks each file's hash itself.
        """
        for older in older_folders(self.source, os.environ):
            for file in listing.files if older != folder else ():
                target, before = folder / file.path, older / file.path
                if (
                    not file.sha256
                    or target.exists()
                    or not before.is_file()
                    or before.stat().st_size != file.size
                ):
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(OSError):  # another disk: it is fetched
                    os.link(before.resolve(), target)

    def _files(self, page: int) -> Page:
        source = self.source
        query: dict[str, str | int] = {"Revision": self._asked, "Recursive": "True"}
        end = "repo/files"
        if source.kind == "dataset":
            end = "repo/tree"
            query |= {"PageNumber": page, "PageSize": _PAGE}
        data = self._get(end, query)
        return cast(Page, data if isinstance(data, dict) else {"Files": data})

    def _get(self, end: str, query: dict[str, str | int] | None = None) -> Any:
        source = self.source
        address = f"{self.endpoint}/api/v1/{source.kind}s/{source.id}/{end}"
        with self._in_words():
            answer = self.session.get(address, params=query, timeout=30)
            answer.raise_for_status()
            body = answer.json()
        return body.get("Data", body) if isinstance(body, dict) else body

    def _names(self) -> list[str]:
        with contextlib.suppress(Refused):
            data = self._get("revisions")
            revisions = (data.get("RevisionMap") or {}) if isinstance(data, dict) else {}
            return [each["Revision"] for key in ("Branches", "Tags") for each in revisions.get(key) or []]
        return []

    @contextlib.contextmanager
    def _in_words(self) -> Iterator[None]:
        source = self.source
        page = f"{self.endpoint}/{source.kind}s/{source.id}"
        try:
            yield
        except Exception as error:
            statuses = [
                status
                for cause in causes(error)
                if (
                    status := getattr(cause, "status_code", None)
                    or getattr(getattr(cause, "response", None), "status_code", None)
                )
            ]
            if {401, 403} & set(statuses):
                raise Refused("gated", gated(source, page, bool(self.token))) from None
            if 404 in statuses and _is_hexadecimal(source.branch) and self._exists():
                raise Refused("no revision", no_revision(source, [])) from None
            if 404 in statuses:
                raise Refused("no repository", no_repository(source, page, bool(self.token))) from None
            if final := [status for status in statuses if 400 < status < 500 and status not in (408, 429)]:
                raise Refused("refused", refused_for(source, final[0], "", page)) from None
            if name := re.search(r"Hash mismatch for ([^\s:]+)", str(error)):
                raise Refused("spoiled", spoiled(source, name[1], 1)) from None
            if re.search(r"Server exceeded \d+ bytes", str(error)):
                raise Refused("endless", too_large(source)) from None
            raise

    def _exists(self) -> bool:
        address = f"{self.endpoint}/api/v1/{self.source.kind}s/{self.source.id}"
        return bool(self.session.get(address, timeout=30).ok)


_PAGE = 200


def _modelscope_endpoint(source: Source) -> str:
    chosen = os.environ.get("MODELSCOPE_ENDPOINT") or os.environ.get("MODELSCOPE_DOMAIN")
    if chosen:
        return (chosen if "://" in chosen else f"https://{chosen}").rstrip("/")
    sites = ["https://www.modelscope.cn", "https://www.modelscope.ai"]
    if os.environ.get("MODELSCOPE_PREFER_AI_SITE", "").lower() in ("1", "true"):
        sites.reverse()
    import requests

    with contextlib.suppress(requests.RequestException):
        for site in sites:
            if requests.get(f"{site}/api/v1/{source.kind}s/{source.id}", timeout=30).status_code != 404:
                return site
    return sites[0]


def _login_file() -> Path:
    home = os.environ.get("MODELSCOPE_HOME") or Path.home() / ".modelscope"
    return Path(home).expanduser() / "credentials" / "cookies"


def say(line: str) -> None:
    """Print *line* into the log, without secrets."""
    print(redact(line), flush=True)


def _is_hexadecimal(text: str) -> bool:
    return len(text) >= 7 and set(text) <= set("0123456789abcdef")
