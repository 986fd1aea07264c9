"""Do the merged weights hold what was trained?"""

from __future__ import annotations

import pytest

from bakeoff.chain.chain import Artifact, Chain
from bakeoff.probes.weights import first_changed
from bakeoff.tools import checkpoints

pytestmark = pytest.mark.export


def test_merged_weights_are_whole(exported_model: Artifact) -> None:
    """Every shard that the index names is there, and none was cut short."""
    assert checkpoints.why_weights_broken(exported_model.folder) == ""


def test_merged_weights_differ_from_the_base(exported_model: Artifact, chain: Chain) -> None:
    """The merge is another model than the base.

    An adapter that was never applied leaves the base under the tuned name, whatever lies beside its tensors.
    """
    base = chain.base()
    if not base.folder.is_dir():
        pytest.skip(
            f"{base.path} lies in a hub's cache; before it is served its tensors are compared one by one"
        )
    assert first_changed(base.path, exported_model.path)
