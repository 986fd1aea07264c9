"""What PyYAML complains of, in words: line, rule, and the way out.

What it says itself repeats parts of the file, comments and keys included; these words do not.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import yaml

from bakeoff.foundation.errors import Complaint
from bakeoff.foundation.sentences import Statement, Template, of_error

LINE = Template("matrix.yaml_mistakes.line", "line {line}", zh="第 {line} 行")
AT = Template("matrix.yaml_mistakes.at", "line {line}, column {column}", zh="第 {line} 行第 {column} 列")
_KINDS: tuple[tuple[str, Template], ...] = (
    (
        "mapping values are not allowed",
        Template(
            "matrix.yaml_mistakes.values", "{problem}", zh="此处不能有 ':'，请检查缩进和引号（`{problem}`）"
        ),
    ),
    (
        "could not find expected ':'",
        Template("matrix.yaml_mistakes.colon", "{problem}", zh="键后面缺少 ': '（`{problem}`）"),
    ),
    (
        "cannot start any token",
        Template("matrix.yaml_mistakes.token", "{problem}", zh="出现了不能用在开头的字符（`{problem}`）"),
    ),
    (
        "but (found|got)|are not allowed here",
        Template(
            "matrix.yaml_mistakes.expected",
            "{problem}",
            zh="此处的内容与上文不符，请检查缩进、逗号和括号（`{problem}`）",
        ),
    ),
    (
        "unexpected end|end of stream|document separator",
        Template("matrix.yaml_mistakes.end", "{problem}", zh="引号或括号没有结束（`{problem}`）"),
    ),
    (
        "undefined alias",
        Template("matrix.yaml_mistakes.alias", "{problem}", zh="没有定义这个别名（`{problem}`）"),
    ),
    (
        "constructor for the tag",
        Template("matrix.yaml_mistakes.tag", "{problem}", zh="不支持这个标签（`{problem}`）"),
    ),
    (
        "escape character",
        Template("matrix.yaml_mistakes.escape", "{problem}", zh="双引号中的转义符无效（`{problem}`）"),
    ),
)
SYNTAX = Template("matrix.yaml_mistakes.syntax", "{problem}", zh="不符合 YAML 语法（`{problem}`）")
_REMEDIES: tuple[tuple[str, Template], ...] = (
    (
        "tag '",
        Template(
            "matrix.yaml_mistakes.no_tags",
            "nothing is included or filled in: write the value itself, without '!'",
            zh="不会引入或代入任何内容：请直接写出值，不要用 '!'",
        ),
    ),
    (
        "'\\t'",
        Template(
            "matrix.yaml_mistakes.no_tabs",
            "indent with blanks, not with a tab",
            zh="请用空格缩进，不要用制表符",
        ),
    ),
    (
        "another document",
        Template(
            "matrix.yaml_mistakes.one_document",
            "a matrix is one document: take the line '---' out",
            zh="矩阵文件只能有一个文档：请删除 '---' 这一行",
        ),
    ),
    (
        "undefined alias",
        Template(
            "matrix.yaml_mistakes.define_alias",
            "define it above with '&name', or put quotes around a text that begins with '*'",
            zh="请在上文用 '&name' 定义；以 '*' 开头的文本请加引号",
        ),
    ),
    (
        "escape character",
        Template(
            "matrix.yaml_mistakes.write_path",
            "write a path with '/', or in single quotes",
            zh="路径请用 '/'，或写在单引号中",
        ),
    ),
    (
        "merging",
        Template(
            "matrix.yaml_mistakes.merge",
            "'<<' takes a mapping or a list of mappings, such as <<: *name",
            zh="'<<' 后面应为映射或映射的列表，例如 <<: *name",
        ),
    ),
)
FULL_WIDTH = Template(
    "matrix.yaml_mistakes.full_width",
    "the line holds full-width punctuation: write ':', ',' and '\"' as in English",
    zh="这一行含有全角标点：请改用半角的 ':'、',' 和 '\"'",
)
OTHER_BLANK = Template(
    "matrix.yaml_mistakes.other_blank",
    "is indented with a blank that is not YAML's; write ordinary blanks",
    zh="缩进用了 YAML 不认的空格；请改用普通空格",
)
FULL_WIDTH_COLON = Template(
    "matrix.yaml_mistakes.full_width_colon",
    "has a full-width {colon} behind the key; write ':' and a blank",
    zh="键后面是全角的 {colon}；请写 ':' 和一个空格",
)


def of_yaml(error: yaml.YAMLError | ValueError, text: str) -> str:
    """Return why *text* is no YAML: line and rule, and no part of the text."""
    mark = getattr(error, "problem_mark", None)
    problem = " ".join(str(getattr(error, "problem", None) or "").split())
    if mark is None or not problem:
        why = of_error(error)
        return why if isinstance(why, Statement) else SYNTAX(problem=" ".join(why.split()))
    lines = text.split("\n")
    line = lines[mark.line] if mark.line < len(lines) else ""
    kinds = [template for pattern, template in _KINDS if re.search(pattern, problem)]
    what = (kinds or [SYNTAX])[0](problem=_without_value(problem))
    return Complaint(AT(line=mark.line + 1, column=mark.column + 1), what, _way_out(problem, line))


def _without_value(problem: str) -> str:
    """*problem* without its long words, which may be a pasted key."""
    return re.sub(r"[\w./+=-]{17,}", lambda word: word[0] if word[0].startswith("tag:") else "…", problem)


def _way_out(problem: str, line: str) -> str:
    """What to do about a *problem* that PyYAML met in *line*."""
    for words, template in _REMEDIES:
        if words in problem:
            return template()
    return FULL_WIDTH() if any(mark in line for mark in "：，“”｛｝［］") else ""


def not_ascii(text: str) -> Iterator[Complaint]:
    """Yield which lines hold a blank or a colon that YAML does not take."""
    for number, line in enumerate(text.split("\n"), 1):
        if re.match(r"[ ]*[\u00a0\u3000\u2003]", line):
            yield Complaint(LINE(line=number), OTHER_BLANK())
            return
        if re.match(r"\s*[\w.-]+：", line):
            yield Complaint(LINE(line=number), FULL_WIDTH_COLON(colon="'：'"))
            return
