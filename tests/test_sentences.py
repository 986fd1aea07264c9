"""What the engine says: every sentence in both languages, kept with its id, and never parsed back."""

import ast
import copy
import importlib
import json
import pickle
import re
import string
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bakeoff.foundation import sentences
from bakeoff.foundation.errors import Complaint, DataError, complaint_of
from bakeoff.foundation.sentences import (
    SAID,
    Statement,
    Template,
    gaps,
    joined,
    parts_of,
    restored,
    with_statements,
)
from bakeoff.report import page
from tests.synthetic_findings import synthetic_findings, synthetic_ratings

ROOT = Path(__file__).parents[1]
HANZI = re.compile("[\u3400-\u9fff\uff00-\uffef\u3000-\u303f]")
PROSE = re.compile(r"\b[A-Za-z]?[a-z]+(?:[ ,]+[a-z]{2,}){2,}")
"""Three words of English in a row: no name, no unit and no flag reads like that."""


def declarations() -> list[tuple[str, str]]:
    """(module below bakeoff, id) of every template, where its declaration stands."""
    found = []
    for path in sorted((ROOT / "bakeoff").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT / "bakeoff").with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            declares = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Template"
            if declares and isinstance(node.args[0], ast.Constant):
                found.append((module, str(node.args[0].value)))
    return found


def every_template() -> list[Template]:
    for module, _ in declarations():
        importlib.import_module(f"bakeoff.{module}")
    return [one for one in sentences.declared().values() if not one.id.startswith("test.")]


def filled(template: Template) -> Statement:
    """*template* with a value for each gap that its formats accept."""
    values: dict[str, Any] = {}
    for form in (template.text, template.zh, template.en):
        for _, name, spec, _ in string.Formatter().parse(form):
            if name:
                values[name] = 0.25 if spec or isinstance(values.get(name), float) else f"X{len(values)}"
    return template(**values)


@pytest.mark.parametrize("template", every_template(), ids=lambda one: one.id)
def test_a_sentence_has_its_chinese_with_the_same_values(template: Template) -> None:
    assert gaps(template.zh) == gaps(template.text) == gaps(template.en)
    words = re.sub(r"\{[^}]*\}", "", template.en)
    name = template.zh == template.text and len(words.split()) < 3  # a name, or nothing but values
    assert name or HANZI.search(template.zh) or not re.search(r"[A-Za-z]{2}", words)
    assert not HANZI.search(template.text + template.en)
    assert not PROSE.search(re.sub(r"`[^`]*`", "", template.zh))
    statement = filled(template)
    assert statement.zh
    assert restored(json.loads(json.dumps(with_statements({"why": statement}))))["why"].zh == statement.zh


def test_an_id_leads_to_the_module_that_declares_the_sentence() -> None:
    wrong = [(module, id) for module, id in declarations() if id.rpartition(".")[0] != module]
    assert wrong == []


def test_what_engine_rules_return_is_no_bare_text() -> None:
    """A reason, an alarm or a warning that is put together on the spot would have no Chinese."""
    collected = {"alarms", "reasons", "warnings", "lacking", "doubts"}
    rooms = (
        "scoring",
        "evalscope/grading.py",
        "evalscope/distrust.py",
        "parity/comparison.py",
        "chain",
    )
    bare = []
    for room in rooms:
        path = ROOT / "bakeoff" / room
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr == "append"
                    and isinstance(node.func.value, ast.Name)
                    and node.func.value.id in collected
                    and isinstance(node.args[0], ast.JoinedStr | ast.Constant)
                ):
                    bare.append(f"{file.name}:{node.lineno}")
    assert bare == []


def test_the_report_looks_into_no_text_for_what_it_means() -> None:
    for name in ("words", "cautions", "shortfalls", "opinions", "verdict", "answer", "history"):
        source = (ROOT / "bakeoff" / "report" / f"{name}.py").read_text(encoding="utf-8")
        assert "import re" not in source, name
        assert not re.search(
            r"\.partition\(\": \"\)|\.split\(\"; \"\)|removeprefix\(|startswith\(\"[a-z]+ ", source
        ), name


VALUES = st.one_of(st.integers(), st.floats(allow_nan=False), st.text(), st.lists(st.text(), max_size=3))
ONE = Template("test.one", "{a} of {b!r}", zh="{b!r} 中的 {a}")
NESTED = Template("test.nested", "why: {why}", zh="原因：{why}", en="because {why}")


@given(VALUES, st.text(), st.lists(st.text(max_size=5), max_size=3))
def test_a_statement_comes_back_from_a_file_as_it_went(a: Any, b: str, others: list[str]) -> None:
    inner = ONE(a=a, b=b)
    said = {
        "why": NESTED(why=joined([inner, *others])),
        "facts": {"alarms": [*others, inner]},
        "n": [[b, inner]],
    }
    back = restored(json.loads(json.dumps(with_statements(said))))
    assert back == said
    assert back["why"].zh == said["why"].zh  # type: ignore[attr-defined]
    assert back["facts"]["alarms"][-1].zh == inner.zh
    assert [type(one) for one in back["facts"]["alarms"][:-1]] == [str] * len(others)
    assert back["n"][0][1].zh == inner.zh


def test_a_statement_survives_copies_and_other_processes() -> None:
    statement = joined([ONE(a=1, b="x"), NESTED(why=ONE(a=2, b="y"))])
    for other in (copy.deepcopy(statement), pickle.loads(pickle.dumps(statement))):
        assert isinstance(other, Statement)
        assert (other, other.zh) == (statement, statement.zh)
    assert parts_of(statement) == [ONE(a=1, b="x"), NESTED(why=ONE(a=2, b="y"))]


def test_a_complaint_is_its_line_and_its_parts() -> None:
    complaint = Complaint("suites.x", "has no 'y'", "; is it 'z'?")
    for other in (complaint, copy.deepcopy(complaint), pickle.loads(pickle.dumps(complaint))):
        assert other == "suites.x: has no 'y'; is it 'z'?"
        assert (other.place, other.what, other.remedy) == ("suites.x", "has no 'y'", "is it 'z'?")
    assert Complaint("a: b", "c; d") == "a: b: c; d"
    assert complaint_of(DataError(complaint)) is complaint
    assert complaint_of(DataError("a: b; c")) is None


@pytest.mark.parametrize(
    "beside",
    [
        None,
        [],
        {"why": None},
        {"why": {"id": "no.such.module", "values": {}}},
        {"why": {"id": "test.one", "values": {}}},
        {"why": {"id": "test.one", "values": {"a": 1, "b": "changed"}}},
        {"why": {"id": "../../etc", "values": {"a": 1}}},
        {"why": {"id": "test.one", "values": [1]}},
        {"why": {"id": ["x"], "values": {}}},
        {"elsewhere": {"id": "test.one", "values": {"a": 1, "b": "x"}}},
    ],
)
def test_what_does_not_belong_to_a_text_leaves_it_a_text(beside: Any) -> None:
    back = restored({"why": "1 of 'x'", SAID: beside})
    assert back["why"] == "1 of 'x'"
    assert not isinstance(back["why"], Statement)


def test_a_sentence_is_found_where_it_was_declared_before_its_module_was_split() -> None:
    said = sentences.declared()["chain.needs.needs_gpu"](gib=8)
    beside = {"why": {"id": "chain.chain.needs_gpu", "values": {"gib": 8}}}
    assert restored({"why": str(said), SAID: beside})["why"].zh == said.zh


class View(HTMLParser):
    """What a reader of one language sees of a page, commands, code and file names apart."""

    VOID = frozenset(("br", "hr", "img", "input", "link", "meta", "wbr"))
    APART = frozenset(("script", "style", "pre", "code", "template", "svg", "noscript"))

    def __init__(self, language: str) -> None:
        super().__init__()
        self.language = language
        self.open: list[tuple[str, bool]] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        hidden = tag in self.APART or found.get("lang", self.language) not in (self.language, None)
        hidden = hidden or "mono" in (found.get("class") or "").split()
        if tag == "html":
            hidden = False
        self.texts += [text for key in ("title", "aria-label", f"data-{self.language}") if (text := found.get(key))
                       and not hidden and key.startswith("data")]  # fmt: skip
        if tag not in self.VOID:
            self.open.append((tag, hidden))

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if not any(hidden for _, hidden in self.open):
            self.texts.append(data)


def seen(html: str, language: str) -> str:
    view = View(language)
    view.feed(html)
    return "\n".join(" ".join(text.split()) for text in view.texts)


@pytest.fixture(scope="module")
def whole_page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report in which the engine says everything that it can say."""
    findings = synthetic_findings(60, models=3, suites=("ceval", "psyqa"), hostile=False)
    findings.stages[0]["facts"]["alarms"] = [filled(one) for one in every_template()]
    findings.stages[0]["why"] = filled(sentences.declared()["store.stages.first_time"])
    for stage in findings.stages[1:]:
        stage["why"] = ""
    findings.skipped = [("big", filled(sentences.declared()["chain.needs.needs_gpu"]))]
    findings.comparability = [filled(sentences.declared()["doctor.comparability.guide"])]
    for anchor in findings.anchors:
        anchor["warning"] = filled(sentences.declared()["scoring.anchors.far_below"])
        anchor["protocol"] = filled(sentences.declared()["scoring.anchors.mean_of_subjects"])
    beside = with_statements({"why_not": filled(sentences.declared()["scoring.scores.few_replies"])})
    bad = ~findings.scores["trusted"]
    findings.scores[SAID] = [beside[SAID] if one else None for one in bad]
    findings.scores.loc[bad, "why_not"] = beside["why_not"]
    findings.ratings = synthetic_ratings(tmp_path_factory.mktemp("ratings"), hostile=False)
    return page(findings)


def test_the_page_says_every_sentence_in_its_language(whole_page: str) -> None:
    zh, en = seen(whole_page, "zh"), seen(whole_page, "en")
    for template in every_template():
        statement = filled(template)
        assert " ".join(statement.zh.split()) in zh, template.id
        assert " ".join(statement.en.split()) in en, template.id


def test_no_page_holds_prose_of_the_other_language(whole_page: str) -> None:
    zh, en = seen(whole_page, "zh"), seen(whole_page, "en")
    quoted = (
        "scores.csv, scores.json, samples.parquet",
        "MiniCPM3 README",
        "pip install",
        "pytest benchmarks/",
    )
    for text in quoted:
        zh = zh.replace(text, "")
    assert PROSE.findall(zh) == []
    quoted_zh = {
        "甲",
        "乙",
        "丙",
        "合成",
        "中文",
    }  # raters, the study's title, and the name of the other language
    assert set(re.findall("[\u3400-\u9fff]+", en)) - quoted_zh == set()


def test_models_stand_in_one_order_everywhere(whole_page: str) -> None:
    """In the table of scores, by suite, in the pairs, per subject and in the costs: as on the board, tuned first.

    The table of weights alone is sorted by what is weighed.
    """
    order = re.findall(r'class="model">([^<]+)<', whole_page)
    assert len(order) == 3
    unweighed = re.sub(r'<table class="weighed">.*?</table>', "", whole_page, flags=re.DOTALL)
    for section in re.findall(r"<tbody>(.*?)</tbody>", unweighed, re.DOTALL):
        rows = re.findall(r'<th scope="row">([\w.-]+)', section)
        models = [row for row in dict.fromkeys(rows) if row in order]
        assert models == [model for model in order if model in models]
        for model in models:
            kinds = re.findall(
                rf'<th scope="row">{re.escape(model)} <span class="kind"><span lang="zh">(..)', section
            )
            assert kinds in ([], ["微调"], ["微调", "基座"], ["基座"])


TERMS = {
    "zh": [
        "账目",
        "分不出高下",
        "分得出高下",
        "不是分数",
        "瞎猜",
        "评判",
        "对决",
        "甲胜",
        "情境",
        "换位",
        "能信几分",
        "看不出变化",
        "(?<!提)取答案",
        "并列组",
        "测法",
        "与自己一致",
        "漂移",
        "最差–最好",
        "未能解析",
        "管理员",
    ],
    "en": (
        "told apart",
        "tell apart",
        "not a score",
        "no scores at all",
        "Judgements by",
        "judgements are",
        "judgement was",
        "Duels",
        "harsher",
        "be believed",
        "Against themselves",
        "Rules agree",
        "Shots",
        "Ledger",
        "Leaked",
        "not there then",
        "Made by",
        "which is forgetting",
        "no change can be",
    ),
}
"""Private words of before -> none may stand on a page; docs/report.md lists the terms of the field that stand there."""


SCREENS = re.compile(r"^  zh: \{(.*?)\},\n  en: \{(.*?)\},\n\};", re.S | re.M)
KEY = re.compile(r"(?:^|[,{])\s*\"?([\w-]+)\"?: (?=[\"`(])", re.M)


@pytest.mark.parametrize("script", sorted(path.name for path in (ROOT / "judge").glob("*.js")))
def test_the_judge_says_everything_in_both_languages_and_the_terms_of_the_field(script: str) -> None:
    whole = (ROOT / "judge" / script).read_text(encoding="utf-8")
    ((chinese, english),) = SCREENS.findall(whole)
    assert "⌀" not in whole
    assert set(KEY.findall(chinese)) == set(KEY.findall(english))
    assert re.findall(r"[\u4e00-\u9fff]+", english) in ([], ["中文"])
    for text, language in ((chinese, "zh"), (english, "en")):
        assert [term for term in TERMS[language] if re.search(term, text)] == []
    assert not re.search(r"[\u4e00-\u9fff][,:;] ", chinese)


@pytest.mark.parametrize("language", ["zh", "en"])
def test_a_page_uses_the_terms_of_the_field(whole_page: str, language: str) -> None:
    text = seen(whole_page, language)
    assert [term for term in TERMS[language] if re.search(term, text)] == []


GLOSSARY = {
    "评分者": "raters",
    "个案": "case",
    "评分": "ratings",
    "评审模型": "judge model",
    "差异不显著": "do not differ significantly",
    "置信区间": "confidence interval",
    "检验效能": "power",
    "成绩无效": "invalid",
    "科目": "subject",
    "测试集": "suite",
    "数据泄漏": "training data",
    "一致性": "agreement",
    "显著性分组": "Group",
    "作答统计": "Response accounting",
}


@pytest.mark.parametrize(("zh", "en"), GLOSSARY.items())
def test_a_term_stands_on_the_page_in_both_languages_and_in_the_docs(
    whole_page: str, zh: str, en: str
) -> None:
    assert zh in seen(whole_page, "zh")
    assert en.lower() in seen(whole_page, "en").lower()
    assert f"| {zh} |" in (ROOT / "docs" / "report.md").read_text(encoding="utf-8")


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_colours_meet_the_contrast_of_wcag_aa(theme: int) -> None:
    css = (ROOT / "bakeoff" / "report" / "templates" / "report.css").read_text(encoding="utf-8")
    pairs = re.findall(r"--bk-(\w+): light-dark\((#\w{6}), (#\w{6})\)", css)
    colours = {name: luminance(both[theme]) for name, *both in pairs}

    def contrast(one: str, other: str) -> float:
        low, high = sorted((colours[one], colours[other]))
        return (high + 0.05) / (low + 0.05)

    for text in ("ink", "muted", "accent", "down"):
        for ground in ("paper", "raised", "tint"):
            assert contrast(text, ground) >= 4.5, (text, ground)
    assert contrast("ghost", "paper") >= 3  # points, bars, borders of what can be clicked
