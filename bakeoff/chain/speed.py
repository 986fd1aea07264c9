"""How fast a deployed model answers, at one request and at many."""

from __future__ import annotations

import shutil
from pathlib import Path

from bakeoff.chain import stages
from bakeoff.chain.deployment import Deployment, see_alive
from bakeoff.chain.evaluation import made_by
from bakeoff.chain.results import without_nan
from bakeoff.chain.service import Service
from bakeoff.evalscope import speed as measuring
from bakeoff.foundation.command import Command
from bakeoff.foundation.files import write_json
from bakeoff.foundation.sentences import with_statements
from bakeoff.store.facts import HealthFacts, SpeedFacts
from bakeoff.store.stage import Stage
from bakeoff.store.stages import Done, Record


def speed(deployment: Deployment) -> Record:
    """Return the record of its speed, measured now unless it is in the store.

    It holds the time to the first token, and tokens and requests per second.
    """
    chain, variant = deployment.chain, deployment.variant
    stage = stages.speed(chain, variant)

    def work(output: Path) -> Done:
        command = deployment.ask(lambda service: _measure(deployment, stage, service))
        answers_as = HealthFacts.read(deployment.service().facts).answers_as
        rows = measuring.speed_rows(
            measuring.read_speed(stage.folder, answers_as),
            run_id="",
            model=chain.spec.name,
            variant=variant,
            suite="speed",
            fingerprint=deployment.fingerprint,
            **made_by(deployment, output),
        )
        write_json(output, with_statements(without_nan({"scores": rows, "samples": []})))
        gpus = HealthFacts.read(deployment.service().facts).gpus
        return Done(str(command), None, {"gpus": gpus, "restarts": deployment.restarts})

    return chain.bench.stages.ensure(stage, work)


def _measure(deployment: Deployment, stage: Stage[SpeedFacts], service: Service) -> Command:
    """Measure at every level, and return the line to measure again by hand."""
    folder, limits, key_env = stage.folder, stage.limits, deployment.chain.spec.key_env
    shutil.rmtree(folder / "perf", ignore_errors=True)  # an earlier attempt's levels
    measuring.write_prompts(folder)
    command, by_hand = (
        measuring.speed_command(url, service.served_name, folder, key_env=key_env)
        for url in (service.url, deployment.by_hand_url)
    )
    deployment.chain.bench.runner.run(
        command,
        stage.log_file,
        timeout_s=limits.timeout_s,
        stall_s=limits.stall_s,
        progress=lambda: see_alive(service),
    )
    see_alive(service)
    return by_hand
