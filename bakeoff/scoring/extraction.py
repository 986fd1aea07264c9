"""Which option did a Chinese (or English) reply choose? A rule that would rather say "none" than guess.

EvalScope's parser falls back to the last capital letter of a text, so a refusal that mentions ICD-10 is graded
as an answer "D". The rule here accepts a letter, an ordinal (第二项) or an option's own words only where the
reply *states* a choice; what the model thought before it answered does not count. It looks for, in this order:

1. a marked answer (``答案：B``, ``\\boxed{B}``, ``Answer: B``); the last counts, a negated or questioned one does not;
2. a reply (or last line) that is nothing but letters;
3. a choosing verb (``故选B``, ``应该是B``);
4. a judgement (``选项B正确，因为A错误``);
5. a reply that begins with a label (``B. 共情``), unless several lines do;
6. the words of exactly one option, in a reply that says little else.

Several letters in a single-choice reply are no answer; so are letters beyond the options.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

LETTERS = "ABCDEFGHIJ"
# Runs of marks are shortened and repetitions bounded: a model that repeats itself for pages must not cost minutes.
_RUN = re.compile(r"[\W_]{12,}")
_ORDINALS = "一二三四五六七八九十"

_OPEN = r"(?:[\s*_`~\"'“”‘’「」『』()\[\]【】〔〕<>《》$:]|\\(?:boxed|text|textbf|mathbf|mathrm|fbox)\s*\{|\\\(){0,12}"
_SEP = r"(?:[ \t]{0,3}(?:[,、;/&+|和与及跟]|以及|and)[ \t]{0,3}(?:选项)?|[ \t]{1,3})?"
_WRAPS = r"[*_`()\[\]\"'“”]{0,6}"
# A letter stands for an option only where no word, number or abbreviation goes on around it.
_LETTER = r"[A-Ja-j](?![A-Za-z0-9]{0,12}[K-Zk-z0-9])(?!-[A-Za-z0-9])(?!['’][a-z])"
_NEXT = rf"(?:{_SEP}{_WRAPS}{_LETTER}{_WRAPS}(?=[\s,、;/&+|.。:!?)\]和与及跟或A-Ja-j]|以及|and|都|均|两|三|四|这|$))"
_LABELS = rf"(?P<letters>{_LETTER}{_NEXT}{{0,9}})(?![A-Za-z0-9])(?!-[A-Za-z0-9])"
_LIST = rf"(?P<letters>{_LETTER}(?:{_SEP}{_WRAPS}{_LETTER}){{0,9}})(?![A-Za-z0-9])"
_ORDINAL = rf"第[ ]?(?P<ordinal>[{_ORDINALS}]|10|[1-9])[ ]?(?:个选项|个|项|条|选项|种)"
_CHOICE = rf"(?:选项|option)?\s*{_OPEN}(?:选项\s*)?(?:{_LABELS}|{_ORDINAL})"
_DENIED = (
    r"(?![*_`)\]\"'”\s]*(?:选项|项)?\s*"
    r"(?:是?(?:不对|不正确|不合适|错)|吗|么|\?|中的一个|中选|之一|中的任|或|or\b|vs))"
)

_MARKED = re.compile(
    r"(?:(?:答案|answer)(?:\s*(?:应该|应当|应|就|只能|显然))?\s*(?:是|为|选择?|is)?|\\(?:boxed|fbox)\s*\{)"
    rf"[\s:*_`\-—=】\]]*{_CHOICE}{_DENIED}",
    re.IGNORECASE,
)
_MARKED_WORDS = re.compile(
    r"(?:答案|answer)(?:\s*(?:应该|应当|应|就))?\s*(?:是|为|选择?|is)?[\s:*_`】\]]*(?P<words>[^\n]+)",
    re.IGNORECASE,
)
_CHOSEN = re.compile(
    r"(?:(?:正确|合适|恰当|符合题意|最佳|最优)的?(?:选项|做法|说法|一项)?(?:应该|应|就)?(?:是|为)"
    r"|(?:应该|应当|应|就|认为|觉得|肯定|当然|我会|我)(?:是|选择?|为)"
    r"|选择?|choose|pick|select)"
    rf"(?:的是|了)?[\s:*_`]*{_CHOICE}{_DENIED}",
    re.IGNORECASE,
)
_NOT = re.compile(
    r"(?:不|别|勿|没|未|非|若|如果|假如|排除|误|can't|not|don't)[^,。;!?\n]{0,4}$", re.IGNORECASE
)
_JUDGED = re.compile(
    rf"(?<![A-Za-z0-9])(?:选项\s*)?(?:{_OPEN}{_LIST}|{_ORDINAL})[*_`)\]\"'”\s]*(?:选项|项)?\s*"
    r"(?:的说法|的做法|的描述|说法|做法|描述)?(?:是|才是|才|最|都|均|为|更|比较|最为|都是|均为|均是|是最|也){0,4}"
    r"(?:正确|对的?|合适|恰当|符合题意|妥当|is (?:the )?(?:correct|right|best))"
    r"(?![^,。;\n]{0,2}(?:吗|么|与否|\?))"
)
_ONLY = re.compile(
    rf"[\W_]*(?:选项|option)?\s*{_OPEN}(?:{_LABELS}|{_ORDINAL})[\W_]*(?:选项|项)?[\W_]*", re.IGNORECASE
)
_LEADING = re.compile(
    r"[\s*_`\"'“(\[【]*(?:选项\s*)?(?P<letters>[A-J])[*_`\"'”)\]】]*\s*(?:[.、:,。;!)](?![A-Z]\.)|\n|$)"
)
_REFUSED = re.compile(
    r"抱歉|对不起|无法(?:回答|确定|判断|给出|提供|作答)|不能(?:回答|确定|判断|提供|给出)|不便|拒绝|不知道|不确定|sorry|cannot|can't|unable",
    re.IGNORECASE,
)


def final_part(text: str) -> str:
    """What the model said after thinking, in compatibility form (full-width Ｂ becomes B).

    ``<think>…</think>`` blocks and the analysis channel of gpt-oss are left out; thinking that was never closed
    leaves an empty text, for the answer had not been reached.
    """
    text = unicodedata.normalize("NFKC", text)
    if "<|channel|>" in text or "<|message|>" in text:
        _, found, text = text.rpartition("<|channel|>final")
        text = re.sub(r"^.*?<\|message\|>", "", text, flags=re.DOTALL) if found else ""
    elif re.match(r"\s*analysis", text) and "assistantfinal" in text:
        text = text.rpartition("assistantfinal")[2]
    text = re.split(r"</(?:think|thinking|reasoning)>", text, flags=re.IGNORECASE)[-1]
    text = re.split(r"<(?:think|thinking|reasoning)>", text, flags=re.IGNORECASE)[0]
    return re.sub(r"<\|[^|>]{0,40}\|>", "", text).strip()


def extract_choice(reply: str, options: Sequence[str], *, multiple: bool = False) -> str:
    """The letter that *reply* chooses, several in alphabetical order when *multiple*; ``""`` for no answer.

    Args:
        reply: the model's text, reasoning blocks included.
        options: the options' texts in the order A, B, …
        multiple: whether several options may be right.
    """
    text = _RUN.sub(
        lambda run: f"{run[0][:4]}{chr(10) if chr(10) in run[0] else ' '}{run[0][-4:]}", final_part(reply)
    )
    if not text:
        return ""
    marked = list(_MARKED.finditer(text))
    if marked:
        return _decide(marked[-1], len(options), multiple)
    for match in reversed(list(_MARKED_WORDS.finditer(text))):
        if found := _by_words(match["words"], options, multiple):
            return found
    last_line = text.rsplit("\n", 1)[-1]
    for whole in (text, last_line):
        if (only := _ONLY.fullmatch(whole)) and _plausible(only, multiple):
            return _decide(only, len(options), multiple)
    chosen = [m for m in _CHOSEN.finditer(text) if not _NOT.search(text[max(0, m.start() - 8) : m.start()])]
    if chosen:
        return _decide(chosen[-1], len(options), multiple)
    judged = {letter for m in _JUDGED.finditer(text) for letter in _letters(m)}
    if judged:
        return _allowed(judged, len(options), multiple)
    return _by_lines(text, options, multiple) or _by_words(text, options, multiple)


def _letters(match: re.Match[str]) -> list[str]:
    if ordinal := match.groupdict().get("ordinal"):
        index = _ORDINALS.index(ordinal) if ordinal in _ORDINALS else int(ordinal) - 1
        return [LETTERS[index]]
    listed = re.sub(r"and|选项|以及", " ", match["letters"], flags=re.IGNORECASE)
    return [one.upper() for one in listed if one.upper() in LETTERS]


def _plausible(match: re.Match[str], multiple: bool) -> bool:
    """Whether a bare run of letters is a list of options rather than a word such as "bad" or "ABA"."""
    letters = _letters(match)
    return len(letters) == 1 or (letters == sorted(set(letters)) or not multiple)


def _decide(match: re.Match[str], count: int, multiple: bool) -> str:
    letters = _letters(match)
    if len(letters) > len(set(letters)):
        return ""
    return _allowed(set(letters), count, multiple)


def _allowed(letters: set[str], count: int, multiple: bool) -> str:
    if not letters <= set(LETTERS[:count]) or (len(letters) > 1 and not multiple):
        return ""
    return "".join(sorted(letters))


def _by_lines(text: str, options: Sequence[str], multiple: bool) -> str:
    lines = [m["letters"] for line in text.splitlines() if (m := _LEADING.match(line))]
    if multiple and lines and len(set(lines)) < len(options):
        return _allowed(set(lines), len(options), multiple)
    if len(set(lines)) == 1 and _LEADING.match(text):
        return _allowed(set(lines), len(options), multiple)
    for letter, option in zip(LETTERS, options, strict=False):
        if not lines and re.match(rf"{letter}\s*{re.escape(_plain(option))}", _plain(text)):
            return letter
    return ""


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text)).lower()


def _by_words(text: str, options: Sequence[str], multiple: bool) -> str:
    if _REFUSED.search(text):
        return ""
    said = _plain(text)
    named = {i: _plain(option) for i, option in enumerate(options)}
    named = {i: words for i, words in named.items() if words and words in said}
    exact = [i for i, words in named.items() if words == said]
    if len(exact) == 1:
        return LETTERS[exact[0]]
    named = {
        i: words
        for i, words in named.items()
        if len(words) > 1 and not any(words != other and words in other for other in named.values())
    }
    if not named or any(
        re.search(rf"(?:不是|并非|不选|而非|不属于){re.escape(words)}", said) for words in named.values()
    ):
        return ""
    rest = said
    for words in sorted(set(named.values()), key=len, reverse=True):
        rest = rest.replace(words, "")
    if len(set(named.values())) < len(named) or len(rest) > max(6, len(said) // 2):
        return ""
    return _allowed({LETTERS[i] for i in named}, len(options), multiple)
