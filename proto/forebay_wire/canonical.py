"""Canonical rows and their digests: what "equal" means when source and platform are compared.

A row's canonical bytes are, for each column in order, `<n>:<text>` with n the length of the text in bytes, or `-` for
NULL; so no two different rows share them. A column's canonical text depends on its Arrow type only:

    boolean 0/1 · integers in decimal · float as the IEEE 754 bit pattern of its double in decimal, every NaN the same ·
    decimal with all the digits of its scale · date as days, timestamp as microseconds since 1970 · text and binary as is

A row digest is BLAKE2b-128 (RFC 7693) of these bytes; a table digest is the sum of its row digests modulo 2^128, which
does not depend on order and counts doubled rows. Keys fall into *cells* by their digest, so that two ends compare the
cells' sums first and list keys only where sums differ: that needs no order of keys, which databases sort each in their
own way. There are at least `CELLS`, a power of two, more for more rows (`cells_for`).

`canonical_rows` and `digests` are the definition, in plain Arrow and hashlib. Whole tables go through the compiled kernel
(`Digester`, `row_digests`, `column_digests`), which gives the same bytes straight from Arrow's buffers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from forebay_wire.kernel import row_digests as row_kernel

CELLS: Final = 1_024
MOST_CELLS: Final = 1 << 17
ROWS_PER_CELL: Final = 16
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


def cells_for(rows: int) -> int:
    """Into how many cells a table of about so many rows is divided."""
    cells = CELLS
    while cells < MOST_CELLS and cells * ROWS_PER_CELL < rows:
        cells *= 2
    return cells


def cell(key_digest: bytes, cells: int) -> int:
    """The cell of a key: the first four bytes of its digest, big-endian, modulo the number of cells."""
    return int.from_bytes(key_digest[:4], "big") % cells


def row_digests(columns: Sequence[pa.Array]) -> pa.FixedSizeBinaryArray:
    """The row digests of these columns, by the kernel."""
    return row_kernel.digests(_prepared(columns))


def column_digests(columns: Sequence[pa.Array]) -> list[pa.FixedSizeBinaryArray]:
    """Of each column the digest of each value, as if it were a row of its own; by the kernel."""
    return row_kernel.column_digests(_prepared(columns))


def in_cells(key: Sequence[pa.Array], wanted: bytes | bytearray) -> pa.Int64Array:
    """The places of the rows whose keys fall into wanted cells; `wanted` has a byte per cell, 0: not wanted."""
    return row_kernel.in_cells(_prepared(key), wanted)


class Digester:
    """Counts and sums per cell, fed with Arrow columns; releases the interpreter's lock while it works."""

    def __init__(self, cells: int = CELLS) -> None:
        self._sums = row_kernel.CellSums(cells)

    def add(self, key: Sequence[pa.Array], columns: Sequence[pa.Array]) -> None:
        """Adds rows. Raises ValueError when keys and rows are not as many."""
        self._sums.add(_prepared(key), _prepared(columns))

    def table(self) -> TableDigest:
        """What was added so far."""
        rows, sums = self._sums.told()
        return TableDigest(self._sums.cells, rows, sums)


def key_text(canonical: bytes) -> str:
    """The canonical bytes of a key as text; bytes that are not UTF-8 are shown escaped."""
    return canonical.decode("utf-8", "backslashreplace")


def select(rows: pa.RecordBatch | pa.Table, names: Iterable[str]) -> list[pa.Array]:
    """The named columns, each as one array."""
    columns = (rows.column(name) for name in names)
    return [column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column for column in columns]


@dataclass(slots=True)
class TableDigest:
    """Counts and sums per cell."""

    cells: int = CELLS
    rows: list[int] = field(default_factory=list)
    sums: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rows = self.rows or [0] * self.cells
        self.sums = self.sums or [0] * self.cells

    def add(self, key_digests: Iterable[bytes], row_digests: Iterable[bytes]) -> None:
        """Adds rows one by one: what `Digester` does, for few rows."""
        for key_digest, row_digest in zip(key_digests, row_digests, strict=True):
            self.put(cell(key_digest, self.cells), 1, row_digest)

    def put(self, number: int, rows: int, digest: bytes) -> None:
        """Adds so many rows, whose digests have this sum, to a cell."""
        self.rows[number] += rows
        self.sums[number] = (self.sums[number] + int.from_bytes(digest, "big")) & _MODULUS_MASK

    def differing(self, other: TableDigest) -> list[int]:
        """The cells whose counts or sums differ. Both have as many cells."""
        mine, others = zip(self.rows, self.sums, strict=True), zip(other.rows, other.sums, strict=True)
        return [number for number, (one, another) in enumerate(zip(mine, others, strict=True)) if one != another]

    def __iter__(self) -> Iterator[tuple[int, int, bytes]]:
        """(cell, rows, digest) of every cell that holds rows."""
        for number in range(self.cells):
            if self.rows[number]:
                yield number, self.rows[number], self.sums[number].to_bytes(DIGEST_BYTES, "big")

    @property
    def count(self) -> int:
        return sum(self.rows)

    @property
    def digest(self) -> bytes:
        return (sum(self.sums) & _MODULUS_MASK).to_bytes(DIGEST_BYTES, "big")


def _prepared(columns: Sequence[pa.Array]) -> row_kernel.Columns:
    """Types that the kernel does not read where they stand become their canonical text first."""
    return row_kernel.Columns([each if row_kernel.reads(each.type) else _canonical_text(each) for each in columns])


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
