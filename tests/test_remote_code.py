"""Models with code of their own, in the habits of ChatGLM3, InternLM2 and Baichuan2, under real transformers."""

import json
import os
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from bakeoff.chain import weights
from bakeoff.foundation.errors import DataError
from bakeoff.plugins.finish_reason import tell_the_reason_truly
from bakeoff.plugins.rotary_check import rotary_problem
from bakeoff.tools import checkpoints, foreign, swift
from tests.chains import ROW

HERE = Path(__file__).parent / "fakes" / "remote_code"
torch = pytest.importorskip("torch")


def model(**config: object) -> object:
    """A module with one rotary embedding of eight frequencies, for base 10,000."""
    outer = torch.nn.Module()
    outer.rotary_emb = torch.nn.Module()
    frequencies = 1.0 / 10000 ** (torch.arange(0, 16, 2).float() / 16)
    outer.rotary_emb.register_buffer("inv_freq", frequencies, persistent=False)
    angles = torch.outer(torch.arange(4).float(), frequencies)
    outer.rotary_emb.cos_cached = torch.cat([angles, angles], -1).cos()
    outer.config = SimpleNamespace(**config)
    return outer


def test_right_frequencies_and_tables_are_no_problem():
    assert rotary_problem(model()) is None
    assert rotary_problem(model(rope_theta=10000.0)) is None
    assert rotary_problem(torch.nn.Linear(2, 2)) is None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_frequencies_in_half_precision_are_no_problem(dtype):
    assert rotary_problem(model().to(dtype)) is None


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda m: m.rotary_emb.inv_freq.fill_(6.8e21), "not 1 / base^(2i/d) for base 10000"),
        (lambda m: m.rotary_emb.inv_freq.fill_(float("nan")), "not finite"),
        (lambda m: m.rotary_emb.inv_freq.zero_(), "frequencies from 0 to 0"),
        (lambda m: m.rotary_emb.inv_freq.mul_(1.01), "not 1 / base"),
        (lambda m: m.rotary_emb.cos_cached.fill_(7.0), "which no cosine or sine is"),
        (lambda m: m.rotary_emb.cos_cached.zero_(), "position 0 holds 0 instead of 1"),
        (lambda m: m.rotary_emb.cos_cached.fill_(1.0), "positions 0 and 1 are the same"),
        (lambda m: setattr(m.rotary_emb, "cos_cached", torch.empty(4, 4, device="meta")), "has no values"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(spoil, said):
    broken = model()
    spoil(broken)
    problem = rotary_problem(broken)
    assert problem
    assert said in problem
    assert problem.startswith("rotary_emb.")


def test_scaled_frequencies_are_accepted_but_garbage_is_not():
    scaled = model(rope_scaling={"rope_type": "llama3", "factor": 8.0})
    scaled.rotary_emb.inv_freq[4:] /= 8
    assert rotary_problem(scaled) is None
    scaled.rotary_emb.inv_freq[3] = 1e9
    assert "not falling within (0, 1]" in (rotary_problem(scaled) or "")


def test_the_models_of_transformers_own_pass_the_check():
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

    size = {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "vocab_size": 32,
    }
    assert rotary_problem(Qwen2ForCausalLM(Qwen2Config(**size, rope_theta=1000000.0))) is None
    llama3 = {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
        "rope_theta": 500000.0,
    }
    assert rotary_problem(LlamaForCausalLM(LlamaConfig(**size, rope_parameters=llama3))) is None


@pytest.mark.slow
def test_the_running_transformers_leaves_garbage_in_buffers_without_an_error_and_the_check_sees_it(
    tmp_path, forks
):
    import transformers

    if int(transformers.__version__.split(".")[0]) < 5:
        pytest.skip("transformers 4 loads such buffers rightly")
    folder = tmp_path / "internlm2"
    forks.run_line([str(HERE / "build.py"), "internlm2", str(folder)])
    source = folder / "modeling_internlm2.py"
    # as a user would mend the KeyError that transformers 5 raises first
    mended = source.read_text().replace('self.config.rope_scaling["type"] != "dynamic"', "False")
    source.write_text(mended)
    said = json.loads(forks.run_line([str(HERE / "check.py"), str(folder)]).splitlines()[-1])
    assert said["tokenizer"] == ""
    assert "wrong rotary positions under transformers 5" in said["model"]


OWN_CODE = """
import os, pathlib
pathlib.Path(os.environ["MARKER"]).touch()
from transformers import LlamaConfig, LlamaForCausalLM
class OwnConfig(LlamaConfig): pass
class OwnModel(LlamaForCausalLM): config_class = OwnConfig
"""


@pytest.fixture
def own_code(tiny, tmp_path):
    """A model whose folder holds code; it leaves a file when it is run."""
    folder = Path(shutil.copytree(tiny.chain().base().path, tmp_path / "own"))
    config = json.loads((folder / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(OWN_CODE)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("trusted", [False, True])
def test_code_that_came_with_a_model_runs_only_for_rows_that_say_so(tiny, own_code, tmp_path, forks, trusted):
    training = {**ROW["training"], "max_steps": 1}
    spec = tiny.spec(model=str(own_code), trust_remote_code=trusted, training=training)
    line = swift.sft(spec, base=str(own_code), output=tmp_path / "out", python=sys.executable)
    marker = tmp_path / "ran"
    forks.run_line(line.argv[1:], **line.env, MARKER=str(marker))
    assert marker.exists() == trusted


def test_a_base_with_code_of_its_own_is_refused_before_it_starts(tiny, own_code, tmp_path):
    with pytest.raises(DataError, match=r"own/config\.json names Python code .*'trust_remote_code: true'"):
        tiny.chain(tmp_path / "store", model=str(own_code)).base()
    assert tiny.chain(tmp_path / "store", model=str(own_code), trust_remote_code=True).base().fingerprint


@pytest.mark.parametrize(
    ("name", "content", "by"),
    [
        ("config.json", {"text_config": {"auto_map": {"AutoConfig": "own.OwnConfig"}}}, "auto_map"),
        ("config.json", {"attn_implementation": "evil/kernels"}, "attn_implementation"),
        ("config.json", {"_attn_implementation": {"": "evil/kernels@main:f"}}, "_attn_implementation"),
        ("config.json", {"experts_implementation": "evil/kernels"}, "experts_implementation"),
        (
            "config.json",
            "[" * 990 + '{"auto_map": {"AutoConfig": "o.O"}}' + "]" * 990,
            "no JSON that can be read",
        ),
        ("processor_config.json", {"auto_map": {"AutoProcessor": "own.P"}}, "auto_map"),
        ("adapter_config.json", {"megatron_config": {"a": 1}, "megatron_core": "evil"}, "megatron_core"),
        (
            "adapter_config.json",
            {"auto_mapping": {"parent_library": "evil", "base_model_class": "M"}},
            "auto_mapping",
        ),
        ("custom_generate/generate.py", "", "custom_generate"),
        ("config.json", {"attn_implementation": "sdpa", "auto_map": None, "architectures": ["a/b"]}, ""),
        (
            "adapter_config.json",
            {"megatron_config": None, "megatron_core": "megatron.core", "auto_mapping": None},
            "",
        ),
        (
            "adapter_config.json",
            {"auto_mapping": {"parent_library": "transformers.models.qwen2.modeling_qwen2"}},
            "",
        ),
    ],
)
def test_whatever_names_code_in_a_folder_is_found(tmp_path, name, content, by):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content))
    named = foreign.own_code(tmp_path)
    assert (named.file, by in named.by) == (name, True) if by else named is None


@pytest.mark.parametrize(
    ("content", "setting"),
    [
        ({"system": "/root/notes.txt"}, "'system' is '/root/notes.txt'"),
        ({"attn_impl": "evil/kernels"}, "'attn_impl'"),
        ({"task_type": "seq_cls"}, "'task_type'"),
        ({"new_special_tokens": ["/etc/hosts.txt"]}, "'new_special_tokens'"),
        ({"rope_scaling": {"type": "linear", "factor": 9}}, "'rope_scaling'"),
        ({"quant_method": "bnb", "quant_bits": 4}, "'quant_method'"),
        ({"tuner_type": ["../x"]}, "'tuner_type'"),
        ({"task_type": "causal_lm", "tuner_type": "lora", "new_special_tokens": [], "quant_bits": None}, ""),
        (["system"], ""),
    ],
)
def test_a_stranger_s_training_arguments_do_not_say_how_a_model_is_loaded(tmp_path, content, setting):
    (tmp_path / "args.json").write_text(json.dumps(content))
    assert setting in foreign.own_settings(tmp_path)
    assert bool(setting) == bool(foreign.own_settings(tmp_path))
    spec = SimpleNamespace(name="row", trust_remote_code=False)
    if setting:
        with pytest.raises(DataError, match="decides nothing here"):
            weights.refuse_plugins(tmp_path, spec)
    else:
        weights.refuse_plugins(tmp_path, spec)


def test_shards_lie_in_the_folder_and_odd_files_are_neither_waited_for_nor_read_whole(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    assert foreign.own_code(tmp_path).by == "it is no JSON that can be read"
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").symlink_to("/dev/zero")
    assert foreign.own_code(tmp_path).file == "config.json"
    index = tmp_path / "model.safetensors.index.json"
    for shard, expected in (
        ("../../other/a.safetensors", True),
        ("/x.safetensors", True),
        ("a.safetensors", False),
    ):
        index.write_text(json.dumps({"weight_map": {"w": shard}}))
        assert (shard in foreign.path_in_index(tmp_path)) is expected
    shard = tmp_path / "model.safetensors"
    deep = b"[" * 100_000
    huge = (2**36).to_bytes(8, "little")
    for content in (len(deep).to_bytes(8, "little") + deep, huge, (2).to_bytes(8, "little") + b"[]", b""):
        shard.write_bytes(content)
        assert "cut short" in checkpoints.why_truncated(shard) or "missing" in checkpoints.why_truncated(
            shard
        )


def test_transformers_refuses_a_model_s_code_whoever_trusts_it(own_code, tmp_path, forks):
    # ms-swift 3 asks transformers itself, with trust_remote_code=True
    plugin = Path(swift.__file__).parents[1] / "plugins" / "refuse_model_code.py"
    code = (
        f"import runpy; runpy.run_path({str(plugin)!r})\n"
        f"from transformers import AutoConfig; AutoConfig.from_pretrained({str(own_code)!r}, trust_remote_code=True)"
    )
    with pytest.raises(AssertionError, match="say 'trust_remote_code: true' in the matrix if you trust it"):
        forks.run(code, MARKER=str(tmp_path / "ran"))
    assert not (tmp_path / "ran").exists()


def engine_of_3_0() -> type:
    """The parts of ms-swift 3.0's engine that decide about a reply's end, with its mistake."""

    class Engine:
        @staticmethod
        def _get_usage_info(prompt: int, completion: int) -> tuple[int, int]:
            return prompt, completion

        @staticmethod
        def _update_usage_info(usage: tuple[int, int], completion: int) -> tuple[int, int]:
            return usage[0], usage[1] + completion

        @staticmethod
        def _get_finish_reason(max_tokens: int, num_prompt_tokens: int, is_finished: bool) -> str | None:
            return ("length" if num_prompt_tokens >= max_tokens else "stop") if is_finished else None

        def reply(self, prompt: int, completion: int, max_tokens: int) -> str | None:
            self._update_usage_info((prompt, 0), completion)
            return self._get_finish_reason(max_tokens, prompt, True)

    return Engine


@pytest.mark.parametrize(
    ("prompt", "completion", "reason"), [(400, 5, "stop"), (3, 16, "length"), (400, 16, "length")]
)
def test_a_reply_of_ms_swift_3_0_is_cut_off_only_where_it_was(prompt, completion, reason):
    engine = engine_of_3_0()
    tell_the_reason_truly(engine)
    assert engine().reply(prompt, completion, 16) == reason


def test_an_engine_that_counts_the_reply_already_is_left_alone():
    class Engine:
        @staticmethod
        def _get_finish_reason(max_tokens: int, completion_tokens: int, is_finished: bool) -> str:
            return "mine"

    before = Engine._get_finish_reason
    tell_the_reason_truly(Engine)
    assert Engine._get_finish_reason is before
