"""Manifests checked: every listed file, and the signature."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bakeoff.verify import manifest, words
from bakeoff.verify.audit import Audit
from bakeoff.verify.evidence import Evidence, Row, read_object

_GROWS = "events.jsonl"


def check_manifests(audit: Audit, evidence: Evidence, key: Path | None) -> None:
    """Hold every listed file against its digest.

    With the public *key*, every manifest against its signature.
    """
    for folder in evidence.folders:
        path = folder / manifest.NAME
        place = evidence.shown(path)
        if not path.is_file():
            if evidence.run.get("manifest"):
                audit.fail("manifest", place, words.GONE(), words.LAST_MANIFEST())
            else:
                audit.note(words.NO_MANIFEST(place=place, why=words.ONLY_SIGNED()))
            if key:
                audit.fail("signature", place, words.UNSIGNED(), words.A_SIGNED())
            continue
        if key:
            why = manifest.why_not_signed(path, key)
            audit.compare("signature", place, why, "")
        elif path.with_name(manifest.SIGNATURE).is_file():
            audit.note(words.GIVE_KEY(place=place))
        else:
            audit.note(words.NOT_SIGNED(place=place, why=words.ONLY_SIGNED()))
        with audit.reading(place):
            content = read_object(path)
            audit.compare("manifest", f"{place} run_id", content["run_id"], evidence.run_id)
            _check_files(audit, evidence, folder, content)
    if len(evidence.folders) == 2 and all((folder / manifest.NAME).is_file() for folder in evidence.folders):
        of_run, of_report = (folder / manifest.NAME for folder in evidence.folders)
        with audit.reading(evidence.shown(of_report)):
            named = read_object(of_report).get("run_manifest")
            audit.compare(
                "manifest",
                f"{of_report.parent.name}/manifest.json run_manifest",
                named,
                manifest.digest_of(of_run),
            )


def _check_files(audit: Audit, evidence: Evidence, folder: Path, content: Row) -> None:
    is_of_run = folder == evidence.run_folder
    base = evidence.root if is_of_run and evidence.root else folder
    later: list[Row] | None = None
    for name, listed in content["files"].items():
        path = base / name
        where = f"{folder.name}/{manifest.NAME} {name}"
        if not path.resolve().is_relative_to(base.resolve()):
            audit.fail("manifest", where, words.OUTSIDE(), words.A_FILE_IN_IT())
        elif not path.is_file():
            audit.fail("manifest", where, words.GONE(), listed["sha256"])
        else:
            digest = manifest.digest_of(path, listed["bytes"] if path.name == _GROWS else None)
            if digest != listed["sha256"] and is_of_run:
                later = list(_later(evidence)) if later is None else later
                if any(other["files"].get(name, {}).get("sha256") == digest for other in later):
                    audit.note(words.WRITTEN_ANEW(name=name))
                    continue
            audit.compare("manifest", where, digest, listed["sha256"])


def _later(evidence: Evidence) -> Iterator[Row]:
    """Yield the manifests of later runs in the store."""
    assert evidence.root is not None
    for path in sorted((evidence.root / "runs").glob(f"*/{manifest.NAME}")):
        if path.parent.name > evidence.run_id:
            try:
                yield read_object(path)
            except (OSError, ValueError):
                continue
