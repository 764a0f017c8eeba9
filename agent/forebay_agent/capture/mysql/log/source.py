"""The log of one MySQL or MariaDB server, as `LogSource` asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa

from forebay_agent.capture.log import LogReader, LogTable, Retention
from forebay_agent.capture.mysql.log.chunk import Chunks
from forebay_agent.capture.mysql.log.examine import examine_log
from forebay_agent.capture.mysql.log.prepared import Spilled
from forebay_agent.capture.mysql.log.reader import MySQLLogReader
from forebay_agent.capture.mysql.log.retention import KeptLog
from forebay_agent.capture.mysql.log.server import LogServer
from forebay_agent.capture.mysql.session import Session
from forebay_agent.capture.source import Finding, RowRange, TableShape
from forebay_agent.config.model import SourceConfig


def _spill() -> Spilled:
    from forebay_agent.spill import Spill

    return Spill(None)


class MySQLLog:
    """session: the source's own, for what is asked in passing. spill: makes a place for what does not fit the memory."""

    def __init__(
        self,
        config: SourceConfig,
        session: Session,
        identity: str,
        codec: str,
        spill: Callable[[], Spilled] = _spill,
    ) -> None:
        self._config = config
        self._session = session
        self._codec = codec
        self._spill = spill
        self._server = LogServer(session, identity)
        self._chunks = Chunks(config, self._server, codec)
        self._kept = KeptLog(config, self._server)

    def open(self, tables: Sequence[LogTable], checkpoint: str | None) -> LogReader:
        """See `LogSource.open_log`."""
        return MySQLLogReader(self._config, self._session, self._server, self._codec, tables, checkpoint, self._spill)

    def end(self) -> str:
        """See `LogSource.log_end`."""
        return self._server.checkpoint(self._server.end(exactly=False)).text()

    def read_chunk(self, shape: TableShape, rows: RowRange, reader: LogReader) -> Iterator[pa.RecordBatch]:
        """See `LogSource.read_chunk`."""
        assert isinstance(reader, MySQLLogReader)
        return self._chunks.read(shape, rows, reader)

    def retention(self, checkpoint: str) -> Retention:
        """See `LogSource.retention`."""
        return self._kept.retention(checkpoint)

    def examine(self, tables: Sequence[LogTable]) -> list[Finding]:
        """See `LogSource.examine_log`."""
        return examine_log(self._server, tables)

    def close(self) -> None:
        self._chunks.close()
