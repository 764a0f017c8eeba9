"""Keys as Arrow arrays: comparing, encoding and finding them without a Python object per row.

A key of one column is that column. A key of several is encoded into one binary column, each part self-delimiting
(`12|` for numbers, dates and times, `3:abc` for text and bytes, `~` for NULL), so that equal encodings are equal keys.
Files are searched with the raw key columns first, one `is_in` per column; only rows that pass are encoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.conversions import from_bytes
from pyiceberg.manifest import DataFile
from pyiceberg.types import NestedField, PrimitiveType

from forebay_collector.platform.iceberg.datafile import extremes


def one_chunk(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    """The column as one array."""
    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks or [pa.nulls(0, column.type)])


def encode(columns: Sequence[pa.Array]) -> pa.Array:
    """One array whose values are equal where the keys are."""
    if len(columns) == 1:
        return columns[0]
    return pc.binary_join_element_wise(*(_part(column) for column in columns), pa.scalar(b"", pa.binary()))


def _part(column: pa.Array) -> pa.Array:
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        length = pc.binary_length(column).cast(pa.string()).cast(pa.binary())
        part = pc.binary_join_element_wise(length, column.cast(pa.binary()), pa.scalar(b":", pa.binary()))
    else:
        if pa.types.is_date32(kind):
            column = column.cast(pa.int32())
        elif pa.types.is_timestamp(kind):
            column = column.cast(pa.int64())
        text = column.cast(pa.string()).cast(pa.binary())
        part = pc.binary_join_element_wise(text, pa.scalar(b"", pa.binary()), pa.scalar(b"|", pa.binary()))
    return pc.fill_null(part, pa.scalar(b"~", pa.binary()))


def strictly_increasing(columns: Sequence[pa.Array]) -> bool:
    """Whether each key is greater than the one before: then no key stands twice. False says nothing."""
    rows = len(columns[0])
    if rows < 2:
        return True
    if any(column.null_count for column in columns):
        return False
    greater: pa.Array | None = None
    for column in reversed(columns):
        before, after = column.slice(0, rows - 1), column.slice(1)
        rises = pc.less(before, after)
        greater = rises if greater is None else pc.or_(rises, pc.and_(pc.equal(before, after), greater))
    return bool(pc.all(greater).as_py())


@dataclass(frozen=True)
class KeySet:
    """The keys that a load touches: `columns` as they stand in it, `encoded` of them."""

    fields: tuple[NestedField, ...]
    columns: tuple[pa.Array, ...]
    encoded: pa.Array

    @classmethod
    def of(cls, fields: Sequence[NestedField], columns: Sequence[pa.Array]) -> KeySet:
        return cls(tuple(fields), tuple(columns), encode(columns))

    def find(self, columns: Sequence[pa.Array]) -> pa.Array:
        """Positions (int64, sorted) of those rows of `columns` whose key is in the set."""
        passing = reduce(
            pc.and_,
            (pc.is_in(column, value_set=mine) for column, mine in zip(columns, self.columns, strict=True)),
        )
        positions = pc.indices_nonzero(passing).cast(pa.int64())
        if len(columns) == 1 or not len(positions):
            return positions
        candidates = encode([column.take(positions) for column in columns])
        return positions.filter(pc.is_in(candidates, value_set=self.encoded))

    def spans(self) -> list[tuple[Any, Any] | None]:
        """Least and greatest value of each key column; None where a file's bounds prove nothing (NULLs, floats)."""
        return [
            None if column.null_count or pa.types.is_floating(column.type) else extremes(column)
            for column in self.columns
        ]

    def may_hold(self, spans: Sequence[tuple[Any, Any] | None], file: DataFile) -> bool:
        """Whether the file's bounds leave room for any of the keys."""
        for field, span in zip(self.fields, spans, strict=True):
            if span is None:
                continue
            lower, upper = bound(file.lower_bounds, field), bound(file.upper_bounds, field)
            if (lower is not None and span[1] < lower) or (upper is not None and span[0] > upper):
                return False
        return True


def bound(bounds: dict[int, bytes] | None, field: NestedField) -> Any:
    """A file's bound of a column, dates as days and times as microseconds; None: it has none."""
    held, kind = (bounds or {}).get(field.field_id), field.field_type
    if held is None or not isinstance(kind, PrimitiveType):
        return None
    # an int column that became long keeps its four bytes in older files
    return int.from_bytes(held, "little", signed=True) if str(kind) in _INTEGERS else from_bytes(kind, held)


_INTEGERS = frozenset({"int", "long", "date", "timestamp", "timestamptz"})
