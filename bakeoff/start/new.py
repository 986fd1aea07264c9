"""``bakeoff new``: a commented matrix and an estimate from some answers."""

from __future__ import annotations

import argparse
import math
import os
import re
import shlex
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from bakeoff.environments.installed import registered_as
from bakeoff.execution.gpus import Card, cards
from bakeoff.foundation.errors import BakeoffError
from bakeoff.foundation.files import write_text
from bakeoff.foundation.sentences import in_chinese, language_of
from bakeoff.judgement.replies import load_cases
from bakeoff.matrix.datasets import SHIPPED, dataset_name, is_local_model
from bakeoff.matrix.loading import load_matrix
from bakeoff.matrix.presets import presets
from bakeoff.matrix.schema import Matrix, ModelSpec
from bakeoff.start.estimate import PUBLISHED_QUESTIONS, estimate, points_seen
from bakeoff.start.examples import Look, look_at_cases, look_at_exam, look_at_training
from bakeoff.start.speech import Speaker
from bakeoff.start.writing import Exam, Plan, Row, matrix_text
from bakeoff.statistics.study import outlook

KNOWN = {
    "qwen2.5-7b": "Qwen/Qwen2.5-7B-Instruct",
    "llama3.1-8b": "LLM-Research/Meta-Llama-3.1-8B-Instruct",
    "chatglm3-6b": "ZhipuAI/chatglm3-6b",
    "internlm2-7b": "Shanghai_AI_Laboratory/internlm2-chat-7b",
    "baichuan2-7b": "baichuan-inc/Baichuan2-7B-Chat",
    "gpt-oss-20b": "openai-mirror/gpt-oss-20b",
}
TINY = {"tiny-qwen2": ("tiny:qwen2", "qwen2", "qwen2_5"), "tiny-llama": ("tiny:llama", "llama", "llama3")}
RATERS = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program; 0 where a matrix was written."""
    options = parser().parse_args(arguments)
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
        print(error, file=sys.stderr)
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
        "says; with --yes the defaults are taken. 新建一个比较；没有给出的选项会逐一询问。",
    )
    add = options.add_argument
    add("--model", action="append", default=[], metavar="NAME", help=f"{', '.join(KNOWN)}, a folder or a hub id "
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
        self.tokens = 0
        self.counts: dict[str, int] = {}
        self.failed = False

    def run(self) -> int:
        self._devices()
        self._models()
        if self.plan.tune:
            self._data()
        self._exams()
        number, crises = self._cases()
        if self.failed:
            self.speaker.tell(
                "没有写入文件：请先修正上面的错误。", "Nothing was written: mend the errors above first."
            )
            return 1
        target: Path = self.options.out
        write_text(target, matrix_text(self.plan, chinese=self.speaker.language == "zh"))
        matrix = load_matrix(target)
        self.speaker.tell(f"\n已写入 {target}", f"\nwrote {target}")
        self._costs(matrix)
        self._sight(len(matrix.models), number, crises)
        named = "" if target == Path("model_matrix.yaml") else f" --matrix {shlex.quote(str(target))}"
        self.speaker.tell(
            f"\n下一步：bakeoff doctor{named}（检查），然后 bakeoff run{named}（运行）；结果在 reports/index.html",
            f"\nnext: bakeoff doctor{named} (check), then bakeoff run{named}; the result is reports/index.html",
        )
        return 0

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
        chosen: list[str] = self.options.model
        if not chosen:
            menu = list(KNOWN) if self.cards else [*TINY, *KNOWN]
            for number, name in enumerate(menu, 1):
                print(f"  {number}  {name:<14} {KNOWN.get(name, 'tiny')}")
            answer = self.speaker.ask(
                "比较哪些模型？序号、名称、文件夹或站点 id，用空格分隔",
                "Which models? numbers, names, folders or hub ids, separated by blanks",
                " ".join(menu[:2]),
            )
            chosen = [
                menu[int(w) - 1] if w.isdecimal() and 0 < int(w) <= len(menu) else w
                for w in places_in(answer)
            ]
        for text in chosen:
            self._add_model(text)

    def _add_model(self, text: str) -> None:
        model, _, family = text.partition("=")
        if model in TINY:
            recipe, kind, template = TINY[model]
            self.plan.rows.append(Row(model, recipe, kind, template, "smoke"))
            return
        row = Row(_row_name(model, [row.name for row in self.plan.rows]), KNOWN.get(model.lower(), model))
        if family:
            row.model_type, _, row.template = (part.strip() for part in family.partition(","))
        elif row.model.lower() not in presets()["models"]:
            row.model_type, row.template = registered_as(row.model, Path(sys.executable)) or ("", "")
        if is_local_model(row.model) and not Path(row.model).expanduser().is_dir():
            self._error(f"没有文件夹 {row.model}", f"there is no folder {row.model}")
        elif not is_local_model(row.model) and not re.fullmatch(r"[\w.-]+/[\w.-]+", row.model):
            self._error(
                f"{row.model}：不认识；已知的有 {'、'.join([*KNOWN, *TINY])}，或给出文件夹或 owner/name",
                f"{row.model}: not known; take one of {', '.join([*KNOWN, *TINY])}, a folder or owner/name",
            )
        elif row.model.lower() not in presets()["models"] and not (row.model_type and row.template):
            self._error(
                f"{row.model}：请写出 ms-swift 的类型和模板：--model {row.model}=MODEL_TYPE,TEMPLATE",
                f"{row.model}: say what ms-swift calls it: --model {row.model}=MODEL_TYPE,TEMPLATE",
            )
        if not self.failed:  # what is wrong with it would be told again by the matrix
            self.plan.rows.append(row)

    def _data(self) -> None:
        tiny = all(row.group == "smoke" for row in self.plan.rows)
        default = "shipped:facts_train.jsonl" if tiny else "CodyWhy/mh-sharegpt-20250820"
        chosen: list[str] = self.options.data or places_in(
            self.speaker.ask(
                "训练数据？文件、文件夹或站点 id（sharegpt、messages、query/response、alpaca）",
                "Training data? a file, folder or hub id (sharegpt, messages, query/response or alpaca)",
                default,
            )
        )
        length = min(_settings(row).training.max_length for row in self.plan.rows) if self.plan.rows else 3072
        for text in chosen:
            path = dataset_name(text).path
            self.plan.data.append(text if path is None or text.startswith("shipped:") else str(path))
            if path is None:
                self.speaker.tell(
                    f"{text}：来自站点，下载后才能查看",
                    f"{text}: comes from a hub and can be shown after the download",
                )
                continue
            look = look_at_training(path, length)
            self.tokens += look.tokens
            self._show(text, look, "条对话", "dialogues")

    def _exams(self) -> None:
        tiny = all(row.group == "smoke" for row in self.plan.rows)
        default = "shipped:facts_exam" if tiny else "ceval"
        chosen: list[str] = self.options.exam or places_in(
            self.speaker.ask(
                "考什么？ceval、cmmlu，或自己的题目文件夹",
                "Which exam? ceval, cmmlu, or a folder of your own",
                default,
            )
        )
        for text in chosen:
            if text in PUBLISHED_QUESTIONS:
                self.plan.exams.append(Exam(text, text, choices=4.0))
                self.counts[text] = PUBLISHED_QUESTIONS[text]
                continue
            ours = text.removeprefix("shipped:")
            folder = SHIPPED / ours if ours != text else Path(text).expanduser().absolute()
            look = look_at_exam(folder)
            self._show(text, look, "道题", "questions")
            if look.errors:
                continue
            name = _row_name(folder.name, [exam.name for exam in self.plan.exams])
            shipped = folder.is_relative_to(SHIPPED)
            place = f"shipped:{folder.relative_to(SHIPPED)}" if shipped else str(folder)
            is_open = look.choices == 0
            self.plan.exams.append(Exam(name, look.format, place, look.choices, is_open))
            self.counts[name] = look.count

    def _cases(self) -> tuple[int, int]:
        """The number of cases and of crises among them."""
        answer = self.options.cases or self.speaker.ask(
            "人工评分的个案？JSONL 文件（直接回车：自带的 32 个）",
            "Cases for people's ratings? a JSONL file (empty: the shipped ones)",
        )
        if not answer:
            shipped = load_cases()
            return len(shipped), sum(case.crisis for case in shipped)
        path = Path(answer).expanduser().absolute()
        look = look_at_cases(path)
        self._show(str(path), look, "个个案", "cases")
        self.plan.cases = str(path)
        return look.count, look.crises

    def _show(self, title: str, look: Look, zh: str, en: str) -> None:
        kind = f" ({look.format})" if look.format else ""
        self.speaker.tell(f"\n{title}{kind}：{look.count:,} {zh}", f"\n{title}{kind}: {look.count:,} {en}")
        for example in look.examples:
            print(f"  · {example}")
        for warning in look.warnings:
            self.speaker.tell(f"  注意：{in_chinese(warning)}", f"  warning: {warning}")
        for error in look.errors:
            self._error(in_chinese(error), error)

    def _error(self, zh: str, en: str) -> None:
        self.failed = True
        self.speaker.tell(f"  错误：{zh}", f"  error: {en}")

    def _costs(self, matrix: Matrix) -> None:
        cost = estimate(matrix, self.tokens, self.counts, len(self.cards))
        ends = cost.ends(datetime.now())
        minutes = max(cost.hours * 60, 1)
        gpu_zh = f"GPU {cost.gpu_hours:.1f} 小时，" if cost.gpu_hours else ""
        gpu_en = f"{cost.gpu_hours:.1f} GPU hours, " if cost.gpu_hours else ""
        self.speaker.tell(
            f"粗略估计：下载 {_gib(cost.download_gib)}，磁盘 {_gib(cost.disk_gib)}，{gpu_zh}"
            f"约 {minutes:.0f} 分钟；现在开始，约 {ends} 结束",
            f"rough estimate: download {_gib(cost.download_gib)}, disk {_gib(cost.disk_gib)}, "
            f"{gpu_en}about {minutes:.0f} min; started now, it ends about {ends}",
        )
        if self.plan.tune and not self.tokens:
            self.speaker.tell(
                "  （训练数据在站点上，训练时间未计入）",
                "  (the training data lie on a hub: the time of training is not counted)",
            )
        if any(spec.needs.gpu_memory_gib for spec in matrix.models.values()) and not self.cards:
            self.speaker.tell(
                "  这些模型需要 GPU；在本机上会带原因跳过。",
                "  These models need a GPU; on this machine they are skipped with the reason.",
            )

    def _sight(self, models: int, cases: int, crises: int) -> None:
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
        view = outlook(cases, models, raters=RATERS)
        if models > 1:
            self.speaker.tell(
                f"人工评分（{cases} 个个案，其中危机个案 {crises} 个）：{view.words[1]}",
                f"people's ratings ({cases} cases, {crises} about a crisis): {view.words[0]}",
            )


def _gib(size: float) -> str:
    return f"{size:.0f} GiB" if size >= 1 or size == 0 else f"{size:.1f} GiB"


def places_in(answer: str) -> list[str]:
    """The paths and ids of an answer, which may be quoted."""
    if Path(answer).expanduser().exists():
        return [answer]
    try:
        return shlex.split(answer)
    except ValueError:
        return answer.split()


def _settings(row: Row) -> ModelSpec:
    from bakeoff.matrix.loading import parse_matrix

    raw = {key: value for key, value in vars(row).items() if value and key != "name"}
    return parse_matrix({"models": {row.name: {**raw, "tune": False}}}).models[row.name]


def _row_name(text: str, taken: Sequence[str]) -> str:
    """A name for a row or suite that no other has."""
    words = re.sub(r"[^a-z0-9._-]+", "-", text.rstrip("/").rsplit("/", 1)[-1].lower()).strip("-._")[:56]
    name, number = words or "mine", 2
    while name in taken:
        name, number = f"{words or 'mine'}-{number}", number + 1
    return name


if __name__ == "__main__":
    sys.exit(main())
