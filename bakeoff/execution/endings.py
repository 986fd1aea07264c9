"""Why legs wait, are lost, begin again and end, in words.

Of :mod:`bakeoff.execution.dispatch` and of the executors, whose refusals stand here, too.
"""

from __future__ import annotations

from bakeoff.foundation.sentences import Template

# -- what a cluster says of a job ----------------------------------------------------------------------------------

LEFT_QUEUE = Template("execution.endings.left_queue", "it left the queue", zh="它已退出队列")
NOT_LISTED = Template(
    "execution.endings.not_listed", "the queue no longer lists it", zh="队列中已没有这个作业"
)
NEVER = Template("execution.endings.never", "it would never start: {reason}", zh="它永远不会开始：{reason}")
NOT_LAUNCHED = Template(
    "execution.endings.not_launched", "its node could not begin it: {reason}", zh="节点未能启动它：{reason}"
)
CANCELLED = Template("execution.endings.cancelled", "somebody cancelled its job", zh="有人取消了它的作业")
NO_MEMORY = Template(
    "execution.endings.no_memory",
    "it ran out of the memory of its job; raise executor.memory",
    zh="超出作业的内存限额；请调高 executor.memory",
)
TIMED_OUT = Template("execution.endings.timed_out", "it ran past its time limit", zh="超过了时间限制")
NODE_FAILED = Template("execution.endings.node_failed", "its node failed ({state})", zh="节点故障（{state}）")
PREEMPTED = Template(
    "execution.endings.preempted",
    "a job of higher priority took its place ({state})",
    zh="被更高优先级的作业抢占（{state}）",
)
NO_NODE_FREE = Template("execution.endings.no_node_free", "no node is free", zh="没有空闲节点")
NODE_LOST = Template("execution.endings.node_lost", "its node was lost", zh="与节点失去联系")
NOT_STARTED = Template(
    "execution.endings.not_started", "it could not be started: {error}", zh="无法启动：{error}"
)
KILLED = Template("execution.endings.killed", "it was killed", zh="它已被终止")

# -- why a leg ends, or begins again -------------------------------------------------------------------------------

NOT_BEGUN = Template("execution.endings.not_begun", "{leg} did not begin: {why}", zh="{leg} 没有开始：{why}")
NOT_QUEUED = Template(
    "execution.endings.not_queued", "{leg} could not be queued: {error}", zh="{leg} 无法加入队列：{error}"
)
NOT_QUEUED_IN = Template(
    "execution.endings.not_queued_in",
    "{leg} could not be queued, in {minutes:.0f} minutes: {error}",
    zh="{leg} 在 {minutes:.0f} 分钟内都无法加入队列：{error}",
)
LOST = Template("execution.endings.lost", "its node was lost or preempted", zh="与节点失去联系，或作业被抢占")
AGAIN = Template(
    "execution.endings.again",
    "begins again ({times} of at most {most})",
    zh="重新开始（第 {times} 次，至多 {most} 次）",
)
TOO_OFTEN = Template(
    "execution.endings.too_often",
    "it lost its node {times} times, and executor.restarts allows {most}",
    zh="已 {times} 次失去节点，而 executor.restarts 只允许 {most} 次",
)
PAST_LIMIT = Template(
    "execution.endings.past_limit",
    "it ran past its time limit of {seconds:g} s",
    zh="超过了 {seconds:g} 秒的时间限制",
)
GOT_ON = Template(
    "execution.endings.got_on",
    "{why}, and it got on since its start",
    zh="{why}，但本次开始后有进展",
)
ASKED_TO_END = Template(
    "execution.endings.asked_to_end",
    "it was asked to end before it was done: a time limit (executor.time), or somebody's scancel",
    zh="尚未完成就被要求结束：时间限制（executor.time），或有人执行了 scancel",
)
BEFORE_HARNESS = Template(
    "execution.endings.before_harness",
    "its job ended before the harness began (exit code {code}); is {folder} visible there under this path, and the "
    "same Python?",
    zh="作业在本程序启动之前就结束了（退出码 {code}）；该节点能否以此路径看到 {folder}？Python 是否相同？",
)
BEFORE_HARNESS_ON = Template(
    "execution.endings.before_harness_on",
    "its job ended on {host} before the harness began (exit code {code}); is {folder} visible there under this path, "
    "and the same Python?",
    zh="作业在 {host} 上于本程序启动之前就结束了（退出码 {code}）；该节点能否以此路径看到 {folder}？Python 是否相同？",
)
REFUSED_THERE = Template(
    "execution.endings.refused_there",
    "its harness refused to begin on {host}: {error}",
    zh="该作业中的程序在 {host} 上拒绝启动：{error}",
)
NO_LAST_WORD = Template(
    "execution.endings.no_last_word",
    "its harness ended without a last word (exit code {code})",
    zh="该作业中的程序没有留下结果就结束了（退出码 {code}）",
)
STAGE_FAILED = Template("execution.endings.stage_failed", "{stage} failed: {why}", zh="{stage} 失败：{why}")
OF_LEG = Template("execution.endings.of_leg", "{leg}: {why}", zh="{leg}：{why}")
WITH_LOG = Template(
    "execution.endings.with_log",
    "{leg}: {why}\nlast lines of {log}:\n{lines}",
    zh="{leg}：{why}\n{log} 的最后几行：\n{lines}",
)
NOT_REPORTED = Template(
    "execution.endings.not_reported",
    "{leg}: its harness did not report on this test",
    zh="{leg}：该作业中的程序没有报告这项测试的结果",
)
SAME_ERROR = Template(
    "execution.endings.same_error", "the same error as of {test}", zh="与 {test} 的错误相同"
)
BOTH = Template("execution.endings.both", "{why}; {then}", zh="{why}；{then}")
RUN_ENDED = Template("execution.endings.run_ended", "the run was ended", zh="本次运行已被结束")
NOT_CONFIRMED = Template(
    "execution.endings.not_confirmed",
    "the cluster did not confirm its end; look for its job {job}",
    zh="集群没有确认它已结束；请查看作业 {job}",
)

# -- why a cluster, or a job, is refused ---------------------------------------------------------------------------

NO_PROGRAM = Template(
    "execution.endings.no_program",
    "slurm: no program {program} here; run this on a login node, or choose another --executor",
    zh="slurm：本机没有 {program} 程序；请在登录节点上运行，或改用其他 --executor",
)
NO_ANSWER = Template(
    "execution.endings.no_answer",
    "slurm: {program} did not answer within {seconds:.0f} s; ask the site",
    zh="slurm：{program} 在 {seconds:.0f} 秒内没有响应；请询问集群维护人员",
)
REFUSED = Template(
    "execution.endings.refused",
    "slurm: {program} refused: {answer}",
    zh="slurm：{program} 拒绝了请求：{answer}",
)
ALL_AWAY = Template(
    "execution.endings.all_away",
    "none of the {count} nodes of the partition takes jobs now ({states})",
    zh="该分区的 {count} 个节点目前都不接受作业（{states}）",
)
EXIT_CODE = Template("execution.endings.exit_code", "exit code {code}", zh="退出码 {code}")
OTHER_CLUSTERS = Template(
    "execution.endings.other_clusters",
    "slurm: SBATCH_CLUSTERS={clusters}: squeue would not look there; set SLURM_CLUSTERS instead",
    zh="slurm：SBATCH_CLUSTERS={clusters}：squeue 不会查询那里；请改为设置 SLURM_CLUSTERS",
)
TOO_LONG = Template(
    "execution.endings.too_long",
    "slurm: the time limit {time} is above that of the partition, {allowed}",
    zh="slurm：时间限制 {time} 超过了分区的上限 {allowed}",
)
SHOWS_SECRET = Template(
    "execution.endings.shows_secret",
    "{job}: its script would show a secret; put it into the environment or .env",
    zh="{job}：它的脚本会泄露密钥；请将密钥放入环境变量或 .env",
)
NO_RAY = Template(
    "execution.endings.no_ray",
    "ray: the package is not installed here; pip install 'bakeoff[ray]', or choose another --executor",
    zh="ray：本机没有安装该软件包；请执行 pip install 'bakeoff[ray]'，或改用其他 --executor",
)
NO_CLUSTER = Template(
    "execution.endings.no_cluster",
    "ray: no cluster answers at {address} ({problem}); start one with ray start --head, run this on one of its nodes, "
    "or give ray://HEAD:10001",
    zh="ray：{address} 没有集群响应（{problem}）；请用 ray start --head 启动集群、在集群节点上运行，或指定 ray://HEAD:10001",
)
NO_SUCH_NODE = Template(
    "execution.endings.no_such_node",
    "ray: {job} needs a node with {demand}; no node of the cluster has that",
    zh="ray：{job} 需要具备 {demand} 的节点；集群中没有这样的节点",
)
NO_WORKERS = Template(
    "execution.endings.no_workers",
    "-n has no meaning with --executor {kind}: legs are jobs; leave it out",
    zh="使用 --executor {kind} 时 -n 没有意义：每个部分都是一个作业；请去掉 -n",
)
NO_JUDGE_HERE = Template(
    "execution.endings.no_judge_here",
    "judge.row: {row} would be deployed here, beside the session that queues jobs, and it {why}; give judge.url, start "
    "this session on a node that can, or take the judge out and judge afterwards",
    zh="judge.row：{row} 将部署在本机，与提交作业的会话同在一处，但{why}；请指定 judge.url、在能够运行它的节点上"
    "启动，或先去掉评审模型，之后再评审",
)
