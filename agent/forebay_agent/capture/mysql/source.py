"""MySQLSource: `Source`, `TriggerSource` and `LogSource` over MySQL and MariaDB. See the package for the order to read in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import pyarrow as pa

from forebay_agent.capture import marks
from forebay_agent.capture.log import LogReader, LogTable, Retention
from forebay_agent.capture.mysql import canary, charset, describe, sql, triggers, values
from forebay_agent.capture.mysql.examine import examine
from forebay_agent.capture.mysql.horizon import TOLD_ENGINES, OpenWork
from forebay_agent.capture.mysql.log.source import MySQLLog
from forebay_agent.capture.mysql.session import Session
from forebay_agent.capture.source import ChangeTable, Finding, Horizon, RowRange, TableName, TableShape
from forebay_agent.config.model import SourceConfig
from forebay_agent.errors import ConfigurationError

_WHOLE: Final = RowRange(())


class MySQLSource:
    """One read-only session with a MySQL or MariaDB server; what writes (install, purge, canary) gets a session of its own."""

    def __init__(self, config: SourceConfig) -> None:
        """Connects. Raises SourceUnreachable, SourceDenied, PrivilegeMissing, TableMissing (no such database),
        ConfigurationError (no such charset)."""
        try:
            self._codec = charset.codec_of(config.charset)
        except LookupError:
            raise ConfigurationError(
                f"there is no character set {config.charset!r}",
                file=config.file,
                key="charset",
                remedy="Use gb18030, gbk, utf8mb4, big5 or another name that Python knows.",
            ) from None
        self._config = config
        self._session = Session(config)
        self._work = OpenWork(self._session)
        self._writer: Session | None = None
        self._identity = ""
        self._log: MySQLLog | None = None

    def identity(self) -> str:
        """MySQL: server_uuid. MariaDB has none: host name, port, data folder and server id together."""
        if not self._identity:
            asked = "@@hostname, @@port, @@datadir, @@server_id" if self._session.mariadb else "@@server_uuid"
            self._identity = ":".join(str(part) for part in self._session.rows(f"SELECT {asked}")[0])
        return self._identity

    def clock_us(self) -> int:
        return int(self._session.rows("SELECT CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS UNSIGNED)")[0][0])

    def tables(self) -> list[TableName]:
        return describe.tables(self._session, self._config.database)

    def shape(self, table: TableName, as_text: frozenset[str] = frozenset()) -> TableShape:
        return describe.shape_of(self._session, table, as_text)

    def query(self, shape: TableShape, rows: RowRange) -> str:
        return sql.query(shape, rows, self._codec)

    def read(self, shape: TableShape, rows: RowRange) -> Iterator[pa.RecordBatch]:
        statement = sql.query(shape, rows, self._codec)
        compared = rows.order
        for collected in self._session.stream(statement, values.kinds_of(shape.columns), f"reading {shape.table}"):
            yield values.taken(shape, collected, self._codec, compared)

    def horizon(self, shape: TableShape, column: str) -> Horizon:
        """The list of open transactions is renewed by the server every 0.1 s: so long may this take."""
        highest = self._highest(shape, column)
        told = describe.engine_of(self._session, shape.table) in TOLD_ENGINES
        return Horizon(highest, self._work.ids() if told else None)

    def examine(self, shape: TableShape, cursor: str | None) -> list[Finding]:
        return examine(self._session, shape, cursor, self._codec, self._work)

    def change_table(self, shape: TableShape) -> ChangeTable:
        return triggers.change_table(self._session, shape)

    def installed(self, change_table: ChangeTable) -> bool:
        assert isinstance(change_table, triggers.MySQLChangeTable)
        return triggers.installed(self._session, change_table)

    def install(self, change_table: ChangeTable) -> None:
        triggers.install(self._writing(), change_table)

    def purge(self, change_table: ChangeTable, through: str) -> int:
        return triggers.purge(self._writing(), change_table, through)

    def open_log(self, tables: Sequence[LogTable], checkpoint: str | None) -> LogReader:
        return self._its_log().open(tables, checkpoint)

    def log_end(self) -> str:
        return self._its_log().end()

    def read_chunk(self, shape: TableShape, rows: RowRange, reader: LogReader) -> Iterator[pa.RecordBatch]:
        return self._its_log().read_chunk(shape, rows, reader)

    def retention(self, checkpoint: str) -> Retention:
        return self._its_log().retention(checkpoint)

    def examine_log(self, tables: Sequence[LogTable]) -> list[Finding]:
        return self._its_log().examine(tables)

    def write_canary(self, table: TableName, row: str, at_us: int) -> None:
        canary.write_row(self._writing(), table, row, at_us)

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
        self._session.close()
        if self._writer is not None:
            self._writer.close()

    def _its_log(self) -> MySQLLog:
        if self._log is None:
            self._log = MySQLLog(self._config, self._session, self.identity(), self._codec)
        return self._log

    def _writing(self) -> Session:
        if self._writer is None:
            self._writer = Session(self._config, writes=True)
        return self._writer

    def _highest(self, shape: TableShape, column: str) -> str | None:
        """Read as rows are read, so that its text is the text of marks."""
        only = shape.with_columns((column,))
        greatest = (
            f"{sql.query(only, _WHOLE, self._codec)} WHERE {sql.name(column)} IS NOT NULL "
            f"ORDER BY {sql.name(column)} DESC LIMIT 1"
        )
        highest = None
        for collected in self._session.stream(greatest, values.kinds_of(only.columns), f"reading {shape.table}"):
            highest = marks.to_texts(values.taken(only, collected, self._codec, (column,)), (column,), 0)[0]
        return highest
