"""What decides how a tokenizer turns text into ids and back."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

from bakeoff.probes.measured import Side, Sized, TokenizerFacts

_SAMPLE = (
    "ABCDEFGHIJ abcdefghij 0123456789\n\n答案：B。（A）《我》“你”、他；她！ The answer is C, isn't it?\t"
    "  two  spaces, ﬁve ＡＢＣ １２３ 繁體 かな 한글 é ñ 😀 <b> {x} [1] #2 $3 %4 a_b c-d e/f"
)
"""What every tokenizer is given to take apart and put together: letters of options, both scripts, odd white space."""


def tokenizer_facts(tokenizer: Any) -> TokenizerFacts:
    """What decides how *tokenizer* turns text into ids and back.

    Returns:
        ``vocabulary`` and ``merges``, each with its size and digest; ``added`` tokens by id; ``special`` ids by role;
        ``sample``, ids of a fixed text, and the text that they make. ``tokens`` are the vocabulary by id, which
        :func:`tell_tokenizers_apart` takes away. What a tokenizer cannot tell is None.
    """
    facts: dict[str, Any] = {}
    for name, ask in (
        ("tokens", _vocabulary_of),
        ("merges", _merges_of),
        ("added", _added_of),
        ("special", _special_of),
        ("sample", _sample_of),
    ):
        try:
            facts[name] = ask(tokenizer)
        except Exception:  # a model's own class may lack what the others have
            facts[name] = None
    tokens = facts["tokens"]
    facts["vocabulary"] = None if tokens is None else _sized(tokens)
    return cast(TokenizerFacts, facts)


def _sized(values: Sequence[object]) -> Sized:
    text = json.dumps(values, ensure_ascii=True)
    return {"size": len(values), "digest": hashlib.sha256(text.encode()).hexdigest()}


def _vocabulary_of(tokenizer: Any) -> list[tuple[int, str]]:
    """Every token with its id, by id."""
    return sorted((int(number), str(token)) for token, number in tokenizer.get_vocab().items())


def _merges_of(tokenizer: Any) -> Sized | None:
    """The merges of a tokenizer that has any, however its file writes them."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    merges = json.loads(backend.to_str())["model"].get("merges") if backend else None
    if merges is None:
        return None
    return _sized([pair.split(" ", 1) if isinstance(pair, str) else list(pair) for pair in merges])


def _added_of(tokenizer: Any) -> dict[str, list[object]]:
    """The added tokens by id, and whether a reply leaves them out."""
    added = tokenizer.added_tokens_decoder.items()
    return {str(number): [str(token.content), bool(token.special)] for number, token in sorted(added)}


def _special_of(tokenizer: Any) -> dict[str, int | None]:
    """The ids that begin and end a text; padding decides nothing."""
    return {name: getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos")}


def _sample_of(tokenizer: Any) -> list[object]:
    ids = [int(number) for number in tokenizer.encode(_SAMPLE, add_special_tokens=False)]
    return [ids, str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))]


def tell_tokenizers_apart(renders: Mapping[str, Side]) -> None:
    """Keep only the first tokens in which two vocabularies differ."""
    sides = [side["tokenizer"].pop("tokens") for side in renders.values()]
    listed = [dict(tokens) for tokens in sides if tokens is not None]
    if len(sides) == len(listed) == 2 and listed[0] != listed[1]:
        first, second = listed
        differing = [n for n in sorted({*first, *second}) if first.get(n) != second.get(n)]
        examples = [(n, first.get(n), second.get(n)) for n in differing[:3]]
        next(iter(renders.values()))["tokenizer"]["differing"] = (len(differing), examples)
