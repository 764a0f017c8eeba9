"""Rows of one table: what the kernel decoded becomes a record batch of exactly the shape's types and the columns of a change.

Values are those of a snapshot of the same row: text decoded as the server would convert it, MySQL's JSON and real numbers
carried as text printed as the server prints them.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from forebay_agent.capture.mysql import charset, values
from forebay_agent.capture.mysql.charset import Undecodable
from forebay_agent.capture.mysql.log.binary_json import json_text
from forebay_agent.capture.mysql.log.charsets import Charsets
from forebay_agent.capture.mysql.log.real_text import real_text
from forebay_agent.capture.mysql.log.wire import PlannedColumn
from forebay_agent.capture.source import TableShape
from forebay_agent.errors import ValueUnrepresentable
from forebay_wire.columns import CHANGE_FIELDS

if TYPE_CHECKING:
    from forebay_agent.kernel.binlog_table import Buffers, TableDecoder

VALUE_BYTES: Final = 1 << 30
"""a compressed value that says it is longer is refused"""

_OP, _POSITION, _COMMITTED_AT, _ABSENT = CHANGE_FIELDS


class RowsAndTrouble:
    """rows: up to the first one that cannot be carried. trouble: what is wrong with that one, None when all are there."""

    def __init__(self, rows: pa.RecordBatch, trouble: ValueUnrepresentable | None) -> None:
        self.rows = rows
        self.trouble = trouble


def taken(
    shape: TableShape, plan: Sequence[PlannedColumn], decoder: TableDecoder, charsets: Charsets, codec: str
) -> RowsAndTrouble:
    """The decoder's rows, which is empty then. plan: in the order of the table's columns."""
    unfit = decoder.unfit
    rows = decoder.take()
    arrays: dict[str, pa.Array] = {}
    bad: tuple[int, int] | None = unfit
    for number, (planned, buffers) in enumerate(zip(plan, rows.columns, strict=True)):
        column = planned.column
        try:
            arrays[column.name] = _column(planned, _array(planned.raw, rows.rows, buffers), charsets, codec)
        except Undecodable as error:
            arrays[column.name] = pa.nulls(rows.rows, column.arrow)
            if bad is None or error.row < bad[0]:
                bad = (error.row, number)
    own = [arrays[column.name] for column in shape.columns]
    batch = pa.RecordBatch.from_arrays(own, names=[column.name for column in shape.columns])
    trouble = None
    if bad is not None:
        number = next(i for i, column in enumerate(shape.columns) if column.name == plan[bad[1]].column.name)
        trouble = values.unrepresentable(shape, batch, bad[0], number)
    changes = [
        _array(_OP.type, rows.rows, rows.op),
        _array(_POSITION.type, rows.rows, rows.position),
        _array(_COMMITTED_AT.type, rows.rows, rows.committed_at),
        pa.nulls(rows.rows, _ABSENT.type),
    ]
    names = [*batch.schema.names, *(field.name for field in CHANGE_FIELDS)]
    whole = pa.RecordBatch.from_arrays([*own, *changes], names=names)
    return RowsAndTrouble(whole if bad is None else whole.slice(0, bad[0]), trouble)


def _array(kind: pa.DataType, count: int, buffers: Buffers) -> pa.Array:
    parts = [None if part is None else pa.py_buffer(part) for part in buffers]
    if parts[1] is None:
        del parts[1]
    return pa.Array.from_buffers(kind, count, parts)


def _column(planned: PlannedColumn, array: pa.Array, charsets: Charsets, codec: str) -> pa.Array:
    if planned.compressed:
        array = _each(array, inflated, pa.binary())
    if planned.form == "charset":
        return _as(planned, charsets.named(planned.encoding).decode(array))
    if planned.form == "codec":
        return _as(planned, charset.decode(array, codec, reversible=False))
    if planned.form == "json":
        return _each(array, json_text, pa.string())
    if planned.form == "float":
        return _each(array, real_text, pa.string())
    if planned.form == "hex":
        return _each(array, bytes.hex, pa.string())
    return array


def _as(planned: PlannedColumn, array: pa.Array) -> pa.Array:
    kind = planned.column.arrow
    return array if array.type == kind else array.cast(kind)


def _each(array: pa.Array, made: object, kind: pa.DataType) -> pa.Array:
    """One value after the other, in Python: for what is rare. Raises Undecodable."""
    assert callable(made)
    texts = []
    for row, value in enumerate(array.to_pylist()):
        try:
            texts.append(None if value is None else made(value))
        except ValueError:
            raise Undecodable(row) from None
    return pa.array(texts, kind)


def inflated(value: bytes) -> bytes:
    """A value of a column that MariaDB stores compressed: method and form in the first byte, its length in the next ones.
    Raises ValueError."""
    if not value:
        return value
    method, raw, sized = value[0] >> 4, value[0] & 8, value[0] & 7
    if method == 0:
        return value[1:]
    if method != 8 or not sized or len(value) < 1 + sized:
        raise ValueError("a compressed value of an unknown method")
    size = int.from_bytes(value[1 : 1 + sized], "big")
    if size > VALUE_BYTES:
        raise ValueError("a compressed value is too long")
    inflate = zlib.decompressobj(-zlib.MAX_WBITS if raw else zlib.MAX_WBITS)
    try:
        found = inflate.decompress(value[1 + sized :], size + 1)
    except zlib.error:
        raise ValueError("a compressed value is malformed") from None
    if len(found) != size:
        raise ValueError("a compressed value has not the length that it says")
    return found
