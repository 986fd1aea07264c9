"""Was the model trained to the end?"""

from __future__ import annotations

import math

import pytest

from bakeoff.chain.chain import Artifact
from bakeoff.store.facts import TrainingFacts

pytestmark = pytest.mark.train


def test_training_reached_its_last_step(trained_model: Artifact) -> None:
    """Exit code 0 alone is not enough.

    ms-swift writes its summary after a crash, too.
    """
    facts = TrainingFacts.read(trained_model.record.facts if trained_model.record else {"max_steps": 0})
    assert facts.global_step == facts.max_steps


def test_loss_is_finite_and_fell(trained_model: Artifact) -> None:
    """The loss is a number, and does not end at its highest.

    Otherwise the recipe does not fit the model.
    The first steps may raise it: a warm-up at a high learning rate shakes a base that knew the form already.
    """
    facts = TrainingFacts.read(trained_model.record.facts if trained_model.record else {})
    losses = [loss for _, loss in facts.loss_curve]
    assert all(math.isfinite(loss) for loss in losses)
    assert len(losses) < 2 or losses[-1] < max(losses)
