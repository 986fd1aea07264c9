"""What marks an answer: a label (``答案：``) or a choosing verb (``故选``)."""

from __future__ import annotations

import re

from bakeoff.scoring.beginnings import beginning_with

_FIT = r"(?:正确|合适|恰当|符合题意|符合|合理|妥当|适当|最佳|最优|最好|标准|准确|适合|可取)"
_TO_BE = r"(?:\s*(?:毫?无疑问?|呢,|应该|应当|应|就|只能|只有|仅有|显然|最终|也|便|该|不变|没有?(?:改变|变化?)|维持不变|当然|肯定|可以|确定|其实|仍然?|依然|依旧|还|则))*\s*(?:是|为|选择?(?!项)|包括|包含|有|如下|即|在于|在(?=[*_`(]*[A-J])|[系乃](?=[*_`(]*[A-J])|(?:is|are)\b)*(?:\s*选择?(?!项))?"
_BE = r"(?:,? (?:then|therefore|thus|of course),?(?= (?:is|are)\b))?(?:'s\b|\s*(?:is|are|was|must be|has to be|should be|would be|will be|includes?|是|为|:|=|\.(?= *[A-J]\b)))"
MARKED = beginning_with(
    r"\"'\\abcefmrt先准可合回妥得恰情感我最标正直符答结综解适选",
    rf"(?:{_FIT}的?)?答案{_TO_BE}"
    rf"|{_FIT}的?(?:选项|选择|项){_TO_BE}(?=[\s*_`:]*(?:[:\"“「(\[*]|是|为|[A-J选第]))"
    r"|(?:^|(?<=[\n。;,!?*#\s]))(?:正解|解|答|回答|(?:最终|综合|先说|先给|直接给出?|得出)?结论|结果|答复|选择|选项|选)\s*[*_`]*\s*:"
    r"|正确的?(?:选项|答案)?(?:有|是|为)?\s*:(?=[\s*_`(\[]*[A-J])"
    r"|\b(?:correct|right|best|most (?:likely|appropriate|suitable|probable|plausible|fitting|accurate)) (?:\w+ )?(?:reason|explanation|cause|interpretation"
    rf"|emotion|feeling|reaction|response|reply|statement|description|conclusion|inference|outcome|way|strategy|method|technique|term|theory|diagnosis|match)\b{_BE}"
    rf"|\b(?:emotions?|feelings?)\b(?: (?:that )?(?:he|she|they|the \w+|\w+) (?:is |was )?(?:feels?|felt|feeling|experienc\w+|has|had|shows?))?{_BE}|(?:情绪|情感|感受)(?:应该?)?(?:是|为|:)"
    r"|我(?:的|们的)(?:最终)?(?:选择|答案|回答|选项|结论|判断)\s*(?:是|为|:)"
    r"|\\(?:boxed|fbox)\s*\{|(?<![\\a-z])boxed\s*\{"
    r"|[\"'](?!\w*(?:wrong|incorrect|other|reject|error|not_|错|误|排除|干扰))\w*(?:answers?|choices?|options?|select(?:ed|ion|ions)?|picks?|result|letters?|labels?|答案|选项|选择)\w*[\"']\s*:"
    rf"|\b(?:correct|right|best|final|my|true|most appropriate|most suitable)[ \t]+(?:answers?|choices?|options?|selections?|ones?|responses?|move|thing to do|course of action|step|approach)\b(?: here| (?:among|of) (?:these|them|the (?:four|above|options|choices)))?{_BE}?"
    rf"|{_FIT}的?\s*(?:option|choice|answer)s?\b{_BE}"
    rf"|\bmy (?:pick|choice|vote|selection|decision|conclusion|verdict|recommendation|preference)\b(?:{_BE}| goes to)|\b(?:answers?|ans)\b{_BE}?|(?<![a-z])correct[\"']?\s*:",
    re.IGNORECASE | re.MULTILINE,
)
CHOSEN = beginning_with(
    ",;abcdfghiklmnoprstvw。三上下两中之五仅以作倾偏做内准判剩勾取只可合唯四回因圈填妥定对就应归当得必恰我所投指推支故敲方最标正票符而肯落裁觉认说这适选那里锁需题首",
    rf"{_FIT}的?(?:(?![不没未无非错])[\u4e00-\u9fff]){{0,6}}?(?:应该|应当|应|就)?(?:是|为|有|包括|的是|只有|仅有)"
    r"|符合[^,。;:\n不]{1,12}的(?:选项|做法|说法|一项)?(?:有|是|为|包括)|\b(?:most (?!un|in|dis|harm|danger|common|tempt|popular|frequent|extreme|rude|cruel|hurt)[a-z]+|healthiest|wisest|kindest|safest|strongest|clearest|soundest|fairest|gentlest|warmest|closest|likeliest|smartest) (?:answer|choice|option|response|reply|statement)s? (?:is|are|would be)\b|\b(?:statement|option|response|choice|answer|reply) that best [a-z ]{1,40} is\b"
    r"|(?:应该?|应当|必须|需要)(?![^,。;:!?\n]{0,24}(?:[不没非少错误差坏]|避免|排除|注意|警惕|防止|放弃))[^,。;:!?\n]{1,16}的(?:做法|选项|措施|方式|回应)?(?:就|便)?是"
    r"|(?:应该|应当|应|就|认为|觉得|肯定|当然|我会|我|而|因此|所以|故|因而|那么|这是)(?:应该|应)?(?:是|选择?|为)"
    r"|指的?(?:就)?是|(?:选择|选(?!项都|项均|项全)|取|倾向于?|偏向于?)(?:的有|的是|了|出|定|择)?"
    r"|(?:票)?投给?|(?:锁定|敲定|落|定格)(?:在|于|为)|(?:敲|认|判|裁)?定[为是]|归[为于]|指向|对应(?:的?是|着|于)?|推荐|首推|支持|(?:回答|作答)(?=[*_`(“\"]*[A-J](?![A-Za-z0-9]))|圈选|勾选|填[写入]?|只有一个[^,。;\n]{0,6},即"
    r"|(?:只|唯|仅)有(?=[*_`(]*[A-J][*_`)]*(?:选?项)?[\u4e00-\u9fff])(?![^,。;!?\n]{0,24}(?:忽|违|伤|缺|误|错|避|过于|太|没|未|无|不))"
    r"|\bmost (?:likely|probably)\b(?= [(*]*[A-J]\b)|\b(?:feel(?:s|ing)?|felt)(?: a (?:sense|feeling) of)?\b"
    r"|(?:选项|[两三四五]项|方法|做法|说法|[当之]?中|[里内]),?(?:只有)?(?![^,。;:!?\n]{0,24}(?:[不没非少错误差坏难最]|避免|排除))[^,。;:!?\n]{1,20}的(?:就|便|只)?(?:是|有)(?=[*_`(]*[A-J][*_`)]*(?:选?项)?[\s。.!]*(?:$|\n))"
    r"|得(?:出|到)?(?:答案|结论)?(?:为|是)?(?=[*_`(]*[A-J](?![A-Za-z0-9]))"
    r"|(?:只剩|剩)(?:下|余)?的?(?:就?是|只有)?|(?:下列|以下|下面|上述|题干)[^,。;\n]{0,40}?的(?:一项|选项|[\u4e00-\u9fff]{2})?(?:就|应该|应)?是|(?:故|因此|所以|那就?是|[,。;]是),?(?=[\s*_`(\"“]*[A-J]{1,10}(?![A-Za-z0-9]))"
    r"|\b(?:definitely|certainly|surely|likely|of course|so|thus|hence|therefore)[,:]?(?= [(*]*[A-J]\b)"
    r"|\b(?:choose|chose|pick(?:ed)?|select(?:ed)?|(?:go|going|went) (?:with|for)|opt(?:ed)? for|lean(?:ing)? towards?|left with|settled? on|stick(?:ing)? with|vote(?: for)?|mark|choosing|chosen|decided? on|land(?:ed)? on|favou?r|prefer|recommend|suggest"
    r"|(?:comes|boils|narrows) (?:it |this )?down to|narrowed (?:it |this )?down to|points? (?:me |us )?to(?:wards?)?|corresponds? to|(?:leaves|leaving)(?! \([A-J]\) (?:is|are|was|would|seems|sounds)\b)(?: us| me)?(?: with)?(?: only)?|leads? (?:me |us )?to)\b|\b(?:it|that|this) (?:is|should be|must be|would be|has to be)\b|\bit's\b|\b(?:choice|option) is\b"
    r"|\b(?:best|better|most [a-z]+) [a-z]+(?:ed|wn|en)(?: (?:up|out))? by\b",
    re.IGNORECASE,
)

OF_TRUTH = re.compile(
    rf"(?:{_FIT}|\b(?:correct|right|true|appropriate)\b)(?!题|.*(?:答案|选|answer|choice|option|response|\bones?\b|move|step))",
    re.IGNORECASE,
)
"""A cue that says what holds, which is no answer where the exception is asked for."""

_ABOUT_ANOTHER = re.compile(r".* by$|feel", re.IGNORECASE)


def is_about_another(cue: str, named: bool) -> bool:
    """Whether the subject of *cue* is a thing or person of the question.

    ``The scene is best described by`` has a subject that no reply chooses, and ``feels`` where options are named.
    """
    about = _ABOUT_ANOTHER.match(cue)
    return about is not None and (named or not cue.lower().startswith("fe"))
