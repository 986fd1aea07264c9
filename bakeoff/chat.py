"""A conversation with a model of the matrix, in the terminal.

What is missing is made first, as ``pytest benchmarks/ -m deploy`` would; the answer appears as it is written. An empty
line or the end of the input ends the talk, ``/new`` begins another.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterable
from pathlib import Path

from bakeoff.chain.deployment import Deployment, deployments
from bakeoff.chain.service import Service
from bakeoff.foundation.errors import BakeoffError
from bakeoff.foundation.helps import localize
from bakeoff.foundation.secrecy import load_env_file
from bakeoff.foundation.sentences import Template
from bakeoff.foundation.terminal import localized_error, tell
from bakeoff.foundation.texts import printable
from bakeoff.foundation.workspace import Workspace
from bakeoff.matrix.loading import load_matrix
from bakeoff.runs.runs import new_id

STARTING = Template("chat.starting", "starting {row} ({variant}) …", zh="正在启动 {row}（{variant}）……")
STARTED_AGAIN = Template("chat.started_again", "{why}; started again", zh="{why}；已重新启动")


def main(argv: list[str] | None = None) -> int:
    """Serve a row and talk to it; returns the exit code."""
    options = localize(_options()).parse_args(argv)
    workspace = Workspace(Path(options.store).absolute())
    try:
        load_env_file(Path(".env"))
        matrix = load_matrix(Path(options.matrix))
        subject = f"{options.row}/{options.variant}" if options.variant else options.row
        with deployments(matrix, [subject], workspace, new_id()) as (deployment,):
            tell(STARTING(row=options.row, variant=deployment.variant), to=sys.stderr)
            service = deployment.service()
            print(f"{service.served_name}  {service.url}  {service.fingerprint[:12]}", file=sys.stderr)
            talk(deployment, _lines(), system=options.system, max_tokens=options.max_tokens)
    except BakeoffError as error:
        print(printable(localized_error(error)), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def talk(deployment: Deployment, lines: Iterable[str], *, system: str = "", max_tokens: int = 512) -> None:
    """Answer each of *lines* greedily, with the whole dialogue so far."""
    opening = [{"role": "system", "content": system}] if system else []
    messages = list(opening)
    for line in lines:
        if not line:
            break
        if line == "/new":
            messages = list(opening)
            continue
        messages.append({"role": "user", "content": line})
        reply = _answer(deployment, messages, max_tokens)
        print()
        messages.append({"role": "assistant", "content": reply})


def _answer(deployment: Deployment, messages: list[dict[str, str]], max_tokens: int) -> str:
    """Print the reply as it is written, and return it."""
    restarts = len(deployment.restarts)
    pieces: list[str] = []

    def ask(service: Service) -> str:
        if len(deployment.restarts) > restarts:
            print("\n" * bool(pieces), end="", flush=True)
            tell(STARTED_AGAIN(why=deployment.restarts[-1]), to=sys.stderr)
        pieces.clear()
        for piece in service.stream(messages, temperature=0, max_tokens=max_tokens):
            print(printable(piece), end="", flush=True)
            pieces.append(piece)
        return "".join(pieces)

    return deployment.ask(ask)


def _lines() -> Iterable[str]:
    """What is typed or piped in, line by line."""
    if sys.stdin.isatty():
        import readline  # noqa: F401  (input() gains line editing)

        with contextlib.suppress(EOFError):
            while True:
                yield input("> ").strip()
    else:
        yield from (line.strip() for line in sys.stdin)


def _options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m bakeoff.chat", description="Talk to a model of the matrix."
    )
    parser.add_argument("row", help="name in the matrix")
    parser.add_argument("--variant", choices=("tuned", "base"), help="default: tuned, where the row has one")
    parser.add_argument("--matrix", default="model_matrix.yaml")
    parser.add_argument("--store", default="store")
    parser.add_argument("--system", default="", help="system prompt")
    parser.add_argument("--max-tokens", type=int, default=512, help="length of a reply")
    return parser


if __name__ == "__main__":
    sys.exit(main())
