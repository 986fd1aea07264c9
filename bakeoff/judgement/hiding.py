"""Names of models and their makers, hidden in what raters see."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from bakeoff.scoring.reading import TEMPLATE_MARK, without_thinking

HIDDEN = "▇▇▇"

_SUFFIX = r"(?:[.\-]?\w)*"
# re.ASCII throughout: elsewhere a Chinese character is a letter too, and "我是GPT" would hold no edge of a word.
MAKERS = re.compile(
    rf"(?:qwen{_SUFFIX}|qwq\b{_SUFFIX}|通义千问|通义|千问|llama{_SUFFIX}|chatglm{_SUFFIX}|\bglm\b{_SUFFIX}|\bglm\d{_SUFFIX}"
    rf"|智谱清言|智谱(?:\s*ai)?|zhipu(?:\s*ai)?|internlm{_SUFFIX}|书生[·・ ]?浦语|上海人工智能实验室|shanghai ai lab\w*"
    rf"|baichuan{_SUFFIX}|百川(?:大模型|智能|-?\d){_SUFFIX}|open\s?ai\b|chat\s?gpt{_SUFFIX}|gpt-?(?:\d|oss){_SUFFIX}|\bgpts?\b"
    rf"|deep\s?seek{_SUFFIX}|深度求索|文心一言|文心大模型|\bernie[ -]?(?:bot|\d){_SUFFIX}"
    rf"|\bclaude\b|anthropic|\bgemini\b|\bkimi\b|月之暗面|moonshot\s?ai|minicpm{_SUFFIX}|面壁智能|mi[sx]tral{_SUFFIX}|讯飞星火|星火大模型|豆包大模型"
    rf"|hunyuan{_SUFFIX}|混元大模型|\bgemma-?\d{_SUFFIX}|\bphi-?\d{_SUFFIX}|\byi-(?:\d|large|lightning){_SUFFIX}|零一万物|01\.ai|deepmind"
    rf"|阶跃星辰|stepfun|\bgrok-?\d{_SUFFIX}|\bfalcon-?\d{_SUFFIX}|mindchat{_SUFFIX}|soulchat{_SUFFIX}|emollm{_SUFFIX})"
    r"(?:[ -]?v?\d+(?:\.\d+)*(?:-?\d*b\b)?)?",
    re.IGNORECASE | re.ASCII,
)
"""Names that can only mean a language model or its maker."""

HOMONYMS = re.compile(
    r"\bmeta(?:\s*ai)?\b|阿里巴巴|阿里云|阿里|达摩院|alibaba|清华大学|清华|书生|\bgoogle\b|谷歌|\bmicrosoft\b|微软|百度|\bbaidu\b|腾讯"
    r"|\btencent\b|字节跳动|\bbytedance\b|商汤|科大讯飞|华为|\bnvidia\b|英伟达|\bxai\b|百川|文心|豆包|混元|moonshot|\bernie\b",
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
    sorted_names = sorted({name for name in names if name}, key=len, reverse=True)
    patterns = [
        _as_words([name for name in sorted_names if bool(_PLAIN.fullmatch(name)) is plain])
        for plain in (False, True)
    ]

    def block(match: re.Match[str]) -> str:
        hidden.append(match.group())
        return HIDDEN

    def called(match: re.Match[str]) -> str:
        hidden.append(match.group(1))
        return match.group().removesuffix(match.group(1)) + HIDDEN

    def sentence(match: re.Match[str]) -> str:
        words = match.group()
        if not INTRODUCTION.search(words) and HIDDEN not in words:
            return words
        return HOMONYMS.sub(block, patterns[1].sub(block, words))

    visible = patterns[0].sub(block, CONTROL.sub(block, without_thinking(text)))
    return SENTENCE.sub(sentence, CALLED.sub(called, MAKERS.sub(block, visible))), hidden


_PLAIN = re.compile(r"[a-z]+", re.IGNORECASE | re.ASCII)


def _as_words(names: Sequence[str]) -> re.Pattern[str]:
    """Return a pattern for any of *names* that stands as a word of its own.

    It matches nothing where there are no names.
    """
    either = "|".join(map(re.escape, names))
    return re.compile(rf"(?<!\w)(?:{either})(?!\w)" if names else r"(?!)", re.IGNORECASE | re.ASCII)
