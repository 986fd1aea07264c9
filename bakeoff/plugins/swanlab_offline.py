"""SwanLab's offline mode: the run is kept on disk, for ``swanlab sync`` to send it later.

Given to ms-swift by ``--external_plugins`` where the matrix says ``tracker_mode: offline``. Reason: ms-swift's
``--swanlab_mode`` takes ``cloud`` and ``local`` only and hands its value on, so that SWANLAB_MODE is not heard.
"""

from __future__ import annotations

from typing import Any

from swanlab.integration.transformers import SwanLabCallback  # type: ignore[import-not-found,unused-ignore]

begin = SwanLabCallback.__init__


def offline(self: Any, *arguments: Any, **options: Any) -> None:
    """What SwanLabCallback does when it is made, in the mode that ms-swift does not know."""
    begin(self, *arguments, **{**options, "mode": "offline"})


SwanLabCallback.__init__ = offline
