"""Why an exam of the user's own cannot be read."""

from __future__ import annotations

from pathlib import Path

from bakeoff.foundation.errors import DataError
from bakeoff.foundation.sentences import Statement, Template, of_error

_HERE = "suites.reasons."

LINE = Template(f"{_HERE}line", "{path}:{number}: {what}", zh="{path}:{number}：{what}")
NO_QUESTIONS = Template(
    f"{_HERE}no_questions",
    "{folder}: no questions for {benchmark}; the format is described in docs/suites.md",
    zh="{folder}：没有 {benchmark} 的题目；格式见 docs/suites.md",
)
SUBSET = Template(
    f"{_HERE}subset",
    "{folder}: {name!r} cannot be the name of a subset: {why}",
    zh="{folder}：{name!r} 不能用作科目名：{why}",
)
TOTAL = Template(
    f"{_HERE}total",
    "the total of all subsets has this name; rename the file or the rows' 'subset'",
    zh="该名称用于全部科目的合计；请改文件名或各行的 'subset'",
)
NO_FILE_NAME = Template(
    f"{_HERE}no_file_name",
    "no file can be named so on every system (slashes, control characters, a blank or dot at either end)",
    zh="该名称不能在所有系统上用作文件名（含斜杠、控制字符，或首尾有空格或句点）",
)
LONG_NAME = Template(
    f"{_HERE}long_name",
    "longer than {most} bytes (a Chinese character has three)",
    zh="超过 {most} 字节（一个汉字占三字节）",
)
SINGLES = Template(
    f"{_HERE}singles",
    "questions under a name that ends in '_multiple' may have several right answers, and these have one; "
    "rename the file",
    zh="以 '_multiple' 结尾的科目应为多选题，而这些是单选题；请改文件名",
)
NO_ROWS = Template(f"{_HERE}no_rows", "{path}: must hold a JSON list of rows", zh="{path}：应为 JSON 列表")
NO_OBJECT = Template(
    f"{_HERE}no_object", "a row is a JSON object, found {kind}", zh="每行应为 JSON 对象，实际是 {kind}"
)
NO_JSON = Template(f"{_HERE}no_json", "not JSON ({error})", zh="不是 JSON（{error}）")
TOO_DEEP = Template(
    f"{_HERE}too_deep", "not JSON that can be read (nested too deeply)", zh="不是可读的 JSON（嵌套过深）"
)
TWICE = Template(
    f"{_HERE}twice", "{name!r} is given twice in the same row", zh="同一行中 {name!r} 出现了两次"
)
HALF_CHARACTER = Template(
    f"{_HERE}half_character",
    "holds half a character (such as \\ud83d); write that character anew",
    zh="含有不完整的字符（例如 \\ud83d），请重新输入该字符",
)
NO_OPTIONS = Template(
    f"{_HERE}no_options",
    "has no options: give them as 'A', 'B', … or as a list under 'choices'; found {names}",
    zh="没有选项：请写为 'A'、'B' 等，或写成 'choices' 下的列表；实际有 {names}",
)
NO_TEXT = Template(
    f"{_HERE}no_text", "'{key}' must be a text, found {value}", zh="'{key}' 应为文本，实际是 {value}"
)
NO_WORDS = Template(
    f"{_HERE}no_words",
    "the reference in 'answer' has no word that a reply could share (marks and thinking do not count), found {value}",
    zh="'answer' 中的参考答案没有可供比较的词（标点、标记和思考过程不算），实际是 {value}",
)
NO_LIST = Template(
    f"{_HERE}no_list", "the options must be a list, found {kind}", zh="选项应为列表，实际是 {kind}"
)
ODD_OPTION = Template(
    f"{_HERE}odd_option",
    "an option must be a text or a number, found {value}",
    zh="选项应为文本或数字，实际是 {value}",
)
OPTIONS = Template(
    f"{_HERE}options",
    "needs 2 to {most} options with text, found {found}",
    zh="需要 2 到 {most} 个有文字的选项，实际是 {found}",
)
UP_TO = Template(f"{_HERE}up_to", "options up to {last}", zh="到 {last} 为止的选项")
GAP = Template(
    f"{_HERE}gap",
    "needs 2 to {most} options with text and no gap: {filled} without {lacking}",
    zh="需要 2 到 {most} 个有文字且连续的选项：有 {filled}，缺 {lacking}",
)
LETTERS = Template(
    f"{_HERE}letters",
    "'answer' must be letter(s) up to {last}, found {value}",
    zh="'answer' 应为不超过 {last} 的字母，实际是 {value}",
)
ONE_RIGHT = Template(
    f"{_HERE}one_right", "one letter is right, found {value}", zh="正确答案应为一个字母，实际是 {value}"
)
SECTION = Template(
    f"{_HERE}section",
    "'section' must be one of {sections} and 'kind' single or multiple (in the row, or in a file name such as "
    "theory_single_val.jsonl)",
    zh="'section' 应为 {sections} 之一，'kind' 应为 single 或 multiple"
    "（写在行中，或写在文件名中，如 theory_single_val.jsonl）",
)
SINGLE = Template(
    f"{_HERE}single", "a single-choice row with the answer {value}", zh="单选题只能有一个答案，实际是 {value}"
)
REPEATS = Template(
    f"{_HERE}repeats",
    "'{label}' must repeat one of the options, found {value}",
    zh="'{label}' 应与某个选项完全相同，实际是 {value}",
)
NUMBER = Template(
    f"{_HERE}number",
    "'answer' is the 0-based number of an option, found {value}",
    zh="'answer' 应为选项的序号（从 0 开始），实际是 {value}",
)


def at(path: Path, number: int, what: Statement) -> DataError:
    """Return the error that line *number* of *path* is wrong."""
    return DataError(LINE(path=path, number=number, what=what))


def has_options(error: BaseException) -> bool:
    """Whether *error* is about a row of a choice exam that has options."""
    line = of_error(error)
    if not LINE.made(line) or not isinstance(line, Statement):
        return False
    what = line.values["what"]
    return LETTERS.made(what) or ONE_RIGHT.made(what) or (GAP.made(what) and bool(what.values["filled"]))
