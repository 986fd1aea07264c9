"""What a run has done and still has to do, read from its timeline."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bakeoff.foundation.sentences import in_chinese, plural, restored
from bakeoff.foundation.terminal import cells
from bakeoff.store.events import NOT_AHEAD, Event, events_of, suite_of

Cell = tuple[str, str, str]
"""Row, variant (empty for training and export) and stage or suite."""
WORDS: Mapping[str, str] = {
    "train": "训练", "export": "合并", "deploy": "部署", "replies": "回复", "base": "基座", "tuned": "微调",
    "download": "下载", "build": "构建", "convert": "转换", "parity": "一致性", "speed": "速度",
    "evaluate": "评测",
}  # fmt: skip
EARLIER_RUNS = 5
REFRESH_S = 5


@dataclass
class Board:
    """Rows by stages, filled by events.

    Args:
        cells: what the run was asked to do, in order.
        seconds: how long such a cell took in earlier runs.
        now: a clock in seconds.
    """

    cells: list[Cell]
    seconds: Mapping[Cell, float]
    now: Callable[[], float]
    chinese: bool = False
    done: dict[Cell, str] = field(default_factory=dict)
    current: dict[str, str] = field(default_factory=dict)
    running: dict[str, Cell] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    cards: str = ""

    def __post_init__(self) -> None:
        self.begun = self.now()
        self.since: dict[Cell, float] = {}

    def take(self, event: Event) -> None:
        """Note an event of the timeline."""
        row, kind = str(event.get("model") or ""), event.get("event")
        if kind == NOT_AHEAD:  # begun, and left to the row's own turn
            self.current.pop(row, None)
            self.running.pop(row, None)
        if kind not in ("started", "progress", "stage") or not row:
            return
        cell = cell_of(event)
        if kind == "stage":
            self.done[cell] = str(event.get("outcome"))
            self.current.pop(row, None)
            self.running.pop(row, None)
            return
        self.running[row] = cell
        self.since.setdefault(cell, self.now())
        how_far = restored(event).get("how_far") if self.chinese else event.get("how_far")
        self.current[row] = str(in_chinese(how_far or ""))

    @property
    def share(self) -> float:
        """The share of the work that is done, weighed by earlier durations."""
        whole = sum(map(self._weight, self.cells))
        return sum(self._weight(cell) for cell in self.cells if cell in self.done) / whole if whole else 0.0

    def left_s(self) -> float | None:
        """Seconds until the end; None while nothing is known about it."""
        open_cells = [cell for cell in self.cells if cell not in self.done]
        if all(cell in self.seconds for cell in open_cells):
            spent = {cell: self.now() - start for cell, start in self.since.items()}
            return sum(max(self.seconds[cell] - spent.get(cell, 0.0), 0.0) for cell in open_cells)
        share = self.share
        return (self.now() - self.begun) * (1 - share) / share if share >= 0.05 else None

    def _weight(self, cell: Cell) -> float:
        mean = sum(self.seconds.values()) / len(self.seconds) if self.seconds else 1.0
        return max(self.seconds.get(cell, mean), 0.1)

    def head(self, *, ended: bool = False) -> str:
        """How far the run is, and when it ends."""
        rows = len({row for row, _, _ in self.cells})
        done = sum(cell in self.done for cell in self.cells)
        left = self.left_s() if done < len(self.cells) and not ended else None
        if self.chinese:
            ends = f"，约剩 {clock(left, chinese=True)}" if left is not None else ""
            return f"bakeoff  {rows} 行，{done}/{len(self.cells)} 步，{self.share:.0%}{ends}{self._memory()}"
        ends = f" · about {clock(left)} left" if left is not None else ""
        return (
            f"bakeoff  {rows} {plural(rows, 'row')} · {done}/{len(self.cells)} stages · {self.share:.0%}"
            f"{ends}{self._memory()}"
        )

    def _memory(self) -> str:
        return f" · {self.cards}" if self.cards else ""

    def rows(self) -> Iterator[tuple[str, list[tuple[str, str]], str]]:
        """Each row, its cells as (name, state), and the share of it that is done."""
        for row in dict.fromkeys(row for row, _, _ in self.cells):
            states = []
            for cell in (cell for cell in self.cells if cell[0] == row):
                outcome = self.done.get(cell, "")
                state = "failed" if outcome == "failed" else "done" if outcome else "open"
                if state == "open" and self.running.get(row) == cell:
                    state = "running"
                states.append((self._joined(self.word(part) for part in cell[1:] if part), state))
            stage = self.running.get(row)
            how_far = self.current.get(row, "")
            colon = "：" if self.chinese else ": "
            now = f"{self.word(stage[2])}{colon * bool(how_far)}{how_far}" if stage else ""
            yield row, states, now

    def _joined(self, words: Iterable[str]) -> str:
        """Variant and stage; Chinese words need no space between them."""
        text = " ".join(words)
        return re.sub(r"(?<=[\u4e00-\u9fff]) (?=[\u4e00-\u9fff])", "", text) if self.chinese else text

    def word(self, name: str) -> str:
        """A stage's name in the language of the terminal."""
        return WORDS.get(name, name) if self.chinese else name

    def lines(self, width: int = 80) -> list[str]:
        """The board as text: a bar, then a line a row, none wider than *width*."""
        filled = round(self.share * 20)
        lines = [self.head(), "█" * filled + "░" * (20 - filled)]
        for row, states, now in self.rows():
            marks = "".join(
                {"done": "✓", "failed": "✗", "running": "▶", "open": "·"}[state] for _, state in states
            )
            lines.append(f"{fitted(row, 20)} {marks} {now}".rstrip())
        return [fitted(line, width).rstrip() for line in lines]

    def page(self, *, ended: str = "") -> str:
        """The board as a page that reloads itself until the run has *ended*."""
        refresh = "" if ended else f'<meta http-equiv="refresh" content="{REFRESH_S}">'
        rows = []
        for row, states, now in self.rows():
            cells = "".join(f'<span class="{state}">{html.escape(name)}</span>' for name, state in states)
            doing = f"<p>{html.escape(now)}</p>" if now and not ended else ""
            rows.append(f'<tr><th scope="row">{html.escape(row)}</th><td>{cells}{doing}</td></tr>')
        head, lines = html.escape(self.head(ended=bool(ended))), html.escape("\n".join(self.log[-12:]))
        report, share = ("报告", "已完成的部分") if self.chinese else ("The report", "Share that is done")
        end = f'<p class="end">{html.escape(ended)} <a href="index.html">{report}</a></p>' if ended else ""
        language = "zh-CN" if self.chinese else "en"
        return (
            f'<!doctype html><html lang="{language}"><meta charset="utf-8">{refresh}'
            '<meta name="viewport" content="width=device-width,initial-scale=1">'
            f"<title>{self.share:.0%} bakeoff</title><style>{STYLE}</style><h1>{head}</h1>"
            f'<progress max="1" value="{self.share:.3f}" aria-label="{share}"></progress>{end}'
            f"<table>{''.join(rows)}</table><pre>{lines}</pre></html>\n"
        )


STYLE = (
    ":root{color-scheme:light dark;background:light-dark(#fff,#121212);color:light-dark(#111,#eee)}"
    "a{color:light-dark(#0b57d0,#8ab4f8)}body,html{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;"
    "padding:1rem}h1{font-size:1.1rem}progress{width:100%}th{text-align:left;vertical-align:top;padding-right:1rem}"
    "td span{display:inline-block;border:1px solid;border-radius:4px;padding:0 .4rem;margin:0 .2rem .2rem 0}"
    ".done::before{content:'✓ '}.failed::before{content:'✗ '}"
    ".failed{color:light-dark(#b71c1c,#ff8a80);font-weight:bold}"
    ".running::before{content:'▶ '}.running{font-weight:bold}.open{opacity:.7}p{margin:.2rem 0}"
    "pre{white-space:pre-wrap;overflow-wrap:anywhere}"
)


def cell_of(event: Event) -> Cell:
    """The cell that an event is about."""
    name = suite_of(event) or str(event.get("stage") or "")
    return str(event.get("model") or ""), str(event.get("variant") or ""), name.removeprefix("evaluate-")


def earlier_seconds(store: Path) -> dict[Cell, float]:
    """How long each cell took when it last ran, from the newest timelines."""
    seconds: dict[Cell, float] = {}
    for path in sorted((store / "runs").glob("*/events.jsonl"))[-EARLIER_RUNS:]:
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        for event in events_of(lines):
            if event.get("event") == "stage" and event.get("outcome") == "ran":
                seconds[cell_of(event)] = float(event.get("seconds") or 0.0)
    return seconds


def clock(seconds: float, *, chinese: bool = False) -> str:
    """A duration as people say it: 45 s, 12 min, 3 h 05."""
    second, minute, hour, rest = ("秒", "分钟", "小时", " 分") if chinese else ("s", "min", "h", "")
    if seconds < 90:
        return f"{seconds:.0f} {second}"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} {minute}"
    return f"{minutes // 60} {hour} {minutes % 60:02}{rest}"


def fitted(text: str, width: int) -> str:
    """*text* cut or filled to *width* columns."""
    if cells(text) <= width:
        return text + " " * (width - cells(text))
    shown, room = "", width - 1
    for character in text:
        room -= cells(character)
        if room < 0:
            break
        shown += character
    return f"{shown}…"
