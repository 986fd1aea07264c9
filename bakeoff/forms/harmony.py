"""Write GPT-OSS's vocabulary for engines, as a program.

From its own tokenizer: ``python -m bakeoff.forms.harmony MODEL FOLDER``.

lmdeploy and vLLM write GPT-OSS's prompts with openai-harmony, which fetches ``o200k_base.tiktoken`` unless the variable
``TIKTOKEN_ENCODINGS_BASE`` names a folder that has it. The same pieces stand in the model's ``tokenizer.json``.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
from pathlib import Path

from bakeoff.foundation.errors import DataError
from bakeoff.foundation.files import write_bytes

NAME = "o200k_base.tiktoken"
SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
"""Of the file that openai-harmony and tiktoken expect."""


def vocabulary(tokenizer: Path) -> bytes:
    """Return a byte-level ``tokenizer.json`` as a tiktoken file.

    Per line, piece and rank.
    """
    document = json.loads(tokenizer.read_text(encoding="utf-8"))
    added = {entry["id"] for entry in document.get("added_tokens", ())}
    pieces = sorted((rank, piece) for piece, rank in document["model"]["vocab"].items() if rank not in added)
    bytes_of = {character: byte for byte, character in _characters().items()}
    lines = [
        base64.b64encode(bytes(bytes_of[character] for character in piece)) + b" %d\n" % rank
        for rank, piece in pieces
    ]
    return b"".join(lines)


def write_vocabulary(model: Path, folder: Path) -> Path:
    """Write the vocabulary of *model* under the engines' name for it.

    Raises:
        DataError: the model's tokenizer is not that of the release.
    """
    try:
        content = vocabulary(model / "tokenizer.json")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{model / 'tokenizer.json'}: {type(error).__name__}: {error}; download it again"
        ) from None
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise DataError(
            f"{model / 'tokenizer.json'}: not the vocabulary of GPT-OSS, which its engines expect"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / NAME, content)
    return folder / NAME


def _characters() -> dict[int, str]:
    """Return the character by which tokenizers write each byte.

    Itself where it can be printed.
    """
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + at) for at, byte in enumerate(others)}


def main(argv: list[str]) -> int:
    """Write GPT-OSS's vocabulary for engines that cannot reach the network."""
    parser = argparse.ArgumentParser(prog="python -m bakeoff.forms.harmony", description=main.__doc__)
    parser.add_argument("model", type=Path, help="a folder with GPT-OSS's tokenizer.json")
    parser.add_argument("folder", type=Path, help="for TIKTOKEN_ENCODINGS_BASE")
    options = parser.parse_args(argv)
    try:
        file = write_vocabulary(options.model, options.folder)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{file}\nexport TIKTOKEN_ENCODINGS_BASE={file.parent.absolute()}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
