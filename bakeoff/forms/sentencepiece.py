"""Read a SentencePiece BPE model and write it as a ``tokenizer.json``.

The published ``tokenizer.model`` is a protobuf. Its few fields are read by hand, because the generated classes of the
sentencepiece package and ms-swift ask for different versions of protobuf. Field numbers are those of
``sentencepiece_model.proto``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path

from bakeoff.forms import reasons
from bakeoff.foundation.errors import DataError

SPACE = "▁"
"""How SentencePiece writes a space inside a piece."""


class Kind(IntEnum):
    """The type of a piece."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Piece:
    """An entry of the vocabulary; its place is its id."""

    text: str
    score: float
    kind: Kind


@dataclass(frozen=True)
class Vocabulary:
    """What a ``tokenizer.model`` holds, as far as it decides the ids.

    Attributes:
        dummy_prefix: whether a space is put in front of each text.
    """

    pieces: tuple[Piece, ...]
    dummy_prefix: bool


@dataclass(frozen=True)
class Specials:
    """Tokens that the model's own code adds to its SentencePiece vocabulary.

    Attributes:
        renamed: text of a piece -> the name by which the code calls it.
        added: id -> text of tokens behind the vocabulary.
        opening: tokens in front of every text that is encoded.
        bos, eos, pad, unk: texts of the tokens with these parts.
    """

    renamed: Mapping[str, str]
    added: Mapping[int, str]
    opening: tuple[str, ...]
    bos: str = "<s>"
    eos: str = "</s>"
    pad: str = "<unk>"
    unk: str = "<unk>"


def read_vocabulary(path: Path) -> Vocabulary:
    """Read a ``tokenizer.model``.

    Raises:
        DataError: it is no SentencePiece BPE model with byte fallback, or normalises its input.
    """
    pieces: list[Piece] = []
    trainer: dict[int, int | bytes] = {}
    normalizer: dict[int, int | bytes] = {}
    try:
        for field, value in _fields(path.read_bytes()):
            if field == 1 and isinstance(value, bytes):
                pieces.append(_piece(value))
            elif field == 2 and isinstance(value, bytes):
                trainer = dict(_fields(value))
            elif field == 3 and isinstance(value, bytes):
                normalizer = dict(_fields(value))
    except (IndexError, ValueError, struct.error) as error:
        raise DataError(reasons.NO_SENTENCEPIECE(file=path, error=error)) from None
    problems = [
        template()
        for wrong, template in (
            (not pieces, reasons.NO_PIECES),
            (trainer.get(3) != 2, reasons.NOT_BPE),
            (trainer.get(35) != 1, reasons.NO_FALLBACK),
            (trainer.get(24, 0) != 0, reasons.SUFFIXES),
            (normalizer.get(2, b"") != b"", reasons.NORMALISES),
            (normalizer.get(4, 1) != 0, reasons.REMOVES),
            (normalizer.get(5, 1) != 1, reasons.NO_ESCAPE),
        )
        if wrong
    ]
    if problems:
        raise DataError(reasons.UNKNOWN_TOKENIZER(file=path, problems=problems))
    return Vocabulary(tuple(pieces), dummy_prefix=normalizer.get(3, 1) == 1)


def fit(specials: Specials, size: int) -> Specials:
    """Return *specials* for a vocabulary of *size* pieces.

    Added tokens follow the last piece, as in the release.
    """
    shift = size - min(specials.added, default=size)
    return replace(specials, added={i + shift: text for i, text in specials.added.items()})


def tokenizer_json(vocabulary: Vocabulary, specials: Specials) -> dict[str, object]:
    """Return the content of a ``tokenizer.json`` that gives the same ids.

    Merges are the pairs of pieces that make another piece, in order of its score, as SentencePiece merges. User-defined
    pieces become added tokens: found first, longest first, and never merged.

    Raises:
        DataError: user-defined pieces together with a dummy prefix, which this format cannot express.
    """
    pieces = vocabulary.pieces
    names = {i: specials.renamed.get(piece.text, piece.text) for i, piece in enumerate(pieces)}
    names.update(specials.added)
    ids = {text: i for i, text in names.items()}
    if len(ids) != len(names):
        raise DataError(reasons.SAME_TEXT())
    user_defined = {i for i, piece in enumerate(pieces) if piece.kind is Kind.USER_DEFINED}
    if user_defined and vocabulary.dummy_prefix:
        raise DataError(reasons.DUMMY_PREFIX())
    special = {i for i, p in enumerate(pieces) if p.kind in (Kind.CONTROL, Kind.UNKNOWN)}
    special |= {i for i, piece in enumerate(pieces) if piece.text in specials.renamed} | {*specials.added}
    escape = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    prefix = [{"type": "Prepend", "prepend": SPACE}] if vocabulary.dummy_prefix else []
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if vocabulary.dummy_prefix else []
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [_added(i, names[i], special=i in special) for i in sorted(special | user_defined)],
        "normalizer": {"type": "Sequence", "normalizers": [*prefix, escape]},
        "pre_tokenizer": None,
        "post_processor": _opening(specials.opening, ids),
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
                *strip,
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": specials.unk,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": dict(sorted(ids.items(), key=lambda entry: entry[1])),
            "merges": merges(pieces),
        },
    }


def _added(i: int, text: str, *, special: bool) -> dict[str, object]:
    return {
        "id": i,
        "content": text,
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": False,
        "special": special,
    }


def merges(pieces: tuple[Piece, ...]) -> list[list[str]]:
    """Return the pairs that SentencePiece merges, by score.

    The highest first.
    """
    ids = {piece.text: i for i, piece in enumerate(pieces) if piece.kind is Kind.NORMAL}
    pairs = []
    for text, i in ids.items():
        for cut in range(1, len(text)):
            left, right = text[:cut], text[cut:]
            if left in ids and right in ids:
                pairs.append((-pieces[i].score, ids[left], ids[right], left, right))
    return [[left, right] for *_, left, right in sorted(pairs)]


def _opening(tokens: tuple[str, ...], ids: Mapping[str, int]) -> dict[str, object] | None:
    if not tokens:
        return None
    front: list[dict[str, object]] = [{"SpecialToken": {"id": token, "type_id": 0}} for token in tokens]
    return {
        "type": "TemplateProcessing",
        "single": [*front, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [*front, {"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in tokens},
    }


def _piece(message: bytes) -> Piece:
    text, score, kind = "", 0.0, Kind.NORMAL
    for field, value in _fields(message):
        if field == 1 and isinstance(value, bytes):
            text = value.decode("utf-8")
        elif field == 2 and isinstance(value, bytes):
            (score,) = struct.unpack("<f", value)
        elif field == 3 and isinstance(value, int):
            kind = Kind(value)
    return Piece(text, score, kind)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield (field number, value) of a protobuf message.

    Numbers as int, everything else as bytes.
    """
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        field, wire = key >> 3, key & 7
        if wire == 0:
            number, place = _varint(message, place)
            yield field, number
            continue
        if wire == 2:
            size, place = _varint(message, place)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {place}")
        if place + size > len(message):
            raise ValueError(f"cut short at byte {len(message)}")
        yield field, message[place : place + size]
        place += size


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[place]
        value |= (byte & 0x7F) << shift
        place, shift = place + 1, shift + 7
        if byte < 0x80:
            return value, place
