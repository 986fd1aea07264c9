"""Print what a store's records say of each stage, and how far two rows' replies and grades agree.

    python bench/gpu/summary.py STORE...                                # seconds, memory, identity, by row and stage
    python bench/gpu/summary.py STORE... --agree ROW/VARIANT ROW/VARIANT

Of several records of a stage the newest is shown; seconds of what a run reused are those of the run that made it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from evaluate import grades, replies, same

FACTS = (
    "train_s", "tokens", "tokens_per_s", "memory_gib", "loss_curve", "dialogues", "modules", "applied", "worst",
    "to_adapter", "to_trained", "to_base", "apart", "seconds", "seconds_to_models", "seconds_to_answer",
    "replies_agreed", "logprobs_compared", "identity", "gpus", "requests_s", "asked_now", "restarts",
    "memory_not_returned_gib", "warnings",
)  # fmt: skip
"""Of a record's facts, those that a table of stages wants."""


def records(store: Path) -> Iterator[dict[str, object]]:
    """Yield the records of a *store*, oldest first."""
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in store.rglob("record.json")]
    yield from sorted(rows, key=lambda row: str(row["started"]))


def stage(record: dict[str, object]) -> dict[str, object]:
    """Return what is kept of a *record*."""
    facts = record.get("facts")
    chosen = {name: facts[name] for name in FACTS if name in facts} if isinstance(facts, dict) else {}
    kept = {name: record.get(name) for name in ("started", "seconds", "peak_memory_gib", "outcome")}
    return {**kept, **chosen}


def variant_folder(stores: list[Path], subject: str) -> Path:
    """Return where the replies of ``row/variant`` lie."""
    row, variant = subject.split("/")
    return next(
        folder for store in stores if (folder := store / "models" / row / "evaluation" / variant).is_dir()
    )


def main() -> None:
    """Print the summary as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", nargs="+", type=Path)
    parser.add_argument("--agree", nargs=2, metavar="ROW/VARIANT", action="append", default=[])
    options = parser.parse_args()
    table: dict[str, dict[str, object]] = {}
    for store in options.stores:
        for record in records(store):
            folder = Path(str(record["log" if record["stage"] == "convert" else "output"])).parent.name
            name = (
                folder.rsplit("-", 1)[0]
                if record["stage"] == "evaluate"
                else "-".join(str(part) for part in (record["stage"], record.get("variant")) if part)
            )
            table.setdefault(str(record["model"]), {})[name] = stage(record)
    pairs = {}
    for one, other in options.agree:
        first, second = (variant_folder(options.stores, subject) for subject in (one, other))
        pairs[f"{one}, {other}"] = {
            "replies_alike": same(replies(first), replies(second)),
            "grades_alike": same(grades(first), grades(second)),
        }
    print(json.dumps({"stages": table, "agreement": pairs}, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
