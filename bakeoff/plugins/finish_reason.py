"""Lets ms-swift before 3.6 say truthfully why a reply ended.

Its ``_get_finish_reason`` compares the *prompt's* tokens with ``max_tokens``, so every reply to a prompt that is longer
than the longest reply allowed is reported as cut off ("length"). Given as a plugin to ``swift deploy``, this compares
the reply's tokens, as ms-swift does since 3.6; a version that is right already is left as it is.
"""

from __future__ import annotations

import inspect
import threading
from typing import Any


def tell_the_reason_truly(engine: Any) -> None:
    """Repairs the class *engine* (``InferEngine``) where it needs it."""
    original = engine._get_finish_reason
    if "num_prompt_tokens" not in inspect.signature(original).parameters:
        return
    last = threading.local()

    def noting(count: Any) -> Any:
        # both are called with the reply's tokens right before the reason is asked for
        def counted(first: Any, completion_tokens: int) -> Any:
            last.completion_tokens = completion_tokens
            return count(first, completion_tokens)

        return staticmethod(counted)

    engine._get_usage_info = noting(engine._get_usage_info)
    engine._update_usage_info = noting(engine._update_usage_info)
    engine._get_finish_reason = staticmethod(
        lambda max_tokens, num_prompt_tokens, is_finished: original(
            max_tokens, last.completion_tokens, is_finished
        )
    )


if __name__ != "bakeoff.plugins.finish_reason":  # ms-swift 4.6 names it by a hash
    try:
        from swift.llm.infer.infer_engine.infer_engine import (  # type: ignore[import-not-found,import-untyped,unused-ignore]
            InferEngine,
        )
    except ImportError:  # 4.0 and newer, where it is right
        pass
    else:
        tell_the_reason_truly(InferEngine)
