"""Which part of a model's text is its reply.

Thinking, what comes behind the model's turn, and marks of a chat template are none of it.

Grading, blind studies and judges' verdicts all read replies here, so that a form of thinking learned once is known
to all three.
"""

from __future__ import annotations

import re
import unicodedata

_NAMES = r"(?:think(?:ing)?|thoughts?|reasoning|reflection|analysis|seed:think)"
_OPENING = (
    rf"<{_NAMES}>|\[THINK\]|◁think▷|<[|｜]begin_of_(?:thought|think|reasoning)[|｜]>"
    r"|<unused94>(?:thought)?|<[|｜](?:think(?:ing)?|START_THINKING)[|｜]>"
)
_CLOSING = (
    rf"</{_NAMES}>|\[/THINK\]|◁/think▷|<[|｜]end_of_(?:thought|think|reasoning)[|｜]>"
    r"|<unused95>|<[|｜](?:/think(?:ing)?|END_THINKING)[|｜]>"
)
_THOUGHT = re.compile(rf"(?P<open>{_OPENING})|(?P<close>{_CLOSING})", re.IGNORECASE)
_CHANNEL = re.compile(
    r"<\|channel\|>\s*(?:analysis|commentary)[^<]*<\|message\|>.*?(?:<\|(?:end|call)\|>|(?=<\|start\|>)|\Z)",
    re.DOTALL | re.IGNORECASE,
)
_RUN_TOGETHER = re.compile(r"\s*(?:analysis|assistantfinal)", re.IGNORECASE)

_TURN_END = re.compile(
    r"<[|｜](?:im_end|eot_id|eom_id|end_?of_?text|eos|end|return|call|end▁of▁sentence|end_of_sentence|user|User"
    r"|observation|system|im_start|start_header_id|begin▁of▁sentence|begin_of_sentence|END_OF_TURN_TOKEN)[|｜]>"
    r"|</s>|<eos>|<eop>|<eoa>|<eoh>|<end_of_turn>|<start_of_turn>|<reserved_10[67]>|\[UNUSED_TOKEN_14[56]\]"
    r"|\[/?INST\]|<TOKENS_UNUSED_[01]>|\[EOS\]|<\|/?s\|>",
    re.IGNORECASE,
)
TEMPLATE_MARK = re.compile(
    r"(?:<[|｜](?:channel|start)[|｜]>[a-z]*|<[|｜][^<>|｜\s]{1,30}[|｜]>|\[/?INST\]|<</?SYS>>|</?s>|<(?:bos|eos|pad|unk)>"
    r"|\[gMASK\]|<sop>|<eop>|<eo[ahm]>|<(?:start|end)_of_turn>(?:(?:model|user)\b)?|<reserved_\d+>|\[UNUSED_TOKEN_\d+\]"
    r"|<unused\d+>|<TOKENS_UNUSED_\d+>|\[(?:BOS|EOS)\])+",
    re.IGNORECASE,
)
"""Marks of chat templates that were served as text, those of every model of the matrix among them."""

_ROLE = re.compile(
    r"^\s*(?:<[|｜](?:im_start|start_header_id|start)[|｜]>|<start_of_turn>|\[UNUSED_TOKEN_146\])\s*(?:assistant|model)"
    r"(?:<[|｜]end_header_id[|｜]>)?|^\s*(?:<[|｜]Assistant[|｜]>|<reserved_107>|\[/INST\])",
    re.IGNORECASE,
)


_MARK = re.compile(r"[<\[◁]")
"""What every mark of thinking, of a turn's end or of a template begins with."""
_OPENING_MARK = re.compile(r"\s*(?:" + TEMPLATE_MARK.pattern + ")", re.IGNORECASE)


def without_thinking(text: str) -> str:
    """Return *text* without thinking; unclosed thinking ends the text.

    Thinking may lack its opening tag (the prompt held it), and gpt-oss speaks in channels, of which only ``final``
    is the reply.
    """
    marked = _MARK.search(text)
    text = _CHANNEL.sub("", text) if marked else text
    if "assistantfinal" in text and _RUN_TOGETHER.match(text):
        text = text.rpartition("assistantfinal")[2]
    if not marked:
        return text.strip()
    visible, depth, place = "", 0, 0
    for mark in _THOUGHT.finditer(text):
        if mark["open"]:
            if not depth:
                visible += text[place : mark.start()]
            depth += 1
        else:
            if not depth:
                visible = (
                    ""  # all that came before belongs to thinking whose opening mark stood in the prompt
                )
            depth = max(0, depth - 1)
            place = mark.end()
    return visible.strip() if depth else (visible + text[place:]).strip()


def spoken_part(text: str) -> str:
    """Return the reply: no thinking, up to the turn's end, without marks."""
    text = without_thinking(text)
    if not _MARK.search(text):
        return text
    while start := _leading_mark(text):
        text = text[start:]
    if end := _TURN_END.search(text):
        text = text[: end.start()]
    return TEMPLATE_MARK.sub("", text).strip()


def _leading_mark(text: str) -> int:
    """Return the length of a mark that opens the model's turn, or 0."""
    if role := _ROLE.match(text):
        return role.end()
    mark = _OPENING_MARK.match(text)
    return mark.end() if mark else 0


def final_part(text: str) -> str:
    """Return the reply alone, in compatibility form (Ｂ becomes B)."""
    return unicodedata.normalize("NFKC", spoken_part(text)).strip()
