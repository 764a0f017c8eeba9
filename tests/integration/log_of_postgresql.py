"""The log of one test's database, read as the agent reads it: pieces, put together until the log's end of now."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Self

from forebay_agent.capture.log import EventKind, LogPiece, LogReader, LogRows, LogTable, TableEvent
from forebay_agent.capture.postgresql.source import PostgreSQLSource
from forebay_agent.capture.source import TableName
from tests.contract.sources.postgresql import PostgreSQLHarness
from tests.integration.log_tables import log_table

SECONDS = 20.0


@dataclass
class Log:
    """A reader of some tables, and what it handed on so far, as Python values. keep: acknowledge every piece."""

    harness: PostgreSQLHarness
    tables: tuple[str, ...] = ("t",)
    config: dict[str, Any] = field(default_factory=dict)
    rows_at_once: int = 25_000
    keep: bool = True

    def __post_init__(self) -> None:
        self.config.setdefault("slot", f"slot_{self.harness.database}")
        self.source: PostgreSQLSource = self.harness.open(**self.config)
        self.pieces: list[LogPiece] = []
        self.reader: LogReader = self._open(None)
        self.checkpoint = self.reader.checkpoint

    def follow(self, *tables: str, **changes: Any) -> None:
        self.tables = tables or self.tables
        self.reader.follow(self.followed(**changes))

    def followed(self, **changes: Any) -> list[LogTable]:
        return [log_table(self.source, TableName("public", name), **changes) for name in self.tables]

    def again(self, checkpoint: str | None = None) -> None:
        """As after a crash: from a checkpoint, or the last one."""
        self.close()
        self.source = self.harness.open(**self.config)
        self.reader = self._open(checkpoint or self.checkpoint)

    def read(self, seconds: float = 0.1) -> LogPiece | None:
        piece = self.reader.read(time.monotonic() + seconds, rows=self.rows_at_once, size=16 << 20)
        if piece is not None:
            self.pieces.append(piece)
            if not piece.open:
                self.checkpoint = piece.checkpoint
                if self.keep:
                    self.reader.acknowledge(piece.checkpoint)
        return piece

    def parts(self, *, at_least: int = 0) -> list[LogRows | TableEvent]:
        """What comes up to the log's end of now."""
        target = self.source.log_end()
        parts: list[LogRows | TableEvent] = []
        deadline = time.monotonic() + SECONDS
        while True:
            piece = self.read(0.02)
            if piece is not None:
                parts += piece.parts
            done = self.reader.reached(target) and not (piece is not None and piece.open)
            if done and len(parts) >= at_least:
                return parts
            assert time.monotonic() < deadline, f"the log's end was not reached: {parts}"

    def changes(self, *names: str) -> list[tuple[Any, ...]]:
        """(op, values of these columns) of every row up to the log's end of now; events as (kind, table)."""
        return told(self.parts(), *names)

    def close(self) -> None:
        """Ends the reader, and waits until the server has seen it: a database with a slot in use cannot be dropped."""
        self.reader.close()
        self.source.close()
        deadline = time.monotonic() + SECONDS
        while self.harness.rows("SELECT 1 FROM pg_replication_slots WHERE active AND database = current_database()"):
            assert time.monotonic() < deadline, "the server keeps the slot in use"
            time.sleep(0.01)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self, checkpoint: str | None) -> LogReader:
        return self.source.open_log(self.followed(), checkpoint)


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
