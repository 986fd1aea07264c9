"""Published models and their native forms, on tiny models with the published names, files and tokenizers."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import published_forms
import pytest
import sentencepiece
import tokenizers
import torch
from published_forms import BUILDERS, DENSE
from safetensors.torch import load_file, save_file

from bakeoff.chain.chain import Bench, Chain
from bakeoff.execution.runner import Runner
from bakeoff.forms import conversion, families, harmony, proof, shards
from bakeoff.forms.__main__ import main
from bakeoff.forms.chatglm3 import chatglm3_rope
from bakeoff.forms.conversion import convert, examine
from bakeoff.forms.family import same
from bakeoff.forms.internlm2 import INTERNLM2
from bakeoff.forms.proof import prove
from bakeoff.forms.published import published_form
from bakeoff.forms.reference import TOLERANCE, largest_difference
from bakeoff.forms.sentencepiece import SPACE, read_vocabulary
from bakeoff.foundation.errors import DataError, MatrixError
from bakeoff.foundation.workspace import Workspace
from bakeoff.runs.plan import dry_run, load
from tests.chains import bench_in, matrix_with

TOKENIZER = {"ChatGLM3-6B": "chatglm", "InternLM2": "internlm2", "Baichuan2-7B": "baichuan"}


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("published")
    return {name: build(folder / name) for name, build in BUILDERS.items()}


@pytest.fixture(scope="module")
def native(published: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("native")
    return {name: convert(source, folder / name) for name, source in published.items()}


def contents(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }


def edit_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config |= changes
    config = {key: value for key, value in config.items() if value != "remove"}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


@pytest.mark.parametrize("name", BUILDERS)
def test_a_copy_is_whole_and_accounts_for_every_tensor(name: str, tmp_path: Path) -> None:
    source = BUILDERS[name](tmp_path / "source")
    before = contents(source)
    target = convert(source, tmp_path / "target")

    assert contents(source) == before
    record = json.loads((target / "conversion.json").read_text(encoding="utf-8"))
    read = {tensor for sources, _ in record["tensors"] for tensor in sources} | set(record["unused"])
    assert read == set(shards.Shards(source))
    assert {tensor for _, targets in record["tensors"] for tensor in targets} == set(shards.Shards(target))
    assert record["source"]["config.json"] == before["config.json"]
    after = contents(target)
    assert record["target"] == {file: digest for file, digest in after.items() if file != "conversion.json"}
    assert (target / "LICENSE").read_text(encoding="utf-8") == "terms of the model\n"
    assert not [file for file in after if file.endswith(".py") or file == "tokenizer.model"]
    assert "auto_map" not in json.loads((target / "config.json").read_text(encoding="utf-8"))
    assert {oct(file.stat().st_mode & 0o777) for file in target.glob("*.safetensors")} == {"0o644"}
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("name", DENSE)
def test_the_native_form_computes_what_the_original_does(
    name: str, published: dict[str, Path], native: dict[str, Path]
) -> None:
    assert largest_difference(published[name], native[name]) < TOLERANCE


CONTROLS = {
    "ChatGLM3-6B": {
        "the other half of a head turns, too": {"rope_scaling": None},
        "the rope of Llama": {"rope_theta": 10000.0, "rope_scaling": None},
    },
    "InternLM2": {"another base of the rope": {"rope_theta": 10000.0}},
    "Baichuan2-7B": {"another base of the rope": {"rope_theta": 500000.0}},
}
SWAPS = {
    "gate and up": ("mlp.gate_proj.weight", "mlp.up_proj.weight"),
    "query and gate of another layer": ("self_attn.k_proj.weight", "self_attn.v_proj.weight"),
}


@pytest.mark.parametrize(
    ("name", "change"), [(name, change) for name, changes in CONTROLS.items() for change in changes]
)
def test_a_wrong_rope_is_seen(
    name: str, change: str, published: dict[str, Path], native: dict[str, Path], tmp_path: Path
) -> None:
    wrong = Path(shutil.copytree(native[name], tmp_path / "wrong"))
    edit_config(wrong, **CONTROLS[name][change])
    assert largest_difference(published[name], wrong) > 5 * TOLERANCE


@pytest.mark.parametrize("name", DENSE)
@pytest.mark.parametrize("swap", SWAPS)
def test_exchanged_tensors_are_seen(
    name: str, swap: str, published: dict[str, Path], native: dict[str, Path], tmp_path: Path
) -> None:
    wrong = Path(shutil.copytree(native[name], tmp_path / "wrong"))
    (file,) = wrong.glob("*.safetensors")
    tensors = load_file(file)
    first, second = (f"model.layers.1.{part}" for part in SWAPS[swap])
    tensors[first], tensors[second] = tensors[second], tensors[first]
    save_file(tensors, file, metadata={"format": "pt"})
    assert largest_difference(published[name], wrong) > 5 * TOLERANCE


def test_gpt_oss_computes_what_transformers_loads_from_the_packed_form(
    published: dict[str, Path], native: dict[str, Path]
) -> None:
    from transformers import AutoModelForCausalLM

    ids = torch.randint(512, (2, 40), generator=torch.Generator().manual_seed(3))
    logits = []
    for folder in (published["GPT-OSS"], native["GPT-OSS"]):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        with torch.inference_mode():
            logits.append(model(input_ids=ids).logits)
    assert torch.equal(*logits)
    assert logits[0].std() > 0.01


def strings(pieces: list[str], count: int) -> Iterator[str]:
    """Draw strings that are hard to cut: parts of pieces, runs of spaces, any character."""
    draw = random.Random(5)
    for _ in range(count):
        parts = []
        for _ in range(draw.randint(1, 7)):
            piece, kind = draw.choice(pieces), draw.random()
            if kind < 0.3:
                piece = piece[: draw.randint(0, len(piece))]
            elif kind < 0.4:
                piece = chr(draw.choice((draw.randint(1, 0xD7FF), draw.randint(0xE000, 0x10FFFF))))
            elif kind < 0.5:
                piece = draw.choice((" ", "\n", "\t", "\u3000")) * draw.randint(1, 5)
            parts.append(piece)
        yield "".join(parts)


@pytest.mark.parametrize("name", DENSE)
def test_the_tokenizer_gives_the_ids_of_sentencepiece(
    name: str, published: dict[str, Path], native: dict[str, Path]
) -> None:
    ours = tokenizers.Tokenizer.from_file(str(native[name] / "tokenizer.json"))
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(published[name] / "tokenizer.model"))
    vocabulary = read_vocabulary(published[name] / "tokenizer.model")
    special = {"<unk>", "<s>", "</s>"}  # as text, the native tokenizer reads them as the tokens they name
    special |= {f"[UNUSED_TOKEN_{i}]" for i in range(141, 147)}  # the model's code calls these by other names
    pieces = [piece.text.replace(SPACE, " ") for piece in vocabulary.pieces if piece.text not in special]
    for text in (*pieces, *strings(pieces, 5000)):
        if not any(name in text for name in special):
            assert ours.encode(text, add_special_tokens=False).ids == theirs.encode(text), repr(text)


def test_tokens_that_the_code_adds_or_renames_are_single_tokens(native: dict[str, Path]) -> None:
    chatglm = tokenizers.Tokenizer.from_file(str(native["ChatGLM3-6B"] / "tokenizer.json"))
    user, prefix = chatglm.token_to_id("<|user|>"), chatglm.token_to_id("[gMASK]")
    assert chatglm.encode("<|user|>", add_special_tokens=False).ids == [user]
    assert chatglm.encode("a").ids[:2] == [prefix, prefix + 2]
    assert user - prefix == 5
    internlm = tokenizers.Tokenizer.from_file(str(native["InternLM2"] / "tokenizer.json"))
    assert len(internlm.encode("<|im_start|>", add_special_tokens=False).ids) == 1
    assert internlm.token_to_id("[UNUSED_TOKEN_146]") is None


REFUSED = [
    ("ChatGLM3-6B", {"seq_length": 32768}, "seq_length is 32768"),
    ("ChatGLM3-6B", {"rope_ratio": 50}, "rope_ratio is 50"),
    ("ChatGLM3-6B", {"quantization_bit": 4}, "quantization_bit is 4"),
    ("ChatGLM3-6B", {"a_new_switch": True}, "does not know this setting"),
    ("Baichuan2-7B", {"max_position_embeddings": "remove"}, "max_position_embeddings is 'absent'"),
    ("Baichuan2-7B", {"z_loss_weight": 1}, "z_loss_weight is 1"),
    ("Baichuan2-7B", {"num_attention_heads": "remove"}, "no num_attention_heads"),
    ("InternLM2", {"rope_scaling": {"type": "linear", "factor": 4.0}}, "rope_scaling is"),
    ("InternLM2", {"tie_word_embeddings": True}, "tie_word_embeddings is True"),
    ("InternLM2", {"quantization_config": {"bits": 4}}, "quantization_config is"),
    ("GPT-OSS", {"quantization_config": {"quant_method": "awq"}}, "quantised as 'awq'"),
]


@pytest.mark.parametrize(("name", "changes", "words"), REFUSED)
def test_what_the_conversion_was_not_proven_for_is_refused(
    name: str, changes: dict[str, Any], words: str, published: dict[str, Path], tmp_path: Path
) -> None:
    source = Path(shutil.copytree(published[name], tmp_path / "source"))
    edit_config(source, **changes)
    with pytest.raises(DataError, match="source") as refused:
        convert(source, tmp_path / "target")
    assert words in str(refused.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


@pytest.mark.parametrize("change", ["missing", "surplus", "outside", "no tokenizer"])
def test_folders_with_holes_are_refused(
    change: str, published: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Path(shutil.copytree(published["InternLM2"], tmp_path / "source"))
    index = source / "model.safetensors.index.json"
    document = json.loads(index.read_text(encoding="utf-8"))
    if change == "missing":
        del document["weight_map"]["model.norm.weight"]
    elif change == "surplus":
        document["weight_map"]["model.layers.9.extra.weight"] = next(iter(document["weight_map"].values()))
    elif change == "outside":
        document["weight_map"]["model.norm.weight"] = "../../etc/passwd"
    else:
        (source / "tokenizer.model").unlink()
    index.write_text(json.dumps(document), encoding="utf-8")
    assert main([str(source), str(tmp_path / "target")]) == 1
    words = {
        "missing": "model.norm.weight is missing",
        "surplus": "model.layers.9.extra.weight is not one of InternLM2's",
        "outside": "'../../etc/passwd', which is not in the folder",
        "no tokenizer": "no tokenizer.model",
    }
    assert words[change] in capsys.readouterr().err
    assert not (tmp_path / "target").exists()


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["EVIL_FOLDER"],)


def test_code_in_a_pickle_is_not_run(
    published: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVIL_FOLDER", str(tmp_path / "ran"))
    source = Path(shutil.copytree(published["Baichuan2-7B"], tmp_path / "source"))
    torch.save({"model.norm.weight": Evil()}, source / "pytorch_model.bin")
    with pytest.raises(DataError, match="nothing in it was run"):
        convert(source, tmp_path / "target")
    assert not (tmp_path / "ran").exists()


def test_nan_is_refused_by_name(published: dict[str, Path], tmp_path: Path) -> None:
    source = Path(shutil.copytree(published["InternLM2"], tmp_path / "source"))
    file = next(path for path in source.glob("*.safetensors") if "model.norm.weight" in load_file(path))
    tensors = load_file(file)
    tensors["model.norm.weight"][3] = float("nan")
    save_file(tensors, file, metadata={"format": "pt"})
    with pytest.raises(DataError, match=r"model\.norm\.weight.*holds NaN"):
        convert(source, tmp_path / "target")


@pytest.mark.parametrize("name", BUILDERS)
def test_a_conversion_that_was_cut_short_continues(
    name: str, published: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "SHARD_BYTES", 60_000)
    messages: list[str] = []

    def stop(message: str) -> None:
        messages.append(message)
        if len(messages) == 2:
            raise KeyboardInterrupt

    target = tmp_path / "target"
    with pytest.raises(KeyboardInterrupt):
        convert(published[name], target, progress=stop)
    assert not target.exists()
    draft = tmp_path / "target.partial"
    written = {file.name: file.stat().st_mtime_ns for file in draft.glob("model-*")}
    assert len(written) == 2

    convert(published[name], target, progress=messages.append)
    assert {file: (target / file).stat().st_mtime_ns for file in written} == written
    whole = convert(published[name], tmp_path / "at once")
    for tensor in shards.Shards(whole):
        assert same(shards.Shards(whole).read(tensor), shards.Shards(target).read(tensor))


def test_a_copy_is_made_once_and_anew_for_another_original(tmp_path: Path) -> None:
    source = BUILDERS["InternLM2"](tmp_path / "source")
    target = convert(source, tmp_path / "target")
    before = {file: file.stat().st_mtime_ns for file in target.iterdir()}
    assert {file: file.stat().st_mtime_ns for file in convert(source, target).iterdir()} == before
    other = published_forms.internlm2(tmp_path / "other", seed=1)
    with pytest.raises(DataError, match="is another conversion"):
        convert(other, target)


def test_a_shard_that_does_not_hold_the_original_is_refused(
    published: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flip(tensors: dict[str, torch.Tensor], file: Path) -> None:
        tensors = dict(tensors)
        name = "model.layers.1.self_attn.k_proj.weight"
        tensors[name] = tensors[name].clone()
        tensors[name].view(torch.int16)[0, 0] ^= 1
        shards.write_shard(tensors, file)

    monkeypatch.setattr(conversion, "write_shard", flip)
    with pytest.raises(DataError, match=r"k_proj\.weight.* does not hold the numbers"):
        convert(published["InternLM2"], tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_a_tensor_of_another_shape_is_refused_by_name(published: dict[str, Path], tmp_path: Path) -> None:
    source = Path(shutil.copytree(published["InternLM2"], tmp_path / "source"))
    edit_config(source, num_key_value_heads=4)
    with pytest.raises(DataError, match=r"wqkv\.weight is 192 x 128, and config\.json asks for 256 x 128"):
        convert(source, tmp_path / "target")


def test_a_shard_is_byte_for_byte_what_safetensors_writes(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    tensors = {
        "b.weight": torch.randn(6, 5).bfloat16().T,
        "a.weight": torch.randn(3, 4),
        "empty": torch.zeros(0, 4),
        "c": torch.arange(9).to(torch.uint8),
        "z": torch.randn(5).half(),
        "Gewichtsmaß": torch.arange(3),
        "long": torch.randn(2, 2, 2).double(),
    }
    save_file({name: each.contiguous() for name, each in tensors.items()}, tmp_path / "a", {"format": "pt"})
    digest = shards.write_shard(tensors, tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert digest == conversion.sha256(tmp_path / "b")


@pytest.mark.parametrize("bit", [0x1, 0x40, 0x80, -0x8000])
def test_a_number_that_differs_in_any_bit_is_refused(bit: int) -> None:
    from bakeoff.forms import mxfp4

    generator = torch.Generator().manual_seed(2)
    blocks = torch.randint(256, (3, 5, 2, 16), generator=generator).to(torch.uint8)
    scales = torch.randint(100, 140, (3, 5, 2), generator=generator).to(torch.uint8)
    (unpacked,) = mxfp4.unpack(blocks, scales)
    unpacked.view(torch.int16)[2, 63, 4] ^= bit
    assert not mxfp4.holds_the_same(blocks, scales, unpacked)
    assert not mxfp4.holds_the_same(blocks, scales, unpacked[:, :, :4])


@pytest.mark.parametrize("scales", [(0, 255), (0, 4), (118, 126), (250, 255)])
def test_every_number_of_every_scale_is_the_specification_s(scales: tuple[int, int]) -> None:
    """Each code under each scale, held against exact arithmetic; infinity where bfloat16 ends."""
    from bakeoff.forms import mxfp4

    codes = torch.arange(16)
    packed = (codes[0::2] | (codes[1::2] << 4)).repeat(2).to(torch.uint8)
    drawn = torch.arange(scales[0], scales[1]).to(torch.uint8)
    blocks = packed.view(1, 1, 1, 16).expand(1, len(drawn), 1, 16).contiguous()
    (native,) = mxfp4.unpack(blocks, drawn.view(1, -1, 1))
    signed = [*mxfp4.VALUES, *(-value for value in mxfp4.VALUES)]
    for column, scale in enumerate(drawn.tolist()):
        exact = torch.tensor([value * 2.0 ** (scale - 127) for value in signed], dtype=torch.float64)
        assert torch.equal(native[0, :16, column].double(), exact.bfloat16().double())
    whole = bool(native.isfinite().all())
    assert mxfp4.holds_the_same(blocks, drawn.view(1, -1, 1), native) is whole


@pytest.mark.parametrize("bits", [0x1, 0x8, 0x80])
def test_packed_numbers_are_held_against_each_bit(bits: int) -> None:
    from bakeoff.forms import mxfp4

    generator = torch.Generator().manual_seed(1)
    blocks = torch.randint(256, (2, 6, 3, 16), generator=generator).to(torch.uint8)
    scales = torch.randint(100, 140, (2, 6, 3), generator=generator).to(torch.uint8)
    (unpacked,) = mxfp4.unpack(blocks, scales)
    assert unpacked.shape == (2, 96, 6)
    assert mxfp4.holds_the_same(blocks, scales, unpacked)
    other = blocks.clone()
    other[1, 2, 0, 5] ^= bits
    assert not mxfp4.holds_the_same(other, scales, unpacked)


def test_models_that_are_native_already_are_left_alone(tmp_path: Path, native: dict[str, Path]) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}', encoding="utf-8")
    assert examine(tmp_path) is None
    assert examine(native["GPT-OSS"]) is None
    assert examine(native["ChatGLM3-6B"]) is None


@pytest.mark.parametrize("size", [16, 32, 128])
def test_the_rope_turns_the_first_half_of_a_head_and_leaves_the_rest(size: int) -> None:
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    rope = chatglm3_rope(size, 8192)
    config = LlamaConfig(
        hidden_size=size * 2,
        num_attention_heads=2,
        head_dim=size,
        max_position_embeddings=8192,
        rope_parameters=rope,
    )
    frequencies, _ = ROPE_INIT_FUNCTIONS["llama3"](config, torch.device("cpu"))
    turned = 10_000.0 ** (-torch.arange(0, size // 2, 2).float() / (size // 2))
    assert torch.allclose(frequencies[: size // 4], turned, rtol=1e-6)
    assert frequencies[size // 4 :].max() < 1e-20


@pytest.mark.parametrize(
    ("name", "ends"), [("InternLM2", ["<|im_end|>"]), ("ChatGLM3-6B", ["<|user|>", "<|observation|>"])]
)
def test_a_reply_ends_where_the_published_model_ends_it(
    name: str, ends: list[str], native: dict[str, Path]
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(native[name])
    expected = [2, *tokenizer.convert_tokens_to_ids(ends)]
    for file in ("config.json", "generation_config.json"):
        assert json.loads((native[name] / file).read_text(encoding="utf-8"))["eos_token_id"] == expected


@pytest.mark.parametrize("name", BUILDERS)
def test_what_was_computed_with_a_copy_is_recorded(
    name: str, published: dict[str, Path], tmp_path: Path
) -> None:
    target = convert(published[name], tmp_path / "target", prove=prove)
    proof = json.loads((target / "conversion.json").read_text(encoding="utf-8"))["proof"]
    if name in DENSE:
        assert proof["forward"]["positions"] >= 2_000
        assert proof["forward"]["layers"] == "all"
        assert proof["forward"]["largest_difference"] < TOLERANCE
        assert proof["speech"]["loss"] > 0
        assert not proof["speech"]["required"]
    else:
        assert proof["speech"]["not_run"] == "no tokenizer.json"
        assert "packed again" in proof["forward"]["not_run"]


def test_weights_of_a_release_that_do_not_speak_are_refused(
    published: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = published["InternLM2"]
    known = conversion.sha256(source / "tokenizer.model")
    monkeypatch.setattr(families, "FAMILIES", [replace(INTERNLM2, release_tokenizer=known)])
    monkeypatch.setattr(conversion, "FAMILIES", families.FAMILIES)
    with pytest.raises(DataError, match="its weights do not speak: a mean loss of"):
        convert(source, tmp_path / "target", prove=prove)
    assert not (tmp_path / "target").exists()
    monkeypatch.setattr(proof, "_mean_loss", lambda native: (2.5, 11.4))
    record = json.loads((convert(source, tmp_path / "target", prove=prove) / "conversion.json").read_text())
    assert record["proof"]["speech"] == {"loss": 2.5, "chance": 11.4, "required": True}


def test_a_vocabulary_for_engines_is_the_tokenizer_s_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(["how are you, 你好 \t\n"] * 3, trainer)
    bpe.add_special_tokens(["<|end|>"])
    bpe.save(str(tmp_path / "tokenizer.json"))
    content = harmony.vocabulary(tmp_path / "tokenizer.json")
    rows = [line.split() for line in content.splitlines()]
    ranks = {base64.b64decode(piece): int(rank) for piece, rank in rows}
    assert sorted(ranks.values()) == list(range(len(rows)))
    assert {bytes([byte]) for byte in range(256)} <= set(ranks)
    for text in ("how", " you", "你好"):
        assert b"".join(base64.b64decode(rows[i][0]) for i in bpe.encode(text).ids) == text.encode()
    assert harmony.main([str(tmp_path), str(tmp_path / "engines")]) == 1
    assert "not the vocabulary of GPT-OSS" in capsys.readouterr().err
    monkeypatch.setattr(harmony, "SHA256", hashlib.sha256(content).hexdigest())
    assert harmony.main([str(tmp_path), str(tmp_path / "engines")]) == 0
    assert (tmp_path / "engines" / "o200k_base.tiktoken").read_bytes() == content


@pytest.fixture
def runner(warm: Runner) -> Runner:
    """The one that all share."""
    return warm


def chain_of(model: Path | str, store: Path, runner: Runner, **changes: Any) -> Chain:
    matrix = matrix_with(model=str(model), **changes)
    return Chain(matrix.models["tiny"], bench_in(store, runner, matrix))


def lines_of(chain: Chain) -> list[str]:
    bench = chain.bench
    return list(dry_run(bench.matrix, ["tiny"], bench.workspace, None))


def test_a_published_base_is_converted_once_and_trained_in_its_native_form(
    tmp_path: Path, runner: Runner
) -> None:
    source = BUILDERS["InternLM2"](tmp_path / "internlm2")
    before = contents(source)
    chain = chain_of(source, tmp_path / "store", runner)
    lines = lines_of(chain)
    (convert_line,) = (line for line in lines if "-m bakeoff.forms " in line)
    target = Path(chain.base_path())
    assert convert_line.endswith(f"-m bakeoff.forms {source} {target}")
    assert all(f"--model {target} " in line for line in lines if "swift.cli" in line and "export" not in line)
    assert not target.exists()

    base = chain.base()
    assert base.record
    assert (base.record.stage, base.record.outcome) == ("convert", "ran")
    assert base.folder == target
    facts = base.record.facts["conversion"]
    assert facts["family"] == "InternLM2"
    assert facts["source"]["config.json"] == before["config.json"]
    (warning,) = base.record.facts["warnings"]  # what the report shows beside the scores
    assert "not to be compared with those of runs on the published form" in warning
    assert "不能与在发布格式上训练的结果比较" in warning.zh
    assert contents(source) == before
    again = chain_of(source, tmp_path / "store", runner).base()
    assert again.record
    assert again.record.outcome == "reused"
    moved = Path(shutil.copytree(source, tmp_path / "moved"))
    assert chain_of(moved, tmp_path / "store", runner).base().fingerprint == base.fingerprint
    assert len(list((tmp_path / "store" / "forms").glob("*/record.json"))) == 1
    other = published_forms.internlm2(tmp_path / "other" / "internlm2", seed=1)
    assert chain_of(other, tmp_path / "store", runner).base_path() != str(target)
    (next(target.glob("*.safetensors"))).write_bytes(b"spoiled")
    mended = chain_of(source, tmp_path / "store", runner).base()
    assert mended.record
    assert mended.record.outcome == "ran"
    assert mended.fingerprint == base.fingerprint


@pytest.mark.parametrize(
    "name", ["tiny:llama", "Qwen/Qwen2.5-7B-Instruct", "LLM-Research/Meta-Llama-3.1-8B-Instruct"]
)
def test_other_bases_are_used_as_they_are(name: str, tmp_path: Path, runner: Runner) -> None:
    running = chain_of(name, tmp_path / "store", runner)
    chain = Chain(running.spec, Bench.at_rest(running.bench.matrix, running.bench.workspace))
    assert chain.form_folder is None
    assert chain.base_path() == chain.published_path()
    assert not [line for line in lines_of(chain) if "bakeoff.forms" in line]


@pytest.mark.parametrize(
    ("name", "trusts", "family"),
    [
        ("ZhipuAI/chatglm3-6b", False, "ChatGLM3-6B"),
        ("ZhipuAI/chatglm3-6b", True, None),
        ("ZhipuAI/chatglm3-6b-32k", False, None),
        ("Shanghai_AI_Laboratory/internlm2-chat-7b", False, "InternLM2"),
        ("baichuan-inc/Baichuan2-7B-Chat", False, "Baichuan2-7B"),
        ("baichuan-inc/Baichuan2-13B-Chat", False, None),
        ("openai-mirror/gpt-oss-20b", False, "GPT-OSS"),
        ("openai-mirror/gpt-oss-20b", True, "GPT-OSS"),
        ("tiny:published_gpt_oss", False, "GPT-OSS"),
        ("tiny:gpt_oss", False, None),
    ],
)
def test_a_release_is_known_by_its_name(name: str, trusts: bool, family: str | None) -> None:
    form = published_form(name, trusts_code=trusts)
    assert (form.name if form else None) == family


def test_a_folder_that_cannot_be_converted_is_refused_before_anything_runs(
    published: dict[str, Path], tmp_path: Path
) -> None:
    source = Path(shutil.copytree(published["Baichuan2-7B"], tmp_path / "source"))
    edit_config(source, max_position_embeddings="remove")
    file = tmp_path / "matrix.yaml"
    row = {"model": str(source), "model_type": "llama", "template": "baichuan"}
    file.write_text(json.dumps({"models": {"mine": row}}), encoding="utf-8")
    with pytest.raises(
        MatrixError, match=r"mine\.model: .*not the Baichuan2-7B that has a known native form"
    ):
        load(file, None, Workspace(tmp_path / "store"))
