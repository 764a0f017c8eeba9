"""The binlog kernel driven over a stream, as log capture would, with what comes out as Python rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from forebay_agent.kernel import binlog, binlog_table
from forebay_agent.kernel.binlog import LogScanner
from forebay_agent.kernel.binlog_table import TableDecoder, WireColumn
from tests.reference.binlog import QUERY, ROTATE, TABLE_MAP, Row, table_map

if TYPE_CHECKING:
    from forebay_agent.kernel.binlog_table import Buffers

Tables = Mapping[tuple[str, str], Sequence[WireColumn]]


class Unknown(Exception):
    """Rows of a table id of which no TABLE_MAP was seen."""


def arrow_type(column: WireColumn) -> pa.DataType:
    return {
        binlog_table.INT32: pa.int32(),
        binlog_table.INT64: pa.int64(),
        binlog_table.DECIMAL: pa.decimal128(column.precision, column.scale) if column.precision else None,
        binlog_table.FLOAT: pa.float32(),
        binlog_table.DOUBLE: pa.float64(),
        binlog_table.BOOL: pa.bool_(),
        binlog_table.DATE: pa.date32(),
        binlog_table.TIMESTAMP: pa.int64(),
    }.get(column.target, pa.binary())


def array(kind: pa.DataType, rows: int, buffers: Buffers) -> pa.Array:
    validity, offsets, data = (None if part is None else pa.py_buffer(part) for part in buffers)
    found = pa.Array.from_buffers(kind, rows, [validity, data] if offsets is None else [validity, offsets, data])
    found.validate(full=True)
    return found


def rows_of(decoder: TableDecoder, columns: Sequence[WireColumn]) -> list[Row]:
    """Takes them."""
    taken = decoder.take()
    captured = [column for column in columns if column.target != binlog_table.SKIPPED]
    values: list[Any] = [
        array(arrow_type(column), taken.rows, buffers).to_pylist()
        for column, buffers in zip(captured, taken.columns, strict=True)
    ]
    op = array(pa.string(), taken.rows, taken.op).to_pylist()
    position = array(pa.string(), taken.rows, taken.position).to_pylist()
    moment = array(pa.int64(), taken.rows, taken.committed_at).to_pylist()
    return [
        Row(op[row], position[row], moment[row], tuple(column[row] for column in values)) for row in range(taken.rows)
    ]


class Followed:
    """rows: by table, in log order. unfit: (table, row, captured column) of each first unfit value. stops: how often each."""

    def __init__(self, tables: Tables, file: str = "binlog.000001", scanner: LogScanner | None = None) -> None:
        self.tables = tables
        self.scanner = scanner or LogScanner()
        self.scanner.set_file(file, 4)
        self.decoders = {name: TableDecoder(columns) for name, columns in tables.items()}
        self.rows: dict[tuple[str, str], list[Row]] = {name: [] for name in tables}
        self.unfit: list[tuple[tuple[str, str], int, int]] = []
        self.stops: dict[int, int] = {}
        self.partial: list[int] = []

    def feed(self, stream: bytes, step: int = 1 << 30) -> None:
        """All of it, in steps as a socket would give it."""
        buffer = bytearray()
        at = 0
        while True:
            took = self.scanner.feed(buffer, 0, len(buffer))
            del buffer[:took]
            stop = self.scanner.stop
            if not self.stopped():
                break
            if stop == binlog.MORE:
                if at >= len(stream):
                    break
                buffer += stream[at : at + step]
                at += step
        self.take()

    def stopped(self) -> bool:
        """Deals with a stop; False: nothing follows."""
        stop = self.scanner.stop
        self.stops[stop] = self.stops.get(stop, 0) + 1
        if stop == binlog.EVENT:
            self.judge()
        elif stop in (binlog.ENOUGH, binlog.FULL):
            self.take()
        elif stop == binlog.PARTIAL:
            self.partial.append(self.scanner.event_table)
        return stop not in (binlog.ENDED, binlog.REFUSED)

    def judge(self) -> None:
        scanner, body = self.scanner, self.scanner.event
        if scanner.event_type == TABLE_MAP:
            found = table_map(body)
            scanner.register(found.table_id, body, self.decoders.get((found.schema, found.table)))
        elif scanner.event_type == ROTATE:
            scanner.set_file(body[8:].decode(errors="replace"), int.from_bytes(body[:8], "little") & (1 << 62) - 1)
        elif scanner.event_type == QUERY and scanner.in_transaction:
            scanner.finish()
        elif scanner.event_table:
            raise Unknown(scanner.event_table)

    def take(self) -> None:
        for name, decoder in self.decoders.items():
            if decoder.unfit:
                self.unfit.append((name, decoder.unfit[0] + len(self.rows[name]), decoder.unfit[1]))
            self.rows[name] += rows_of(decoder, self.tables[name])
