"""Messages about the end of a run, sent by Apprise (BSD-2-Clause)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from bakeoff.foundation.sentences import Template
from bakeoff.foundation.terminal import localized

LONGEST = 1500
"""Characters of a message: short messages of some services end there."""


NOT_INSTALLED = Template(
    "runs.notifying.not_installed",
    "notify: the package apprise is not installed; pip install apprise",
    zh="notify：没有安装软件包 apprise；请运行 `pip install apprise`",
)
NOT_IMPORTED = Template(
    "runs.notifying.not_imported",
    "notify: apprise cannot be imported ({error}); pip install apprise",
    zh="notify：无法导入 apprise（{error}）；请运行 `pip install apprise`",
)
NO_VARIABLE = Template(
    "runs.notifying.no_variable",
    "notify: the environment (or .env) has no {name}",
    zh="notify：环境变量（或 .env）中没有 {name}",
)
FAILED = Template("runs.notifying.failed", "notify: {name}: {error}", zh="notify：{name}：{error}")
NO_ADDRESS = Template(
    "runs.notifying.no_address",
    "notify: {name} is no address that Apprise knows, such as mailto://… or feishu://…",
    zh="notify：{name} 不是 Apprise 支持的地址，例如 mailto://… 或 feishu://…",
)
NOT_SENT = Template(
    "runs.notifying.not_sent", "notify: {name}: the message was not sent", zh="notify：{name}：消息未能发出"
)
NO_SUMMARY = Template(
    "runs.notifying.no_summary", "its summary cannot be made: {error}", zh="无法生成摘要：{error}"
)


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
        return [NOT_INSTALLED()]
    try:
        import apprise  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        return [NOT_IMPORTED(error=error)]

    logging.getLogger("apprise").disabled = True  # it would print addresses that it cannot use
    try:
        body = "\n".join(lines)[:LONGEST]
    except Exception as error:  # the summary of a run that broke may break, too
        body = localized(NO_SUMMARY(error=type(error).__name__))
    complaints: list[str] = []
    for name in variables:
        address = environ.get(name, "").strip()
        if not address:
            complaints.append(NO_VARIABLE(name=name))
            continue
        sender: Any = apprise.Apprise()
        try:
            accepted = sender.add(address)
            sent = accepted and sender.notify(title=title, body=body)
        except Exception as error:  # a plugin of Apprise may raise whatever its library does
            complaints.append(FAILED(name=name, error=type(error).__name__))
            continue
        if not accepted:
            complaints.append(NO_ADDRESS(name=name))
        elif not sent:
            complaints.append(NOT_SENT(name=name))
    return complaints
