"""Where rows are not trained or served like for like, and whether the guide meant it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bakeoff.matrix.schema import ModelSpec
from bakeoff.matrix.seeds import is_further_seed


@dataclass(frozen=True)
class Difference:
    """One condition in which rows differ."""

    aspect: str
    values: Mapping[str, tuple[str, ...]]
    """What it is -> the rows for which it is so, the most common first."""
    why_it_matters: str
    intended: str
    """What the guide wanted; empty where it wanted no difference."""

    def __str__(self) -> str:
        parts = [f"{value} ({', '.join(rows)})" for value, rows in self.values.items()]
        return f"{self.aspect}: {'; '.join(parts)}"


@dataclass(frozen=True)
class _Aspect:
    name: str
    of: Callable[[ModelSpec], object]
    why_it_matters: str
    intended: str = ""
    trained_only: bool = True


_ASPECTS = (
    _Aspect(
        "effective batch",
        lambda s: f"{s.training.effective_batch} {'packs' if s.training.packing else 'dialogues'}",
        "a larger batch makes fewer updates of the same data",
        "32 for 6-7B, 36 for 8B, 16 for 20B (table 8.1)",
    ),
    _Aspect(
        "learning rate",
        lambda s: f"{s.training.learning_rate:g}",
        "the step size decides how far tuning goes",
        "2e-4 for all but GPT-OSS-20B, 1e-4 (guide 2.6)",
    ),
    _Aspect(
        "warmup",
        lambda s: f"{s.training.warmup_ratio:g}",
        "it changes the schedule",
        "0.1, and 0.05 for GPT-OSS-20B (guide 2.6)",
    ),
    _Aspect(
        "epochs",
        lambda s: f"{s.training.max_steps} steps" if s.training.max_steps else f"{s.training.epochs:g}",
        "more passes learn (and forget) more",
    ),
    _Aspect(
        "max length",
        lambda s: s.training.max_length,
        "dialogues longer than this are left out, so rows learn from different data",
        "3072, and 2048 for GPT-OSS-20B (guide 2.6)",
    ),
    _Aspect(
        "packing",
        lambda s: (
            f"packs of {s.training.extra.get('packing_length', s.training.max_length)} tokens"
            if s.training.packing
            else "no"
        ),
        "with packing a batch counts packs instead of dialogues: compare tokens per update",
        "on for all but GPT-OSS-20B; packed here, too, with the guide's tokens per update",
    ),
    _Aspect(
        "held-out share",
        lambda s: f"{s.training.validation_share:g}",
        "what is held out is not learned",
        "evaluation every 50 steps for GPT-OSS-20B (guide 2.6)",
    ),
    _Aspect("LoRA rank", lambda s: s.training.lora_rank, "the number of trained parameters"),
    _Aspect("LoRA alpha", lambda s: s.training.lora_alpha, "it scales the update, like a learning rate"),
    _Aspect("LoRA targets", lambda s: ", ".join(s.training.target_modules), "which matrices can change"),
    _Aspect("precision", lambda s: s.training.dtype, "rounding, in training and in answers"),
    _Aspect("seed", lambda s: s.training.seed, "the order of the data"),
    _Aspect("dataset", lambda s: ", ".join(s.dataset), "what is learned"),
    _Aspect(
        "token budget (prompt and reply)",
        lambda s: s.serving.session_len or "the model's own",
        "a shorter session cuts replies or refuses long prompts",
        "4096, and 2048 for GPT-OSS-20B when memory is short (guide 4)",
        trained_only=False,
    ),
    _Aspect(
        "serving engine",
        lambda s: "somebody else's service" if s.url else s.serving.engine,
        "backends differ by 1 to 2.5 points on the same weights",
        trained_only=False,
    ),
    _Aspect(
        "way of serving",
        lambda s: s.serving.way,
        "merged and unmerged adapters differ in the last digits",
        trained_only=False,
    ),
)


def differences(
    rows: Sequence[ModelSpec],
    *,
    default_systems: Mapping[str, str | None] | None = None,
    trainers: Mapping[str, str] | None = None,
) -> list[Difference]:
    """The conditions in which *rows* differ.

    Args:
        default_systems: row -> system prompt that its template adds when a dialogue has none.
        trainers: row -> version of the ms-swift that trains it.
    """
    found = []
    rows = [row for row in rows if not is_further_seed(row)]
    for aspect in _ASPECTS:
        compared = [row for row in rows if row.trains or not aspect.trained_only]
        found.append(
            _difference(
                aspect.name,
                {r.name: str(aspect.of(r)) for r in compared},
                aspect.why_it_matters,
                aspect.intended,
            )
        )
    names = [row.name for row in rows]
    if default_systems:
        shown = {n: _shortened(default_systems[n]) for n in names if n in default_systems}
        why = "a prompt that only some models get, in training and in evaluation"
        found.append(
            _difference(
                "template's default system prompt", shown, why, "each model's own template (guide 8.2)"
            )
        )
    if trainers:
        shown = {n: trainers[n] for n in names if n in trainers}
        why = "data loading, optimizer defaults and templates changed between versions"
        found.append(_difference("ms-swift", shown, why, ""))
    return [one for one in found if one]


def _difference(aspect: str, shown: Mapping[str, str], why: str, intended: str) -> Difference | None:
    grouped: dict[str, tuple[str, ...]] = {}
    for row, value in shown.items():
        grouped[value] = (*grouped.get(value, ()), row)
    if len(grouped) < 2:
        return None
    common_first = dict(sorted(grouped.items(), key=lambda item: -len(item[1])))
    return Difference(aspect, common_first, why, intended)


def _shortened(system: str | None) -> str:
    if not system:
        return "none"
    first = " ".join(system.split())
    return f"'{first[:57]}…'" if len(first) > 58 else f"'{first}'"


def has_dated_prompt(template: str | None) -> bool:
    """Whether *template* prints the day's date into its system prompt (ms-swift 3.12 to 4.6)."""
    return template in ("llama3_2", "gpt_oss")


GUIDE = ". The guide: "


def beside_the_guide(one: Difference) -> str:
    """*one* in a sentence, with what the guide intended."""
    return f"{one}{GUIDE}{one.intended}" if one.intended else str(one)


def why_not_comparable(found: Sequence[Difference]) -> str:
    """All differences as one text, for an error under ``--strict-comparability``; empty for none."""
    lines = [f"- {one}" + (f"\n  the guide: {one.intended}" if one.intended else "") for one in found]
    return "\n".join(lines)
