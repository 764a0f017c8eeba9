"""A database in memory whose log can be read: what `tests/unit/test_log_*` drive the generic layer with.

It keeps the promises of `forebay_agent.capture.log` that the real dialects keep (`tests/contract/test_log_source.py` runs
over all of them), and can be as awkward as a test wants: pieces of any size, transactions cut anywhere, a log that lags.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from forebay_agent.capture.log import EventKind, LogPiece, LogReader, LogRows, LogTable, Retention, TableEvent
from forebay_agent.capture.source import Column, Finding, Horizon, RowRange, TableName, TableShape
from forebay_agent.errors import AgentError, LogGap, TableMissing
from forebay_wire.columns import CHANGE_FIELDS

Row = dict[str, Any]
SCHEMA = pa.schema(list(CHANGE_FIELDS))


@dataclass
class MemoryTable:
    """rows: by key. default: what a column added later holds in the rows that are there."""

    shape: TableShape
    rows: dict[tuple[Any, ...], Row] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    table: str
    op: str
    row: Row
    shape: TableShape
    absent: tuple[str, ...] = ()


@dataclass(frozen=True)
class Happening:
    """A TableEvent in the log."""

    event: TableEvent


class MemoryDatabase:
    """log: transactions, each a list of changes and happenings."""

    def __init__(self) -> None:
        self.tables: dict[str, MemoryTable] = {}
        self.log: list[list[Change | Happening]] = []
        self.first = 0  # what came before is purged
        self.name = "memory-1"

    def create(self, name: str, columns: dict[str, pa.DataType], key: Sequence[str]) -> None:
        described = tuple(Column(column, str(kind), kind) for column, kind in columns.items())
        self.tables[name] = MemoryTable(TableShape(TableName("", name), described, tuple(key), ""))

    def commit(self, *changes: tuple[str, str, Row]) -> None:
        """(table, op, row): for `d` the key is enough."""
        transaction: list[Change | Happening] = []
        for name, op, row in changes:
            table = self.tables[name]
            full = {column.name: row.get(column.name) for column in table.shape.columns}
            key = (
                tuple(full[part] for part in table.shape.key) if table.shape.key else (len(self.log), len(transaction))
            )
            absent: tuple[str, ...] = ()
            if op == "d":
                full = table.rows.pop(key)
            else:
                if op == "u" and key in table.rows:
                    before = table.rows[key]
                    absent = tuple(
                        name for name in full if name.startswith("large") and before.get(name) == full[name] is not None
                    )
                table.rows[key] = full
            told = {name: None if name in absent else value for name, value in full.items()}
            transaction.append(Change(name, op, told, table.shape, absent))
        self.log.append(transaction)

    def truncate(self, name: str) -> None:
        self.tables[name].rows.clear()
        self._happened(name, EventKind.TRUNCATED)

    def add_column(self, name: str, column: str, kind: pa.DataType, default: Any = None) -> None:
        table = self.tables[name]
        shape = table.shape
        table.shape = TableShape(shape.table, (*shape.columns, Column(column, str(kind), kind)), shape.key, "")
        table.rows = {key: row | {column: default} for key, row in table.rows.items()}
        self._happened(name, EventKind.GREW if default is None else EventKind.ALTERED)

    def drop_column(self, name: str, column: str) -> None:
        table = self.tables[name]
        kept = tuple(each for each in table.shape.columns if each.name != column)
        table.shape = TableShape(table.shape.table, kept, table.shape.key, "")
        table.rows = {key: {n: v for n, v in row.items() if n != column} for key, row in table.rows.items()}
        self._happened(name, EventKind.ALTERED)

    def lose(self, name: str, error: AgentError) -> None:
        self._happened(name, EventKind.LOST, error)

    def _happened(self, name: str, kind: EventKind, error: AgentError | None = None) -> None:
        table = self.tables[name]
        shape = table.shape if kind in (EventKind.GREW, EventKind.ALTERED) else None
        event = TableEvent(table.shape.table, kind, str(len(self.log)), f"{kind} {name}", shape, error)
        self.log.append([Happening(event)])


class MemorySource:
    """draw: how pieces are cut."""

    def __init__(self, database: MemoryDatabase, draw: random.Random, *, most: int = 7) -> None:
        self.database = database
        self.draw = draw
        self.most = most

    def identity(self) -> str:
        return self.database.name

    def clock_us(self) -> int:
        return 0

    def tables(self) -> list[TableName]:
        return [TableName("", name) for name in sorted(self.database.tables)]

    def shape(self, table: TableName, as_text: frozenset[str] = frozenset()) -> TableShape:
        try:
            return self.database.tables[table.name].shape
        except KeyError:
            raise TableMissing(f"there is no table {table}") from None

    def query(self, shape: TableShape, rows: RowRange) -> str:
        return f"{shape.table} {rows}"

    def read(self, shape: TableShape, rows: RowRange) -> Iterator[pa.RecordBatch]:
        table = self.database.tables[shape.table.name]
        chosen = [
            table.rows[key]
            for key in sorted(table.rows)
            if (rows.after is None or _texts(key) > rows.after)
            and (rows.at_least is None or _texts(key)[0] >= rows.at_least)
            and (rows.through is None or _texts(key)[0] <= rows.through)
        ]
        chosen = chosen[: rows.limit] if rows.limit else chosen
        yield _batch(shape, chosen)

    def read_chunk(self, shape: TableShape, rows: RowRange, reader: LogReader) -> Iterator[pa.RecordBatch]:
        return iter(list(self.read(shape, rows)))

    def horizon(self, shape: TableShape, column: str) -> Horizon:
        raise NotImplementedError

    def examine(self, shape: TableShape, cursor: str | None) -> list[Finding]:
        return []

    def examine_log(self, tables: Sequence[LogTable]) -> list[Finding]:
        return []

    def retention(self, checkpoint: str) -> Retention:
        return Retention(None, len(self.database.log) - int(checkpoint))

    def log_end(self) -> str:
        return str(len(self.database.log))

    def open_log(self, tables: Sequence[LogTable], checkpoint: str | None) -> MemoryReader:
        if checkpoint is not None and int(checkpoint) < self.database.first:
            raise LogGap(f"changes from {checkpoint} to {self.database.first} are gone")
        return MemoryReader(self, tables, self.log_end() if checkpoint is None else checkpoint)

    def close(self) -> None:
        pass


class MemoryReader:
    def __init__(self, source: MemorySource, tables: Sequence[LogTable], checkpoint: str) -> None:
        self._source = source
        self.checkpoint = checkpoint
        self._at = (int(checkpoint), 0)
        self._tables = {table.name.name: table for table in tables}
        self.acknowledged = checkpoint

    def read(self, until: float, *, rows: int, size: int) -> LogPiece | None:
        log = self._source.database.log
        at, inside = self._at
        count = self._source.draw.randint(0, self._source.most)
        if at == len(log) or not count:
            return None
        parts: list[LogRows | TableEvent] = []
        while at < len(log) and count:
            count, transaction = count - 1, at
            entry = log[at][inside] if inside < len(log[at]) else None
            inside += 1
            if inside >= len(log[at]):
                at, inside = at + 1, 0
            if isinstance(entry, Happening):
                if entry.event.table.name in self._tables:
                    parts.append(entry.event)
                    if entry.event.kind is EventKind.LOST:
                        del self._tables[entry.event.table.name]
                break
            if isinstance(entry, Change) and entry.table in self._tables:
                parts.append(_rows(entry, transaction))
        self._at = (at, inside)
        self.checkpoint = str(at)
        return LogPiece(tuple(_merged(parts)), str(at), str(at), inside > 0)

    def wait(self, seconds: float) -> bool:
        return True

    def follow(self, tables: Sequence[LogTable]) -> None:
        self._tables = {table.name.name: table for table in tables}

    def reached(self, checkpoint: str) -> bool:
        return self._at[0] >= int(checkpoint)

    def acknowledge(self, checkpoint: str) -> None:
        assert int(checkpoint) >= int(self.acknowledged), "acknowledged backwards"
        self.acknowledged = checkpoint

    def close(self) -> None:
        pass


def _batch(shape: TableShape, rows: Sequence[Row]) -> pa.RecordBatch:
    schema = pa.schema([(column.name, column.arrow) for column in shape.columns])
    return pa.RecordBatch.from_pylist(list(rows), schema=schema)


def _rows(change: Change, at: int) -> LogRows:
    table = _batch(change.shape, [change.row])
    extra = pa.RecordBatch.from_pylist(
        [{"_op": change.op, "_position": str(at), "_committed_at": None, "_absent": list(change.absent) or None}],
        schema=SCHEMA,
    )
    rows = pa.RecordBatch.from_arrays(
        [*table.columns, *extra.columns], names=[*table.schema.names, *extra.schema.names]
    )
    return LogRows(change.shape.table, change.shape, rows)


def _merged(parts: Sequence[LogRows | TableEvent]) -> Iterator[LogRows | TableEvent]:
    """Neighbours of one table and shape as one."""
    held: LogRows | None = None
    for part in parts:
        if isinstance(part, LogRows) and held is not None and (held.table, held.shape) == (part.table, part.shape):
            held = LogRows(held.table, held.shape, pa.concat_batches([held.rows, part.rows]))
            continue
        if held is not None:
            yield held
        held = part if isinstance(part, LogRows) else None
        if not isinstance(part, LogRows):
            yield part
    if held is not None:
        yield held


def _texts(key: tuple[Any, ...]) -> tuple[str, ...]:
    """Zero-padded numbers, so that text compares as they do."""
    return tuple(str(part) for part in key)
