"""``python -m bakeoff.forms SOURCE TARGET``: convert a published model into its native form."""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from bakeoff.errors import DataError
from bakeoff.forms.conversion import convert
from bakeoff.forms.proof import prove
from bakeoff.forms.published import download


def main(argv: list[str]) -> int:
    """Convert a published model folder into its native form."""
    parser = argparse.ArgumentParser(prog="python -m bakeoff.forms", description=main.__doc__)
    parser.add_argument("source", help="the published folder, which is only read, or a hub id owner/name")
    parser.add_argument("target", type=Path, help="the folder to make")
    parser.add_argument(
        "--use-hf", action="store_true", help="take a hub id from Hugging Face, not ModelScope"
    )
    given = parser.parse_args(argv)

    def progress(message: str) -> None:
        print(message, flush=True)

    try:
        folder = Path(given.source).expanduser()
        if not folder.is_dir():
            folder = download(given.source, use_hf=given.use_hf, progress=progress)
        target = convert(folder, given.target, progress=progress, prove=partial(prove, progress=progress))
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"native form: {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
