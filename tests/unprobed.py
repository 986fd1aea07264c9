"""Services of fake weights: the probe needs a real model; ``pytest -p tests.unprobed`` does without it in all rows."""

from __future__ import annotations

import pytest

from bakeoff.chain.deployment import Deployment
from bakeoff.store.stages import Record


class Unprobed(Deployment):
    """Without the probe, which needs a real model; the service itself is started and looked at as always."""

    def parity(self) -> Record:
        facts = {"prompt_tokens": {}, "expected": {}, "telling": [], "said": {}, "tolerance": 1.0}
        facts |= {"skipped": "no probe", "subject": ""}
        return Record("parity", "tiny", self.variant, "ran", "", "", "", "", "", 0.0, {}, None, facts)


def pytest_configure(config: pytest.Config) -> None:
    """Leave the probe out of every deployment of this session."""
    Deployment.parity = Unprobed.parity  # type: ignore[method-assign]
