"""Names of models and their makers, hidden in what raters see."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

from bakeoff.scoring.reading import TEMPLATE_MARK, without_thinking

HIDDEN = "▇▇▇"

_SUFFIX = r"(?:[.\-]?\w)*"
# re.ASCII throughout: elsewhere a Chinese character is a letter too, and "我是GPT" would hold no edge of a word.
MAKERS = re.compile(
    rf"(?:qwen{_SUFFIX}|qwq\b{_SUFFIX}|通义千问|通义|千问|tongyi(?:[ -]?qian ?wen)?|qianwen\b"
    rf"|llama{_SUFFIX}|chatglm{_SUFFIX}|\bglm\b{_SUFFIX}|\bglm\d{_SUFFIX}"
    rf"|智谱清言|智谱(?:\s*ai)?|zhipu(?:\s*ai)?|internlm{_SUFFIX}|书生[·・ ]?浦语|上海人工智能实验室|shanghai ai lab\w*"
    rf"|baichuan{_SUFFIX}|百川(?:大模型|智能|-?\d){_SUFFIX}|open[\s-]?ai\b"
    rf"|chat[\s-]?gpt{_SUFFIX}|gpt-?(?:\d|oss){_SUFFIX}|\bgpts?\b"
    rf"|deep[\s-]?seek{_SUFFIX}|深度求索|文心一言|文心大模型|\bernie[ -]?(?:bot|\d){_SUFFIX}"
    rf"|\bclaude\b|anthropic|\bgemini\b|\bkimi\b|月之暗面|moonshot\s?ai|minicpm{_SUFFIX}|面壁智能|mi[sx]tral{_SUFFIX}|讯飞星火|星火大模型|豆包大模型"
    rf"|hunyuan{_SUFFIX}|混元大模型|\bgemma-?\d{_SUFFIX}|\bphi-?\d{_SUFFIX}|\byi-(?:\d|large|lightning){_SUFFIX}|零一万物|01\.ai|deepmind"
    rf"|阶跃星辰|stepfun|\bgrok-?\d{_SUFFIX}|\bfalcon-?\d{_SUFFIX}|wenxin ?yiyan|doubao\b|minimax\b"
    rf"|nemotron{_SUFFIX}|vicuna{_SUFFIX}|command[ -]r\b|\bolmo-?\d?{_SUFFIX}"
    rf"|granite-\d{_SUFFIX}|sensechat{_SUFFIX}|日日新大模型|天工大模型|盘古大模型|skywork{_SUFFIX}|telechat{_SUFFIX}|mindchat{_SUFFIX}|soulchat{_SUFFIX}|emollm{_SUFFIX})"
    r"(?:[ -]?v?\d+(?:\.\d+)*(?:-?\d*b\b)?)?",
    re.IGNORECASE | re.ASCII,
)
"""Names that can only mean a language model or its maker."""

HOMONYMS = re.compile(
    r"\bmeta(?:\s*ai)?\b|阿里巴巴|阿里云|阿里|达摩院|alibaba|清华大学|清华|书生|\bgoogle\b|谷歌|\bmicrosoft\b|微软|百度|\bbaidu\b|腾讯"
    r"|\bcopilot\b|\bbard\b|\bcohere\b|盘古|天工|\btencent\b|字节跳动|\bbytedance\b|商汤|科大讯飞|华为|\bnvidia\b|英伟达|\bxai\b|百川|文心|豆包|混元|moonshot|\bernie\b",
    re.IGNORECASE | re.ASCII,
)
"""Names that also occur in a client's life; hidden only where the reply speaks about itself."""

INTRODUCTION = re.compile(
    r"我是|我叫|我的名字|作为一?[个名款]?.{0,12}(?:模型|助手|人工智能|AI)|(?:开发|训练|研发|打造|推出|创建)的?|"
    r"\bI am\b|\bI'm\b|\bmy name\b|\bas an? (?:AI|language|large)|(?:developed|trained|created|built|made) by",
    re.IGNORECASE | re.ASCII,
)
CALLED = re.compile(
    r"(?:我是|我叫|我的名字是|\bI am|\bI'm|\bmy name is)\s*[“\"「]?(gemma|phi|yi|grok|falcon|nova)\b",
    re.IGNORECASE | re.ASCII,
)
"""Models named as people or things are; hidden only as the name that the reply gives itself."""

SENTENCE = re.compile(r"(?:[^。！？!?.\n]|\.(?=\S))*[。！？!?.\n]?")
CONTROL = TEMPLATE_MARK
"""Marks of a chat template that were served as text: as good as a maker's name."""


def hide_makers(text: str, names: Iterable[str] = ()) -> tuple[str, list[str]]:
    """Return *text* with every maker's name hidden, and these names in order.

    Visible thinking is taken out as well, and marks of a chat template become blocks: each alone names the
    model's kind.

    Args:
        names: what else the models are called, such as rows of the matrix. One that could be a word of a
            conversation (a single one without a digit) is hidden only where the reply speaks about itself.
    """
    hidden: list[str] = []

    def mark(match: re.Match[str]) -> str:
        hidden.append(match.group())
        return HIDDEN

    visible = CONTROL.sub(mark, without_thinking(text))
    sorted_names = sorted({legible(name)[0] for name in names if name}, key=len, reverse=True)
    always, alone = (
        _as_words([name for name in sorted_names if bool(_PLAIN.fullmatch(name)) is plain])
        for plain in (False, True)
    )
    shadow, places = legible(visible)
    spans: list[tuple[int, int]] = []

    def blocked(pattern: re.Pattern[str], words: str, start: int = 0) -> str:
        """Return *words* with what *pattern* finds blocked letter by letter.

        They stand at *start* of the shadow.
        """

        def block(match: re.Match[str]) -> str:
            begin, end = match.span(1 if pattern.groups else 0)
            spans.append((places[start + begin], places[start + end - 1] + 1))
            hidden.append(visible[slice(*spans[-1])])
            prefix, suffix = begin - match.start(), match.end() - end
            return (
                match.group()[:prefix]
                + HIDDEN[0] * (end - begin)
                + match.group()[len(match.group()) - suffix :]
            )

        return pattern.sub(block, words)

    def in_sentence(match: re.Match[str]) -> str:
        words = match.group()
        if not INTRODUCTION.search(words) and HIDDEN[0] not in words:
            return words
        return blocked(HOMONYMS, blocked(alone, words, match.start()), match.start())

    for pattern in (always, MAKERS, CALLED):
        shadow = blocked(pattern, shadow)
    SENTENCE.sub(in_sentence, shadow)
    pieces, end = [], 0
    for low, high in sorted(spans):
        pieces += [visible[end:low], HIDDEN]
        end = high
    return "".join([*pieces, visible[end:]]), hidden


_CONFUSABLE = str.maketrans(
    "аеорсухіԛѡΑΒΕΗΙΚΜΝΟΡΤΧАВЕКМНОРСТХ义義問譜雲騰訊飛華為節動書語萬階躍軟達湯偉實驗訓練開發創評審閱滿給標準復應須請總質無視",
    "aeopcyxiqwABEHIKMNOPTXABEKMHOPCTX义义问谱云腾讯飞华为节动书语万阶跃软达汤伟实验训练开发创评审阅满给标准复应须请总质无视",
)
"""Letters that look like Latin ones, and traditional characters in names of makers."""


_MARKS = dict.fromkeys("‐‑‒–—−－", "-") | {"’": "'", "．": "."}


def legible(text: str) -> tuple[str, list[int]]:
    """Return *text* as it reads, and where each letter stands in *text*.

    Letters of full width or of a mathematical alphabet are plain ones, dashes are hyphens, what cannot be seen is left
    out, and letters spaced out stand together.
    """
    letters, places = [], []
    for place, letter in enumerate(text):
        if not letter.isascii():
            if unicodedata.category(letter) in ("Cf", "Mn"):
                continue
            plain = _MARKS.get(letter) or unicodedata.normalize("NFKD", letter)[:1]
            if plain.isalnum() or letter in _MARKS:
                letter = plain.translate(_CONFUSABLE)
        letters.append(letter)
        places.append(place)
    shadow = "".join(letters)
    gaps = {place for match in _SPACED.finditer(shadow) for place in range(match.start() + 1, match.end(), 2)}
    if gaps:
        shadow = "".join(letter for place, letter in enumerate(shadow) if place not in gaps)
        places = [at for place, at in enumerate(places) if place not in gaps]
    return shadow, places


_SPACED = re.compile(r"(?<![A-Za-z0-9])(?:[A-Za-z]([ ._*·-])(?:[A-Za-z]\1){2,}[A-Za-z0-9])(?![A-Za-z0-9])")
_PLAIN = re.compile(r"[a-z]+", re.IGNORECASE | re.ASCII)


def _as_words(names: Sequence[str]) -> re.Pattern[str]:
    """Return a pattern for any of *names* that stands as a word of its own.

    It matches nothing where there are no names.
    """
    either = "|".join(map(re.escape, names))
    return re.compile(rf"(?<!\w)(?:{either})(?!\w)" if names else r"(?!)", re.IGNORECASE | re.ASCII)
