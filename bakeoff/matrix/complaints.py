"""What several checks of the matrix share: values, places, secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path

from pydantic import JsonValue

from bakeoff.foundation.errors import Complaint
from bakeoff.foundation.secrecy import NAMES, redact
from bakeoff.foundation.sentences import Template
from bakeoff.foundation.suggestions import suggestion
from bakeoff.matrix.datasets import is_there

_KEYS = re.compile(
    r"\b(sk|hf|ms|gh[opsu]|github_pat|xox[abp]|AKIA|eyJ)[-_]?[A-Za-z0-9_-]{16,}"  # keys of well-known services
    r"|\b(?=[A-Za-z0-9]*[a-z])(?=[A-Za-z0-9]*[A-Z])(?=(?:[A-Za-z]*[0-9]){4})[A-Za-z0-9]{24,}\b"
)
"""What looks like a key that was pasted, whatever stands around it."""

LONGEST_SHOWN = 200
"""Characters of a wrong value that are shown."""
LONGEST_NAME = 255
"""Bytes of the longest name of a file."""

TOO_LARGE = Template(
    "matrix.complaints.too_large", "a {kind} too large to show", zh="过大的 {kind}，无法显示"
)
NOT_KNOWN = Template("matrix.complaints.not_known", "'{name}' is not known", zh="没有 '{name}'")
NOT_KNOWN_BUT = Template(
    "matrix.complaints.not_known_but",
    "'{name}' is not known; {hint}",
    zh="没有 '{name}'；{hint}",
)
NO_VARIABLES = Template(
    "matrix.complaints.no_variables",
    "{text}: environment variables are not filled in here; write what {name} stands for",
    zh="{text}：此处不会代入环境变量；请写出 {name} 的实际内容",
)
OF_WINDOWS = Template(
    "matrix.complaints.of_windows",
    "{text}: is a path of Windows; write it as this machine knows it",
    zh="{text}：是 Windows 路径；请写成本机能识别的路径",
)
OF_WINDOWS_IN_WSL = Template(
    "matrix.complaints.of_windows_in_wsl",
    "{text}: is a path of Windows; write it as this machine knows it, in WSL {path}",
    zh="{text}：是 Windows 路径；请写成本机能识别的路径，在 WSL 中为 {path}",
)
TOO_LONG = Template(
    "matrix.complaints.too_long",
    "{text}: is longer than any file's name; write the path of a file or folder",
    zh="{text}：比任何文件名都长；请写文件或文件夹的路径",
)
SECRET_NAME = Template(
    "matrix.complaints.secret_name",
    "{name!r} is a secret by its name, and would be shown in command lines and records; put its value into the "
    "environment or .env under the name that the tool reads (such as HF_TOKEN), and leave it out here",
    zh="{name!r} 从名称看是密钥，会出现在命令行和记录中；"
    "请把它的值放入环境变量或 .env（使用工具读取的名称，例如 HF_TOKEN），并从此处删除",
)
NO_HOME = Template(
    "matrix.complaints.no_home",
    "{text}: nobody of that name has a home folder here; write the whole path",
    zh="{text}：本机没有这个用户的主目录；请写完整路径",
)
NO_FOLDER_ON_WINDOWS = Template(
    "matrix.complaints.no_folder_on_windows",
    "no folder can be called {name!r} on Windows, where a report may be read; give it another name",
    zh="报告可能在 Windows 上查看，而 Windows 上的文件夹不能叫 {name!r}；请换一个名称",
)
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)(?:\..*)?|.*\.")


def shown(value: object) -> str:
    """Return *value* as a message shows it: cut, and without secrets."""
    try:
        plain = str(value) if isinstance(value, date) else repr(value)
        text = _KEYS.sub("***", redact(plain))
    except (ValueError, RecursionError):  # an integer of thousands of digits, a list in itself
        return TOO_LARGE(kind=type(value).__name__)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def unknown(name: str, names: Iterable[str], where: str) -> Complaint:
    """Return that *name* is not known at *where*, with the nearest names."""
    text, hint = shown(name)[1:-1], suggestion(name, names)
    return Complaint(where, NOT_KNOWN_BUT(name=text, hint=hint) if hint else NOT_KNOWN(name=text))


def why_no_place(text: str) -> str:
    """Return why nothing lies at the path *text*; empty where it may."""
    if is_there(text):
        return ""
    if text.startswith("~") and _is_nobodys(text):
        return NO_HOME(text=shown(text))
    if variable := re.search(r"\$\{?([A-Za-z_]\w*)|%([A-Za-z_]\w*)%", text):
        return NO_VARIABLES(text=shown(text), name=variable[1] or variable[2])
    if re.match(r"[A-Za-z]:[\\/]|\\\\", text):
        if text[1] != ":":
            return OF_WINDOWS(text=shown(text))
        path = shown(f"/mnt/{text[0].lower()}{text[2:]}".replace("\\", "/"))
        return OF_WINDOWS_IN_WSL(text=shown(text), path=path)
    if any(len(part.encode("utf-8", "replace")) > LONGEST_NAME for part in text.split("/")):
        return TOO_LONG(text=shown(text))
    return ""


def _is_nobodys(text: str) -> bool:
    """Whether the home that *text* begins with is nobody's."""
    try:
        Path(text).expanduser()
    except RuntimeError:
        return True
    return False


def of_folder(name: str, where: str) -> Iterator[Complaint]:
    """Yield why no folder can be called *name* everywhere."""
    if _DEVICES.fullmatch(name):
        yield Complaint(where, NO_FOLDER_ON_WINDOWS(name=name))


def secrets_in(
    settings: Mapping[str, JsonValue] | Mapping[str, str | int | float | bool], where: str
) -> Iterator[Complaint]:
    """Yield which values are secrets by their names."""
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from secrets_in(value, f"{where}.{name}")
        # a number is a count, as in max_tokens; a text of several tokens is no secret either
        elif NAMES.search(name) and isinstance(value, str) and not name.lower().endswith("tokens"):
            yield Complaint(where, SECRET_NAME(name=name))
