"""The rows of a load as one Arrow table of the history's columns."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pyiceberg.schema import Schema

from forebay_collector.platform.contract import OpenedBatch
from forebay_collector.platform.iceberg.fields import EPOCH, ROW, SEQ, arrow_schema


def rows_of(batches: Sequence[OpenedBatch], schema: Schema) -> pa.Table:
    """The batches' rows in order, widened to `schema` (a history's); columns that a batch does not have are NULL."""
    target = arrow_schema(schema.fields)
    return pa.Table.from_batches([_widened(batch, target) for batch in batches], target)


def _widened(batch: OpenedBatch, target: pa.Schema) -> pa.RecordBatch:
    rows = batch.rows
    count = rows.num_rows
    own = {
        EPOCH: pa.repeat(pa.scalar(batch.epoch, pa.int32()), count),
        SEQ: pa.repeat(pa.scalar(batch.seq, pa.int64()), count),
        ROW: pa.arange(0, count).cast(pa.int32()),
    }
    columns = []
    for field in target:
        at = -1 if field.name in own else rows.schema.get_field_index(field.name)
        column = own[field.name] if field.name in own else rows.column(at) if at >= 0 else pa.nulls(count, field.type)
        columns.append(column if column.type == field.type else column.cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=target)
