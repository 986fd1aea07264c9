"""Says what one clause says of the options that it names.

A clause speaks for or against them, of itself or because it holds an odd number of negations, and it speaks either of
choosing (``选``, ``排除``) or of what the option states (``正确``, ``不属于``). Only the second kind turns around where
the question asks for the exception.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bakeoff.scoring.beginnings import beginning_with
from bakeoff.scoring.judgements import NO_ADVERB

_MEANS_WELL = beginning_with(
    "nw不无未毫没错除非",
    r"不仅(?:仅)?|不但|不光|不妨|没错|没毛病|没问题|没有(?:任何)?问题|没有?(?:疑问|争议|异议|悬念)|无误|毫?无疑问?|无可(?:厚非|争议|置疑)|非常|非(?=[^,。]{1,8}莫属)|错不了|不可否认|不得不(?:说|选)|不用说|不难|除了?(?=[^,。]{1,24}(?:以?外|之外))"
    r"|不同程度|无论|不管|未来|不断|没的说|没跑|\bno doubt\b|\bwithout (?:a )?doubt\b|\bnot only\b|\bno question\b",
    re.IGNORECASE,
)
_NEGATION = beginning_with(
    "acdfinw不别勿够并无未没算缺莫谈非",
    r"不|没有?|未(?!来)|无(?!意识|条件)|非|(?<![分区个特类性判识级差辨鉴派])别(?![的人处名墅扭致称])|勿|莫(?=选)|并非|谈不上|算不上|够不上|缺乏|\b(?:not|no|never|cannot|isn|aren|doesn|don|wasn|neither|nor|without|fails? to)\b(?:['’]t\b)?|n['’]t\b",
    re.IGNORECASE,
)
_FAULT = beginning_with(
    "afilmuw曲有混片牵站误过错",
    r"错误?|误|有问题|站不住脚|过于|片面|牵强|曲解|混淆|\b(?:wrong|incorrect|false|invalid|inappropriate|inaccurate|unsuitable|irrelevant|untrue|absent|missing|lack(?:s|ing)?)\b",
    re.IGNORECASE,
)
_DROPS = beginning_with(
    "cder出划删刨剔去拿排淘舍落除",
    r"排除|剔除|去掉|去除|划掉|删(?:去|掉|除)|淘汰|出局|拿掉|刨除|剔掉|排掉|舍去|除外|落选|\b(?:rul(?:ed?|es|ing) out|eliminat\w+|exclud\w+|cross(?:ed)? out|discard\w*|drop(?:ped)?)\b",
    re.IGNORECASE,
)
_TAKES = beginning_with(
    "acps保入切勾合当扣正留符答选",
    r"选(?!项|择题|择性)|当选|入选|留下|保留|入围|(?:符合|切合|合乎|扣|合)题(?:意|目|干)?|答案|正解|\b(?:choose|pick|select|answer)\b|勾(?:上|选)",
    re.IGNORECASE,
)
_HOLDS = beginning_with(
    "abcfprstv准可合妥对就属恰成才无是最有正没相符适",
    r"正确|准确|(?<![反相针绝面应])对(?=[\W_的]|$)|成立|属实|属于|符合|恰当|合适|适当|合理|妥当|可取|可行|可以(?=[\W_]|$)|没错|没毛病|没问题|没有(?:任何)?问题|无误|是(?=[\W_]|$)|才叫|才算|才是|正是|就是|有关|相关|最(?:合适|恰当|好|佳|贴切|准确)"
    r"|\b(?:correct|right|true|valid|accurate|appropriate|suitable|reasonable|acceptable|preferable|advisable|fitting|the way (?:forward|to go)|fits?|appl(?:y|ies)|supported|stated)\b|\bbest\b"
    + NO_ADVERB,
    re.IGNORECASE,
)
_DOUBTFUL = beginning_with(
    "?cfilmoprsuw当混一不为么之乍也似倘假其初勉即可同吗呢哪多大如存容尚待很或拒是有某的看考至若要误谁貌还部除难",
    r"若|如果|假如|假设|要是|倘若|除非|即使|可能|也许|或许|大概|是否|难道|当[成作]|误当|混同|混为一谈|似乎|看似|初看|乍看|乍一看|貌似|容易|误(?:选|认|以)|有人|有些人|很多人|不少人|多数人|同学|考生|[吗么呢](?=[\W_]|$)|\?|[哪谁]|为何|为什么|至少|部分|勉强|一定程度|某种|存疑|待定|尚|的人|难说|拒绝|某些|或者?(?!许)|还是(?!选)|其中之一|之一"
    r"|\b(?:if|unless|whether|suppose|maybe|perhaps|might|may|could|possibly|some|many|people|students|or|seems?|looks?|partly|less|first|when|refuse)\b",
    re.IGNORECASE,
)
_FUSED = re.compile(
    r"(?:没有?|不是|并不是|并非|无)(?:一[个条项])?(?:不|错)|不(?:能|可|会|得)(?:说)?[^,。]{0,4}?(?:不|没有?|没)|not (?:wrong|incorrect|false|untrue)|不是错|没有?[^,。]{0,6}?(?:不|错)",
    re.IGNORECASE,
)

_TICK = re.compile(r"[✓✔✅☑√]")
_CROSS = re.compile(r"[✗✘❌×✖]")


@dataclass(frozen=True)
class Verdict:
    """What a clause says of an option.

    Attributes:
        holds: whether it speaks for the option.
        chooses: whether it speaks of choosing, not of what the option says.
        plain: whether it says no more than ``是``, which tells something only beside other verdicts.
    """

    holds: bool
    chooses: bool
    plain: bool = False


def is_doubtful(clause: str) -> bool:
    """Whether *clause* supposes, asks, weighs or tells of others."""
    return bool(_DOUBTFUL.search(clause))


def speaks_against(clause: str) -> bool:
    """Whether *clause* holds an odd number of negations."""
    return bool(_negations(clause)[0] % 2)


def _negations(clause: str) -> tuple[int, bool]:
    """Return how often *clause* negates, and whether that is one thought."""
    bare = _MEANS_WELL.sub("", clause)
    count = len(_NEGATION.findall(bare)) + len(_FAULT.findall(bare)) + len(_DROPS.findall(bare))
    return count, count < 2 or (count == 2 and bool(_FUSED.search(bare)))


def verdict_of(clause: str, about_question: bool) -> Verdict | None:
    """Return what *clause* says of the options left out of it, if anything.

    Args:
        clause: the clause without the options' labels and words.
        about_question: whether it repeats enough of the question to answer it.
    """
    if is_doubtful(clause):
        return None
    ticked, crossed = bool(_TICK.search(clause)), bool(_CROSS.search(clause))
    if ticked or crossed:
        return Verdict(holds=ticked, chooses=False) if ticked != crossed else None
    count, single = _negations(clause)
    if not single:
        return None
    if dropped := _DROPS.search(clause):
        return None if count > 1 else Verdict(holds=False, chooses=bool(dropped))
    bare = _MEANS_WELL.sub("", clause)
    chooses = bool(_TAKES.search(clause))
    said = chooses or _HOLDS.search(clause) or _FAULT.search(bare) or about_question
    if not said and not (
        count
        and re.search(
            r"不(?:行|算|是|在|能|应|该|宜|合|符|属|对|正|恰|存)|不$|没有?|无关|未(?:提|涉|见|体|说|出)|\bnot\b|n't\b",
            bare,
        )
    ):
        return None
    plain = (
        not chooses and not about_question and not count and not _HOLDS.sub("", clause).strip(" 才就也都则的")
    )
    return Verdict(holds=count % 2 == 0, chooses=chooses, plain=plain and clause.endswith("是"))
