"""PostgreSQLSource: reads tables through binary COPY, and says what can be said of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing

import pyarrow as pa

from forebay_agent.capture import marks
from forebay_agent.capture.log import LogReader, LogTable, Retention
from forebay_agent.capture.postgresql import canary, carrying, catalogue, decoding, sql
from forebay_agent.capture.postgresql.examine import examine
from forebay_agent.capture.postgresql.horizon import OpenTransactions
from forebay_agent.capture.postgresql.log.source import PostgreSQLLog
from forebay_agent.capture.postgresql.session import Session
from forebay_agent.capture.postgresql.triggers import Triggers
from forebay_agent.capture.source import ChangeTable, Finding, Horizon, RowRange, TableName, TableShape
from forebay_agent.config.model import SourceConfig

_CLOCK = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"


class PostgreSQLSource:
    """See `Source`, `TriggerSource`, `LogSource`, `WritesRow` and `WritesMessage`. Opened by `forebay_agent.capture.postgresql.open`."""

    def __init__(self, config: SourceConfig) -> None:
        self._config = config
        self._session = Session(config)
        self._transactions = OpenTransactions(self._session)
        self._triggers = Triggers(config, self._session)
        self._log = PostgreSQLLog(config, self._session, self._read_rows)

    def identity(self) -> str:
        """The cluster's system identifier and the database's oid; empty when the user may not ask for them."""
        return catalogue.identity(self._session)

    def clock_us(self) -> int:
        clock: int = self._session.rows(_CLOCK)[0][0]
        return clock

    def tables(self) -> list[TableName]:
        return catalogue.tables(self._session)

    def shape(self, table: TableName, as_text: frozenset[str] = frozenset()) -> TableShape:
        return catalogue.describe(self._session, table, as_text)

    def query(self, shape: TableShape, rows: RowRange) -> str:
        return sql.copy(sql.select(shape, rows))

    def read(self, shape: TableShape, rows: RowRange) -> Iterator[pa.RecordBatch]:
        return self._read_rows(self._session, shape, rows)

    def horizon(self, shape: TableShape, column: str) -> Horizon:
        highest = None  # read first: see Horizon
        statement = sql.copy(sql.select_highest(shape, column))
        for batch in self._read(self._session, shape.with_columns((column,)), statement, frozenset((column,))):
            (highest,) = marks.to_texts(batch, (column,), -1)
        return Horizon(highest, self._transactions.ids())

    def examine(self, shape: TableShape, cursor: str | None) -> list[Finding]:
        return examine(self._session, self._transactions, shape, cursor)

    def change_table(self, shape: TableShape) -> ChangeTable:
        return self._triggers.change_table(shape)

    def installed(self, change_table: ChangeTable) -> bool:
        return self._triggers.installed(change_table)

    def install(self, change_table: ChangeTable) -> None:
        self._triggers.install(change_table)

    def purge(self, change_table: ChangeTable, through: str) -> int:
        return self._triggers.purge(change_table, through)

    def open_log(self, tables: Sequence[LogTable], checkpoint: str | None) -> LogReader:
        return self._log.open(tables, checkpoint)

    def log_end(self) -> str:
        return self._log.end()

    def read_chunk(self, shape: TableShape, rows: RowRange, reader: LogReader) -> Iterator[pa.RecordBatch]:
        return self._log.read_chunk(shape, rows, reader)

    def retention(self, checkpoint: str) -> Retention:
        return self._log.retention(checkpoint)

    def examine_log(self, tables: Sequence[LogTable]) -> list[Finding]:
        return self._log.examine(tables)

    def write_canary(self, table: TableName, row: str, at_us: int) -> None:
        with closing(Session(self._config, writes=True)) as writer:
            canary.write_row(writer, table, row, at_us)

    def messages_come_back(self) -> bool:
        return self._session.server_version >= canary.MESSAGES_VERSION

    def write_message(self, text: str) -> None:
        with closing(Session(self._config, writes=True)) as writer:
            canary.write_message(writer, text)

    def close(self) -> None:
        self._triggers.close()
        self._session.close()

    def _read_rows(self, session: Session, shape: TableShape, rows: RowRange) -> Iterator[pa.RecordBatch]:
        return self._read(session, shape, self.query(shape, rows), frozenset((*shape.key, *rows.order)))

    def _read(
        self, session: Session, shape: TableShape, statement: str, compared: frozenset[str]
    ) -> Iterator[pa.RecordBatch]:
        """compared: columns whose values are compared with later, so that their text must lead back to their bytes."""
        schema = pa.schema([(column.name, column.arrow) for column in shape.columns])
        received = schema
        if session.charset is not None:
            received = pa.schema([(f.name, pa.binary() if pa.types.is_string(f.type) else f.type) for f in schema])
        uuids = [c.origin == carrying.UUID and not carrying.cast_needed(c) for c in shape.columns]
        received = _uuids_as_text(received, uuids)
        batches = session.copy(statement, received, uuids)
        try:
            for batch, unfit in batches:
                if unfit is not None:
                    raise decoding.unrepresentable(shape, batch, *unfit)
                try:
                    columns = decoding.decoded(session, batch.columns, schema, compared)
                except decoding.UndecodableColumn as error:
                    raise decoding.undecodable(shape, batch, error.row, error.column) from None
                yield pa.RecordBatch.from_arrays(columns, schema=schema)
        finally:
            batches.close()


def _uuids_as_text(schema: pa.Schema, uuids: list[bool]) -> pa.Schema:
    """The kernel writes uuids as ASCII text, whatever the character set is."""
    return pa.schema([(f.name, pa.string() if uuid else f.type) for f, uuid in zip(schema, uuids, strict=True)])
