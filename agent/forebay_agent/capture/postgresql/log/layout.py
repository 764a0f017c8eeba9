"""What the catalogue says now of a relation that the log tells of: its columns, its data files, its replica identity.

The log holds changed rows only. Whether older rows changed as well (a rewrite, a default for an added column), or a column
is another one under its old name, is seen by comparing the catalogue with what was known before (`checkpoint.Known`).
A partitioned table is described by its root's columns and its leaves' files and identities.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from forebay_agent.capture.postgresql.log.checkpoint import Known
from forebay_agent.capture.postgresql.session import Session
from forebay_agent.capture.source import Column, TableName

_RELATION: Final = """
SELECT c.relkind::text, c.relpersistence::text, n.nspname::text, c.relname::text, row_security_active(c.oid),
       EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid), c.relispartition
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = %s
"""
_LEAVES: Final = """
WITH RECURSIVE parts AS (
    SELECT %s::oid AS oid UNION ALL SELECT i.inhrelid FROM pg_inherits i JOIN parts p ON i.inhparent = p.oid
)
SELECT c.oid::bigint, n.nspname::text, c.relname::text, c.relfilenode::bigint, c.relreplident::text,
       (SELECT array_agg(a.attname::text ORDER BY k.place)
        FROM pg_index i
        CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(attnum, place)
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
        WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL
          AND k.place <= i.indnkeyatts
          AND (c.relreplident = 'd' AND i.indisprimary OR c.relreplident = 'i' AND i.indisreplident))
FROM parts p JOIN pg_class c ON c.oid = p.oid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind <> 'p'
ORDER BY c.oid
"""
_COLUMNS: Final = """
SELECT a.attname::text, a.attnum::int, a.xmin::text, {generated},
       EXISTS (SELECT FROM pg_attribute l WHERE l.attrelid = ANY (%s::oid[]) AND l.attname = a.attname AND {missing})
FROM pg_attribute a WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""


@dataclass(frozen=True, slots=True)
class LayoutColumn:
    """generated: `s` stored, `v` virtual, empty. filled: rows written before it was added hold something else than NULL."""

    name: str
    number: int
    version: str
    generated: str
    filled: bool


@dataclass(frozen=True, slots=True)
class Leaf:
    """A table with rows of its own. identity: `d`, `i`, `f`, `n`; identity_columns: empty where it identifies nothing."""

    table: TableName
    identity: str
    identity_columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """kind: `r` table, `p` partitioned table, others as pg_class has them. persistence: `p`, `u` unlogged, `t` temporary.
    hides_rows: row security hides rows from this user. inherited: other tables inherit from it, and are no partitions."""

    oid: int
    table: TableName
    kind: str
    persistence: str
    hides_rows: bool
    inherited: bool
    is_partition: bool
    columns: tuple[LayoutColumn, ...]
    leaves: tuple[Leaf, ...]
    leaf_oids: tuple[int, ...]
    files: str

    def known(self, captured: Sequence[Column], since: int = 0) -> Known:
        """captured: the columns as the stream carries them; one that is gone counts as such."""
        columns = {column.name: column for column in self.columns}
        own = [(each, columns.get(each.name)) for each in captured]
        return Known(
            self.files,
            _digest(f"{each.name}:{each.arrow}:{each.carried}:{c.number if c else 0}" for each, c in own),
            _digest(f"{each.name}:{c.version if c else 0}" for each, c in own),
            since,
        )


def layout_of(session: Session, oid: int) -> Layout | None:
    """None when the relation is gone."""
    found = session.rows(_RELATION, (oid,))
    if not found:
        return None
    kind, persistence, schema, name, hides_rows, has_children, is_partition = found[0]
    version = session.server_version
    leaves_query = _LEAVES if version >= 110_000 else _LEAVES.replace("indnkeyatts", "indnatts")
    leaves = session.rows(leaves_query, (oid,))
    columns_query = _COLUMNS.format(
        generated="a.attgenerated::text" if version >= 120_000 else "''",
        missing="l.atthasmissing" if version >= 110_000 else "false",
    )
    leaf_oids = tuple(leaf[0] for leaf in leaves)
    columns = session.rows(columns_query, (list(leaf_oids), oid))
    return Layout(
        oid,
        TableName(schema, name),
        kind,
        persistence,
        hides_rows,
        kind == "r" and has_children,
        is_partition,
        tuple(LayoutColumn(*column) for column in columns),
        tuple(Leaf(TableName(leaf[1], leaf[2]), leaf[4], tuple(leaf[5] or ())) for leaf in leaves),
        leaf_oids,
        _digest(f"{leaf[0]}:{leaf[3]}" for leaf in leaves),
    )


def _digest(parts: Iterable[str]) -> str:
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=8).hexdigest()
