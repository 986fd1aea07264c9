"""Is what answers what was trained?"""

from __future__ import annotations

import pytest

from bakeoff.chain.deployment import Deployment
from bakeoff.store.stages import Record

pytestmark = pytest.mark.deploy


@pytest.fixture
def parity(deployed_model: Deployment) -> Record:
    """What the probe found before the model was served; see docs/identity.md."""
    if deployed_model.chain.spec.url:
        pytest.skip("a service that somebody else runs can only be asked, not opened")
    return deployed_model.parity()


def test_serving_renders_the_prompts_of_the_training(parity: Record) -> None:
    """Token by token, for a single turn, several turns, with a system prompt, an empty one, and a long dialogue."""
    assert parity.facts["dialogues"] == len(parity.facts["prompt_tokens"])


@pytest.mark.merging
def test_merged_weights_are_base_plus_adapter(parity: Record) -> None:
    """Tensor by tensor; and a merge from which the adapter was dropped would be the base under the tuned name."""
    assert parity.facts["applied"] > 0.5


def test_replies_are_those_of_the_weights(parity: Record, deployed_model: Deployment) -> None:
    """The running service counts the same prompt tokens, begins its replies as the weights do, and as sure of them."""
    facts = deployed_model.health().facts
    asked = [reply for reply in parity.facts["expected"].values() if reply]
    assert facts["replies_agreed"] == len(asked)
    identity = facts.get("identity", "not shown: the record is of a time when it was not asked for")
    if identity != "shown":
        pytest.skip(identity)
