"""Says whether a label is approved, denied, doubted or taken back.

A statement counts as long as its clause neither denies it, supposes it, asks it, nor ascribes it to others.
"""

from __future__ import annotations

import re

from bakeoff.scoring.beginnings import beginning_with

JUDGES = beginning_with(
    ":befinow|×✗✘❌不可否如对没若误错除非",
    r"不|没|错|误|非|除|否|若|如果|可能|对$|[:|]\s*(?:是|选|yes|no)\b|✗|✘|❌|×|\b(?:not|no|wrong|false|incorrect|but|if|except|only)\b|n't\b",
    re.IGNORECASE,
)
NO_ADVERB = (
    r"(?! (?:to be )?(?:(?!(?:support|suit|justifi|align|back|fitt|match|ground|place|recommend|substantiat)ed\b)[a-z]+ed"
    r"|left|kept|seen|known|understood|put|thought|shown|told|wrong|false|incorrect|an? \w+|not)\b)"
)
"""Tells praise (``is best``) from an adverb of what is said (``is best avoided``)."""
_FAIR = (
    r"正确|对|(?<=[都均皆全])(?:应?该?要?选)|没问题|没有问题|行(?=[\W_]|$)|合适|恰当|合理|(?:符合|契合|贴近|切合|满足)(?:题意|题干|要求|题目要求|条件)?(?=[\W_]|$)|贴切|切题|可以(?=[\W_]|$)|(?<=[更较最])(?:优|佳)|是(?=[。!\n]|$)|\bit is(?=[.!\n]|$)|(?<=[都均皆])可(?=[\W_]|$)|妥当|稳妥|当选|入选|适当|可取|准确|成立|无误|没错|没有错|(?<=[更较最])好(?![用由让把被去别不先再从待留放等看])|✓|✔|✅|☑|√"
    r"|(?:正确|最佳|最好|最优|最合适|最恰当|标准)的?(?:选择|答案|选项|做法|一项)|正解"
    r"|(?<=最)[\u4e00-\u9fff]{1,4}的(?:选择|答案|选项|做法|一项|回应|回答|方式|方法)|(?:the )?answer\b|(?:the )?(?:correct|right|(?:best|better(?! than nothing)|most [a-z]+)\b"
    + NO_ADVERB
    + r"|true|appropriate|valid|suitable|acceptable|reasonable)\b|what i (?:would|'d|will) (?:choose|pick|select)\b|fits\b|makes (?:the )?(?:most|more) sense\b|appl(?:y|ies)\b|(?:the )?(?:only|single|one) (?:correct|right|best|suitable|appropriate|valid)\b|the (?!worst|wrong|least|second|third|next|other|first|bad|poor|weak|less|risk|harsh|rude|tempt|common|popular|distract|incorrect|most (?:un|in|harm|extreme|common|tempt))[a-z-]+ (?:option|choice|answer)\b|an? (?:better|wiser|safer|kinder) [a-z]+ than|beats (?:the|all|every)|(?:the )?way to go\b|remains(?=\W*$)|stands out\b|wins\b|works best\b|(?:be |is )?my (?:final )?(?:pick|choice|answer|vote|selection)\b"
    r"|(?<=为)(?:宜|妥|佳|上|优|准)(?=[\W_]|$)|胜出|获胜|没毛病|更胜一筹|脱颖而出|占优|当之无愧|比(?:其[他余它]|别的|另外|[A-J、和及或]+)[^,。;不\n]{0,8}(?:好|合适|妥当?|佳|强|准确|恰当|合理|贴切|贴近|可取|优)|答案(?=[\W_]|$)|唯一[^,。;不错误]{0,8}的(?=[\W_]|选|答|一|$)"
    r"|(?:the )?(?:more|most) (?:likely|plausible|probable|fitting|reasonable|accurate)\b"
    + NO_ADVERB
    + r"|likelier\b|is(?=[.!\n]|$)|(?:best )?(?:explains|captures|describes|matches|answers) (?=it|this|the|his|her|their)"
)
_LINK = (
    r"(?:[ \t*_`)\]\"'”」,:(=—-]|选项|项|即为?|就|便|常见的?|[较极颇尤最]为|毫?无疑问?|当然|一项|同样|亦|"
    r"的?(?:说法|做法|描述|表述|内容|观点)|这?[两三四]项|是|才|都|均|皆|为|更|比较|最|也|全|应该|应|确实|完全|显然|肯定|一定|勉强"
    r"|\bis\b|\bare\b|\ball\b|\bboth\b|\bwould(?: all| both)?(?: be)?\b|\bshould be\b|\b(?:seems?|appears?|looks?)(?: like| to be)?\b|的){0,8}"
)
_APPROVED = re.compile(
    _LINK
    + rf"(?:{_FAIR})(?![^,。;\n]{{0,2}}(?:吗|么|与否|\?))(?![^,。;.\n]{{0,30}}\b(?:if|unless|when|at first)\b)",
    re.IGNORECASE,
)
REJECTED = re.compile(
    _LINK
    + r"(?!(?:incorrect|wrong)\w*[\"']\s*:|(?:错误?|不正确|不对|不合适|不符合题意|不应?选|排除)的?(?:选?项|说法)?(?:有|是|为|包括|:)[\s*_`(\"“]*(?:选项\s?)?[A-J](?![A-Za-z0-9]))"
    r"(?:(?!不应?该?能?(?:选择?|是)[\s*_`(\"“]*(?:选项\s?)?[A-J](?![A-Za-z0-9]))不(?:太|大|是|属|算|够|怎么|完全|太?合|应|该|能|可|宜|符|妥|正|对|恰|合|适|行|选|当|成|准)|错|有(?:误|错|问题|毛病|瑕疵|漏洞|偏差)|站不住|(?:说|写|弄|讲)反|过于|片面|牵强|[离跑偏]题|误|✗|✘|❌|×|✖|\bx\b|除外|排除(?![\s*_`(\"“了]*(?:选项\s?)?[A-J](?![A-Za-z0-9]))|并非|非|欠妥|没有?(?![\s*_`(\"“了]*(?:选项\s?)?[A-J](?![A-Za-z0-9])|疑|问题|悬念|争议|异议|错|有错|有疑|有问题|跑|得说|商量|毛病)"
    r"|(?:wrong|incorrect|false|never)\b|not\b(?! (?:option )?[*(\"“]*[A-J]\b)|isn't|aren't|(?:is|are|was|were) (?:wrong|incorrect|false|not|excluded|ruled out|eliminated|irrelevant|off-topic))",
    re.IGNORECASE,
)
_TICKED = re.compile(
    r"[*_`]*[ \t]*(?:[.、:()|]+|[-–—]+(?=[ \t]))[ \t*_`]*(?:正确|对|是|应?该?选|入选|✓|✔|✅|☑|√|correct|right|true|yes)[*_` ]*(?=$|[,;。.\n()|}\]]|(?<= )[*_`(\[“「【]*(?:选项|[Oo]ption|第|[A-Ja-j]\b|[\ue000-\ue009])|[*_`(\[“「【\"]*(?:选项[ ]?)?(?:[A-J]|第.)[*_`)\]”」】\"]*选?项?[.:(—、])",
    re.IGNORECASE,
)
CROSSED = re.compile(
    r"[*_`]*[ \t]*(?:[.、:()|]+|[-–—]+(?=[ \t]))[ \t*_`]*(?:不正确|不对|错误?|否|不应?该?选|不入选|✗|✘|❌|×|✖|incorrect|wrong|false|no)[*_` ]*(?=$|[,;。.\n()|}\]]|(?<= )[*_`(\[“「【]*(?:选项|[Oo]ption|第|[A-Ja-j]\b|[\ue000-\ue009])|[*_`(\[“「【\"]*(?:选项[ ]?)?(?:[A-J]|第.)[*_`)\]”」】\"]*选?项?[.:(—、])",
    re.IGNORECASE,
)
QUESTIONED = re.compile(
    r"[*_`)\]\"'”」\s]*(?:选项|项)?(?:,(?= ?or\b(?! rather)| ?或)|,?(?= ?perhaps\b| ?maybe\b| ?也许| ?或许| ?也可能))?\s*(?:perhaps\b|maybe\b|也许|或许|也可能|的(?:理由|原因|依据|说法|观点)[^,。;\n]{0,4}(?:不|没|欠|存疑|牵强|站不住)|吗|么(?!.)|\?|中的?[一两二三四几任某]|中有|中选|之间|之一|或|还是|(?:or|vs)\b|的人|的话|的同学|则(?!是)|会(?!是)|似乎|看似"
    r"|与否|是否)",
    re.IGNORECASE,
)
DOUBT = beginning_with(
    "那去删划剔拿扔acdefimnoprstuvw一上下不与为之乍也人他似例倘假先刚初别前勿即原可同否听哪多大如学容就常干很或据排易是暂最有未本格比没的相看第考而若表要误谁起还部错除难非",
    r"与其|(?:去|删|划|剔|拿|扔)(?:掉|去|除)|(?<!不)难(?:说|讲|道)|初步|初始|最初|刚开始|考虑[了过](?=[*_`(]*[A-J])|暂[定选]|第一反应|第一印象|\bpreliminary\b|\btentative(?:ly)?\b|\bdraft\b|\bfirst (?:guess|thought|instinct|impression)\b|若|如果|假如|假设|假使|要是|倘若|除非|即使|就算|误|易错|常见错|错误(?:的)?(?:答案|选项)|干扰|有人|有些人|很多人|不少人|大多数|大部分|多数人|人们|的人|人(?:都|会|常|往往|总是?)*\s*$|有的|部分|同学|学生|考生|别人|他人"
    r"|表面|谁|哪[个位]|[原本还]以为|据说|听说|否则|要不然|先前|之前|原先|起初|一开始|本来|原本|比(?!较|如|例)|相比|\bavoid\b|\botherwise\b|\bthan\b|\bversus\b|\breject(?:s|ed|ing)?\b|\bdismiss(?:ed|ing)?\b|\b(?:rul(?:ed?|ing|es) out|eliminat(?:e[sd]?|ing)|exclud(?:e[sd]?|ing))\b|\bapart from\b|[上下前那]一?[题道]|\b(?:initial|original|previous|earlier)(?:ly)?\b|\bat first\b|\bpreviously\b"
    r"|容易|可能|也许|或许|是否|除了|除|排除|为什么|为何|不|别|勿|没|未|非(?!常)|看似|似乎|乍一?看|而非|例如|比如|格式|难以"
    r"|\b(?:everything|all|anything|any) but\b|\bif\b|\bsome\b|\bmany\b|\bpeople\b|\bstudents?\b|\bothers\b|mistake|\bwrong\b|incorrect|\bnot\b|n't\b|\bnever\b|\bneither\b|\bnor\b|\bmight\b|\bmay\b|\bmaybe\b"
    r"|\bunless\b|\bsuppose|instead of|rather than|\bwhy\b|\bexcept\b|\btempt|\bwhen\b|\bcould\b|\bformat\b",
    re.IGNORECASE,
)
SAFE = re.compile(
    r"排除法|相[比较]之下|相较而言|比较而言|(?:很|不难)?容易(?:看出|得出|发现|知道|判断|推出)|毫?不犹豫地?|不妨|无疑问?|不用说|不难(?:看出|发现|得出)|非要说|无误|对不起|分析可能|不过|值得|不仅|\bnot only\b|没错|不得不|排除(?:掉|了)?[A-J、和与及选项 ]{1,16}(?:之?后|以后)|(?:rul\w+ out|eliminat\w+|exclud\w+) (?:all )?(?:the )?(?:others?|rest|everything else|wrong|incorrect)|不确定的话|without (?:a |any )?(?:doubt|hesitation)",
    re.IGNORECASE,
)
ASCRIBED = re.compile(r"(?:认为|以为|觉得|say|think|believe)s?\s*[,:]?\s*$", re.IGNORECASE)
BREAK = re.compile(r"[,。;!?\n]|\.(?=\s|$)|\)(?= ?(?:[A-J](?![A-Za-z0-9])|$))")
TAKEN_BACK = beginning_with(
    "acnsw不修再写口应弄抱搞收改更有等纠说重",
    r"更正|有误|改正|纠正|修正|改为|应改|重新|不对|不,|不。|说错|写错|口误|抱歉|\bwait\b|\bactually\b|\bcorrection\b|\bsorry\b|\bno,|搞错|弄错|收回|应为|再想|再看|等等|等一下",
    re.IGNORECASE,
)

AT_LEAST = re.compile(r"至少|起码|不限于|比如|例如|\bat least\b|\bsuch as\b|\bincluding but\b", re.IGNORECASE)
ELSE = re.compile(r"[^。\n]{0,16}?(?:否则|要不然|不然|\botherwise\b|\belse\b)", re.IGNORECASE)
DISAGREES = re.compile(
    r"[^。\n]{0,12}?[,。;][^。,\nA-J\ue000-\ue009]{0,8}(?:不同意|不认同|不赞同|判(?:定)?为?错|\bdisagree\b|\bdon't agree\b|\bdo not agree\b)",
    re.IGNORECASE,
)
"""What shows behind a label that the reply does not share it."""
CONTRASTS = re.compile(
    r"但|然而|不过|而是|[,。;]而|实际|其实|事实上|本题|此题|这里|此处|因此|所以|故|最终|最后|综上|总之|应该?选|才"
    r"|\b(?:but|however|here|actually|so|thus|hence|therefore|finally|instead|in fact)\b",
    re.IGNORECASE,
)
OPEN_END = re.compile(
    r"[*_`)\]\"'”」』}]*\s*(?:等(?!于|价|级|待|[一二三四五六七八九两\d][个项者])|\.{3}|…|[,、]?\s*(?:\.{3}|etc\b|and so on|and more|and others|之类)"
    r"|[,、]\s*(?:(?:以及|和|及|与|还有|\band\b)\s*)?$|(?:以及|和|及|与|还有|\band\b)\s*$)",
    re.IGNORECASE,
)
"""What shows behind a list that it holds more than was written."""
_UNDECIDED = (
    r"(?:不(?:太|能|敢|是很|好|可以?)?(?:确定|肯定|好说|清楚|说)|说不(?:准|好|清)|拿不准|存疑|待(?:定|议|确认|考)|未(?:分析|判断|看)"
    r"|(?:还)?没(?:有)?(?:看|分析|判断)|需要?看|看情况|unsure|uncertain|not (?:sure|certain)|unclear)"
)
UNSURE = beginning_with(
    r"\s!,;?ABCDEFGHIJaimnoprtu、。不也但其剩取另只可因我或至视还",
    rf"只(?:检查|看|分析|核对|读|考虑)了?|\bonly (?:checked|looked|considered|read|reviewed)\b|(?:我|其[他余它]|剩下的?|另外|至于|\bothers?\b|\brest\b|(?<![A-Za-z])[A-J](?:选?项)?)[^,。;\n]{{0,8}}?{_UNDECIDED}"
    r"|(?:^|[,。;?!\n])\s*(?:但|但是)?不(?:太)?确定|\bnot (?:sure|certain)\b|\b(?:unsure|uncertain)\b|\b(?:it|they|that|others?|rest) (?:all )?depends?\b|(?:取决于|视)[^,。;\n]{0,8}(?:情况|情境)|^因人而异|[,。;\n][^,。;\n]{0,4}因人而异"
    r"|(?:可能|也许|或许|\bpossibly\b|\bmaybe\b|\bmay be\b|\bmight be\b)[^,。;\n]{0,8}(?:也|还|too\b|as well)|(?:还|也)(?:可能|也许)|also (?:may|might)|(?:[,、]|\band)\s*(?:possibly|maybe|perhaps|也许|或许|可能)",
    re.IGNORECASE,
)
"""What shows that a reply decided on some of the options alone."""


def is_rejected(tail: str) -> bool:
    """Whether *tail* denies the label that it follows."""
    return bool(REJECTED.match(tail) or CROSSED.match(tail))


def is_approved(tail: str) -> bool:
    """Whether *tail* approves of the label that it follows."""
    return bool(_APPROVED.match(tail) or _TICKED.match(tail))
