"""Why a training file cannot be read, or a row of it is dropped."""

from __future__ import annotations

from bakeoff.foundation.sentences import Template

_HERE = "training_data.reasons."

NO_DATA = Template(f"{_HERE}no_data", "holds no data", zh="没有数据")
GIVE_FILES = Template(
    f"{_HERE}give_files",
    "give a folder with .jsonl, .json or .csv files",
    zh="请给出含有 .jsonl、.json 或 .csv 文件的文件夹",
)
OTHER_KIND = Template(
    f"{_HERE}other_kind",
    "ms-swift reads no files that end in {suffix!r}, and would look for this name on a hub",
    zh="ms-swift 不读取以 {suffix!r} 结尾的文件，会把它当作模型站上的数据集",
)
GIVE_KINDS = Template(
    f"{_HERE}give_kinds",
    "name it .jsonl, .json, .csv, .txt or .parquet",
    zh="请改为 .jsonl、.json、.csv、.txt 或 .parquet",
)
BY_CASE = Template(
    f"{_HERE}by_case",
    "{names} are one name to ms-swift, which refuses the whole file",
    zh="{names} 在 ms-swift 看来是同一列名，整个文件会被拒收",
)
UNREADABLE = Template(f"{_HERE}unreadable", "cannot be read: {error}", zh="无法读取：{error}")
WRITE_CSV = Template(f"{_HERE}write_csv", "write it as CSV in UTF-8", zh="请存为 UTF-8 编码的 CSV")
WRITE_JSONL = Template(f"{_HERE}write_jsonl", "write it as .jsonl", zh="请存为 .jsonl")
WRITE_LINES = Template(f"{_HERE}write_lines", "write one object per line", zh="请每行写一个 JSON 对象")
NO_JSON = Template(f"{_HERE}no_json", "no JSON ({error})", zh="不是 JSON（{error}）")
ONE_A_LINE = Template(f"{_HERE}one_a_line", "one object per line", zh="每行应为一个 JSON 对象")
LIST_LATER = Template(
    f"{_HERE}list_later",
    "its list does not begin at the first byte (a byte order mark or white space stands there), and ms-swift refuses "
    "the whole file",
    zh="列表不在文件的第一个字节开始（前面有 BOM 或空白），ms-swift 会拒收整个文件",
)
BEGIN_WITH_LIST = Template(
    f"{_HERE}begin_with_list",
    "save it without a byte order mark, beginning with '['",
    zh="请存为无 BOM 的 UTF-8，并以 '[' 开头",
)
FURTHER_COLUMNS = Template(
    f"{_HERE}further_columns",
    "has columns that the folder's first file lacks ({names}), and ms-swift refuses the whole folder",
    zh="含有文件夹中第一个文件没有的列（{names}），ms-swift 会拒收整个文件夹",
)
SAME_COLUMNS = Template(
    f"{_HERE}same_columns",
    "write all files of a folder in one form, or list them one by one under dataset",
    zh="请把文件夹中的所有文件写成同一形式，或在 dataset 中逐个列出",
)
TWICE = Template(
    f"{_HERE}twice",
    "{name!r} is given twice in one object, and ms-swift refuses the whole file",
    zh="{name!r} 在同一个对象中出现两次，ms-swift 会拒收整个文件",
)
NO_OBJECT = Template(f"{_HERE}no_object", "row {number} is a {kind}", zh="第 {number} 行是 {kind}")
MUST_BE_OBJECT = Template(f"{_HERE}must_be_object", "a row must be an object", zh="每行必须是一个 JSON 对象")
HALF = Template(
    f"{_HERE}half",
    "row {number} holds half a character (such as \\ud83d), and ms-swift refuses the whole file",
    zh="第 {number} 行含有不完整的字符（例如 \\ud83d），ms-swift 会拒收整个文件",
)
WRITE_ANEW = Template(f"{_HERE}write_anew", "write that character anew", zh="请重新输入该字符")

NULL_REJECTED = Template(
    f"{_HERE}null_rejected",
    "'rejected_response' is null, which other rows of the file have",
    zh="'rejected_response' 为空，而同一文件的其他行有值",
)
SAME_REJECTED = Template(
    f"{_HERE}same_rejected", "'rejected_response' is the answer itself", zh="'rejected_response' 与回答相同"
)
SYSTEM_ALONE = Template(f"{_HERE}system_alone", "it holds a system turn alone", zh="只有系统提示，没有对话")
SYSTEM_LATER = Template(
    f"{_HERE}system_later", "a system turn stands behind the first turn", zh="系统提示不在第一轮"
)
SYSTEM_NO_TEXT = Template(
    f"{_HERE}system_no_text", "the system prompt is {kind}, not a text", zh="系统提示不是文本（{kind}）"
)
CALL_NO_JSON = Template(
    f"{_HERE}call_no_json",
    "a tool call is not JSON with name and arguments",
    zh="工具调用不是含 name 和 arguments 的 JSON",
)
TOOLS_NO_JSON = Template(f"{_HERE}tools_no_json", "'tools' is not JSON", zh="'tools' 不是 JSON")
TOOL_FIRST = Template(
    f"{_HERE}tool_first", "a tool's answer begins the dialogue", zh="对话以工具返回的结果开头"
)
HISTORY_NO_PAIRS = Template(
    f"{_HERE}history_no_pairs",
    "'history' does not hold pairs of question and answer",
    zh="'history' 中不是一问一答的成对内容",
)
IMAGE_NAMELESS = Template(
    f"{_HERE}image_nameless", "an image of the row has no name", zh="该行引用的图片没有名称"
)
NO_IMAGE = Template(f"{_HERE}no_image", "an image of the row is not there", zh="该行引用的图片不存在")
OTHER_COLUMN = Template(
    f"{_HERE}other_column",
    "has the columns {columns}, but not '{name}', by which the file is read",
    zh="含有列 {columns}，但缺少读取该文件所依据的列 '{name}'",
)
NO_LIST = Template(f"{_HERE}no_list", "'{name}' is a text that is no list", zh="'{name}' 是文本，而不是列表")
EMPTY = Template(f"{_HERE}empty", "'{name}' is empty", zh="'{name}' 为空")
NO_MAPPINGS = Template(
    f"{_HERE}no_mappings", "'{name}' does not hold mappings", zh="'{name}' 的元素不是 JSON 对象"
)
OTHER_KEYS = Template(
    f"{_HERE}other_keys",
    "a turn of '{name}' has {keys} instead of role and content",
    zh="'{name}' 中有一轮的键是 {keys}，而不是 role 和 content",
)
OTHER_ROLE = Template(
    f"{_HERE}other_role",
    "a turn of '{name}' has the role {role!r}",
    zh="'{name}' 中有一轮的角色是 {role!r}，ms-swift 不认识",
)
NO_CONTENT = Template(
    f"{_HERE}no_content", "a turn of '{name}' has no content", zh="'{name}' 中有一轮没有内容"
)
CONTENT_NO_TEXT = Template(
    f"{_HERE}content_no_text",
    "a turn of '{name}' has {kind} as content, not a text",
    zh="'{name}' 中有一轮的内容不是文本（{kind}）",
)
NO_ANSWER_COLUMN = Template(
    f"{_HERE}no_answer_column",
    "has the columns {columns}; none is a dialogue or an answer",
    zh="含有列 {columns}，其中没有对话或回答",
)
NO_ANSWER = Template(f"{_HERE}no_answer", "'{name}', the answer, is missing", zh="缺少回答（'{name}'）")
NO_INSTRUCTION = Template(
    f"{_HERE}no_instruction",
    "'instruction' and 'input' are both missing",
    zh="'instruction' 与 'input' 均缺失",
)
NO_TEXT = Template(
    f"{_HERE}no_text", "question or answer is {kind}, not a text", zh="问题或回答不是文本（{kind}）"
)
SEVERAL = Template(
    f"{_HERE}several",
    "the columns {names} both mean the {meaning}, and ms-swift takes none of them",
    zh="列 {names} 的含义相同（{meaning}），ms-swift 都不采用",
    between=(" and ", "、"),
)
MEANINGS = {
    name: Template(f"{_HERE}meaning_{name}", name, zh=zh)
    for name, zh in (("dialogue", "对话"), ("answer", "回答"), ("question", "问题"))
}
KINDS = {
    name: Template(f"{_HERE}kind_{name.split()[-1]}", name, zh=zh)
    for name, zh in (
        ("a mapping", "JSON 对象"),
        ("a list", "列表"),
        ("an int", "整数"),
        ("a float", "小数"),
        ("a bool", "布尔值"),
    )
}
