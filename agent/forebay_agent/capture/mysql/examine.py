"""Examine: what `check` says of a table. Each probe looks at data for PROBE_SECONDS at most."""

from __future__ import annotations

from typing import Final

from forebay_agent.capture.mysql import charset, describe, sql
from forebay_agent.capture.mysql.horizon import TOLD_ENGINES, OpenWork
from forebay_agent.capture.mysql.session import Session
from forebay_agent.capture.mysql.triggers import OWN_TRIGGERS
from forebay_agent.capture.mysql.types import DATES, ColumnType
from forebay_agent.capture.source import OPEN_TRANSACTIONS, Column, Finding, Severity, TableName, TableShape
from forebay_agent.errors import AgentError, PrivilegeMissing, StatementTimeout

PROBE_SECONDS: Final = 2


def examine(session: Session, shape: TableShape, cursor: str | None, codec: str, work: OpenWork) -> list[Finding]:
    """See `Source.examine`."""
    table = describe.located(session, shape.table)
    try:
        session.rows(
            f"SELECT {', '.join(sql.name(column.name) for column in shape.columns)} FROM {sql.qualified(table)} LIMIT 0",
            doing=f"looking at {shape.table}",
        )
    except PrivilegeMissing as error:
        grant = f"GRANT SELECT ON {sql.qualified(table)} TO {describe.grantee(session.user)};"
        return [Finding(Severity.ERROR, "privileges", str(error), "Ask the DBA to run this.", grant)]
    except AgentError as error:
        return [Finding(Severity.ERROR, "table", str(error), error.remedy)]
    findings = [Finding(Severity.OK, "privileges", f"{session.user} may read {shape.table}")]
    findings += [_rows(session, table), _key(shape), _identity(shape)]
    findings += [_carried(column) for column in shape.columns if column.carried == "text"]
    findings += [_charset(column, codec) for column in shape.columns if _declared_otherwise(column, codec)]
    for column in shape.columns:
        findings += _values(session, table, column, codec)
    if cursor is not None:
        findings += [*_index(session, table, shape, cursor), _horizon(session, table, work)]
    return findings + _definers(session, table) + _cascades(session, table)


def _rows(session: Session, table: TableName) -> Finding:
    found = session.rows(
        "SELECT TABLE_ROWS FROM information_schema.TABLES WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s",
        table.schema,
        table.name,
    )
    count = found[0][0] if found else None
    return Finding(Severity.OK, "rows", "a view" if count is None else f"about {count} rows, by the server's estimate")


def _key(shape: TableShape) -> Finding:
    if shape.key:
        return Finding(Severity.OK, "key", f"key ({', '.join(shape.key)})")
    return Finding(
        Severity.ERROR,
        "key",
        f"{shape.table} has neither a primary key nor a unique key of columns that are never NULL",
        "Add a primary key, or name unique columns with `key = [...]` in the table's entry.",
    )


def _identity(shape: TableShape) -> Finding:
    return Finding(
        Severity.NOTE,
        "identity",
        f"the server does not say whether {shape.table} was dropped and created again under its name",
        "After re-creating the table start its stream anew: `forebay-agent reset STREAM --reason …`. In mode trigger it "
        "is noticed without that.",
    )


def _carried(column: Column) -> Finding:
    return Finding(
        Severity.NOTE, column.name, f"{column.origin} is carried as text: exactly what the database shows of it"
    )


def _declared_otherwise(column: Column, codec: str) -> bool:
    return charset.overrides(codec, ColumnType.parse(column.origin))


def _charset(column: Column, codec: str) -> Finding:
    return Finding(Severity.NOTE, column.name, f"{column.origin} is read as {codec}, as `charset` says")


def _values(session: Session, table: TableName, column: Column, codec: str) -> list[Finding]:
    """Values that will not fit, where the server finds one in time."""
    kind = ColumnType.parse(column.origin)
    quoted = sql.name(column.name)
    if kind.base in DATES and column.carried == "exact":
        what = "zero dates, or dates with a zero in them"
        condition = f"YEAR({quoted}) = 0 OR MONTH({quoted}) = 0 OR DAY({quoted}) = 0"
        remedy = f'Carry the column as text: add "{column.name}" to `as_text`, or correct the values.'
    else:
        found = sql.lossy(column, codec)
        if found is None:
            return []
        what, condition = f"characters that {kind.charset} has and Unicode, by the server's tables, has not", found
        remedy = (
            'Correct the values, or decode them by the newer standard: `charset = "gb18030"` in the source\'s file.'
        )
    try:
        rows = session.rows(_in_time(session, f"SELECT 1 FROM {sql.qualified(table)} WHERE {condition} LIMIT 1"))
    except StatementTimeout:
        return [
            Finding(
                Severity.NOTE,
                column.name,
                f"not looked through within {PROBE_SECONDS} s for {what}; a row that holds one will be refused",
                remedy,
            )
        ]
    if not rows:
        return []
    shown = f"SELECT * FROM {sql.qualified(table)} WHERE {condition};"
    return [Finding(Severity.WARNING, column.name, f"{column.origin} holds {what}", remedy, shown)]


def _in_time(session: Session, statement: str) -> str:
    if session.mariadb:
        return f"SET STATEMENT max_statement_time = {PROBE_SECONDS} FOR {statement}"
    return statement.replace("SELECT", f"SELECT /*+ MAX_EXECUTION_TIME({PROBE_SECONDS * 1000}) */", 1)


def _index(session: Session, table: TableName, shape: TableShape, cursor: str) -> list[Finding]:
    if cursor not in {column.name for column in shape.columns}:
        return [Finding(Severity.ERROR, cursor, f"{shape.table} has no column {cursor}", "Correct the cursor's name.")]
    rows = session.rows(
        "SELECT INDEX_NAME FROM information_schema.STATISTICS WHERE TABLE_SCHEMA = %s AND TABLE_NAME = %s "
        "AND COLUMN_NAME = %s AND SEQ_IN_INDEX = 1 AND INDEX_TYPE = 'BTREE'",
        table.schema,
        table.name,
        cursor,
    )
    if rows:
        return [Finding(Severity.OK, cursor, f"index {rows[0][0]} begins with the cursor column")]
    columns = ", ".join(sql.name(name) for name in dict.fromkeys((cursor, *shape.key)))
    return [
        Finding(
            Severity.WARNING,
            cursor,
            "no index begins with the cursor column: every poll reads the whole table",
            "Ask the DBA to create an index, or poll less often.",
            f"CREATE INDEX {sql.name(f'forebay_{cursor}'[:64])} ON {sql.qualified(table)} ({columns});",
        )
    ]


def _horizon(session: Session, table: TableName, work: OpenWork) -> Finding:
    engine = describe.engine_of(session, table)
    if engine not in TOLD_ENGINES:
        return Finding(
            Severity.WARNING,
            OPEN_TRANSACTIONS,
            f"transactions of engine {engine} cannot be listed: rows that commit late are read only within `overlap`",
            "Set `overlap` to longer than the longest transaction.",
        )
    if work.ids() is not None:
        return Finding(Severity.OK, OPEN_TRANSACTIONS, "open transactions can be told")
    if work.on_replica:
        return Finding(
            Severity.WARNING,
            OPEN_TRANSACTIONS,
            "this server is a replica or a cluster node: what is still open on the others cannot be told",
            "Read from the primary, or set `overlap` to longer than the longest transaction and the replica's lag.",
        )
    return Finding(
        Severity.WARNING,
        OPEN_TRANSACTIONS,
        f"{session.user} may not see other sessions' transactions: rows that commit late are read only within `overlap`",
        "Ask the DBA to run this, or set `overlap` to longer than the longest transaction.",
        f"GRANT PROCESS ON *.* TO {describe.grantee(session.user)};",
    )


def _definers(session: Session, table: TableName) -> list[Finding]:
    """Whose rights the application's writes need, once there are triggers."""
    rows = session.rows(
        "SELECT DISTINCT DEFINER FROM information_schema.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = %s "
        "AND EVENT_OBJECT_TABLE = %s AND LEFT(TRIGGER_NAME, %s) = %s",
        table.schema,
        table.name,
        len(OWN_TRIGGERS),
        OWN_TRIGGERS,
    )
    return [
        Finding(
            Severity.NOTE,
            "triggers",
            f"Forebay's triggers run as {definer}: should that account be dropped or lose its rights, every write of the "
            f"application to {table} would fail",
            "Keep the account for as long as there are triggers, or let one that stays make them anew.",
        )
        for (definer,) in rows
    ]


def _cascades(session: Session, table: TableName) -> list[Finding]:
    rows = session.rows(
        "SELECT CONSTRAINT_NAME FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_SCHEMA = %s "
        "AND TABLE_NAME = %s AND (DELETE_RULE IN ('CASCADE', 'SET NULL') OR UPDATE_RULE IN ('CASCADE', 'SET NULL'))",
        table.schema,
        table.name,
    )
    return [
        Finding(
            Severity.WARNING,
            constraint,
            "rows that this foreign key changes by itself (CASCADE, SET NULL) fire no triggers and move no cursor",
            "Verify the stream regularly, or let the application make these changes itself.",
        )
        for (constraint,) in rows
    ]
