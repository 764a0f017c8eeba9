"""The log of one test's database, read as the agent reads it: pieces, put together until the log's end of now."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Self

from forebay_agent.capture.log import EventKind, LogPiece, LogReader, LogRows, LogTable, TableEvent
from forebay_agent.capture.mysql.source import MySQLSource
from forebay_agent.capture.source import TableName
from tests.contract.sources.mysql import MySQLHarness
from tests.integration.log_tables import log_table

SECONDS = 20.0


@dataclass
class Log:
    """A reader of some tables, and what it handed on so far, as Python values."""

    harness: MySQLHarness
    tables: tuple[str, ...] = ("t",)
    config: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    rows_at_once: int = 25_000

    def __post_init__(self) -> None:
        self.source: MySQLSource = self._source()
        self.pieces: list[LogPiece] = []
        self.reader: LogReader = self.source.open_log(self.followed(), None)
        self.checkpoint = self.reader.checkpoint

    def follow(self, *tables: str, **options: Any) -> None:
        self.tables = tables or self.tables
        self.options = options or self.options
        self.reader.follow(self.followed())

    def followed(self) -> list[LogTable]:
        return [log_table(self.source, TableName("", name), **self.options) for name in self.tables]

    def again(self, checkpoint: str | None = None, tables: list[LogTable] | None = None) -> None:
        """As after a crash: from a checkpoint, or the last one."""
        self.close()
        self.source = self._source()
        self.reader = self.source.open_log(tables or self.followed(), checkpoint or self.checkpoint)

    def read(self, seconds: float = 0.1) -> LogPiece | None:
        piece = self.reader.read(time.monotonic() + seconds, rows=self.rows_at_once, size=16 << 20)
        if piece is not None:
            self.pieces.append(piece)
            if not piece.open:
                self.checkpoint = piece.checkpoint
        return piece

    def parts(self) -> list[LogRows | TableEvent]:
        """What comes up to the log's end of now."""
        target = self.source.log_end()
        parts: list[LogRows | TableEvent] = []
        deadline = time.monotonic() + SECONDS
        while True:
            piece = self.read()
            if piece is not None:
                parts += piece.parts
            if self.reader.reached(target) and not (piece is not None and piece.open):
                return parts
            assert time.monotonic() < deadline, f"the log's end was not reached: {parts}"

    def changes(self, *names: str) -> list[tuple[Any, ...]]:
        """(op, values of these columns) of every row up to the log's end of now; events as (kind, table)."""
        return told(self.parts(), *names)

    def close(self) -> None:
        self.reader.close()
        self.source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _source(self) -> MySQLSource:
        source = self.harness.open(**self.config)
        assert isinstance(source, MySQLSource)
        return source


def told(parts: list[LogRows | TableEvent], *names: str) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = []
    for part in parts:
        if isinstance(part, TableEvent):
            found.append((part.kind, part.table.name))
            continue
        columns = names or tuple(column.name for column in part.shape.columns)
        found += [(row["_op"], *(row[name] for name in columns)) for row in part.rows.to_pylist()]
    return found


def events(parts: list[LogRows | TableEvent], kind: EventKind) -> list[TableEvent]:
    return [part for part in parts if isinstance(part, TableEvent) and part.kind is kind]
