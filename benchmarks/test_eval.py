"""What does the model know, and can the number be trusted?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bakeoff.matrix.schema import Suite

if TYPE_CHECKING:
    from bakeoff.evalscope.types import SuiteResult

pytestmark = pytest.mark.eval


def test_score_can_be_trusted(result: SuiteResult, suite: Suite) -> None:
    """Every question was asked, answered and read.

    Nothing but answers was graded. How high the score is does not matter.
    """
    if suite.may_be_untrusted and not result["trusted"]:
        pytest.xfail(f"{suite.may_be_untrusted}: {result['why_not']}")
    if not result["trusted"]:
        pytest.fail(f"invalid score: {result['why_not']}", pytrace=False)


@pytest.mark.expecting
def test_outcome_is_what_the_matrix_expects(result: SuiteResult, suite: Suite, variant: str) -> None:
    """Tuning taught what only the training set knows.

    So template, merge and the model behind the port are right.
    """
    assert suite.expect.why_missed(variant, result["scores"][0]["value"]) == ""
