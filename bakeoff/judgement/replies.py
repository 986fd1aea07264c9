"""Gather the replies of a served model to cases, to be scored later."""

from __future__ import annotations

import hashlib
import json
import time
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bakeoff.endpoint.address import http_session
from bakeoff.endpoint.asking import complete
from bakeoff.foundation.errors import DataError, ServiceError
from bakeoff.foundation.files import json_line, write_rows
from bakeoff.foundation.secrecy import redact
from bakeoff.foundation.sentences import Template
from bakeoff.foundation.texts import printable
from bakeoff.judgement.case_rows import BadLine, decoded, fields_of, not_by_line
from bakeoff.judgement.soundness import are_mixed_up, without_service_texts

if TYPE_CHECKING:
    from requests import Session

NO_CASES_FILE = Template(
    "judgement.replies.no_cases_file",
    "{file}: no such file of cases; give a JSONL file with id and messages (or dialog) per row",
    zh="{file}：没有这个个案文件；请给出 JSONL 文件，每行含 id 和 messages（或 dialog）",
)
NO_CASE = Template(
    "judgement.replies.no_case",
    "{file}: holds no case; one JSON object a line is wanted, with id and messages",
    zh="{file}：没有个案；每行应为一个 JSON 对象，含 id 和 messages",
)
NO_REPLIES_FILE = Template(
    "judgement.replies.no_replies_file",
    "{file}: no such file of replies; gather them first from a served model",
    zh="{file}：没有这个回复文件；请先从已部署的模型收集回复",
)
NO_REPLY = Template(
    "judgement.replies.no_reply",
    "{place}: not a reply ({error}); delete the line and gather again",
    zh="{place}：不是回复（{error}）；请删除该行并重新收集",
)
SHIPPED_CASES = Path(__file__).parents[1] / "data" / "cases.jsonl"
"""Our own counselling cases: single-turn, multi-turn and crisis."""

FURTHER_CASES = Path(__file__).with_name("cases.jsonl")
"""More of them, of several turns: together 24 of counselling and 8 crises. The first file also teaches the tokenizers
of the tiny models, so that it never changes."""

MAX_TOKENS = 512
"""Longest reply to a case, wherever replies are gathered: unequal limits make unequal replies."""

Status = Literal["answered", "empty", "truncated", "errored"]


@dataclass(frozen=True)
class Case:
    """One prompt of a study: a dialogue that ends on the client.

    Attributes:
        crisis: self-harm or danger; such cases are always reported on their own.
        what_a_good_reply_does: points a judge model may be shown; people never see them.
    """

    id: str
    title: str
    topic: str
    crisis: bool
    messages: tuple[dict[str, str], ...]
    what_a_good_reply_does: tuple[str, ...] = ()

    @property
    def sha(self) -> str:
        """Twelve hex digits of the dialogue's content."""
        content = json.dumps(self.messages, ensure_ascii=False, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class Reply:
    """What a model answered to a case, or why it did not.

    Attributes:
        status: answered | empty | truncated (stopped by max_tokens) | errored (no reply came).
        error: the service's words when *status* is errored.
        settings: everything sent along with the messages (temperature, max_tokens …).
        fingerprint: of the weights that answered; "" where nobody noted it.
    """

    case_id: str
    model: str
    variant: str
    text: str
    status: Status
    error: str = ""
    case_sha: str = ""
    served_name: str = ""
    latency_s: float = 0.0
    finished_at: str = ""
    settings: dict[str, object] = field(default_factory=dict)
    fingerprint: str = ""


def load_cases(path: Path | None = None) -> list[Case]:
    """Read cases from *path* (default: the shipped ones, of both files).

    Two forms of row are read: ours (``id, title, topic, crisis, messages, what_a_good_reply_does``) and
    dialogues as CPsyCounE has them (``id, topic, dialog: ["求助者：…", "支持者：…"]``), cut after the last
    turn of the client; those are taken for a crisis when the client names suicide or self-harm.

    Raises:
        DataError: no such file, or a row that fits neither form; names the line.
    """
    if path is None:
        return [*load_cases(SHIPPED_CASES), *load_cases(FURTHER_CASES)]
    if not path.is_file():
        raise DataError(NO_CASES_FILE(file=path))
    return read_cases(path.read_bytes(), str(path))


def read_cases(raw: bytes, name: str) -> list[Case]:
    """Return the cases in *raw*, the content of a file.

    Args:
        name: what the file is called where something in it is wrong.

    Raises:
        DataError: as :func:`load_cases`, which reads files with it.
    """
    cases, bad = sort_lines(raw, name)
    if bad:
        raise DataError(
            f"{name}:{bad[0].number}: {bad[0].english}", f"{name}:{bad[0].number}：{bad[0].chinese}"
        )
    if not cases:
        raise DataError(NO_CASE(file=name))
    return [case for _, case in cases]


def sort_lines(raw: bytes, name: str) -> tuple[list[tuple[int, Case]], list[BadLine]]:
    """Return the cases in *raw* with their lines, and every line that is none.

    Args:
        name: of the file, for the remedies.
    """
    cases: list[tuple[int, Case]] = []
    line_of: dict[str, int] = {}
    text = decoded(raw, name)
    if isinstance(text, BadLine):
        return [], [text]
    if complaint := not_by_line(text):
        return [], [complaint]
    bad: list[BadLine] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        fields = fields_of(line, number)
        if isinstance(fields, BadLine):
            bad.append(fields)
            continue
        case = Case(**fields)
        # Who reads a list of ids tells no two apart that differ in blanks or in how a letter is composed.
        first = line_of.setdefault(unicodedata.normalize("NFC", case.id).strip(), number)
        if first == number:
            cases.append((number, case))
        else:
            bad.append(BadLine.repeated(number, case.id, first))
    return cases, bad


def read_replies(paths: Iterable[Path]) -> list[Reply]:
    """Return all replies of the JSONL files *paths*.

    A last line cut short by a kill is left out.

    Raises:
        DataError: a file is missing, or a complete line is not a reply.
    """
    replies: list[Reply] = []
    for path in paths:
        if not path.is_file():
            raise DataError(NO_REPLIES_FILE(file=path))
        # a full disk may cut the last line within a character
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
        for number, line in enumerate(lines, 1):
            if not line:
                continue
            try:
                replies.append(Reply(**json.loads(line)))
            except (ValueError, TypeError) as error:
                if number == len(lines):
                    continue
                raise DataError(NO_REPLY(place=f"{path}:{number}", error=error)) from None
    return replies


@dataclass(frozen=True, kw_only=True)
class Respondent:
    """A served model that is asked, and the subject of the comparison that it is.

    Attributes:
        url: the OpenAI-compatible root, such as ``http://127.0.0.1:8000/v1``.
        name: the served name.
        model: the row's name in the matrix; with *variant* it names the subject of the comparison.
        fingerprint: of the weights behind the service.
        max_tokens: longest reply in tokens; one that hits it has status "truncated".
        api_key_env: *name* of the environment variable that holds the service's key.
    """

    url: str
    name: str
    model: str
    variant: str
    fingerprint: str = ""
    max_tokens: int = MAX_TOKENS
    system: str = ""
    api_key_env: str = ""
    timeout_s: float = 300.0

    @property
    def settings(self) -> dict[str, object]:
        """Everything sent along with the messages, as replies note it."""
        return {"temperature": 0, "max_tokens": self.max_tokens, "system": self.system}

    def answer(self, case: Case, session: Session) -> Reply:
        """Return the reply to *case*; whatever goes wrong is that reply's error."""
        messages = [{"role": "system", "content": self.system}] if self.system else []
        payload = {
            "model": self.name,
            "messages": [*messages, *case.messages],
            "temperature": 0,
            "max_tokens": self.max_tokens,
        }
        began = time.monotonic()
        status: Status = "errored"
        text, error = "", ""
        try:
            text, why = complete(
                session, self.url, payload, api_key_env=self.api_key_env, timeout_s=self.timeout_s
            )
            status = "empty" if not text.strip() else "truncated" if why == "length" else "answered"
        except Exception as trouble:  # whatever a reply brings about is that case's error
            is_ours = isinstance(trouble, ServiceError)
            words = str(trouble) if is_ours else f"{type(trouble).__name__}: {trouble}"
            error = printable(redact(words))
        return Reply(
            case.id,
            self.model,
            self.variant,
            text,
            status,
            error,
            case.sha,
            self.name,
            latency_s=round(time.monotonic() - began, 3),
            finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
            settings=self.settings,
            fingerprint=self.fingerprint,
        )

    def reusable(self, out: Path, cases: Sequence[Case]) -> dict[str, Reply]:
        """Return case -> the reply in *out* that would be the same today.

        Failures are asked anew.
        """
        if not out.is_file():
            return {}
        shas = {case.id: case.sha for case in cases}
        mine = (self.settings, self.name, self.fingerprint, self.model, self.variant)
        return {
            old.case_id: old
            for old in read_replies([out])
            if old.status != "errored"
            and old.case_sha == shas.get(old.case_id)
            and (old.settings, old.served_name, old.fingerprint, old.model, old.variant) == mine
        }


def gather(
    respondent: Respondent,
    cases: Sequence[Case],
    out: Path,
    *,
    at_once: int = 8,
    progress: Callable[[int, int], None] | None = None,
) -> list[Reply]:
    """Ask *respondent* every case at temperature 0; keep replies in *out*.

    Failures are kept as well. Call it again to fill gaps: good replies of unchanged weights to unchanged cases with
    unchanged settings are kept, failures are asked anew. Where a service mixes replies up under load, all are asked for
    again, one at a time.

    Args:
        out: JSONL; each line is written as it comes, and the finished file is put in place whole.

    Returns:
        One reply per case, in the order of *cases*; failures have status "errored" and are never dropped.
    """
    good = respondent.reusable(out, cases)
    out.parent.mkdir(parents=True, exist_ok=True)
    todo = [case for case in cases if case.id not in good]
    _write(out, good.values())
    with http_session(respondent.url) as session:
        _put(respondent, todo, session, out, at_once, good, progress)
        came = [good[case.id] for case in todo]
        if at_once > 1 and are_mixed_up(came, todo, lambda case: respondent.answer(case, session)):
            _put(respondent, todo, session, out, 1, good, None)
    replies = without_service_texts([good[case.id] for case in cases], cases)
    _write(out, replies)
    return replies


def _put(
    respondent: Respondent,
    todo: Sequence[Case],
    session: Session,
    out: Path,
    at_once: int,
    good: dict[str, Reply],
    progress: Callable[[int, int], None] | None,
) -> None:
    """Put the cases of *todo*, keep each reply in *good* and in *out*."""
    with out.open("a", encoding="utf-8") as file, ThreadPoolExecutor(max_workers=at_once) as pool:
        futures = [pool.submit(respondent.answer, case, session) for case in todo]
        for done, future in enumerate(as_completed(futures), 1):
            reply = future.result()
            good[reply.case_id] = reply
            file.write(_line(reply))
            file.flush()
            if progress:
                progress(done, len(todo))


def _line(reply: Reply) -> str:
    return json_line(asdict(reply))


def _write(path: Path, replies: Iterable[Reply]) -> None:
    write_rows(path, map(asdict, replies))
