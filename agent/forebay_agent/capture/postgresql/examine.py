"""Examine: what `check` says of a table. Probes of data run for `_PROBE_SECONDS` at most."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from forebay_agent.capture.postgresql import catalogue
from forebay_agent.capture.postgresql.carrying import TEXT, bare
from forebay_agent.capture.postgresql.horizon import OpenTransactions
from forebay_agent.capture.postgresql.session import UNCHECKED, Session
from forebay_agent.capture.postgresql.sql import identifier, qualified
from forebay_agent.capture.source import OPEN_TRANSACTIONS, Column, Finding, Severity, TableShape
from forebay_agent.errors import StatementTimeout

_PROBE_SECONDS: Final = 2
_NAME_BYTES: Final = 63
_DATES: Final = frozenset({"date", "timestamp without time zone", "timestamp with time zone"})
_READABLE = "SELECT has_column_privilege(%s::oid, %s, 'SELECT')"
_ESTIMATE = """
WITH RECURSIVE parts AS (
    SELECT %s::oid AS oid UNION ALL SELECT i.inhrelid FROM pg_inherits i JOIN parts p ON i.inhparent = p.oid
)
SELECT sum(greatest(c.reltuples, 0))::bigint FROM parts p JOIN pg_class c ON c.oid = p.oid
"""
_INDEX = """
SELECT c.relname::text
FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
WHERE i.indrelid = %s AND i.indisvalid AND i.indpred IS NULL AND m.amname = 'btree' AND a.attname = %s
ORDER BY i.indnatts LIMIT 1
"""


def examine(session: Session, transactions: OpenTransactions, shape: TableShape, cursor: str | None) -> list[Finding]:
    """See `Source.examine`."""
    relation = catalogue.find(session, shape.table)
    if relation is None:
        return [Finding(Severity.ERROR, "table", f"there is no table or view {shape.table}")]
    hidden = [c.name for c in shape.columns if not session.rows(_READABLE, (relation.oid, c.name))[0][0]]
    if hidden:
        return [_hidden(session, shape, hidden)]
    findings = [Finding(Severity.OK, "privileges", f"{catalogue.role(session)} may read {shape.table}")]
    findings += [_rows(session, relation), _key(shape), *_server(session, shape, relation)]
    findings += [_carried(column) for column in shape.columns if column.carried == TEXT]
    findings += _values(session, shape)
    if cursor is not None:
        findings += [*_index(session, relation, shape, cursor), _horizon(session, transactions)]
    return findings


def _hidden(session: Session, shape: TableShape, hidden: list[str]) -> Finding:
    columns = ", ".join(identifier(name) for name in hidden)
    grant = f"GRANT SELECT ({columns}) ON {qualified(shape.table)} TO {identifier(catalogue.role(session))};"
    return Finding(
        Severity.ERROR, "privileges", f"the user may not read {', '.join(hidden)}", "Ask the DBA to run this.", grant
    )


def _rows(session: Session, relation: catalogue.Relation) -> Finding:
    if relation.kind in ("v", "f"):
        return Finding(Severity.OK, "rows", "a view: its rows are not estimated")
    count = session.rows(_ESTIMATE, (relation.oid,))[0][0]
    return Finding(Severity.OK, "rows", f"about {count} rows, by the server's estimate")


def _key(shape: TableShape) -> Finding:
    if shape.key:
        return Finding(Severity.OK, "key", f"key ({', '.join(shape.key)})")
    return Finding(
        Severity.ERROR,
        "key",
        f"{shape.table} has neither a primary key nor a unique key of columns that are never NULL",
        "Add a primary key, or name unique columns with `key = [...]` in the table's entry.",
    )


def _server(session: Session, shape: TableShape, relation: catalogue.Relation) -> list[Finding]:
    findings = []
    if not catalogue.identity(session):
        findings.append(
            Finding(
                Severity.NOTE,
                "identity",
                "the user may not ask for the server's system identifier: another server behind this address is not noticed",
                "Ask the DBA to run this.",
                f"GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system() TO {identifier(catalogue.role(session))};",
            )
        )
    if session.rows("SELECT row_security_active(%s::oid)", (relation.oid,))[0][0]:
        findings.append(
            Finding(
                Severity.WARNING,
                "row security",
                f"policies on {shape.table} hide rows from this user: what they hide is not shared",
                "If that is not meant, ask the DBA for a policy that shows this user every row.",
            )
        )
    if session.unchecked:
        findings.append(
            Finding(
                Severity.WARNING,
                "charset",
                f"the database is {UNCHECKED}: nobody checks its text; a value that is not UTF-8 will be refused",
                "Set `charset` in the source's file to what the text really is (gb18030 holds GBK).",
            )
        )
    return findings


def _carried(column: Column) -> Finding:
    return Finding(
        Severity.NOTE, column.name, f"{column.origin} is carried as text: exactly what the database shows of it"
    )


def _unfit(column: Column) -> str:
    """The condition of values that the column's type cannot carry; empty where all fit."""
    name = f"t.{identifier(column.name)}"
    if bare(column.origin) in _DATES and not pa.types.is_string(column.arrow):
        return f"{name} < '0001-01-01' OR {name} >= '10000-01-01'"
    return f"{name} = 'NaN'" if pa.types.is_decimal(column.arrow) else ""


def _values(session: Session, shape: TableShape) -> list[Finding]:
    """Values that will not fit, where the server finds one in time; all columns in one reading of the table."""
    conditions = {column.name: condition for column in shape.columns if (condition := _unfit(column))}
    if not conditions:
        return []
    table = qualified(shape.table)
    columns = ", ".join(f"({condition})" for condition in conditions.values())
    anywhere = " OR ".join(conditions.values())
    try:
        with session.transaction():
            session.run(f"SET LOCAL statement_timeout TO '{_PROBE_SECONDS}s'")
            found = session.rows(f"SELECT {columns} FROM {table} AS t WHERE {anywhere} LIMIT 1")
    except StatementTimeout:
        return [
            Finding(
                Severity.NOTE,
                ", ".join(conditions),
                f"not looked through within {_PROBE_SECONDS} s for infinity, NaN and years beyond 0001 to 9999; a row that "
                "holds one will be refused",
                "If such values are meant, carry the column as text: add it to `as_text`.",
            )
        ]
    flags = found[0] if found else ()
    return [
        Finding(
            Severity.WARNING,
            name,
            "holds infinity, NaN or a year beyond 0001 to 9999, which will be refused",
            f'Carry the column as text: add "{name}" to `as_text`, or correct the values.',
            f"SELECT * FROM {table} AS t WHERE {condition};",
        )
        for (name, condition), flag in zip(conditions.items(), flags, strict=False)
        if flag
    ]


def _index(session: Session, relation: catalogue.Relation, shape: TableShape, cursor: str) -> list[Finding]:
    if cursor not in {column.name for column in shape.columns}:
        return [Finding(Severity.ERROR, cursor, f"{shape.table} has no column {cursor}", "Correct the cursor's name.")]
    if relation.kind == "v":
        return [Finding(Severity.NOTE, cursor, "a view: see that the tables behind it have an index on this column")]
    found = session.rows(_INDEX, (relation.oid, cursor))
    if found:
        return [Finding(Severity.OK, cursor, f"index {found[0][0]} begins with the cursor column")]
    columns = ", ".join(identifier(name) for name in dict.fromkeys((cursor, *shape.key)))
    name = identifier(f"forebay_{relation.table.name}_{cursor}".encode()[:_NAME_BYTES].decode("utf-8", "ignore"))
    concurrently = "" if relation.kind == "p" else "CONCURRENTLY "
    return [
        Finding(
            Severity.WARNING,
            cursor,
            "no index begins with the cursor column: every poll reads the whole table",
            "Ask the DBA to create an index, or poll less often.",
            f"CREATE INDEX {concurrently}{name} ON {qualified(relation.table)} ({columns});",
        )
    ]


def _horizon(session: Session, transactions: OpenTransactions) -> Finding:
    why_not = transactions.why_not()
    subject = OPEN_TRANSACTIONS
    longer = "set `overlap` to longer than the longest transaction"
    if not why_not:
        return Finding(Severity.OK, subject, "open transactions can be told")
    if why_not == "standby":
        return Finding(
            Severity.WARNING,
            subject,
            "this server is a standby: what is still open on its primary cannot be told",
            f"Read from the primary, or {longer}.",
        )
    if why_not == "untracked":
        return Finding(
            Severity.WARNING,
            subject,
            "the server does not track what its sessions do (track_activities is off)",
            f"Ask the DBA to run this, or {longer}.",
            "ALTER SYSTEM SET track_activities = on; SELECT pg_reload_conf();",
        )
    return Finding(
        Severity.WARNING,
        subject,
        "the user may not see other users' transactions: rows that commit late are read only within `overlap`",
        f"Ask the DBA to run this, or {longer}.",
        f"GRANT pg_read_all_stats TO {identifier(catalogue.role(session))};",
    )
