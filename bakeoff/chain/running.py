"""Stages of one command line: build, conversion, export."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from bakeoff.execution.attempts import Attempts
from bakeoff.forms.published import facts_of, last_line
from bakeoff.foundation.command import Command
from bakeoff.foundation.errors import CommandFailed
from bakeoff.store.facts import CommandFacts, ConversionFacts
from bakeoff.store.stage import Stage
from bakeoff.store.stages import Done, Record

if TYPE_CHECKING:
    from bakeoff.chain.chain import Chain


def line(chain: Chain, stage: Stage[CommandFacts]) -> Record:
    """Return the record of a one-line *stage*, run unless stored."""
    (only,) = stage.lines
    command = stage.command(only)

    def work(output: Path) -> Done:
        if only.role:
            chain.tools(only.role).check(command)
            chain.look_at_disk(stage.name)
        return _run(chain, stage, command, output)

    return chain.bench.stages.ensure(stage, work)


def _run(chain: Chain, stage: Stage[CommandFacts], command: Command, output: Path) -> Done:
    limits, log = stage.limits, stage.log_file
    attempts = Attempts(limits.retries)
    while True:
        shutil.rmtree(output, ignore_errors=True)
        log.unlink(missing_ok=True)
        try:
            with chain.leased(stage.needs) as placed:
                process = chain.bench.runner.run(
                    placed(command), log, timeout_s=limits.timeout_s, stall_s=limits.stall_s
                )
            facts = {"gpus": placed.gpus, "attempts": attempts.notes}
            return Done(str(command), process.peak_memory_gib, facts)
        except CommandFailed as error:
            attempts.again(error)


def convert(chain: Chain, stage: Stage[ConversionFacts], output: Path) -> Done:
    """Convert the published base.

    What an earlier attempt left beside *output* is gone on from.
    """
    shutil.rmtree(output, ignore_errors=True)
    (only,) = stage.lines
    process = chain.bench.runner.run(
        only.command,
        stage.log_file,
        timeout_s=stage.limits.timeout_s,
        stall_s=stage.limits.stall_s,
        progress=chain.bench.stages.timeline.progress(
            lambda: last_line(stage.log_file), stage=stage.name, model=stage.row
        ),
    )
    return Done(str(only.command), process.peak_memory_gib, facts_of(output))
