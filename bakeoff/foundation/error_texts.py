# ruff: noqa: E501  (a line of a pattern is an idea)
"""Tells what a service says when it fails from what a model says.

Two nets. :func:`is_error_text` needs no second look: the whole reply is a sentence, an object or a page with which
services fail. :func:`may_be_error_text` is wide: it counts only where several questions got the same text.
"""

from __future__ import annotations

import json
import re

from bakeoff.foundation.characters import simplified
from bakeoff.foundation.machine_words import FAILURES, FUNCTION, MACHINES, UNMISTAKABLE

RULES = 6
"""Version of these rules; raise it by hand with a change after which kept answers should be graded anew."""

LONGEST = 240
"""Letters of the longest sentence that is looked at; services fail in few words."""

_STATUS = (
    r"(?:Bad\ Request|Unauthorized|Forbidden|Not\ Found|Request\ Time-?out|Payload\ Too\ Large|Too\ Many\ Requests"
    r"|Internal\ Server\ Error|Bad\ Gateway|Service\ (?:Temporarily\ )?Unavailable|Gateway\ Time-?out)"
)
# Words with which a service fails. A reply may speak of such things, so they count only where a service would put
# them: at the beginning and, unless nobody else would write them, with nothing but the machine's details behind.
_BEGINNING = re.compile(
    rf"""\s*(?:
      \[\ ?(?:ERR(?:OR)?|FATAL|FAIL(?:ED|URE)?)\b[^\]\n]{{0,24}}\]
    | (?:Error|错误(?:代码|码))(?:\s+|\s*\#)(?:[A-Z]|\d{{1,6}}|[A-Z]+[-_]?\d+)\s*[:：]\s*\S | 错误(?:代码|码)\s*[:：]\s*[\w-]{{1,20}}\W*$
    | Traceback\ \(most\ recent\ call\ last\)
    | This\ model's\ maximum\ context\ length\ is\ \d
    | Error\ code:\ [45]\d\d\s*(?:-|$) | Error\ code:?\s*\d{{3,5}}\W*$
    | (?:status|code|status_code)\s*=\s*[45]\d\d\b
    | (?:\w+\.)*(?:RuntimeError|OutOfMemoryError|(?:API)?(?:Connection|Timeout|Status)Error|APIError|HTTPError
        |BadRequestError|RateLimitError|InternalServerError|ServiceUnavailableError|EngineDeadError)\s*:
    | (?:CUDA|torch\S*)\ (?:error:|out\ of\ memory\s*(?:[.:]|$))
    | upstream\ (?:connect\ error|request\ timeout)
    | no\ healthy\ upstream
    | (?:event:\s*\w+\s+)?data:\s*(?:\[DONE\]\s*$|\{{\s*"(?:error"|type"\s*:\s*"error")) | event:\s*error\s*$
    | (?:HTTP(?:/[\d.]+)?|Status(?:\ code)?|Error(?:\ code)?)[\s:]*[45]\d\d\W*$
    | The\ model\ \S+\ does\ not\ exist\ or\ you\ do\ not\ have\ access
    | (?:HTTP\S*\s+)?(?:Error\s+)?(?:[45]\d\d[\s:-]+)?{_STATUS}\.?\s*(?:$|[\n<{{])
    | (?:Rate\ limit\ (?:reached|exceeded)|Request\ timed\ out|Connection\ (?:error|refused|reset(?:\ by\ peer)?))
        \s*(?:$|[\n.:])
    | \W*NETWORK\ ERROR\ DUE\ TO\ HIGH\ TRAFFIC
    | \{{\s*["'](?:error|detail|object)["']\s*:\s*(?:\{{|["'](?:error|.{{0,40}}(?:error|exceed|not\ found)))
    )""",
    re.IGNORECASE | re.VERBOSE | re.DOTALL,
)
# Names that programs alone write: the class of an exception before its words, an error's number of the system.
_NAME = re.compile(
    r"\s*(?:(?:[a-z_]\w*\.)*(?:[A-Z]\w*)?(?:[a-z](?:Error|Exception)|(?<=\.)Timeout|(?<=[a-z])Timeout):\s"
    r"|(?:.{0,40}\s)?E(?:CONN[A-Z]+|TIMEDOUT|PIPE|HOSTUNREACH|NOTFOUND|AI_AGAIN)\b.{0,60}$|(?:ERR|ERROR)(?:_[A-Z]+)+\W*$)"
)
_PAGE = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:(?:!doctype\s+html|html)\b|(?:h\d|center|title)>\s*[45]\d\d\b|error\b[^>]*>.*</error>\s*$)",
    re.I | re.DOTALL,
)

_ZH_WHO = (
    r"(?:系统|服务器?|后端|模型|引擎|网络|网路|接口|网关|请求|访问|流量|用户|人数|账号|账户|帐号|帐户|伺服器|连接|连线|推理"
    r"|算力|资源|额度|余额|配额|并发数?|排队|接入|QPS|TPM|RPM|API|Key|密钥|token|生成|(?:我|小助手)现在)"
)
_ZH_STATE = (
    r"(?:繁忙|忙碌|忙|过载|超载|过热|不可用|开小差|异常|出错|错误|故障|崩溃|超时|逾时|过多|过大|过高|过快|过于频繁|频繁|不足|失败"
    r"|拥挤|限流|流控|超限|上限|超过限制|超出限制|中断|断开|维护|升级|加载|初始化|启动|欠费|无效|过期|未授权|无权限|跑丢|走神|问题)"
)
_ZH_RETRY = (
    r"(?:请|建议)?您?(?:稍后|稍候|稍等|片刻后?|一会儿?|过一会儿?|几分钟后|晚点|改天|尽快|重新|联系|检查|刷新|充值|再|重试)"
    r".{0,12}?(?:再试|试试|重试|再来|再访问|访问|再问|提问|尝试|充值|管理员|客服|网络|刷新|提交|生成|续费|重发|输入|页面|等待)"
)
_ZH_SENTENCE = re.compile(
    rf"(?:.{{0,24}}?{_ZH_WHO}.{{0,12}}?{_ZH_STATE}|.{{0,12}}?(?:出错|发生错误|出现(?:了一些)?(?:问题|错误|异常)|触发(?:了)?(?:限流|流控)))"
    rf".{{0,16}}?{_ZH_RETRY}[^，,；;\n]{{0,8}}\W*",
    re.IGNORECASE | re.DOTALL,
)
_ZH_BARE = re.compile(
    r"(?:非常|很|十分)?(?:抱歉|对不起|不好意思|哎呀|糟糕)?(?:当前|目前|现在|您的|本)?(?:"
    r"(?:服务器?|服务端|伺服器|网络|网路|接口|网关|推理服务|后端)(?:当前|目前|暂时|内部|连接|响应|请求|连线)*"
    r"(?:繁忙|忙|过载|超载|不可用|开小差了?|异常|出错了?|错误|故障|超时|逾时|失败|中断|维护中?)"
    r"|系统(?:当前|目前|暂时)?(?:繁忙|过载|不可用|开小差了?|维护中)"
    r"|(?:账[号户]|帐[号户])?(?:余额|额度|配额)(?:已)?(?:不足|用尽|耗尽)"
    r"|(?:账[号户]|帐[号户])?(?:已)?欠费"
    r"|请求(?:超时|逾时|失败|异常|过于频繁|频率过高|被限流)"
    r"|(?:并发|QPS|TPM|RPM)数?(?:超限|超过限制|超出限制|已达上限)"
    r"|触发(?:了)?(?:限流|流控)"
    r"|模型(?:正在)?(?:加载|启动)中"
    r"|API\s?key\s?(?:无效|错误|已过期)"
    r"|(?:回答|内容|回复)生成失败"
    r"|请稍后再试|请稍后重试"
    r"|(?:上下文|输入|提示词?)长度超(?:过|出)(?:最大)?限制"
    r")(?:了|啦)?",
    re.IGNORECASE,
)
_EN_WHO = (
    r"\b(?:server|service|system|engine|backend|model|request|requests|network|connection|upstream|gateway|api|account|quota"
    r"|traffic|demand|capacity|deployment|inference|something|an (?:\w+ )?error|rate limit)\b"
)
_EN_STATE = (
    r"\b(?:bus(?:y|ier)|overload(?:ed)?|unavailable|not (?:ready|available)|down|errors?|fail(?:ed|ure)?|time-?d? ?out|timeout"
    r"|too many|high(?:er)? (?:traffic|demand|load)|rate limit\w*|exceeded|insufficient|suspended|loading|starting|maintenance"
    r"|went wrong|at capacity|limit reached|refused|closed|reset|internal)\b"
)
_EN_RETRY = (
    r"\b(?:(?:try|retry|come back|send)\b.{0,30}\b(?:again|later|request|moment|minutes?|seconds?|shortly)|try again|retry"
    r"|please wait|slow down|later|regenerate|refresh|contact (?:support|us|your|the)\b|check your|sorry about that)\b"
)
_EN_BARE = re.compile(
    r"(?:sorry,? )?(?:error:? ?)?(?:"
    r"(?:the |that |this |our |your )?(?:\w+ )?(?:server|service|system|engine|api|network|upstream|gateway)"
    r"(?: is| was| has been)?(?: currently| temporarily)? (?:busy|overloaded(?: or not ready yet)?|unavailable|down|error|not ready"
    r"|timed? ?out|timeout|failure|under maintenance)(?: with other requests)?"
    r"|(?:the |that |this )?model(?: [\w./-]+)? is (?:currently |still )?(?:overloaded|loading|starting|unavailable|not ready)"
    r"(?: with other requests)?"
    r"|an? (?:\w+ )?error (?:has )?occurred(?: while .{0,60})?"
    r"|something went wrong"
    r"|model not found|insufficient (?:balance|quota|funds|credits?)|(?:invalid|incorrect|expired) api key(?: provided)?.{0,40}"
    r"|you (?:have )?exceeded your (?:current )?(?:quota|rate limit).{0,90}"
    r"|your account (?:has been|is) (?:suspended|deactivated|disabled|in arrears).{0,60}"
    r"|rate limit (?:reached|exceeded).{0,120}|too many requests.{0,60}|out of memory"
    r"|request (?:timed out|timeout|failed)"
    r")",
    re.IGNORECASE,
)
_ZH_MACHINE = (
    r"服务器?|伺服器|系统|后端|后台|上游|模型|引擎|网络|网路|接口|网关|请求|访问|流量|推理|算力|资源|额度|余额|配额|并发数?|排队|队列|账[号户]|帐[号户]|连接|连线"
    r"|响应|生成|参数|鉴权|认证|密钥|权限|调用|次数|令牌|数据库|上下文|输入|长度|API|key|token|QPS|TPM|RPM|GPU|显存|内存|进程|节点|实例|人数|接口|登录状态|上游负载|免费次数|操作|数量|错误码|当前分组|用户|使用|messages|套餐|安全策略"
)
_ZH_FAILURE = (
    r"繁忙|忙碌|过载|超载|不可用|开小差|异常|出错|错误|故障|崩溃|超时|逾时|过多|较多|过大|过高|过快|过于频繁|太频繁|频繁|不足|失败|拥挤|限流|流控|超限|上限|超过|超出|中断|断开"
    r"|维护|升级|加载|启动|欠费|无效|过期|未授权|用完|用尽|耗尽|失效|下线|饱和|累了|不给力|拦截|触发|封禁|冻结|停用|不能为空|未知"
)
_ZH_FUNCTION = (
    r"请|您的?|你的?|我们?|当前|目前|现在|今日|本次|该|此|暂时?|正在|已被?|已经|被|了|啦|中|的|内部|存在|达到?|免费|未|无|不|限制|最大|稍后|稍候|稍等|片刻|一会儿?|再试|重试|再|试试|试"
    r"|休息一下|让它|一下|联系|管理员|客服|处理|检查|设置|充值|升级|重新|登录|访问|提交|预计|两?小时|分钟|后|恢复|几|换|切换|其他|明天|再来|耐心|等待|点击|刷新|页面|登录|状态|次数|有误|负载|分组|非常|抱歉|对不起|哎呀|由于|因为|因|导致|或|和|与|可能|是否|为空|仍|尚|到"
)
_ZH_ONLY = re.compile(
    rf"(?:{_ZH_MACHINE}|{_ZH_FAILURE}|{_ZH_FUNCTION}|[\W_]|\d|[A-Za-z]{{1,12}}(?=[\W\d]|$))+", re.IGNORECASE
)


def _of_machines_alone(text: str) -> bool:
    """Whether *text* is a short sentence in the vocabulary of machines."""
    if not text.isascii():
        return bool(
            5 <= len(text) <= 60  # 系统错误 alone may be an answer: the systematic error
            and _ZH_ONLY.fullmatch(text)
            and re.search(_ZH_MACHINE, text, re.IGNORECASE)
            and re.search(_ZH_FAILURE, text)
        )
    names = re.findall(r"[a-z]+", re.sub(r"[\w./-]*[\d_/][\w./-]*", " ", text.lower()))
    kinds = [name in MACHINES or name in FAILURES or name in FUNCTION for name in names]
    return bool(
        2 <= len(names) <= 24  # Timeout alone may be an answer: time-out from reinforcement
        and all(kinds)
        and any(name in MACHINES for name in names)
        and any(name in FAILURES for name in names)
        # of two words alone, a psychologist may mean them: memory failure, context error
        and (len(names) > 2 or any(name in UNMISTAKABLE for name in names))
    )


def _share_of_machines(text: str) -> float:
    names = re.findall(r"[a-z]+", text.lower())
    return sum(n in MACHINES or n in FAILURES or n in FUNCTION for n in names) / max(1, len(names))


def _speaks_of_machines(text: str) -> bool:
    """Whether most of *text* is what machines say, no failure needed."""
    if text.isascii():
        names = set(re.findall(r"[a-z]+", text.lower()))
        return bool(names & (MACHINES | FAILURES)) and _share_of_machines(text) >= 0.6
    return len(re.findall(_ZH_MACHINE, text, re.IGNORECASE)) + len(_ZH_STOPS.findall(text)) >= 2


_ZH_STOPS = re.compile(
    rf"{_ZH_FAILURE}|下线|失效|饱和|切换|等待|登录|登陆|刷新|明天再来|退出|关闭|到期|结束|暂停|停用"
)
_WIDE = re.compile(
    r"busy|overload|later|again|retry|time-?d? ?out|error|fail|unavailable|too many|limit|quota|balance|denied|suspend|exceed|invalid"
    r"|unauthori|forbidden|exception|loading|capacity|traffic|demand|maintenance|went wrong|not found|api key|upstream|^\W*(?:null|none|undefined"
    r"|done|nan|\[object object\])\W*$"
    r"|稍后|稍候|稍等|片刻|重试|再试|频繁|超时|逾时|错误|异常|出错|余额|额度|限流|流控|超限|限制|繁忙|有点忙|过载|过多|过高|过大|失败|欠费"
    r"|充值|加载|维护|不可用|无效|权限|未授权|联系管理员|不足|敏感|违规|故障|开小差|出现了一些问题|拥挤"
    r"|审核|安全策略|不存在|渠道|inappropriate|(?:content|usage).{0,20}(?:risk|polic|filter)|high risk|warming up|starting up"
    # a service of another country
    r"|混み合|しばらく|リクエスト|サーバ|서버|잠시 후|다시 시도|요청|serveur|réessayer|plus tard|später|überlastet|servidor|inténtalo"
    r"|tente novamente|más tarde|сервер|запрос|позже",
    re.IGNORECASE,
)
_STATES_CHOICE = re.compile(
    r"答案|故选|应选|选[A-J项]|(?:answer|choice|option) ?(?:is|:)|\boption [A-J]\b", re.IGNORECASE
)
_ENVELOPE = frozenset([
    "code", "errcode", "errno", "ret", "retcode", "retmsg", "fault", "errors", "exception", "errorcode",
    "status", "statuscode", "success", "ok", "msg", "message", "errmsg", "errormsg", "errormessage",
    "error", "errortype", "detail", "details", "type", "param", "requestid", "traceid", "timestamp",
    "path", "object", "data", "result", "reason", "time", "instance", "title", "resultcode", "resultmsg", "messages",
])  # fmt: skip
_ERROR_KEYS = {"error", "message", "code", "status", "status_code", "type", "param", "request_id"}


def is_error_text(reply: str) -> bool:
    """Whether *reply* is a failing service speaking, not a model."""
    return _is_whole_error(reply) or answers_for_model(reply)


_STAND_IN = re.compile(
    r"\b(?:at random|random(?:ly)?|guess(?:ed|ing)?|default(?:ed|ing)?|fall(?:ing |en )?back|placeholder|cached|dummy|mock(?:ed)?"
    r"|simulated|degraded|canned|stand-in|backup|best[- ]effort|demo|offline)\b"
    r"|随机|隨機|随便|默认|預設|兜底|备用|備用|缓存|緩存|快取|降级|降級|占位|代答|代为作答|临时(?:答案|回复|作答)|模拟(?:答案|回复|作答)|应急|演示|离线|猜(?:测|一个|的)",
    re.IGNORECASE,
)
_STAND_IN_TAG = re.compile(
    rf"(?:(?:{_STAND_IN.pattern})|answer|reply|response|mode|result|model|service|generated|auto|used|答案|回复|作答|模式|结果|响应|模型|服务|[\W_])+",
    re.IGNORECASE,
)
_SERVERS = re.compile(
    r"服务器?|伺服器|后端|后台|上游|接口|网关|请求|限流|流控|并发|算力|排队|欠费|QPS|TPM|RPM|API|GPU|显存|[45]\d\d",
    re.IGNORECASE,
)
_TAG = re.compile(r"[\[【(（<「{]([^\]】)）>」}\n]{2,90})[\]】)）>」}]")
_CLAUSE_END = re.compile(r"[,，;；。.!！?？\n:：、—–|]+(?=\s|[^\x00-\x7f]|$)|\s-\s|\n+")
_HARD_END = frozenset("。.!！\n;；|")


def answers_for_model(reply: str) -> bool:
    """Whether a service says that it failed, and answers all the same.

    ``The system is overloaded, so here is a random answer: B``: its beginning, its end or a bracket is the sentence of a
    failure, and it says that the answer stands in for another; or the failure is a sentence of its own about servers.
    """
    text = _plain(re.sub(r"\s*\n\s*", "\n", reply.strip()[: 3 * LONGEST]).replace("\n", " | "))
    tags = [match[1] for match in _TAG.finditer(text)]
    if text[:1] in "[【(（<「{" and tags and _STAND_IN.search(tags[0]) and _STAND_IN_TAG.fullmatch(tags[0]):
        return True
    if len(text) > 2 * LONGEST:
        return False
    stands_in = bool(_STAND_IN.search(text))
    ends = list(_CLAUSE_END.finditer(text))[:24]
    starts = [0, *(match.end() for match in ends)]
    stops = [*(match.start() for match in ends), len(text)]
    for tag in tags:
        parts = [tag, *re.split(r"[,，;；。:：]", tag)]
        if any(_tells_failure_of_service(part.strip(), loosely=stands_in) for part in parts) and (
            stands_in or (text[:1] in "[【(（<「{" and tag == tags[0] and _names_servers(tag))
        ):
            return True
    for first in range(len(starts)):
        for last in range(first, min(first + 3, len(stops))):
            clause = text[starts[first] : stops[last]].strip(" |")
            if len(clause) > LONGEST or (first == 0 and last == len(stops) - 1):
                continue  # the whole is looked at elsewhere
            mark = text[stops[last] : stops[last] + 1]
            alone = first == 0 and (
                (mark in _HARD_END and (_names_servers(clause) or bool(_RETRY.search(clause))))
                or (mark in ":：" and bool(re.search(r"\b[45]\d\d\b", clause)))
            )
            if (stands_in or alone) and _tells_failure_of_service(clause, loosely=stands_in):
                return True
    return False


_RETRY = re.compile(rf"{_ZH_RETRY}|{_EN_RETRY}", re.IGNORECASE)
_SOME_SERVERS = re.compile(
    rf"{_SERVERS.pattern}|系统|模型|引擎|网络|网路|服务|账[号户]|余额|额度|配额"
    r"|\b(?:servers?|services?|backends?|upstream|gateway|api|engine|gpu|cuda|endpoint|vllm|openai|https?|inference|requests?"
    r"|connection|quota|rate limit|(?:the|our|this|that) (?:model|system|network)|^(?:model|system|network))\b",
    re.IGNORECASE,
)


def _names_servers(text: str) -> bool:
    if text.isascii():
        return bool(UNMISTAKABLE & set(re.findall(r"[a-z]+", text.lower()))) or bool(
            re.search(r"\b[45]\d\d\b", text)
        )
    return bool(_SERVERS.search(text))


def _tells_failure_of_service(clause: str, *, loosely: bool) -> bool:
    """Whether one *clause* of a reply is the sentence of a failing service."""
    if not clause or (clause.isascii() and len(clause) < 8):
        return False
    if any(form.match(clause) for form in (_BEGINNING, _NAME)):
        return True
    if not _SOME_SERVERS.search(clause):
        return False  # memory, clients and resources fail as well
    if _is_sentence_of_failure(clause):
        return True
    if not loosely:
        return False
    if not clause.isascii():
        letters = re.sub(r"[\W_]+", "", clause)
        return (
            len(letters) == 4
            and bool(_ZH_ONLY.fullmatch(letters))
            and bool(re.search(_ZH_MACHINE, letters, re.IGNORECASE) and re.search(_ZH_FAILURE, letters))
        )
    names = set(re.findall(r"[a-z]+", clause.lower()))
    return bool(
        names & MACHINES
        and re.search(rf"{_EN_STATE}|\bout of\b", clause, re.IGNORECASE)
        and _share_of_machines(clause) >= 0.7
    )


def _is_whole_error(reply: str) -> bool:
    if any(form.match(reply) for form in (_BEGINNING, _NAME, _PAGE)) or _is_error_object(reply):
        return True
    text = _plain(reply)
    if not text or len(text) > LONGEST or _STATES_CHOICE.search(text):
        return False
    return _is_sentence_of_failure(text)


def _is_sentence_of_failure(text: str) -> bool:
    if _ZH_BARE.fullmatch(re.sub(r"[\W_]+", "", text)):
        return True
    # "Too many requests" may go on in the words of people: "… from your family"
    if _EN_BARE.fullmatch(text.strip(" .!。！…")) and (
        re.search(r"\d", text) or _share_of_machines(text) >= 0.7
    ):
        return True
    if _of_machines_alone(text) or (len(text) <= 60 and _ZH_SENTENCE.fullmatch(text)):
        return True
    sentence = re.search(_EN_WHO, text, re.I) and re.search(_EN_STATE, text, re.I)
    return bool(
        sentence
        and text.isascii()
        and re.search(_EN_RETRY, text, re.I)
        and text.count(".") <= 3
        and _share_of_machines(text) >= 0.75
    )


def may_be_error_text(reply: str) -> bool:
    """Whether *reply* is short and speaks of a failure.

    A model may do so as well, but not to several questions alike.
    """
    text = _plain(reply)
    if not text or len(text) > LONGEST or _STATES_CHOICE.search(text):
        return False
    return bool(_WIDE.search(text)) or _speaks_of_machines(text)


def skeleton(reply: str) -> str:
    """Return *reply* without numbers, identifiers, quotations and white space.

    These differ between two tellings of one failure.
    """
    text = _QUOTED.sub(lambda match: f"{match[0][0]}0{match[0][-1]}", " ".join(reply.split())[:1200])
    return _DETAIL.sub("0", text)[:400]


_QUOTED = re.compile(
    r"(?<![A-Za-z])'[^'\n]{1,120}'(?![A-Za-z])|\"[^\"\n]{1,120}\"|`[^`\n]{1,120}`|“[^”\n]{1,120}”|「[^」\n]{1,120}」"
)
_DETAIL = re.compile(
    r"[0-9a-f-]{8,}"
    r"|(?:[A-Za-z0-9_]+[-.:/@#+=])*[A-Za-z_]*\d[A-Za-z0-9_]*(?:[-.:/@#+][A-Za-z0-9_]+)*"
    r"|\b(?:mon|tue|wed|thu|fri|sat|sun)[a-z]{0,6}\b\.?|\b(?:jan|feb|mar|apr|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}\b\.?"
    r"|[零〇一二两三四五六七八九十百千]+(?=[位名秒号])",
    re.IGNORECASE,
)


def _plain(reply: str) -> str:
    """*reply* without Markdown, in simplified characters, on one line."""
    text = re.sub(r"[*_`#>~]+", " ", reply).replace("\u2019", "'")
    return " ".join(simplified(text).split()).strip()


def _is_error_object(reply: str) -> bool:
    """Whether *reply* is a JSON object that tells of nothing but an error."""
    text = re.sub(r"^```\w*\s*|\s*```$", "", reply.strip())
    if not text.startswith("{"):
        return False
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and bool(value) and _is_failure(value)


def _is_failure(value: dict[str, object]) -> bool:
    """Whether the object *value* tells of a failure and of nothing else."""
    if (
        "message" in value
        and any(_is_http_failure(value.get(name)) for name in ("code", "status", "status_code"))
    ) or (value.get("error") and value.keys() <= _ERROR_KEYS):
        return True
    error = str(value.get("error") or "")
    if error in ("overloaded", "busy", "timeout", "unavailable") or _tells_failure_of_service(
        error, loosely=True
    ):
        return True  # whatever answer it gives beside
    fields = {re.sub(r"[_\-\s]", "", str(name)).lower(): item for name, item in value.items()}
    inner = next(iter(value.values())) if len(value) == 1 else None
    if isinstance(inner, dict) and inner and _is_failure(inner):
        return True
    return (
        fields.keys() <= _ENVELOPE
        and not fields.get("data")
        and not fields.get("result")
        and _tells_failure(fields)
    )


def _is_http_failure(code: object) -> bool:
    return str(code).isdigit() and 400 <= int(str(code)) <= 599


def _tells_failure(fields: dict[str, object]) -> bool:
    if fields.keys() == {"detail"} or fields.get("success") is False or fields.get("ok") is False:
        return True
    if any(fields.get(name) for name in ("fault", "errors", "exception")):
        return True
    if fields.get("error") not in (None, "", False, "none", "None", [], {}):
        return True
    words = any(
        fields.get(name)
        for name in ("retmsg", "msg", "message", "errmsg", "errormsg", "errormessage", "detail")
    )
    for name in (
        "code",
        "errcode",
        "errorcode",
        "errno",
        "ret",
        "retcode",
        "resultcode",
        "status",
        "statuscode",
    ):
        code = fields.get(name)
        if isinstance(code, bool) or code is None:
            continue
        if re.fullmatch(r"-?\d+", str(code)) and int(str(code)) not in (0, 200) and (words or name != "code"):
            return True
        if isinstance(code, str) and re.search(
            r"err|fail|exceed|limit|quota|throttl|denied|invalid|timeout|busy", code, re.I
        ):
            return True
    return bool(fields.keys() & {"errmsg", "errormsg", "errormessage"} and words)
