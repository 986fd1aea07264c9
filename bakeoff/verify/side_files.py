"""The files beside a page that hold its samples, read back."""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from bakeoff.foundation.files import readable_rows
from bakeoff.report.side_files import SIDE_FOLDER
from bakeoff.verify import words
from bakeoff.verify.audit import Audit
from bakeoff.verify.evidence import Evidence, Row
from bakeoff.verify.manifest import digest_of

_RULE = "samples beside the page"
_CALL = re.compile(r'bakeoffSamples\(("(?:[^"\\]|\\.)*"),(\d+),"([A-Za-z0-9+/=]*)"\);?\s*')


def side_files(folder: Path) -> list[Path]:
    """Return the files of samples beside the page in *folder*."""
    return sorted((folder / SIDE_FOLDER).glob("*.js"))


def check_side_files(audit: Audit, evidence: Evidence, folder: Path, fresh: Mapping[str, str]) -> None:
    """Hold the files of samples against those made anew.

    *fresh*: name -> text, from the verified rows. Prompts are held against their hashes, and against the store.
    """
    present = {f"{SIDE_FOLDER}/{path.name}": path for path in side_files(folder)}
    if not present and evidence.root is None:
        audit.note(words.NO_SIDE_FILES())
        return
    audit.compare(_RULE, f"{SIDE_FOLDER}: files", sorted(present), sorted(fresh))
    prompts = dict(_prompts(evidence))
    for name in sorted(present.keys() & fresh.keys()):
        with audit.reading(name):
            shown, expected = _read(present[name].read_text(encoding="utf-8")), _read(fresh[name])
            audit.compare(_RULE, f"{name} place", shown["place"], expected["place"])
            audit.compare(_RULE, f"{name} rows", len(shown["rows"]), len(expected["rows"]))
            for number, (row, source) in enumerate(zip(shown["rows"], expected["rows"], strict=False)):
                audit.compare(_RULE, f"{name} row {number}", row, source)
            _check_prompts(audit, name, shown, prompts if evidence.root else None)


def _read(text: str) -> Row:
    """Return what a file of samples hands to the page.

    Raises:
        ValueError: it is another program.
    """
    call = _CALL.fullmatch(text)
    if call is None:
        raise ValueError("no call of bakeoffSamples alone")
    try:
        content = json.loads(zlib.decompress(base64.b64decode(call[3], validate=True), 31))
    except (zlib.error, binascii.Error) as error:
        raise ValueError(f"packed data that cannot be read: {error}") from None
    return {**content, "place": [json.loads(call[1]), int(call[2])]}


def _check_prompts(audit: Audit, name: str, shown: Row, prompts: Mapping[str, object] | None) -> None:
    from bakeoff.verify.answers import sha_of

    named = {sha for every in shown["sent"] for sha in every}
    audit.compare(_RULE, f"{name} prompts", sorted(shown["prompts"]), sorted(named))
    for sha, messages in shown["prompts"].items():
        audit.compare(_RULE, f"{name} prompt {sha}", sha_of(messages), sha)
        if prompts is not None and sha in prompts:
            audit.compare(_RULE, f"{name} prompt {sha} in the store", messages, prompts[sha])


def _prompts(evidence: Evidence) -> Iterator[tuple[str, object]]:
    """Yield the prompts that the evaluations of the run sent, by their hashes."""
    read: set[str] = set()
    for stage in evidence.stages:
        output = evidence.place(stage) if stage["stage"] == "evaluate" else None
        if output is None:
            continue
        folder = evidence.replies_of(output)
        path = folder / "prompts.jsonl" if folder else None
        if path and (digest := digest_of(path)) not in read:  # most models are asked alike
            read.add(digest)
            yield from ((str(row["prompt_sha"]), row["messages"]) for row in readable_rows(path))
