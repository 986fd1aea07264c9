"""What is served is what was trained: each link is sabotaged on a real tiny model, and the right error appears."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bakeoff import parity_probe
from bakeoff.chain import parity, stages
from bakeoff.chain.chain import Chain
from bakeoff.chain.deployment import Deployment
from bakeoff.chain.weights import other_settings
from bakeoff.execution.gpus import Leases, cards, common_folder
from bakeoff.foundation.command import Command
from bakeoff.foundation.errors import BakeoffError, CommandFailed, DataError, IdentityError
from bakeoff.foundation.sentences import in_languages
from bakeoff.parity import answers, comparison
from bakeoff.probes import loading, tokenizers, views
from bakeoff.probes.weights import first_changed
from bakeoff.store.stages import Record
from bakeoff.tools.swift import CPU_ENVIRONMENT
from tests.chains import Tiny

# -- starting the probe ----------------------------------------------------------------------------------------------


def test_a_probe_imports_the_tools_once_and_no_more_than_its_renders_want(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    imported: list[str] = []
    monkeypatch.setattr(loading, "swift_api", lambda: imported.append("ms-swift"))
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "0")
    loading.import_ahead([{"by": "tokenizer"}])
    assert imported == []
    loading.import_ahead([{"by": "training"}, {"by": "tokenizer"}])
    assert imported == ["ms-swift"]


@pytest.mark.parametrize("asked", [True, False])
def test_a_probe_whose_imports_asked_for_the_card_begins_again_and_forks_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    begun: list[list[str]] = []

    def begin_again(program: str, argv: list[str]) -> None:
        begun.append(argv)
        raise SystemExit(0)

    monkeypatch.setenv(parity_probe.ALONE, "")
    del os.environ[parity_probe.ALONE]
    monkeypatch.delitem(sys.modules, "transformers", raising=False)
    monkeypatch.setattr(parity_probe, "import_ahead", lambda renders: None)
    monkeypatch.setattr(parity_probe, "has_asked_for_card", lambda: asked)
    monkeypatch.setattr(os, "execv", begin_again)
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"renders": {}, "output": str(tmp_path / "measured.json")}))
    if asked:
        with pytest.raises(SystemExit):
            parity_probe.main(["check", str(plan)])
        assert begun == [sys.orig_argv]
    assert parity_probe.main(["check", str(plan)]) == 0, "and the second time it does not look again"
    assert begun == ([sys.orig_argv] if asked else [])
    assert ("imports" in json.loads((tmp_path / "measured.json").read_text())["seconds"]) is not asked


# -- judging what was measured, without a model --------------------------------------------------------------------


def rendered(pieces: Sequence[str], ids: Sequence[int] | None = None) -> dict[str, Any]:
    return {"ids": list(ids or range(len(pieces))), "pieces": list(pieces)}


def test_the_first_differing_token_is_shown_in_its_context() -> None:
    trained = rendered(["<s>", "你", "好", "<e>"], [1, 5, 6, 2])
    served = rendered(["<s>", "你", "们", "好", "<e>"], [1, 5, 7, 6, 2])
    told = comparison.first_difference(trained, served)
    assert "token 2 differs (4 tokens in training, 5 served)" in told
    assert "trained: …<s>你«好» (6)<e>…" in told
    assert "served:  …<s>你«们» (7)好<e>…" in told


def test_a_render_that_merely_ends_sooner_differs_too() -> None:
    told = comparison.first_difference(rendered(["a", "b"]), rendered(["a"]))
    assert "token 1 differs" in told
    assert "«end»" in told
    assert comparison.first_difference(rendered(["a", "b"]), rendered(["a", "b"])) == ""


def test_only_the_clear_beginning_of_a_reply_is_expected_of_a_service() -> None:
    told = {
        "dialogues": {
            "x": {"ids": [1, 2, 3], "texts": ["答", "答案", "答案：B"], "margins": [5.0, 3.0, 0.001]}
        }
    }
    assert comparison.expected_replies(told, "float32") == {"x": "答案"}
    assert comparison.expected_replies(told, "bfloat16") == {"x": "答案"}
    assert comparison.expected_replies(
        {"dialogues": {"x": {**told["dialogues"]["x"], "margins": [1, 1, 1]}}}, "bfloat16"
    ) == {"x": ""}


def checked(chain: Chain, variant: str) -> Record:
    """Return the record of the parity of *variant*."""
    return parity.check(chain, stages.parity(chain, variant))


SOUND = {
    "adapted": 2, "modules": 2, "delta": 0.1, "applied": 1.0, "worst": 0.5, "worst_module": "q", "dtype": "bfloat16",
    "others_changed": [], "others": 3, "unknown": [], "not_finite": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, ""),
        ({"delta": 0.0, "applied": 0.0}, "the adapter changes nothing"),
        ({"applied": 0.0, "worst": 1e6}, "the merged weights are the base"),
        ({"applied": 2.0, "worst": 1e5}, "q: merged differs from base"),
        ({"others_changed": ["lm_head.weight"]}, "lm_head.weight"),
        ({"adapted": 0}, "no LoRA matrices"),
        ({"modules": 0, "applied": 0.0, "unknown": ["q", "k"]}, "none of the adapter's 2 modules .* q, k"),
        ({"not_finite": ["q"], "applied": math.nan}, "NaN or infinity in the merged weights of q"),
        ({"worst": math.nan}, "differs from base .* by nan roundings"),
    ],
)
def test_a_merge_is_judged_by_what_the_adapter_asks_for(change: dict[str, Any], told: str) -> None:
    problem = comparison.why_merge_wrong({**SOUND, **change})
    assert re.search(told, problem) if told else problem == ""


def test_a_model_that_acts_like_its_base_was_never_tuned() -> None:
    one = {"ids": [1], "texts": ["a"], "margins": [2.0], "logprobs": [-0.1]}
    same = {"dialogues": {"x": {**one, "base": {"logprobs": [-0.1], "margins": [2.0]}}}}
    other = {"dialogues": {"x": {**one, "base": {"logprobs": [-3.1], "margins": [-2.0]}}}}
    assert "never applied" in comparison.why_behaviour_wrong(same, "float32")
    assert comparison.why_behaviour_wrong(other, "float32") == ""
    far = {"dialogues": {"x": {**one, "adapter": {"logprobs": [-0.2], "margins": [2.0]}}}}
    assert "merged and base + adapter differ by 0.1" in comparison.why_behaviour_wrong(far, "float32")
    assert comparison.why_behaviour_wrong(far, "bfloat16") == ""
    broken = {"dialogues": {"x": {**one, "adapter": {"logprobs": [math.nan], "margins": [2.0]}}}}
    assert "differ by nan" in comparison.why_behaviour_wrong(broken, "bfloat16")


def measured(*served: float, trained: float = -1.0, base: float | None = -1.01) -> list[answers.Measured]:
    return [(one, trained, base) for one in served]


@pytest.mark.parametrize(
    ("given", "dtype", "another", "doubt"),
    [
        (measured(-1.0001), "float32", "", ""),
        (measured(-1.0101, base=-1.01), "bfloat16", "are the base's", ""),
        (measured(-1.004), "bfloat16", "", "too little to tell them apart"),
        (measured(-1.02, base=-3.0), "float32", "0.02 away in the mean", ""),
        (measured(math.nan, base=-3.0), "float32", "nan away in the mean", ""),
        (measured(-1.0, base=-1.0), "float32", "", "too little to tell them apart"),
        (measured(-1.0002, base=None), "float32", "", ""),
        ([], "float32", "", "have no counterpart"),
    ],
    ids=["tuned", "base", "between", "neither", "nan", "coincide", "base row", "nothing"],
)
def test_who_answers_is_told_by_log_probabilities(
    given: list[answers.Measured], dtype: str, another: str, doubt: str
) -> None:
    found = answers.why_another(given, comparison.LOGPROB_TOLERANCE[dtype])
    assert another in found if another else found == ""
    if not another:
        assert doubt in answers.why_not_shown(given) if doubt else answers.why_not_shown(given) == ""


def test_tuned_weights_that_nothing_was_compared_with_are_not_shown() -> None:
    alone = measured(-1.0002, base=None)
    assert "nothing was compared with the base" in answers.why_not_shown(alone, tuned=True)
    assert answers.why_not_shown(measured(-1.0001, base=-3.0), tuned=True) == ""


def test_the_base_of_a_row_that_calls_itself_tuned_is_a_base() -> None:
    side = {"dialogues": {"x": rendered(["a"])}, "dated": ""}
    told = {"renders": {"trained": side, "served": side}}
    assert (
        comparison.judge(told, "float32", None, "my-tuned-model, base", tuned=False)["subject"] == "the base"
    )
    assert (
        comparison.judge(told, "float32", None, "plain, tuned", tuned=True)["subject"] == "what was trained"
    )


class Words:
    """A tokenizer as far as the probe looks at one."""

    def __init__(self, vocabulary: Sequence[str], **changes: Any) -> None:
        self.vocabulary = list(vocabulary)
        self.bos_token_id, self.eos_token_id = 0, 1
        self.added_tokens_decoder: dict[int, Any] = {}
        vars(self).update(changes)

    def get_vocab(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.vocabulary)}


@pytest.mark.parametrize(
    ("served", "told"),
    [
        (Words("abAB"), ""),
        (Words("abBA"), "the vocabulary: 2 ids differ: 2 is 'A' in training and 'B' served"),
        (Words("abABC"), "the vocabulary: 1 ids differ: 4 is None in training and 'C' served"),
        (Words("abAB", eos_token_id=2), "begin and end a text: eos is 1 in training and 2 served"),
    ],
    ids=["alike", "swapped", "more", "another end"],
)
def test_tokenizers_are_held_against_each_other(served: Words, told: str) -> None:
    renders = {
        "trained": {"tokenizer": tokenizers.tokenizer_facts(Words("abAB"))},
        "served": {"tokenizer": tokenizers.tokenizer_facts(served)},
    }
    tokenizers.tell_tokenizers_apart(renders)
    problem = comparison.why_other_tokenizer(renders["trained"]["tokenizer"], renders["served"]["tokenizer"])
    assert told in problem if told else problem == ""
    assert not any("tokens" in side["tokenizer"] for side in renders.values())


@pytest.mark.parametrize(
    ("content", "taken", "refused"),
    [
        ({"system": "你好", "external_plugins": ["/x/prompt_date.py"]}, {"system": "你好"}, ""),
        ({"enable_thinking": False, "loss_scale": "last_round"}, None, ""),
        ({"template": "llama3", "learning_rate": 1, "model": "/somewhere"}, {"template": "llama3"}, ""),
        ({"enable_thinking": "yes"}, {}, "'enable_thinking' is 'yes', which is not true or false"),
        ({"system": ["a"]}, {}, "'system' is .* not a text"),
        ({"system": "/root/notes.txt"}, {}, "'system' is .* no name of a file"),
        ({"template": "../../evil.py"}, {}, "'template' is .* not the name of a template"),
        ({"template_backend": "python"}, {}, "not swift or jinja"),
        ([], {}, "no arguments of a training"),
    ],
)  # fmt: skip
def test_arguments_of_a_stranger_only_say_how_prompts_are_rendered(
    tmp_path: Path, content: Any, taken: dict[str, Any] | None, refused: str
) -> None:
    path = tmp_path / "args.json"
    path.write_text(json.dumps(content))
    if refused:
        with pytest.raises(DataError, match=refused) as told:
            parity.foreign_options(path)
        assert str(path) in str(told.value)
    else:
        assert parity.foreign_options(path) == (content if taken is None else taken)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000])
def test_arguments_that_cannot_be_read_are_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "args.json"
    path.write_text(text)
    with pytest.raises(DataError, match=re.escape(str(path))):
        parity.foreign_options(path)


def test_a_reply_tells_the_tuned_from_the_base_where_the_base_would_clearly_not_say_it() -> None:
    one = {"ids": [1, 2], "texts": ["a", "ab"], "margins": [3.0, 0.001]}
    would = {**one, "base": {"margins": [2.0, -9.0]}}
    would_not = {**one, "base": {"margins": [-2.5, 1.0]}}
    assert comparison.telling_replies({"dialogues": {"x": would, "y": would_not, "z": one}}, "bfloat16") == [
        "y"
    ]


# -- on real models ------------------------------------------------------------------------------------------------


@pytest.fixture
def chain(tiny: Tiny) -> Chain:
    return tiny.chain()


def copied(tiny: Tiny, tmp_path: Path, **changes: Any) -> Chain:
    """The chain in a store of its own, where it may be spoiled."""
    tiny.chain().export()
    shutil.copytree(tiny.store, tmp_path / "store", symlinks=True, ignore=shutil.ignore_patterns("processes"))
    for record in (tmp_path / "store").rglob("record.json"):
        record.write_text(record.read_text().replace(str(tiny.store), str(tmp_path / "store")))
    return tiny.chain(store=tmp_path / "store", **changes)


def taken_for_made(store: Path) -> None:
    """Let the records of *store* stand for what lies there now, as if the tools had made it so."""
    for record in store.rglob("record.json"):
        kept = json.loads(record.read_text())
        record.write_text(json.dumps({key: value for key, value in kept.items() if key != "made"}))
        record.with_name("seal.json").unlink(missing_ok=True)


@pytest.mark.slow
def test_a_sound_chain_passes_and_is_not_looked_at_twice(chain: Chain) -> None:
    first = checked(chain, "tuned")
    assert first.facts["dialogues"] == len(comparison.DIALOGUES)
    assert first.facts["modules"] == 14
    assert first.facts["applied"] == pytest.approx(1, abs=1e-3)
    assert first.facts["to_adapter"] < comparison.LOGPROB_TOLERANCE["float32"] < first.facts["to_base"]
    assert first.facts["warnings"] == []
    assert checked(chain, "tuned").outcome == "reused"


@pytest.mark.slow
def test_way_a_is_held_against_the_same_training(tiny: Tiny) -> None:
    """One service answers for the base and for the adapter, and shows under each name which of them it is."""
    chain = tiny.chain(serving={"engine": "transformers", "way": "adapter", "shared": True})
    with contextlib.ExitStack() as stack:
        base, tuned = (
            stack.enter_context(contextlib.closing(Deployment(chain, variant)))
            for variant in ("base", "tuned")
        )
        stack.callback(chain.bench.shared.close)
        services = [base.service(), tuned.service()]
        assert services[0].process is services[1].process
        assert [service.facts["identity"] for service in services] == ["shown", "shown"]
        for service in services:
            assert service.facts["to_trained"] < 1e-3 < service.facts["to_base"]
        swapped = {"base": checked(chain, "tuned"), "tuned": checked(chain, "base")}
        for service, variant in zip(services, swapped, strict=True):
            with pytest.raises(IdentityError):
                answers.check_replies(service, swapped[variant].facts)
    facts = checked(chain, "tuned").facts
    assert "applied" not in facts
    assert facts["to_base"] > comparison.LOGPROB_TOLERANCE["float32"]


@pytest.mark.slow
def test_an_adapter_dropped_from_the_merge_is_found(tiny: Tiny, tmp_path: Path) -> None:
    chain = copied(tiny, tmp_path)
    base, merged = chain.base().folder, chain.export().folder
    shutil.copy(base / "model.safetensors", merged / "model.safetensors")
    taken_for_made(tmp_path / "store")
    spoiled = tiny.chain(store=tmp_path / "store")
    with pytest.raises(
        IdentityError, match="the merged weights are the base: of what the adapter changes, 0%"
    ):
        checked(spoiled, "tuned")


def with_scaled_b(tiny: Tiny, folder: Path, factor: float) -> str:
    """The trained adapter with its B matrices scaled, in *folder*."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(tiny.chain().train().folder, folder)
    weights = folder / "adapter_model.safetensors"
    tensors = {name: one * factor if "lora_B" in name else one for name, one in load_file(weights).items()}
    save_file(tensors, weights, {"format": "pt"})
    return str(folder)


@pytest.mark.slow
def test_a_merge_with_a_nan_is_found(tiny: Tiny, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = copied(tiny, tmp_path).export().folder / "model.safetensors"
    tensors = load_file(weights)
    tensors["model.layers.1.self_attn.q_proj.weight"][0, 0] = math.nan
    save_file(tensors, weights, {"format": "pt"})
    taken_for_made(tmp_path / "store")
    with pytest.raises(
        IdentityError, match=r"NaN or infinity in the merged .* model\.layers\.1\.self_attn\.q_proj"
    ):
        checked(tiny.chain(store=tmp_path / "store"), "tuned")


@pytest.mark.slow
def test_a_base_in_bin_files_is_compared_and_hashed_like_any_other(tiny: Tiny, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    base = tmp_path / "base"
    shutil.copytree(tiny.chain().base().folder, base)
    tensors = load_file(base / "model.safetensors")
    (base / "model.safetensors").unlink()
    torch.save(tensors, base / "pytorch_model.bin")
    changes = {"model": str(base), "adapter": tiny.chain().train().path}
    chain = tiny.chain(store=tmp_path / "store", **changes)
    facts = checked(chain, "tuned").facts
    assert (facts["modules"], facts["applied"]) == (14, pytest.approx(1, abs=1e-3))
    before = chain.fingerprint("base")
    torch.save({name: one + 1 for name, one in tensors.items()}, base / "pytorch_model.bin")
    assert tiny.chain(store=tmp_path / "store", **changes).fingerprint("base") != before


@pytest.mark.slow
def test_a_tokenizer_whose_letters_were_exchanged_is_found(tiny: Tiny, tmp_path: Path) -> None:
    chain = copied(tiny, tmp_path)
    path = chain.export().folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    words = content["model"]["vocab"]
    words["A"], words["B"] = words["B"], words["A"]
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    taken_for_made(tmp_path / "store")
    with pytest.raises(
        IdentityError, match=r"the vocabulary: 2 ids differ: .* is 'A' in training and 'B' served"
    ):
        checked(tiny.chain(store=tmp_path / "store"), "tuned")


@pytest.mark.slow
def test_a_merge_that_was_exchanged_since_is_made_anew(tiny: Tiny, tmp_path: Path) -> None:
    chain = copied(tiny, tmp_path)
    base, merged = chain.base().folder, chain.export().folder
    shutil.copy(base / "model.safetensors", merged / "model.safetensors")
    record = tiny.chain(store=tmp_path / "store").export().record
    assert record
    assert record.why == "ran: its output is not what it made (model.safetensors is another one)"


@pytest.mark.slow
def test_an_adapter_that_was_edited_since_is_trained_anew_and_not_continued_from(
    tiny: Tiny, tmp_path: Path
) -> None:
    before = (tiny.chain().train().folder / "adapter_model.safetensors").read_bytes()
    path = copied(tiny, tmp_path).train().folder / "adapter_config.json"
    path.write_text(path.read_text().replace('"lora_alpha": 32', '"lora_alpha": 2'))
    taken_for_made(tmp_path / "store")
    trained = tiny.chain(store=tmp_path / "store").train()
    assert trained.record
    assert trained.record.why == "ran: adapter_config.json says lora_alpha 2, and the training lora_alpha 32"
    assert json.loads((trained.folder / "adapter_config.json").read_text())["lora_alpha"] == 32
    assert (trained.folder / "adapter_model.safetensors").read_bytes() == before


@pytest.mark.slow
def test_weights_that_are_the_base_are_not_tuned(tiny: Tiny, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    base, weights = tiny.chain().base().folder, tmp_path / "weights"
    shutil.copytree(base, weights)
    (weights / "generation_config.json").write_text('{"transformers_version": "4.0.0"}')
    tensors = load_file(weights / "model.safetensors")
    names = sorted(tensors)
    (weights / "model.safetensors").unlink()
    for part, half in enumerate((names[::2], names[1::2])):  # in other files than the base's
        save_file({n: tensors[n] for n in half}, weights / f"model-{part}.safetensors", {"format": "pt"})
    assert first_changed(str(base), str(weights)) == ""
    parts = {
        n: f"model-{part}.safetensors" for part, half in enumerate((names[::2], names[1::2])) for n in half
    }
    (weights / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": parts}))
    chain = tiny.chain(tmp_path / "store", model=str(base), weights=str(weights))
    with pytest.raises(IdentityError, match="every tensor of the weights is the base's"):
        checked(chain, "tuned")


@pytest.mark.slow
def test_weights_are_judged_by_their_base_too(tiny: Tiny, tmp_path: Path) -> None:
    chain = tiny.chain(tmp_path, model=tiny.chain().base().path, weights=tiny.chain().export().path)
    facts = checked(chain, "tuned").facts
    assert facts["to_base"] > comparison.LOGPROB_TOLERANCE["float32"]
    assert (facts["tuned"], facts["suite_prompts"]) == (True, 1)
    assert facts["warnings"] == []


@pytest.mark.parametrize(
    ("file", "ours", "base", "words"),
    [
        ("generation_config.json", {"suppress_tokens": [35, 36]}, {}, "sets suppress_tokens to [35, 36]"),
        ("generation_config.json", {"repetition_penalty": 5}, {"repetition_penalty": 1.0}, "repetition_penalty"),
        ("generation_config.json", {"eos_token_id": [4, 1]}, {"eos_token_id": 1}, "eos_token_id"),
        ("config.json", {"rope_theta": 100.0}, {"rope_theta": 1e6}, "rope_theta"),
        ("config.json", {"rope_parameters": {"rope_theta": 5}}, {"rope_parameters": {"rope_theta": 9}}, "rope_par"),
        ("generation_config.json", {"eos_token_id": [4, 1], "top_p": 0.8}, {"eos_token_id": [1, 4]}, ""),
        ("generation_config.json", {"num_beams": 1, "repetition_penalty": 1}, {}, ""),
        ("config.json", {"rms_norm_eps": 1e-6, "vocab_size": 9}, {"transformers_version": "4"}, ""),
        ("config.json", {"rope_parameters": {"rope_theta": 5, "x": 1}}, {"rope_parameters": {"rope_theta": 5}}, ""),
    ],
)  # fmt: skip
def test_settings_beside_weights_that_are_not_the_base_s_are_told(
    file: str, ours: dict[str, Any], base: dict[str, Any], words: str, tmp_path: Path
) -> None:
    for name, content in (("weights", ours), ("base", base)):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(json.dumps(content))
    listed = other_settings(tmp_path / "weights", tmp_path / "base")
    assert [words in str(in_languages(text)) for text in listed] == ([True] if words else [])


@pytest.mark.slow
@pytest.mark.parametrize("key", ["weights", "adapter", "model"])
def test_a_file_beside_weights_imports_nothing(tiny: Tiny, tmp_path: Path, key: str) -> None:
    made = tiny.chain()
    source = {"weights": made.export, "adapter": made.train, "model": made.base}[key]().folder
    folder = tmp_path / key
    shutil.copytree(source, folder)
    evil, mark = folder / "evil_plugin.py", tmp_path / "imported"
    evil.write_text(f"open({str(mark)!r}, 'w')")
    (folder / "args.json").write_text(json.dumps({"external_plugins": [str(evil)]}))
    changes = {"model": made.base().path, key: str(folder)}
    for name in ("base", "tuned")[key != "model" :]:
        with pytest.raises(DataError, match=f"{folder / 'args.json'} names a Python file"):
            checked(tiny.chain(tmp_path / "store", **changes), name)
    assert not mark.exists()


@pytest.mark.slow
def test_an_adapter_of_another_base_is_told(tiny: Tiny, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    shutil.copytree(tiny.chain().train().folder, adapter)
    chain = tiny.chain(tmp_path / "one", adapter=str(adapter))
    assert chain.base_doubt() == ""
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(
        json.dumps({**config, "base_model_name_or_path": "org/Other-7B"})
    )
    assert "trained on org/Other-7B" in checked(chain, "tuned").facts["warnings"][0]


@pytest.mark.slow
def test_an_adapter_whose_b_is_zero_is_found(tiny: Tiny, tmp_path: Path) -> None:
    spoiled = with_scaled_b(tiny, tmp_path / "adapter", 0)
    with pytest.raises(IdentityError, match="the adapter changes nothing"):
        checked(tiny.chain(adapter=spoiled), "tuned")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("extra", "place"),
    [({"template": "qwen2_5"}, "token 0 differs"), ({"system": "你是一只猫。"}, "token 2 differs")],
    ids=["another template", "another system prompt"],
)
def test_a_prompt_that_is_rendered_otherwise_is_found(tiny: Tiny, extra: dict[str, str], place: str) -> None:
    chain = tiny.chain(serving={"engine": "transformers", "extra": extra})
    with pytest.raises(IdentityError, match="render dialogue 'single turn' differently") as told:
        checked(chain, "tuned")
    assert place in str(told.value)
    assert "trained: …" in str(told.value)


@pytest.mark.slow
def test_a_dated_template_warns_unless_its_day_is_pinned(tiny: Tiny) -> None:
    today = checked(tiny.chain(template="llama3_2"), "base").facts
    assert "the template prints the day" in today["warnings"][0]
    chain = tiny.chain(template="llama3_2", prompt_date="2026-01-05")
    record = checked(chain, "base")
    assert record.facts["warnings"] == []
    renders = json.loads(Path(record.output).with_name("measured-train.json").read_text())["renders"]
    for side in ("trained", "served"):
        assert "05 Jan 2026" in "".join(renders[side]["dialogues"]["single turn"]["pieces"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "template", ["llama3", "qwen2_5", "llama3_2", "chatglm4", "internlm2", "baichuan", "gpt_oss"]
)
def test_an_engine_that_asks_the_tokenizer_is_given_the_training_s_template(
    tiny: Tiny, template: str
) -> None:
    chain = tiny.chain(template=template, serving={"engine": "lmdeploy"}, prompt_date="2026-01-05")
    record = checked(chain, "base")
    assert record.facts["dialogues"] == len(comparison.DIALOGUES)
    model = chain.serve_command("base", 8000).argv[5]
    assert (Path(model) / "chat_template.jinja").is_file()
    assert (Path(model) / "tokenizer.json").is_file()
    assert (Path(model) / "model.safetensors").resolve() == (
        chain.base().folder / "model.safetensors"
    ).resolve()


@pytest.mark.slow
@pytest.mark.parametrize("opening", ["[gMASK] <sop>", "<s>"])
def test_an_engine_that_encodes_with_special_tokens_opens_a_prompt_once(opening: str, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(["<unk>", "<s>", "[gMASK]", "<sop>", "a"])}
    backend = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    backend.add_special_tokens(["<s>", "[gMASK]", "<sop>"])
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    pairs = [(token, words[token]) for token in opening.split()]
    backend.post_processor = processors.TemplateProcessing(single=f"{opening} $A", special_tokens=pairs)
    PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>").save_pretrained(tmp_path / "model")
    view = tmp_path / "view"
    view.mkdir()
    for file in (tmp_path / "model").iterdir():
        (view / file.name).symlink_to(file)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(view)
    views.leave_opening_to_template(tokenizer, view)
    written = opening.replace(" ", "") + "a"
    served = PreTrainedTokenizerFast.from_pretrained(view).encode(written)
    once = [number for _, number in pairs] + [words["a"]]
    assert served == (
        once if len(pairs) > 1 else [words["<s>"], *once]
    )  # lmdeploy removes a second BOS itself
    assert PreTrainedTokenizerFast.from_pretrained(tmp_path / "model").encode("a") == once


@pytest.mark.slow
def test_a_view_never_replaces_a_folder_of_weights(tiny: Tiny, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(tiny.chain().base().folder, folder)
    options = (
        "--model",
        str(folder),
        "--folder",
        str(folder),
        "--model_type",
        "llama",
        "--template",
        "llama3",
    )
    command = Command((sys.executable, "-m", "bakeoff.parity_probe", "view", *options), CPU_ENVIRONMENT)
    with pytest.raises(CommandFailed, match="is no view that we made"):
        tiny.runner.run(command, tmp_path / "log", timeout_s=120, stall_s=120)
    assert (folder / "model.safetensors").is_file()


@pytest.mark.slow
def test_the_service_of_another_model_is_found_by_its_replies(tiny: Tiny) -> None:
    chain = tiny.chain()
    tuned = checked(chain, "tuned")
    with contextlib.closing(Deployment(chain, "base")) as deployment:
        service = deployment.service()
        assert service.facts["prompts_counted"] == len(comparison.ASKED)
        assert service.facts["identity"] == "shown"
        with pytest.raises(IdentityError, match="another model answers at http"):
            answers.check_replies(service, tuned.facts)


@pytest.mark.slow
def test_the_base_under_the_name_of_a_model_that_says_the_same_is_found(tiny: Tiny, tmp_path: Path) -> None:
    """The adapter is so weak that every reply is the base's, word by word."""
    chain = tiny.chain(
        adapter=with_scaled_b(tiny, tmp_path / "adapter", 0.05),
        serving={"engine": "transformers", "way": "adapter"},
    )
    tuned = checked(chain, "tuned").facts
    with contextlib.closing(Deployment(chain, "base")) as base:
        service = base.service()
        with pytest.raises(IdentityError, match=r"log-probabilities of \d+ tokens are"):
            answers.check_replies(service, tuned)
        lenient = {**tuned, "tolerance": comparison.LOGPROB_TOLERANCE["bfloat16"]}
        with pytest.raises(IdentityError, match="tokens are the base's"):
            answers.check_replies(service, lenient)
        unmeasured = {**tuned, "expected": {}, "telling": [], "said": {}, "skipped": "9 GiB of weights"}
        told = answers.check_replies(service, unmeasured)["identity"]
        assert told == "not shown: the replies of the weights were not measured: 9 GiB of weights"
    with contextlib.closing(Deployment(chain, "tuned")) as deployment:
        facts = deployment.health().facts
    assert facts["identity"] == "shown"
    assert facts["to_trained"] < 1e-4 < facts["to_base"]


@pytest.mark.slow
@pytest.mark.usefixtures("four_cards")
def test_a_probe_waits_for_the_card_that_others_hold(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    chain = tiny.chain(
        tmp_path / "store",
        model=tiny.chain().base().path,
        adapter=tiny.chain().train().path,
        needs={"gpu_memory_gib": 10},
        serving={"engine": "transformers", "way": "adapter"},
    )
    held = Leases(common_folder()).lease(cards(), lambda card: card.total_gib, who="x", count=4)
    with held, pytest.raises(BakeoffError, match=r"tiny \(parity\): no card became free"):
        checked(chain, "tuned")
