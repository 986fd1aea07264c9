"""The training plugins, as far as a machine without a GPU can tell."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

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
def test_ms_swift_takes_the_plugins_and_transformers_the_lent_attention() -> None:
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
    assert run(program).strip().endswith("True")


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
