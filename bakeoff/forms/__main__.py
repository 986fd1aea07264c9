"""Convert a published model into its native form, as a program.

``python -m bakeoff.forms SOURCE TARGET``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from bakeoff.forms.conversion import convert
from bakeoff.forms.proof import prove
from bakeoff.foundation.errors import DataError
from bakeoff.foundation.sentences import Template
from bakeoff.foundation.terminal import complain, localized, tell

ERROR = Template("forms.__main__.error", "error: ", zh="错误：")
NATIVE = Template("forms.__main__.native", "native form: {folder}", zh="原生格式：{folder}")
UNFETCHED = Template(
    "forms.__main__.unfetched",
    "{model}: cannot be fetched ({reason}); give a folder, or see to the network",
    zh="{model}：无法下载（{reason}）；请给出本地文件夹，或检查网络",
)
CLIENT_ENDED = Template(
    "forms.__main__.client_ended", "its client ended with code {code}", zh="下载程序以代码 {code} 结束"
)


def main(argv: list[str]) -> int:
    """Convert a published model folder into its native form."""
    parser = argparse.ArgumentParser(prog="python -m bakeoff.forms", description=main.__doc__)
    parser.add_argument("source", help="the published folder, which is only read, or a hub id owner/name")
    parser.add_argument("target", type=Path, help="the folder to make")
    parser.add_argument(
        "--use-hf", action="store_true", help="take a hub id from Hugging Face, not ModelScope"
    )
    options = parser.parse_args(argv)

    def progress(message: str) -> None:
        print(message, flush=True)

    try:
        folder = Path(options.source).expanduser()
        if not folder.is_dir():
            folder = _fetched(options.source, use_hf=options.use_hf)
        target = convert(folder, options.target, progress=progress, prove=partial(prove, progress=progress))
    except DataError as error:
        complain(error, localized(ERROR()))
        return 1
    tell(NATIVE(folder=target))
    return 0


def _fetched(model: str, *, use_hf: bool) -> Path:
    """Return the folder of a hub's *model*, fetched unless cached.

    The client of the hubs does it, which tells how far it is, goes on where it stopped, and says what a hub refuses.

    Raises:
        DataError: it cannot be fetched.
    """
    hub = "huggingface" if use_hf else "modelscope"
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "fetched.json"
        line = [sys.executable, "-m", "bakeoff.tools.hub_client", "download", hub, "model", model]
        returncode = subprocess.run([*line, "--out", str(out)], check=False).returncode
        answer = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
    if folder := answer.get("folder"):
        return Path(folder)
    reason = answer.get("message") or CLIENT_ENDED(code=returncode)
    raise DataError(UNFETCHED(model=model, reason=reason))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
