"""From a database's log to rows, through sealed batches, as the loader gets them."""

from __future__ import annotations

import time
from collections.abc import Callable

import pyarrow as pa

from forebay_agent.capture.log import LogRows, LogTable, TableEvent, offers_log
from forebay_agent.capture.source import Source, TableShape
from forebay_wire.schema import TableSchema, column
from forebay_wire.seal import Link, check_digests, open_batch, seal
from forebay_wire.stream import StreamName

PATIENCE_SECONDS = 20.0


def from_log(
    source: Source, shape: TableShape, write: Callable[[], object], *, as_text: frozenset[str] = frozenset()
) -> tuple[pa.Table, list[TableEvent]]:
    """What the log tells of `write`: rows with their change columns, sealed, checked and opened, and events."""
    assert offers_log(source)
    reader = source.open_log([LogTable(shape.table, shape, as_text=as_text)], None)
    batches: list[pa.RecordBatch] = []
    events: list[TableEvent] = []
    try:
        write()
        target = source.log_end()
        until = time.monotonic() + PATIENCE_SECONDS
        while not reader.reached(target):
            assert time.monotonic() < until, "the log's end was not reached"
            piece = reader.read(time.monotonic() + 0.05, rows=1000, size=1 << 20)
            for part in piece.parts if piece is not None else ():
                if isinstance(part, LogRows):
                    assert part.shape == shape
                    batches.append(part.rows)
                else:
                    events.append(part)
    finally:
        reader.close()
    return _sealed(shape, batches), events


def _sealed(shape: TableShape, batches: list[pa.RecordBatch]) -> pa.Table:
    schema = TableSchema.of([column(c.name, c.arrow, c.origin, carried=c.carried) for c in shape.columns], shape.key)
    link = Link(1, 1, bytes(32))
    opened = []
    for rows in batches:
        named = pa.RecordBatch.from_arrays(rows.columns, schema=schema.arrow)
        sealed = seal(StreamName("department", "source", str(shape.table)), link, schema, named, captured_at_us=1)
        check_digests(sealed)
        opened.append(open_batch(sealed, schema))
        link = link.after(sealed)
    return pa.Table.from_batches(opened, schema=schema.arrow)
