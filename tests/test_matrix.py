"""The matrix: what it accepts, and how it says what is wrong."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from bakeoff.foundation.errors import MatrixError
from bakeoff.matrix.datasets import dataset_argument, dataset_identity
from bakeoff.matrix.loading import load_matrix, parse_matrix
from bakeoff.matrix.settings import Training
from bakeoff.matrix.suites import OF_CRISES
from bakeoff.scoring.scores import CRISIS

ROOT = Path(__file__).parents[1]
ROW: dict[str, Any] = {"model": "owner/name", "dataset": ["owner/data"]}


def complaints_of(raw: object) -> list[str]:
    with pytest.raises(MatrixError) as caught:
        parse_matrix(raw)
    return caught.value.complaints


PACKED = {"packing": True, "attention": "flash_attn", "plugins": ["packed_rows", "attention_sinks"]}
SINKS = {**ROW, "model_type": "gpt_oss"}


def test_gpt_oss_is_packed_with_its_own_plugins() -> None:
    for training in (PACKED, {"plugins": ["fused_experts"]}):
        assert parse_matrix({"models": {"x": {**SINKS, "training": training}}}).models
    row = load_matrix(ROOT / "model_matrix.yaml").models["gpt-oss-20b"].training
    assert row.packing
    assert row.plugins[:2] == ("packed_rows", "attention_sinks")


def test_the_shipped_matrix_holds_the_guides_six_and_the_tiny_ones() -> None:
    matrix = load_matrix(ROOT / "model_matrix.yaml")
    full = [name for name, spec in matrix.models.items() if spec.group == "full"]
    assert full == ["qwen2.5-7b", "llama3.1-8b", "chatglm3-6b", "internlm2-7b", "baichuan2-7b", "gpt-oss-20b"]
    assert len([name for name, spec in matrix.models.items() if spec.group == "smoke"]) >= 3


def test_rows_take_the_guides_hyperparameters_from_their_group() -> None:
    models = load_matrix(ROOT / "model_matrix.yaml").models
    names = ("qwen2.5-7b", "llama3.1-8b", "chatglm3-6b", "gpt-oss-20b")
    qwen, llama, chat, oss = (models[name].training for name in names)
    assert (chat.learning_rate, chat.warmup_ratio) == (2e-4, 0.1)
    # Packed: the guide's 32 and 36 dialogues of about 1,460 tokens per update (docs/performance.md), within 5 %.
    for training, dialogues in ((qwen, 32), (llama, 36), (chat, 32)):
        assert training.effective_batch * training.row_tokens * 0.95 == pytest.approx(
            dialogues * 1460, rel=0.05
        )
    assert (oss.max_length, oss.learning_rate) == (2048, 1e-4)
    # The guide's 16 dialogues, of which 13 to 17 were seen in two packs.
    assert oss.effective_batch * oss.row_tokens * 0.95 == pytest.approx(16 * 1460, rel=0.05)


def test_the_six_rows_are_alike() -> None:
    """One environment trains them, none runs code of its model's own, and all are served by an engine, 256 at once."""
    matrix = load_matrix(ROOT / "model_matrix.yaml")
    rows = [spec for spec in matrix.models.values() if spec.group == "full"]
    assert {spec.environment.train for spec in rows} == {"default"}
    assert not [spec.name for spec in rows if spec.trust_remote_code]
    assert {spec.serving.in_flight for spec in rows} == {256}
    assert {spec.serving.engine for spec in rows} <= {"lmdeploy", "vllm"}
    dense = [spec for spec in rows if spec.model_type != "gpt_oss"]
    assert {(spec.training.packing, spec.training.plugins) for spec in dense} == {
        (True, ("packed_rows", "fused_lora", "large_loss_chunks"))
    }


def test_a_row_overrides_its_group_which_overrides_the_defaults() -> None:
    raw = {
        "defaults": {"dataset": ["a/b"], "training": {"epochs": 2, "seed": 1}},
        "groups": {"full": {"training": {"epochs": 3, "lora_rank": 4}}},
        "models": {"x": {"model": "o/m", "training": {"lora_rank": 5}}},
    }
    training = parse_matrix(raw).models["x"].training
    assert (training.seed, training.epochs, training.lora_rank) == (1, 3, 5)


def test_all_mistakes_are_told_at_once_with_place_value_and_nearest_name() -> None:
    raw = {
        "models": {
            "a": {**ROW, "training": {"bach_size": 3, "learning_rate": "fast", "max_length": True}},
            "b": {**ROW, "suites": ["cevl"], "environment": {"train": "legacyy"}},
        },
        "suites": {"ceval": {"limit": 0}, "cmmlu": {}},
        "environments": {"legacy": {}},
        "suits": {},
    }
    told = complaints_of(raw)
    assert len(told) == 7
    text = "\n".join(told)
    assert "a.training: 'bach_size' is not known; is it 'batch_size'" in text
    assert "a.training.learning_rate: input should be a valid number, found 'fast'" in text
    assert "a.training.max_length: input should be a valid integer, found True" in text
    assert "b.suites: 'cevl' is not known; is it" in text
    assert "b.environment.train: 'legacyy' is not known; is it 'legacy'" in text
    assert "suites.ceval.limit" in text
    assert "the matrix: 'suits' is not known; is it 'suites'" in text


def test_a_secret_in_the_matrix_is_refused_with_the_way_out() -> None:
    raw = {
        "models": {
            "x": {
                **ROW,
                "training": {
                    "extra": {"swanlab_token": "s", "max_new_tokens": 5, "new_special_tokens": "a b"}
                },
                "serving": {"extra": {"api_key": "s"}},
            }
        },
        "environments": {"legacy": {"env": {"HF_TOKEN": "s", "HF_HOME": "/d"}}},
    }
    told = complaints_of(raw)
    assert [one.partition(" is a secret by its name")[0] for one in told] == [
        "x.training.extra: 'swanlab_token'",
        "x.serving.extra: 'api_key'",
        "environments.legacy.env: 'HF_TOKEN'",
    ]
    assert all("into the environment or .env" in one for one in told)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"model": "o/m", "dataset": ["./nowhere.jsonl"]}, "no file './nowhere.jsonl'"),
        ({"model": "o/m", "dataset": ["shipped:facts_trian.jsonl"]}, "is it 'shipped:facts_train.jsonl'"),
        ({"model": "o/m", "dataset": ["nosuch.txt"]}, "no file 'nosuch.txt'"),
        ({"model": "o/m", "dataset": ["nodir"]}, "no file 'nodir'; give an existing path or a hub id"),
        ({"model": "o/m"}, "'dataset' is missing"),
        (
            {**ROW, "training": {"learning_rate": float("inf")}},
            "learning_rate: input should be a finite number",
        ),
        ({**ROW, "group": ["full"]}, "x.group: input should be 'full' or 'smoke', found ['full']"),
        ({**ROW, 5: 1}, "x.5: keys should be strings"),
        ({"dataset": ["a/b"]}, "needs a 'model'"),
        ({**ROW, "training": {"packing": True}}, "packing needs one of flash_attn"),
        *(
            (
                {**ROW, "model_type": "qwen2", "training": {"plugins": [name]}},
                f"{name} is for model_type gpt_oss, and this row's is qwen2",
            )
            for name in ("attention_sinks", "fused_experts")
        ),
        (SINKS | {"training": {**PACKED, "plugins": ["attention_sinks"]}}, "comes after packed_rows"),
        (
            SINKS | {"training": {**PACKED, "plugins": ["attention_sinks", "packed_rows"]}},
            "comes after packed_rows",
        ),
        (
            SINKS | {"training": {**PACKED, "packing": False}},
            "x.training.packing: attention_sinks attends over packed rows only",
        ),
        (
            SINKS | {"training": {**PACKED, "attention": "flash_attention_3"}},
            "attention_sinks stands in for flash_attn or flash_attention_2, found 'flash_attention_3'",
        ),
        ({**ROW, "serving": {"engine": "lmdeploy", "way": "adapter"}}, "would silently serve the base model"),
        (
            {**ROW, "template": "gpt_oss", "prompt_date": "2026-01-05", "serving": {"engine": "vllm"}},
            "prints today instead of 'prompt_date' 2026-01-05",
        ),
        ({"url": "http://127.0.0.1:1/v1"}, "'url' needs 'served_model'"),
        ({**ROW, "adapter": "x", "weights": "y"}, "give one of 'adapter', 'weights' and 'url'"),
        ({**ROW, "adapter": " "}, "x.adapter: is empty; give a value, or take the line out"),
        ({**ROW, "dataset": [""]}, "x.dataset: holds an empty text"),
        ({**ROW, "training": {"max_steps": 10**22}}, "x.training.max_steps: must be at most 2,147,483,647"),
        ({**ROW, "training": {"seed": -1}}, "x.training.seed: input should be greater than or equal to 0"),
        ({**ROW, "training": {"extra": {"output_dir": "/"}}}, "'output_dir' is set by the harness itself"),
        ({**ROW, "serving": {"extra": {"host": "0.0.0.0"}}}, "x.serving.extra: 'host' is set by the harness"),
        ({**ROW, "model": "https://huggingface.co/a/b/tree/main"}, "the id of the hub, such as 'a/b'"),
        ({**ROW, "model": "a/b/c"}, "'a/b/c' is no id of a hub"),
        ({**ROW, "gpus": -1}, "x.gpus: must be how many cards, 1 to 64, or which ones in quotes"),
        ({**ROW, "gpus": "one"}, "x.gpus: must be numbers or UUIDs of cards"),
        ({**ROW, "gpus": "0, 0"}, "x.gpus: names a card twice"),
        ({**ROW, "evaluate": ["tuned", "tuned"]}, "x.evaluate: names a variant twice"),
        ({**ROW, "suites": ["s"], "evaluate": []}, "x.evaluate: is empty, and the row asks for suites"),
        ({**ROW, "key_env": "hf_AbCd0123456789efghIJ"}, "x.key_env: must be the name of an environment"),
    ],
)
def test_what_cannot_be_carried_out_is_refused_in_words(row: dict[Any, Any], said: str) -> None:
    assert any(said in one for one in complaints_of({"models": {"x": row}}))


def test_what_a_group_or_the_defaults_get_wrong_is_told_once_and_where_it_stands() -> None:
    raw = {
        "defaults": {"training": {"sede": 1}},
        "groups": {"full": {"training": {"bach_size": 1}}, "smoke": {"limts": {}}, "smok": {}},
        "models": {"a": ROW, "b": {**ROW, "training": {"epochs": 0}}},
    }
    told = complaints_of(raw)
    places = [one.split("'")[0] for one in told]
    assert sorted(places) == [
        "b.training.epochs: input should be greater than 0, found 0",
        "defaults.training: ",
        "groups.full.training: ",
        "groups.smoke: ",
        "groups: ",
    ]


def test_a_row_takes_the_group_that_the_defaults_name() -> None:
    raw = {"defaults": {"group": "smoke"}, "groups": {"smoke": {"suites": ["s"]}}, "models": {"a": ROW}}
    assert parse_matrix({**raw, "suites": {"s": {}}}).models["a"].suites == ("s",)


@pytest.mark.parametrize("raw", [None, {}, [], "models", {"models": {}}, {"models": None}])
def test_an_empty_matrix_is_refused(raw: object) -> None:
    assert "must list at least one row" in complaints_of(raw)[0]


def test_a_name_given_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "matrix.yaml"
    path.write_text("models:\n  a: {model: o/m}\n  a: {model: o/n}\n")
    with pytest.raises(MatrixError, match=r"'a' is given twice.*line 3"):
        load_matrix(path)


def test_what_is_written_twice_or_as_no_name_hides_no_other_mistake(tmp_path: Path) -> None:
    path = tmp_path / "matrix.yaml"
    path.write_text(
        "models:\n  a: {model: o/m, dataset: [o/d], model: o/n, tine: true}\n  [1, 2]: {}\n  b: {model: o/m}\n"
    )
    with pytest.raises(MatrixError) as caught:
        load_matrix(path)
    assert caught.value.complaints == [
        "'model' is given twice (again in line 2); keep one of the two",
        "a key is a name, found [1, 2] in line 3; put quotes around it",
        "a: 'tine' is not known; is it 'tune'?",
        "b: 'dataset' is missing; give it here or under defaults, or say 'tune: false'",
    ]


def test_a_key_that_overrides_a_merged_one_is_not_given_twice(tmp_path: Path) -> None:
    path = tmp_path / "matrix.yaml"
    path.write_text("x-a: &a {model: o/m, dataset: [o/d]}\nmodels:\n  a: {<<: *a, model: o/n}\n")
    assert load_matrix(path).models["a"].model == "o/n"


def test_scientific_notation_without_a_dot_is_a_number(tmp_path: Path) -> None:
    path = tmp_path / "matrix.yaml"
    path.write_text("models:\n  a: {model: o/m, dataset: [a/b], training: {learning_rate: 2e-4}}\n")
    assert load_matrix(path).models["a"].training.learning_rate == 2e-4


@pytest.mark.parametrize("content", ["models: [", "\x00", "a: b: c"])
def test_what_is_no_yaml_is_one_clear_error(tmp_path: Path, content: str) -> None:
    path = tmp_path / "matrix.yaml"
    path.write_text(content)
    with pytest.raises(MatrixError, match="1 mistake"):
        load_matrix(path)


def test_a_missing_file_names_the_option() -> None:
    with pytest.raises(MatrixError, match="--matrix"):
        load_matrix(Path("nowhere.yaml"))


KEYS = st.text(string.ascii_lowercase + "_", min_size=1, max_size=12)


@given(
    key=KEYS,
    value=st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.lists(st.integers())),
)
def test_an_unknown_training_key_is_always_named(key: str, value: object) -> None:
    assume(key not in Training.model_fields)
    told = complaints_of({"models": {"x": {**ROW, "training": {key: value}}}})
    assert told == [one for one in told if f"'{key}' is not known" in one]
    assert len(told) == 1


NONSENSE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.integers(), inner, max_size=3),
    max_leaves=8,
)


@given(raw=NONSENSE, section=st.sampled_from(["models", "suites", "environments", "defaults", "groups", "x"]))
def test_nonsense_is_refused_in_words_or_accepted_but_never_crashes(raw: object, section: str) -> None:
    try:
        row = {**ROW, "group": raw} if section == "x" else ROW
        matrix = parse_matrix({"models": {"x": row}, **({} if section == "x" else {section: raw})})
    except MatrixError as error:
        told = error.complaints
    else:
        told = list(matrix.models)
    assert told


@given(batch=st.integers(1, 64), steps=st.integers(1, 64))
def test_effective_batch_is_batch_times_accumulation(batch: int, steps: int) -> None:
    assert Training(batch_size=batch, gradient_accumulation=steps).effective_batch == batch * steps


def test_the_default_environment_is_the_running_one_and_takes_no_requirements():
    row = {"model": "owner/m", "dataset": ["owner/d"]}
    with pytest.raises(MatrixError, match=r"environments\.default: is the environment that pytest runs in"):
        parse_matrix(
            {"models": {"a": row}, "environments": {"default": {"requirements": ["ms-swift==3.0.3"]}}}
        )
    kept = parse_matrix({"models": {"a": row}, "environments": {"default": {"env": {"A": "1"}}}})
    assert kept.environments["default"].env == {"A": "1"}


@pytest.mark.parametrize(
    ("judge", "complaint"),
    [
        ({"row": "mine", "url": "http://127.0.0.1:1/v1"}, "judge: give either 'row'"),
        ({"repeats": 2}, "judge: give either 'row'"),
        ({"row": "nine/base"}, "judge.row: 'nine' is not known; is it 'mine'?"),
        ({"url": "http://127.0.0.1:1/v1"}, "judge: 'url' needs 'served_model'"),
        ({"row": "mine", "repeat": 2}, "judge: 'repeat' is not known; is it 'repeats'?"),
    ],
)
def test_a_judge_is_a_row_or_a_service(judge: dict[str, Any], complaint: str) -> None:
    found = complaints_of({"models": {"mine": ROW}, "judge": judge})
    assert any(one.startswith(complaint) for one in found), found


SERVED = {"served_model": "m", "tune": False}


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("127.0.0.1:1/v1", "write http://127.0.0.1:1/v1"),
        ("ftp://h/v1", "must begin with http:// or https://"),
        ("http:/h/v1", "write http://h/v1"),
        ("http://\u200bh/v1", "another character that no address can"),
        ("http://h/v1/%zz", "another character that no address can"),
        ("http://h..x/v1", "is no address"),
        ("http://h:0/v1", "is no address"),
        ("http://h/v1?api-version=1", "ends in a query"),
        ("http://h/v1/chat/completions", "cut it to 'http://h/v1'"),
        ("http://h:8000", "answer under 'http://h:8000/v1'"),
        ("http://h:port/v1", "is no address"),
        ("http://me:Sup3rSecretPw@h/v1", "put the key into .env"),
        ("me:Sup3rSecretPw@h/v1", "put the key into .env"),
    ],
)
def test_an_address_that_cannot_be_asked_is_refused_without_its_password(url: str, said: str) -> None:
    for raw in (
        {"models": {"x": {"url": url, **SERVED}}},
        {"models": {"x": ROW}, "judge": {"url": url, "served_model": "m"}},
    ):
        (complaint,) = complaints_of(raw)
        assert said in complaint
        assert "Sup3r" not in complaint


def test_blanks_around_an_address_are_no_part_of_it() -> None:
    matrix = parse_matrix({"models": {"x": {"url": " http://h/v1\n", **SERVED}}})
    assert matrix.models["x"].url == "http://h/v1"


def test_a_key_in_place_of_its_variables_name_is_refused_and_not_printed() -> None:
    (complaint,) = complaints_of(
        {"models": {"x": {"url": "http://h/v1", **SERVED, "key_env": "sk-12345-abc"}}}
    )
    assert "x.key_env: must be the name of an environment variable" in complaint
    assert "sk-12345" not in complaint


def test_generation_takes_what_a_service_takes_and_refuses_the_impossible() -> None:
    good = {
        "extra_body": {"a": {"b": False}},
        "stop_seqs": ["\n"],
        "extra_headers": {"X-A": "b"},
        "max_tokens": 1,
    }
    suites = {"s": {"generation": good}}
    assert parse_matrix({"models": {"x": ROW}, "suites": suites}).suites["s"].generation == good
    bad = {
        "max_tokens": 0,
        "temperature": -1,
        "stop_seqs": "x",
        "extra_headers": {"Authorization": "Bearer v"},
    }
    complaints = complaints_of({"models": {"x": ROW}, "suites": {"s": {"generation": bad}}})
    assert len(complaints) == 4


@pytest.mark.parametrize(
    ("suite", "words"),
    [
        ({"generation": {"extra_body": {"messages": []}}}, "'messages' would replace what the harness asks"),
        ({"generation": {"extra_body": {"model": "other"}}}, "'model' would replace what the harness asks"),
        ({"generation": {"extra_body": {"n": 2}}}, "'n' would replace what the harness asks"),
        ({"generation": {"extra_body": {"temperature": 1}}}, "write it as generation: {temperature: …}"),
        ({"generation": {"extra_body": {"stop": ["B"]}}}, "write it as generation: {stop_seqs: …}"),
        ({"subsets": ["a", "b", "a"]}, "names a subset twice"),
    ],
)
def test_a_suite_may_not_ask_something_else_than_its_questions(suite: dict[str, Any], words: str) -> None:
    complaints = complaints_of({"models": {"x": ROW}, "suites": {"s": suite}})
    assert any(words in complaint for complaint in complaints)


@pytest.mark.parametrize("name", ["aux", "com1", "nul.txt", "a."])
def test_names_that_no_folder_has_everywhere_are_refused(name: str) -> None:
    assert "no folder can be called" in complaints_of({"models": {name: ROW}})[0]
    assert "no folder can be called" in complaints_of({"models": {"x": ROW}, "suites": {name: {}}})[0]


def test_no_exam_takes_the_name_of_the_crisis_cases() -> None:
    assert OF_CRISES == CRISIS
    assert "is the name under which" in complaints_of({"models": {"x": ROW}, "suites": {CRISIS: {}}})[0]


@pytest.mark.parametrize("name", ["../../../outside", "<img onerror=x>", "a/b", "x" * 65, "A", ""])
@pytest.mark.parametrize("section", ["models", "suites", "environments"])
def test_names_that_would_leave_their_folder_are_refused(section: str, name: str) -> None:
    part = ROW if section == "models" else {}
    raw: dict[str, Any] = {"models": {"x": ROW}}
    raw[section] = {**raw.get(section, {}), name: part}
    assert "a name has at most 64" in complaints_of(raw)[0]


@pytest.mark.parametrize(
    "content",
    [
        "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)),
        "models: &m [*m]",
        "models: " + "[" * 5000,
        "models: " + "9" * 5000,
        'models: {a: "\\ud83d"}',
    ],
)
def test_a_file_that_would_blow_up_ends_in_words(tmp_path: Path, content: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(content)
    with pytest.raises(MatrixError, match="mistake") as caught:
        load_matrix(path)
    assert len(str(caught.value)) < 2000


def test_numbers_and_names_are_taken_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    row = "{model: o/m, dataset: [o/d], training: {learning_rate: 2e-4, warmup_ratio: .05, max_steps: 1_000}}"
    path.write_text(f"models: {{on: {row}, 1.10: {row}, 7: {row}}}\n")
    matrix = load_matrix(path)
    assert list(matrix.models) == ["on", "1.10", "7"]
    training = matrix.models["on"].training
    assert (training.learning_rate, training.warmup_ratio, training.max_steps) == (2e-4, 0.05, 1000)
    for number in ("010", "1:30"):  # octal and of base 60 in YAML 1.1
        path.write_text(f"models: {{a: {{model: o/m, dataset: [o/d], training: {{max_steps: {number}}}}}}}\n")
        with pytest.raises(MatrixError, match=f"should be a valid integer, found '{number}'"):
            load_matrix(path)
    path.write_text("models: {and: {model: o/m, dataset: [o/d]}}\n")
    with pytest.raises(MatrixError, match="and: is a word of 'pytest -k'"):
        load_matrix(path)


def test_suites_that_no_row_asks_for_are_told_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("models: {a: {model: o/m, dataset: [o/d]}}\nsuites: {ceval: {}, mine: {}}\n")
    with pytest.raises(
        MatrixError, match=r"ceval, mine are defined, and no row asks for them; add 'suites: "
    ):
        load_matrix(path)


def test_a_folder_or_another_encoding_in_place_of_the_file_is_one_mistake(tmp_path: Path) -> None:
    with pytest.raises(MatrixError, match="is a folder; name the YAML file"):
        load_matrix(tmp_path)
    path = tmp_path / "m.yaml"
    path.write_bytes("models: {} # 模型".encode("gbk"))
    with pytest.raises(MatrixError, match="not UTF-8: byte 0x"):
        load_matrix(path)


def test_a_sample_of_a_local_file_has_the_files_content_as_its_identity(tmp_path: Path) -> None:
    file = tmp_path / "d.jsonl"
    file.write_text("{}")
    assert dataset_argument(f"{file}#8") == f"{file}#8"
    assert dataset_identity(f"{file}#8", lambda path: path.read_text()) == "{}"
    before = dataset_identity(str(tmp_path), lambda path: path.read_text())
    file.write_text("{ }")
    assert dataset_identity(str(tmp_path), lambda path: path.read_text()) != before
    assert any(
        "number of rows" in one for one in complaints_of({"models": {"x": {**ROW, "dataset": [f"{file}#x"]}}})
    )


KEY = "sk-proj-Zq8Yt6Rw4Ep2Lm0Nb7Vc5Xa3"
OF_HUBS = "{model: o/m, dataset: [o/d]}"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("x-a: &a 5\nmodels: {a: {<<: *a}}", "line 1, column 6: .*'<<' takes a mapping"),
        ("x-a: &a {}\nmodels: {a: {<<: *a, <<: *a}}", r"'<<' is given twice .*write both as <<: \[\*a, \*b\]"),
        ("models: {a: *nowhere}", "undefined alias 'nowhere'; define it above"),
        ("models: !include b.yaml", "line 1, column 9: .*nothing is included or filled in"),
        ("include: b.yaml\nmodels: {a: ROW}", "'include' is not known: a matrix is one file"),
        ("models: {a: ROW}\n---\nmodels: {b: ROW}", "line 2, .*take the line '---' out"),
        ("models:\n\ta: {}", "line 2, .*indent with blanks, not with a tab"),
        ("models：\n  a：{model: o/m}", "line 2, .*full-width punctuation"),
        ("models:\n\u3000a: ROW", "line 2: is indented with a blank that is not YAML's"),
        ('models: {a: {model: "C:\\models\\m"}}', "line 1, .*write a path with '/', or in single quotes"),
        ("models: {a: {model: 'C:\\m', dataset: [o/d]}}", "a.model: .*path of Windows; .*in WSL '/mnt/c/m'"),
        ("models: {a: {model: o/m, dataset: ['D:/m.jsonl']}}", "a.dataset: .*in WSL '/mnt/d/m.jsonl'"),
        ("models: {a: {model: $HOME/m, dataset: [o/d]}}", "a.model: '.HOME/m': environment variables are not"),
        ("models: {a: {model: o/m, dataset: ['${D}/m.jsonl']}}", "write what D stands for"),
        ("models: {a: {model: o/m, dataset: ['x/*.jsonl']}}", "patterns are not filled in; give the folder"),
        ("models: {a: {model: o/m, dataset: ['https://h/d.jsonl']}}", "is an address; download it"),
        ("models: {a: {model: o/m, dataset: o/d}}", r"a.dataset: must be a list, found 'o/d'.*write \[o/d\]"),
        ("models: {a: o/m}", "a: a row is a mapping, found 'o/m'; write a: {model: o/m}"),
        ("models: [{name: a}]", "'models' must be a mapping.*under its name, models: {my-model"),
        ("executor: slurm\nmodels: {a: ROW}", "'executor' must be a mapping, .*{kind: slurm}"),
        ("executor: {kind: Slurm}\nmodels: {a: ROW}", "executor.kind: .*is it 'slurm'?"),
        ("executor: {kind: slurm, gpus: 4}\nmodels: {a: ROW}", "executor: 'gpus' is not known"),
        ("models: {a: {name: b, model: o/m, dataset: [o/d]}}", "a: 'name' is not known: the name is 'a'"),
        ("models: {a: {model: o/m, dataset: [o/d], group: Full}}", "a.group: .*found 'Full'; is it 'full'?"),
        ("models: {a: {model: o/m, dataset: [o/d], seeds: '3'}}", "a.seeds: .*write it without quotes"),
        ("models: {a: {model: o/m, dataset: [o/d], template: 3.1}}", "a.template: .*3.1; put it in quotes"),
        ("models: {a: {model: o/m, dataset: [o/d], limits: {train_s: 2h}}}", "write the number of seconds"),
        ("models: {a: {url: 'http://h/v1', served_model: m, seeds: 3}}", "a.seeds: a row that trains nothing"),
        ("suites: {s: {chance: 25}}\nmodels: {a: ROW}", "suites.s.chance: .*0.25 for 25 %"),
        ("suites: {s: {margin: 2}}\nmodels: {a: ROW}", "suites.s.margin: .*less than 1, found 2 .*0.02 for 2 %"),
        ("suites: {s: {interest: 1}}\nmodels: {a: ROW}", "suites.s.interest: .*0.01 for 1 %"),
        ("suites: {s: {margin: 0}}\nmodels: {a: ROW}", "suites.s.margin: .*greater than 0"),
        ("suites: {s: {limit: '9'}}\nmodels: {a: ROW}", "suites.s.limit: .*write it without quotes"),
        ("suites: {s: {data: $D}}\nmodels: {a: ROW}", "suites.s.data: .*write what D stands for"),
        ("suites: {s: {generation: {Max_Tokens: 1}}}\nmodels: {a: ROW}", "is it 'max_tokens'?"),
        ("judge: {row: A}\nmodels: {a: ROW}", "judge.row: 'A' is not known; is it 'a'?"),
        ("judge: {row: a/tunde}\nmodels: {a: ROW}", "judge.row: 'tunde' is not known; is it 'tuned'?"),
        ("cases: .\nmodels: {a: ROW}", "cases: .* is a folder; name the JSONL file in it"),
        ("cases: [a, b]\nmodels: {a: ROW}", "cases: .*put all cases into one file"),
        ("cases: $C/c.jsonl\nmodels: {a: ROW}", "cases: .*write what C stands for"),
        ("cases: shipped:x\nmodels: {a: ROW}", "take 'cases' out"),
        (f"# {KEY}\nmodels:\n  a: [ # {KEY}\n  b: }} # {KEY}", "line 4, column 6: expected the node content"),
        (f"models: {{a: {{model: o/m, dataset: [o/d], {KEY}: 1}}}}", r"a: '\*\*\*' is not known"),
        (f"models: {{a: {{model: {KEY}, dataset: [o/d]}}, b: 5}}", "b: a row is a mapping, found 5"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_place_and_way_out_and_without_what_may_be_a_key(
    tmp_path: Path, content: str, words: str
) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(content.replace("ROW", OF_HUBS), encoding="utf-8")
    with pytest.raises(MatrixError, match=words) as caught:
        load_matrix(path)
    assert KEY not in str(caught.value)
    assert "<unicode string>" not in str(caught.value)
