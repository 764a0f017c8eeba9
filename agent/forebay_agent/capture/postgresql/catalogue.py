"""What the catalogue says of a table: its columns with domains resolved, its key, its identity."""

from __future__ import annotations

from dataclasses import dataclass

from forebay_agent.capture.postgresql import carrying
from forebay_agent.capture.postgresql.session import Session
from forebay_agent.capture.postgresql.sql import identifier, qualified
from forebay_agent.capture.source import TableName, TableShape
from forebay_agent.errors import PrivilegeMissing, TableMissing

_IDENTITY = """
SELECT (SELECT system_identifier FROM pg_control_system()), oid::bigint
FROM pg_database WHERE datname = current_database()
"""

_RELATION = """
SELECT c.oid::bigint, n.nspname::text, c.relkind::text, c.relname::text,
       has_table_privilege(c.oid, 'SELECT') OR has_any_column_privilege(c.oid, 'SELECT')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = to_regclass(%s)::oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
"""

_TABLES = """
SELECT CASE WHEN n.nspname = current_schema() THEN '' ELSE n.nspname::text END, c.relname::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relispartition AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
  AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') AND left(c.relname, 9) <> '_forebay_'
ORDER BY n.nspname, c.relname
"""

_COLUMNS = """
WITH RECURSIVE resolved AS (
    SELECT attnum, attname, atttypid AS type, atttypmod AS modifier
    FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped
    UNION ALL
    SELECT r.attnum, r.attname, d.typbasetype, d.typtypmod
    FROM resolved r JOIN pg_type d ON d.oid = r.type AND d.typtype = 'd'
)
SELECT r.attname::text, format_type(r.type, r.modifier)
FROM resolved r JOIN pg_type t ON t.oid = r.type AND t.typtype <> 'd'
ORDER BY r.attnum
"""

# a deferrable unique index is left aside: within a transaction it may hold a key twice
_KEY = """
SELECT array_agg(a.attname::text ORDER BY k.place)
FROM pg_index i
CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place)
LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
WHERE i.indrelid = %s AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
  AND k.place <= i.indnkeyatts AND (i.indisprimary OR i.indimmediate)
GROUP BY i.indexrelid, i.indisprimary, i.indnkeyatts
HAVING bool_and(a.attnotnull)
ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid
LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Relation:
    """kind: `r` table, `p` partitioned table, `v` view, `m` materialised view, `f` foreign table. table: where it really is."""

    oid: int
    kind: str
    table: TableName
    readable: bool


def tables(session: Session) -> list[TableName]:
    """See `Source.tables`. The parts of a partitioned table are not listed: the whole is."""
    return [TableName(schema, name) for schema, name in session.rows(_TABLES)]


def find(session: Session, table: TableName) -> Relation | None:
    """The relation of this name; without a schema, the first on the session's search path."""
    try:
        found = session.rows(_RELATION, (qualified(table),))
    except PrivilegeMissing as error:
        raise PrivilegeMissing(str(error), sql=grant_select(session, table)) from None
    if not found:
        return None
    oid, schema, kind, name, readable = found[0]
    return Relation(oid, kind, TableName(schema, name), readable)


def columns(session: Session, oid: int) -> dict[str, str]:
    """Each column's type, as its origin."""
    return dict(session.rows(_COLUMNS, (oid,)))


def identity(session: Session) -> str:
    """The cluster's system identifier and the database's oid; empty when the user may not ask for them."""
    try:
        ((system, database),) = session.rows(_IDENTITY)
    except PrivilegeMissing:
        return ""
    return f"{system}/{database}"


def describe(session: Session, table: TableName, as_text: frozenset[str]) -> TableShape:
    """Raises TableMissing, PrivilegeMissing."""
    relation = find(session, table)
    if relation is None:
        raise TableMissing(f"there is no table or view {table}")
    if not relation.readable:
        raise PrivilegeMissing(f"the user may not read {table}", sql=grant_select(session, table))
    # included columns exist from 11 on, and with them the count of key columns
    statement = _KEY if session.server_version >= 110_000 else _KEY.replace("indnkeyatts", "indnatts")
    key = session.rows(statement, (relation.oid,))
    return TableShape(
        table,
        tuple(
            carrying.describe(name, origin, as_text=name in as_text)
            for name, origin in columns(session, relation.oid).items()
        ),
        tuple(key[0][0]) if key else (),
        str(relation.oid),
    )


def role(session: Session) -> str:
    name: str = session.rows("SELECT current_user::text")[0][0]
    return name


def grant_select(session: Session, table: TableName) -> str:
    user = identifier(role(session))
    usage = f"GRANT USAGE ON SCHEMA {identifier(table.schema)} TO {user}; " if table.schema else ""
    return f"{usage}GRANT SELECT ON {qualified(table)} TO {user};"
