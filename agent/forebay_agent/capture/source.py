"""The contract between a database and the captures: everything that knows a database implements `Source`.

A dialect is a folder beside this file (`sqlite/`, `mysql/`, `postgresql/`) that could be deleted. The captures
(`snapshot.py`, `cursor.py`, `trigger.py`) know no database; they ask a `Source` for rows of a range and decide what has
been captured. One contract suite, `tests/contract/test_source.py`, is passed by every dialect on its real server.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Protocol

import pyarrow as pa


@dataclass(frozen=True, slots=True, order=True)
class TableName:
    """A table or view; `schema` is empty for the connection's own."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}" if self.schema else self.name

    @classmethod
    def parse(cls, text: str) -> TableName:
        schema, dot, name = text.partition(".")
        return cls(schema, name) if dot else cls("", text)


@dataclass(frozen=True, slots=True)
class Column:
    """One column as it is carried.

    origin: its type as the database names it (`decimal(18,2)`). arrow: what its values are carried as.
    carried: `exact`, or `text` where Arrow or Iceberg cannot hold the type exactly (or `as_text` asks for it).
    """

    name: str
    origin: str
    arrow: pa.DataType
    carried: str = "exact"


@dataclass(frozen=True, slots=True)
class TableShape:
    """A table as the database describes it now.

    key: primary key, or the shortest unique key without nullable columns; empty when there is none.
    identity: changes when the table is dropped and created again (an oid, a creation time), and only then.
    """

    table: TableName
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    identity: str

    def column(self, name: str) -> Column:
        """Raises KeyError when there is none of that name."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def with_columns(self, names: tuple[str, ...]) -> TableShape:
        """This table with just these columns, in this order."""
        return TableShape(self.table, tuple(self.column(name) for name in names), self.key, self.identity)


Values = tuple[str, ...]
"""Values of some columns of one row as text, by `marks.to_texts`: what checkpoints hold and `RowRange` compares with."""


@dataclass(frozen=True, slots=True)
class RowRange:
    """Rows of a table ordered by the columns `order`.

    after:    rows whose `order` values are strictly greater (row-wise, lexicographic), None: from the first.
    at_least: rows whose FIRST order column is >= this value less `overlap`; together with `after` both hold.
    through:  rows whose first order column is <= this value.
    limit:    at most so many rows; 0: all.
    among:    rows whose `order` values are, by the database's own comparison, one of these; a few hundred at most.
    NULLs of the first order column are not in any range that has `after`, `at_least` or `through`.
    """

    order: tuple[str, ...]
    after: Values | None = None
    at_least: str | None = None
    overlap: timedelta | int = 0
    through: str | None = None
    limit: int = 0
    among: tuple[Values, ...] = ()


@dataclass(frozen=True, slots=True)
class Horizon:
    """How far a column can be read, as seen at one moment.

    highest: the column's greatest committed value as text, None when the table is empty.
    open: ids of transactions (and running statements) that were open right AFTER `highest` was read, other than our own,
        and that could still commit a row at or below `highest`; None when the database cannot tell.
    The order matters: `highest` is read first, `open` second (see `settled.py` for the proof).
    """

    highest: str | None
    open: frozenset[str] | None


class Severity(StrEnum):
    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    ERROR = "error"


OPEN_TRANSACTIONS = "open transactions"
"""a finding's subject: whether the user sees what may still commit below the newest row"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that `check` looked at. `remedy` and `sql` say what to do about it and what a DBA should run."""

    severity: Severity
    subject: str
    message: str
    remedy: str = ""
    sql: str = ""


class Source(Protocol):
    """One open, read-only session with a database (used by one thread).

    Errors: every method raises only kinds of `forebay_agent.errors`, classified by SQLSTATE or vendor number.
    """

    def identity(self) -> str:
        """The server's identity: the same for the same server for ever, another for another (server uuid, system
        identifier, a file's device and inode)."""

    def clock_us(self) -> int:
        """The database's clock, microseconds since 1970 UTC."""

    def tables(self) -> list[TableName]:
        """Tables and views that the user may read, in order of name: none of the system's, none of Forebay's own."""

    def shape(self, table: TableName, as_text: frozenset[str] = frozenset()) -> TableShape:
        """Describes a table. Columns in `as_text` are carried as text. Raises TableMissing, PrivilegeMissing."""

    def query(self, shape: TableShape, rows: RowRange) -> str:
        """The exact SQL that `read` sends, for people to see: values in it as literals."""

    def read(self, shape: TableShape, rows: RowRange) -> Iterator[pa.RecordBatch]:
        """The rows as record batches of exactly `shape`'s columns and types, a bounded number of bytes at a time
        (about 4 to 8 MiB), streamed: never the whole result in memory. Raises ValueUnrepresentable naming table, key and
        column (not the value) when a value does not fit its column's type."""

    def horizon(self, shape: TableShape, column: str) -> Horizon:
        """See Horizon. `open=None` when privileges or the database do not allow to tell."""

    def examine(self, shape: TableShape, cursor: str | None) -> list[Finding]:
        """What `check` says of a table: privileges, key, columns carried as text, values that will not fit where that
        can be told cheaply, index on the cursor column, estimated rows, whether the horizon can be told."""

    def close(self) -> None:
        """Ends the session; never raises."""


@dataclass(frozen=True, slots=True)
class ChangeTable:
    """A table's change table, written by triggers in the transaction that changes the table.

    Its columns: `forebay_id` (ascending number), `forebay_op` (`c`, `u`, `d`), `forebay_at` (the database's UTC clock as a
    timestamp without zone, or text in ISO form where the database has no such type), then the captured table's columns
    under their own names. A changed key is written as two rows, `d` with the old image and `c` with the new one.
    """

    shape: TableShape
    install: tuple[str, ...]  # statements, in order, that create change table and triggers; safe to run again
    remove: tuple[str, ...]


CHANGE_ID = "forebay_id"
CHANGE_OP = "forebay_op"
CHANGE_AT = "forebay_at"


class TriggerSource(Source, Protocol):
    """A Source of a database whose triggers Forebay can use."""

    def change_table(self, shape: TableShape) -> ChangeTable:
        """The change table of a captured table; nothing is created."""

    def installed(self, change_table: ChangeTable) -> bool:
        """Whether change table and all triggers are there and fit the captured table's columns."""

    def install(self, change_table: ChangeTable) -> None:
        """Runs `install` in a session of its own that may write. Raises PrivilegeMissing with the statements as sql."""

    def purge(self, change_table: ChangeTable, through: str) -> int:
        """Deletes changes with id <= `through`, a bounded number per transaction; returns how many."""
