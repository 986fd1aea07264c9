"""Messages about the end of a run, sent by Apprise (BSD-2-Clause)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

LONGEST = 1500
"""Characters of a message: short messages of some services end there."""


def notify(
    variables: Sequence[str], title: str, lines: Iterable[str], environ: Mapping[str, str]
) -> list[str]:
    """Send a message to each address in *variables*; return what went wrong.

    Addresses hold secrets: they come from the environment alone, and are repeated in no sentence. A service that is
    away changes nothing about the run.
    """
    if not variables:
        return []
    if find_spec("apprise") is None:
        return ["notify: the package apprise is not installed; pip install apprise"]
    try:
        import apprise  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        return [f"notify: apprise cannot be imported ({error}); pip install apprise"]

    logging.getLogger("apprise").disabled = True  # it would print addresses that it cannot use
    try:
        body = "\n".join(lines)[:LONGEST]
    except Exception as error:  # the summary of a run that broke may break, too
        body = f"its summary cannot be made: {type(error).__name__}"
    complaints = []
    for name in variables:
        address = environ.get(name, "").strip()
        if not address:
            complaints.append(f"notify: the environment (or .env) has no {name}")
            continue
        sender: Any = apprise.Apprise()
        try:
            accepted = sender.add(address)
            sent = accepted and sender.notify(title=title, body=body)
        except Exception as error:  # a plugin of Apprise may raise whatever its library does
            complaints.append(f"notify: {name}: {type(error).__name__}")
            continue
        if not accepted:
            complaints.append(
                f"notify: {name} is no address that Apprise knows, such as mailto://… or feishu://…"
            )
        elif not sent:
            complaints.append(f"notify: {name}: the message was not sent")
    return complaints
