"""What the catalogue says now of a relation that the log tells of: its columns, its data files, its replica identity.

The log holds changed rows only. Whether older rows changed as well (a rewrite, a default for an added column), or a column
is another one under its old name, is seen by comparing the catalogue with what was known before (`checkpoint.Known`).
A partitioned table is described by its root's columns and its leaves' files and identities.

A partition that was made as such (CREATE TABLE … PARTITION OF) was empty when it came; one that was attached was not. They
are told apart by their columns: ATTACH and DETACH alter each of them, so that none is as old as the table's row type.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from forebay_agent.capture.postgresql.log.checkpoint import Known, digest, extended
from forebay_agent.capture.postgresql.session import Session
from forebay_agent.capture.source import Column, TableName

_RELATION: Final = """
SELECT c.relkind::text, c.relpersistence::text, n.nspname::text, c.relname::text, row_security_active(c.oid),
       EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid), c.relnatts::int,
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = %s
"""
_LEAVES: Final = """
WITH RECURSIVE parts AS (
    SELECT %s::oid AS oid, '' AS links, '{}'::bigint[] AS above
    UNION ALL
    SELECT i.inhrelid, p.links || ' ' || i.xmin, p.above || i.inhrelid::bigint
    FROM pg_inherits i JOIN parts p ON i.inhparent = p.oid
)
SELECT c.oid::bigint, n.nspname::text, c.relname::text, concat_ws(':', c.oid, c.relfilenode, p.links), c.relreplident::text,
       (SELECT array_agg(a.attname::text ORDER BY k.place)
        FROM pg_index i
        CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place)
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
        WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL
          AND k.place <= i.indnkeyatts
          AND (c.relreplident = 'd' AND i.indisprimary OR c.relreplident = 'i' AND i.indisreplident)),
       c.xmin::text, p.above,
       ARRAY (SELECT o.oid FROM unnest(p.above) AS o(oid)
              WHERE NOT EXISTS (SELECT FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid
                                WHERE t.typrelid = o.oid AND a.attnum > 0 AND a.xmin = t.xmin AND a.cmin = t.cmin))
FROM parts p JOIN pg_class c ON c.oid = p.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind <> 'p'
ORDER BY c.oid
"""
_COLUMNS: Final = """
SELECT a.attname::text, a.attnum::int, a.atttypid::bigint, a.atttypmod, a.xmin::text, {generated},
       EXISTS (SELECT FROM pg_attribute l WHERE l.attrelid = ANY (%s::oid[]) AND l.attname = a.attname AND {missing})
FROM pg_attribute a WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""
_TEXTS: Final = """
WITH RECURSIVE used AS (
    SELECT attname AS name, atttypid AS type FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped
    UNION
    SELECT u.name, part.type FROM used u CROSS JOIN LATERAL (
        SELECT unnest(ARRAY[t.typelem, t.typbasetype]) AS type FROM pg_type t WHERE t.oid = u.type AND t.oid >= 16384
        UNION ALL SELECT a.atttypid FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid
                  WHERE t.oid = u.type AND a.attnum > 0 AND NOT a.attisdropped
        UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE {ranges}
    ) part WHERE part.type <> 0
)
SELECT u.name::text, concat_ws(':', e.oid, e.enumlabel), 1 AS rank, e.oid::bigint AS place
FROM used u JOIN pg_enum e ON e.enumtypid = u.type
UNION ALL
SELECT u.name::text, concat_ws(':', a.attrelid, a.attnum, a.atttypid, a.attisdropped), 0, a.attnum
FROM used u JOIN pg_type t ON t.oid = u.type AND t.typtype = 'c' JOIN pg_attribute a ON a.attrelid = t.typrelid AND a.attnum > 0
ORDER BY 3, 4, 2, 1
"""


@dataclass(frozen=True, slots=True)
class LayoutColumn:
    """type, modifier: as pg_attribute has them. generated: `s` stored, `v` virtual, empty. filled: rows written before it was
    added hold something else than NULL."""

    name: str
    number: int
    type: int
    modifier: int
    version: str
    generated: str
    filled: bool


@dataclass(frozen=True, slots=True)
class Leaf:
    """A table with rows of its own. file: another text when its data file, or how it belongs to the relation, changed.
    identity: `d`, `i`, `f`, `n`; identity_columns: empty where it identifies nothing. version: of its catalogue row.
    above: itself and the partitioned tables between it and the relation; attached: those of them that were attached."""

    oid: int
    table: TableName
    file: str
    identity: str
    identity_columns: tuple[str, ...]
    version: str
    above: frozenset[int]
    attached: frozenset[int]


@dataclass(frozen=True, slots=True)
class Layout:
    """kind: `r` table, `p` partitioned table, others as pg_class has them. persistence: `p`, `u` unlogged, `t` temporary.
    hides_rows: row security hides rows from this user. inherited: other tables inherit from it, and are no partitions.
    added: how many columns it ever had. primary: it has a primary key. texts: (column, what its values' text depends on), what may be added last."""

    oid: int
    table: TableName
    kind: str
    persistence: str
    hides_rows: bool
    inherited: bool
    added: int
    primary: bool
    columns: tuple[LayoutColumn, ...]
    leaves: tuple[Leaf, ...]
    texts: tuple[tuple[str, str], ...]

    def known(self, captured: Sequence[Column], member: str, since: int = 0) -> Known:
        """captured: the columns as the stream carries them; one that is gone counts as such. member: see `Known`."""
        columns = {column.name: column for column in self.columns}
        own = [(each, columns.get(each.name)) for each in captured]
        return Known(
            digest(leaf.file for leaf in self.leaves),
            digest(f"{each.name}:{each.arrow}:{each.carried}:{c.number if c else 0}" for each, c in own),
            digest(f"{each.name}:{c.version if c else 0}" for each, c in own),
            digest(self.texts_of(captured)),
            member,
            self.added,
            len(self.columns),
            since,
        )

    def texts_of(self, captured: Sequence[Column]) -> list[str]:
        names = {column.name for column in captured}
        return [f"{name}:{text}" for name, text in self.texts if name in names]

    def partitions_changed(self, files: str) -> str:
        """What happened to its partitions since these files were known, other than that empty ones were made; or nothing."""
        before = extended(files, [leaf.file for leaf in self.leaves])
        if before is None:
            return "a partition was detached, dropped, truncated or rewritten"
        there = frozenset[int]().union(*(leaf.above for leaf in self.leaves[:before]))
        came = [leaf for leaf in self.leaves[before:] if leaf.attached - there]
        return f"a partition was attached: {came[0].table}" if came else ""


def layout_of(session: Session, oid: int) -> Layout | None:
    """All of it as of one moment; None when the relation is gone."""
    with session.transaction():
        session.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        return _layout(session, oid)


def _layout(session: Session, oid: int) -> Layout | None:
    found = session.rows(_RELATION, (oid,))
    if not found:
        return None
    kind, persistence, schema, name, hides_rows, has_children, added, primary = found[0]
    version = session.server_version
    leaves_query = _LEAVES if version >= 110_000 else _LEAVES.replace("indnkeyatts", "indnatts")
    leaves = session.rows(leaves_query, (oid,))
    columns_query = _COLUMNS.format(
        generated="a.attgenerated::text" if version >= 120_000 else "''",
        missing="l.atthasmissing" if version >= 110_000 else "false",
    )
    columns = session.rows(columns_query, ([leaf[0] for leaf in leaves], oid))
    ranges = "u.type IN (r.rngtypid, r.rngmultitypid)" if version >= 140_000 else "r.rngtypid = u.type"
    return Layout(
        oid,
        TableName(schema, name),
        kind,
        persistence,
        hides_rows,
        kind == "r" and has_children,
        added,
        primary,
        tuple(LayoutColumn(*column) for column in columns),
        tuple(_leaf(*leaf) for leaf in leaves),
        tuple((column, text) for column, text, *_ in session.rows(_TEXTS.format(ranges=ranges), (oid,))),
    )


def _leaf(
    oid: int,
    schema: str,
    name: str,
    file: str,
    identity: str,
    columns: list[str] | None,
    version: str,
    above: list[int],
    attached: list[int],
) -> Leaf:
    return Leaf(
        oid,
        TableName(schema, name),
        file,
        identity,
        tuple(columns or ()),
        version,
        frozenset(above),
        frozenset(attached),
    )
