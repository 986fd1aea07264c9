"""Why a published model cannot be converted, in both languages."""

from __future__ import annotations

from bakeoff.foundation.sentences import Template

_LINES = ("\n- ", "\n- ")

OTHER_FAMILY = Template(
    "forms.reasons.other_family",
    "{folder}: not the {family} that has a known native form\n- {problems}",
    zh="{folder}：不是已知通用格式的 {family}\n- {problems}",
    between=_LINES,
)
OTHER_TENSORS = Template(
    "forms.reasons.other_tensors",
    "{folder}: {number} tensors missing or too many\n- {problems}",
    zh="{folder}：缺少或多出 {number} 个张量\n- {problems}",
    between=_LINES,
)
QUANTISED = Template(
    "forms.reasons.quantised",
    "config.json: quantised as {kind}; only mxfp4 is known",
    zh="config.json：量化方式为 {kind}；只支持 mxfp4",
)
NO_TENSOR = Template("forms.reasons.no_tensor", "tensor {name} is missing", zh="缺少张量 {name}")
FOREIGN_TENSOR = Template(
    "forms.reasons.foreign_tensor",
    "tensor {name} is not one of {family}'s",
    zh="张量 {name} 不属于 {family}",
)
NO_TOKENIZER = Template("forms.reasons.no_tokenizer", "no tokenizer.model", zh="缺少 tokenizer.model")
KEY_IS = Template(
    "forms.reasons.key_is",
    "config.json: {key} is {value}; the conversion is known for {allowed}",
    zh="config.json：{key} 为 {value}；只支持 {allowed} 的转换",
    between=(" or ", " 或 "),
)
UNKNOWN_SETTING = Template(
    "forms.reasons.unknown_setting",
    "config.json: {key} is {value}; the conversion does not know this setting",
    zh="config.json：{key} 为 {value}；不支持转换带有这一设置的模型",
)
NO_KEY = Template("forms.reasons.no_key", "config.json: no {key}", zh="config.json：缺少 {key}")
NATIVE_ALREADY = Template(
    "forms.reasons.native_already",
    "{folder}: the published form is the native one; use it as it is",
    zh="{folder}：发布的格式就是通用格式；请直接使用",
)
OTHER_CONVERSION = Template(
    "forms.reasons.other_conversion",
    "{folder}: exists and is another conversion; name a new folder or remove it",
    zh="{folder}：已存在，且是另一次转换的结果；请换一个文件夹，或将其删除",
)
CONFIG_UNREADABLE = Template(
    "forms.reasons.config_unreadable",
    "{file}: {error}; point at a model folder",
    zh="{file}：无法读取（`{error}`）；请给出模型文件夹",
)
CONFIG_NO_MAPPING = Template(
    "forms.reasons.config_no_mapping",
    "{file}: not a mapping; point at a model folder",
    zh="{file}：不是映射（键: 值）；请给出模型文件夹",
)
NO_WEIGHTS = Template(
    "forms.reasons.no_weights",
    "{folder}: no weights; expected one of {names}",
    zh="{folder}：没有权重；应有 {names} 之一",
)
NO_INDEX = Template(
    "forms.reasons.no_index",
    "{file}: not an index of weights; download it again",
    zh="{file}：不是权重索引；请重新下载",
)
NOT_IN_FOLDER = Template(
    "forms.reasons.not_in_folder",
    "{file}: names {name!r}, which is not in the folder",
    zh="{file}：其中的 {name!r} 不在该文件夹中",
)
NOT_TENSORS = Template(
    "forms.reasons.not_tensors",
    "{file}: not a file of tensors alone ({reason}); nothing in it was run",
    zh="{file}：不是只含张量的文件（`{reason}`）；没有运行其中任何内容",
)
NO_SENTENCEPIECE = Template(
    "forms.reasons.no_sentencepiece",
    "{file}: not a SentencePiece model ({error}); download it again",
    zh="{file}：不是 SentencePiece 模型（`{error}`）；请重新下载",
)
UNKNOWN_TOKENIZER = Template(
    "forms.reasons.unknown_tokenizer",
    "{file}: {problems}; no conversion is known for such a tokenizer",
    zh="{file}：{problems}；不支持转换这样的分词器",
    between=("; ", "；"),
)
NO_PIECES = Template("forms.reasons.no_pieces", "it has no pieces", zh="没有词元")
NOT_BPE = Template("forms.reasons.not_bpe", "its type is not BPE", zh="类型不是 BPE")
NO_FALLBACK = Template("forms.reasons.no_fallback", "it has no byte fallback", zh="没有字节回退")
SUFFIXES = Template("forms.reasons.suffixes", "it writes spaces as suffixes", zh="把空格写成后缀")
NORMALISES = Template("forms.reasons.normalises", "it normalises its input", zh="会规范化输入")
REMOVES = Template("forms.reasons.removes", "it removes spaces", zh="会删除空格")
NO_ESCAPE = Template("forms.reasons.no_escape", "it does not escape spaces", zh="不转义空格")
SAME_TEXT = Template(
    "forms.reasons.same_text",
    "tokenizer.model: two of its ids have the same text",
    zh="tokenizer.model：两个编号对应同一文本",
)
DUMMY_PREFIX = Template(
    "forms.reasons.dummy_prefix",
    "tokenizer.model: user-defined pieces and a dummy prefix; no conversion is known",
    zh="tokenizer.model：同时含有自定义词元和前置空格；不支持转换",
)
