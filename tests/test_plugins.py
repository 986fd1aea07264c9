"""The training plugins, as far as a machine without a GPU can tell."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.forking import Forks

ROOT = Path(__file__).resolve().parents[1]
PLUGINS = ROOT / "bakeoff" / "plugins"


def run(program: str, *path: Path, **environment: str) -> str:
    """What *program* prints in a Python of its own: a plugin patches its whole process."""
    places = os.pathsep.join(map(str, (*path, ROOT, os.environ.get("PYTHONPATH", ""))))
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": places, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture
def lora() -> Any:
    """PEFT's LoRA layer over a frozen linear layer, with an adapter that is not zero."""
    torch = pytest.importorskip("torch")
    layer = pytest.importorskip("peft.tuners.lora.layer")
    peft = pytest.importorskip("peft")
    torch.manual_seed(0)
    base = torch.nn.Linear(48, 40).requires_grad_(False)
    config = peft.LoraConfig(r=8, lora_alpha=32, lora_dropout=0.0)
    made = layer.Linear(base, "default", config, r=8, lora_alpha=32)
    made.lora_B["default"].weight.data.normal_()
    return made


def test_the_fused_layer_computes_what_peft_computes(lora: Any) -> None:
    import torch

    from bakeoff.plugins import fused_lora

    x, up = torch.randn(3, 7, 48, requires_grad=True), torch.randn(3, 7, 40)
    wanted = lora(x)
    wanted.backward(up)
    a, b = lora.lora_A["default"].weight, lora.lora_B["default"].weight
    expected = [x.grad.clone(), a.grad.clone(), b.grad.clone()]
    x.grad = a.grad = b.grad = None
    got = fused_lora.LoraLinear.apply(x, lora.base_layer.weight, lora.base_layer.bias, a, b, 4.0, 0.0, 0)
    got.backward(up)
    torch.testing.assert_close(got, wanted)
    for one, other in zip((x.grad, a.grad, b.grad), expected, strict=True):
        torch.testing.assert_close(one, other)


def test_frozen_weights_in_8_bits_change_a_layer_by_their_rounding_alone(lora: Any) -> None:
    import torch

    from bakeoff.plugins import frozen_fp8, fused_lora

    base = lora.base_layer
    a, b = lora.lora_A["default"].weight, lora.lora_B["default"].weight
    up, found = torch.randn(3, 7, 40), {}
    for name, drop in (("exact", (4.0, 0.3, 5)), ("rounded", (4.0, 0.3, 5))):
        torch.manual_seed(3)
        x = torch.randn(3, 7, 48, requires_grad=True)
        if name == "exact":
            out = fused_lora.LoraLinear.apply(x, base.weight, base.bias, a, b, *drop)
        else:
            out = frozen_fp8.FrozenLoraLinear.apply(x, base, a, b, drop)
        out.backward(up)
        found[name] = [out.detach(), x.grad, a.grad.clone(), b.grad.clone()]
        a.grad = b.grad = None
    out, for_x, for_a, for_b = (
        float((one - other).norm() / other.norm())
        for one, other in zip(found["rounded"], found["exact"], strict=True)
    )
    assert for_a < 1e-6
    assert for_b < 1e-6, "the gradients of LoRA take no rounded number"
    assert 1e-4 < out < 0.05
    assert 1e-4 < for_x < 0.05
    assert base.weight.dtype == torch.float32, "what is saved stays as it was"


def test_rounding_to_8_bits_keeps_three_binary_digits_of_each_rows_larger_numbers() -> None:
    torch = pytest.importorskip("torch")
    from bakeoff.plugins import frozen_fp8

    torch.manual_seed(0)
    wide = torch.randn(5, 4096) * torch.tensor([[1e-6], [1.0], [3e4], [1.0], [1.0]])
    wide[3] = 0
    wide[4, 7] = 1e5
    small = frozen_fp8.rounded(wide)
    back = small.values.float() * small.scales
    large = wide.abs() > wide.abs().amax(1, keepdim=True) / 2**14
    off = ((back - wide).abs() / wide.abs().clamp(min=1e-30))[large & (wide != 0)]
    assert float(off.max()) <= 2**-4 + 1e-6
    assert bool(torch.isfinite(back).all())
    assert not back[3].any()
    same = frozen_fp8.LAST.of(wide)
    assert frozen_fp8.LAST.of(wide) is same, "what three layers read is rounded once"
    wide.add_(1)
    assert frozen_fp8.LAST.of(wide) is not same, "unless it has changed meanwhile"


@pytest.mark.parametrize(
    "names", [("fused_lora", "frozen_fp8"), ("frozen_fp8", "fused_lora"), ("frozen_fp8",)]
)
def test_8_bit_layers_are_used_whatever_plugin_is_named_first(names: tuple[str, ...]) -> None:
    from importlib import import_module

    layer = pytest.importorskip("peft.tuners.lora.layer")
    before = layer.Linear.forward
    try:
        for name in names:
            import_module(f"bakeoff.plugins.{name}").install()
        assert layer.Linear.forward.is_frozen_fp8
        assert layer.Linear.forward.__code__.co_filename.endswith("frozen_fp8.py")
    finally:
        layer.Linear.forward = before


def test_8_bit_layers_draw_the_dropout_mask_of_exact_ones_and_leave_odd_shapes_alone(lora: Any) -> None:
    import torch

    from bakeoff.plugins import frozen_fp8

    x, calls = torch.randn(5, 48), []
    fused = frozen_fp8.fuse(lambda layer, x: calls.append("peft"))
    fused(lora, x)
    assert calls == ["peft"], "not on a card"
    frozen_fp8.lora.why_not_fused, before = (lambda layer, x: ""), frozen_fp8.lora.why_not_fused
    try:
        lora.base_layer.out_features = 41
        fused(lora, x)
        assert calls == ["peft", "peft"], "tensor cores take multiples of 16"
        lora.base_layer.out_features = 48
        assert fused(lora, x).shape == (5, 40)
    finally:
        frozen_fp8.lora.why_not_fused = before


def test_blocks_compute_what_their_layers_compute_one_by_one(forks: Forks) -> None:
    pytest.importorskip("peft")
    program = """
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import layer
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM
from bakeoff.plugins import fused_blocks as blocks

plain = layer.Linear.forward
blocks.lora.why_not_fused = lambda layer, x: ""
made, block_of = [], blocks.block_of
blocks.block_of = lambda layers: made.append(len(layers)) or block_of(layers)


def results(kind, config, plugin):
    plugin()
    torch.manual_seed(1)
    sizes = dict(hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=4, vocab_size=64)
    model = kind(config(**sizes, num_key_value_heads=2, tie_word_embeddings=False))
    model = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, lora_dropout=0.2, target_modules="all-linear"))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_()
    ids = torch.arange(22).reshape(2, 11)
    torch.manual_seed(5)
    loss = model.train()(input_ids=ids, labels=ids).loss
    loss.backward()
    layer.Linear.forward = plain
    return [loss.detach(), *(weight.grad for weight in model.parameters() if weight.requires_grad)]


kinds = ((LlamaForCausalLM, LlamaConfig), (Qwen2ForCausalLM, Qwen2Config))
apart = [results(*kind, blocks.lora.install) for kind in kinds]
assert not made
together = [results(*kind, blocks.install) for kind in kinds]
assert len(made) == 8, "an attention and an MLP in each of two layers of two models"
for one, other in zip(sum(apart, []), sum(together, []), strict=True):
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
print("same")
"""
    assert forks.run(program).strip().endswith("same")


def test_an_attention_that_fails_leaves_its_layers_as_they_were() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("peft")
    from bakeoff.plugins import fused_blocks

    attention = torch.nn.Module()
    for name in ("q_proj", "k_proj", "v_proj"):
        setattr(attention, name, torch.nn.Linear(4, 4))
    asked: list[bool] = []

    def fails(self: Any, hidden_states: Any) -> None:
        asked.extend("forward" in vars(self.q_proj) for _ in "x")
        raise RuntimeError("out of memory")

    before = fused_blocks.why_not_fused, fused_blocks.block_of, fused_blocks.LoraSiblings
    fused_blocks.why_not_fused = lambda layers, x: ""
    fused_blocks.block_of = lambda layers: (None, [])
    fused_blocks.LoraSiblings = SimpleNamespace(apply=lambda x, *rest: (x, x, x))
    try:
        with pytest.raises(RuntimeError, match="out of memory"):
            fused_blocks.fuse_attention(fails)(attention, torch.zeros(1, 4))
    finally:
        fused_blocks.why_not_fused, fused_blocks.block_of, fused_blocks.LoraSiblings = before
    assert asked == [True]
    assert "forward" not in vars(attention.q_proj)


def test_a_block_in_8_bits_changes_by_the_rounding_of_frozen_products_alone() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("peft")
    from bakeoff.plugins import fused_blocks

    torch.manual_seed(0)
    bases = tuple(
        torch.nn.Linear(*size, bias=False).requires_grad_(False) for size in ((48, 80), (48, 80), (80, 48))
    )
    drops = tuple(fused_blocks.kernels.Drop(seed, 0.2) for seed in (1, 2, 3))
    factors = [torch.randn(size) * 0.1 for size in ((4, 48), (4, 48), (4, 80), (80, 4), (80, 4), (48, 4))]
    x, up, found = torch.randn(2, 9, 48), torch.randn(2, 9, 48), []
    for in_8_bits in (False, True):
        leaves = [one.clone().requires_grad_() for one in (x, *factors)]
        block = fused_blocks.Block(bases, (2.0, 2.0, 2.0), drops, in_8_bits)
        out = fused_blocks.LoraMlp.apply(leaves[0], block, *leaves[1:])
        out.backward(up)
        found.append([out.detach(), *(leaf.grad for leaf in leaves)])
    off = [float((one - other).norm() / one.norm()) for one, other in zip(*found, strict=True)]
    assert max(off) < 0.1
    assert min(off[:2]) > 1e-4, "the frozen products are rounded"


def test_the_backward_pass_drops_the_elements_that_the_forward_pass_dropped() -> None:
    torch = pytest.importorskip("torch")
    from bakeoff.plugins import fused_lora

    torch.manual_seed(1)
    x, a, b = torch.randn(20, 32), torch.randn(4, 32), torch.randn(24, 4)
    weight = torch.zeros(24, 32)
    kept = fused_lora.keep_mask(20, 32, seed=9, rate=0.4)
    leaves = [one.clone().requires_grad_() for one in (x, a, b)]
    out = fused_lora.LoraLinear.apply(leaves[0], weight, None, *leaves[1:], 2.0, 0.4, 9)
    out.sum().backward()
    plain = [one.clone().requires_grad_() for one in (x, a, b)]
    by_hand = 2.0 * (plain[0] * kept / 0.6) @ plain[1].T @ plain[2].T
    by_hand.sum().backward()
    torch.testing.assert_close(out, by_hand)
    for one, other in zip(leaves, plain, strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    assert not leaves[0].grad[~kept].any()


def test_the_dropout_mask_has_the_rate_asked_for_in_every_row_column_and_seed() -> None:
    pytest.importorskip("torch")
    from bakeoff.plugins.fused_lora import keep_mask

    mask = keep_mask(2000, 3000, seed=1, rate=0.05).float()
    assert abs(float(mask.mean()) - 0.95) < 5e-4
    spread = (0.05 * 0.95) ** 0.5
    assert float(mask.mean(0).std()) < 1.1 * spread / 2000**0.5
    assert float(mask.mean(1).std()) < 1.1 * spread / 3000**0.5
    other = keep_mask(2000, 3000, seed=2, rate=0.05).float()
    together = float(((1 - mask) * (1 - other)).mean())
    assert abs(together - 0.05**2) < 2e-4, "masks of two seeds are not independent"
    neighbours = float(((1 - mask[:, 1:]) * (1 - mask[:, :-1])).mean())
    assert abs(neighbours - 0.05**2) < 2e-4, "neighbours are not independent"


def test_a_layer_it_does_not_know_stays_pefts(lora: Any) -> None:
    import torch

    from bakeoff.plugins import fused_lora

    x = torch.randn(5, 48)
    assert fused_lora.why_not_fused(lora, x) == "not a half-precision layer on a GPU"
    called = []

    def forward(layer: Any, x: Any) -> str:
        called.append(layer)
        return "peft"

    assert fused_lora.fuse(forward)(lora, x) == "peft"
    assert called == [lora]
    lora.merge()
    assert fused_lora.why_not_fused(lora, x) == "not exactly one active, unmerged adapter"


def test_a_packed_rows_borders_are_where_positions_start_again() -> None:
    torch = pytest.importorskip("torch")
    from bakeoff.plugins.packed_rows import borders

    found = borders(torch.tensor([[0, 1, 2, 0, 0, 1, 2, 3]]))
    assert found["cu_seq_lens_q"].tolist() == [0, 3, 4, 8]
    assert found["cu_seq_lens_q"].dtype == torch.int32
    assert (found["max_length_q"], type(found["max_length_k"])) == (4, int)


def test_the_kept_places_are_those_that_ms_swift_would_keep() -> None:
    torch = pytest.importorskip("torch")
    mixin = pytest.importorskip("swift.trainers.mixin")
    from bakeoff.plugins.packed_rows import keep_places, labelled_places

    labels = torch.tensor([[-100, -100, 7, 8, -100, -100, 9, -100]])
    trainer = SimpleNamespace(
        template=SimpleNamespace(sequence_parallel_size=1), args=SimpleNamespace(tuner_backend="peft")
    )
    own = {"labels": labels.clone()}
    mixin.SwiftMixin.prepare_logits_to_keep(trainer, own)
    trainer.labelled_places = labelled_places(labels)
    ours = {"labels": labels.clone()}
    keep_places(mixin.SwiftMixin.prepare_logits_to_keep)(trainer, ours)
    assert torch.equal(ours["labels"], own["labels"])
    assert torch.equal(ours["logits_to_keep"], torch.nonzero(own["logits_to_keep"]).reshape(-1))


def test_a_row_whose_first_token_has_a_label_is_left_to_ms_swift() -> None:
    torch = pytest.importorskip("torch")
    from bakeoff.plugins.packed_rows import labelled_places

    assert labelled_places(torch.tensor([[5, -100, 6]])) is None
    assert labelled_places(torch.tensor([[-100, -100]])) is None


def test_attention_that_pytorch_lacks_is_refused_not_left_out() -> None:
    torch = pytest.importorskip("torch")
    from bakeoff.plugins.packed_rows import torch_varlen

    one, edges = torch.zeros(4, 2, 8), torch.tensor([0, 4], dtype=torch.int32)
    with pytest.raises(NotImplementedError, match="attention sinks"):
        torch_varlen(one, one, one, edges, edges, 4, 4, causal=True, s_aux=torch.zeros(2))
    with pytest.raises(NotImplementedError, match="score cap"):
        torch_varlen(one, one, one, edges, edges, 4, 4, causal=True, softcap=30.0)


def test_only_padding_free_rows_get_borders() -> None:
    torch = pytest.importorskip("torch")
    from bakeoff.plugins.packed_rows import PLACES, send_along

    def collate(self: Any, batch: Any) -> dict[str, Any]:
        return {"position_ids": torch.tensor([[0, 1, 0]]), "labels": torch.tensor([[-100, 4, 5]])}

    packed = send_along(collate)(SimpleNamespace(padding_free=True), [])
    assert packed["max_length_q"] == 2
    assert packed[PLACES].tolist() == [1, 2]
    assert set(send_along(collate)(SimpleNamespace(padding_free=False), [])) == {"position_ids", "labels"}


@pytest.mark.slow
def test_ms_swift_takes_the_plugins_and_transformers_the_lent_attention(forks: Forks) -> None:
    pytest.importorskip("swift")
    program = f"""
from swift.utils import import_external_file
rows = import_external_file({str(PLUGINS / "packed_rows.py")!r})
import_external_file({str(PLUGINS / "fused_lora.py")!r})
import_external_file({str(PLUGINS / "large_loss_chunks.py")!r})
from peft.tuners.lora.layer import Linear
from swift.template.base import Template
from swift.trainers import Seq2SeqTrainer
from transformers import masking_utils, modeling_flash_attention_utils as flash
assert Linear.forward.is_fused
for patched in (Template._data_collator, Seq2SeqTrainer._prepare_inputs,
                Seq2SeqTrainer.prepare_logits_to_keep, masking_utils._preprocess_mask_arguments):
    assert hasattr(patched, "__wrapped__"), patched
lent = rows.lend_flash_attention()
functions = flash.lazy_import_flash_attention("flash_attention_2")[0]
print(lent == (functions[1] is rows.torch_varlen))
"""
    assert forks.run(program).strip().endswith("True")


def test_larger_chunks_reach_liger_and_do_nothing_without_it(tmp_path: Path) -> None:
    if importlib.util.find_spec("liger_kernel") is None:
        assert run("from bakeoff.plugins import large_loss_chunks as p; p.install(); print('fine')").strip()
    package = tmp_path / "liger_kernel" / "transformers"
    package.mkdir(parents=True)
    (tmp_path / "liger_kernel" / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "functional.py").write_text(
        "def liger_fused_linear_cross_entropy(x, chunk_mem_const=1):\n    return x * chunk_mem_const\n"
    )
    program = """
from bakeoff.plugins import large_loss_chunks
large_loss_chunks.install()
from liger_kernel.transformers import functional
print(functional.liger_fused_linear_cross_entropy(3))
"""
    assert run(program, tmp_path).strip() == "24"


def test_the_kernels_agree_with_the_reference_in_tritons_interpreter() -> None:
    pytest.importorskip("triton", reason="PyTorch for CPUs brings no Triton")
    if tuple(map(int, version("numpy").split(".")[:2])) >= (2, 5):
        pytest.skip("Triton 3.6's interpreter fails with numpy 2.5")
    program = """
import torch
from bakeoff.plugins import fused_lora as f
torch.manual_seed(0)
x, a, b, up = torch.randn(130, 200), torch.randn(5, 200), torch.randn(90, 5), torch.randn(130, 90)
found = []
for kernels in (True, False):
    f._interpreted = lambda: kernels
    leaves = [one.clone().requires_grad_() for one in (x, a, b)]
    out = f.LoraLinear.apply(leaves[0], torch.ones(90, 200), None, *leaves[1:], 4.0, 0.1, 77)
    out.backward(up)
    found.append([out.detach(), *(one.grad for one in leaves)])
for one, other in zip(*found):
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
from bakeoff.plugins import fused_blocks
drops = tuple(fused_blocks.kernels.Drop(seed, 0.1) for seed in (7, 8, 9))
siblings = tuple(torch.nn.Linear(200, size).requires_grad_(False) for size in (90, 40, 40))
mlp = tuple(torch.nn.Linear(*size, bias=False).requires_grad_(False) for size in ((200, 90), (200, 90), (90, 200)))
nodes = ((fused_blocks.LoraSiblings, siblings, (200, 200, 200)), (fused_blocks.LoraMlp, mlp, (200, 200, 90)))
for node, bases, sizes in nodes:
    found = []
    factors = [torch.randn(5, size) for size in sizes] + [torch.randn(base.out_features, 5) for base in bases]
    for kernels in (True, False):
        fused_blocks.lora._interpreted = lambda: kernels
        leaves = [one.clone().requires_grad_() for one in (x, *(factor * 0.2 for factor in factors))]
        outs = node.apply(leaves[0], fused_blocks.Block(bases, (2.0, 3.0, 4.0), drops, False), *leaves[1:])
        outs = outs if isinstance(outs, tuple) else (outs,)
        torch.autograd.backward(outs, [torch.ones_like(out) for out in outs])
        found.append([*(out.detach() for out in outs), *(leaf.grad for leaf in leaves)])
    for one, other in zip(*found):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)
print("same")
"""
    assert run(program, TRITON_INTERPRET="1").strip() == "same"


def test_offline_tracking_replaces_the_mode_that_ms_swift_hands_on(tmp_path: Path) -> None:
    package = tmp_path / "swanlab" / "integration"
    package.mkdir(parents=True)
    (package / "transformers.py").write_text(
        "class SwanLabCallback:\n    def __init__(self, *, project, mode):\n        self.told = (project, mode)\n"
    )
    program = (
        "import bakeoff.plugins.swanlab_offline; from swanlab.integration.transformers import SwanLabCallback; "
        "print(SwanLabCallback(project='p', mode='local').told)"
    )
    assert run(program, tmp_path) == "('p', 'offline')\n"


def attend_by_the_book(q: Any, k: Any, v: Any, sinks: Any, rows: Any) -> Any:
    """Softmax over the scores and the sink, dialogue by dialogue."""
    import torch

    outputs = []
    edges = rows.borders.tolist()
    for start, end in pairwise(edges):
        share = q.shape[1] // k.shape[1]
        query = q[start:end].transpose(0, 1)
        keys, values = (part[start:end].repeat_interleave(share, 1).transpose(0, 1) for part in (k, v))
        distance = torch.arange(end - start)[:, None] - torch.arange(end - start)[None]
        hidden = (distance < 0) | ((distance > rows.window) & (rows.window >= 0))
        scores = (query @ keys.transpose(1, 2) * rows.scale).masked_fill(hidden, float("-inf"))
        with_sink = torch.cat([scores, sinks[:, None, None].expand(-1, end - start, 1)], -1)
        outputs.append((with_sink.softmax(-1)[..., :-1] @ values).transpose(0, 1))
    return torch.cat(outputs)


@pytest.mark.parametrize("window", [-1, 3])
@pytest.mark.parametrize("lengths", [(7, 1, 12, 5), (9,)])
def test_attention_with_sinks_and_its_gradients_are_those_of_the_definition(
    window: int, lengths: tuple[int, ...]
) -> None:
    torch = pytest.importorskip("torch")
    from bakeoff.plugins import attention_sinks

    torch.manual_seed(0)
    borders = torch.tensor([0, *torch.tensor(lengths).cumsum(0).tolist()], dtype=torch.int32)
    tokens = sum(lengths)
    leaves = [torch.randn(tokens, heads, 16, requires_grad=True) for heads in (8, 2, 2)]
    sinks, upstream = torch.randn(8), torch.randn(tokens, 8, 16)
    rows = attention_sinks.Rows(borders, max(lengths), 0.25, True, window)
    out = attention_sinks.SinkAttention.apply(*leaves, sinks, rows)
    expected = attend_by_the_book(*leaves, sinks, rows)
    torch.testing.assert_close(out, expected)
    without = attend_by_the_book(*leaves, torch.full((8,), -1e4), rows)
    assert (without - expected).abs().max() > 0.1, "sinks that change nothing would prove nothing"
    gradients = (torch.autograd.grad(result, leaves, upstream) for result in (out, expected))
    for ours, by_the_book in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, by_the_book, rtol=1e-4, atol=1e-5)


def test_sinks_that_are_trained_are_refused() -> None:
    torch = pytest.importorskip("torch")
    from bakeoff.plugins import attention_sinks

    q = torch.zeros(3, 2, 8)
    borders = torch.tensor([0, 3], dtype=torch.int32)
    with pytest.raises(NotImplementedError, match="packing: false"):
        attention_sinks.varlen(q, q, q, borders, borders, 3, 3, s_aux=torch.zeros(2, requires_grad=True))


@pytest.mark.parametrize("interpreted", [False, True])
def test_the_fused_experts_compute_what_transformers_computes(interpreted: bool, forks: Forks) -> None:
    pytest.importorskip("torch")
    if interpreted:
        pytest.importorskip("triton", reason="PyTorch for CPUs brings no Triton")
    program = """
import torch
from transformers import GptOssConfig
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssExperts
from bakeoff.plugins import fused_experts as f
size, width, experts, tokens, choices = 64, 96, 8, 37, 4
config = GptOssConfig(hidden_size=size, intermediate_size=width, num_local_experts=experts, num_experts_per_tok=choices)
config._experts_implementation = "eager"
torch.manual_seed(0)
module = GptOssExperts(config)
for weight in module.parameters():
    torch.nn.init.normal_(weight, std=0.3)
    weight.requires_grad_(False)
x = (3 * torch.randn(tokens, size)).requires_grad_()
scores, chosen = torch.randn(tokens, experts - 1).topk(choices, -1)  # the last expert gets nothing
weights = scores.softmax(-1).detach().requires_grad_()
upstream = torch.randn(tokens, size)
ours = f.Experts.apply(
    x, weights, (module.gate_up_proj, module.gate_up_proj_bias), (module.down_proj, module.down_proj_bias),
    f.order(chosen, experts), f.Gate(module.alpha, module.limit),
)
product = x @ module.gate_up_proj[0]
assert (product.abs() > module.limit).float().mean() > 0.1, "no clamp was tried"
theirs = module(x, chosen, weights)
pairs = [(ours, theirs), *zip(*(torch.autograd.grad(out, (x, weights), upstream) for out in (ours, theirs)))]
for one, other in pairs:
    torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-3)
print("same")
"""
    said = run(program, TRITON_INTERPRET="1") if interpreted else forks.run(program)
    assert said.strip() == "same"


def test_packed_dialogues_of_gpt_oss_have_the_loss_and_gradients_of_separate_ones(forks: Forks) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("swift")
    program = f"""
import torch
from transformers import GptOssConfig, GptOssForCausalLM
import_external = __import__("swift.utils", fromlist=["import_external_file"]).import_external_file
for plugin in ("packed_rows", "attention_sinks", "fused_experts"):
    import_external(f"{PLUGINS}/{{plugin}}.py")
from swift.template import TEMPLATE_MAPPING
assert TEMPLATE_MAPPING["gpt_oss"].template_cls.support_padding_free
config = GptOssConfig(
    vocab_size=60, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
    num_local_experts=4, num_experts_per_tok=2,
    num_attention_heads=4, num_key_value_heads=2, head_dim=8, sliding_window=4, max_position_embeddings=64,
    pad_token_id=0, attn_implementation="eager",
)
torch.manual_seed(0)
eager = GptOssForCausalLM(config)
with torch.no_grad():
    for weight in eager.parameters():
        weight.normal_(0, 0.3)
    for layer in eager.model.layers:
        layer.self_attn.sinks.normal_().requires_grad_(False)
eager.train()
config2 = GptOssConfig(**{{**config.to_dict(), "attn_implementation": "flash_attention_2"}})
packed = GptOssForCausalLM._from_config(config2, attn_implementation="flash_attention_2")
packed.load_state_dict(eager.state_dict())
packed.train()
for layer in packed.model.layers:
    layer.self_attn.sinks.requires_grad_(False)
dialogues = [torch.randint(1, 60, (1, n)) for n in (9, 3, 14)]
total = sum(eager(input_ids=d, labels=d).loss * (d.shape[1] - 1) for d in dialogues)
loss = total / sum(d.shape[1] - 1 for d in dialogues)
loss.backward()
ids = torch.cat(dialogues, 1)
labels = ids.clone()
positions = torch.cat([torch.arange(d.shape[1]) for d in dialogues])[None]
labels[positions == 0] = -100
edges = torch.tensor([0, 9, 12, 26], dtype=torch.int32)
borders = dict(cu_seq_lens_q=edges, cu_seq_lens_k=edges, max_length_q=14, max_length_k=14)
other = packed(input_ids=ids, labels=labels, position_ids=positions, **borders).loss
other.backward()
torch.testing.assert_close(loss, other)
for (name, one), two in zip(eager.named_parameters(), packed.parameters()):
    if one.grad is not None:
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-3, atol=1e-5, msg=name)
edges = torch.tensor([0, 26], dtype=torch.int32)
joined = dict(cu_seq_lens_q=edges, cu_seq_lens_k=edges, max_length_q=26, max_length_k=26)
whole = packed(input_ids=ids, labels=labels, position_ids=positions, **joined).loss
assert abs(float(whole) - float(loss)) > 1e-3, "attention across the borders would not be seen"
print("same")
"""
    assert forks.run(program).strip().splitlines()[-1] == "same"


def test_the_row_of_gpt_oss_trains_packed_and_evaluates_on_the_way(
    tmp_path: Path, built: Callable[[str], Path], forks: Forks
) -> None:
    """The line of the full-size row, on a tiny base: its held-out share is packed, too."""
    pytest.importorskip("swift")
    from bakeoff.matrix.loading import load_matrix
    from bakeoff.tools import swift

    row = load_matrix(ROOT / "model_matrix.yaml").models["gpt-oss-20b"]
    base = built("gpt_oss")
    changes = {
        "dtype": "float32",
        "max_length": 256,
        "max_steps": 4,
        "eval_steps": 2,
        "save_steps": 4,
        "logging_steps": 1,
        "validation_share": 0.1,
        "data_workers": 0,
        "fused_loss": False,
        "learning_rate": 5e-3,
        "tracker": "none",
        "extra": {"packing_length": 512},
    }
    training = row.training.model_copy(update=changes)
    data = str(ROOT / "bakeoff" / "data" / "facts_train.jsonl")
    spec = row.model_copy(update={"training": training, "model": str(base), "dataset": (data,)})
    command = swift.sft(spec, base=str(base), output=tmp_path / "out", python=sys.executable)
    forks.run_line([*command.argv[1:], "--use_cpu", "true"], **command.env, **swift.CPU_ENVIRONMENT)
    rows = [json.loads(line) for line in (tmp_path / "out" / "logging.jsonl").read_text().splitlines()]
    losses = [float(each["eval_loss"]) for each in rows if "eval_loss" in each]
    assert len(losses) == 2
    assert all(0 < loss < 3 for loss in losses), losses
