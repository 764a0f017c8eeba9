"""Tables as their log tells them, with the snapshots that the log asks for: what the agent and the platform make of them."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from forebay_agent.capture.chunks import same_columns
from forebay_agent.capture.log import EventKind, LogPiece, LogRows, LogTable, TableEvent
from forebay_agent.capture.postgresql.log import reader
from forebay_agent.capture.source import RowRange, TableName, TableShape
from forebay_agent.errors import AgentError, SourceDenied, SourceError, SourceUnreachable, StatementTimeout
from tests.integration.log_of_postgresql import SECONDS, Log
from tests.integration.log_tables import log_table

LOOK_SECONDS = 0.03
_PASSING = (SourceUnreachable, SourceDenied, StatementTimeout, SourceError)

Key = tuple[Any, ...]
Row = dict[str, Any]


@pytest.fixture
def looking_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the log does not tell of by itself is noticed by looks, which the agent takes every half a minute."""
    monkeypatch.setattr(reader, "_LOOK_SECONDS", LOOK_SECONDS)


class Mirrors:
    """Of all tables of a log."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.all = {name: Mirror(self, log_table(log.source, TableName("public", name))) for name in log.tables}

    def step(self, seconds: float = 0.01) -> None:
        """As the agent: a piece of the log, then a part of the snapshots that are due."""
        piece = self.log.read(seconds)
        if piece is not None:
            for mirror in self.all.values():
                mirror.take(piece)
        for mirror in self.all.values():
            mirror.copy()

    def settle(self) -> None:
        """Until the log has nothing more to tell, and looks have found nothing more; or tables are lost."""
        deadline = time.monotonic() + SECONDS
        count, until = -1, 0.0
        target = self.log.source.log_end()
        while count < 0 or time.monotonic() < until:
            assert time.monotonic() < deadline, {name: mirror.events for name, mirror in self.all.items()}
            self.step()
            rest = self.log.reader.reached(target) and all(mirror.rests() for mirror in self.all.values())
            told = sum(len(mirror.events) for mirror in self.all.values())
            if not rest or told != count:
                count, until = told, time.monotonic() + 4 * LOOK_SECONDS

    def again(self) -> None:
        """As after a crash of the agent; a snapshot under way is begun anew."""
        for mirror in self.all.values():
            mirror.leave()
        log = self.log
        log.close()
        log.source = log.harness.open(**log.config)
        log.reader = log.source.open_log(self.followed(), log.checkpoint)

    def follow(self) -> None:
        self.log.reader.follow(self.followed())

    def followed(self) -> list[LogTable]:
        """With the shapes that the mirrors have."""
        return [replace(mirror.table, shape=mirror.shape) for mirror in self.all.values() if mirror.lost is None]

    def check(self) -> None:
        for name, mirror in self.all.items():
            assert (name, mirror.lost) == (name, None)
            assert (name, mirror.rows) == (name, mirror.stored())


class Mirror:
    """Of one table, by its key, as far as whole transactions were read. rows: a value that was never told is not in its row.
    events: in order. begun: how often it began anew. lost: why, when it is. One chunk is a snapshot of the whole table."""

    def __init__(self, mirrors: Mirrors, table: LogTable) -> None:
        self.mirrors = mirrors
        self.log = mirrors.log
        self.table = table
        self.shape: TableShape = table.shape
        self.rows: dict[Key, Row] = {}
        self.events: list[TableEvent] = []
        self.begun = 0
        self.fresh = False  # a snapshot is in it
        self.chunk: dict[Key, Row] | None = None  # as read
        self.target = ""  # the log must have passed this
        self.told: set[Key] = set()  # keys that the log told of since the chunk was read
        self.disagrees: tuple[str, TableShape] | None = None  # it is described otherwise, from this log checkpoint on
        self.lost: AgentError | None = None
        self.waiting: list[LogPiece] = []

    def copy(self) -> None:
        """A part of its snapshot, where one is due."""
        if self.waiting or self.fresh or self.lost is not None:
            return
        if self.chunk is None:
            self._read_chunk()
        elif self.log.reader.reached(self.target):
            self._finish(self.chunk)

    def rests(self) -> bool:
        return self.lost is not None or (self.fresh and not self.waiting and self.agrees())

    def leave(self) -> None:
        """What was not handed on whole is of no more use."""
        self.waiting, self.chunk, self.disagrees = [], None, None

    def stored(self) -> dict[Key, Row]:
        """The table, as the source reads it for snapshots."""
        shape = self.described()
        assert same_columns(shape, self.shape)
        rows = [row for batch in self.log.source.read(shape, RowRange(())) for row in batch.to_pylist()]
        return {self.key_of(row): row for row in rows}

    def described(self) -> TableShape:
        return log_table(self.log.source, self.table.name).shape

    def key_of(self, row: Row) -> Key:
        return tuple(row[name] for name in self.shape.key)

    def agrees(self) -> bool:
        """As the agent looks: a table that is described otherwise, once the log has passed that, is taken anew."""
        try:
            described = self.described()
        except _PASSING:
            raise
        except AgentError as error:  # it is gone
            self.lost = error
            self.mirrors.follow()
            return False
        if same_columns(described, self.shape) and described.identity == self.shape.identity:
            self.disagrees = None
            return True
        if self.disagrees is None:
            self.disagrees = (self.log.source.log_end(), described)
        if not self.waiting and self.log.reader.reached(self.disagrees[0]):
            self._anew(described)
            self.mirrors.follow()
        return False

    def take(self, piece: LogPiece) -> None:
        self.waiting.append(piece)
        if piece.open:
            return
        for part in (part for each in self.waiting for part in each.parts):
            if part.table != self.table.name:
                continue
            if isinstance(part, LogRows):
                assert self.lost is None, "rows of a table that was lost"
                assert same_columns(part.shape, self.shape)
                self._apply(part)
            else:
                self._happened(part)
        self.waiting = []

    def _happened(self, event: TableEvent) -> None:
        self.events.append(event)
        if event.kind is EventKind.LOST:
            assert event.error is not None
            self.lost, self.chunk = event.error, None
            return
        assert event.shape is not None
        if event.kind is EventKind.GREW:
            added = {column.name: None for column in event.shape.columns[len(self.shape.columns) :]}
            self.rows = {key: row | added for key, row in self.rows.items()}
            self.shape, self.chunk = event.shape, None
        else:
            self._anew(event.shape)
            self.fresh = event.kind is EventKind.TRUNCATED

    def _anew(self, shape: TableShape) -> None:
        self.rows, self.fresh, self.chunk, self.shape, self.disagrees = {}, False, None, shape, None
        self.begun += 1

    def _apply(self, part: LogRows) -> None:
        for row in part.rows.to_pylist():
            absent = row["_absent"] or ()
            values = {name: row[name] for name in row if not name.startswith("_") and name not in absent}
            key = self.key_of(values)
            before = self.rows.pop(key, {})
            if row["_op"] != "d":
                self.rows[key] = {name: before[name] for name in absent if name in before} | values
            self.told.add(key)

    def _read_chunk(self) -> None:
        try:
            if not self.agrees():
                return
            batches = self.log.source.read_chunk(self.shape, RowRange(self.shape.key), self.log.reader)
            chunk = {self.key_of(row): row for batch in batches for row in batch.to_pylist()}
        except _PASSING:
            raise
        except AgentError:
            return  # it was defined anew meanwhile; the log will say how
        self.chunk, self.target, self.told = chunk, self.log.source.log_end(), set()

    def _finish(self, chunk: dict[Key, Row]) -> None:
        """What was told after the chunk was read is newer than the chunk, what was told before is older."""
        for key, row in chunk.items():
            if key not in self.told:
                self.rows[key] = row
            elif key in self.rows:
                self.rows[key] = row | self.rows[key]
        self.fresh, self.chunk = True, None
