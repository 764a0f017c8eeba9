"""One final change per key, before any file is touched.

The rows of a load stand in the order (epoch, seq, row); the last row of a key wins. A column that the winning row names
as absent takes its value from the last earlier row of the same key that has it; a delete in between ends that search
(NULL), and if there is no such row, the mirror's old value stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.types import NestedField

from forebay_collector.platform.iceberg.keys import KeySet, encode, one_chunk, strictly_increasing
from forebay_wire.columns import ABSENT, OP, Op


@dataclass(frozen=True)
class Folded:
    """What a load does to the mirror.

    keys: every key that it touches; the mirror's rows of these keys go.
    upserts: the rows that come, at most one per key. identity: they are the load's rows, all of them, as they stand.
    kept: per column name, which upserts keep the mirror's value (a mask as long as `upserts`).
    """

    keys: KeySet
    upserts: pa.Table
    identity: bool
    kept: dict[str, pa.Array] = field(default_factory=dict)


def fold(rows: pa.Table, key: Sequence[NestedField]) -> Folded:
    """Folds rows of the history's columns, of one epoch."""
    columns = [one_chunk(rows.column(column.name)) for column in key]
    plain = not _any(pc.equal(rows.column(OP), Op.DELETE))
    plain = plain and not _any(pc.greater(pc.list_value_length(rows.column(ABSENT)), 0))
    if plain and (strictly_increasing(columns) or _unique(columns)):
        return Folded(KeySet.of(key, columns), rows, identity=True)
    return _Fold(rows, key, columns).result()


def _any(mask: pa.ChunkedArray) -> bool:
    return bool(pc.any(mask, min_count=0).as_py())


def _unique(columns: Sequence[pa.Array]) -> bool:
    return bool(pc.count_distinct(encode(columns), mode="all").as_py() == len(columns[0]))


class _Fold:
    """The general case: group numbers instead of keys, then the last row of each group."""

    def __init__(self, rows: pa.Table, key: Sequence[NestedField], columns: Sequence[pa.Array]) -> None:
        self._rows = rows
        self._key = key
        self._columns = columns
        self._number = pa.arange(0, rows.num_rows)
        encoded = encode(columns).dictionary_encode(null_encoding="encode")
        self._group = encoded.indices.cast(pa.int64())
        self._op = one_chunk(rows.column(OP))
        last, _ = self._last(None)
        last = last.take(pc.array_sort_indices(last))
        self._touched = last
        self._winners = last.filter(pc.not_equal(self._op.take(last), Op.DELETE))

    def _last(self, mask: pa.Array | None) -> tuple[pa.Array, pa.Array]:
        """-> the last row number of each group (of the rows that `mask` lets pass), and the group."""
        found = pa.table({"group": self._group, "number": self._number})
        if mask is not None:
            found = found.filter(mask)
        found = found.group_by("group").aggregate([("number", "max")])
        return one_chunk(found.column("number_max")), one_chunk(found.column("group"))

    def result(self) -> Folded:
        keys = KeySet.of(self._key, [column.take(self._touched) for column in self._columns])
        upserts = self._rows.take(self._winners)
        kept: dict[str, pa.Array] = {}
        absent = one_chunk(self._rows.column(ABSENT))
        names = {name for name in pc.unique(absent.flatten()).to_pylist() if name in self._rows.column_names}
        for name in sorted(names - {column.name for column in self._key}):
            at = upserts.column_names.index(name)
            source, old = self._sources(name, absent)
            upserts = upserts.set_column(at, upserts.field(at), self._rows.column(name).take(source))
            if _any(pa.chunked_array([old])):
                kept[name] = old
        return Folded(keys, upserts, identity=False, kept=kept)

    def _sources(self, name: str, absent: pa.Array) -> tuple[pa.Array, pa.Array]:
        """For each winner: the row to take column `name` from (NULL: none), and whether the mirror's value stays."""
        parents = pc.list_parent_indices(absent).filter(pc.equal(absent.flatten(), name))
        lacking = pc.is_in(self._number, value_set=parents.cast(pa.int64()))
        deletes = pc.equal(self._op, Op.DELETE)
        groups = self._group.take(self._winners)
        given = self._of_groups(groups, pc.and_not(pc.invert(lacking), deletes))
        deleted = self._of_groups(groups, deletes)
        later = pc.or_kleene(pc.is_null(deleted), pc.greater(given, deleted))
        source = pc.if_else(pc.fill_null(later, False), given, pa.scalar(None, pa.int64()))
        return source, pc.and_(pc.is_null(given), pc.is_null(deleted))

    def _of_groups(self, groups: pa.Array, mask: pa.Array) -> pa.Array:
        """The last row that passes the mask, for each of `groups`; NULL where none does."""
        last, owner = self._last(mask)
        return last.take(pc.index_in(groups, value_set=owner))
