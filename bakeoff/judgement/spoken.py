"""What ``python -m judge`` prints."""

from __future__ import annotations

from bakeoff.foundation.sentences import Template

SIGN_IN = Template("judgement.spoken.sign_in", "sign-in: {count} raters", zh="登录：{count} 位评分者")
OPEN = Template("judgement.spoken.open", "nobody signs in (this machine only)", zh="无需登录（仅限本机）")
NO_STUDY = Template("judgement.spoken.no_study", "none", zh="无")
SERVING = Template(
    "judgement.spoken.serving",
    "judge: {address}  study: {study}  {who}",
    zh="judge：{address}  研究：{study}  {who}",
)
LEFT_OUT = Template(
    "judgement.spoken.left_out",
    "judge: left out of the study: {why}; `pytest -m judge` gathers replies anew",
    zh="judge：未纳入研究：{why}；`pytest -m judge` 会重新收集回复",
)
STARTING = Template("judgement.spoken.starting", "starting {row} …", zh="正在启动 {row} ……")
MAY_SIGN_IN = Template(
    "judgement.spoken.may_sign_in", "{name} may sign in ({file})", zh="{name} 可以登录（{file}）"
)
MAY_SEE = Template(
    "judgement.spoken.may_see",
    "{name} may sign in and see the results ({file})",
    zh="{name} 可以登录并查看结果（{file}）",
)
NEW_PASSWORD = Template(
    "judgement.spoken.new_password",
    "{name} has a new password and has to sign in anew ({file})",
    zh="{name} 已有新密码，须重新登录（{file}）",
)
REMOVED = Template(
    "judgement.spoken.removed",
    "{name} may not sign in any more ({file}); submitted ratings stay",
    zh="{name} 不能再登录（{file}）；已提交的评分仍保留",
)
PASSWORD = Template("judgement.spoken.password", "Password for {name}: ", zh="{name} 的密码：")
AGAIN = Template("judgement.spoken.again", "Again: ", zh="再输入一次：")
STUDY = Template(
    "judgement.spoken.study",
    "{file}: {cases} cases × {models} models",
    zh="{file}：{cases} 个个案 × {models} 个模型",
)
SCREENS = Template(
    "judgement.spoken.screens",
    "{screens} screens per rater, layout {layout}",
    zh="每位评分者 {screens} 屏，版式 {layout}",
)
NAMED = Template(
    "judgement.spoken.named",
    "{named} replies name a maker; {missing} replies are missing",
    zh="{named} 条回复提到了开发者名称；缺少 {missing} 条回复",
)
DOUBT = Template(
    "judgement.spoken.doubt",
    "{subject}: {why}; look at its replies before anybody rates them",
    zh="{subject}：{why}；请先查看其回复，再安排评分",
)
GATHERED = Template("judgement.spoken.gathered", "{file}: {counts}", zh="{file}：{counts}")
ANSWERED = Template("judgement.spoken.answered", "{count} answered", zh="{count} 条已回答")
TRUNCATED = Template("judgement.spoken.truncated", "{count} truncated", zh="{count} 条被截断")
ERRORED = Template("judgement.spoken.errored", "{count} errored", zh="{count} 条出错")
EMPTY = Template("judgement.spoken.empty", "{count} empty", zh="{count} 条为空")
STATES = {"answered": ANSWERED, "truncated": TRUNCATED, "errored": ERRORED, "empty": EMPTY}
SOME_LACK = Template(
    "judgement.spoken.some_lack",
    "some cases got no reply; run the same command again to ask only these",
    zh="部分个案没有得到回复；再次运行同一命令只询问这些个案",
)
SCORES = Template("judgement.spoken.scores", "scores", zh="评分")
PAIRS = Template("judgement.spoken.pairs", "pairs", zh="两两比较")
HOW_FAR = Template("judgement.spoken.how_far", "{what}: {done} of {count}", zh="{what}：{done}/{count}")
TALLIED = Template("judgement.spoken.tallied", "{what}: {tally}", zh="{what}：{tally}")
TALLY = Template(
    "judgement.spoken.tally",
    "{requests} asked now, {verdicts} verdicts kept; {reused} were there before",
    zh="本次询问 {requests} 次，保存 {verdicts} 条判断；此前已有 {reused} 条",
)
TALLY_FAILED = Template(
    "judgement.spoken.tally_failed",
    "{requests} asked now, {verdicts} verdicts kept, {failed} failed: they are kept and asked again next time; "
    "{reused} were there before",
    zh="本次询问 {requests} 次，保存 {verdicts} 条判断，失败 {failed} 次（已记录，下次重试）；此前已有 {reused} 条",
)
CALIBRATED = Template("judgement.spoken.calibrated", "calibrated", zh="已校准")
UNCALIBRATED = Template("judgement.spoken.uncalibrated", "not calibrated: {why}", zh="未校准：{why}")
INVITED = Template(
    "judgement.spoken.invited",
    "{rater}  {link}  (once, until {until})",
    zh="{rater}  {link}  （只能用一次，有效期至 {until}）",
)
IDENTITY_ERASED = Template(
    "judgement.spoken.identity_erased",
    "the identity of a rater is erased; from now on: {called}",
    zh="已删除一位评分者的身份信息；此后称为：{called}",
)
ALL_ERASED = Template(
    "judgement.spoken.all_erased",
    "everything that a rater submitted is erased; from now on: {called}",
    zh="已删除一位评分者提交的全部内容；此后称为：{called}",
)
ERASED = Template(
    "judgement.spoken.erased",
    "ratings erased: {judgements}; studies: {studies}",
    zh="删除的评分：{judgements}；所属研究：{studies}",
)
COPIES = Template(
    "judgement.spoken.copies",
    "exports, paper packs, reports and backups made before still hold it: erase or replace these, too",
    zh="此前的导出文件、论文包、报告和备份中仍有这些内容：请一并删除或替换",
)
