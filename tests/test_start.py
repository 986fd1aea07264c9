"""The first hour: a new comparison from flags, an installed wheel, and a project folder with nothing but a matrix."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from datetime import datetime
from pathlib import Path

import pytest

from bakeoff.__main__ import MODULES, USAGE, main, pytest_line
from bakeoff.foundation.sentences import in_chinese, language_of
from bakeoff.foundation.workspace import Workspace
from bakeoff.matrix.loading import load_matrix
from bakeoff.runs.forecast import forecast
from bakeoff.start import new
from bakeoff.start.demo import EXAMS, ROWS, demonstration
from bakeoff.start.estimate import estimate, points_seen
from bakeoff.start.examples import look_at_exam, look_at_training
from bakeoff.start.writing import Exam, Plan, Row, matrix_text

ROOT = Path(__file__).parents[1]
PROSE = re.compile(r"\b[A-Za-z]?[a-z]+(?:[ ,]+[a-z]{2,}){2,}")
PACKED = ("bakeoff", "judge", "fixtures", "benchmarks")
FILES = (
    "conftest.py",
    "pyproject.toml",
    "setup.py",
    "MANIFEST.in",
    "README.md",
    "LICENSE",
    "model_matrix.yaml",
)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with training data of which one row is dropped, and an exam of twelve questions."""
    monkeypatch.chdir(tmp_path)
    talk = {"conversations": [{"from": "human", "value": "睡不着: #1"}, {"from": "gpt", "value": "多久了？"}]}
    rows = [
        talk,
        {**talk, "conversations": [{**talk["conversations"][0], "value": "累"}, talk["conversations"][1]]},
    ]
    lines = [json.dumps(row, ensure_ascii=False) for row in [*rows, {"other": 1}]]
    (tmp_path / "mine.jsonl").write_text("\n".join(lines), encoding="utf-8")
    exam = tmp_path / "my exam"
    exam.mkdir()
    questions = [{"question": f"Q{i}?", "A": "1", "B": "2", "C": "3", "answer": "B"} for i in range(12)]
    (exam / "q.jsonl").write_text("\n".join(map(json.dumps, questions)), encoding="utf-8")
    return tmp_path


def test_a_new_comparison_shows_what_it_understood_and_writes_a_matrix(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = ["--model", "tiny-qwen2", "--model", "qwen2.5-7b"]
    assert new.main(["--yes", "--lang", "en", *models, "--data", "mine.jsonl", "--exam", "my exam"]) == 0
    told = capsys.readouterr().out
    assert "2 dialogues" in told
    assert "drop 1 of 3 rows" in told
    assert told.count("-> B") == 3
    assert "differences of about" in told
    matrix = load_matrix(mine / "model_matrix.yaml")
    assert matrix.models["qwen2.5-7b"].training.packing
    assert matrix.models["tiny-qwen2"].on_cpu
    assert matrix.suites["my-exam"].benchmark == "choice_exam"
    assert matrix.suites["my-exam"].chance == pytest.approx(1 / 3, abs=1e-3)
    assert new.main(["--yes", "--model", "tiny-qwen2"]) == 2  # nobody's file is replaced unasked
    named = ["--out", "an other.yaml", "--exam", "shipped:facts_exam"]
    assert new.main(["--yes", "--lang", "zh", *models, "--data", "mine.jsonl", *named]) == 0
    chinese = capsys.readouterr().out
    assert "ms-swift 会不作提示地丢弃 3 条中的 1 条" in chinese
    assert "bakeoff run --matrix 'an other.yaml'" in chinese
    assert load_matrix(mine / "an other.yaml").suites["facts_exam"].data == "shipped:facts_exam"
    assert load_matrix(mine / "model_matrix.yaml") == matrix


@pytest.mark.usefixtures("four_cards")
def test_questions_are_asked_for_what_no_option_says(
    mine: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter(["1 tiny-llama", "mine.jsonl", "my exam", ""])
    monkeypatch.setattr("builtins.input", lambda prompt: next(answers))
    assert new.main(["--lang", "zh"]) == 0
    assert "GPU 3：" in capsys.readouterr().out
    matrix = load_matrix(mine / "model_matrix.yaml")
    assert list(matrix.models) == ["qwen2.5-7b", "tiny-llama"]
    assert matrix.suites["my-exam"].data == str(mine / "my exam")  # a path with a blank is one path


NASTY: dict[str, tuple[str, ...]] = {
    "models": (
        "q", "退出", "99", "0", "-1", "tiny-qwen3", "Qwen/NoSuch-7B", "~/nope", "~nobody-of-this-name/x",
        "./mine.jsonl",
        "./empty", "./adapter", "./folder", "./folder=llama,llama9", "./folder=,", "C:\\models\\q", "$HOME/m", "'tiny",
        "https://modelscope.cn/models/Qwen/Qwen2.5-7B-Instruct", "x" * 400, "a\0b", "\udce9", "==", "，", "1 99",
    ),
    "data": (
        "q", "empty", "empty.jsonl", "gbk.jsonl", "utf16.jsonl", "mine.xlsx", "bytes.jsonl", "~/nope.jsonl",
        "~nobody-of-this-name/x.jsonl", "mine.jsonl#zz", "shipped:facts", "owner/", "me/data@", "http://x.y/z.jsonl",
        "*.jsonl", "C:\\d\\x.jsonl", "%APPDATA%/x", "x" * 400 + ".jsonl", "\udce9.jsonl", "１", '""', "mine.jsonl q",
    ),
    "exams": (
        "q", "cevel", "mine.jsonl", "table.csv", "empty", "gbk exam", "csv exam", "blank exam", "shipped:nope",
        "~/nope", "~nobody-of-this-name", "mine.xlsx", "mmlu", "C:\\exam", "$X/exam", "x" * 400, "\udce9", "１", "''",
        "ceval q",
    ),
    "cases": (
        "q", "empty", "empty.jsonl", "gbk.jsonl", "mine.jsonl", "table.csv", "~/nope", "~nobody-of-this-name", "a b",
        "C:\\c.jsonl", "$C", "x" * 400, "\udce9", "１", "bytes.jsonl", "utf16.jsonl", "mine.xlsx", "owner/cases",
        "../..", "/dev/null",
    ),
}  # fmt: skip
"""A question -> answers that nothing can be done with."""
RIGHT = {"models": "１、tiny-llama", "data": "“mine.jsonl”", "exams": "shipped:facts_exam ceval", "cases": ""}
"""The same in full-width characters and in quotes, as a Chinese keyboard writes them."""


def litter(folder: Path) -> None:
    """Put files into *folder* that are not what they seem."""
    row = {"query": "问题", "response": "回答"}
    (folder / "gbk.jsonl").write_bytes(json.dumps(row, ensure_ascii=False).encode("gbk"))
    (folder / "utf16.jsonl").write_bytes(json.dumps(row).encode("utf-16"))
    (folder / "bytes.jsonl").write_bytes(bytes(range(256)))
    (folder / "empty.jsonl").write_bytes(b"")
    (folder / "mine.xlsx").write_bytes(b"PK\3\4")
    (folder / "table.csv").write_text("question,A,B,answer\n", encoding="utf-8")
    for name in ("empty", "adapter", "folder", "gbk exam", "csv exam", "blank exam"):
        (folder / name).mkdir()
    (folder / "adapter" / "adapter_config.json").write_text("{}", encoding="utf-8")
    (folder / "folder" / "config.json").write_text("{}", encoding="utf-8")
    shutil.copy(folder / "gbk.jsonl", folder / "gbk exam")
    shutil.copy(folder / "table.csv", folder / "csv exam")
    shutil.copy(folder / "empty.jsonl", folder / "blank exam")


@pytest.mark.parametrize("language", ["zh", "en"])
def test_a_wrong_answer_is_told_and_the_question_asked_again(
    language: str, mine: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    litter(mine)
    script = [answer for topic in NASTY for answer in (*NASTY[topic], RIGHT[topic])]
    answers, prompts = iter(script), []
    monkeypatch.setattr("builtins.input", lambda prompt: (prompts.append(prompt), next(answers))[1])
    assert new.main(["--lang", language]) == 0
    told = capfd.readouterr().out
    assert len(prompts) == len(script)
    assert len(set(prompts)) == len(NASTY)
    again, mistake = ("请重新回答", "  错误：") if language == "zh" else ("answer again", "  error: ")
    wrong = sum(map(len, NASTY.values()))
    assert told.count(again) == wrong
    assert told.count(mistake) >= wrong
    for line in (line for line in told.splitlines() if line.startswith(mistake)):
        assert len(line) < 500, line
        if language == "en":
            assert not re.search("[\u4e00-\u9fff]", line.replace("退出", "").replace("问题", "")), line
        else:
            assert not PROSE.search(re.sub(r"`[^`]*`|['\"“][^'\"”]*['\"”]", "", line)), line
    matrix = load_matrix(mine / "model_matrix.yaml")
    assert list(matrix.models) == ["tiny-qwen2", "tiny-llama"]
    assert list(matrix.suites) == ["facts_exam", "ceval"]


def test_a_wrong_answer_at_the_end_of_the_input_writes_nothing(
    mine: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended_after(*answers: str) -> int:
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{answer}\n" for answer in answers)))
        return new.main(["--lang", "en"])

    assert ended_after("q") == 1
    assert ended_after("1", "mine.jsonl", "q") == 1
    assert "Nothing was written" in capsys.readouterr().out
    assert not (mine / "model_matrix.yaml").exists()
    assert ended_after("1", "mine.jsonl") == 0  # the rest by default, as before


def test_every_mistake_of_the_options_is_told_before_anything_is_asked(
    mine: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda prompt: pytest.fail("asked"))
    options = ["--model", "qwen", "--model", "./no", "--exam", "cevel", "--cases", "mine.jsonl"]
    assert new.main(["--lang", "en", *options]) == 1
    told = capsys.readouterr().out
    assert told.count("  error: ") == 4
    assert "GPU" not in told
    assert not (mine / "model_matrix.yaml").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "qwen"], "qwen: not known"),
        (["--model", "tiny"], "tiny-qwen2, tiny-llama, a folder or owner/name"),
        (["--model", "a\0b", "--model", "tiny-llama"], "not known; take one of"),
        (["--model", "tiny-llama", "--out", "."], "is a folder; name a file with --out"),
        (["--model", "tiny-llama", "--out", "mine.jsonl/m.yaml"], "mine.jsonl/m.yaml cannot be written"),
        (["--model", "./nowhere"], "there is no folder"),
        (["--model", "me/never-registered"], "MODEL_TYPE,TEMPLATE"),
        (["--model", "tiny-qwen2", "--data", "absent.jsonl"], "absent.jsonl"),
        (["--model", "tiny-qwen2", "--exam", "mine.jsonl"], "an exam is a folder"),
        (["--model", "tiny-qwen2", "--cases", "mine.jsonl"], "not a case"),
    ],
)
def test_what_cannot_be_used_is_told_and_nothing_is_written(
    mine: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert new.main(["--yes", "--lang", "en", *arguments]) != 0
    assert words in "".join(capsys.readouterr())
    assert not (mine / "model_matrix.yaml").exists()


@pytest.mark.parametrize(
    "text", ["a: b", "# no", 'it\'s "so"', "中文 文件夹", "{x}", "*x", "&x", "yes", "1e5"]
)
def test_any_name_of_a_folder_survives_the_file(tmp_path: Path, text: str) -> None:
    exam = Exam("exam", "choice_exam", str(tmp_path / text))
    data = tmp_path / f"{text}.jsonl"
    data.write_text("{}", encoding="utf-8")
    plan = Plan([Row("m", f"./{text}", "llama", "llama3")], [str(data)], [exam])
    file = tmp_path / "matrix.yaml"
    file.write_text(matrix_text(plan, chinese=False), encoding="utf-8")
    matrix = load_matrix(file)
    assert matrix.models["m"].model == f"./{text}"
    assert matrix.models["m"].dataset == (str(data),)
    assert matrix.suites["exam"].data == str(tmp_path / text)


def test_more_questions_see_smaller_differences_and_more_models_larger_ones() -> None:
    assert points_seen(200, 2) > points_seen(2000, 2)
    assert points_seen(200, 6) > points_seen(200, 2)
    assert points_seen(3, 2) == float("inf")


def test_more_data_take_more_hours_and_a_second_card_halves_them(tmp_path: Path) -> None:
    talk = {
        "messages": [
            {"role": "user", "content": "睡不着" * 200},
            {"role": "assistant", "content": "嗯" * 200},
        ]
    }
    matrices = {}
    for name, rows in (("small", 100), ("large", 5000)):
        (data := tmp_path / f"{name}.jsonl").write_text((json.dumps(talk) + "\n") * rows, encoding="utf-8")
        models = [Row(row, "Qwen/Qwen2.5-7B-Instruct") for row in ("a", "b")]
        file = tmp_path / f"{name}.yaml"
        file.write_text(
            matrix_text(Plan(models, [str(data)], [Exam("ceval", "ceval")]), chinese=True), encoding="utf-8"
        )
        matrices[name] = load_matrix(file)
    forecasts = {
        name: forecast(matrix, matrix.models, Workspace(tmp_path)) for name, matrix in matrices.items()
    }
    small, large = (estimate(matrices[name], forecasts[name], 2) for name in matrices)
    assert small.gpu_hours < large.gpu_hours
    assert all(row.download_gib > 10 for row in forecasts["small"])
    assert large.hours_on_cards == pytest.approx(estimate(matrices["large"], forecasts["large"], 1).hours / 2)
    assert [sentence.zh for sentence in large.in_words(datetime(2026, 1, 1))][-1].count("-n 2") == 1


def test_what_is_wrong_with_a_file_is_told_in_the_language_of_the_terminal(tmp_path: Path) -> None:
    """One wrong row of a choice exam is named; it does not make an exam of open questions."""
    exam = tmp_path / "exam"
    exam.mkdir()
    right = {"question": "q", "A": "1", "B": "2", "answer": "A"}
    for wrong, chinese in (
        ({**right, "answer": "F"}, "'answer' 应为不超过 B 的字母，实际是 'F'"),
        ({"question": "q", "A": "1", "C": "2", "answer": "A"}, "有 A、C，缺 B"),
        ({**right, "answer": "AB"}, "正确答案应为一个字母，实际是 'AB'"),
    ):
        (exam / "questions.jsonl").write_text(f"{json.dumps(right)}\n{json.dumps(wrong)}\n")
        (error,) = look_at_exam(exam).errors
        assert error.startswith(f"{exam / 'questions.jsonl'}:2: ")
        assert in_chinese(error).startswith(f"{exam / 'questions.jsonl'}:2：")
        assert chinese in in_chinese(error)
    training = tmp_path / "training.jsonl"
    for text, chinese in (
        ("{oops", "不是 JSON（"),
        ('{"a": 1, "a": 2}', "'a' 在同一个对象中出现两次"),
        ('{"messages": []}', "'messages' 为空"),
        ('{"query": "q", "response": null}', "缺少回答（'response'）"),
        ('{"messages": [{"role": "user", "content": 5}]}', "内容不是文本（整数）"),
    ):
        training.write_text(text + "\n")
        look = look_at_training(training, 100)
        (error,) = look.errors
        assert chinese in in_chinese(error)
        assert not re.search("[\u4e00-\u9fff]", error)


def test_each_format_of_an_exam_is_recognised() -> None:
    shipped = ROOT / "bakeoff" / "data"
    assert look_at_exam(shipped / "facts_exam").format == "choice_exam"
    assert look_at_exam(shipped / "pceb_mcq").format == "pceb_mcq"
    assert look_at_exam(shipped / "psyqa").choices == 0
    assert look_at_training(shipped / "facts_train.jsonl", 512).count > 0


@pytest.mark.parametrize(
    ("environ", "language"),
    [({"LANG": "zh_CN.UTF-8"}, "zh"), ({"LC_ALL": "en_GB", "LANG": "zh_CN"}, "en"), ({}, "en")],
)
def test_the_terminal_speaks_the_language_of_the_locale(environ: dict[str, str], language: str) -> None:
    assert language_of(environ) == language


def test_every_command_is_listed_and_a_wrong_one_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for usage in USAGE.values():
        assert [name for name in (*MODULES, "run", "doctor") if name not in usage] == []
    assert main(["trian"]) == 2
    assert "no command 'trian'" in capsys.readouterr().err
    assert main(["--version"]) == 0


def test_a_run_without_a_matrix_says_how_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["run"]) == 4
    assert "bakeoff new" in capsys.readouterr().out
    assert pytest_line("run", ["-k", "qwen"])[3:] == ["benchmarks/", "--html=reports/", "-k", "qwen"]
    assert "--html=reports/" not in pytest_line("run", ["--dry-run"])


def test_the_demonstration_has_two_tiny_rows_that_can_answer_their_exam() -> None:
    assert len(ROWS) == 2
    assert {row.group for row in ROWS} == {"smoke"}
    assert EXAMS[0].folder == "shipped:facts_exam"


def test_the_demonstration_has_one_score_that_is_invalid_on_purpose(tmp_path: Path) -> None:
    written = tmp_path / "model_matrix.yaml"
    written.write_text(demonstration(chinese=False), encoding="utf-8")
    matrices = [load_matrix(written), load_matrix(ROOT / "model_matrix.yaml")]
    for matrix in matrices:
        rows = [row for row in matrix.models.values() if row.group == "smoke"]
        suite = matrix.suites["invalid_example"]
        assert [row.name for row in rows if suite.name in row.suites] == ["tiny-llama"]
        assert suite.chance == 0.5
        assert suite.may_be_untrusted


def test_a_wheel_gives_a_command_and_a_folder_with_a_matrix_is_a_project(tmp_path: Path) -> None:
    source, wheels, project = (tmp_path / name for name in ("source", "wheels", "project"))
    ignore = shutil.ignore_patterns("__pycache__")
    for name in PACKED:
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    for name in FILES:
        shutil.copy(ROOT / name, source)
    project.mkdir()
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {
        "OMP_NUM_THREADS": "1",
        "LANG": "C.UTF-8",
    }

    def call(*line: object, expected: int = 0) -> str:
        done = subprocess.run(
            [str(part) for part in line],
            cwd=project,
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == expected, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    call(*pip, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", wheels, source)
    (wheel,) = wheels.glob("*.whl")
    venv.create(tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    site = Path(call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    call(*pip, "--python", python, "install", "--no-deps", "--no-index", "--no-compile", wheel)
    (site / "tools.pth").write_text(
        sysconfig.get_path("purelib") + "\n"
    )  # what the wheel needs, without a download
    command = tmp_path / "venv" / "bin" / "bakeoff"

    assert "demo" in call(command, "--help")
    call(command, "new", "--yes", "--model", "tiny-qwen2")
    assert [path.name for path in project.iterdir()] == ["model_matrix.yaml"]
    shown = call(command, "run", "--dry-run")
    assert "swift.cli.sft" in shown
    assert str(ROOT) not in shown.replace(sysconfig.get_path("purelib"), "")
    literal = (python, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "-q")
    assert "test_train.py" in call(*literal, "-m", "train", "-k", "qwen")
    assert "test_eval.py" in call(*literal, "benchmarks/", "--html=reports/")
    call(*literal, "-m", "train", "-k", "no-such-row", expected=4)
