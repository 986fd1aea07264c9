"""Is what answers what was trained?"""

from __future__ import annotations

import pytest

from bakeoff.chain.deployment import ONLY_ASKED, Deployment
from bakeoff.store.facts import HealthFacts, ParityFacts

pytestmark = pytest.mark.deploy


@pytest.fixture
def parity(deployed_model: Deployment) -> ParityFacts:
    """What the probe found before the model was served; see docs/identity.md."""
    if deployed_model.chain.spec.url:
        pytest.skip(ONLY_ASKED())
    return ParityFacts.read(deployed_model.parity().facts)


def test_serving_renders_the_prompts_of_the_training(parity: ParityFacts) -> None:
    """The prompts are alike token by token.

    For a single turn, several turns, with a system prompt, an empty one, and a long dialogue.
    """
    assert parity.dialogues == len(parity.prompt_tokens)


@pytest.mark.merging
def test_merged_weights_are_base_plus_adapter(parity: ParityFacts) -> None:
    """The merge is right tensor by tensor.

    One from which the adapter was dropped would be the base under the tuned name.
    """
    assert parity.applied is not None
    assert parity.applied > 0.5


def test_replies_are_those_of_the_weights(parity: ParityFacts, deployed_model: Deployment) -> None:
    """The running service answers as the weights do.

    It counts the same prompt tokens, begins its replies in the same way, and is as sure of them.
    """
    facts = HealthFacts.read(deployed_model.health().facts)
    questions = [reply for reply in parity.expected.values() if reply]
    assert facts.replies_agreed == len(questions)
    if facts.identity != "shown":
        pytest.skip(facts.identity)
