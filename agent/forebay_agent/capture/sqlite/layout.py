"""How a SQLite table is described: declared types become affinities, affinities become Arrow types.

SQLite's types are dynamic: a declared type only gives a column's affinity (https://www.sqlite.org/datatype3.html), and
any value may be in any column. So a column is carried as what its affinity promises, and a value of another storage
class is refused, never bent:

    INTEGER  int64        REAL  float64        TEXT  string        BLOB  binary
    NUMERIC  (DATE, DECIMAL, BOOLEAN …) and columns without a type: text, integers in decimal, reals in the shortest form
             that reads back the same

A column in `as_text` takes values of every class: text as it is, numbers as above, bytes (and text that is not valid)
as `x'…'` in lower-case hexadecimal.

SQLite keeps nothing by which a table dropped and created again could be told from the old one (VACUUM moves root pages,
and a new table takes over the freed one's), so a table's identity is empty: not known. In trigger mode the drop is seen
all the same: it takes the triggers with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import pyarrow as pa

from forebay_agent.capture.source import Column, TableName, TableShape
from forebay_agent.capture.sqlite.session import Session
from forebay_agent.errors import TableMissing


class Affinity(Enum):
    """value: the type a change table declares for a column of this affinity."""

    INTEGER = "INTEGER"
    REAL = "REAL"
    TEXT = "TEXT"
    BLOB = "BLOB"
    NUMERIC = "NUMERIC"
    NONE = ""  # no declared type

    @classmethod
    def of(cls, declared: str) -> Affinity:
        """SQLite's own rules, in their order."""
        upper = declared.upper()
        if not upper:
            return cls.NONE
        for part, affinity in (
            ("INT", cls.INTEGER),
            ("CHAR", cls.TEXT),
            ("CLOB", cls.TEXT),
            ("TEXT", cls.TEXT),
            ("BLOB", cls.BLOB),
            ("REAL", cls.REAL),
            ("FLOA", cls.REAL),
            ("DOUB", cls.REAL),
        ):
            if part in upper:
                return affinity
        return cls.NUMERIC


ARROW = {
    Affinity.INTEGER: pa.int64(),
    Affinity.REAL: pa.float64(),
    Affinity.TEXT: pa.string(),
    Affinity.BLOB: pa.binary(),
    Affinity.NUMERIC: pa.string(),
    Affinity.NONE: pa.string(),
}


@dataclass(frozen=True, slots=True)
class Layout:
    """What statements need to know of a table beyond its shape.

    collations: of the key's columns, where the table's definition names any collation at all; a column not in it takes
    BINARY. collates: whether it names any. never_null: columns that hold no NULL.
    """

    is_view: bool
    affinities: dict[str, Affinity]
    collations: dict[str, str]
    collates: bool
    never_null: frozenset[str]


def quoted(name: str) -> str:
    """An identifier."""
    return '"' + name.replace('"', '""') + '"'


def tables(session: Session) -> list[TableName]:
    """See `Source.tables`."""
    rows = session.rows(
        "listing the tables",
        "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
        "AND substr(name, 1, 16) <> 'forebay_changes_' ORDER BY name",
    )
    return [TableName("", str(name)) for (name,) in rows]


def describe(session: Session, table: TableName, as_text: frozenset[str]) -> tuple[TableShape, Layout]:
    """Raises TableMissing."""
    found = session.rows(
        f"describe {table}",
        "SELECT type, coalesce(sql, '') FROM main.sqlite_master WHERE type IN ('table', 'view') AND lower(name) = lower(?)",
        (table.name,),
    )
    if not found or table.schema not in ("", "main"):
        raise TableMissing(f"{session.path} has no table or view {table}")
    kind, definition = found[0]
    described = session.rows(
        f"describe {table}",
        'SELECT name, type, "notnull", pk FROM pragma_table_xinfo(?) WHERE hidden <> 1 ORDER BY cid',
        (table.name,),
    )
    columns = []
    for name, declared, _, _ in described:
        affinity = Affinity.of(declared)
        arrow = pa.string() if name in as_text else ARROW[affinity]
        exact = affinity not in (Affinity.NUMERIC, Affinity.NONE) and name not in as_text
        columns.append(Column(name, declared, arrow, "exact" if exact else "text"))
    primary = tuple(name for _, name in sorted((pk, name) for name, _, _, pk in described if pk))
    never_null = frozenset(name for name, _, not_null, pk in described if not_null or pk)
    key, collations = _key(session, table, primary, never_null)
    layout = Layout(
        is_view=kind == "view",
        affinities={name: Affinity.of(declared) for name, declared, _, _ in described},
        collations=collations,
        collates="collate" in definition.lower(),
        never_null=never_null,
    )
    return TableShape(table, tuple(columns), key, ""), layout


def _key(
    session: Session, table: TableName, primary: tuple[str, ...], never_null: frozenset[str]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The primary key or else the shortest unique key, and the collations under which it is unique."""
    best: tuple[str, ...] = ()
    collations: dict[str, str] = {}
    indexes = session.rows(
        f"describe {table}",
        'SELECT name, origin FROM pragma_index_list(?) WHERE "unique" AND NOT partial ORDER BY name',
        (table.name,),
    )
    for index, origin in indexes:
        parts = session.rows(
            f"describe {table}", "SELECT name, coll FROM pragma_index_xinfo(?) WHERE key ORDER BY seqno", (index,)
        )
        names = tuple(name for name, _ in parts)
        is_better = origin == "pk" if primary else not best or len(names) < len(best)
        if is_better and all(name in never_null for name in names):
            best, collations = names, dict(parts)
    return primary or best, collations
