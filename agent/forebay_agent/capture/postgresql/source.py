"""PostgreSQLSource: reads tables through binary COPY, and says what can be said of them."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from forebay_agent.capture import marks
from forebay_agent.capture.postgresql import carrying, catalogue, sql
from forebay_agent.capture.postgresql.charset import Undecodable
from forebay_agent.capture.postgresql.examine import examine
from forebay_agent.capture.postgresql.horizon import OpenTransactions
from forebay_agent.capture.postgresql.session import Session
from forebay_agent.capture.postgresql.triggers import Triggers
from forebay_agent.capture.source import ChangeTable, Finding, Horizon, RowRange, TableName, TableShape
from forebay_agent.config.model import SourceConfig
from forebay_agent.errors import SourceError, ValueUnrepresentable

_IDENTITY = "SELECT (SELECT system_identifier FROM pg_control_system()), oid::bigint FROM pg_database WHERE datname = current_database()"
_CLOCK = "SELECT (extract(epoch FROM clock_timestamp())::numeric * 1000000)::bigint"


class PostgreSQLSource:
    """See `Source` and `TriggerSource`. Opened by `forebay_agent.capture.postgresql.open`."""

    def __init__(self, config: SourceConfig) -> None:
        self._session = Session(config)
        self._transactions = OpenTransactions(self._session)
        self._triggers = Triggers(config, self._session)

    def identity(self) -> str:
        """The cluster's system identifier and the database's oid; empty when the user may not ask for them."""
        ((system, database),) = self._session.rows(_IDENTITY)
        return f"{system}/{database}"

    def clock_us(self) -> int:
        clock: int = self._session.rows(_CLOCK)[0][0]
        return clock

    def shape(self, table: TableName, as_text: frozenset[str] = frozenset()) -> TableShape:
        return catalogue.describe(self._session, table, as_text)

    def query(self, shape: TableShape, rows: RowRange) -> str:
        return sql.copy(sql.select(shape, rows))

    def read(self, shape: TableShape, rows: RowRange) -> Iterator[pa.RecordBatch]:
        return self._read(shape, self.query(shape, rows))

    def horizon(self, shape: TableShape, column: str) -> Horizon:
        highest = self._highest(shape, column)  # first, see Horizon
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

    def close(self) -> None:
        self._triggers.close()
        self._session.close()

    def _highest(self, shape: TableShape, column: str) -> str | None:
        only = shape.with_columns((column,))
        newest = sql.select(only, RowRange((column,), limit=1), descending=True)
        statement = newest.replace(" ORDER BY ", f" WHERE t.{sql.identifier(column)} IS NOT NULL ORDER BY ", 1)
        highest = None
        for batch in self._read(only, sql.copy(statement)):
            (highest,) = marks.to_texts(batch, (column,), -1)
        return highest

    def _read(self, shape: TableShape, statement: str) -> Iterator[pa.RecordBatch]:
        schema = pa.schema([(column.name, column.arrow) for column in shape.columns])
        charset = self._session.charset
        text = [number for number, field in enumerate(schema) if charset and pa.types.is_string(field.type)]
        received = schema
        for number in text:
            received = received.set(number, pa.field(schema.field(number).name, pa.binary()))
        uuids = [c.origin == carrying.UUID and not carrying.cast_needed(c) for c in shape.columns]
        for batch, unfit in self._session.copy(statement, received, uuids):
            if unfit is not None:
                raise _unrepresentable(shape, batch, *unfit)
            yield batch
