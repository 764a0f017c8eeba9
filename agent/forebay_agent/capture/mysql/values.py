"""Values: what the kernel collected becomes a record batch of exactly the shape's columns and types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from forebay_agent.capture import marks
from forebay_agent.capture.mysql import charset
from forebay_agent.capture.mysql.types import ColumnType
from forebay_agent.capture.source import Column, TableShape
from forebay_agent.errors import ValueUnrepresentable
from forebay_agent.kernel import mysql_text as kernel

if TYPE_CHECKING:
    from forebay_agent.kernel.mysql_text import Buffers, Kind, TextRows

_KINDS: Final[dict[pa.DataType, int]] = {
    pa.int32(): kernel.INT32,
    pa.bool_(): kernel.INT32,
    pa.int64(): kernel.INT64,
    pa.date32(): kernel.DATE,
    pa.timestamp("us"): kernel.TIMESTAMP,
    pa.timestamp("us", "UTC"): kernel.TIMESTAMP,
}


def kinds_of(columns: Sequence[Column]) -> list[Kind]:
    """What the kernel makes of each column's text."""
    return [
        (kernel.DECIMAL, column.arrow.precision, column.arrow.scale)
        if pa.types.is_decimal(column.arrow)
        else (_KINDS.get(column.arrow, kernel.BYTES), 0, 0)
        for column in columns
    ]


def taken(shape: TableShape, rows: TextRows, codec: str, compared: Sequence[str]) -> pa.RecordBatch:
    """The kernel's batch. `compared`: columns that a later statement compares with.

    Raises ValueUnrepresentable naming table, key and column.
    """
    count, unfit = rows.rows, rows.unfit
    arrays: list[pa.Array] = []
    undecodable: tuple[int, int] | None = None
    for number, (column, buffers) in enumerate(zip(shape.columns, rows.take(), strict=True)):
        try:
            arrays.append(_array(column, buffers, count, codec, reversible=column.name in compared))
        except charset.Undecodable as error:
            undecodable = undecodable or (error.row, number)
            arrays.append(pa.nulls(count, column.arrow))
    batch = pa.RecordBatch.from_arrays(arrays, names=[column.name for column in shape.columns])
    if unfit is not None:
        raise unrepresentable(shape, batch, *unfit)
    if undecodable is not None:
        raise unrepresentable(shape, batch, *undecodable)
    return batch


def _array(column: Column, buffers: Buffers, count: int, codec: str, *, reversible: bool) -> pa.Array:
    validity, offsets, data = (None if part is None else pa.py_buffer(part) for part in buffers)
    kind = column.arrow
    if offsets is None:
        fixed = pa.int32() if pa.types.is_boolean(kind) else kind
        array = pa.Array.from_buffers(fixed, count, [validity, data])
        return array if fixed is kind else array.cast(kind)
    if pa.types.is_binary(kind):
        return pa.Array.from_buffers(kind, count, [validity, offsets, data])
    if charset.overrides(codec, ColumnType.parse(column.origin)):
        values = pa.Array.from_buffers(pa.binary(), count, [validity, offsets, data])
        return charset.decode(values, codec, reversible=reversible)
    text = charset.checked(pa.Array.from_buffers(pa.string(), count, [validity, offsets, data]))
    return text if pa.types.is_string(kind) else text.cast(kind)


def unrepresentable(shape: TableShape, batch: pa.RecordBatch, row: int, number: int) -> ValueUnrepresentable:
    """The error about one value of a batch, which may be NULL there: table, key and column, not the value."""
    column = shape.columns[number]
    of_text = pa.types.is_string(column.arrow)
    return ValueUnrepresentable(
        f"{shape.table}: {_place(shape, batch, row)}: column {column.name} ({column.origin}) holds "
        + ("bytes that are no text in its character set" if of_text else f"a value that {column.arrow} cannot hold"),
        remedy="Correct the value, or say what the bytes really are with `charset` of the source."
        if of_text
        else f'Add the column to as_text (`as_text = ["{column.name}"]`) and reset the stream, or correct the value.',
    )


def _place(shape: TableShape, batch: pa.RecordBatch, row: int) -> str:
    """The row's key as `id = 5`; key columns are never masked."""
    known = [name for name in shape.key if name in batch.schema.names and batch.column(name)[row].is_valid]
    if not known:
        return "a row without a readable key"
    return ", ".join(f"{name} = {text}" for name, text in zip(known, marks.to_texts(batch, known, row), strict=True))
