"""What the verifier says beside numbers: rules, notes, what is missing."""

from __future__ import annotations

from bakeoff.foundation.sentences import Template

_RULES = (
    Template("verify.words.a_failure_has_a_reason", "a failure has a reason", zh="失败均有原因"),
    Template("verify.words.answered_once", "a score stands once", zh="每项成绩只出现一次"),
    Template("verify.words.reply_graded", "a reply that came is graded", zh="收到的回复均已判分"),
    Template("verify.words.skip_reason", "a skip has a reason", zh="跳过均有原因"),
    Template("verify.words.error_why", "an error says why", zh="出错均有原因"),
    Template("verify.words.error_blank", "an error has no reply and no grade", zh="出错的题没有回复和判分"),
    Template("verify.words.answers", "answers", zh="答案计数"),
    Template("verify.words.copies", "both copies agree", zh="两份副本一致"),
    Template("verify.words.bounds", "bounds", zh="上下限"),
    Template("verify.words.chance", "chance", zh="随机猜测水平"),
    Template("verify.words.digest", "digest of an output", zh="产物的校验值"),
    Template("verify.words.grade_reply", "every grade has a reply", zh="每个判分都有回复"),
    Template("verify.words.reply_sample", "every reply has a sample", zh="每条回复都有样本"),
    Template("verify.words.sample_score", "every sample has a score", zh="每个样本都有成绩"),
    Template("verify.words.accounted", "every score asked for is accounted for", zh="应有的成绩均有交代"),
    Template("verify.words.asked_for", "every score was asked for", zh="没有计划外的成绩"),
    Template("verify.words.stage_told", "every stage of the timeline is told", zh="时间线上的阶段均已列出"),
    Template("verify.words.subset_score", "every subset has a score", zh="每个子集都有成绩"),
    Template("verify.words.extraction", "extraction", zh="答案提取"),
    Template("verify.words.grading", "grading", zh="判分"),
    Template("verify.words.index", "index", zh="题目序号"),
    Template("verify.words.fields", "fields of a row", zh="行的字段"),
    Template("verify.words.text_and_statement", "text and its statement", zh="文字与其模板"),
    Template("verify.words.intervals", "intervals", zh="置信区间"),
    Template("verify.words.ledger", "ledger", zh="作答统计"),
    Template("verify.words.letters", "letters", zh="显著性字母"),
    Template("verify.words.likeliest", "letters by log-probability", zh="按对数概率选出的字母"),
    Template("verify.words.list_of_tests", "list of tests", zh="测试列表"),
    Template("verify.words.manifest", "manifest", zh="清单"),
    Template("verify.words.matrix", "matrix", zh="矩阵文件"),
    Template("verify.words.mean", "mean", zh="平均分"),
    Template("verify.words.page", "page", zh="报告页面"),
    Template("verify.words.page_anew", "page made anew", zh="重新生成的页面"),
    Template("verify.words.paired", "paired tests", zh="配对检验"),
    Template("verify.words.pairs", "pairs", zh="模型对"),
    Template("verify.words.prompt", "prompt", zh="提示词"),
    Template("verify.words.question", "question", zh="题目"),
    Template("verify.words.ratings", "ratings", zh="评分"),
    Template("verify.words.raw_replies", "raw replies are there", zh="原始回复齐全"),
    Template("verify.words.raw_records", "raw records are there", zh="原始记录齐全"),
    Template("verify.words.readable", "readable", zh="可以读取"),
    Template("verify.words.record", "record", zh="阶段记录"),
    Template("verify.words.reply", "reply", zh="回复"),
    Template("verify.words.review", "review", zh="评测工具的判分"),
    Template("verify.words.rows", "rows of a table", zh="表格的行"),
    Template("verify.words.beside", "samples beside the page", zh="页面旁的样本文件"),
    Template("verify.words.scores_csv", "scores.csv", zh="scores.csv"),
    Template("verify.words.selected", "selected questions", zh="抽取的题目"),
    Template("verify.words.shipped", "shipped data", zh="随程序提供的数据"),
    Template("verify.words.signature", "signature", zh="签名"),
    Template("verify.words.speed", "speed", zh="速度"),
    Template("verify.words.status", "status", zh="作答状态"),
    Template("verify.words.suite", "suite", zh="测试集"),
    Template("verify.words.table_results", "table against its results", zh="表格与阶段结果"),
    Template("verify.words.tables", "tables of the report", zh="报告的表格"),
    Template("verify.words.timeline", "timeline", zh="时间线"),
    Template("verify.words.times", "times", zh="时间先后"),
    Template("verify.words.told_run", "told by the run", zh="运行的附带记录"),
    Template("verify.words.told_evaluation", "told of an evaluation", zh="评测的附带记录"),
    Template("verify.words.trust", "trust", zh="成绩是否有效"),
    Template("verify.words.weights", "weights", zh="权重"),
    Template("verify.words.who", "who answered", zh="作答模型"),
    Template("verify.words.written_twice", "written twice", zh="重复记录的内容"),
)
RULES = {rule.text: rule for rule in _RULES}
"""The rules by the name under which checks are counted and stored."""

GONE = Template("verify.words.gone", "gone", zh="缺失")
IS_GONE = Template("verify.words.is_gone", "{what} is gone", zh="{what}缺失")
NEW = Template("verify.words.new", "new", zh="新增")
A_ROW = Template("verify.words.a_row", "a row", zh="有一行")
NO_ROW = Template("verify.words.no_row", "no row", zh="没有这一行")
NO_SUCH_ROW = Template("verify.words.no_such_row", "no such row in any result", zh="任何结果中都没有这一行")
ROW_OF_RESULT = Template("verify.words.row_of_result", "the row of its result", zh="结果中的那一行")
NO_FILE = Template("verify.words.no_file", "no such file", zh="没有这个文件")
A_FILE_IN_IT = Template("verify.words.a_file_in_it", "a file in it", zh="文件夹内的文件")
OUTSIDE = Template("verify.words.outside", "outside of its folder", zh="在文件夹之外")
A_TABLE = Template("verify.words.a_table", "a table", zh="有一份表格")
NO_TABLE = Template("verify.words.no_table", "no such table", zh="没有这份表格")
A_FOLDER = Template("verify.words.a_folder", "a folder", zh="一个文件夹")
A_QUESTION = Template("verify.words.a_question", "a question of the suite", zh="测试集中的一道题")
A_SAMPLE = Template("verify.words.a_sample", "a sample", zh="一个样本")
A_SCORE = Template("verify.words.a_score", "a score", zh="一项成绩")
WHOLE_RECORD = Template("verify.words.whole_record", "a whole record", zh="完整的记录")
REPLY_WITHOUT = Template("verify.words.reply_without", "reply {index} has none", zh="回复 {index} 没有样本")
NO_COPY = Template("verify.words.no_copy", "no copy", zh="没有副本")
ROW_OF_COPY = Template("verify.words.row_of_copy", "a row of {file}", zh="{file} 中的一行")
A_REVIEW = Template("verify.words.a_review", "a review", zh="一条判分")
ITS_REPLY = Template("verify.words.its_reply", "the reply that it grades", zh="所判的回复")
RECORDLESS = Template("verify.words.recordless", "an output without its record", zh="有产物而没有记录")
RECORD_BESIDE = Template("verify.words.record_beside", "the record beside it", zh="产物旁的记录")
COPY_OF_RUN = Template("verify.words.copy_of_run", "the copy of run.json", zh="run.json 的副本")
ERRORED = Template("verify.words.errored", "errored", zh="出错")
A_STATUS = Template("verify.words.a_status", "status {status!r}", zh="状态 {status}")
ONE_OF = Template("verify.words.one_of", "one of {names}", zh="以下之一：{names}")
GRADE_OF_REPLY = Template("verify.words.grade_of_reply", "the grade of its reply", zh="其回复的判分")
UNSTORED = Template(
    "verify.words.unstored", "errored: no reply, or no review, is stored", zh="出错：没有存下回复或判分"
)
NOT_IN_SCORES = Template("verify.words.not_in_scores", "no row in scores.json", zh="scores.json 中没有这一行")
OTHER_COUNT = Template("verify.words.other_count", "another number of ratings", zh="评分数目不同")
COUNT_THEN = Template("verify.words.count_then", "as many as the database had then", zh="与当时的数据库相同")
OTHER_RUN = Template("verify.words.other_run", "another run, or none", zh="另一次运行，或没有")
PAGE_OF_RUN = Template("verify.words.page_of_run", "the comparison of run {run}", zh="运行 {run} 的比较")
PLACES_DIFFER = Template(
    "verify.words.places_differ", "{count} places differ in all", zh="共有 {count} 处不同"
)
NOTHING = Template("verify.words.nothing", "nothing", zh="空")
NONE = Template("verify.words.none", "none", zh="无")
AGAINST = Template("verify.words.against", "{a} against {b}", zh="{a} 与 {b}")
TWO_VALID = Template("verify.words.two_valid", "two subjects with trusted scores", zh="两个成绩有效的模型")
ITS_TIMELINE = Template("verify.words.its_timeline", "the timeline of the run", zh="运行的时间线")
RECORD = Template("verify.words.its_record", "its record", zh="记录")
OUTPUT = Template("verify.words.its_output", "its output", zh="产物")
RECORD_AND_OUTPUT = Template(
    "verify.words.record_and_output", "the record and the output of the stage", zh="该阶段的记录与产物"
)
ASKED_NAMES_IT = Template(
    "verify.words.asked_names_it", "run.json asked names it", zh="run.json 的 asked 中列有此项"
)
LAST_MANIFEST = Template(
    "verify.words.last_manifest", "the manifest that the run ended with", zh="运行结束时写下的清单"
)
UNSIGNED = Template("verify.words.unsigned", "no manifest", zh="没有清单")
A_SIGNED = Template("verify.words.a_signed", "a signed manifest", zh="有签名的清单")

ONLY_SIGNED = Template(
    "verify.words.only_signed",
    "only a signed one shows replies or ratings rewritten alike in every record, and names, times and reasons on which "
    "no number stands (docs/verify.md)",
    zh="只有签过名的清单才能发现各处记录被同样改写的回复或评分，以及不影响任何数字的名称、时间和原因（docs/verify.md）",
)
NO_MANIFEST = Template(
    "verify.words.no_manifest", "{place}: no manifest; {why}", zh="{place}：没有清单；{why}"
)
GIVE_KEY = Template(
    "verify.words.give_key",
    "{place} is signed; give --key PUBLIC to have the signature checked",
    zh="{place} 有签名；用 --key PUBLIC 指定公钥即可核对签名",
)
NOT_SIGNED = Template(
    "verify.words.not_signed",
    "{place} is not signed, so whoever changed a file may have made it anew; {why}",
    zh="{place} 没有签名，改动文件的人可以重新生成它；{why}",
)
WRITTEN_ANEW = Template(
    "verify.words.written_anew",
    "{name}: a later run wrote it anew, so this run's own is gone",
    zh="{name}：之后的运行重写了它，本次运行写下的已不存在",
)
NO_STORE_DIGESTS = Template(
    "verify.words.no_store_digests",
    "no store at hand: weights, data and records are not compared with their digests",
    zh="手头没有 store：未核对权重、数据和记录的校验值",
)
MADE_ANEW = Template(
    "verify.words.made_anew",
    "a later run made anew, so that this run's own records are gone: {places}",
    zh="之后的运行重做了以下阶段，本次运行的记录已不存在：{places}",
)
NO_DIGESTS_THEN = Template(
    "verify.words.no_digests_then",
    "{place}: its record is of a time when no digests were kept",
    zh="{place}：写下该记录的版本尚不保存校验值",
)
WEIGHTS_GONE = Template(
    "verify.words.weights_gone",
    "{place}: {what} is not in this store, so its weights were not compared with their digests",
    zh="{place}：此 store 中没有它的{what}，未核对权重的校验值",
)
NO_ASKED = Template(
    "verify.words.no_asked",
    "run.json does not say which scores the run was to make, so gaps cannot be seen",
    zh="run.json 没有写明应有哪些成绩，无法发现遗漏",
)
NO_MATRIX = Template(
    "verify.words.no_matrix", "the run kept no copy of its matrix", zh="本次运行没有保存矩阵文件的副本"
)
NO_RUN_JSON = Template(
    "verify.words.no_run_json",
    "run.json is not at hand: the page's words on stages, skips and cautions were not compared",
    zh="手头没有 run.json：未核对页面上关于阶段、跳过项和注意事项的文字",
)
NO_EARLIER = Template(
    "verify.words.no_earlier",
    "run {run} is not at hand: what the page says has moved since was not compared",
    zh="手头没有运行 {run}：未核对页面上与它相比的变化",
)
TESTS_OF_PYTEST = Template(
    "verify.words.tests_of_other_pytest",
    "the list of tests around the comparison is by another version of pytest-html than the installed one: the manifest "
    "alone protects it",
    zh="比较部分之外的测试列表由另一版本的 pytest-html 生成，只受清单保护",
)
OTHER_COLUMN = Template(
    "verify.words.other_column",
    "{place}: computed otherwise by the version that wrote it, so not compared",
    zh="{place}：写下它的版本算法不同，未核对",
)
OTHER_PAGE_CODE = Template(
    "verify.words.other_page_code",
    "the page was rendered by another version of the program, or does not say by which: its board and its tables were "
    "read back, its sentences were not compared word for word",
    zh="页面由另一版本的程序生成，或没有写明版本：已核对成绩表与各表格，未逐字核对句子",
)
RATINGS_UNKEPT = Template(
    "verify.words.ratings_unkept",
    "{place}: an earlier version kept no ratings beside their means",
    zh="{place}：较早的版本只保存了平均分，没有保存逐条评分",
)
NO_RATINGS = Template(
    "verify.words.no_ratings",
    "no database of ratings at hand: people's ratings are recounted from the page's own list",
    zh="手头没有评分数据库：人工评分按页面自己的列表重新统计",
)
ERASED = Template(
    "verify.words.erased",
    "{place}: ratings were erased since, so they were not compared with the database",
    zh="{place}：之后有评分被删除，未与数据库核对",
)
OTHER_SUMMARY = Template(
    "verify.words.other_summary",
    "{place}: summed up by another version, so compared rating by rating",
    zh="{place}：由另一版本汇总，因此逐条核对评分",
)
BY_JUDGE = Template(
    "verify.words.by_judge",
    "scores by a judge model are compared with the tables, not recomputed",
    zh="评审模型给出的成绩只与表格核对，未重新计算",
)
OTHER_METRICS = Template(
    "verify.words.other_metrics",
    "{subject}: other metrics are by rules of another version",
    zh="{subject}：其他指标按另一版本的规则得出",
)
ONLY_EVALSCOPE = Template(
    "verify.words.only_evalscope",
    "metric {metric}: graded by EvalScope alone; compared with its stored reviews where a store is at hand",
    zh="指标 {metric}：只由 EvalScope 判分；有 store 时与其保存的判分核对",
)
OTHER_READING = Template(
    "verify.words.other_reading",
    "{subject}: read and graded by rules of another version than today's",
    zh="{subject}：答案提取与判分所用规则的版本与现在不同",
)
NO_STORE_REPLIES = Template(
    "verify.words.no_store_replies",
    "no store at hand: replies are those of samples.parquet, not those that the service gave",
    zh="手头没有 store：回复取自 samples.parquet，而非服务给出的原始回复",
)
ASKED_AGAIN = Template(
    "verify.words.asked_again",
    "{subject}: a later run asked again, so that this run's own replies are gone",
    zh="{subject}：之后的运行重新提问，本次运行的回复已不存在",
)
OTHER_BESIDE = Template(
    "verify.words.other_beside",
    "{subject}: metrics beside the main one are by rules of another version",
    zh="{subject}：主指标以外的指标按另一版本的规则得出",
)
WOULD_DIFFER = Template(
    "verify.words.would_differ",
    "{words} ({count} of {total} values would differ)",
    zh="{words}（{total} 个数值中有 {count} 个会不同）",
)
OTHER_READER = Template(
    "verify.words.other_reader",
    "answers were extracted by the project's own reader, rules {rules}",
    zh="答案由本项目自己的提取器提取，规则版本 {rules}",
)
OTHER_FINGERPRINTS = Template(
    "verify.words.other_fingerprints",
    "{engine}: no fingerprint of a model is as this version computes it, so none was held against the weights",
    zh="{engine}：模型指纹均与本版本的算法不符，未与权重核对",
)
OTHER_DATA = Template(
    "verify.words.other_data",
    "{place}: {data} is not that of this version of the program, so it was not compared",
    zh="{place}：{data} 与本版本程序所附的不同，未核对",
)
OTHER_ANCHORS = Template(
    "verify.words.other_anchors",
    "published scores beside ours were chosen by another version, so they were not compared",
    zh="对照用的公开成绩由另一版本选出，未核对",
)
NO_SIDE_FILES = Template(
    "verify.words.no_side_files",
    "the files of samples beside the page are not at hand",
    zh="手头没有页面旁的样本文件",
)

NO_TARGET = Template(
    "verify.words.no_target",
    "{place}: neither a store (no folder runs), nor a run (no run.json), nor a report (no index.html)",
    zh="{place}：既不是 store（没有 runs 文件夹），也不是一次运行（没有 run.json），也不是报告（没有 index.html）",
)
NO_MARK = Template(
    "verify.words.no_mark",
    "{place}: no page of bakeoff (it lacks the mark of the comparison)",
    zh="{place}：不是 bakeoff 的页面（没有比较部分的标记）",
)

RUN = Template("verify.words.run", "run {run}: {places}", zh="运行 {run}：{places}")
STORE = Template("verify.words.store", "store {path}", zh="store {path}")
REPORT = Template("verify.words.report", "report {path}", zh="报告 {path}")
CHECKED = Template("verify.words.checked", "checked", zh="核对内容")
VALUES = Template("verify.words.values", "values", zh="数值")
DISCREPANCIES = Template("verify.words.discrepancies", "discrepancies", zh="不符")
DISCREPANCY = Template(
    "verify.words.discrepancy",
    "DISCREPANCY {place}: {rule}: {value} stands there, {expected} is expected",
    zh="不符 {place}：{rule}：现为 {value}，应为 {expected}",
)
MORE = Template(
    "verify.words.more",
    "… and {count} more; --json FILE has all",
    zh="…… 还有 {count} 处；用 --json FILE 可写出全部",
)
NOTE = Template("verify.words.note", "not checked or to note: {words}", zh="未核对或须注意：{words}")
ALL_HOLD = Template(
    "verify.words.all_hold", "{count} values checked; every one holds", zh="核对了 {count} 个数值，全部相符"
)
ONE_FAILS = Template(
    "verify.words.one_fails",
    "{count} values checked; 1 discrepancy",
    zh="核对了 {count} 个数值，1 处不符",
)
SEVERAL_FAIL = Template(
    "verify.words.several_fail",
    "{count} values checked; {failed} discrepancies",
    zh="核对了 {count} 个数值，{failed} 处不符",
)

NO_REPORT = Template(
    "verify.words.no_report",
    "no report at hand: page and tables were not read back",
    zh="手头没有报告：未核对页面和表格",
)
NO_PUBLIC_KEY = Template(
    "verify.words.no_public_key",
    "--key {file}: no public key in PEM ({error})",
    zh="--key {file}：不是 PEM 公钥（{error}）",
)
NO_ED25519 = Template(
    "verify.words.no_ed25519", "--key {file}: no Ed25519 public key", zh="--key {file}：不是 Ed25519 公钥"
)
NO_SIGNATURE = Template("verify.words.no_signature", "no {file}", zh="没有 {file}")
OTHER_SIGNATURE = Template("verify.words.other_signature", "another signature", zh="签名不符")
NO_PRIVATE_KEY = Template(
    "verify.words.no_private_key",
    "{name}: {file} is no private key in PEM without a passphrase ({error})",
    zh="{name}：{file} 不是未加密的 PEM 私钥（{error}）",
)
NO_ED25519_KEY = Template(
    "verify.words.no_ed25519_key",
    "{name}: {file} is no Ed25519 key; `openssl genpkey -algorithm ed25519` makes one",
    zh="{name}：{file} 不是 Ed25519 私钥；可用 `openssl genpkey -algorithm ed25519` 生成",
)
