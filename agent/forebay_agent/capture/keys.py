"""Single keys read anew: each is sent as it is at the source now, or as gone.

Rows have op `u` and all columns, those of keys that are gone have op `d` and the key only; the position names the cause.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from forebay_agent.capture import marks
from forebay_agent.capture.source import TableShape, Values
from forebay_agent.capture.table import CapturedTable, empty, shown
from forebay_agent.errors import CommandUnfit
from forebay_wire.canonical import canonical_rows, select
from forebay_wire.canonical_keys import columns_of
from forebay_wire.columns import Op
from forebay_wire.errors import Malformed

KEYS_AT_ONCE = 500
"""keys of one statement: below what MariaDB turns into a join, and SQLite's depth of an expression"""


@dataclass(frozen=True, slots=True)
class Reread:
    """What became of the keys. passed: the log told of them meanwhile, and that is newer."""

    sent: int = 0
    gone: int = 0
    passed: int = 0

    def __add__(self, other: Reread) -> Reread:
        return Reread(self.sent + other.sent, self.gone + other.gone, self.passed + other.passed)


@dataclass(slots=True)
class KeysReading:
    """Keys (canonical bytes) and the rows that were found of them. Beside a log, `saw` hears what it tells meanwhile."""

    table: CapturedTable
    keys: Sequence[bytes]
    found: pa.RecordBatch
    told: set[bytes] = field(default_factory=set)

    @classmethod
    def of(cls, table: CapturedTable, keys: Sequence[bytes], pieces: Iterable[pa.RecordBatch]) -> KeysReading:
        """pieces: rows of the shape's columns, as a `RowRange` of these keys gave them."""
        read = [piece for piece in pieces if piece.num_rows]
        rows = pa.concat_batches(read) if read else empty(table.shape)
        return cls(table, keys, only(rows, table.shape.key, keys))

    def saw(self, rows: pa.RecordBatch) -> None:
        """The log told this after the keys were read."""
        self.told.update(canonical_rows(select(rows, self.table.shape.key)).to_pylist())

    def rows(self, cause: str) -> tuple[pa.RecordBatch, Reread]:
        """Rows of the shape's columns and the change columns, less those that the log told of, and how many they are."""
        key = self.table.shape.key
        known = canonical_rows(select(self.found, key))
        kept = self.found
        if self.told:
            newer = pc.is_in(known, value_set=pa.array(sorted(self.told), pa.large_binary()))
            kept = kept.filter(pc.invert(newer))
        there = set(known.to_pylist())
        gone = [one for one in self.keys if one not in there and one not in self.told]
        position = shown(f"repair:{cause}")
        parts = [
            self.table.finished(kept, Op.UPDATE.value, position),
            self.table.finished(_keys_only(self.table.shape, gone), Op.DELETE.value, position),
        ]
        passed = len(self.keys) - kept.num_rows - len(gone)
        return pa.concat_batches(parts), Reread(kept.num_rows, len(gone), passed)


def only(rows: pa.RecordBatch, key: Sequence[str], keys: Sequence[bytes]) -> pa.RecordBatch:
    """The rows of exactly these keys: by the database's comparison others may be equal to them, in another case of letters
    for example."""
    wanted = pa.array(keys, pa.large_binary())
    return rows.filter(pc.is_in(canonical_rows(select(rows, key)), value_set=wanted))


def values_of(shape: TableShape, keys: Sequence[bytes]) -> tuple[Values, ...]:
    """Canonical keys as `RowRange` has them. Raises CommandUnfit."""
    columns = _columns(shape, keys)
    rows = pa.RecordBatch.from_arrays(columns, names=list(shape.key))
    try:
        return tuple(marks.to_texts(rows, shape.key, row) for row in range(rows.num_rows))
    except ValueError as error:
        raise _unfit(shape, error) from None


def _columns(shape: TableShape, keys: Sequence[bytes]) -> list[pa.Array]:
    try:
        return columns_of(keys, [shape.column(name).arrow for name in shape.key])
    except Malformed as error:
        raise _unfit(shape, error) from None


def _unfit(shape: TableShape, error: Exception) -> CommandUnfit:
    return CommandUnfit(f"{shape.table}: {error}", remedy="Verify the stream anew.")


def _keys_only(shape: TableShape, keys: Sequence[bytes]) -> pa.RecordBatch:
    values = dict(zip(shape.key, _columns(shape, keys), strict=True))
    columns = [values.get(column.name, pa.nulls(len(keys), column.arrow)) for column in shape.columns]
    return pa.RecordBatch.from_arrays(columns, names=[column.name for column in shape.columns])
