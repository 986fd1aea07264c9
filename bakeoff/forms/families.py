"""The families of published models that have a native form, and how each tensor gets there.

A :class:`Step` turns tensors of the original into tensors of the native form and back. Sources of the layouts: the
models' published code (InternLM2, ChatGLM3, Baichuan2) and transformers' documentation of GPT-OSS.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bakeoff.forms import mxfp4
from bakeoff.forms.sentencepiece import Specials

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
        known: SHA-256 of ``tokenizer.model`` of the release.
        copies_config: whether settings that the conversion does not read are copied as they are.
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
    known: str = ""
    copies_config: bool = False


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
    """Return in words why the conversion of *family* is not known to be right for *config*."""
    problems = []
    for key, values in family.required.items():
        value = config.get(key, ABSENT)
        if value not in values:
            allowed = " or ".join(map(repr, values))
            problems.append(f"config.json: {key} is {value!r}; the conversion is known for {allowed}")
    problems += [f"config.json: no {key}" for key in family.used if key not in config]
    known = {*family.required, *family.used, *IGNORED}
    problems += [
        f"config.json: {key} is {config[key]!r}; the conversion does not know this setting"
        for key in config
        if key not in known and not family.copies_config
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


def _integer(config: Json, key: str) -> int:
    value = config[key]
    assert isinstance(value, int)
    return value


def _llama(config: Mapping[str, object], **changes: object) -> dict[str, object]:
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


_MLP = ("gate_proj", "up_proj", "down_proj")


# -- InternLM2 ---------------------------------------------------------------------------------------------------


def _internlm2_config(config: Json) -> dict[str, object]:
    same_name = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    return _llama(
        config,
        **{key: config[key] for key in same_name},
        num_key_value_heads=config["num_key_value_heads"],
        max_position_embeddings=config["max_position_embeddings"],
        rms_norm_eps=config["rms_norm_eps"],
        rope_theta=float(str(config["rope_theta"])),
        eos_token_id=[2, 92542] if _integer(config, "vocab_size") > 92542 else 2,
    )


def _internlm2_steps(config: Json) -> Iterator[Step]:
    heads, key_heads = _integer(config, "num_attention_heads"), _integer(config, "num_key_value_heads")
    hidden, group = _integer(config, "hidden_size"), heads // key_heads
    size = hidden // heads

    def split(wqkv: torch.Tensor) -> tuple[torch.Tensor, ...]:
        # For each key head: its query heads, then its key, then its value.
        grouped = wqkv.view(key_heads, group + 2, size, hidden)
        parts = grouped[:, :group], grouped[:, group], grouped[:, group + 1]
        return tuple(part.reshape(-1, hidden) for part in parts)

    def join(wqkv: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> bool:
        import torch

        q = q.view(key_heads, group, size, hidden)
        k, v = (part.view(key_heads, 1, size, hidden) for part in (k, v))
        return same(torch.cat([q, k, v], dim=1).reshape(wqkv.shape), wqkv)

    yield rename("model.tok_embeddings.weight", "model.embed_tokens.weight")
    for layer in range(_integer(config, "num_hidden_layers")):
        here = f"model.layers.{layer}"
        attention = f"{here}.self_attn"
        targets = tuple(f"{attention}.{name}_proj.weight" for name in "qkv")
        yield Step((f"{here}.attention.wqkv.weight",), targets, split, join)
        yield rename(f"{here}.attention.wo.weight", f"{attention}.o_proj.weight")
        for old, new in zip(("w1", "w3", "w2"), _MLP, strict=True):
            yield rename(f"{here}.feed_forward.{old}.weight", f"{here}.mlp.{new}.weight")
        yield rename(f"{here}.attention_norm.weight", f"{here}.input_layernorm.weight")
        yield rename(f"{here}.ffn_norm.weight", f"{here}.post_attention_layernorm.weight")
    yield rename("model.norm.weight", "model.norm.weight")
    yield rename("output.weight", "lm_head.weight")


_INTERNLM2_NAMES = ("plugin", "interpreter", "action_end", "action_start", "im_end", "im_start")
INTERNLM2 = Family(
    name="InternLM2",
    model_type="internlm2",
    required={
        "bias": (False,),
        "hidden_act": ("silu",),
        "tie_word_embeddings": (False, ABSENT),
        # "dynamic" changes nothing up to max_position_embeddings, and the native form states that length.
        "rope_scaling": (
            None,
            ABSENT,
            {"type": "dynamic", "factor": 1.0},
            {"type": "dynamic", "factor": 2.0},
        ),
        "quantization_config": (ABSENT,),
        "max_position_embeddings": (32768,),
    },
    used=(
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "rms_norm_eps",
        "rope_theta",
    ),
    config=_internlm2_config,
    steps=_internlm2_steps,
    unused=lambda name: name.endswith("rotary_emb.inv_freq"),
    specials=Specials(
        renamed={f"[UNUSED_TOKEN_{141 + i}]": f"<|{name}|>" for i, name in enumerate(_INTERNLM2_NAMES)},
        added={},
        opening=("<s>",),
        pad="</s>",
    ),
    generation={"bos_token_id": 1, "eos_token_id": [2, 92542], "pad_token_id": 2},
    known="f868398fc4e05ee1e8aeba95ddf18ddcc45b8bce55d5093bead5bbf80429b48b",
)


# -- Baichuan2-7B ------------------------------------------------------------------------------------------------


def _baichuan2_config(config: Json) -> dict[str, object]:
    keys = (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "max_position_embeddings",
        "rms_norm_eps",
    )
    return _llama(
        config,
        **{key: config[key] for key in keys},
        num_key_value_heads=config["num_attention_heads"],
        rope_theta=10000.0,
        eos_token_id=2,
        pad_token_id=0,
    )


def _normalised(head: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the head as the model itself computes it before its first reply (``NormHead``)."""
    import torch

    return (torch.nn.functional.normalize(head),)


def _proves_normalised(head: torch.Tensor, native: torch.Tensor) -> bool:
    import torch

    for rows, result in zip(head.split(4096), native.split(4096), strict=True):
        exact = rows.double()
        exact = exact / exact.norm(dim=1, keepdim=True).clamp_min(1e-12)
        allowed = 4 * torch.finfo(head.dtype).eps * exact.abs() + torch.finfo(head.dtype).tiny
        if not bool(((result.double() - exact).abs() <= allowed).all()):
            return False
    return bool(native.dtype == head.dtype)


def _baichuan2_steps(config: Json) -> Iterator[Step]:
    def join(packed: torch.Tensor, *parts: torch.Tensor) -> bool:
        import torch

        return same(torch.cat(parts), packed)

    yield rename("model.embed_tokens.weight", "model.embed_tokens.weight")
    for layer in range(_integer(config, "num_hidden_layers")):
        here = f"model.layers.{layer}"
        targets = tuple(f"{here}.self_attn.{name}_proj.weight" for name in "qkv")
        yield Step((f"{here}.self_attn.W_pack.weight",), targets, lambda packed: packed.chunk(3), join)
        kept = ("self_attn.o_proj", *(f"mlp.{name}" for name in _MLP))
        for name in (*kept, "input_layernorm", "post_attention_layernorm"):
            yield rename(f"{here}.{name}.weight", f"{here}.{name}.weight")
    yield rename("model.norm.weight", "model.norm.weight")
    yield Step(("lm_head.weight",), ("lm_head.weight",), _normalised, _proves_normalised)


BAICHUAN2 = Family(
    name="Baichuan2-7B",
    model_type="baichuan",
    required={
        "hidden_act": ("silu",),
        "tie_word_embeddings": (False, ABSENT),
        # The 13B model has ALiBi instead of rotary positions and states no max_position_embeddings.
        "max_position_embeddings": (4096,),
        "model_max_length": (4096, ABSENT),
        "z_loss_weight": (0, ABSENT),
        "quantization_config": (ABSENT,),
    },
    used=(
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "rms_norm_eps",
    ),
    config=_baichuan2_config,
    steps=_baichuan2_steps,
    unused=lambda name: name.endswith("rotary_emb.inv_freq"),
    specials=Specials(renamed={}, added={}, opening=()),
    generation={"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0},
    known="79452955be6b419a65984273a9f08af86042e1c2a75ee3ba989cbf620a133cc2",
)


# -- ChatGLM3-6B -------------------------------------------------------------------------------------------------


def chatglm3_rope(size: int, context: int) -> dict[str, object]:
    """Return the Llama 3.1 rope that turns the first half of a head and leaves the rest at rest.

    ChatGLM3 turns R = *size* / 2 dimensions by 10000^(-2i/R). With theta = 10000^(size/R) Llama's own frequencies
    theta^(-2i/size) are the same for the first R/2 pairs. Llama 3.1's scaling divides the frequencies whose wave is
    longer than a limit by ``factor``: the limit lies between the last pair that turns and the next one.

    Args:
        size: dimensions of a head.
        context: positions that the model was trained for.
    """
    theta, turning = 10000.0**2, size // 4

    def wave(pair: int) -> float:
        return float(2 * math.pi * theta ** (2 * pair / size))

    last, following = wave(turning - 1), wave(turning)
    shortest, longest = last * (following / last) ** (1 / 3), last * (following / last) ** (2 / 3)
    reach = (
        context // 2
    )  # transformers wants it below max_position_embeddings; only its ratio to the factors counts
    return {
        "rope_theta": theta,
        "rope_type": "llama3",
        "factor": 1e20,
        "low_freq_factor": reach / longest,
        "high_freq_factor": reach / shortest,
        "original_max_position_embeddings": reach,
    }


def _chatglm3_config(config: Json) -> dict[str, object]:
    rope = chatglm3_rope(_integer(config, "kv_channels"), _integer(config, "seq_length"))
    theta = rope.pop("rope_theta")
    return _llama(
        config,
        vocab_size=config["padded_vocab_size"],
        hidden_size=config["hidden_size"],
        intermediate_size=config["ffn_hidden_size"],
        num_hidden_layers=config["num_layers"],
        num_attention_heads=config["num_attention_heads"],
        num_key_value_heads=config["multi_query_group_num"],
        head_dim=config["kv_channels"],
        max_position_embeddings=config["seq_length"],
        rms_norm_eps=config["layernorm_epsilon"],
        rope_theta=theta,
        rope_scaling=rope,
        attention_bias=True,
        eos_token_id=[2, 64795, 64797] if _integer(config, "padded_vocab_size") > 64797 else 2,
        pad_token_id=0,
    )


def chatglm3_order(size: int) -> list[int]:
    """Return for each row of a native head the row of the original: neighbours (2i, 2i+1) become (i, i + size/2)."""
    turned = size // 2
    even, odd = list(range(0, turned, 2)), list(range(1, turned, 2))
    rest = list(range(turned, size))
    return [*even, *rest[: turned // 2], *odd, *rest[turned // 2 :]]


def _chatglm3_steps(config: Json) -> Iterator[Step]:
    size, heads = _integer(config, "kv_channels"), _integer(config, "num_attention_heads")
    rows = [n * size for n in (heads, *[_integer(config, "multi_query_group_num")] * 2)]
    order = chatglm3_order(size)
    back = sorted(range(size), key=order.__getitem__)

    def turn(part: torch.Tensor, by: list[int]) -> torch.Tensor:
        return part.view(-1, size, *part.shape[1:])[:, by].reshape(part.shape)

    def split(qkv: torch.Tensor) -> tuple[torch.Tensor, ...]:
        q, k, v = qkv.split(rows)
        return turn(q, order), turn(k, order), v

    def join(qkv: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> bool:
        import torch

        return same(torch.cat([turn(q, back), turn(k, back), v]), qkv)

    def halves(both: torch.Tensor, *parts: torch.Tensor) -> bool:
        import torch

        return same(torch.cat(parts), both)

    def with_bias(dense: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return dense, dense.new_zeros(dense.shape[0])  # Llama's attention_bias gives o_proj a bias, too

    def proves_bias(dense: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> bool:
        return same(dense, weight) and not bool(bias.any())

    yield rename("transformer.embedding.word_embeddings.weight", "model.embed_tokens.weight")
    for layer in range(_integer(config, "num_layers")):
        old, new = f"transformer.encoder.layers.{layer}", f"model.layers.{layer}"
        for kind in ("weight", "bias"):
            targets = tuple(f"{new}.self_attn.{name}_proj.{kind}" for name in "qkv")
            yield Step((f"{old}.self_attention.query_key_value.{kind}",), targets, split, join)
        o_proj = f"{new}.self_attn.o_proj"
        yield Step(
            (f"{old}.self_attention.dense.weight",),
            (f"{o_proj}.weight", f"{o_proj}.bias"),
            with_bias,
            proves_bias,
        )
        gate_up = tuple(f"{new}.mlp.{name}.weight" for name in _MLP[:2])
        yield Step((f"{old}.mlp.dense_h_to_4h.weight",), gate_up, lambda both: both.chunk(2), halves)
        yield rename(f"{old}.mlp.dense_4h_to_h.weight", f"{new}.mlp.down_proj.weight")
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield rename(f"{old}.{norm}.weight", f"{new}.{norm}.weight")
    yield rename("transformer.encoder.final_layernorm.weight", "model.norm.weight")
    yield rename("transformer.output_layer.weight", "lm_head.weight")


_CHATGLM3_ADDED = (
    "[MASK]",
    "[gMASK]",
    "[sMASK]",
    "<sop>",
    "<eop>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|observation|>",
)
CHATGLM3 = Family(
    name="ChatGLM3-6B",
    model_type="chatglm",
    required={
        "original_rope": (True,),
        "rope_ratio": (ABSENT, 1, None),
        "seq_length": (8192,),
        "add_bias_linear": (False,),
        "add_qkv_bias": (True,),
        "apply_residual_connection_post_layernorm": (False,),
        "multi_query_attention": (True,),
        "post_layer_norm": (True,),
        "rmsnorm": (True,),
        "tie_word_embeddings": (False, ABSENT),
        "quantization_bit": (0, ABSENT),
        "quantization_config": (ABSENT,),
        "pre_seq_len": (None, ABSENT),
        "prefix_projection": (False, ABSENT),
    },
    used=(
        "padded_vocab_size",
        "hidden_size",
        "ffn_hidden_size",
        "num_layers",
        "num_attention_heads",
        "multi_query_group_num",
        "kv_channels",
        "layernorm_epsilon",
    ),
    config=_chatglm3_config,
    steps=_chatglm3_steps,
    unused=lambda name: name == "transformer.rotary_pos_emb.inv_freq",
    specials=Specials(
        renamed={},
        added={64789 + i: text for i, text in enumerate(_CHATGLM3_ADDED)},
        opening=("[gMASK]", "<sop>"),
    ),
    generation={"eos_token_id": [2, 64795, 64797], "pad_token_id": 0},
    known="e7dc4c393423b76e4373e5157ddc34803a0189ba96b21ddbb40269d31468a6f2",
)


# -- GPT-OSS -----------------------------------------------------------------------------------------------------


def _gpt_oss_config(config: Json) -> dict[str, object]:
    native = {
        key: value for key, value in config.items() if key not in ("quantization_config", "torch_dtype")
    }
    return {**native, "dtype": "bfloat16"}


def _gpt_oss_steps(config: Json) -> Iterator[Step]:
    yield rename("model.embed_tokens.weight", "model.embed_tokens.weight")
    for layer in range(_integer(config, "num_hidden_layers")):
        here = f"model.layers.{layer}"
        for projection in ("q_proj", "k_proj", "v_proj", "o_proj"):
            for kind in ("weight", "bias"):
                name = f"{here}.self_attn.{projection}.{kind}"
                yield rename(name, name)
        experts = f"{here}.mlp.experts"
        for projection in ("gate_up_proj", "down_proj"):
            packed = tuple(f"{experts}.{projection}_{part}" for part in ("blocks", "scales"))
            yield Step(packed, (f"{experts}.{projection}",), mxfp4.unpack, mxfp4.holds_the_same)
            yield rename(f"{experts}.{projection}_bias", f"{experts}.{projection}_bias")
        for name in (
            "self_attn.sinks",
            "mlp.router.weight",
            "mlp.router.bias",
            "input_layernorm.weight",
            "post_attention_layernorm.weight",
        ):
            yield rename(f"{here}.{name}", f"{here}.{name}")
    yield rename("model.norm.weight", "model.norm.weight")
    yield rename("lm_head.weight", "lm_head.weight")


GPT_OSS = Family(
    name="GPT-OSS",
    model_type="gpt_oss",
    required={"tie_word_embeddings": (False, ABSENT)},
    used=("quantization_config", "num_hidden_layers"),
    config=_gpt_oss_config,
    steps=_gpt_oss_steps,
    copies_config=True,
)

FAMILIES = (INTERNLM2, BAICHUAN2, CHATGLM3, GPT_OSS)
