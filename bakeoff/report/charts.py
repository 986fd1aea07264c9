"""Charts as inline SVG: text stays text, in the colours of the page."""

from __future__ import annotations

import io
import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from bakeoff.foundation.terminal import cells
from bakeoff.report.views import SuiteView
from bakeoff.report.words import subject_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS = {
    "--bk-ink": "#010101",
    "--bk-muted": "#020202",
    "--bk-line": "#030303",
    "--bk-accent": "#040404",
    "--bk-down": "#050505",
    "--bk-ghost": "#060606",
}
"""Colour of the page -> stand-in that matplotlib draws with."""
INK, MUTED, LINE, ACCENT, DOWN, GHOST = _COLOURS.values()
_PX = 1 / 72
"""Inches per CSS pixel of the drawing."""


def suite_chart(view: SuiteView, order: Sequence[str]) -> Markup:
    """Return scores with intervals, arrows from base to tuned.

    A hollow point is the base.
    """
    by_model = {
        model: [c for c in view.cells.values() if c.subject.model == model and c.ranked] for model in order
    }
    rows = [model for model in order if by_model[model]]
    if not rows:
        return Markup("")
    height = 30 * len(rows) + 34
    with _figure(340, height) as (figure, axes):
        figure.subplots_adjust(left=0.30, right=0.975, top=1 - 6 / height, bottom=24 / height)
        for place, model in enumerate(rows):
            cells = by_model[model]
            for cell in cells:
                tuned = cell.subject.variant != "base"
                y = place + (0.0 if len(cells) == 1 else 0.17 if tuned else -0.17)
                if not math.isnan(cell.low):
                    axes.plot([100 * cell.low, 100 * cell.high], [y, y], color=ACCENT if tuned else GHOST, lw=1.6,
                              solid_capstyle="round", zorder=1)  # fmt: skip
                axes.plot(100 * cell.value, y, "o", ms=6, color=ACCENT if tuned else GHOST, zorder=3,
                          mfc=ACCENT if tuned else "none", mew=1.4)  # fmt: skip
            change = view.tuning.get(model)
            if len(cells) == 2 and change is not None:
                ends = {cell.subject.variant == "base": 100 * cell.value for cell in cells}
                start, end = ends[True], ends[False]
                colour = (
                    DOWN if change.verdict == "behind" else ACCENT if change.verdict == "ahead" else GHOST
                )
                arrow = {"arrowstyle": "-|>,head_length=.35,head_width=.18", "color": colour, "lw": 1, "shrinkA": 4,
                         "shrinkB": 4}  # fmt: skip
                axes.annotate("", (end, place + 0.17), (start, place - 0.17), arrowprops=arrow, zorder=2)
        chances = [c.chance for c in view.cells.values() if not math.isnan(c.chance)]
        if chances:
            axes.axvline(100 * min(chances), color=MUTED, lw=0.8, ls=(0, (2, 3)), zorder=0)
        axes.set_yticks(range(len(rows)), [short(model, 16) for model in rows])
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.margins(x=0.06)
        axes.grid(axis="x", color=LINE, lw=0.7)
        ranked = [cell for cell in view.cells.values() if cell.ranked]
        zh, en = zip(*(subject_names(*cell.subject) for cell in ranked), strict=True)
        values = [f"{100 * cell.value:.1f}" for cell in ranked]
        return _svg(
            figure,
            f"{view.name}：" + "；".join(map(" ".join, zip(zh, values, strict=True))),
            f"{view.name}: " + "; ".join(map(" ".join, zip(en, values, strict=True))),
        )


def loss_charts(stages: Sequence[Mapping[str, Any]]) -> list[tuple[str, Markup]]:
    """Return (model, chart) of each training with a loss curve.

    Its own curve is in colour, all the others in grey.
    """
    curves: dict[str, list[tuple[float, float]]] = {}
    for record in stages:
        points = [
            (float(s), float(v))
            for s, v in (record.get("facts") or {}).get("loss_curve") or []
            if v is not None
        ]
        if len(points) > 1:
            curves[str(record.get("model", ""))] = points
    if not curves:
        return []
    every = [point for curve in curves.values() for point in curve if math.isfinite(point[1])]
    last, low, high = max(s for s, _ in every), min(v for _, v in every), max(v for _, v in every)
    charts = []
    for model, curve in curves.items():
        with _figure(240, 150) as (figure, axes):
            figure.subplots_adjust(left=0.14, right=0.97, top=0.95, bottom=0.17)
            for other, points in curves.items():
                if other != model:
                    axes.plot(*zip(*_thin(points), strict=True), color=LINE, lw=1)
            axes.plot(*zip(*_thin(curve), strict=True), color=ACCENT, lw=1.6)
            axes.set_xlim(0, last * 1.02)
            axes.set_ylim(low - 0.06 * (high - low) - 1e-9, high + 0.06 * (high - low) + 1e-9)
            axes.grid(axis="y", color=LINE, lw=0.5)
            start, end = (_three_digits(curve[at][1]) for at in (0, -1))
            charts.append(
                (
                    model,
                    _svg(
                        figure,
                        f"{model}：损失由 {start} 到 {end}，共 {curve[-1][0]:.0f} 步",
                        f"{model}: loss {start} to {end}, {curve[-1][0]:.0f} steps",
                    ),
                )
            )
    return charts


@contextmanager
def _figure(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    import matplotlib
    from matplotlib.figure import Figure

    style: Any = {
        "svg.fonttype": "none", "svg.hashsalt": "bakeoff", "font.size": 10.5, "axes.edgecolor": LINE,
        "axes.linewidth": 0.8, "xtick.color": LINE, "ytick.color": LINE, "xtick.labelcolor": MUTED,
        "ytick.labelcolor": INK, "axes.spines.top": False, "axes.spines.right": False, "axes.spines.left": False,
        "ytick.major.size": 0, "xtick.major.size": 0, "text.parse_math": False,
    }  # fmt: skip
    # A name in a script that matplotlib's own font lacks is no matter: the browser draws the text.
    log = logging.getLogger("matplotlib.font_manager")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with matplotlib.rc_context(style):
            figure = Figure(figsize=(width * _PX, height * _PX))
            yield figure, figure.add_subplot()
    finally:
        log.setLevel(before)


def _three_digits(loss: float) -> str:
    return f"{loss:#.3g}".rstrip(".")


def _svg(figure: Figure, zh: str, en: str) -> Markup:
    import warnings

    out = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    text = re.sub(r"\s*\n\s*", "\n", text)
    for name, stand_in in _COLOURS.items():
        text = text.replace(stand_in, f"var({name})")
    width, height = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text).groups()  # type: ignore[union-attr]
    head = (
        f'<svg viewBox="0 0 {width} {height}" style="max-width:{float(width):.0f}px" role="img" '
        f'aria-label="{escape(zh)}" data-hint-zh="{escape(zh)}" data-hint-en="{escape(en)}" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return Markup(head + text[text.index(">") + 1 :])


def short(name: str, width: int) -> str:
    """Return *name* in at most *width* columns; a Chinese character takes two.

    What is left out is in its middle: names of one family differ at their ends.
    """
    if cells(name) <= width:
        return name
    tail = ""
    for character in reversed(name):
        if cells(character + tail) > (width - 1) // 3:
            break
        tail = character + tail
    head = ""
    for character in name:
        if cells(head + character + tail) > width - 1:
            break
        head += character
    return f"{head}…{tail}"


def _thin(points: Sequence[tuple[float, float]], most: int = 200) -> Sequence[tuple[float, float]]:
    step = max(1, math.ceil(len(points) / most))
    return [*points[::step], points[-1]] if (len(points) - 1) % step else points[::step]
