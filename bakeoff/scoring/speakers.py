"""Says whether the words before an answer make it the reply's own.

``所以我选B`` and ``The answer is B`` speak for the reply; ``初学者常选B``, ``题库的答案是B`` and ``You chose B`` speak for
somebody else. No list can hold everybody else, so the words of the reply itself are listed: a lead that holds any other word
is not its own.
"""

from __future__ import annotations

import re

from bakeoff.scoring.beginnings import beginning_with

_ZH = (
    r"答案|正确|标准|参考|官方|最终|最后|最|本|这|此|该|道|题目|题干|题意|题|问题|的|我们|我|给出|个人|自己|但是|但|不过|然而|因此|所以|因而|故|而|遂|于是|从而|由此|由上|可见|可知|显然|显而易见|毫?无疑问?"
    r"|毫不犹豫地?|不妨|也|还|就|才|只|仅|可以|可|必须|必然|应该|应当|应|需要?|要|能够?|会|将|是|为|以下|以上|如上|如下|下面|上述|结论|结果|综合|综上|所述|总之|总的|总体|整体|来看|来说|来讲|看来|看出|得出|得到|推出|考虑|比较|对比|分析|深入|仔细"
    r"|检查|判断|思考|推理|排除|筛选|权衡|之后|后|余下|剩下|剩|其实|实际上?|事实上|更正|修正|纠正|改正|抱歉|看错|写错|说错|了|一下|改|唯一|只有|[一两二三四五六七八九十几多\d]个?|多选|单选|单|多|有|选项|选择|选|项|者|更|较为|较|倾向于?|觉得|认为|相信"
    r"|肯定|确定|确信|当然|自然|猜测?|想|那么?|则|便|这里|此处|里|中|内|之|个|先|再|再次|重新|好的?|嗯|哦|噢|啊|对|没错|很明显|明显|无误|正解|最佳|最优|最好|合适|恰当|适合|符合|依我看|在我看来|一定|绝对|首选|第一|次|今|现在|目前|说法|做法|回应|回答|方式|方法|表述|描述"
    r"|第|后来|发现|发觉|意识到|心理|咨询师|治疗师|容易|悬念|毫无|本人|认同|锁定|呼之欲出|经过|逐[项一个]|留下|细想|给|无疑|投|站|记得|改成|换成|直接|首先|其次|理由|解析|解答|作答|答|解|终|定|等"
    r"|理应|按理|常理|想必|不得不|排除法|用|之间|间|全|大概率|稳|盲|无脑|闭眼|妥妥|铁定|绝对|依题意|当|宜|猜|果断|秒|此时|你的问题|您的问题|你的提问|您的提问|提示|看到|即可|二字|字|句|词|关键词|出发|得|项|当下|步|时|情绪|体验|再说|结论|说|把|票|投|归|落|指向|对应|契合|贴合|吻合|匹配|所问|考查|考察|要求|案例|情境|情景|语境|更加|尤其|特别|尤为|慎重|谨慎|反复|再三|斟酌|推敲|推断|推测|推论|判定|断定|认定|敲定|决定|打算|愿意|坚持|维持|保持|仍然?|依旧|依然|果断|坚定|有把握|信心|比对|对照|逐条|梳理|归纳|总结|小结|概括|简而言之|简言之|一句话|换言之|也就是说|换句话说|即|亦|由于|既然|如此|这样|一来|读完|读题|审题|看完|来|去|得|地|着|过|吧|呢|那就|至此|起来|相较|之下|之中|其中|当中|各|所有|全部|下来|不难|结合|完|很|经|明确|回复|意见|看法|把握|推荐|支持|填|勾选|圈选|合乎|切题|排查|甄别|权衡|利弊|整体|最贴切|最符|句话|认真|阅读|理解"
)
_EN = (
    r"a|actually|after|all|am|among|an|analysis|and|answers?|appropriate|are|as|at|based|be|believe|best|but|case|certain|choices?|choose|chosen|clear|clearly|confident|considering|correct|defensible|definitely|down"
    r"|elimination|final|finally|firmly|for|from|given|hence|here|i|i'd|i'll|i'm|in|indeed|is|it|it's|just|let's|likely|looking|me|most|must|my|now|obvious|obviously|of|ok|okay|on|one|only|opinion|options?|our|out|overall|pretty|probably"
    r"|quite|reading|really|right|say|select|selection|should|simply|single|so|step|still|strongly|suitable|sure|surely|that|the|then|therefore|there|these|think|this|those|thus|to|true|ultimately|view|we|we'd|we're|well|will|with|would|yes|question|reasoning|pick|picked|counsell?ors?|therapists?|selected|response|result|solution|verdict|output|confidence|go|going|goes|lean|leaning|text|above|below|four|process|by"
    r"|primary|main|diagnosis|which|dominant|underlying|emotion(?:al)?|move|course|action|approach|i've|we've|having|weigh(?:ed|ing)?|every|each|consider(?:ed)?|review(?:ed|ing)?|compar(?:ed|ing)|looked|read|careful(?:ly)?|thorough(?:ly)?|everything|it'd|that'd|that's|here's|there's|settled?|settling|decid(?:ed?|ing)|conclud(?:e|ed|ing)|conclusion|determined?|vote|decision|recommend|recommendation|strongest|clearest|ideal|optimal|preferred|prefer|favou?r|fits?|match(?:es)?|best-fitting|correspond(?:s|ing)?|points?|leads?|brings?|leaves?|leaving|narrow(?:ed|s|ing)?|two|three|has|have|had|got|been|being|do|does|can|straightforward|undoubtedly|unquestionably|plainly|evidently|seems?|feel|makes?|sense|scenario|situation|context|passage|information|details|evidence|provided|described|stated|asked|label|letter|namely|without|doubt|any|hesitation|short|brief|summary|sum|everything|considered|quick|comes|come|careful|consideration|thought|thinking|about|through|again|more|reflection|balance|side|sensible|logical|fairly|apply|applies|everything|into|account|taking|eliminating|ruling|out|others|other|remaining|only|left|what|goes|cast|let|me|go|ahead|confirm(?:ed)?|verified|same|simple|strong|case|makes|clean|safest|soundest|wisest|kindest|first|choice's|reply|re|fitting|top|put|bottom|line|assistant"
)
_WORDS = "|".join(sorted(_ZH.split("|"), key=len, reverse=True))
_OWN = re.compile(
    rf"(?:{_WORDS}|(?<![A-Za-z])(?:{_EN})(?:['’](?:ve|d|ll|m|s|re))?(?![A-Za-z])|[\"'][\w ]+[\"']\s*:|\\[a-z]+|(?<![A-Za-z])[A-Za-z](?![A-Za-z])|[\W\d_])",
    re.IGNORECASE,
)
_TURNS = beginning_with(
    "bhst于从但可因所故然那",
    r"因此|所以|故|因而|于是|从而|可见|那么|可知|但是?|然而|\b(?:so|thus|hence|therefore|but)\b",
    re.IGNORECASE,
)
_CIRCUMSTANCE = re.compile(
    r"(?:根据|按照|依据|基于|结合|从|在|对于|对|就|针对|由|通过|经过|鉴于|考虑到|作为|关于|为了|\b(?:given|based on|according to|considering|in|for|from|with|as|among|of|to)\b).*",
    re.IGNORECASE,
)
_OTHERS = beginning_with(
    "bcghkmstuy专书大多许字词他你出初别前同她学您教旧有某用网老考课资题",
    r"教材|课本|题库|网上?|网络|别人|他人|同事|同学|老师|专家|学生|考生|初学|出题|用户|[你您](?!的(?:问题|提问|题目))|他|她|书上|资料|旧|前人|有些|某|大部分|大多|多数|许多|[字词]典|\b(?:you|your|he|she|they|their|users?|students?|key|book|grade|score|beginners?|colleagues?|majority)\b",
    re.IGNORECASE,
)
_ASCRIBES = beginning_with(
    "abcist主以坚声宣觉认",
    r"认为|觉得|以为|主张|坚持|声称|宣称|\b(?:thinks?|thought|believes?|believed|says?|said|claims?|claimed|argues?|argued|insists?|told)\b",
    re.IGNORECASE,
)


def is_own(lead: str) -> bool:
    """Whether *lead*, what a clause says before its cue, is the reply's own."""
    lead = _TURNS.split(lead)[-1]
    if _OTHERS.search(lead):
        return False
    return not _OWN.sub("", lead) or not _OWN.sub("", _CIRCUMSTANCE.sub("", lead, count=1))


def foreign_part(words: str) -> str:
    """Return what of *words* is no word that a reply says of its own choice."""
    return _OWN.sub("", words)


def is_of_others(lead: str) -> bool:
    """Whether *lead* names somebody else whose answer follows."""
    return bool(_OTHERS.search(lead))


def is_ascribed(clause: str) -> bool:
    """Whether *clause* tells what somebody else thinks: ``他的母亲认为``."""
    ascribes = _ASCRIBES.search(clause)
    return ascribes is not None and not is_own(clause[: ascribes.start()])
