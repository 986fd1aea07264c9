"""A broken matrix is told in the language of the terminal, wholly: no English in Chinese, no Chinese in English."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bakeoff.foundation.errors import MatrixError
from bakeoff.foundation.sentences import in_chinese
from bakeoff.foundation.terminal import localized_error
from bakeoff.foundation.workspace import Workspace
from bakeoff.matrix.meanings import described, meaning_of
from bakeoff.matrix.schema import ExecutorSpec, Judge, ModelSpec, Suite
from bakeoff.runs import plan

HANZI = re.compile("[\u3000-\u303f\u3400-\u9fff\uff00-\uffef]")
PROSE = re.compile(r"[A-Za-z]{2,}(?:[ ,;]+[a-z]{2,}){1,}")
"""Two words of English in a row: names of keys, values and tools stand alone."""
ROW = "model: a/b, dataset: [shipped:facts_train.jsonl], model_type: qwen2, template: qwen2_5"


def row(more: str) -> str:
    return f"models: {{a: {{{ROW}, {more}}}}}"


def suite(more: str) -> str:
    return f"models: {{a: {{{ROW}, suites: [s]}}}}\nsuites: {{s: {{benchmark: ceval, {more}}}}}"


BROKEN: dict[str, str] = {
    "empty": "",
    "a text": "hello",
    "no rows": "models: {}",
    "rows as a list": "models: [a, b]",
    "a row as a text": "models: {a: Qwen/Qwen2.5-7B-Instruct}",
    "a row as a number": "models: {a: 3}",
    "a tab": "models:\n\ta: 1",
    "full-width colon": "models：\n  a: 1",
    "full-width quotes": "models: {a: {model: “x”}}\n b: [",
    "a bracket left open": "models: {a: {model: x",
    "a quote left open": "models: {a: {model: 'x}}",
    "two documents": "models: {}\n---\nmodels: {}",
    "a tag": "models: !include x.yaml",
    "an alias": "models: *x",
    "an escape": 'models: {a: {model: "C:\\d"}}',
    "merging a text": "models: {a: {<<: x}}",
    "a key twice": f"models: {{a: {{{ROW}}}, a: {{{ROW}}}}}",
    "a bad indent": "models:\n  a:\n    model: x\n   b: 1",
    "an include": f"include: base.yaml\n{row('tune: true')}",
    "an unknown section": f"modles: {{}}\n{row('tune: true')}",
    "an unknown key": row("learning: 1"),
    "a nested unknown key": row("training: {lerning_rate: 1}"),
    "a text for a number": row("training: {epochs: 'two'}"),
    "a number in quotes": row("training: {lora_rank: '8'}"),
    "a percentage": row("serving: {memory_share: 80}"),
    "a share with a sign": row("serving: {memory_share: '80 %'}"),
    "a fraction": row("training: {lora_rank: 1.5}"),
    "too small": row("training: {batch_size: 0}"),
    "too great": row("seeds: 21"),
    "not a number": row("training: {epochs: .nan}"),
    "huge": row("training: {max_length: 99999999999}"),
    "no boolean": row("tune: maybe"),
    "a number for a text": row("revision: 3"),
    "no list": row("suites: ceval"),
    "an unknown engine": row("serving: {engine: VLLM}"),
    "a duration": row("limits: {train_s: '2 h'}"),
    "a bad name": f"models: {{'My Model': {{{ROW}}}}}",
    "a device": f"models: {{con: {{{ROW}}}}}",
    "a word of pytest": f"models: {{and: {{{ROW}}}}}",
    "no dataset": "models: {a: {model: a/b}}",
    "no model": "models: {a: {tune: false}}",
    "three starts": row("adapter: /x, url: 'http://x/v1', served_model: m"),
    "an unknown suite": row("suites: [nope]"),
    "an unused suite": f"{row('tune: true')}\nsuites: {{ceval: {{}}}}",
    "unused suites": f"{row('tune: true')}\nsuites: {{ceval: {{}}, cmmlu: {{}}}}",
    "an empty text": row("prompt_date: ''"),
    "a bad date": row("prompt_date: 'May 1'"),
    "a page": "models: {a: {model: 'https://modelscope.cn/models/Qwen/Qwen2.5', tune: false}}",
    "no hub id": "models: {a: {model: 'a b', tune: false}}",
    "a path of Windows": "models: {a: {model: 'C:\\m', tune: false}}",
    "a variable": "models: {a: {model: '$HOME/m', tune: false}}",
    "nobody's home": "models: {a: {model: '~nobody-of-this-name/m', tune: false}}",
    "a long path": f"models: {{a: {{model: '/{'x' * 400}', tune: false}}}}",
    "a missing file": "models: {a: {model: a/b, dataset: [nope.jsonl]}}",
    "an address of data": "models: {a: {model: a/b, dataset: ['https://x.y/z.jsonl']}}",
    "a pattern": "models: {a: {model: a/b, dataset: ['*.jsonl']}}",
    "no rows of data": "models: {a: {model: a/b, dataset: ['me/data#x']}}",
    "data by a mapping": "models: {a: {model: a/b, dataset: [{id: a/b}]}}",
    "a revision of a file": "models: {a: {model: a/b, dataset: [{id: 'shipped:facts_train.jsonl', revision: v1}]}}",
    "a revision": row("revision: 'a b'"),
    "cards": row("gpus: 0"),
    "cards by name": row("gpus: 'first'"),
    "uneven cards": row("gpus: 3"),
    "packing": row("training: {packing: true}"),
    "a plugin": row("training: {plugins: [no_such]}"),
    "a flag of ours": row("training: {extra: {output_dir: /x}}"),
    "a secret": row("training: {extra: {hub_token: abc}}"),
    "a key": row("url: 'http://x/v1', served_model: m, key_env: 'sk-0123456789abcdef0123'"),
    "a password": row("url: 'http://me:pw@x/v1', served_model: m"),
    "an endpoint": row("url: 'http://x/v1/chat/completions', served_model: m"),
    "no scheme": row("url: 'x:8000', served_model: m"),
    "no path": row("url: 'http://x:8000', served_model: m"),
    "an adapter on lmdeploy": row("serving: {engine: lmdeploy, way: adapter}"),
    "shared": row("serving: {shared: true}"),
    "deterministic": row("serving: {deterministic: true}"),
    "a lender": row("weights_of: b"),
    "environments": f"environments: {{default: {{python: '3.10'}}}}\n{row('tune: true')}",
    "a suite of crises": f"{row('suites: [crisis]')}\nsuites: {{crisis: {{benchmark: ceval}}}}",
    "a temperature": suite("generation: {temperature: -1}"),
    "a zero in front": row("training: {lora_rank: 010}"),
    "a day": row("prompt_date: 2025-01-01"),
    "a clock": row("limits: {train_s: 1:30}"),
    "a huge setting": suite("generation: {max_tokens: 1234567890123456789012345}"),
    "a huge setting inside": suite("generation: {extra_body: {a: [1234567890123456789012345]}}"),
    "a huge limit": suite("limit: 99999999999999999999"),
    "a penalty": suite("generation: {repetition_penalty: 0}"),
    "a huge judge": f"judge: {{row: a/base, repeats: 99999999999}}\n{row('tune: true')}",
    "a huge flag": row("training: {extra: {weight_decay: 1.0e+300}}"),
    "stop sequences": suite("generation: {stop_seqs: x}"),
    "a body": suite("generation: {extra_body: {model: x}}"),
    "log-probabilities": suite(
        "scoring: logprob, generation: {max_tokens: 99, temperature: 1, stream: true}"
    ),
    "orders": suite("orders: 4"),
    "subsets twice": suite("subsets: [law, law]"),
    "a judge": f"judge: {{repeats: 2}}\n{row('tune: true')}",
    "a judge's row": f"judge: {{row: nope/tuned}}\n{row('tune: true')}",
    "an executor": f"executor: {{kind: here, partition: x, memory: lots}}\n{row('tune: true')}",
    "cases": f"cases: nope.jsonl\n{row('tune: true')}",
    "cases as a list": f"cases: [a, b]\n{row('tune: true')}",
    "addresses": f"notify: ['feishu://token']\n{row('tune: true')}",
    "a group": f"groups: {{big: {{}}}}\n{row('tune: true')}",
    "no section": f"defaults: none\n{row('tune: true')}",
    "an unknown benchmark": f"models: {{a: {{{ROW}, suites: [s]}}}}\nsuites: {{s: {{benchmark: cevall}}}}",
    "a setting that is dropped": suite("generation: {max_token: 8}"),
    "an unknown subset": suite("subsets: [lawx]"),
    "an unknown metric": "models: {a: {"
    + ROW
    + ", suites: [s]}}\nsuites: {s: {benchmark: choice_exam, metric: f1, "
    "data: 'shipped:facts_exam'}}",
    "an unknown template": "models: {a: {model: a/b, tune: false, model_type: qwen2, template: qwen9}}",
    "an unknown tiny recipe": "models: {a: {model: 'tiny:qwen9', tune: false}}",
}


def complaints_of(text: str, folder: Path) -> MatrixError:
    file = folder / "m.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(MatrixError) as caught:
        plan.load(file, None, Workspace(folder))
    return caught.value


def prose(text: str) -> list[str]:
    """The English in *text* that is no value, path, key or example."""
    for quoted in (
        r"`[^`]*`",
        r"'[^']*'",
        r'"[^"]*"',
        r"\[[^][]*\]",
        r"\{[^{}]*\}",
        r"https?://\S+",
        r"[\w./:-]*[/.][\w./:-]+",
    ):
        for _ in range(3):
            text = re.sub(quoted, " ", text)
    return PROSE.findall(text)


@pytest.mark.parametrize("name", BROKEN)
def test_a_mistake_of_the_matrix_is_told_in_the_language_of_the_terminal(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = complaints_of(BROKEN[name], tmp_path)
    assert error.complaints
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    chinese = localized_error(error)
    for complaint in error.complaints:
        assert HANZI.search(in_chinese(complaint)), complaint
        assert prose(in_chinese(complaint)) == []
    assert "处错误" in chinese
    monkeypatch.setenv("LC_ALL", "en_GB.UTF-8")
    english = localized_error(error)
    assert HANZI.findall(re.sub("[“”：]|答案", "", english)) == []
    assert english.count("\n- ") == chinese.count("\n- ") == len(error.complaints)


def test_a_matrix_in_another_encoding_is_told_in_the_language_of_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "m.yaml"
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    for encoding in ("gbk", "utf-16"):
        file.write_bytes(f"# 注释\n{row('tune: true')}".encode(encoding))
        with pytest.raises(MatrixError) as caught:
            plan.load(file, None, Workspace(tmp_path))
        assert "请存为 UTF-8 编码" in localized_error(caught.value)


def test_a_broken_case_file_ends_the_session_in_words_before_any_row(tmp_path: Path) -> None:
    (tmp_path / "cases.jsonl").write_bytes('{"id": "s", "messages": "累"}\n'.encode("gbk"))
    (tmp_path / "m.yaml").write_text(f"cases: cases.jsonl\n{row('tune: true')}", encoding="utf-8")
    line = (
        "benchmarks/",
        "--doctor",
        "--matrix",
        str(tmp_path / "m.yaml"),
        "--store",
        str(tmp_path / "store"),
    )
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *line],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 4
    assert "cases.jsonl:1: not UTF-8" in ended.stderr
    assert "INTERNALERROR" not in ended.stdout + ended.stderr


def test_every_key_that_has_a_meaning_has_it_in_chinese() -> None:
    for kind in (Suite, ModelSpec, Judge, ExecutorSpec):
        for name, field in kind.model_fields.items():
            if field.description:
                assert meaning_of(kind, name) is not None, f"{kind.__name__}.{name}"
    for kind, name, english in described():
        meaning = meaning_of(kind, name)
        assert meaning == english
        assert HANZI.search(in_chinese(meaning)) or not PROSE.search(english)
