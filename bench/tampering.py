"""How many random single edits of a store and its report does ``verify`` find?

    python bench/tampering.py [STORE REPORT] [--edits 300] [--seeds 3] [--careful]
    python bench/tampering.py --size full [--keep FOLDER]

Takes the manifests away and changes one thing at a time in any file that the page stands on: a value, a row, a cell, a
letter, a key, a column, or the whole file. Prints the share that was found, and what was not, by kind. Without a store
it makes one.

With ``--size`` it makes a store of six rows with base and tuned model instead (tenth: 19,872 replies, full: 198,720;
half of the replies think aloud before they answer), and times ``verify`` on it and its page.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from bakeoff.verify import manifest
from bakeoff.verify.evidence import Evidence, find
from bakeoff.verify.verifying import verify
from tests.mutating import Edit, edited, random_edit
from tests.synthetic_store import honest_store

SIZES = {
    "tenth": {"exam": 1_200, "counsellor": 400, "open": 56},
    "full": {"exam": 12_000, "counsellor": 4_000, "open": 560},
}
"""Questions of each suite that six rows are asked, base and tuned."""


def main() -> int:
    """Return 0 if at least 99.5 % of the edits are found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("places", nargs="*", type=Path, metavar="STORE REPORT")
    parser.add_argument("--edits", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument(
        "--careful",
        action="store_true",
        help="the records of stages know the digests of results that were changed",
    )
    parser.add_argument("--size", choices=SIZES, help="time verify on a store of this size instead")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="where the store of --size lies, and stays"
    )
    arguments = parser.parse_args()
    if arguments.size:
        return timed(arguments.size, arguments.keep)
    with tempfile.TemporaryDirectory(prefix="tampering-") as scratch:
        folder = Path(scratch)
        if arguments.places:
            store, report = arguments.places
            shutil.copytree(store, folder / "store", symlinks=True)
            shutil.copytree(report, folder / "reports")
        else:
            honest_store(folder, seed=7, count=12, people=True)
        missed = total = 0
        paths = listed(folder)
        unseal(folder)
        evidence = find(folder / "store", None, None, folder / "reports")
        honest = verify(evidence)
        if honest.discrepancies:
            print("\n".join(map(str, honest.discrepancies[:10])))
            return 2
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            rng = np.random.default_rng(seed)
            unseen: Counter[str] = Counter()
            for _ in range(arguments.edits):
                edit = random_edit(rng, paths, folder)
                if not is_found(edit, folder, arguments.careful):
                    unseen[edit.kind] += 1
                    print("  not found:", edit.kind, flush=True)
            count = sum(unseen.values())
            missed, total = missed + count, total + arguments.edits
            print(f"seed {seed}: {arguments.edits - count} of {arguments.edits} found", flush=True)
        print(f"{100 * (1 - missed / total):.2f} % of {total} edits found, {len(paths)} files")
    return int(missed > 0.005 * total)


def timed(size: str, keep: Path | None) -> int:
    """Make a store of *size*, unless it is there, and time ``verify`` on it."""
    with tempfile.TemporaryDirectory(prefix="tampering-") as scratch:
        folder = keep or Path(scratch)
        cores = len(os.sched_getaffinity(0))
        if not (folder / "reports").is_dir():
            began = time.monotonic()
            honest_store(folder, models=6, count=SIZES[size], thoughts=240, processes=cores)
            print(f"made in {time.monotonic() - began:.0f} s", flush=True)
        command = [sys.executable, "-m", "bakeoff.verify", str(folder / "reports"), "--store"]
        print("load before:", *(f"{load:.1f}" for load in os.getloadavg()), f"on {cores} cores", flush=True)
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        outcome = subprocess.run(
            [*command, str(folder / "store")], capture_output=True, text=True, check=False
        )
        seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        busy = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(outcome.stdout[-400:], outcome.stderr[-400:])
        print(
            f"{seconds:.1f} s, {busy:.1f} s of processor time, largest process {after.ru_maxrss / 2**20:.1f} GiB"
        )
        print("load after:", *(f"{load:.1f}" for load in os.getloadavg()))
        return outcome.returncode


def listed(folder: Path) -> list[Path]:
    """Return the files that the manifests list, and the ratings."""
    evidence = find(folder / "store", None, None, folder / "reports")
    assert evidence.root
    assert evidence.run_folder
    assert evidence.page
    paths: set[Path] = set()
    for base, place in ((evidence.root, evidence.run_folder), (evidence.page.parent, evidence.page.parent)):
        content = json.loads((place / manifest.NAME).read_text(encoding="utf-8"))
        for name, listed_file in content["files"].items():
            path = base / name
            # what a later run wrote anew is none of this run's
            if path.is_file() and manifest.digest_of(path, listed_file["bytes"]) == listed_file["sha256"]:
                paths.add(path)
    paths |= set((evidence.root / "judge").glob("*.sqlite"))
    return sorted(path for path in paths if path.is_file() and path.stat().st_size)


def unseal(folder: Path) -> None:
    """Take the manifests away, and what promises them."""
    for path in folder.rglob(manifest.NAME):
        path.unlink()
    for path in folder.rglob("run.json"):
        content = json.loads(path.read_text(encoding="utf-8"))
        content.pop("manifest", None)
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def is_found(edit: Edit, folder: Path, careful: bool) -> bool:
    """Return whether ``verify`` sees the change."""
    record = edit.path.with_name("record.json")
    is_sealed = careful and edit.path.name != "record.json" and edit.content is not None and record.is_file()
    before = record.read_bytes() if is_sealed else b""
    with edited(edit):
        try:
            if is_sealed and edit.content is not None:
                content = json.loads(before)
                content["made"] = {
                    **content.get("made", {}),
                    edit.path.name: hashlib.sha256(edit.content).hexdigest(),
                }
                record.write_text(json.dumps(content), encoding="utf-8")
            return bool(verify(_evidence(folder), stop_early=True).discrepancies)
        except Exception as error:
            print("  raised:", type(error).__name__, error, edit.kind, flush=True)
            return True
        finally:
            if is_sealed:
                record.write_bytes(before)


def _evidence(folder: Path) -> Evidence:
    return find(folder / "store", None, None, folder / "reports")


if __name__ == "__main__":
    sys.exit(main())
