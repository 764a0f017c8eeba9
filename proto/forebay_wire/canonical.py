"""Canonical rows and their digests: what "equal" means when source and platform are compared.

A row's canonical bytes are, for each column in order, `<n>:<text>` with n the length of the text in bytes, or `-` for
NULL; so no two different rows share them. A column's canonical text depends on its Arrow type only:

    boolean 0/1 · integers in decimal · float as the IEEE 754 bit pattern of its double in decimal, every NaN the same ·
    decimal with all the digits of its scale · date as days, timestamp as microseconds since 1970 · text and binary as is

A row digest is BLAKE2b-128 (RFC 7693) of these bytes; a table digest is the sum of its row digests modulo 2^128, which
does not depend on order and counts doubled rows. Keys fall into `BUCKETS` buckets by their digest, so that two ends
compare 1,024 sums first and list keys only where sums differ.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

BUCKETS: Final = 1_024
DIGEST_BYTES: Final = 16
_MODULUS_MASK: Final = (1 << (8 * DIGEST_BYTES)) - 1


def canonical_rows(columns: Sequence[pa.Array]) -> pa.LargeBinaryArray:
    """The canonical bytes of each row of these columns (all of one length)."""
    pieces: list[pa.Array | pa.Scalar] = []
    for column in columns:
        text = _canonical_text(column)
        length = pc.cast(pc.binary_length(text), pa.string())
        head = pc.fill_null(pc.binary_join_element_wise(length, "", ":"), "-")
        pieces += [head.cast(pa.large_binary()), pc.fill_null(text, pa.scalar(b"", pa.large_binary()))]
    return pc.binary_join_element_wise(*pieces, pa.scalar(b"", pa.large_binary()))


def digests(canonical: pa.LargeBinaryArray) -> list[bytes]:
    """BLAKE2b-128 of each value."""
    data = memoryview(canonical.buffers()[2] or b"")
    offsets = memoryview(canonical.buffers()[1]).cast("q")[canonical.offset : canonical.offset + len(canonical) + 1]
    blake2b = hashlib.blake2b
    return [blake2b(data[start:end], digest_size=DIGEST_BYTES).digest() for start, end in pairwise(offsets)]


def bucket(key_digest: bytes) -> int:
    return int.from_bytes(key_digest[:2], "big") % BUCKETS


def key_text(key: Sequence[pa.Array]) -> list[str]:
    """The canonical bytes of each key as text; bytes that are not UTF-8 are shown escaped."""
    return [value.decode("utf-8", "backslashreplace") for value in canonical_rows(key).to_pylist()]


def select(rows: pa.RecordBatch | pa.Table, names: Iterable[str]) -> list[pa.Array]:
    """The named columns, each as one array."""
    columns = (rows.column(name) for name in names)
    return [column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column for column in columns]


@dataclass(slots=True)
class TableDigest:
    """Counts and sums per bucket, fed batch by batch."""

    rows: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    sums: list[int] = field(default_factory=lambda: [0] * BUCKETS)

    def add(self, key_digests: Iterable[bytes], row_digests: Iterable[bytes]) -> None:
        for key_digest, row_digest in zip(key_digests, row_digests, strict=True):
            number = bucket(key_digest)
            self.rows[number] += 1
            self.sums[number] = (self.sums[number] + int.from_bytes(row_digest, "big")) & _MODULUS_MASK

    def differing(self, other: TableDigest) -> list[int]:
        """The buckets whose counts or sums differ."""
        return [n for n in range(BUCKETS) if (self.rows[n], self.sums[n]) != (other.rows[n], other.sums[n])]

    def __iter__(self) -> Iterator[tuple[int, int, bytes]]:
        """(bucket, rows, digest) of every bucket that holds rows."""
        for number in range(BUCKETS):
            if self.rows[number]:
                yield number, self.rows[number], self.sums[number].to_bytes(DIGEST_BYTES, "big")

    @property
    def count(self) -> int:
        return sum(self.rows)

    @property
    def digest(self) -> bytes:
        return (sum(self.sums) & _MODULUS_MASK).to_bytes(DIGEST_BYTES, "big")


def _canonical_text(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_boolean(kind):
        column = column.cast(pa.int8())
    elif pa.types.is_floating(kind):
        column = column.cast(pa.float64())
        column = pc.if_else(pc.is_nan(column), pa.scalar(float("nan")), column).view(pa.int64())
    elif pa.types.is_date32(kind):
        column = column.cast(pa.int32())
    elif pa.types.is_timestamp(kind):
        column = column.cast(pa.timestamp("us", kind.tz)).cast(pa.int64())
    elif pa.types.is_fixed_size_binary(kind):
        column = column.cast(pa.binary())
    if not (pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type)):
        column = column.cast(pa.string())
    return column.cast(pa.large_binary())
