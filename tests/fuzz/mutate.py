"""Random mutations of byte strings, from a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final, Literal

MOST_BYTES: Final = 1 << 20
EXTREMES: Final = (0x00, 0x01, 0x7F, 0x80, 0xFA, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF)


def mutated(data: bytes, corpus: Sequence[bytes], source: random.Random) -> bytes:
    """One to eight random changes of `data`: bits, bytes and numbers changed, runs taken out, doubled, moved in from another
    entry of the corpus, or the end cut off."""
    changed = bytearray(data)
    for _ in range(source.choice((1, 1, 1, 2, 2, 3, 5, 8))):
        source.choice(_CHANGES)(changed, corpus, source)
    return bytes(changed[:MOST_BYTES])


def _place(data: bytearray, source: random.Random) -> int:
    """Rather near the beginning, where the lengths stand."""
    limit = len(data) if source.random() < 0.6 else min(len(data), 64)
    return source.randrange(limit) if limit else 0


def _run(data: bytearray, source: random.Random) -> slice:
    start = _place(data, source)
    return slice(start, start + min(len(data), source.choice((1, 2, 4, 8, 32, 256))))


def _flip(data: bytearray, corpus: Sequence[bytes], source: random.Random) -> None:
    if data:
        data[_place(data, source)] ^= 1 << source.randrange(8)


def _extreme(data: bytearray, corpus: Sequence[bytes], source: random.Random) -> None:
    if data:
        data[_place(data, source)] = source.choice(EXTREMES)


def _byte(data: bytearray, corpus: Sequence[bytes], source: random.Random) -> None:
    if data:
        data[_place(data, source)] = source.randrange(256)


def _number(data: bytearray, corpus: Sequence[bytes], source: random.Random) -> None:
    """A little- or big-endian number of 2 to 8 bytes, changed by a little or to an extreme."""
    size = source.choice((2, 3, 4, 8))
    order: Literal["little", "big"] = "little" if source.random() < 0.5 else "big"
    at = _place(data, source)
    part = data[at : at + size]
    if len(part) == size:
        value = int.from_bytes(part, order) + source.choice((-256, -2, -1, 1, 2, 256))
        value = source.choice((value, value, 0, -1, 1 << (8 * size - 1)))
        data[at : at + size] = (value % (1 << (8 * size))).to_bytes(size, order)


def _cut(data: bytearray, corpus: Sequence[bytes], source: random.Random) -> None:
    del data[_run(data, source)]


def _double(data: bytearray, corpus: Sequence[bytes], source: random.Random) -> None:
    run = _run(data, source)
    data[run.start : run.start] = data[run]


def _insert(data: bytearray, corpus: Sequence[bytes], source: random.Random) -> None:
    at = _place(data, source)
    data[at:at] = source.randbytes(source.choice((1, 2, 4, 16)))


def _splice(data: bytearray, corpus: Sequence[bytes], source: random.Random) -> None:
    other = bytearray(source.choice(corpus))
    data[_run(data, source)] = other[_run(other, source)]


def _truncate(data: bytearray, corpus: Sequence[bytes], source: random.Random) -> None:
    del data[_place(data, source) :]


_CHANGES: Final = (_flip, _flip, _extreme, _byte, _number, _number, _cut, _double, _insert, _splice, _truncate)
