"""Cases of the owner's own: checked, stored, put to the served models."""

from __future__ import annotations

import base64
import binascii
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bakeoff.foundation.errors import BakeoffError, RatingError
from bakeoff.foundation.files import replacing
from bakeoff.judgement.case_rows import BadLine
from bakeoff.judgement.refusals import refusal
from bakeoff.judgement.replies import Case, Reply, Respondent, gather, load_cases, read_replies, sort_lines
from bakeoff.judgement.studio import Material, StudioDesk

FOLDER = "own-cases"
VARIANT = "served"
"""What stands behind the name of a model that was asked through the page, whatever it is elsewhere."""
MOST_BYTES = 2_500_000
MOST_CASES = 500
MOST_MISTAKES = 8


class OwnCases:
    """Cases that an owner pasted or uploaded, and what the served models replied to them.

    Args:
        folder: where both are stored.
        services: served name -> OpenAI-compatible root of the models that can be asked.
        keys: served name -> environment variable with that service's key.
    """

    def __init__(self, folder: Path, services: Mapping[str, str], keys: Mapping[str, str]) -> None:
        self.folder = folder
        self.services = services
        self.keys = keys
        self.file = folder / "cases.jsonl"
        self._lock = threading.Lock()
        self._asking: threading.Thread | None = None
        self._progress: dict[str, tuple[int, int]] = {}
        self._trouble: dict[str, str] = {}

    def cases(self) -> list[Case]:
        """The stored cases; none where the owner brought none."""
        return load_cases(self.file) if self.file.is_file() else []

    def take(self, name: str, raw: bytes, others: Sequence[Case]) -> int:
        """Store the cases in *raw* in place of those before; returns how many.

        Args:
            name: of the file that they came from, for the complaints.
            raw: its content, as it was on the owner's disk.
            others: the cases of the run, whose ids are taken.

        Raises:
            RatingError: lines that are no cases, each named; nothing is stored then.
        """
        if len(raw) > MOST_BYTES:
            raise RatingError(
                f"{name}: longer than {MOST_BYTES:,} bytes; split the file",
                f"{name}：超过 {MOST_BYTES:,} 字节，请拆分文件",
            )
        if self.is_asking:
            raise RatingError(
                "the models are still answering the cases; wait until they are done",
                "模型仍在回复现有个案，请稍后再更换",
            )
        cases, bad = sort_lines(raw, name)
        bad += _taken(cases, {case.id: case.sha for case in others})
        if bad:
            raise _complaint(name, sorted(bad, key=lambda each: each.number))
        if not cases:
            raise RatingError(f"{name}: holds no case", f"{name}：没有个案")
        if len(cases) > MOST_CASES:
            raise RatingError(
                f"{name}: {len(cases)} cases; at most {MOST_CASES} are taken",
                f"{name}：共 {len(cases)} 个个案，最多 {MOST_CASES} 个",
            )
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with replacing(self.file) as partial:
            partial.write_bytes(raw)
            partial.chmod(0o600)
        return len(cases)

    @property
    def is_asking(self) -> bool:
        """Whether the served models are being asked just now."""
        return self._asking is not None and self._asking.is_alive()

    def ask(self) -> None:
        """Put the stored cases to every served model, in the background.

        A good reply is asked for once only.

        Raises:
            RatingError: there are no cases, or no models that could be asked.
        """
        cases = self.cases()
        if not cases or not self.services:
            raise RatingError("there are no cases or no served models to ask", "没有个案，或没有已启动的模型")
        with self._lock:
            if self.is_asking:
                return
            self._progress = {name: (0, len(cases)) for name in self.services}
            self._trouble = {}
            self._asking = threading.Thread(target=self._ask, args=(cases,), name="own cases", daemon=True)
            self._asking.start()

    def _ask(self, cases: Sequence[Case]) -> None:
        for name, url in self.services.items():

            def note(done: int, count: int, name: str = name) -> None:
                self._progress[name] = (done, count)

            try:
                respondent = Respondent(
                    url=url, name=name, model=name, variant=VARIANT, api_key_env=self.keys.get(name, "")
                )
                replies = gather(respondent, cases, self._replies(name), progress=note)
            except (BakeoffError, OSError) as error:
                print(f"judge: {name}: {error}"[:2000], file=sys.stderr, flush=True)
                self._trouble[name] = "failed"
                continue
            answered = sum(reply.status != "errored" for reply in replies)
            self._progress[name] = (answered, len(cases))
            if answered < len(cases):
                self._trouble[name] = "incomplete"

    def _replies(self, name: str) -> Path:
        # A served name may hold a slash; the file's name is only looked for, never read back.
        return self.folder / "replies" / f"{name.encode().hex()}.jsonl"

    def replies(self) -> list[Reply]:
        """What the served models replied to the cases as they are stored now."""
        shas = {case.id: case.sha for case in self.cases()}
        # Also of models that this page does not serve just now.
        files = sorted((self.folder / "replies").glob("*.jsonl"))
        return [reply for reply in read_replies(files) if shas.get(reply.case_id) == reply.case_sha]

    def added_to(self, material: Material) -> Material:
        """*material* of the run with the owner's cases and the replies to them."""
        ids = {case.id for case in material.cases}
        return replace(
            material,
            replies=[*material.replies, *self.replies()],
            cases=[*material.cases, *(case for case in self.cases() if case.id not in ids)],
        )

    def state(self) -> dict[str, object]:
        """Counts of the stored cases, their file, and how the asking goes."""
        cases = self.cases()
        return {
            "count": len(cases),
            "crises": sum(case.crisis for case in cases),
            "several_turns": sum(len(case.messages) > 1 for case in cases),
            "file": str(self.file) if cases else "",
            "models": list(self.services),
            "asking": self.is_asking,
            "progress": [
                {"model": name, "done": done, "of": count, "trouble": self._trouble.get(name, "")}
                for name, (done, count) in self._progress.items()
            ],
        }


class StudioPage:
    """The studio with the owner's own cases: one message in, the state of everything out."""

    def __init__(self, studio: StudioDesk, cases: OwnCases, material: Callable[[], Material]) -> None:
        self.studio = studio
        self.cases = cases
        self.material = material

    def step(self, message: object, signed_in: str | None) -> dict[str, object]:
        """Do what *message* asks, here or in the studio, and show the state."""
        action = message.get("action") if isinstance(message, Mapping) else None
        if not self.studio.is_open_to(signed_in) or not isinstance(message, Mapping):
            return self.studio.step(message, signed_in)
        try:
            done: dict[str, object] = {}
            if action == "take_cases":
                name, raw = _file_of(message)
                done["taken"] = self.cases.take(name, raw, self.material().cases)
            elif action == "ask_models":
                self.cases.ask()
            return self.studio.step(message, signed_in) | {"own": self.cases.state()} | done
        except BakeoffError as error:
            return self.studio.step({}, signed_in) | {"view": "trouble"} | refusal(error)


def _file_of(message: Mapping[object, object]) -> tuple[str, bytes]:
    """Name and content of the file in *message*, where it stands in base64.

    A browser's text would have lost its encoding.
    """
    name, content = message.get("name"), message.get("content")
    name = name.replace("\\", "/").rsplit("/", 1)[-1][:100] if isinstance(name, str) else ""
    if not isinstance(content, str):
        raise RatingError("cases: wanted a file", "请粘贴或选择个案文件")
    try:
        return name or "cases.jsonl", base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise RatingError(
            "cases: the file did not arrive whole; choose it again", "文件没有完整上传，请重新选择"
        ) from None


def _taken(cases: Sequence[tuple[int, Case]], others: Mapping[str, str]) -> list[BadLine]:
    """Lines whose id is that of another case of the run."""
    return [
        BadLine(
            number,
            f"another case of the run has the id {case.id!r}; choose another id",
            f"编号 {case.id} 已被本次运行的另一个个案使用，请换一个编号",
        )
        for number, case in cases
        if others.get(case.id, case.sha) != case.sha
    ]


def _complaint(name: str, bad: Sequence[BadLine]) -> RatingError:
    shown, more = bad[:MOST_MISTAKES], len(bad) - MOST_MISTAKES
    english = [f"{name}:{each.number}: {each.english}" for each in shown]
    chinese = [f"{name} 第 {each.number} 行：{each.chinese}" for each in shown]
    if more > 0:
        english.append(f"and {more} more")
        chinese.append(f"另有 {more} 处")
    return RatingError("\n".join(english), "\n".join(chinese))
