"""Sealing of one stream: rows as captured -> transformed -> sealed batches, linked to those before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import pyarrow as pa

from forebay_agent.capture.source import Column, TableShape
from forebay_agent.clock import Clock
from forebay_agent.errors import ValueUnrepresentable
from forebay_agent.transform import Transform
from forebay_wire import schema as wire_schema
from forebay_wire.columns import CHANGE_NAMES
from forebay_wire.digest import DigestAlgorithm
from forebay_wire.errors import LimitExceeded
from forebay_wire.key_range import KeyRange
from forebay_wire.seal import Link, SealedBatch, seal
from forebay_wire.stream import StreamName

MOST_ROWS: Final = 50_000
MOST_BYTES: Final = 32 << 20
"""rows and Arrow bytes of one batch"""


class Sealing:
    """transform: as the rows sealed last needed it; it follows the columns of the rows."""

    def __init__(
        self,
        name: StreamName,
        shape: TableShape,
        transform_of: Callable[[TableShape], Transform],
        clock: Clock,
        algorithm: DigestAlgorithm,
    ) -> None:
        self.name = name
        self.transform_of = transform_of
        self.transform = transform_of(shape)
        self._clock = clock
        self._algorithm = algorithm

    def transformed(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Rows that say in their fields what they were captured as; columns may have been added."""
        if [column.name for column in self.transform.shape.columns] != rows.schema.names[: -len(CHANGE_NAMES)]:
            self.transform = self.transform_of(grown(self.transform.shape, rows.schema))
        return self.transform.apply(rows)

    def transformed_as(self, shape: TableShape, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Rows of this shape."""
        if self.transform.shape != shape:
            self.transform = self.transform_of(shape)
        return self.transform.apply(rows)

    def sealed(
        self,
        rows: pa.RecordBatch,
        link: Link,
        *,
        ends_transaction: bool = True,
        snapshot: int = 0,
        last_of_snapshot: bool = False,
        first_seq: int = 0,
        key_range: KeyRange | None = None,
    ) -> list[SealedBatch]:
        """Transformed rows as batches from `link` on. Raises ValueUnrepresentable when a row is over a limit of the wire."""
        batches: list[SealedBatch] = []
        parts = list(split(rows))
        try:
            for number, part in enumerate(parts, start=1):
                last = number == len(parts)
                batch = seal(
                    self.name,
                    link,
                    self.transform.schema,
                    part,
                    captured_at_us=self._clock.now_us(),
                    ends_transaction=ends_transaction and last,
                    snapshot=snapshot,
                    last_of_snapshot=last_of_snapshot and last,
                    first_seq=first_seq,
                    key_range=key_range,
                    algorithm=self._algorithm,
                )
                batches.append(batch)
                link = link.after(batch)
        except LimitExceeded as error:
            raise ValueUnrepresentable(
                f"{self.name}: cannot be sealed: {error}", remedy="Exclude the column that holds such large values."
            ) from error
        return batches


def grown(before: TableShape, rows: pa.Schema) -> TableShape:
    """The shape of rows that were captured after columns had been added."""
    columns = []
    for field in rows:
        if field.name not in CHANGE_NAMES:
            told = field.metadata or {}
            origin, carried = told.get(wire_schema.ORIGIN, b""), told.get(wire_schema.CARRIED, b"exact")
            columns.append(Column(field.name, origin.decode(), field.type, carried.decode()))
    return TableShape(before.table, tuple(columns), before.key, before.identity)


def split(rows: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """The rows in order, in parts of at most MOST_ROWS and about MOST_BYTES."""
    if rows.num_rows <= 1 or (rows.num_rows <= MOST_ROWS and rows.nbytes <= MOST_BYTES):
        yield rows
        return
    middle = rows.num_rows // 2
    yield from split(rows.slice(0, middle))
    yield from split(rows.slice(middle))
