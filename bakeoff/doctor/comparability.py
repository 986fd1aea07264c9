"""Where rows differ in training or serving, and what the guide intends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bakeoff.foundation.sentences import Template, joined
from bakeoff.matrix.schema import ModelSpec
from bakeoff.matrix.seeds import is_further_seed

DIFFERS = Template("doctor.comparability.differs", "{aspect}: {values}", zh="{aspect}：{values}")
GROUP = Template("doctor.comparability.group", "{value} ({rows})", zh="{value}（{rows}）")
GUIDE = Template(
    "doctor.comparability.guide",
    "{difference}. The guide: {intended}",
    zh="{difference}。指南的设定：{intended}",
    en="{difference}. The guide intends: {intended}",
)


def _name(id: str, text: str, zh: str) -> str:
    """The name of a condition, or of a value of one, in both languages."""
    return Template(f"doctor.comparability.{id}", text, zh=zh)()


_SYSTEM_PROMPT = _name("system_prompt", "template's default system prompt", "模板默认的系统提示词")
_OWN_TEMPLATE = _name(
    "system_prompt_guide", "each model's own template (guide 8.2)", "各模型使用自己的模板（指南 8.2）"
)
_PROMPT_WHY = _name(
    "system_prompt_why",
    "a prompt that only some models get, in training and in evaluation",
    "只有部分模型在训练和评测时带有这一提示词",
)
_VERSION_WHY = _name(
    "ms_swift_why",
    "data loading, optimizer defaults and templates changed between versions",
    "不同版本的数据加载、优化器默认值和模板有变化",
)
_VERSION = _name("ms_swift", "ms-swift", "ms-swift")
_NONE = _name("none", "none", "无")
_NO = _name("no", "no", "否")
_OWN_LIMIT = _name("own_limit", "the model's own", "模型自身的上限")
_ANOTHERS = _name("anothers_service", "somebody else's service", "他人的服务")
_PACKS = Template("doctor.comparability.packs", "{count} packs", zh="{count} 个打包序列")
_DIALOGUES = Template("doctor.comparability.dialogues", "{count} dialogues", zh="{count} 段对话")
_STEPS = Template("doctor.comparability.steps", "{count} steps", zh="{count} 步")
_PACKED = Template(
    "doctor.comparability.packed", "packs of {tokens} tokens", zh="每个打包序列 {tokens} 个词元"
)


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
        return str(self.statement)

    @property
    def statement(self) -> str:
        """Which rows have which value."""
        groups = [GROUP(value=value, rows=rows) for value, rows in self.values.items()]
        return DIFFERS(aspect=self.aspect, values=joined(groups))


@dataclass(frozen=True)
class _Aspect:
    name: str
    of: Callable[[ModelSpec], object]
    why_it_matters: str
    intended: str = ""
    trained_only: bool = True


_ASPECTS = (
    _Aspect(
        _name("effective_batch", "effective batch", "有效批大小"),
        lambda s: (_PACKS if s.training.packing else _DIALOGUES)(count=s.training.effective_batch),
        _name(
            "effective_batch_why",
            "a larger batch makes fewer updates of the same data",
            "批越大，同样的数据更新次数越少",
        ),
        _name(
            "effective_batch_guide",
            "32 for 6-7B, 36 for 8B, 16 for 20B (table 8.1)",
            "6–7B 为 32，8B 为 36，20B 为 16（表 8.1）",
        ),
    ),
    _Aspect(
        _name("learning_rate", "learning rate", "学习率"),
        lambda s: f"{s.training.learning_rate:g}",
        _name("learning_rate_why", "the step size decides how far tuning goes", "步长决定微调改变模型的幅度"),
        _name(
            "learning_rate_guide",
            "2e-4 for all but GPT-OSS-20B, 1e-4 (guide 2.6)",
            "除 GPT-OSS-20B 为 1e-4 外均为 2e-4（指南 2.6）",
        ),
    ),
    _Aspect(
        _name("warmup", "warmup", "预热"),
        lambda s: f"{s.training.warmup_ratio:g}",
        _name("warmup_why", "it changes the schedule", "会改变学习率曲线"),
        _name(
            "warmup_guide",
            "0.1, and 0.05 for GPT-OSS-20B (guide 2.6)",
            "0.1，GPT-OSS-20B 为 0.05（指南 2.6）",
        ),
    ),
    _Aspect(
        _name("epochs", "epochs", "训练轮数"),
        lambda s: _STEPS(count=s.training.max_steps) if s.training.max_steps else f"{s.training.epochs:g}",
        _name("epochs_why", "more passes learn (and forget) more", "训练轮数越多，学得越多，也忘得越多"),
    ),
    _Aspect(
        _name("max_length", "max length", "最大长度"),
        lambda s: s.training.max_length,
        _name(
            "max_length_why",
            "dialogues longer than this are left out, so rows learn from different data",
            "更长的对话会被丢弃，各行实际学到的数据因而不同",
        ),
        _name(
            "max_length_guide",
            "3072, and 2048 for GPT-OSS-20B (guide 2.6)",
            "3072，GPT-OSS-20B 为 2048（指南 2.6）",
        ),
    ),
    _Aspect(
        _name("packing", "packing", "打包"),
        lambda s: (
            _PACKED(tokens=s.training.extra.get("packing_length", s.training.max_length))
            if s.training.packing
            else _NO
        ),
        _name(
            "packing_why",
            "with packing a batch counts packs instead of dialogues: compare tokens per update",
            "打包后批大小按打包序列计，而非按对话计：请比较每次更新的词元数",
        ),
        _name(
            "packing_guide",
            "on for all but GPT-OSS-20B; packed here, too, with the guide's tokens per update",
            "除 GPT-OSS-20B 外均打包；此处它也打包，每次更新的词元数与指南相同",
        ),
    ),
    _Aspect(
        _name("held_out_share", "held-out share", "留出比例"),
        lambda s: f"{s.training.validation_share:g}",
        _name("held_out_share_why", "what is held out is not learned", "留出的数据不参与训练"),
        _name(
            "held_out_share_guide",
            "evaluation every 50 steps for GPT-OSS-20B (guide 2.6)",
            "GPT-OSS-20B 每 50 步评估一次（指南 2.6）",
        ),
    ),
    _Aspect(
        _name("lora_rank", "LoRA rank", "LoRA 秩"),
        lambda s: s.training.lora_rank,
        _name("lora_rank_why", "the number of trained parameters", "决定可训练参数的数量"),
    ),
    _Aspect(
        _name("lora_alpha", "LoRA alpha", "LoRA alpha"),
        lambda s: s.training.lora_alpha,
        _name("lora_alpha_why", "it scales the update, like a learning rate", "与学习率一样缩放更新幅度"),
    ),
    _Aspect(
        _name("lora_targets", "LoRA targets", "LoRA 目标模块"),
        lambda s: ", ".join(s.training.target_modules),
        _name("lora_targets_why", "which matrices can change", "决定哪些权重矩阵会改变"),
    ),
    _Aspect(
        _name("precision", "precision", "精度"),
        lambda s: s.training.dtype,
        _name("precision_why", "rounding, in training and in answers", "影响训练和回答中的舍入"),
    ),
    _Aspect(
        _name("seed", "seed", "随机种子"),
        lambda s: s.training.seed,
        _name("seed_why", "the order of the data", "影响数据的顺序"),
    ),
    _Aspect(
        _name("dataset", "dataset", "数据集"),
        lambda s: ", ".join(s.dataset),
        _name("dataset_why", "what is learned", "决定学到什么"),
    ),
    _Aspect(
        _name("token_budget", "token budget (prompt and reply)", "词元预算（提示词与回复）"),
        lambda s: s.serving.session_len or _OWN_LIMIT,
        _name(
            "token_budget_why",
            "a shorter session cuts replies or refuses long prompts",
            "会话上限较短时，回复会被截断，长提示词会被拒绝",
        ),
        _name(
            "token_budget_guide",
            "4096, and 2048 for GPT-OSS-20B when memory is short (guide 4)",
            "4096，显存不足时 GPT-OSS-20B 为 2048（指南 4）",
        ),
        trained_only=False,
    ),
    _Aspect(
        _name("serving_engine", "serving engine", "部署引擎"),
        lambda s: _ANOTHERS if s.url else s.serving.engine,
        _name(
            "serving_engine_why",
            "backends differ by 1 to 2.5 points on the same weights",
            "同一权重在不同引擎上可相差 1 至 2.5 分",
        ),
        trained_only=False,
    ),
    _Aspect(
        _name("way_of_serving", "way of serving", "部署方式"),
        lambda s: s.serving.way,
        _name(
            "way_of_serving_why",
            "merged and unmerged adapters differ in the last digits",
            "合并与不合并的适配器在末位数字上有差别",
        ),
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
    all_differences = []
    rows = [row for row in rows if not is_further_seed(row)]
    for aspect in _ASPECTS:
        compared = [row for row in rows if row.trains or not aspect.trained_only]
        all_differences.append(
            _difference(
                aspect.name,
                {r.name: _text(aspect.of(r)) for r in compared},
                aspect.why_it_matters,
                aspect.intended,
            )
        )
    names = [row.name for row in rows]
    if default_systems:
        shown = {n: _shortened(default_systems[n]) for n in names if n in default_systems}
        why = _PROMPT_WHY
        all_differences.append(_difference(_SYSTEM_PROMPT, shown, why, _OWN_TEMPLATE))
    if trainers:
        shown = {n: trainers[n] for n in names if n in trainers}
        why = _VERSION_WHY
        all_differences.append(_difference(_VERSION, shown, why, ""))
    return [difference for difference in all_differences if difference]


def _difference(aspect: str, shown: Mapping[str, str], why: str, intended: str) -> Difference | None:
    grouped: dict[str, tuple[str, ...]] = {}
    for row, value in shown.items():
        grouped[value] = (*grouped.get(value, ()), row)
    if len(grouped) < 2:
        return None
    common_first = dict(sorted(grouped.items(), key=lambda item: -len(item[1])))
    return Difference(aspect, common_first, why, intended)


def _text(value: object) -> str:
    return value if isinstance(value, str) else str(value)


def _shortened(system: str | None) -> str:
    if not system:
        return _NONE
    first = " ".join(system.split())
    return f"'{first[:57]}…'" if len(first) > 58 else f"'{first}'"


def has_dated_prompt(template: str | None) -> bool:
    """Whether *template* prints the current date into its system prompt."""
    return template in ("llama3_2", "gpt_oss")


def beside_the_guide(difference: Difference) -> str:
    """*difference* in a sentence, with what the guide intended."""
    if difference.intended:
        return GUIDE(difference=difference.statement, intended=difference.intended)
    return difference.statement


def why_not_comparable(items: Sequence[Difference]) -> str:
    """All differences as one text; empty where there are none."""
    return "\n".join(
        f"- {item}" + (f"\n  the guide: {item.intended}" if item.intended else "") for item in items
    )
