"""Counts the rows that the installed ms-swift keeps of training files: ``ms_swift_rows.py FOLDER FILE...``.

FOLDER takes a tokenizer; the last line of the output is a JSON list with a number for each file, or its error.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}

import datasets
from swift.dataset import load_dataset
from swift.model import get_processor
from swift.template import get_template
from transformers import Qwen2Config

from bakeoff import tiny


def template(folder: Path) -> Any:
    tiny._tokenizer(tiny.TINY["qwen2"]).save_pretrained(folder)
    Qwen2Config(hidden_size=8, num_hidden_layers=1, architectures=["Qwen2ForCausalLM"]).save_pretrained(
        folder
    )
    made = get_template(get_processor(str(folder), model_type="qwen2"), template_type="qwen", max_length=2048)
    made.set_mode("train")
    return made


def kept(path: str, encoder: Any) -> int | str:
    try:
        rows, _ = load_dataset(path, load_from_cache_file=False)
    except ZeroDivisionError:
        return 0  # which is how it ends when no row of a file is left
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]
    return sum(encodes(row, encoder) for row in rows)


def encodes(row: dict[str, Any], encoder: Any) -> bool:
    """Whether ms-swift's encoding keeps *row*; it leaves out what raises."""
    try:
        return bool(encoder.encode(row))
    except Exception:
        return False


def main() -> None:
    logging.disable(logging.ERROR)
    datasets.disable_caching()
    encoder = template(Path(sys.argv[1]))
    print(json.dumps([kept(path, encoder) for path in sys.argv[2:]]))


if __name__ == "__main__":
    main()
