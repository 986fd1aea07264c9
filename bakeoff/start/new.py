"""``bakeoff new``: a commented matrix and an estimate from some answers."""

from __future__ import annotations

import argparse
import math
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from bakeoff.doctor.work import questions_of
from bakeoff.execution.gpus import Card, cards
from bakeoff.foundation.errors import BakeoffError
from bakeoff.foundation.files import write_text
from bakeoff.foundation.helps import localize
from bakeoff.foundation.sentences import Template, in_chinese, language_of, plural
from bakeoff.foundation.terminal import complain
from bakeoff.foundation.workspace import Workspace
from bakeoff.judgement.replies import load_cases
from bakeoff.matrix.loading import load_matrix
from bakeoff.matrix.schema import Matrix
from bakeoff.runs import forecast
from bakeoff.start.answers import (
    KNOWN,
    TINY,
    Taken,
    cases_of,
    data_of,
    exams_of,
    places_in,
    rows_of,
    settings_of,
)
from bakeoff.start.estimate import estimate, points_seen
from bakeoff.start.examples import Look
from bakeoff.start.speech import Say, Speaker
from bakeoff.start.writing import Plan, matrix_text
from bakeoff.statistics.study import outlook

RATERS = 3
LENGTH = 3072
"""Tokens of a dialogue where no model is chosen yet."""
STORE = Path("store")
"""Where a run keeps what it does, unless ``--store`` names another folder."""
WARNING = Template("start.new.warning", "  warning: {what}", zh="  注意：{what}")
_ROWS: dict[str, Say] = {
    "dialogues": ("条对话", "dialogue"),
    "questions": ("道题", "question"),
    "cases": ("个个案", "case"),
}
T = TypeVar("T")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; 0 where a matrix was written."""
    options = localize(parser()).parse_args(arguments)
    speaker = Speaker(options.lang or language_of(os.environ), takes_defaults=options.yes)
    target: Path = options.out
    if target.is_dir():
        speaker.tell(
            f"{target} 是文件夹；请用 --out 给出文件名", f"{target} is a folder; name a file with --out"
        )
        return 2
    if target.exists() and not options.force:
        speaker.tell(
            f"{target} 已存在；请在新文件夹中运行，或换一个名字（--out），或用 --force 覆盖",
            f"{target} exists; begin in a folder of its own, name another file with --out, or replace it with --force",
        )
        return 2
    try:
        return _Interview(speaker, options).run()
    except KeyboardInterrupt:
        return 130
    except BakeoffError as error:
        complain(error)
        return 2
    except BrokenPipeError:  # whoever reads has seen enough, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        why = error.strerror or type(error).__name__
        speaker.tell(f"无法写入 {target}：{why}", f"{target} cannot be written: {why}")
        return 2


def parser() -> argparse.ArgumentParser:
    """The options of the program."""
    options = argparse.ArgumentParser(
        prog="bakeoff new",
        description="Write a matrix: which models, trained on what, asked what. Questions are asked for what no option "
        "says, again after a wrong answer; with --yes the defaults are taken.",
    )
    add = options.add_argument
    add("--model", action="append", default=[], metavar="NAME", help="a known model, a folder or a hub id "
        "owner/name; several times. A model of another family: ID=MODEL_TYPE,TEMPLATE")  # fmt: skip
    add("--data", action="append", default=[], help="training data: file, folder or hub id; several times")
    add("--no-train", action="store_true", help="compare the models as they are")
    add("--exam", action="append", default=[], help="folder with questions of your own, ceval or cmmlu")
    add("--cases", help="JSONL with cases for people's ratings (default: the shipped ones)")
    add("--out", type=Path, default=Path("model_matrix.yaml"), help="default: model_matrix.yaml")
    add("--lang", choices=("zh", "en"), help="default: by LANG")
    add("--yes", "-y", action="store_true", help="ask nothing, take the defaults")
    add("--force", action="store_true", help="replace the file")
    return options


class _Interview:
    """Gathers the answers, shows what was understood, and writes the file."""

    def __init__(self, speaker: Speaker, options: argparse.Namespace) -> None:
        self.speaker = speaker
        self.options = options
        self.cards: list[Card] = cards()
        self.plan = Plan(tune=not options.no_train, has_cases_key="cases" in Matrix.model_fields)
        self.counts: dict[str, int] = {}
        self.failed = False

    def run(self) -> int:
        if self._options_are_wrong():
            return self._give_up()
        self._devices()
        for gather in (self._models, self._data, self._exams, self._cases):
            gather()
            if self.failed:
                return self._give_up()
        target: Path = self.options.out
        write_text(target, matrix_text(self.plan, chinese=self.speaker.language == "zh"))
        matrix = load_matrix(target)
        self.speaker.tell(f"\n已写入 {target}", f"\nwrote {target}")
        self._costs(matrix)
        self._sight(len(matrix.models))
        named = "" if target == Path("model_matrix.yaml") else f" --matrix {shlex.quote(str(target))}"
        self.speaker.tell(
            f"\n下一步：bakeoff doctor{named}（检查），然后 bakeoff run{named}（运行）；结果在 reports/index.html",
            f"\nnext: bakeoff doctor{named} (check), then bakeoff run{named}; the result is reports/index.html",
        )
        return 0

    def _give_up(self) -> int:
        self.speaker.tell(
            "没有写入文件：请先修正上面的错误。", "Nothing was written: mend the errors above first."
        )
        return 1

    def _options_are_wrong(self) -> bool:
        """Whether an option is; every mistake is told before anything is asked."""
        options = self.options
        taken: list[Taken[object]] = []
        if options.model:
            taken.append(rows_of(options.model).untyped())
        if options.data and self.plan.tune:
            taken.append(data_of(options.data, LENGTH).untyped())
        if options.exam:
            taken.append(exams_of(options.exam).untyped())
        if options.cases:
            taken.append(cases_of([options.cases]).untyped())
        wrong = [part for part in taken if part.mistakes]
        for part in wrong:
            self._show(part)
            self._mistakes(part.mistakes)
        return bool(wrong)

    def _settle(
        self, option: Sequence[str], ask: Callable[[], str], take: Callable[[Sequence[str]], Taken[T]]
    ) -> list[T]:
        """Return what *take* makes of an option, or of the first right answer."""
        again = False
        while True:
            answer = list(option) or places_in(ask())
            if again and self.speaker.ended:  # nobody is there to mend the answer
                self.failed = True
                return []
            taken = take(answer)
            self._show(taken)
            if not taken.mistakes:
                return taken.items
            self._mistakes(taken.mistakes)
            if option or self.speaker.takes_defaults or self.speaker.ended:
                self.failed = True
                return []
            again = True
            self.speaker.tell("请重新回答（Ctrl-C 退出）。", "Please answer again (Ctrl-C ends).")

    def _devices(self) -> None:
        if not self.cards:
            self.speaker.tell(
                "没有找到 GPU：只有微型模型能在本机运行。",
                "No GPU was found: only tiny models can run on this machine.",
            )
        for card in self.cards:
            self.speaker.tell(
                f"GPU {card.number}：{card.name}，{card.total_gib:.0f} GiB（空闲 {card.free_gib:.0f}）",
                f"GPU {card.number}: {card.name}, {card.total_gib:.0f} GiB ({card.free_gib:.0f} free)",
            )

    def _models(self) -> None:
        menu = list(KNOWN) if self.cards else [*TINY, *KNOWN]
        if not self.options.model and not self.speaker.takes_defaults:
            for number, name in enumerate(menu, 1):
                print(f"  {number}  {name:<14} {KNOWN.get(name, 'tiny')}")

        def ask() -> str:
            return self.speaker.ask(
                "比较哪些模型？序号、名称、文件夹或站点 id，用空格分隔",
                "Which models? numbers, names, folders or hub ids, separated by blanks",
                " ".join(menu[:2]),
            )

        numbers = [] if self.options.model else menu
        self.plan.rows = self._settle(self.options.model, ask, lambda texts: rows_of(texts, numbers))

    def _data(self) -> None:
        if not self.plan.tune:
            return
        default = "shipped:facts_train.jsonl" if self._is_tiny() else "CodyWhy/mh-sharegpt-20250820"

        def ask() -> str:
            return self.speaker.ask(
                "训练数据？文件、文件夹或站点 id（sharegpt、messages、query/response、alpaca）",
                "Training data? a file, folder or hub id (sharegpt, messages, query/response or alpaca)",
                default,
            )

        length = min(settings_of(row).training.max_length for row in self.plan.rows)
        self.plan.data = self._settle(self.options.data, ask, lambda texts: data_of(texts, length))

    def _exams(self) -> None:
        default = "shipped:facts_exam" if self._is_tiny() else "ceval"

        def ask() -> str:
            return self.speaker.ask(
                "考什么？ceval、cmmlu，或自己的题目文件夹",
                "Which exam? ceval, cmmlu, or a folder of your own",
                default,
            )

        self.plan.exams = self._settle(self.options.exam, ask, exams_of)

    def _is_tiny(self) -> bool:
        return all(row.group == "smoke" for row in self.plan.rows)

    def _cases(self) -> None:
        def ask() -> str:
            return self.speaker.ask(
                "人工评分的个案？JSONL 文件（直接回车：自带的 32 个）",
                "Cases for people's ratings? a JSONL file (empty: the shipped ones)",
            )

        option = [self.options.cases] if self.options.cases else []
        paths = self._settle(option, ask, cases_of)
        self.plan.cases = str(paths[0]) if paths else ""

    def _show(self, taken: Taken[T]) -> None:
        """Print what is in the files of an answer."""
        for title, look in taken.looks:
            if look is None:
                self.speaker.tell(
                    f"{title}：来自站点，下载后才能查看",
                    f"{title}: comes from a hub and can be shown after the download",
                )
            else:
                self._show_file(title, look, _ROWS[look.rows])

    def _show_file(self, title: str, look: Look, rows: Say) -> None:
        kind = f" ({look.format})" if look.format else ""
        self.speaker.tell(
            f"\n{title}{kind}：{look.count:,} {rows[0]}",
            f"\n{title}{kind}: {look.count:,} {plural(look.count, rows[1])}",
        )
        for example in look.examples:
            self.speaker.say(f"  · {example}")
        for warning in look.warnings:
            self.speaker.say(WARNING(what=warning))

    def _mistakes(self, mistakes: Sequence[str]) -> None:
        for mistake in mistakes:
            self.speaker.tell(f"  错误：{in_chinese(mistake)}", f"  error: {mistake}")

    def _costs(self, matrix: Matrix) -> None:
        workspace = Workspace(STORE)
        forecasts = forecast.forecast(matrix, matrix.models, workspace)
        lines = forecast.lines_in_chinese if self.speaker.language == "zh" else forecast.lines
        for line in lines(forecasts, workspace):
            self.speaker.say(line)
        for sentence in estimate(matrix, forecasts, len(self.cards)).in_words(datetime.now()):
            self.speaker.say(sentence)
        if any(spec.needs.gpu_memory_gib for spec in matrix.models.values()) and not self.cards:
            self.speaker.tell(
                "  这些模型需要 GPU；在本机上会带原因跳过。",
                "  These models need a GPU; on this machine they are skipped with the reason.",
            )
        self.counts = {name: questions_of(suite, None) for name, suite in matrix.suites.items()}

    def _sight(self, models: int) -> None:
        """What the evaluation will be able to see."""
        for name, count in self.counts.items() if models > 1 else ():
            points = points_seen(count, models)
            if math.isinf(points):
                self.speaker.tell(
                    f"{name}：{count} 道题太少，任何差异都不会显著",
                    f"{name}: {count} questions are too few for any difference to be significant",
                )
            else:
                self.speaker.tell(
                    f"{name}：{count:,} 道题，能看出约 {points:.1f} 分及以上的差异"
                    f"（检验效能 80%，{models} 个模型两两比较）",
                    f"{name}: {count:,} questions show differences of about {points:.1f} points or more (80% power, "
                    f"{models} models in pairs)",
                )
        cases = load_cases(Path(self.plan.cases) if self.plan.cases else None)
        crises = sum(case.crisis for case in cases)
        view, many = outlook(len(cases), models, raters=RATERS), plural(len(cases), "case")
        if models > 1:
            self.speaker.tell(
                f"人工评分（{len(cases)} 个个案，其中危机个案 {crises} 个）：{view.words[1]}",
                f"people's ratings ({len(cases)} {many}, {crises} about a crisis): {view.words[0]}",
            )


if __name__ == "__main__":
    sys.exit(main())
