"""A family of published models, and how its tensors are converted.

A :class:`Step` turns tensors of the original into tensors of the native form and back. Sources of the layouts: the
models' published code (InternLM2, ChatGLM3, Baichuan2) and transformers' documentation of GPT-OSS.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bakeoff.forms import reasons
from bakeoff.forms.sentencepiece import Specials
from bakeoff.foundation.sentences import Template

if TYPE_CHECKING:
    import torch

Json = Mapping[str, object]
Convert = Callable[..., "tuple[torch.Tensor, ...]"]
Check = Callable[..., bool]


@dataclass(frozen=True)
class Step:
    """Some tensors of the original and what they become.

    Attributes:
        sources: names in the original.
        targets: names in the native form.
        convert: takes the sources, returns the targets.
        proves: takes the sources and the targets, tells whether the targets hold the same numbers.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    convert: Convert
    proves: Check


@dataclass(frozen=True)
class Family:
    """A published form.

    Attributes:
        name: for messages and the record.
        model_type: value in ``config.json`` by which it is recognised.
        required: config key -> the values that the conversion is right for; "absent" is one.
        used: config keys that the conversion reads; each must be there.
        config: the original's config -> the native one.
        steps: the original's config -> every step.
        unused: names of buffers that need no counterpart.
        specials: tokens that the model's own code adds; None where ``tokenizer.json`` is published.
        generation: content of ``generation_config.json``.
        release_tokenizer: SHA-256 of ``tokenizer.model`` of the release.
        copies_config: whether settings that the conversion does not read are copied as they are.
        ends: names of further tokens at which a reply ends.
        releases: last parts of the hub ids under which it is published, in lower case.
        brings_code: whether the published form needs Python code of the model's own.
        note: what a reader of scores must know of the native form; empty for nothing.
    """

    name: str
    model_type: str
    required: Mapping[str, Collection[object]]
    used: tuple[str, ...]
    config: Callable[[Json], dict[str, object]]
    steps: Callable[[Json], Iterator[Step]]
    unused: Callable[[str], bool] = lambda name: False
    specials: Specials | None = None
    generation: Json | None = None
    release_tokenizer: str = ""
    copies_config: bool = False
    ends: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()
    brings_code: bool = True
    note: str = ""


SPLIT = Template(
    "forms.family.split",
    "converted from its published form: trained on separate q, k, v (gate, up) matrices like other models, so its "
    "scores are not to be compared with those of runs on the published form, whose adapters do not load either",
    zh="由发布格式转换而来：与其他模型一样，LoRA 分别作用于 q、k、v（gate、up）矩阵，而不是合在一起的矩阵；"
    "因此分数不能与在发布格式上训练的结果比较，其适配器也不能用于本模型",
    en="converted from the published form: LoRA was trained on separate q, k, v (gate, up) matrices, as in the other "
    "models; scores are not comparable with runs on the published form, whose adapters do not load either",
)
"""The note on families whose published form has several of these matrices in one."""
ABSENT = "absent"
IGNORED = frozenset(
    (
        *("_name_or_path", "_from_model_config", "architectures", "auto_map", "transformers_version"),
        *("torch_dtype", "dtype", "use_cache", "model_type", "attn_implementation", "initializer_range"),
        *("bos_token_id", "eos_token_id", "pad_token_id", "tokenizer_class", "attention_dropout"),
        *("hidden_dropout", "classifier_dropout", "output_attentions", "output_hidden_states", "return_dict"),
        *("apply_query_key_layer_scaling", "attention_softmax_in_fp32", "bias_dropout_fusion"),
        *("fp32_residual_connection", "pretraining_tp", "max_length", "gradient_checkpointing"),
    )
)
"""Keys of a config that do not change what the model computes when it is loaded for inference."""


def complaints(family: Family, config: Json) -> list[str]:
    """Return why *config* is not known to convert rightly, in words."""
    problems: list[str] = []
    for key, values in family.required.items():
        value = config.get(key, ABSENT)
        if value not in values:
            allowed = [repr(each) for each in values]
            problems.append(reasons.KEY_IS(key=key, value=repr(value), allowed=allowed))
    problems += [reasons.NO_KEY(key=key) for key in family.used if key not in config]
    settings = {*family.required, *family.used, *IGNORED}
    problems += [
        reasons.UNKNOWN_SETTING(key=key, value=repr(config[key]))
        for key in config
        if key not in settings and not family.copies_config
    ]
    return problems


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    import torch

    sizes = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    return tensor.contiguous().view(sizes[tensor.element_size()])


def same(first: torch.Tensor, second: torch.Tensor) -> bool:
    """Return whether two tensors agree in type, shape and every bit."""
    import torch

    alike = first.dtype == second.dtype and first.shape == second.shape
    return alike and bool(torch.equal(_bits(first), _bits(second)))


def rename(source: str, target: str) -> Step:
    """Return the step of a tensor that keeps its numbers."""
    return Step((source,), (target,), lambda tensor: (tensor,), same)


def integer(config: Json, key: str) -> int:
    """Return the whole number under *key*."""
    value = config[key]
    assert isinstance(value, int)
    return value


def llama(config: Mapping[str, object], **changes: object) -> dict[str, object]:
    """Return a ``config.json`` of LlamaForCausalLM."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "bos_token_id": 1,
        "rope_scaling": None,
        "dtype": config.get("torch_dtype", config.get("dtype", "bfloat16")),
        **changes,
    }


MLP = ("gate_proj", "up_proj", "down_proj")
"""Projections of a native feed-forward layer, in the order gate, up, down."""
