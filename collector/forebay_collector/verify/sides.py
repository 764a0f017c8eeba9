"""The two sides of a comparison: the source, read by its agent on command, and the platform's mirror."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import pyarrow as pa

from forebay_collector.platform.contract import Platform
from forebay_wire.canonical import TableDigest, bucket, canonical_rows, digests, key_text, select
from forebay_wire.schema import TableSchema
from forebay_wire.stream import StreamName

_MASK: Final = (1 << 128) - 1

KeyRows = dict[str, tuple[int, int]]
"""Canonical key text -> how many rows have it, and the sum of their digests modulo 2^128 (a key may be doubled)."""


class Side(Protocol):
    """One side of a comparison, read as it stands when a method is called."""

    def digest(self) -> TableDigest:
        """Counts and digests per bucket of the whole table."""

    def keys(self, buckets: Collection[int]) -> KeyRows:
        """Every key of the named buckets."""


def add_keys(into: KeyRows, keys: Iterable[tuple[str, bytes]]) -> None:
    """Adds (key text, row digest) pairs."""
    for key, digest in keys:
        count, total = into.get(key, (0, 0))
        into[key] = (count + 1, (total + int.from_bytes(digest, "big")) & _MASK)


@dataclass(frozen=True, slots=True)
class Mirror:
    """The platform's side: its current rows, as the schema of what it shows describes them."""

    platform: Platform
    stream: StreamName
    schema: Callable[[], TableSchema]

    def digest(self) -> TableDigest:
        table = TableDigest()
        schema = self.schema()
        for rows in self._rows(schema):
            key_digests = digests(canonical_rows(select(rows, schema.key)))
            table.add(key_digests, digests(canonical_rows(rows.columns)))
        return table

    def keys(self, buckets: Collection[int]) -> KeyRows:
        wanted = frozenset(buckets)
        schema = self.schema()
        found: KeyRows = {}
        for rows in self._rows(schema):
            key_digests = digests(canonical_rows(select(rows, schema.key)))
            chosen = rows.filter(pa.array([bucket(digest) in wanted for digest in key_digests], pa.bool_()))
            texts = key_text(select(chosen, schema.key))
            add_keys(found, zip(texts, digests(canonical_rows(chosen.columns)), strict=True))
        return found

    def _rows(self, schema: TableSchema) -> Iterator[pa.RecordBatch]:
        """The mirror's rows in the schema's columns, order and types: a platform may hold a time in another unit."""
        names = [field.name for field in schema.columns]
        for rows in self.platform.read(self.stream, names):
            columns = (_as_described(rows.column(field.name), field.type) for field in schema.columns)
            yield pa.record_batch(list(columns), names=names)


def _as_described(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """The column in the described type; as it is where its values do not fit, for then they differ from the source."""
    try:
        return column if column.type.equals(kind) else column.cast(kind)
    except pa.ArrowInvalid:
        return column
