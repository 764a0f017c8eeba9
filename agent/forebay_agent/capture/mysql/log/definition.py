"""A table's whole definition as the server describes it now: every column, captured or not, in the order in which row events
hold them. What a TABLE_MAP does not say of its columns (without `binlog_row_metadata = FULL`) is known from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from forebay_agent.capture.mysql.session import Session
from forebay_agent.capture.mysql.types import origin_of
from forebay_agent.capture.source import TableName
from forebay_agent.errors import TableMissing

_TRANSACTIONAL: Final = {"InnoDB", "ROCKSDB", "TokuDB", "ndbcluster"}
HASH_PREFIX: Final = "DB_ROW_HASH_"
"""hidden columns at a MariaDB table's end, one per unique key over long columns"""


@dataclass(frozen=True, slots=True)
class DefinedColumn:
    """origin: as `Column.origin`. nullable, default, generated: what an added column holds in rows that were there before."""

    name: str
    origin: str
    nullable: bool
    has_default: bool
    generated: bool

    @property
    def empty_before(self) -> bool:
        """Whether rows that were there before the column was added hold NULL in it."""
        return self.nullable and not self.has_default and not self.generated


@dataclass(frozen=True, slots=True)
class Definition:
    """name: as the server spells it. hashes: how many hidden columns follow. versioned: a system-versioned table, whose log
    holds old versions as rows of their own. transactional: whether the engine undoes what a transaction rolls back."""

    name: TableName
    columns: tuple[DefinedColumn, ...]
    hashes: int
    versioned: bool
    transactional: bool

    def column(self, name: str) -> DefinedColumn | None:
        return next((column for column in self.columns if column.name == name), None)


def definition_of(session: Session, table: TableName) -> Definition:
    """Raises TableMissing, and what `Session.rows` raises."""
    words = (table.schema or session.database, table.name)
    found = session.rows(
        "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, ENGINE FROM information_schema.TABLES "
        "WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s",
        *words,
        doing=f"describing {table}",
    )
    exact = [row for row in found if row[1] == table.name] or found
    if not exact or exact[0][2] == "VIEW":
        what = "is a view, of which the log holds nothing" if exact else f"is not in the database at {session.where}"
        raise TableMissing(f"{table} {what}")
    schema, name, kind, engine = exact[0]
    columns = session.rows(
        "SELECT COLUMN_NAME, COLUMN_TYPE, CHARACTER_SET_NAME, IS_NULLABLE, COLUMN_DEFAULT, EXTRA, TABLE_NAME "
        "FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s ORDER BY ORDINAL_POSITION",
        schema,
        name,
    )
    return Definition(
        TableName(schema, name),
        tuple(
            DefinedColumn(
                column,
                origin_of(column_type, charset),
                nullable == "YES",
                # MariaDB writes the default NULL as a word
                default is not None and default != "NULL",
                "GENERATED" in extra.upper() or "auto_increment" in extra.lower(),
            )
            for column, column_type, charset, nullable, default, extra, owner in columns
            if owner == name
        ),
        _hashes(session, schema, name, engine or "") if session.mariadb else 0,
        kind == "SYSTEM VERSIONED",
        engine in _TRANSACTIONAL,
    )


def _hashes(session: Session, schema: str, name: str, engine: str) -> int:
    if engine.upper() == "MEMORY":
        return 0  # there it is an index like any other
    rows = session.rows(
        "SELECT COUNT(DISTINCT INDEX_NAME) FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = %s "
        "AND TABLE_NAME = %s AND NON_UNIQUE = 0 AND INDEX_TYPE = 'HASH'",
        schema,
        name,
    )
    return int(rows[0][0])
