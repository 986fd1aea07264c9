"""The manifest of a run and of its report: digests of every file.

The files are those that the page stands on; it is signed where a key is given. Weights are not listed: the record of
the stage that made them holds their digests, and the record is.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bakeoff import __version__
from bakeoff.foundation.errors import StoreError
from bakeoff.foundation.files import write_bytes, write_json
from bakeoff.foundation.sentences import with_statements
from bakeoff.store.places import evidence_of, place_of
from bakeoff.verify.words import (
    NO_ED25519,
    NO_ED25519_KEY,
    NO_PRIVATE_KEY,
    NO_PUBLIC_KEY,
    NO_SIGNATURE,
    OTHER_SIGNATURE,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

NAME, SIGNATURE, MATRIX = "manifest.json", "manifest.json.sig", "matrix.yaml"
KEY_VARIABLE = "BAKEOFF_SIGNING_KEY"
"""Names the file of an Ed25519 private key (PEM, without a passphrase)."""
_GROWING = "events.jsonl"
_PAGE_CODE = ("report", "statistics", "scoring", "judgement")
_TABLES = ("*.csv", "*.json", "*.parquet", "*.tex", "*.html", "*.htm", "tables.md", "samples/*.js")


def digest_of(path: Path, size: int | None = None) -> str:
    """Return the SHA-256 of a file, or of its first *size* bytes."""
    if size is not None:
        with path.open("rb") as file:
            return hashlib.sha256(file.read(size)).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def page_code() -> str:
    """Return a digest of the code that computes and renders a page.

    Other code may word it otherwise.
    """
    root = Path(__file__).parents[1]
    code = hashlib.sha256()
    for room in _PAGE_CODE:
        for path in sorted((root / room).rglob("*")):
            if path.suffix in (".py", ".j2", ".css", ".js"):
                code.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return code.hexdigest()


def write_run_manifest(root: Path, run_id: str, matrix: Path) -> Path:
    """Write the manifest of a finished run, and a copy of its *matrix*."""
    folder = root / "runs" / run_id
    if matrix.is_file():
        shutil.copyfile(matrix, folder / MATRIX)
    run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    files = {path.relative_to(root).as_posix(): path for path in _of_run(root, folder, run)}
    return _write(folder, run_id, files)


def write_report_manifest(page: Path, run: Path, ratings: object) -> Path | None:
    """Write the manifest of the report of *page*, and a copy of run.json.

    *run*: the folder of the run.

    Args:
        ratings: the judgements that the page shows; there may be more than when the run ended.

    Returns:
        The manifest; None where the page was not written.
    """
    folder, source = page.parent, run / "run.json"
    if not page.is_file() or not source.is_file():
        return None
    content = json.loads(source.read_text(encoding="utf-8"))
    write_json(folder / "run.json", {**content, "ratings": with_statements(ratings)})
    if (run / MATRIX).is_file():
        shutil.copyfile(run / MATRIX, folder / MATRIX)
    paths = {path for pattern in (*_TABLES, MATRIX) for path in folder.glob(pattern) if path.is_file()}
    files = {path.relative_to(folder).as_posix(): path for path in sorted(paths) if path.name != NAME}
    of_run = digest_of(run / NAME) if (run / NAME).is_file() else ""
    return _write(folder, str(content["run_id"]), files, page=page.name, run_manifest=of_run)


def _write(folder: Path, run_id: str, files: Mapping[str, Path], **more: str) -> Path:
    listed = {}
    for name, path in files.items():
        size = path.stat().st_size
        listed[name] = {"sha256": digest_of(path, size), "bytes": size}
    content: dict[str, object] = {
        "format": 1,
        "run_id": run_id,
        "bakeoff": __version__,
        "page_code": page_code(),
        **more,
        "files": listed,
    }
    key_file = os.environ.get(KEY_VARIABLE, "")
    signature = folder / SIGNATURE
    signature.unlink(missing_ok=True)
    if key_file:
        try:
            key = _private_key(Path(key_file))
        except (StoreError, OSError) as error:  # the run's results are not lost for want of a signature
            key_file, content["not_signed"] = "", str(error)
    write_json(folder / NAME, content)
    if key_file:
        write_bytes(signature, base64.b64encode(key.sign((folder / NAME).read_bytes())) + b"\n")
    return folder / NAME


def _of_run(root: Path, folder: Path, run: Mapping[str, Any]) -> Iterator[Path]:
    """Yield the files that the numbers of a run come from."""
    for name in ("run.json", "scores.json", "scores.csv", "samples.parquet", "doctor.json", _GROWING, MATRIX):
        if (folder / name).is_file():
            yield folder / name
    for stage in run.get("stages", []):
        output = place_of(root, str(stage.get("output", "")))
        if output is None or stage.get("outcome") not in ("ran", "reused"):
            continue
        if output.with_name("record.json").is_file():
            yield output.with_name("record.json")
        if not output.is_file():
            continue
        yield output
        if stage["stage"] == "speed":
            yield from sorted(output.with_name("perf").rglob("benchmark_summary.json"))
        if stage["stage"] == "evaluate" and (evidence := evidence_of(root, output)):
            yield from sorted(
                path for path in evidence.rglob("*") if path.is_file() and path.suffix != ".log"
            )


def _private_key(path: Path) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError) as error:
        raise StoreError(NO_PRIVATE_KEY(name=KEY_VARIABLE, file=path.name, error=error)) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise StoreError(NO_ED25519_KEY(name=KEY_VARIABLE, file=path.name))
    return key


def why_not_signed(manifest: Path, public_key: Path) -> str:
    """Return why the owner of *public_key* did not sign; empty if so.

    *public_key*: PEM.

    Raises:
        StoreError: *public_key* is no Ed25519 public key.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(public_key.read_bytes())
    except (OSError, ValueError) as error:
        raise StoreError(NO_PUBLIC_KEY(file=public_key, error=error)) from None
    if not isinstance(key, Ed25519PublicKey):
        raise StoreError(NO_ED25519(file=public_key))
    signature = manifest.with_name(SIGNATURE)
    if not signature.is_file():
        return NO_SIGNATURE(file=SIGNATURE)
    try:
        key.verify(base64.b64decode(signature.read_bytes(), validate=False), manifest.read_bytes())
    except (InvalidSignature, ValueError):
        return OTHER_SIGNATURE()
    return ""
