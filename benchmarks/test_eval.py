"""What does the model know, and can the number be trusted?"""

from __future__ import annotations

from typing import Any

import pytest

from bakeoff.matrix.schema import Suite

pytestmark = pytest.mark.eval


def test_score_can_be_trusted(result: dict[str, Any], suite: Suite) -> None:
    """Every question was asked, answered and read; nothing but answers was graded. How high it is does not matter."""
    if suite.may_be_untrusted and not result["trusted"]:
        pytest.xfail(f"{suite.may_be_untrusted}: {result['why_not']}")
    assert result["trusted"], result["why_not"]


@pytest.mark.expecting
def test_outcome_is_what_the_matrix_expects(result: dict[str, Any], suite: Suite, variant: str) -> None:
    """Tuning taught what only the training set knows: template, merge and the model behind the port are right."""
    assert suite.expect.why_missed(variant, result["scores"][0]["value"]) == ""
