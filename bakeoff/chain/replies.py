"""A deployed model's replies to the judge's counselling cases."""

from __future__ import annotations

import contextlib
import filecmp
import shutil
from collections import Counter
from pathlib import Path

from bakeoff.chain import stages
from bakeoff.chain.deployment import Deployment, see_alive, see_answering
from bakeoff.chain.service import Service
from bakeoff.judgement.replies import Reply, Respondent, gather, load_cases
from bakeoff.store.stages import Done, Record


def replies(deployment: Deployment) -> Record:
    """Return the record of the replies, gathered unless stored."""
    chain, variant = deployment.chain, deployment.variant
    shared = chain.bench.workspace.replies(chain.spec.name, variant)

    def work(output: Path) -> Done:
        answers = deployment.ask(lambda service: _gathered(deployment, service, output))
        shared.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(output, shared)
        counts = Counter(answer.status for answer in answers)
        return Done("", None, {"cases": len(answers)} | {str(status): n for status, n in counts.items() if n})

    record = chain.bench.stages.ensure(stages.replies(chain, variant), work)
    if chain.bench.stages.may_run and not filecmp.cmp(record.output, shared, shallow=False):
        with contextlib.suppress(OSError):  # a store that can only be read is reused all the same
            shutil.copyfile(record.output, shared)  # what is judged is what the model said
    return record


def _gathered(deployment: Deployment, service: Service, output: Path) -> list[Reply]:
    """Return a reply to each case.

    Those that *output* holds already are not asked for again.

    Raises:
        ServiceError: replies are lacking because the service died.
        Stalled: they are lacking because it hangs, and it may be started again.
    """
    spec = deployment.chain.spec
    respondent = Respondent(
        url=service.url,
        name=service.served_name,
        model=spec.name,
        variant=deployment.variant,
        fingerprint=deployment.fingerprint,
        api_key_env=spec.key_env or "",
        timeout_s=min(300.0, spec.limits.stall_s),
    )
    cases = load_cases(deployment.chain.bench.matrix.cases_file)
    answers = gather(respondent, cases, output, at_once=spec.serving.in_flight)
    if any(answer.status == "errored" for answer in answers):
        see_alive(service)
        if deployment.may_start_again:
            see_answering(service)
    return answers
