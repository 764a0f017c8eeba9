"""The mirror: planning one commit that makes its rows those of the source after a load.

The load is folded to one final change per key (`fold`); the live rows of all touched keys are found by searching the
key columns of the files whose bounds leave room for them; they go by position deletes, and the new rows come in one new
file, or as another name of the history's file where that holds just these rows.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import NestedField

from forebay_collector.platform.iceberg import datafile, deletes, reading
from forebay_collector.platform.iceberg.durable_io import DurableFileIO
from forebay_collector.platform.iceberg.fields import arrow_type, columns_of
from forebay_collector.platform.iceberg.fold import Folded
from forebay_collector.platform.iceberg.head import Head, LiveFile
from forebay_collector.platform.iceberg.keys import KeySet, encode, one_chunk
from forebay_collector.platform.iceberg.ranges import Unnamed
from forebay_collector.platform.iceberg.recent import Recent
from forebay_collector.platform.iceberg.snapshot import Change

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Leaving:
    """Rows of one live file that leave: `fresh` now, `all` with those that left before. Positions, sorted."""

    file: LiveFile
    fresh: pa.Array
    all: pa.Array


class MirrorSearch:
    """Finds live rows by key. Caches, bounded in bytes: key columns by data file, positions by delete file."""

    def __init__(self, cache_bytes: int) -> None:
        self._cache: Recent[tuple[str, ...], pa.Array] = Recent(cache_bytes, lambda held: int(held.nbytes) + 200)
        self.deletes = reading.Deletes(self._cache)

    def leaving(self, io: DurableFileIO, head: Head, folded: Folded, unnamed: Unnamed | None) -> list[Leaving]:
        """The live rows of the fold's keys, and those that a range's snapshot did not name."""
        found = []
        spans = folded.keys.spans() if len(folded.keys.encoded) else None
        for file in head.files:
            parts = []
            if unnamed is not None and unnamed.may_hold(file.data):
                parts.append(unnamed.find(io, file.data, self._key_column(io, file, unnamed.key)))
            if spans is not None and folded.keys.may_hold(spans, file.data):
                parts.append(folded.keys.find(self.key_columns(io, file, folded.keys.fields)))
            positions = [part for part in parts if len(part)]
            if not positions:
                continue
            before = self.deletes.positions(io, file)
            named = positions[0] if len(positions) == 1 else reading.sorted_once(pa.concat_arrays(positions))
            fresh = named.filter(pc.invert(pc.is_in(named, value_set=before))) if len(before) else named
            if len(fresh):
                everything = reading.sorted_once(pa.concat_arrays([before, fresh])) if len(before) else fresh
                found.append(Leaving(file, fresh, everything))
        return found

    def rows(
        self,
        io: FileIO,
        files: Sequence[LiveFile],
        key: Sequence[NestedField],
        keys: Sequence[pa.Array],
        fields: Sequence[NestedField],
    ) -> Iterator[pa.RecordBatch]:
        """The live rows of these keys (`keys`: a column for each field of the key), a file at a time."""
        wanted = KeySet.of(
            key, [column.cast(arrow_type(field.field_type)) for column, field in zip(keys, key, strict=True)]
        )
        if not len(wanted.encoded):
            return
        spans = wanted.spans()
        for file in files:
            if not wanted.may_hold(spans, file.data):
                continue
            positions = wanted.find(self.key_columns(io, file, key))
            positions = positions.filter(pc.invert(pc.is_in(positions, value_set=self.deletes.positions(io, file))))
            if len(positions):
                yield from reading.columns_at(io, file.data, fields, positions).combine_chunks().to_batches()

    def key_columns(self, io: FileIO, file: LiveFile, fields: Sequence[NestedField]) -> list[pa.Array]:
        """All physical rows' key columns, as the types that the key has now."""

        return [self._key_column(io, file, field) for field in fields]

    def _key_column(self, io: FileIO, file: LiveFile, field: NestedField) -> pa.Array:
        return self._cache.get(
            ("key", file.path, str(field.field_id), str(field.field_type)),
            lambda: one_chunk(reading.columns(io, file.data, [field]).column(0)),
        )


def plan(
    table: Table,
    schema: Schema,
    folded: Folded,
    leaving: Sequence[Leaving],
    history_files: Sequence[DataFile],
    search: MirrorSearch,
) -> Change:
    """Writes the files of the commit; nothing names them until it is made.

    `history_files` hold the load's rows as they stand, in order; empty when the history was not written just now.
    """
    io: DurableFileIO = table.io  # type: ignore[assignment] # the catalogue's py-io-impl
    location = table.metadata.location
    change = Change()
    upserts = _keep_old(io, folded, leaving, columns_of(schema), search)
    change.added = _added(io, location, schema, folded, upserts, history_files)
    for rows in leaving:
        change.removed_deletes.update(delete.file_path for delete in rows.file.scoped)
        if len(rows.all) == rows.file.rows:
            change.removed.add(rows.file.path)
        else:
            change.added_deletes.append(deletes.write(io, location, rows.file.data, rows.all))
    return change


def _added(
    io: DurableFileIO,
    location: str,
    schema: Schema,
    folded: Folded,
    upserts: pa.Table,
    history_files: Sequence[DataFile],
) -> list[DataFile]:
    if folded.identity and history_files:
        try:
            return [datafile.link(io, location, file, schema.fields) for file in history_files]
        except OSError as error:
            _log.info("%s: no hard links here (%s), so the mirror's rows are written again", location, error)
    rows = upserts.select([field.name for field in schema.fields])
    key = {field.name for field in folded.keys.fields}
    return [datafile.write(io, location, schema.fields, part, key) for part in datafile.slices(rows)]


def _keep_old(
    io: DurableFileIO,
    folded: Folded,
    leaving: Sequence[Leaving],
    fields: Sequence[NestedField],
    search: MirrorSearch,
) -> pa.Table:
    """The upserts with the mirror's old values where the fold says so; NULL where the mirror has no such row."""
    if not folded.kept:
        return folded.upserts
    wanted = [field for field in fields if field.name in folded.kept]
    key_columns = [one_chunk(folded.upserts.column(field.name)) for field in folded.keys.fields]
    owners, olds = [], []
    for rows in leaving:
        keys = [column.take(rows.fresh) for column in search.key_columns(io, rows.file, folded.keys.fields)]
        owner = _index_of(keys, key_columns)
        known = pc.is_valid(owner)
        owners.append(owner.filter(known))
        olds.append(reading.columns_at(io, rows.file.data, wanted, rows.fresh.filter(known)))
    upserts = folded.upserts
    owner = pa.chunked_array(owners, pa.int32()) if owners else pa.chunked_array([], pa.int32())
    found = pc.index_in(pa.arange(0, upserts.num_rows).cast(pa.int32()), value_set=one_chunk(owner))
    for field in wanted:
        at = upserts.column_names.index(field.name)
        kind = arrow_type(field.field_type)
        old = one_chunk(pa.chunked_array([chunk for part in olds for chunk in part.column(field.name).chunks], kind))
        merged = pc.if_else(folded.kept[field.name], old.take(found), one_chunk(upserts.column(at)))
        upserts = upserts.set_column(at, upserts.field(at), merged)
    return upserts


def _index_of(keys: Sequence[pa.Array], among: Sequence[pa.Array]) -> pa.Array:
    """Where each key stands in `among`; NULL: nowhere."""
    return pc.index_in(encode(keys), value_set=encode(among))
