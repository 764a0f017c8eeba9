"""From a source through a sealed batch and out again, as the loader gets it."""

from __future__ import annotations

import pyarrow as pa

from forebay_agent.capture.source import RowRange, Source, TableShape
from forebay_wire.columns import CHANGE_FIELDS
from forebay_wire.schema import TableSchema, column
from forebay_wire.seal import Link, check_digests, open_batch, seal
from forebay_wire.stream import StreamName


def through_sealed_batches(source: Source, shape: TableShape, rows: RowRange) -> pa.Table:
    """The rows of a range, read, sealed, checked, opened: the table's own columns."""
    schema = TableSchema.of([column(c.name, c.arrow, c.origin, carried=c.carried) for c in shape.columns], shape.key)
    link = Link(1, 1, bytes(32))
    opened = []
    for batch in source.read(shape, rows):
        count = batch.num_rows
        changes = [
            pa.repeat(pa.scalar("r"), count),
            pa.repeat(pa.scalar("snapshot:"), count),
            *(pa.nulls(count, field.type) for field in CHANGE_FIELDS[2:]),
        ]
        sealed = seal(
            StreamName("department", "source", str(shape.table)),
            link,
            schema,
            pa.RecordBatch.from_arrays([*batch.columns, *changes], schema=schema.arrow),
            captured_at_us=1,
            snapshot=1,
        )
        check_digests(sealed)
        opened.append(open_batch(sealed, schema))
        link = link.after(sealed)
    return pa.Table.from_batches(opened, schema=schema.arrow).select([c.name for c in shape.columns])
