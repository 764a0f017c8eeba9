"""The log's side of PostgreSQLSource."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Final

import pyarrow as pa

from forebay_agent.capture.log import LogReader, LogTable, Retention
from forebay_agent.capture.postgresql.log import opening, publication
from forebay_agent.capture.postgresql.log.checkpoint import LogCheckpoint
from forebay_agent.capture.postgresql.log.examine import examine_log
from forebay_agent.capture.postgresql.log.reader import PostgreSQLLogReader
from forebay_agent.capture.postgresql.log.retention import RetentionGauge
from forebay_agent.capture.postgresql.log.server import LogEnd
from forebay_agent.capture.postgresql.log.streamed import Spilled
from forebay_agent.capture.postgresql.log.visibility import snapshot_of
from forebay_agent.capture.postgresql.session import Session
from forebay_agent.capture.source import Finding, RowRange, TableShape
from forebay_agent.config.model import SourceConfig
from forebay_agent.errors import SourceError
from forebay_agent.spill import Spill

_VISIBLE_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.02
_ONE_SNAPSHOT: Final = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"

Read = Callable[[Session, TableShape, RowRange], Iterator[pa.RecordBatch]]


def _spill() -> Spilled:
    return Spill(None)


class PostgreSQLLog:
    """session: the source's own; the readers have theirs. read: as the source's `read`, on any session."""

    def __init__(self, config: SourceConfig, session: Session, read: Read) -> None:
        self._config = config
        self._session = session
        self._read = read
        self._end = LogEnd(session)
        self._gauge = RetentionGauge(session, publication.names_of(config).slot)

    def open(self, tables: Sequence[LogTable], checkpoint: str | None) -> PostgreSQLLogReader:
        return opening.open_reader(self._config, self._session, tables, checkpoint, _spill)

    def end(self) -> str:
        return LogCheckpoint("", 0, 0, "", 0, self._end.now()).to_json()

    def read_chunk(self, shape: TableShape, rows: RowRange, reader: LogReader) -> Iterator[pa.RecordBatch]:
        assert isinstance(reader, PostgreSQLLogReader)
        if rows.order:
            yield from self._read_at_once(self._session, shape, rows, reader)
            return
        # all of a table is handed on piece by piece, and the source is asked other things in between
        with closing(Session(self._config)) as session:
            yield from self._read_at_once(session, shape, rows, reader)

    def _read_at_once(
        self, session: Session, shape: TableShape, rows: RowRange, reader: PostgreSQLLogReader
    ) -> Iterator[pa.RecordBatch]:
        """From one snapshot."""
        deadline = time.monotonic() + _VISIBLE_SECONDS
        while True:
            with session.transaction():
                session.run(_ONE_SNAPSHOT)
                if reader.seen_by(snapshot_of(session)):
                    reader.copied(shape.table)
                    yield from self._read(session, shape, rows)
                    return
            if time.monotonic() > deadline:
                raise SourceError(
                    f"{shape.table}: the log tells of commits that no read sees yet: they wait for a synchronous standby",
                    remedy="See that the synchronous standbys run; the agent tries again by itself.",
                )
            time.sleep(_LOOK_SECONDS)

    def retention(self, checkpoint: str) -> Retention:
        return self._gauge.retention(checkpoint)

    def examine(self, tables: Sequence[LogTable]) -> list[Finding]:
        return examine_log(self._config, self._session, tables)
