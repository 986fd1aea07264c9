"""What a page is told when something is refused, in both languages."""

from __future__ import annotations

from bakeoff.foundation.errors import BakeoffError


def refusal(error: BakeoffError) -> dict[str, str]:
    """Return *error* in both languages, as the page takes it."""
    chinese = getattr(error, "zh", "") or f"出了问题：{error}"
    return {"error": plain(str(error)), "error_zh": plain(chinese)}


def plain(text: str) -> str:
    """*text* as a browser can be sent it: half a character cannot."""
    return text.encode("utf-8", "replace").decode("utf-8")
