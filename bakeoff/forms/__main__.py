"""``python -m bakeoff.forms SOURCE TARGET``: convert a published model folder into its native form."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bakeoff.errors import DataError
from bakeoff.forms.conversion import convert


def main(argv: list[str]) -> int:
    """Convert a published model folder into its native form."""
    parser = argparse.ArgumentParser(prog="python -m bakeoff.forms", description=main.__doc__)
    parser.add_argument("source", type=Path, help="the published folder; it is only read")
    parser.add_argument("target", type=Path, help="the folder to make")
    given = parser.parse_args(argv)
    try:
        target = convert(given.source, given.target, progress=lambda message: print(message, flush=True))
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"native form: {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
