"""Chunks of a snapshot: rows of one range, from a snapshot of the database that holds all that the log has told so far.

A commit stands in the log before others can see it. MariaDB says of a consistent snapshot where in the log it stands
(`binlog_snapshot_position`); MySQL says which transactions are visible by now (`gtid_executed`). Where that is behind what
was read of the log, it is tried again. Nothing is locked.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Final

import pyarrow as pa

from forebay_agent.capture.mysql import sql, values
from forebay_agent.capture.mysql.log.checkpoint import Place, number_of
from forebay_agent.capture.mysql.log.reader import MySQLLogReader
from forebay_agent.capture.mysql.log.server import LogServer
from forebay_agent.capture.mysql.session import Session
from forebay_agent.capture.source import RowRange, TableShape
from forebay_agent.config.model import SourceConfig
from forebay_agent.errors import AgentError, LogUnfit, SourceError

_FIRST_PAUSE_SECONDS: Final = 0.001
_LONGEST_PAUSE_SECONDS: Final = 0.1
_PATIENCE_SECONDS: Final = 30.0


class Chunks:
    """Sessions of their own, since the log is read and tables are described while a chunk is under way."""

    def __init__(self, config: SourceConfig, server: LogServer, codec: str) -> None:
        self._config = config
        self._server = server
        self._codec = codec
        self._idle: list[Session] = []

    def read(self, shape: TableShape, rows: RowRange, reader: MySQLLogReader) -> Iterator[pa.RecordBatch]:
        """See `LogSource.read_chunk`."""
        statement = sql.query(shape, rows, self._codec)
        session = self._idle.pop() if self._idle else Session(self._config)
        try:
            self._begin(session, reader.handed_on)
            for collected in session.stream(statement, values.kinds_of(shape.columns), f"reading {shape.table}"):
                yield values.taken(shape, collected, self._codec, rows.order)
        except BaseException:
            session.close()
            raise
        with contextlib.suppress(AgentError):  # all was read
            session.rows("COMMIT")
        self._idle.append(session)

    def close(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _begin(self, session: Session, handed_on: Place) -> None:
        """Raises SourceError when what the log told does not become visible."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        pause = _FIRST_PAUSE_SECONDS
        while not self._is_visible(session, handed_on):
            if time.monotonic() > deadline:
                raise SourceError(
                    f"what stands in the log up to {handed_on} does not become visible at {session.where}: a commit hangs",
                    remedy="Look for a transaction that waits in its commit (semi-synchronous replication, a full disk).",
                )
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    def _is_visible(self, session: Session, handed_on: Place) -> bool:
        """Begins a snapshot that holds everything up to a place; whether there is one by now."""
        if not self._server.mariadb:
            if not self._server.by_gtid:
                raise LogUnfit(
                    "MySQL without GTIDs does not tell which part of its log others can see",
                    remedy="Ask the DBA to switch GTIDs on (gtid_mode, enforce_gtid_consistency), step by step as the "
                    "manual of MySQL says.",
                )
            told = session.rows("SELECT GTID_SUBSET(%s, @@global.gtid_executed)", handed_on.gtid)
            if not int(told[0][0]):
                return False
            session.rows("START TRANSACTION WITH CONSISTENT SNAPSHOT")
            return True
        session.rows("START TRANSACTION WITH CONSISTENT SNAPSHOT")
        status = dict(session.rows("SHOW STATUS LIKE 'binlog_snapshot_%%'", doing="asking where a snapshot stands"))
        file, offset = status.get("Binlog_snapshot_file", ""), int(status.get("Binlog_snapshot_position", 0))
        if file and (number_of(file), offset) >= handed_on.order:
            return True
        session.rows("COMMIT")
        return False
