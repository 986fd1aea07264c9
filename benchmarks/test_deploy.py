"""Does the service answer, and is it ours?"""

from __future__ import annotations

import pytest

from bakeoff.chain.deployment import Deployment
from bakeoff.store.facts import HealthFacts

pytestmark = pytest.mark.deploy


def test_service_is_healthy(deployed_model: Deployment) -> None:
    """It lists the name of the row, and a completion arrives."""
    health = HealthFacts.read(deployed_model.health().facts)
    assert deployed_model.served_name in health.models
