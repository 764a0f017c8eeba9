"""The two sides of a comparison: the source, read by its agent on command, and the platform's mirror."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from forebay_collector.ledger.digests import Digests
from forebay_collector.platform.contract import Platform
from forebay_wire.canonical import (
    Digester,
    TableDigest,
    canonical_rows,
    column_digests,
    in_cells,
    row_digests,
    select,
)
from forebay_wire.canonical_keys import columns_of
from forebay_wire.part import WHOLE, Part
from forebay_wire.schema import TableSchema
from forebay_wire.stream import StreamName

_MASK: Final = (1 << 128) - 1

KeyRows = dict[bytes, tuple[int, int]]
"""Canonical key -> how many rows have it, and the sum of their digests modulo 2^128 (a key may be doubled)."""

KeyColumns = dict[bytes, dict[str, bytes]]
"""Canonical key -> the digest of each column's value."""


class Side(Protocol):
    """One side of a comparison, read as it stands when a method is called."""

    def digest(self, cells: int) -> TableDigest:
        """Counts and digests per cell of all that is compared."""

    def keys(self, cells: int, wanted: Collection[int]) -> KeyRows:
        """Every key of the wanted cells."""

    def look_up(self, keys: Collection[bytes]) -> KeyRows:
        """Those of these keys that are there."""

    def columns(self, keys: Collection[bytes]) -> KeyColumns:
        """Those of these keys that are there, column by column."""


def add_keys(into: KeyRows, keys: Iterable[tuple[bytes, bytes]]) -> None:
    """Adds (canonical key, row digest) pairs."""
    for key, digest in keys:
        count, total = into.get(key, (0, 0))
        into[key] = (count + 1, (total + int.from_bytes(digest, "big")) & _MASK)


@dataclass(frozen=True, slots=True)
class Mirror:
    """The platform's side: its current rows, as the schema of what it shows describes them.

    known: digests of states that were read before; a state that readers still see is not read again. None: none are kept.
    """

    platform: Platform
    stream: StreamName
    schema: Callable[[], TableSchema]
    part: Part = WHOLE
    known: Digests | None = None

    def digest(self, cells: int) -> TableDigest:
        schema = self.schema()
        state = self._state(schema)
        if self.known is not None and state:
            held = self.known.get(self.stream, self.part, state, cells)
            if held is not None:
                return held
        digester = Digester(cells)
        for rows in self._rows(schema):
            digester.add(select(rows, schema.key), rows.columns)
        table = digester.table()
        if self.known is not None and state and self._state(schema) == state:
            self.known.put(self.stream, self.part, state, table)
        return table

    def keys(self, cells: int, wanted: Collection[int]) -> KeyRows:
        marked = bytearray(cells)
        for number in wanted:
            marked[number] = 1
        schema = self.schema()
        found: KeyRows = {}
        for rows in self._rows(schema):
            self._add(found, rows.take(in_cells(select(rows, schema.key), marked)), schema)
        return found

    def look_up(self, keys: Collection[bytes]) -> KeyRows:
        schema = self.schema()
        found: KeyRows = {}
        for rows in self._rows_of(schema, keys):
            self._add(found, rows, schema)
        return found

    def columns(self, keys: Collection[bytes]) -> KeyColumns:
        schema = self.schema()
        found: KeyColumns = {}
        for rows in self._rows_of(schema, keys):
            each = [digests.to_pylist() for digests in column_digests(rows.columns)]
            for place, key in enumerate(canonical_rows(select(rows, schema.key)).to_pylist()):
                found[key] = {name: each[at][place] for at, name in enumerate(rows.schema.names)}
        return found

    def _add(self, into: KeyRows, rows: pa.RecordBatch, schema: TableSchema) -> None:
        keys = canonical_rows(select(rows, schema.key)).to_pylist()
        add_keys(into, zip(keys, row_digests(rows.columns).to_pylist(), strict=True))

    def _state(self, schema: TableSchema) -> str:
        """Names what readers see, and as what it is described; empty where the platform cannot tell."""
        version = self.platform.visible(self.stream).version
        return f"{version}/{schema.fingerprint.hex()}" if version else ""

    def _rows_of(self, schema: TableSchema, keys: Collection[bytes]) -> Iterator[pa.RecordBatch]:
        if not keys:
            return
        wanted = list(keys)
        columns = columns_of(wanted, [schema.arrow.field(name).type for name in schema.key])
        canonical = pa.array(wanted, pa.large_binary())
        for rows in self._described(schema, self.platform.read(self.stream, _names(schema), keys=columns)):
            yield rows.filter(pc.is_in(canonical_rows(select(rows, schema.key)), value_set=canonical))

    def _rows(self, schema: TableSchema) -> Iterator[pa.RecordBatch]:
        return self._described(schema, self.platform.read(self.stream, _names(schema), part=self.part))

    def _described(self, schema: TableSchema, read: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """In the schema's columns, order and types: a platform may hold a time in another unit."""
        names = _names(schema)
        for rows in read:
            columns = (as_described(rows.column(field.name), field.type) for field in schema.columns)
            yield pa.record_batch(list(columns), names=names)


def _names(schema: TableSchema) -> list[str]:
    return [field.name for field in schema.columns]


def as_described(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """The column in the described type; as it is where its values do not fit, for then they differ from the source."""
    try:
        return column if column.type.equals(kind) else column.cast(kind)
    except pa.ArrowInvalid:
        return column
