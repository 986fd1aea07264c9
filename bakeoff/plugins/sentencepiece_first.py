"""Lets a remote-code tokenizer of the Baichuan2 kind load under transformers 4.34 and newer.

Such a class opens its SentencePiece model after ``super().__init__``, which since 4.34 already asks for the
vocabulary (https://github.com/baichuan-inc/Baichuan2/issues/204). Given to ms-swift as a plugin, this opens the model
first; tokenizers that do so themselves are left as they are.
"""

from __future__ import annotations

import functools
from typing import Any

_CLASSES = ("BaichuanTokenizer",)


def open_sentencepiece_first() -> None:
    """From now on the tokenizers concerned have their SentencePiece model when transformers asks for it."""
    from transformers import PreTrainedTokenizerBase

    original = PreTrainedTokenizerBase.from_pretrained.__func__
    if getattr(original, "opens_sentencepiece_first", False):
        return

    @functools.wraps(original)
    def from_pretrained(cls: Any, *args: Any, **kwargs: Any) -> Any:
        if cls.__name__ in _CLASSES:
            _repair(cls)
        return original(cls, *args, **kwargs)

    from_pretrained.opens_sentencepiece_first = True  # type: ignore[attr-defined]
    PreTrainedTokenizerBase.from_pretrained = classmethod(from_pretrained)


def _repair(cls: Any) -> None:
    original = cls.__init__
    if getattr(original, "opens_sentencepiece_first", False):
        return

    @functools.wraps(original)
    def opened_first(self: Any, vocab_file: str, *args: Any, **kwargs: Any) -> None:
        from sentencepiece import SentencePieceProcessor

        self.sp_model = SentencePieceProcessor(model_file=vocab_file, **(kwargs.get("sp_model_kwargs") or {}))
        original(self, vocab_file, *args, **kwargs)

    opened_first.opens_sentencepiece_first = True  # type: ignore[attr-defined]
    cls.__init__ = opened_first


if __name__ != "bakeoff.plugins.sentencepiece_first":  # ms-swift 4.6 names it by a hash
    open_sentencepiece_first()
