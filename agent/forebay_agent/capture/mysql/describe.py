"""Describe: a table's shape, read from information_schema.

MySQL and MariaDB give no reader an identity of a table that outlives ALTER and TRUNCATE but not DROP: CREATE_TIME changes with
every ALTER that rebuilds, InnoDB's table id with TRUNCATE and OPTIMIZE besides (and needs PROCESS). Either would hold a
stream for routine maintenance, so `TableShape.identity` is empty, which means not known. In mode trigger a table that was
dropped is noticed all the same: its triggers are gone.
"""

from __future__ import annotations

from forebay_agent.capture.mysql import sql
from forebay_agent.capture.mysql.session import Session
from forebay_agent.capture.mysql.types import column_of, origin_of
from forebay_agent.capture.source import TableName, TableShape
from forebay_agent.errors import PrivilegeMissing, TableMissing

NOT_KNOWN = ""


def shape_of(session: Session, table: TableName, as_text: frozenset[str]) -> TableShape:
    """See `Source.shape`."""
    found = located(session, table)
    try:
        session.rows(f"SELECT 1 FROM {sql.qualified(found)} LIMIT 0", doing=f"looking at {table}")
    except PrivilegeMissing as error:
        # one column's privilege is enough to be described, none is not
        if not _columns(session, found):
            error.sql = f"GRANT SELECT ON {sql.qualified(found)} TO {grantee(session.user)};"
            raise
    columns = tuple(
        column_of(name, origin_of(kind, charset), as_text=name in as_text)
        for name, kind, charset in _columns(session, found)
    )
    if not columns:
        raise TableMissing(f"{table} is not in the database at {session.where}")
    return TableShape(table, columns, _key(session, found), NOT_KNOWN)


def tables(session: Session, database: str) -> list[TableName]:
    """See `Source.tables`. What a user may not read, information_schema does not show. database: the connection's own,
    empty for all."""
    rows = session.rows(
        "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE IN ('BASE TABLE', 'VIEW') "
        "AND TABLE_SCHEMA NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema') "
        "AND (TABLE_SCHEMA = %s OR %s = '') AND LEFT(TABLE_NAME, 9) <> '_forebay_' ORDER BY TABLE_SCHEMA, TABLE_NAME",
        database,
        database,
    )
    return [TableName("" if str(schema) == database else str(schema), str(name)) for schema, name in rows]


def key_of(session: Session, table: TableName) -> tuple[str, ...]:
    """The table's key, as in `TableShape.key`."""
    return _key(session, located(session, table))


def located(session: Session, table: TableName) -> TableName:
    """The table with its database named."""
    return TableName(table.schema or session.database, table.name)


def grantee(user: str) -> str:
    """`name@host` as a GRANT writes it."""
    account, _, host = user.rpartition("@")
    return f"{sql.text(account)}@{sql.text(host)}"


def engine_of(session: Session, table: TableName) -> str:
    """The table's storage engine in lower case; empty for a view."""
    rows = session.rows(
        "SELECT TABLE_NAME, ENGINE FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s",
        *_words(located(session, table)),
    )
    return next((engine.lower() for _, engine in _exactly(rows, table.name) if engine), "")


def _columns(session: Session, table: TableName) -> list[tuple[str, str, str | None]]:
    """(name, COLUMN_TYPE, character set) in the table's order; invisible and generated columns too."""
    rows = session.rows(
        "SELECT TABLE_NAME, COLUMN_NAME, COLUMN_TYPE, CHARACTER_SET_NAME FROM information_schema.COLUMNS "
        "WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s ORDER BY ORDINAL_POSITION",
        *_words(table),
    )
    return [(name, kind, charset) for _, name, kind, charset in _exactly(rows, table.name)]


def _key(session: Session, table: TableName) -> tuple[str, ...]:
    """The primary key, or the shortest unique key of whole columns that are never NULL."""
    rows = session.rows(
        "SELECT TABLE_NAME, INDEX_NAME, COALESCE(COLUMN_NAME, ''), IF(COLUMN_NAME IS NULL, 'YES', NULLABLE), SUB_PART "
        "FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s AND NON_UNIQUE = 0 ORDER BY INDEX_NAME, SEQ_IN_INDEX",
        *_words(table),
    )
    keys: dict[str, list[str]] = {}
    unfit = set()
    for _, index, column, nullable, prefix in _exactly(rows, table.name):
        keys.setdefault(index, []).append(column)
        if nullable == "YES" or prefix is not None:
            unfit.add(index)
    fit = {index: columns for index, columns in keys.items() if index not in unfit}
    if "PRIMARY" in fit:
        return tuple(fit["PRIMARY"])
    return min((tuple(columns) for columns in fit.values()), key=lambda columns: len(columns), default=())


def _words(table: TableName) -> tuple[str, str]:
    return table.schema, table.name


def _exactly(rows: list[tuple[str, ...]], name: str) -> list[tuple[str, ...]]:
    """information_schema compares names without case; where tables differ by case only, the one that is meant."""
    exact = [row for row in rows if row[0] == name]
    return exact or rows
