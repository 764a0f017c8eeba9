"""The rows of a load as one Arrow table of the history's columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pyarrow as pa
from pyiceberg.schema import Schema

from forebay_collector.platform.contract import OpenedBatch, PlatformError, PlatformMark
from forebay_collector.platform.iceberg.fields import EPOCH, ROW, SEQ, arrow_schema
from forebay_wire.columns import CHANGE_NAMES
from forebay_wire.stream import StreamName

_OWN: Final = (EPOCH, SEQ, ROW)


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


def check(stream: StreamName, batches: Sequence[OpenedBatch], mark: PlatformMark, before: tuple[str, ...]) -> None:
    """Checks that batches stand in order and that no column leaves within an epoch.

    `mark` is what the history holds, `before` the columns of the last batch that it took.

    Raises:
        PlatformError: permanent.
    """
    last: PlatformMark | None = None
    epoch = mark.epoch
    for batch in batches:
        names = tuple(column.name for column in batch.schema.columns)
        for name in names:
            if name in _OWN or name in CHANGE_NAMES:
                raise PlatformError(
                    f"{stream}: column {name!r} has the name of one of Forebay's own",
                    code="FB-PLATFORM-SCHEMA",
                    permanent=True,
                )
        here = PlatformMark(batch.epoch, batch.seq)
        if last is not None and here <= last:
            raise PlatformError(
                f"{stream}: batch epoch {here.epoch} seq {here.seq} after epoch {last.epoch} seq {last.seq}",
                code="FB-PLATFORM-ORDER",
                permanent=True,
            )
        last = here
        if here <= mark:
            continue
        gone = [name for name in before if name not in names] if batch.epoch == epoch else []
        if gone:
            raise PlatformError(
                f"{stream}: column {gone[0]!r} is no longer in the table; a column leaves only with a new epoch, "
                "so put it back, or reset the stream",
                code="FB-PLATFORM-SCHEMA",
                permanent=True,
            )
        before, epoch = names, batch.epoch
