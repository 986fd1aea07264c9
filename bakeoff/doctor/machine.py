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
from bakeoff.tools import memory

_OFF = 1.25
"""An estimate of memory may be off by a quarter, and must not stop what may fit."""


def check_devices(visit: Visit) -> Iterator[Finding]:
    """Yield which rows the cards of this machine are too small for."""
    visible = cards() if any(not row.on_cpu for row in visit.rows) else []
    for card in visible:
        if card.free_gib < 0.9 * card.total_gib:
            yield Finding(
                "warning",
                f"GPU {card.number}",
                f"{card.total_gib - card.free_gib:.0f} of {card.total_gib:.0f} GiB are taken by other processes",
                "end them (nvidia-smi shows who), or choose another card with gpus: or CUDA_VISIBLE_DEVICES",
            )
    for row in visit.rows:
        if row.on_cpu or row.url:
            continue
        if not visible:
            yield Finding(
                "error",
                row.name,
                "needs a GPU, and this machine has none; its tests are skipped",
                "run it on a machine with a GPU; the smoke rows (-k tiny) run anywhere",
            )
            continue
        shape = memory.shape_of(row.model or row.weights or "")
        best = max(card.free_gib for card in visible)
        whole = max(card.total_gib for card in visible)
        if shape is None:
            continue
        fusible = row.model_type not in REMOTE_CODE
        training = row.training if fusible else row.training.model_copy(update={"fused_loss": False})
        sharded = memory.is_sharded(row)
        serves = memory.serving_gib(shape, row)
        need = memory.training_gib(shape, training, row.cards, sharded=sharded) if row.trains else serves
        if need > best:
            rungs = memory.ladder(training, fused_loss=fusible)
            needs = (memory.training_gib(shape, rung, row.cards, sharded=sharded) for rung in rungs)
            least = min(needs, default=need) if row.trains else need
            if least <= best:
                remedy = "nothing: after an out-of-memory it steps down with the same effective batch (docs/matrix.md)"
            elif least <= whole:
                remedy = "end what else runs on the card (nvidia-smi shows it)"
            else:
                remedy = "a larger card, a smaller training.max_length, or a smaller model"
                if row.trains and not sharded:
                    remedy += "; or several cards that share the weights (gpus: 2, training.extra: {deepspeed: zero3})"
            yield Finding(
                "error" if least > _OFF * whole else "warning",
                row.name,
                f"needs about {need:.0f} GiB of device memory{' of each card' * (row.cards > 1)}; the freest card has "
                f"{best:.0f}",
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
            "disk",
            f"base, merged weights and checkpoints of these rows need about {need:.0f} GiB; "
            f"{folder} has {free:.0f} free",
            "`make clean-stale` makes room; or a larger disk with --store, fewer rows at a time (-k), or "
            "training.save_total_limit: 1",
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
            "proxy",
            f"{proxies[0]} is set and NO_PROXY does not cover {' and '.join(missing)}: the run spares them, lines that "
            "are pasted by hand do not",
            'for such lines: export NO_PROXY="${NO_PROXY:+$NO_PROXY,}127.0.0.1,localhost,::1" no_proxy="$NO_PROXY"',
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
                    f"port {port}",
                    f"cannot be used: {error.strerror}; whoever answers there would be scored under our name",
                    "end that program, or remove serving.port: a free one is taken",
                    users,
                )
