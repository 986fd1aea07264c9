# mypy: disable-error-code="misc,untyped-decorator"
# EvalScope ships no types: its classes and decorators are Any here.
# ruff: noqa: D102 - the methods are EvalScope's hooks, documented there.
"""Our benchmarks as EvalScope adapters.

Importing this module registers them; only the evaluation process does.

Choice questions are graded by :mod:`bakeoff.scoring.extraction`. Files are read by :mod:`bakeoff.suites.rows`, so
nothing is ever looked up on a hub.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evalscope.api.benchmark import BenchmarkMeta, DefaultDataAdapter, MultiChoiceAdapter
from evalscope.api.dataset import DatasetDict, MemoryDataset, Sample
from evalscope.api.evaluator import TaskState
from evalscope.api.metric import MetricSelector, Score
from evalscope.api.registry import register_benchmark
from evalscope.constants import Tags
from evalscope.metrics.semantics.catalog import METRIC_DEFINITIONS
from evalscope.metrics.semantics.entry import MetricEntry
from evalscope.utils.multi_choices import MultipleChoiceTemplate as Template

from bakeoff.scoring.extraction import extract_choice
from bakeoff.scoring.reading import final_part
from bakeoff.suites.overlap import METRICS as OVERLAP_METRICS
from bakeoff.suites.overlap import overlap
from bakeoff.suites.rows import Question, questions

# Undeclared names would count as diagnostics and be refused as primary metric after everything was asked.
METRIC_DEFINITIONS.setdefault("elastic_accuracy", MetricEntry(baseline="quality.accuracy.ratio"))
for _name in OVERLAP_METRICS[:-1]:
    _kind = "quality.bleu.ratio" if _name.startswith("bleu") else "quality.rouge.ratio"
    METRIC_DEFINITIONS.setdefault(_name, MetricEntry(baseline=_kind))


class _LocalRows:
    """Loads a folder's rows through :func:`bakeoff.suites.rows.questions`, a limit being per subset as elsewhere."""

    name: str
    dataset_id: str
    limit: int | None
    subset_list: list[str]

    def load(self) -> tuple[DatasetDict, None]:
        loaded = questions(self.name, Path(self.dataset_id))
        subsets = self.subset_list if self.subset_list != ["default"] else list(loaded)
        datasets = {}
        for subset in subsets:
            picked = loaded[subset][: self.limit]
            datasets[subset] = MemoryDataset([self.sample_of(question) for question in picked], name=subset)
            datasets[subset].reindex()
        return DatasetDict(datasets), None

    def sample_of(self, question: Question) -> Sample:
        facts = {"id": question.id, "multiple": question.multiple, **question.facts}
        choices = list(question.options) or None
        return Sample(
            input=question.text,
            choices=choices,
            target=list(question.target) if question.multiple else question.target,
            metadata=facts,
        )


class ChoiceAdapter(_LocalRows, MultiChoiceAdapter):
    """A choice exam from local rows; the prompt's last line asks for ``答案：…``."""

    def format_prompt_template(self, sample: Sample) -> str:
        multiple = sample.metadata["multiple"]
        template = Template.CHINESE_MULTIPLE_ANSWER_TEMPLATE if multiple else self.prompt_template
        options = list(enumerate(sample.choices))
        return str(
            template.format(
                question=sample.input,
                letters=",".join(chr(65 + i) for i, _ in options),
                choices="\n".join(f"{chr(65 + i)}) {text}" for i, text in options),
            )
        )

    def extract_answer(self, prediction: str, task_state: TaskState) -> str:
        options = [choice.value for choice in task_state.choices]
        multiple = bool(task_state.metadata.get("multiple"))
        return extract_choice(prediction, options, multiple=multiple, question=task_state.input_text)

    def match_score(
        self, original_prediction: str, filtered_prediction: str, reference: str, task_state: TaskState
    ) -> Score:
        picked, right = set(filtered_prediction), set(task_state.target_values)
        value = {"accuracy": float(picked == right)}
        if "elastic_accuracy" in self.metric_list:
            value["elastic_accuracy"] = elastic(picked, right)
        return Score(
            extracted_prediction=filtered_prediction,
            prediction=original_prediction,
            value=value,
            main_score_name="accuracy",
        )


def elastic(picked: set[str], right: set[str]) -> float:
    """Return the elastic accuracy of the PsycoLLM benchmark.

    The share of the right options that were chosen; 0 as soon as a wrong one was (arXiv 2407.05721, on metrics).
    """
    return len(picked & right) / len(right) if picked <= right else 0.0


def _meta(name: str, pretty: str, description: str, **options: Any) -> BenchmarkMeta:
    return BenchmarkMeta(
        name=name,
        pretty_name=pretty,
        description=description,
        dataset_id=name,
        subset_list=["default"],
        few_shot_num=0,
        few_shot_mode="disabled",
        eval_split="val",
        **{"metric_list": ["accuracy"], "tags": [Tags.MULTIPLE_CHOICE, Tags.CHINESE, Tags.CUSTOM], **options},
    )


@register_benchmark(
    _meta(
        "choice_exam",
        "Choice exam",
        "Single-choice questions of your own, two to ten options each; subsets are files.",
        prompt_template=Template.CHINESE_SINGLE_ANSWER_TEMPLATE,
    )
)
class ChoiceExamAdapter(ChoiceAdapter):
    """Single choice from the user's own files."""


@register_benchmark(
    _meta(
        "facts_exam",
        "Facts exam",
        "Single-choice questions on facts that the shipped training set teaches and nothing else could have.",
        prompt_template=Template.CHINESE_SINGLE_ANSWER_TEMPLATE,
    )
)
class FactsExamAdapter(ChoiceAdapter):
    """Single choice on what the tuning data taught."""


@register_benchmark(
    _meta(
        "pceb_mcq",
        "Counsellor exam",
        "Chinese counsellor exam after PCEB: sections theory, case and moral; single and multiple choice; "
        "strict and elastic accuracy.",
        prompt_template=Template.CHINESE_SINGLE_ANSWER_TEMPLATE,
        metric_list=["accuracy", "elastic_accuracy"],
        primary_metric=MetricSelector(name="accuracy"),
    )
)
class PcebAdapter(ChoiceAdapter):
    """Counsellor exam with strict (``accuracy``) and elastic accuracy."""


@register_benchmark(
    _meta(
        "safety_bench_zh",
        "SafetyBench zh (local rows)",
        "SafetyBench's Chinese subset from its published jsonl, one subset per category; official zero-shot prompt.",
        prompt_template="问题：{question}\n选项：\n{choices}\n答案：",
    )
)
class SafetyBenchZhAdapter(ChoiceAdapter):
    """Two to four options, the official prompt ``问题：…选项：…答案：``."""

    def format_prompt_template(self, sample: Sample) -> str:
        options = "".join(f"({chr(65 + i)}) {text}\n" for i, text in enumerate(sample.choices))
        return f"问题：{sample.input}\n选项：\n{options}答案："


_EMOBENCH = """请阅读下面的情景，回答单项选择题。你的回答的全部内容应该是这样的格式："答案：[LETTER]"（不带引号），其中 [LETTER] 是 {letters} 中的一个。

情景：{scenario}
问题：{question}
选项：
{choices}
"""  # noqa: E501


@register_benchmark(
    _meta(
        "emobench",
        "EmoBench zh",
        "Emotional application (EA) and understanding (EU: emotion and cause, asked one by one) in Chinese.",
        prompt_template=_EMOBENCH + "\n{question}",
    )
)
class EmoBenchAdapter(ChoiceAdapter):
    """EmoBench's Chinese scenarios; the number of options varies."""

    def process_sample_input(self, sample: Sample, subset: str) -> str:
        who = sample.metadata["subject"]
        question = {
            "EU_emotion": f"在这一情景中，{who}最终会感受到哪种情绪？",
            "EU_cause": f"{who}在这一情景中产生这种情绪的原因是什么？",
            "EA": f"在这一情景中，{who}最有效的{'行动' if sample.metadata['action'] else '回应'}是什么？",
        }[subset]
        options = list(enumerate(sample.choices))
        return _EMOBENCH.format(
            scenario=sample.input,
            question=question,
            letters=",".join(chr(65 + i) for i, _ in options),
            choices="\n".join(f"{chr(65 + i)}) {text}" for i, text in options),
        )


@register_benchmark(
    _meta(
        "psyqa",
        "Open counselling questions",
        "Open counselling questions with a reference answer; ROUGE-L F, ROUGE-1/2 F and BLEU-4 over jieba words. "
        "Overlap rewards the reference's wording and length, not good counselling.",
        metric_list=list(OVERLAP_METRICS),
        primary_metric=MetricSelector(name="rouge_l_f"),
        prompt_template="{question}",
        tags=[Tags.QA, Tags.CHINESE, Tags.CUSTOM],
    )
)
class PsyqaAdapter(_LocalRows, DefaultDataAdapter):
    """Open questions, scored by word overlap with the reference."""

    def format_prompt_template(self, sample: Sample) -> str:
        return str(sample.input)

    def extract_answer(self, prediction: str, task_state: TaskState) -> str:
        return final_part(prediction)

    def match_score(
        self, original_prediction: str, filtered_prediction: str, reference: str, task_state: TaskState
    ) -> Score:
        return Score(
            extracted_prediction=filtered_prediction,
            prediction=original_prediction,
            value=overlap(filtered_prediction, task_state.target),
            main_score_name="rouge_l_f",
        )
