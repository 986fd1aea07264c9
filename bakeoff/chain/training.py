"""A training, continued where an earlier one was cut short.

Where memory lacks, it goes on with smaller batches.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bakeoff.execution.attempts import Attempts
from bakeoff.execution.runner import Process
from bakeoff.foundation import secrecy
from bakeoff.foundation.command import Command
from bakeoff.foundation.errors import CommandFailed, OutOfMemory, Stalled
from bakeoff.foundation.files import write_json
from bakeoff.foundation.sentences import Template
from bakeoff.matrix.datasets import dataset_name
from bakeoff.matrix.schema import ModelSpec
from bakeoff.matrix.settings import Training
from bakeoff.store.facts import TrainingFacts
from bakeoff.store.stage import Stage
from bakeoff.store.stages import Done
from bakeoff.tools import checkpoints, memory, swift
from bakeoff.training_data.health import count_rows, why_fewer, why_none_left

if TYPE_CHECKING:
    from bakeoff.chain.chain import Chain

CONTINUED = Template("chain.training.continued", "continued from {checkpoint}", zh="从 {checkpoint} 继续训练")
OUT_OF_MEMORY = Template(
    "chain.training.out_of_memory",
    "out of memory at batch {batch}: {error}",
    zh="批大小 {batch} 时显存或内存不足，已减小批大小：{error}",
    en="out of memory at batch size {batch}, retried with a smaller one: {error}",
)
TENSORBOARD_INSTEAD = Template(
    "chain.training.tensorboard_instead",
    "{why}: TensorBoard tracks the rest of this training",
    zh="SwanLab 中断（{why}），其余训练改由 TensorBoard 记录",
    en="SwanLab failed ({why}); TensorBoard logs the rest of this training",
)
SILENCE = Template(
    "chain.training.silence",
    "a silence, perhaps SwanLab's",
    zh="长时间没有输出，可能与 SwanLab 有关",
    en="no output for too long, perhaps because of SwanLab",
)


def train(chain: Chain, stage: Stage[TrainingFacts], output: Path) -> Done:
    """Train the row into *output*, and return what was measured.

    Raises:
        CommandFailed: it failed for good, or ended before its last step.
        ToolError: the installed tools would refuse its line, or that of the export.
    """
    for command in (chain.train_command(), chain.export_command()):
        chain.tools("train").check(command)
    job = _Job(chain, stage, output, stage.identity(), chain.spec.training, Attempts(stage.limits.retries))
    job.take_up()
    chain.look_at_disk(stage.name)
    while True:
        resume = job.prepare()
        command = chain.train_command(job.training, resume)
        written = job.log.stat().st_size if job.log.exists() else 0
        try:
            process, gpus = job.run(command)
            break
        except OutOfMemory as error:
            job.step_down(error)
        except CommandFailed as error:
            job.go_on_after(error, written)
    since = int(resume.name.partition("-")[2]) if resume else 0
    facts = job.facts(since, command) | {
        "gpus": gpus,
        "attempts": job.attempts.notes,
        "batch_size": job.training.batch_size,
        "effective_batch": job.training.effective_batch,
    }
    _link_newest(output)
    return Done(str(chain.train_command(job.training)), process.peak_memory_gib, facts)


@dataclass
class _Job:
    """One training and its tries.

    Attributes:
        training: the rung of the memory ladder that it is on, with the tracker that it has.
    """

    chain: Chain
    stage: Stage[TrainingFacts]
    output: Path
    identity: dict[str, object]
    training: Training
    attempts: Attempts

    @property
    def log(self) -> Path:
        return self.stage.log_file

    @property
    def begun(self) -> Path:
        """Return the file that says how the output was begun.

        Of which identity, and with which mathematics.
        """
        return self.stage.folder / "begun.json"

    def take_up(self) -> None:
        """Go to the rung of the memory ladder that was reached before."""
        rungs = (self.training, *self._smaller())
        self.training = next((rung for rung in rungs if self._is_begun(rung)), self.training)

    def prepare(self) -> Path | None:
        """Return the checkpoint to continue from.

        Without one, what is there is removed, and the training begins.
        """
        resume = checkpoints.last_checkpoint(self.output) if self._is_begun(self.training) else None
        if resume and checkpoints.why_other_adapter(resume, self.training):
            resume = None
        if resume is None:
            shutil.rmtree(self.output, ignore_errors=True)
            self.log.unlink(missing_ok=True)
            write_json(self.begun, self._beginning(self.training))
        else:
            self.attempts.notes.append(CONTINUED(checkpoint=resume.name))
        return resume

    def run(self, command: Command) -> tuple[Process, int]:
        """Run *command* to its end; return its process and its cards."""
        timeline, limits = self.chain.bench.stages.timeline, self.stage.limits
        with self.chain.leased(self.stage.needs) as placed:
            process = self.chain.bench.runner.run(
                placed(command),
                self.log,
                timeout_s=limits.timeout_s,
                stall_s=limits.stall_s,
                progress=timeline.progress(
                    lambda: checkpoints.how_far(self.output), stage=self.stage.name, model=self.stage.row
                ),
            )
        return process, placed.gpus

    def step_down(self, error: OutOfMemory) -> None:
        """Go on with a smaller batch.

        Raises:
            OutOfMemory: *error*, where there is none.
        """
        smaller = next(iter(self._smaller()), None)
        if smaller is None:
            raise error
        self.attempts.notes.append(
            OUT_OF_MEMORY(batch=self.training.batch_size, error=str(error).splitlines()[0])
        )
        # The same batch continues from its newest checkpoint. Another one starts again: transformers 4 takes
        # the checkpoint's batch for the dataloader, whatever the line says, and may count other updates.
        if smaller.batch_size == self.training.batch_size:
            write_json(self.begun, self._beginning(smaller))
        self.training = smaller

    def go_on_after(self, error: CommandFailed, written: int) -> None:
        """Wait for the next try after *error*.

        Without the tracker where that was the cause.

        Args:
            written: bytes that the log had before the try that failed.

        Raises:
            CommandFailed: *error*, where no try is left or another one cannot help.
        """
        if why := why_none_left(_printed_since(self.log, written), self.training.max_length):
            raise CommandFailed(
                f"{self.stage.row}: {why}\n{error}", returncode=error.returncode, log=self.log
            ) from error
        if self.training.tracker == "swanlab" and (why := _why_untracked(error, self.log, written)):
            self.attempts.notes.append(TENSORBOARD_INSTEAD(why=why))
            self.training = self.training.model_copy(update={"tracker": "tensorboard"})
        else:
            self.attempts.again(error)

    def facts(self, since: int, command: Command) -> dict[str, object]:
        """Return what was measured since the checkpoint of step *since*.

        Raises:
            CommandFailed: it ended before its last step.
        """
        facts: dict[str, object] = dict(checkpoints.training_facts(self.output, since=since))
        measured = TrainingFacts.read(facts)
        if measured.global_step != measured.max_steps:
            raise CommandFailed(
                f"{self.stage.row}: training ended with exit code 0 at step {measured.global_step} of "
                f"{measured.max_steps}; log: {self.log}\nby hand: {command}",
                log=self.log,
            )
        if why := _why_fewer_rows(self.chain.spec, measured):
            facts["warnings"] = [why]
        return facts

    def _smaller(self) -> tuple[Training, ...]:
        spec = self.chain.spec
        fused_loss = not (spec.trust_remote_code or memory.is_parted_by_fsdp(spec))
        return tuple(memory.ladder(self.training, fused_loss=fused_loss))

    def _beginning(self, training: Training) -> dict[str, object]:
        return {"identity": self.identity, "training": _mathematics(training)}

    def _is_begun(self, training: Training) -> bool:
        try:
            before = json.loads(self.begun.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return bool(before == json.loads(json.dumps(self._beginning(training), default=str)))


def _mathematics(training: Training) -> dict[str, object]:
    """Return what decides the weights: who watches the training does not."""
    return training.model_dump(exclude={"tracker"})


def _why_untracked(error: CommandFailed, log: Path, written: int) -> str:
    """Return how SwanLab ended a training, empty where it did not.

    Its *log* had *written* bytes before.

    A silence may be anybody's. It is laid at the tracker's door once, because going on without it costs nothing.
    """
    if isinstance(error, Stalled):
        return SILENCE()
    if (error.returncode or 0) <= 0:
        return ""
    return secrecy.redact(swift.why_untracked(_printed_since(log, written)))


def _printed_since(log: Path, written: int) -> str:
    """Return the end of a *log* that had *written* bytes before."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(written, log.stat().st_size - 64 * 1024))
        return file.read().decode("utf-8", "replace")


def _why_fewer_rows(spec: ModelSpec, facts: TrainingFacts) -> str:
    """Return why fewer rows were trained on than the data have.

    Empty where that cannot be counted here.
    """
    names = [dataset_name(dataset) for dataset in spec.dataset]
    if spec.training.packing or not all(name.path and name.path.exists() for name in names):
        return ""
    rows = sum(name.rows or count_rows(Path(name.place)) for name in names)
    return why_fewer(rows, facts.train_dataset, spec.training.validation_share)


def _link_newest(output: Path) -> None:
    """Let ``last-checkpoint`` be the newest one; ms-swift 3 does not make it."""
    link, newest = output / "last-checkpoint", checkpoints.last_checkpoint(output)
    if newest and link.resolve() != newest.resolve():
        link.unlink(missing_ok=True)
        link.symlink_to(newest.name)
