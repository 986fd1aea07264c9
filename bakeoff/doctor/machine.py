"""Cards, disk, proxies and ports."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

from bakeoff.doctor.finding import (
    REMOTE_CODE,
    Finding,
    Visit,
    cached,
)
from bakeoff.execution.gpus import cards
from bakeoff.foundation.sentences import JOINED, Template
from bakeoff.tools import memory

_OFF = 1.25
"""An estimate of memory may be off by a quarter, and must not stop what may fit."""

TAKEN = Template(
    "doctor.machine.taken",
    "{taken:.0f} of {total:.0f} GiB are taken by other processes",
    zh="{total:.0f} GiB 显存中有 {taken:.0f} GiB 被其他进程占用",
)
END_THEM = Template(
    "doctor.machine.end_them",
    "end them (nvidia-smi shows who), or choose another card with gpus: or CUDA_VISIBLE_DEVICES",
    zh="结束这些进程（用 nvidia-smi 查看），或用 gpus: 或 CUDA_VISIBLE_DEVICES 选择另一块 GPU",
)
NO_GPU = Template(
    "doctor.machine.no_gpu",
    "needs a GPU, and this machine has none; its tests are skipped",
    zh="需要 GPU，而本机没有；该行的测试会被跳过",
)
ELSEWHERE = Template(
    "doctor.machine.elsewhere",
    "run it on a machine with a GPU; the smoke rows (-k tiny) run anywhere",
    zh="请在有 GPU 的机器上运行；微型模型（-k tiny）可在任何机器上运行",
)
STEPS_DOWN = Template(
    "doctor.machine.steps_down",
    "nothing: after an out-of-memory it steps down with the same effective batch (docs/matrix.md)",
    zh="无需处理：显存不足时会自动降低批大小，有效批大小不变（docs/matrix.md）",
)
END_OTHERS = Template(
    "doctor.machine.end_others",
    "end what else runs on the card (nvidia-smi shows it)",
    zh="结束该 GPU 上的其他进程（用 nvidia-smi 查看）",
)
LARGER = Template(
    "doctor.machine.larger",
    "a larger card, a smaller training.max_length, or a smaller model",
    zh="换用更大显存的 GPU、减小 training.max_length，或换用更小的模型",
)
SHARE = Template(
    "doctor.machine.share",
    "or several cards that share the weights (gpus: 2, training.extra: {{deepspeed: zero3}})",
    zh="或由多块 GPU 分担权重（gpus: 2，training.extra: {{deepspeed: zero3}}）",
)
MEMORY = Template(
    "doctor.machine.memory",
    "needs about {need:.0f} GiB of device memory; the freest card has {best:.0f}",
    zh="约需 {need:.0f} GiB 显存；空闲最多的 GPU 只有 {best:.0f} GiB",
)
MEMORY_EACH = Template(
    "doctor.machine.memory_each",
    "needs about {need:.0f} GiB of device memory of each card; the freest card has {best:.0f}",
    zh="每块 GPU 约需 {need:.0f} GiB 显存；空闲最多的 GPU 只有 {best:.0f} GiB",
)
DISK = Template("doctor.machine.disk", "disk", zh="磁盘")
NO_ROOM = Template(
    "doctor.machine.no_room",
    "base, merged weights and checkpoints of these rows need about {need:.0f} GiB; {folder} has {free:.0f} free",
    zh="这些行的基座、合并权重和检查点约需 {need:.0f} GiB；{folder} 仅剩 {free:.0f} GiB",
)
MAKE_ROOM = Template(
    "doctor.machine.make_room",
    "`make clean-stale` makes room; or a larger disk with --store, fewer rows at a time (-k), or "
    "training.save_total_limit: 1",
    zh="用 `make clean-stale` 清理；或用 --store 指定更大的磁盘，用 -k 分批运行，或设置 training.save_total_limit: 1",
)
PROXY = Template("doctor.machine.proxy", "proxy", zh="代理")
NOT_SPARED = Template(
    "doctor.machine.not_spared",
    "{variable} is set and NO_PROXY does not cover {hosts}: the run spares them, lines that are pasted by hand do not",
    zh="已设置 {variable}，而 NO_PROXY 不含 {hosts}：运行时会自动绕过代理，手动粘贴的命令则不会",
    between=(" and ", "、"),
)
SPARE = Template(
    "doctor.machine.spare",
    "for such lines: {line}",
    zh="手动运行前请执行：{line}",
)
PORT = Template("doctor.machine.port", "port {number}", zh="端口 {number}")
PORT_TAKEN = Template(
    "doctor.machine.port_taken",
    "cannot be used: {why}; whoever answers there would be scored under our name",
    zh="无法使用：{why}；否则占用该端口的其他服务会被当作本行评测",
)
FREE_IT = Template(
    "doctor.machine.free_it",
    "end that program, or remove serving.port: a free one is taken",
    zh="结束该程序，或删去 serving.port（将自动选用空闲端口）",
)


def check_devices(visit: Visit) -> Iterator[Finding]:
    """Yield which rows the cards of this machine are too small for."""
    visible = cards() if any(not row.on_cpu for row in visit.rows) else []
    for card in visible:
        if card.free_gib < 0.9 * card.total_gib:
            yield Finding(
                "warning",
                f"GPU {card.number}",
                TAKEN(taken=card.total_gib - card.free_gib, total=card.total_gib),
                END_THEM(),
            )
    for row in visit.rows:
        if row.on_cpu or row.url:
            continue
        if not visible:
            yield Finding("error", row.name, NO_GPU(), ELSEWHERE())
            continue
        shape = memory.shape_of(row.model or row.weights or "")
        best = max(card.free_gib for card in visible)
        whole = max(card.total_gib for card in visible)
        if shape is None:
            continue
        fusible = row.model_type not in REMOTE_CODE and not memory.is_parted_by_fsdp(row)
        training = row.training if fusible else row.training.model_copy(update={"fused_loss": False})
        sharded = memory.is_sharded(row)
        serves = memory.serving_gib(shape, row)
        need = memory.training_gib(shape, training, row.cards, sharded=sharded) if row.trains else serves
        if need > best:
            rungs = memory.ladder(training, fused_loss=fusible)
            needs = (memory.training_gib(shape, rung, row.cards, sharded=sharded) for rung in rungs)
            least = min(needs, default=need) if row.trains else need
            if least <= best:
                remedy = STEPS_DOWN()
            elif least <= whole:
                remedy = END_OTHERS()
            else:
                remedy = LARGER()
                if row.trains and not sharded:
                    remedy = JOINED(parts=[remedy, SHARE()])
            yield Finding(
                "error" if least > _OFF * whole else "warning",
                row.name,
                (MEMORY_EACH if row.cards > 1 else MEMORY)(need=need, best=best),
                remedy,
            )


def check_disk(visit: Visit) -> Iterator[Finding]:
    """Yield where a disk lacks room for what the rows will write."""
    need = 0.0
    for row in visit.rows:
        model = row.model or ""
        shape = None if row.url else memory.shape_of(model)
        if not shape:
            continue
        if not Path(model).expanduser().is_dir() and not cached(visit, "model", model):
            need += memory.disk_gib(shape, row, "base")
        if not any(visit.workspace.model(row.name).glob("export-*/record.json")):
            stages = {"train": row.trains, "export": row.trains or row.adapter}
            need += sum(memory.disk_gib(shape, row, stage) for stage, runs in stages.items() if runs)
    folder, free = memory.room_gib(visit.workspace.root)
    if need > free:
        yield Finding(
            "error",
            DISK(),
            NO_ROOM(need=need, folder=folder, free=free),
            MAKE_ROOM(),
        )


def check_network(visit: Visit) -> Iterator[Finding]:
    """Yield what proxies and taken ports would do to the services."""
    environ = visit.environ
    proxies = [n for n in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY") if environ.get(n)]
    spared = f"{environ.get('no_proxy', '')},{environ.get('NO_PROXY', '')}".replace(" ", "").split(",")
    missing = [host for host in ("127.0.0.1", "localhost") if host not in spared and "*" not in spared]
    if proxies and missing:
        yield Finding(
            "note",
            PROXY(),
            NOT_SPARED(variable=proxies[0], hosts=missing),
            SPARE(
                line='export NO_PROXY="${NO_PROXY:+$NO_PROXY,}127.0.0.1,localhost,::1" no_proxy="$NO_PROXY"'
            ),
        )
    for port in dict.fromkeys(row.serving.port for row in visit.rows if row.serving.port and not row.url):
        users = tuple(row.name for row in visit.rows if row.serving.port == port and not row.url)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                yield Finding(
                    "error",
                    PORT(number=port),
                    PORT_TAKEN(why=error.strerror),
                    FREE_IT(),
                    users,
                )
