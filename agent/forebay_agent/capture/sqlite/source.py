"""SQLiteSource: one file, read through short read-only statements; its triggers are written by sessions of their own.

SQLite has one writer at a time and shows a transaction's rows when it commits, so that no lower value of a growing column
can come after a higher one was seen: the horizon never waits for anything.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pyarrow as pa

from forebay_agent.capture import marks
from forebay_agent.capture.source import ChangeTable, Finding, Horizon, RowRange, TableName, TableShape
from forebay_agent.capture.sqlite import canary, changes, statements
from forebay_agent.capture.sqlite.examine import findings
from forebay_agent.capture.sqlite.layout import Layout, describe, tables
from forebay_agent.capture.sqlite.reading import Reading
from forebay_agent.capture.sqlite.session import Session, file_identity
from forebay_agent.capture.sqlite.statements import Statement
from forebay_agent.config.model import SourceConfig
from forebay_agent.errors import PrivilegeMissing


class SQLiteSource:
    """Implements `TriggerSource` and `WritesRow`."""

    def __init__(self, config: SourceConfig) -> None:
        """Raises SourceUnreachable, SourceDenied, SourceError."""
        self._config = config
        self._session = Session(config)
        self._encoding = self._session.encoding
        if config.charset:
            charset = self._encoding = config.charset
            self._session.connection.text_factory = lambda raw: str(raw, charset)

    def identity(self) -> str:
        return file_identity(self._session.path)

    def clock_us(self) -> int:
        return time.time_ns() // 1_000  # the file has no clock but this machine's

    def tables(self) -> list[TableName]:
        return tables(self._session)

    def shape(self, table: TableName, as_text: frozenset[str] = frozenset()) -> TableShape:
        return describe(self._session, table, as_text)[0]

    def query(self, shape: TableShape, rows: RowRange) -> str:
        return statements.shown(shape, self._layout(shape), rows)

    def read(self, shape: TableShape, rows: RowRange) -> Iterator[pa.RecordBatch]:
        return Reading(self._session, shape, self._layout(shape), rows, self._encoding).batches()

    def horizon(self, shape: TableShape, column: str) -> Horizon:
        one = shape.with_columns((column,))
        layout = self._layout(shape)
        statement = Statement(statements.highest(one, layout, column), ())
        for batch in Reading(self._session, one, layout, RowRange(()), self._encoding).answer(statement):
            return Horizon(marks.to_texts(batch, (column,), 0)[0], frozenset())
        return Horizon(None, frozenset())

    def examine(self, shape: TableShape, cursor: str | None) -> list[Finding]:
        return findings(self._session, shape, self._layout(shape), cursor)

    def close(self) -> None:
        self._session.close()

    def change_table(self, shape: TableShape) -> ChangeTable:
        return changes.change_table(self._session, shape, self._layout(shape))

    def installed(self, change_table: ChangeTable) -> bool:
        return changes.installed(self._session, change_table)

    def install(self, change_table: ChangeTable) -> None:
        with_writes = Session(self._config, writes=True)
        try:
            changes.install(with_writes, change_table)
        finally:
            with_writes.close()

    def purge(self, change_table: ChangeTable, through: str) -> int:
        """Raises PrivilegeMissing when the file cannot be written."""
        with_writes = Session(self._config, writes=True)
        try:
            return changes.purge(with_writes, change_table, through)
        except PrivilegeMissing as error:
            raise PrivilegeMissing(
                str(error),
                remedy="Give the agent's user write access to the file and its folder, or set `purge = false`.",
            ) from error
        finally:
            with_writes.close()

    def write_canary(self, table: TableName, row: str, at_us: int) -> None:
        with_writes = Session(self._config, writes=True)
        try:
            canary.write_row(with_writes, table, row, at_us)
        finally:
            with_writes.close()

    def _layout(self, shape: TableShape) -> Layout:
        return describe(self._session, shape.table, frozenset())[1]
