"""Which option did a Chinese (or English) reply choose? A rule that would rather say "none" than guess.

EvalScope's parser falls back to the last capital letter of a text, so a refusal that mentions ICD-10 is graded
as an answer "D". The rule here reads *statements*: a cue (``答案：``, ``故选``, ``The answer is``), the start of the
reply, or a judgement behind a label (``B正确``), each with the list of labels that belongs to it. A label is a letter,
an ordinal (第二项, ②) or an option's own words. A statement counts as long as its clause neither denies it, supposes
it, asks it, nor ascribes it to others. Of the statements that count, these win, in this order:

1. a reply that begins with its bare answer (``B\\n解析：…``), unless it takes it back;
2. a marked answer (``答案：B``, ``\\boxed{B}``): the first that is not taken back;
3. a choosing verb (``故选B``, ``应该是B``);
4. judgements of the options (``选项B正确，因为A错误``, ``A ✓ B ✗``);
5. the words of an option, in a reply that says little else.

Several letters in a single-choice reply are no answer; so are letters beyond the options. A list that goes on where
it cannot be read is no answer either: a part of a list is not to pass for the list.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from bakeoff.characters import simplified
from bakeoff.scoring.reading import spoken_part

RULES = 1
"""Version of these rules; raise it by hand with a change after which kept answers should be graded anew."""

LETTERS = "ABCDEFGHIJ"
# Runs of marks are shortened and repetitions bounded: a model that repeats itself for pages must not cost minutes.
_RUN = re.compile(r"(?:(?![\ue000-\ue009])[\W_]){12,}")
_MOST_CUES = 40
_ORDINALS = "一二三四五六七八九十"
_CIRCLED = "①②③④⑤⑥⑦⑧⑨⑩"
_CIRCLED_KEPT = {ord(sign): chr(0xE000 + i) for i, sign in enumerate(_CIRCLED)}
_INVISIBLE = dict.fromkeys([*range(0x200B, 0x2010), 0x2060, 0xFEFF, 0xAD])

# What may stand between a cue and its list, and around each label of it.
_OPENERS = re.compile(
    r"(?:[\s*_`~\"'“”‘’「」『』()\[\]【】〔〕<>《》{}$:=#—→]|\\(?:boxed|text|textbf|mathbf|mathrm|mathsf|fbox)\s*\{|\\[(\[ ,;])*"
)
_BULLET = re.compile(r"(?:[-*+•·▪]|\d{1,2}[.)、])[ \t]+")
_PREFIX = re.compile(r"(?:选项|options?\b|choices?\b)[\s:*_`(\[\"'“「]*", re.IGNORECASE)
_CLOSERS = re.compile(r"(?:[*_`\"'”’」』)\]】〕>》}$]|\\[)\]])*")
_SUFFIX = re.compile(r"[ \t]?(?:选项|项|(?=\b)options?\b)", re.IGNORECASE)
_POINT = re.compile(r"[^\w\n\ue000-\ue009]{0,16}")
_GLOSS_END = re.compile(
    r"[*_`\"'”」』)\]】}$]*[.。](?=[*\s]*[、,;]?[ \t\n]*[A-J(]|[*_`\"'”」』)\]】])[*_`\"'”」』)\]】}$]*|[*_`\"'”」』)\]】}$]*"
)
_GLOSS = re.compile(
    r"[ \t]*[*_`]{0,2}\((?!\s*(?:[A-J]|不?正确|不?对|是|否|错误?|不?选|[✓✔✅√✗✘❌×]|(?:in)?correct|wrong|true|false|yes|no)\s*\))[^()\n]{0,200}\)[*_`]{0,2}",
    re.IGNORECASE,
)
_SEPARATOR = re.compile(
    r"[ \t]*(?:,[,、]|[,、;/&+|.]|\\[,;]|和|与|及|跟|以及|还有|并且|\band\b|\bas well as\b)?[ \t]*"
    r"(?:[,、]?[ \t]*(?:和|与|及|以及|还有|\band\b|&))?[ \t]*",
    re.IGNORECASE,
)
_LETTERS_RUN = re.compile(r"[A-J]{1,10}(?![A-Za-z0-9])")
_SMALL_RUN = re.compile(r"[a-j]{1,10}(?![A-Za-z0-9])")
_HYPHENED = re.compile(r"[-‐–'’·]\s?[A-Za-z0-9\u4e00-\u9fff]")
_FOLLOWING_WORD = re.compile(r"[ \t]+([a-z]+)")
_ENGLISH_FOLLOWERS = frozenset(
    [
        "and",
        "or",
        "is",
        "are",
        "because",
        "since",
        "as",
        "for",
        "which",
        "that",
        "with",
        "based",
        "not",
        "but",
        "both",
        "were",
        "was",
        "would",
        "should",
        "vs",
        "the",
        "rather",
        "while",
        "best",
        "correct",
        "right",
        "seems",
        "looks",
        "only",
        "option",
        "choice",
        "here",
        "in",
    ]
)
_CJK = re.compile(r"[\u4e00-\u9fff]")
_CJK_FOLLOWERS = re.compile(
    r"选|项|和|与|及|跟|或|以及|还|并|都|均|也|皆|全|是|为|才|正确|对|错|最|两|三|四|五|这|更|比较|合适|恰当|符合|当选|不|其|因|而|作|等|属|应该|应|无误"
    r"|有误|中|吗|么|之一|的|所|即|说|描述|表述|更正|理由|解析|答案|吧|呢|啊|啦|哦|哈|嘛|了|没错|没问题|无疑|方案|选项|会|则|就|虽|但|可|能|被|误|排除|确|一项"
)
_ORDINAL = re.compile(
    rf"第[ ]?(?P<word>[{_ORDINALS}]|10|[1-9])[ ]?(?:个选项|个答案|个|项|条|选项|种)|选项[ ]?(?P<bare>[{_ORDINALS}]|10|[1-9])(?![\d.])"
    rf"|(?P<circle>[\ue000-\ue009])"
    r"|(?:the )?(?P<english>first|second|third|fourth|fifth) (?:option|choice|one)\b",
    re.IGNORECASE,
)
_ENGLISH_ORDINALS = ("first", "second", "third", "fourth", "fifth")
_ALL = re.compile(
    rf"(?:全选|(?:(?:以上|上述)(?:各|[{_ORDINALS}]个?)?|各|[{_ORDINALS}]个?)(?:选?项|者|说法|答案)?(?:都|均|全)(?:是?正确|是?对|选)的?"
    r"|(?:以上|上述)?(?:全部|所有)(?:的?选项)?(?:都|均)?(?:正确|对|选)?|(?:都|均|全)(?:正确|对|选)|all (?:of them|of the above|options))"
    r"(?:(?: are)? (?:correct|right|true))?(?=[\s。.!,*]|$)",
    re.IGNORECASE,
)
_BOX = re.compile(
    r"[ \t>*_]*(?:(?:[-*+•]|\d{1,2}[.)、])[ \t]*)?(?:\[(?P<box>[ xX✓✔√]?)\]|(?P<on>[☑✅✔✓√])|(?P<off>[☐☒□❌✗✘×]))[ \t*_`(]*"
    r"(?=(?:选项[ ]?)?(?:[A-J](?![A-Za-z0-9])|[\ue000-\ue009]))"
)
_POINTED = re.compile(
    r"(?:(?<=[;。\n.,)）])|^)[ \t>*_`]*(?:(?:[-*+•]|\d{1,2}[.)、])[ \t]*)?[*_`(\[【]*(?:选项[ ]?)?"
    r"(?P<label>[A-J]|[\ue000-\ue009])[*_`)\]】]*[ \t]?[.、:()—-][*_` ]*(?=[^\s*_`])"
)
_JUDGES = re.compile(
    r"不|没|错|误|非|除|否|若|如果|可能|对$|[:|]\s*(?:是|选|yes|no)\b|✗|✘|❌|×|\b(?:not|no|wrong|false|incorrect|but|if|except|only)\b|n't\b",
    re.IGNORECASE,
)

_FAIR = (
    r"正确|对|合适|恰当|合理|符合题意|妥当|当选|入选|适当|可取|准确|成立|无误|没错|没有错|(?<=[更较最])好|✓|✔|✅|☑|√"
    r"|(?:正确|最佳|最好|最优|最合适|最恰当|标准)的?(?:选择|答案|选项|做法|一项)"
    r"|(?:the )?(?:correct|right|best|most appropriate|true)\b"
)
_LINK = (
    r"(?:[ \t*_`)\]\"'”」,:(—-]|选项|项|常见的?|的?(?:说法|做法|描述|表述|内容|观点)|这?[两三四]项|是|才|都|均|皆|为|更|比较|最|也|全|应该|应|确实|完全|显然|肯定|一定|勉强"
    r"|\bis\b|\bare\b|\ball\b|\bboth\b|\bwould be\b|\bshould be\b|\bseems\b|的){0,8}"
)
_APPROVED = re.compile(_LINK + rf"(?:{_FAIR})(?![^,。;\n]{{0,2}}(?:吗|么|与否|\?))", re.IGNORECASE)
_REJECTED = re.compile(
    _LINK
    + r"(?:(?!不应?该?能?(?:选择?|是)[\s*_`(\"“]*(?:选项\s?)?[A-J](?![A-Za-z0-9]))不(?:太|大|是|算|够|怎么|完全|太?合|应|该|能|可|宜|符|妥|正|对|恰|合|适|行|选|当|成|准)|错|有误|误|✗|✘|❌|×|✖|\bx\b|除外|排除(?![\s*_`(\"“了]*(?:选项\s?)?[A-J](?![A-Za-z0-9]))|并非|非|欠妥|没有"
    r"|(?:wrong|incorrect|false|not|never)\b|isn't|aren't|(?:is|are) (?:wrong|incorrect|false|not))",
    re.IGNORECASE,
)
_TICKED = re.compile(
    r"[*_`]*[ \t]*[.、:()|]+[ \t*_`]*(?:正确|对|是|应?该?选|入选|✓|✔|✅|☑|√|correct|right|true|yes)[*_` ]*(?=$|[,;。.\n()|}\]]|(?<= )[*_`(\[“「【]*(?:选项|[Oo]ption|第|[A-Ja-j]\b|[\ue000-\ue009])|[*_`(\[“「【\"]*(?:选项[ ]?)?(?:[A-J]|第.)[*_`)\]”」】\"]*选?项?[.:(—、])",
    re.IGNORECASE,
)
_CROSSED = re.compile(
    r"[*_`]*[ \t]*[.、:()|]+[ \t*_`]*(?:不正确|不对|错误?|否|不应?该?选|不入选|✗|✘|❌|×|✖|incorrect|wrong|false|no)[*_` ]*(?=$|[,;。.\n()|}\]]|(?<= )[*_`(\[“「【]*(?:选项|[Oo]ption|第|[A-Ja-j]\b|[\ue000-\ue009])|[*_`(\[“「【\"]*(?:选项[ ]?)?(?:[A-J]|第.)[*_`)\]”」】\"]*选?项?[.:(—、])",
    re.IGNORECASE,
)
_REASON = re.compile(
    r"因(?!此|而)|由于|理由|解析|而[不非]|不[选是]|其[他余]|排除|除了|\bbecause\b|\bsince\b|\bnot\b|\brather\b",
    re.IGNORECASE,
)
_MENTION = re.compile(
    r"(?<![A-Za-z0-9])[A-J]{1,10}(?![A-Za-z0-9])|(?<=[a-z])[A-J](?=[.:()—]|选?项| (?:is|in)?correct\b| is\b)|[\ue000-\ue009]|第(?=[ ]?[一二三四五六七八九十\d])"
    r"|(?<![A-Za-z0-9'’])[a-j](?=[*_`\"'”’」』)\]】]*[ ]?(?:[.。、:()\]】」』”;,/|}\n—✓✔✅☑√✗✘❌×]|[ ](?:in)?correct\b|[是都均正对错不和与及也]|$|选?项))"
    r"|\b(?:first|second|third|fourth|fifth)(?= (?:option|choice|one)\b)",
)
_EXPLANATION = re.compile(
    r"(?:^|(?<=[\n。;!,.]))[\s#*_>【\[(]*(?:解析|理由|分析|说明|解释|原因|explanation|reason(?:ing|s)?|analysis)[】\])*_ ]*(?:[:\n]|如下|是)",
    re.IGNORECASE,
)
_LINE_START = r"[ \t*_`>•|+(\[【\"'“‘「『《-]*(?:\d{1,2}[.)、][ \t]*)?(?:\[[ xX✓]?\][ \t]*)?(?:选项[ ]?|options?[ ])?[*_(`\"'“‘「『]*"
_LINE_LABEL = re.compile(
    rf"\n{_LINE_START}(?P<label>[A-J](?![A-Za-z0-9])|[a-j](?=[*_`\"'”’」』)\]】]*[ ]?(?:[.。、:()\]】」』”;,/|\n—✓✔✅☑√✗✘❌×]|[ ](?:in)?correct\b|$))"
    r"|[\ue000-\ue009]|第(?=[ ]?[一二三四五六七八九十\d]))",
)
_JOINED = re.compile(r"[\s*_`,、;。]*(?:也|还|同时|并且?|另外|以及|再|又|and|also)[^。;\n]{0,6}")
_SET_APART = re.compile(
    r"[;。\n][\s*_`(\[【\"'“‘「『-]*(?:(?:还有|另外|以及|同时|和|选项?|[Oo]ptions?|[Aa]lso)[\s,]*|[a-j\d]{1,2}[.)、:][\s*_`]*)?$"
    r"|\n[^\u4e00-\u9fff\n]{0,12}$|[, ]\d{1,2}[.)、:(][\s*_`]*$"
)
_QUESTIONED = re.compile(
    r"[*_`)\]\"'”」\s]*(?:选项|项)?\s*(?:吗|么(?!.)|\?|中的[一任]|中选|之一|或|还是|(?:or|vs)\b|的人|的话|的同学|会(?!是)|似乎|看似"
    r"|与否|是否)",
    re.IGNORECASE,
)
_DOUBT = re.compile(
    r"若|如果|假如|假设|假使|要是|倘若|除非|即使|就算|误|易错|常见错|错误(?:的)?(?:答案|选项)|干扰|有人|有些人|很多人|不少人|大多数|大部分|多数人|人们|的人|人(?:都|会|常|往往|总是?)*\s*$|有的|部分|同学|学生|考生|别人|他人"
    r"|容易|可能|也许|或许|是否|除了|除|排除|为什么|为何|不|别|勿|没|未|非(?!常)|看似|似乎|乍看|而非|例如|比如|格式|难以"
    r"|\b(?:everything|all|anything|any) but\b|\bif\b|\bsome\b|\bmany\b|\bpeople\b|\bstudents?\b|\bothers\b|mistake|\bwrong\b|incorrect|\bnot\b|n't\b|\bnever\b|\bmight\b|\bmay\b|\bmaybe\b"
    r"|\bunless\b|\bsuppose|instead of|rather than|\bwhy\b|\bexcept\b|\btempt|\bwhen\b|\bcould\b|\bformat\b",
    re.IGNORECASE,
)
_SAFE = re.compile(
    r"毫?不犹豫地?|不妨|无疑问?|不用说|不难(?:看出|发现|得出)|非要说|无误|对不起|分析可能|不过|值得|不仅|\bnot only\b|没错|不确定的话",
    re.IGNORECASE,
)
_ASCRIBED = re.compile(r"(?:认为|以为|觉得|say|think|believe)s?\s*[,:]?\s*$", re.IGNORECASE)
_BREAK = re.compile(r"[,。;!?\n]|\.(?=\s|$)")
_TAKEN_BACK = re.compile(
    r"更正|改正|纠正|修正|改为|应改|重新|不对|不,|不。|说错|写错|口误|抱歉|\bwait\b|\bactually\b|\bcorrection\b|\bsorry\b|\bno,|搞错|弄错|收回|应为|再想|再看|等等|等一下",
    re.IGNORECASE,
)

_FIT = r"(?:正确|合适|恰当|符合题意|符合|合理|妥当|适当|最佳|最优|最好|标准|准确|适合|可取)"
_TO_BE = r"(?:\s*(?:毫?无疑问?|呢,|应该|应当|应|就|只能|显然|最终|也|便|该|当然|肯定|可以|确定|其实|仍然|还))*\s*(?:是|为|选择?(?!项)|包括|包含|有|如下|即|在于)*(?:\s*选择?(?!项))?"
_BE = r"(?:\s*(?:is|are|was|must be|should be|would be|will be|includes?|:|=))"
_MARKED = re.compile(
    rf"(?:{_FIT}的?)?答案{_TO_BE}"
    rf"|{_FIT}的?(?:选项|选择|项){_TO_BE}(?=[\s*_`:]*(?:[:\"“「(\[*]|是|为|[A-J选第]))"
    r"|(?:^|(?<=[\n。;,!?*#\s]))(?:正解|解|答|回答|(?:最终|综合)?结论|结果|答复|选择|选项|选)\s*[*_`]*\s*:"
    r"|正确的?(?:选项|答案)?(?:有|是|为)?\s*:(?=[\s*_`(\[]*[A-J])"
    r"|我(?:的|们的)(?:最终)?(?:选择|答案|回答|选项|结论|判断)\s*(?:是|为|:)"
    r"|\\(?:boxed|fbox)\s*\{|(?<![\\a-z])boxed\s*\{"
    r"|[\"'](?:answers?|choices?|options?|selected|selection|result|final_answer|correct_answers?|correct_options?|答案|选项|选择)[\"']\s*:"
    rf"|\b(?:correct|right|best|final|my|true|most appropriate|most suitable)[ \t]+(?:answers?|choices?|options?|selections?|ones?|response)\b{_BE}?"
    rf"|\b(?:answers?|ans)\b{_BE}?|(?<![a-z])correct[\"']?\s*:",
    re.IGNORECASE | re.MULTILINE,
)
_CHOSEN = re.compile(
    rf"{_FIT}的?(?:选项|做法|说法|表述|描述|一项|选择|回应|回答|反应|处理|有|项)?(?:应该|应当|应|就)?(?:是|为|有|包括|的是)"
    r"|(?:应该|应当|应|就|认为|觉得|肯定|当然|我会|我|而|因此|所以|故|因而|那么|这是)(?:应该|应)?(?:是|选择?|为)"
    r"|(?:选择|选(?!项都|项均|项全)|取|倾向于?)(?:的是|了|出|定|择)?"
    r"|只剩下?|(?:故|因此|所以|那就?是|[,。;]是),?(?=[\s*_`(\"“]*[A-J](?![A-Za-z]))"
    r"|\b(?:definitely|certainly|surely|so|thus|hence|therefore),?(?= [(*]*[A-J]\b)"
    r"|\b(?:choose|chose|pick|select|go with|going with|opt for)\b|\b(?:it|that|this) (?:is|should be|must be|would be)\b|\bit's\b|\b(?:choice|option) is\b",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"抱歉|对不起|无法(?:回答|确定|判断|给出|提供|作答)|不能(?:回答|确定|判断|提供|给出)|不便|拒绝|不知道|不确定|sorry|cannot|can't|unable",
    re.IGNORECASE,
)
_ADVERBS = r"(?:应该|应当|应|就|显然|当然|完全|肯定|其实|也)?"
_HOLDS = re.compile(r"^(?:正确|对|是|成立|属实|真|true|yes|right|correct|√|✓|✔)(?:的)?$", re.IGNORECASE)
_FAILS = re.compile(
    r"^(?:错误|错|不正确|不对|否|不是|不成立|不属实|假|非|false|no|wrong|incorrect|not (?:true|correct)|×|✗|✘|x)(?:的)?$",
    re.IGNORECASE,
)
_VERDICT = re.compile(
    rf"^(?:答案|判断|结论|回答|答)?(?:是|为)?[\s:*_`\"“]*(?:(?:该|此|这|题目|题干|上述|以上|本题|the |this )*"
    rf"(?:种|个|句|道|项|一)*(?:说法|表述|观点|陈述|命题|话|题|描述|论断|判断|statement|claim)?)?\s*{_ADVERBS}(?:是|为|is)?\s*[\"'“*]*"
    r"(?P<sign>不正确|不对|不是|不成立|不属实|正确|错误|对|错|是|否|真|假|√|×|✓|✗|true|false|yes|no|not (?:true|correct)|incorrect|correct|wrong|right)"
    r"(?:的|哦|呢)?(?=[\s*_`\"'”.。,!;]|$)",
    re.IGNORECASE,
)


def final_part(text: str) -> str:
    """Return the reply without thinking and template marks, in compatibility form (Ｂ becomes B)."""
    return unicodedata.normalize("NFKC", spoken_part(text)).strip()


@dataclass(frozen=True)
class _Labels:
    """A list of labels: indices of options, where it ends, and whether it can be what was answered."""

    indices: tuple[int, ...]
    start: int
    end: int
    whole: bool = True
    cue_end: int = 0


def extract_choice(reply: str, options: Sequence[str], *, multiple: bool = False) -> str:
    """Return the letter that *reply* chooses, several in alphabetical order when *multiple*; ``""`` for none.

    Args:
        reply: the model's text, reasoning blocks included.
        options: the options' texts in the order A, B, …
        multiple: whether several options may be right.
    """
    text = _plain_form(spoken_part(reply))
    if not text or re.match(r"<!doctype|<html", text, re.IGNORECASE):
        return ""
    return _Reader(text, options, multiple).answer()


def _plain_form(text: str) -> str:
    text = text.translate(_INVISIBLE).translate(_CIRCLED_KEPT)
    text = simplified(unicodedata.normalize("NFKC", text)).strip()
    return _RUN.sub(lambda run: f"{run[0][:4]}{chr(10) if chr(10) in run[0] else ' '}{run[0][-4:]}", text)


def _is_rejected(tail: str) -> bool:
    return bool(_REJECTED.match(tail) or _CROSSED.match(tail))


def _is_approved(tail: str) -> bool:
    return bool(_APPROVED.match(tail) or _TICKED.match(tail))


def _bare(text: str) -> str:
    return re.sub(r"[\W_]+", "", text).lower()


class _Reader:
    """Reads one reply to one question."""

    def __init__(self, text: str, options: Sequence[str], multiple: bool) -> None:
        self.text = text
        self.count = min(len(options), len(LETTERS))
        self.options = [_plain_form(option).strip("。.;,、 ") for option in options[: self.count]]
        self.multiple = multiple
        self.glosses = [re.sub(r"^[\W_]+|[\W_]+$", "", option) for option in self.options]
        self.circles = not any(re.search("[\ue000-\ue009]", option) for option in self.options)
        # Options such as "AB" look like labels: there, letters are labels.
        self.words = {
            i: words
            for i, words in enumerate(self.options)
            if words and not re.fullmatch(r"[A-Ja-j]+|[\d.\s]{1,2}", words) and self.options.count(words) == 1
        }

    def answer(self) -> str:
        """Return the letters that the reply states."""
        for sign in self._verdict(), self._whole():
            if sign is not None:
                return self._letters(sign)
        lead = self._lead()
        marked = self._statements(_MARKED)
        if self.multiple and (several := self._ticked_boxes() or self._pointed(marked)):
            return self._letters(several)
        chosen = self._statements(_CHOSEN)
        if lead and self.multiple and not lead.whole and not marked:
            return self._judged_alike(lead)
        if lead and not any(self._taken_back(found.start) for found in (*marked, *chosen)):
            return self._letters(lead)
        if marked:
            corrections = [c for c in chosen if c.start >= marked[0].end and self._taken_back(c.start)]
            merged = sorted((*marked, *corrections), key=lambda found: found.start)
            letters = self._decide(merged)
            return letters if letters or not self.multiple else self._judged_alike(marked[0])
        if chosen:
            letters = self._decide(chosen)
            return letters if letters or not self.multiple else self._judged_alike(chosen[0])
        judged = self._judged()
        if judged is not None:
            return judged
        letters = self._listed() or self._by_words()
        stated = {LETTERS.index(letter) for letter in letters}
        return letters if not self.multiple or self._covers(stated, 0) else ""

    # -- deciding

    def _letters(self, found: _Labels) -> str:
        indices = set(found.indices)
        if not found.whole or not indices or len(indices) < len(found.indices):
            return ""
        if max(indices) >= self.count or (len(indices) > 1 and not self.multiple):
            return ""
        return "".join(LETTERS[i] for i in sorted(indices))

    def _decide(self, found: list[_Labels]) -> str:
        """Return the first statement's letters, or those of the last one that takes an earlier one back."""
        current = previous = found[0]
        for later in found[1:]:
            between = self.text[previous.end : later.start]
            previous = later
            if self._taken_back(later.start):
                current = later
            elif self.multiple and not set(later.indices) <= set(current.indices):
                # one label a line is a list; any other two statements contradict each other
                linked = between.count("\n") == 1 or _JOINED.fullmatch(between)
                joined = bool(linked) and not set(current.indices) & set(later.indices)
                whole = current.whole and later.whole and joined
                current = _Labels(current.indices + later.indices, current.start, later.end, whole)
        return self._letters(current)

    def _judged_alike(self, stated: _Labels) -> str:
        """Return what judgements of all options amount to where they hold a list that was read in part."""
        letters = self._judged() or ""
        return letters if set(stated.indices) <= {LETTERS.index(letter) for letter in letters} else ""

    def _taken_back(self, start: int) -> bool:
        before = self.text[max(0, start - 24) : start].rsplit("\n\n", 1)[-1]
        return bool(_TAKEN_BACK.search(before))

    # -- statements

    def _statements(self, cue: re.Pattern[str]) -> list[_Labels]:
        statements: list[_Labels] = []
        end = -1
        cues = list(cue.finditer(self.text))
        for match in cues if len(cues) <= 2 * _MOST_CUES else cues[:_MOST_CUES] + cues[-_MOST_CUES:]:
            if match.start() < end or self._doubted(match.start()) or re.search(r"[不没未非]$", match[0]):
                continue
            found = self._list(match.end())
            if found is None or self._denied(found) or self._is_judgement(match):
                continue
            statements.append(
                _Labels(found.indices, match.start(), found.end, self._complete(found), match.end())
            )
            end = found.end
        return statements

    def _is_judgement(self, cue: re.Match[str]) -> bool:
        """Whether *cue* judges the label before it: the 选 of ``A:选``."""
        before = re.sub(r"[\s*_`]*:[\s*_`]*$", ":", self.text[max(0, cue.start() - 80) : cue.start()])
        if cue[0] != "选" or not before.endswith(":"):
            return False
        return bool(re.search(r"(?:(?<![A-Za-z])[A-Ja-j]|[项)\ue000-\ue009])[*_`)\]】]*:$", before)) or any(
            before.endswith(f"{words}:") for words in self.words.values()
        )

    def _doubted(self, start: int, since: int = 0) -> bool:
        """Whether the clause before *start*, from *since* on, denies, supposes or ascribes what follows."""
        before = self.text[max(0, since, start - 40) : start]
        breaks = [m.end() for m in _BREAK.finditer(before)]
        clause = before[breaks[-1] :] if breaks else before
        for words in self.words.values():
            clause = (
                clause.replace(words, "") if len(words) > 1 else clause
            )  # what an option says is no doubt
        if not clause.strip() and breaks and len(breaks) > 1:
            previous = before[breaks[-2] :]
            return bool(_ASCRIBED.search(previous) and _DOUBT.search(previous))
        if clause.endswith("而") and clause != "而":
            return False
        return bool(_DOUBT.search(_SAFE.sub("", clause)))

    def _denied(self, found: _Labels) -> bool:
        tail = self.text[found.end : found.end + 40]
        return bool(_is_rejected(tail) or _QUESTIONED.match(tail))

    def _complete(self, found: _Labels) -> bool:
        """Whether the list is whole: no further label, approved or unjudged, follows it."""
        if not found.whole or not self.multiple:
            return found.whole
        line = self.text[found.end : found.end + 2000].split("\n", 1)[0]
        if _is_approved(line[:40]) and any(
            (item := self._label(found.end + mention.start(), small=True))
            and not set(item[0]) <= set(found.indices)
            for mention in itertools.islice(_MENTION.finditer(line), _MOST_CUES)
        ):
            return False  # the options are judged, each for itself
        return self._covers(set(found.indices), found.end)

    def _covers(self, indices: set[int], end: int) -> bool:
        """Whether every option that is spoken of behind *end*, up to an explanation, is in *indices* or denied."""
        rest = self.text[end : end + 2000]
        if stop := _EXPLANATION.search(rest):
            rest = rest[: stop.start()]
        line = rest.split("\n", 1)[0][:400]
        for words in self.words.values():
            line = line.replace(words, "□" * len(words)) if len(words) > 1 else line
        reason = _REASON.search(line)
        stated = reason.start() if reason else len(line)
        for label in itertools.islice(_LINE_LABEL.finditer(rest), _MOST_CUES):
            item = self._label(end + label.start("label"), small=True)
            if end and item is not None and set(item[0]) <= indices:
                rest = rest[: label.start()]
                break  # the options are gone through again, which explains the list
        spoken_to = denied_to = 0
        for mention in itertools.islice(_MENTION.finditer(rest), 2 * _MOST_CUES):
            place = mention.start()
            if place >= stated and not _SET_APART.search(rest[max(0, place - 20) : place]):
                continue
            if place < denied_to:
                continue
            item = self._label(end + place, small=True)
            if item is None and self._unclear(end + place, mention[0]) - indices:
                return False
            if item is None or max(item[0]) >= self.count:
                continue
            if not set(item[0]) <= indices:
                further = self._list(end + place)
                if further is None or not (against := self._spoken_against(further, end + spoken_to)):
                    return False
                spoken_to = denied_to = against - end
            else:
                spoken_to = item[1] - end
        return not any(
            (place := rest.find(words)) >= 0
            and (place < stated or _SET_APART.search(rest[max(0, place - 20) : place]))
            and not _is_rejected(self.text[end + place + len(words) :][:40])
            and not self._doubted(end + place)
            for i, words in self._apart(indices)
            if i not in indices and len(words) > 1
        )

    def _unclear(self, place: int, mention: str) -> set[int]:
        """Return the option that the letter at *place* may be, where what follows it is no known form."""
        if len(mention) > 1 or not mention.isalpha() or not mention.isascii() or self._own_words(place):
            return set()
        index = LETTERS.index(mention.upper())
        named = re.match(r"[A-Ja-j]型|[A-Ja-j][-‐–'’·]", self.text[place : place + 2])
        return {index} if index < self.count and not named else set()

    def _spoken_against(self, found: _Labels, since: int) -> int:
        """Where the denial of *found* ends, which may be a doubt that stands behind *since*; 0 where it has none."""
        tail = self.text[found.end : found.end + 40]
        if denial := _REJECTED.match(tail) or _CROSSED.match(tail):
            return found.end + denial.end()
        denied = self._run_is_rejected(found.end, set(found.indices), weak=True) or self._doubted(
            found.start, since
        )
        return found.end if denied else 0

    def _apart(self, indices: set[int]) -> list[tuple[int, str]]:
        """Return the options whose words are no part of the words of those in the list."""
        listed = [self.options[i] for i in indices if i < self.count]
        return [(i, words) for i, words in self.words.items() if not any(words in other for other in listed)]

    # -- lists

    def _list(self, place: int, small: bool = True) -> _Labels | None:
        """Return the list of labels that begins at *place*, or None."""
        start = _OPENERS.match(self.text, place).end()  # type: ignore[union-attr]
        fresh = "\n" in self.text[place:start]
        every = _ALL.match(self.text, start) if self.multiple else None
        if every and self._own_words(start) is None:
            return _Labels(tuple(range(self.count)), start, every.end())
        first = self._item(start, small)
        if first is None:
            return None
        indices, end = list(first[0]), first[1]
        packed = len(indices) > 1
        whole = True
        while len(indices) <= 30:
            further = self._next(end, indices, fresh, packed)
            if further is None:
                break
            indices += further[0]
            end = further[1]
        if packed and self.multiple and indices != sorted(set(indices)) and len(set(indices)) < len(indices):
            whole = False
        return _Labels(tuple(indices), start, end, whole)

    def _next(self, end: int, indices: list[int], fresh: bool, packed: bool) -> tuple[list[int], int] | None:
        """Return the labels of the list's next item and where it ends; None where the list has ended."""
        separator = _SEPARATOR.match(self.text, end)
        place = separator.end() if separator else end
        gap = re.match(r"\s*\n\s*", self.text[place : place + 20])
        if gap:
            lines = gap[0].count("\n")
            if packed or (lines > 1 and not fresh) or not self.multiple:
                return None
            place += gap.end()
        elif place == end and not re.match(r"[(\[*_`\"'“「【<{]", self.text[end : end + 1]):
            previous = self.text[end - 1 : end]
            circles = all("\ue000" <= sign <= "\ue009" for sign in (previous, self.text[end : end + 1]))
            if not circles and previous not in ")]】」”\"'*`} ":
                return None
        opened = _OPENERS.match(self.text, place).end()  # type: ignore[union-attr]
        if "\n" in self.text[place:opened]:
            return None
        item = self._item(opened, small=True)
        if item is None or (set(item[0]) & set(indices) and not gap and not self.multiple):
            return None
        if gap and set(item[0]) & set(indices):
            return None
        tail = self.text[item[1] : item[1] + 40]
        if _is_rejected(tail) or self._run_is_rejected(
            item[1], set(indices), separator[0] if separator else ""
        ):
            return None
        if (
            gap
            and not re.match(r"[\s.。,;、*)\]}`\"'”]*(?:\n|$)", tail)
            and not (fresh and not _is_approved(tail))
        ):
            return None
        return item

    def _run_is_rejected(self, place: int, before: set[int], ahead: str = "", weak: bool = False) -> bool:
        """Whether the labels from here on are denied together: ``答案:B,A、C、D错误``.

        A comma ends what a pause mark holds together: in ``A、B、D,C不选`` only C is denied. *weak*: every comma does.
        """
        for _ in range(10):
            separator = _SEPARATOR.match(self.text, place)
            between = self.text[place - 1 : place] + (separator[0] if separator else "")
            if ("、" in ahead or weak) and re.search("[,;。.]", between):
                return False
            ahead = between
            opened = _OPENERS.match(self.text, separator.end() if separator else place).end()  # type: ignore[union-attr]
            if "\n" in self.text[place:opened]:
                return False
            item = self._item(opened, small=False)
            if item is None or set(item[0]) & before:
                return False
            place = item[1]
            if _is_rejected(self.text[place : place + 40]):
                return True
        return False

    def _item(self, place: int, small: bool) -> tuple[list[int], int] | None:
        """Return the labels at *place* with the wrapping and the words that belong to them."""
        if bullet := _BULLET.match(self.text, place):
            place = _OPENERS.match(self.text, bullet.end()).end()  # type: ignore[union-attr]
        found = self._label(place, small)
        if found is None and (prefix := _PREFIX.match(self.text, place)):
            found = self._label(prefix.end(), small)
        if found is None:
            return self._own_words(place)
        indices, end = found
        end = _CLOSERS.match(self.text, end).end()  # type: ignore[union-attr]
        if suffix := _SUFFIX.match(self.text, end):
            end = _CLOSERS.match(self.text, suffix.end()).end()  # type: ignore[union-attr]
        if len(indices) == 1 and indices[0] < self.count:
            words = self.glosses[indices[0]]
            after = _POINT.match(self.text, end).end()  # type: ignore[union-attr]
            short = after == end and re.fullmatch(r"[\w ]{1,3}", words)
            if (
                words
                and self.text.startswith(words, after)
                and not (short and after + len(words) < len(self.text))
            ):
                end = after + len(words)
                end = _GLOSS_END.match(self.text, end).end()  # type: ignore[union-attr]
        if gloss := _GLOSS.match(self.text, end):
            end = gloss.end()
        return indices, end

    def _label(self, place: int, small: bool) -> tuple[list[int], int] | None:
        """Return what a letter, a packed run of letters or an ordinal at *place* stands for."""
        if ordinal := _ORDINAL.match(self.text, place):
            return self._ordinal(ordinal)
        run = _LETTERS_RUN.match(self.text, place)
        if run is None and small:
            run = _SMALL_RUN.match(self.text, place)
        if run is None:
            return None
        end = run.end()
        indices = [LETTERS.index(letter) for letter in run[0].upper()]
        if len(indices) > 1 and (
            len(set(indices)) < len(indices) or (indices != sorted(indices) and run[0].islower())
        ):
            return None
        own = self.glosses[indices[0]] if len(indices) == 1 and indices[0] < self.count else ""
        if own and self._glossed(end, own):
            return indices, end
        if self._own_words(place) is not None or _HYPHENED.match(self.text, end):
            return None
        if word := _FOLLOWING_WORD.match(self.text, end):
            return (
                (indices, end)
                if word[1] in _ENGLISH_FOLLOWERS
                and not (run[0].islower() and len(run[0]) == 1 and word[1] == "is")
                else None
            )
        following = self.text[end : end + 1]
        if _CJK.match(following):
            return (indices, end) if _CJK_FOLLOWERS.match(self.text, end) and not run[0].islower() else None
        return indices, end

    def _glossed(self, end: int, own: str) -> bool:
        return self.text.startswith(own, _POINT.match(self.text, end).end())  # type: ignore[union-attr]

    def _ordinal(self, ordinal: re.Match[str]) -> tuple[list[int], int] | None:
        if circle := ordinal["circle"]:
            return ([ord(circle) - 0xE000], ordinal.end()) if self.circles else None
        if english := ordinal["english"]:
            return [_ENGLISH_ORDINALS.index(english.lower())], ordinal.end()
        word = ordinal["word"] or ordinal["bare"]
        index = _ORDINALS.index(word) if word in _ORDINALS else int(word) - 1
        return [index], ordinal.end()

    def _own_words(self, place: int) -> tuple[list[int], int] | None:
        """Return the option whose own words stand at *place*, the longest where several do."""
        found = [i for i, words in self.words.items() if self.text.startswith(words, place)]
        if not found:
            return None
        index = max(found, key=lambda i: len(self.words[i]))
        end = place + len(self.words[index])
        following = self.text[end : end + 1]
        goes_on = not re.match(r"和|与|及|跟|以及|或|是|为|才|最|因|的|更|都|不|这", self.text[end : end + 2])
        if len(self.words[index]) < 4 and _CJK.match(following) and goes_on:
            return None
        if (
            self.words[index][-1:].isascii()
            and self.words[index][-1:].isalnum()
            and re.match(r"[A-Za-z0-9]", following)
        ):
            return None
        return [index], end + len(_CLOSERS.match(self.text, end)[0])  # type: ignore[index]

    # -- readings of the whole reply

    def _verdict(self) -> _Labels | None:
        """Return the reading of a set such as 正确/错误 where the reply is a verdict in words."""
        sides = [
            True if _HOLDS.match(option) else False if _FAILS.match(option) else None
            for option in self.options
        ]
        if sorted(map(str, sides)) != ["False", "True"]:
            return None
        match = _VERDICT.match(self.text) or _VERDICT.match(self.text.rsplit("\n", 1)[-1])
        if not match or re.match(
            r"[*\s]*(?:的?(?:选项|答案|选择)|\s+(?:answer|option|choice))", self.text[match.end() :]
        ):
            return None
        holds = bool(_HOLDS.match(match["sign"]))
        return _Labels((sides.index(holds),), 0, match.end())

    def _whole(self) -> _Labels | None:
        """Return the reading of a reply (or a last line) that is nothing but a list, or one option's words."""
        exact = [
            i for i, words in enumerate(self.options) if words and _bare(words) == _bare(self.text) != ""
        ]
        if len(exact) == 1 and not re.fullmatch(r"[A-Ja-j]+", self.options[exact[0]]):
            return _Labels((exact[0],), 0, len(self.text))
        lines = self.text.split("\n")
        for whole in dict.fromkeys((self.text, lines[-1])):
            reader = self if whole == self.text else _Reader(whole.strip(), self.options, self.multiple)
            found = reader._list(0)
            if found and not reader.text[found.end :].strip(" \t\n.。!,;、*_`\"'”」)]】}>$\\"):
                if whole != self.text and self._speaks_before(lines):
                    continue
                return found
        return None

    def _speaks_before(self, lines: list[str]) -> bool:
        """Whether more than the last of *lines* states an answer."""
        if self._lead() or self._statements(_MARKED) or len(self._line_labels()) > 1:
            return True
        earlier = "\n".join(lines[:-1])
        return self.multiple and bool(_Reader(earlier, self.options, True)._statements(_CHOSEN))

    def _lead(self) -> _Labels | None:
        """Return the list that the reply begins with, where it stands there as an answer of its own."""
        found = self._list(0, small=False)
        if found is None or self._denied(found) or max(found.indices) >= self.count:
            return None
        tail = self.text[found.end : found.end + 60]
        if self._run_is_rejected(found.end, set(found.indices)) and re.match(
            r"[^。;\n]{0,30}?(?:都|均|皆|\bare\b|\band\b)", tail
        ):
            return None
        if not re.match(
            r"[*_`\s]*(?:[.。,;!:(\n]|因|理由|解析|$|-|—|正确|才?是|because|since|as\b|is\b)", tail
        ):
            return None
        if len(self._line_labels()) > 1 and not (
            self.multiple and "\n" in self.text[found.start : found.end]
        ):
            return None
        if re.match(r"[*_`\s]*[.、:,]?\s*(?:[A-J]\.)", tail) or _is_approved(tail):
            return None
        stop = re.match(
            r"[*_`\s]*(?:[。!\n;(]|$|[,.]\s*(?:因|理由|解析|because|since|其|而)|因|理由|解析)", tail
        )
        if not stop and self._statements(_MARKED):
            return None
        return _Labels(found.indices, found.start, found.end, self._complete(found))

    def _ticked_boxes(self) -> _Labels | None:
        """Return what a list of boxes, ticked and empty, says: ``- [x] A``; None where there is none."""
        ticked: list[int] = []
        boxes = 0
        for line in self.text.split("\n")[:200]:
            box = _BOX.match(line)
            if box is None:
                continue
            item = _Reader(line, self.options, True)._item(box.end(), small=False)
            if item is None:
                return None
            boxes += 1
            ticked += item[0] if box["on"] or (box["box"] or "").strip() else []
        return _Labels(tuple(ticked), 0, 0) if boxes > 1 and ticked else None

    def _pointed(self, marked: list[_Labels]) -> _Labels | None:
        """Return a marked list whose labels have words of the reply's own: ``答案：A. 仔细听；B. 体会``.

        Each label is set apart and none is judged; a list of all options that no cue marks repeats the question.
        """
        if not marked or self._taken_back(marked[-1].start):
            return None
        place = _OPENERS.match(self.text, marked[0].cue_end).end()  # type: ignore[union-attr]
        stretch = re.split(r"\n[ \t]*\n", self.text[place : place + 4000], maxsplit=1)[0]
        if stop := _EXPLANATION.search(stretch):
            stretch = stretch[: stop.start()]
        points = list(itertools.islice(_POINTED.finditer(stretch), _MOST_CUES))
        if len(points) < 2 or stretch[: points[0].start()].strip(" \t\n*_`#"):
            return None
        indices: list[int] = []
        for point, following in itertools.zip_longest(points, points[1:]):
            words = stretch[point.end() : following.start() if following else None]
            label = self._label(place + point.start("label"), small=False)
            if label is None or max(label[0]) >= self.count:
                return None
            words = words.replace(self.options[label[0][0]] or " ", "", 1)
            if len(words) > 200 or _MENTION.search(words) or _JUDGES.search(words):
                return None
            indices += label[0]
        return _Labels(tuple(indices), place, place)

    def _line_labels(self) -> set[int]:
        labels: set[int] = set()
        for line in self.text.split("\n")[:200]:
            if match := re.match(
                rf"{_LINE_START}(?P<label>[A-J](?=[\s*_`)\]】\"'”’」』.、:,(—|]|$|选项|项)|[a-j](?=[)\]】\"'”’」』.、:(—]|[ *_`]*$)|[\ue000-\ue009]|第)",
                line,
            ):
                item = _Reader(line, self.options, True)._label(match.start("label"), small=True)
                labels |= set(item[0]) if item else set()
        return labels

    def _judged(self) -> str | None:
        """Return what judgements of single options amount to; None where there are none."""
        fair: set[int] = set()
        poor: set[int] = set()
        unjudged: set[int] = set()
        place = 0
        for match in _MENTION.finditer(self.text):
            if match.start() < place:
                continue
            found = self._list(match.start(), small=self.multiple)
            if self.multiple and self._label(match.start(), small=True) is None:
                unjudged |= self._unclear(match.start(), match[0])
                continue
            if found is None:
                continue
            place = found.end
            tail = self.text[found.end : found.end + 60]
            if _is_rejected(tail) or self._run_is_rejected(found.end, set(found.indices)):
                poor |= set(found.indices)
            elif _is_approved(tail) and not self._doubted(match.start()):
                fair |= set(found.indices)
            else:
                unjudged |= set(found.indices)
        if not fair:
            return "" if poor else None
        if fair & poor or (self.multiple and (unjudged - fair - poor or not self._covers(fair | poor, 0))):
            return ""
        return self._letters(_Labels(tuple(fair), 0, 0))

    def _listed(self) -> str:
        """Return the labels of the lines, each a label with nothing said against it."""
        labels = self._line_labels()
        lines = [line for line in self.text.split("\n") if line.strip()]
        if not labels or any(re.search(r"不|错|误|✗|✘|❌|×|wrong|incorrect|not\b", line) for line in lines):
            found = self._list(0, small=False)
            if found is None or len(labels) > 1 or self._denied(found) or not self._glossed_at(found):
                return ""
            return self._letters(found)
        if self.multiple and len(labels) < self.count and len(labels) == len(lines):
            return self._letters(_Labels(tuple(labels), 0, 0))
        found = self._list(0, small=False)
        if found and len(labels) == 1 and set(found.indices) == labels and not self._denied(found):
            return self._letters(found) if self._complete(found) and self._glossed_at(found) else ""
        return ""

    def _glossed_at(self, found: _Labels) -> bool:
        return len(found.indices) == 1 and found.end - found.start > 2

    def _by_words(self) -> str:
        """Return the options whose words the reply consists of, where it says little else."""
        if _REFUSED.search(self.text):
            return ""
        for cue in (*_MARKED.finditer(self.text),):
            line = self.text[cue.end() :].split("\n", 1)[0]
            if not self._doubted(cue.start()) and (letters := self._named(line)):
                return letters
        return self._named(self.text)

    def _named(self, text: str) -> str:
        if re.search(r"[✗✘❌×✖]|:\s*(?:yes|no|true|false|是|否|对|选)(?!\w{4})", text, re.IGNORECASE):
            return ""
        said = _bare(text)
        named = {i: _bare(words) for i, words in enumerate(self.options)}
        named = {i: words for i, words in named.items() if len(words) > 1 and words in said}
        named = {
            i: words
            for i, words in named.items()
            if not any(words != other and words in other for other in named.values())
        }
        if not named or len(set(named.values())) < len(named):
            return ""
        rest = said
        for words in sorted(set(named.values()), key=len, reverse=True):
            if re.search(rf"(?:不|没|非|并非|不选|而非|不属于){re.escape(words)}", rest):
                return ""
            rest = rest.replace(words, "\n")
        if len(rest) > max(6, len(said) // 2) or re.search(r"不|错|误|非|否|\bnot\b|wrong|若|如果", rest):
            return ""
        return self._letters(_Labels(tuple(named), 0, 0))
