"""Rows of data files by field id, with position deletes applied.

A file's columns are found by field id, never by name; a column that the file does not have is NULL, one of a narrower
type is widened. A row's position is its ordinal in the file, which is why files are read whole or by row group and
never filtered while they are read.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile
from pyiceberg.types import NestedField

from forebay_collector.platform.contract import PlatformError
from forebay_collector.platform.iceberg.fields import FIELD_ID, arrow_schema, arrow_type
from forebay_collector.platform.iceberg.head import LiveFile
from forebay_collector.platform.iceberg.recent import Recent

_NO_POSITIONS = pa.array([], pa.int64())


class Deletes:
    """Positions that delete files name, cached by the delete file's path (bounded in bytes)."""

    def __init__(self, cache: Recent[tuple[str, ...], pa.Array]) -> None:
        self._cache = cache

    def positions(self, io: FileIO, file: LiveFile) -> pa.Array:
        """The deleted positions of a data file: int64, sorted, each once."""
        parts = [self._of(io, delete, file.path) for delete in (*file.scoped, *file.spanning)]
        if not parts:
            return _NO_POSITIONS
        return parts[0] if len(parts) == 1 else sorted_once(pa.concat_arrays(parts))

    def _of(self, io: FileIO, delete: DataFile, path: str) -> pa.Array:
        return self._cache.get(("delete", delete.file_path, path), lambda: _read_positions(io, delete, path))


def _read_positions(io: FileIO, delete: DataFile, path: str) -> pa.Array:
    with _opened(io, delete) as parquet:
        rows = parquet.read(columns=["file_path", "pos"])
    mine = rows.filter(pc.equal(rows.column("file_path"), path)).column("pos")
    return sorted_once(mine.combine_chunks().cast(pa.int64()))


def sorted_once(positions: pa.Array) -> pa.Array:
    """The positions in order, each once."""
    unique = pc.unique(positions)
    return unique.take(pc.array_sort_indices(unique))


def live_mask(rows: int, deleted: pa.Array, start: int = 0) -> pa.Array:
    """Which of the positions start … start + rows are not deleted."""
    return pc.invert(pc.is_in(pa.arange(start, start + rows), value_set=deleted))


def columns(io: FileIO, file: DataFile, fields: Sequence[NestedField]) -> pa.Table:
    """All physical rows of a file: the fields under their Iceberg names, one chunk each."""
    with _opened(io, file) as parquet:
        names = _names(parquet, fields)
        read = parquet.read(columns=[name for name in names if name is not None], use_threads=True)
        return _shape(read, names, fields)


def columns_at(io: FileIO, file: DataFile, fields: Sequence[NestedField], positions: pa.Array) -> pa.Table:
    """The rows at `positions` (sorted), reading one row group at a time and only those that hold any."""
    parts = []
    with _opened(io, file) as parquet:
        names = _names(parquet, fields)
        wanted = [name for name in names if name is not None]
        start = 0
        for number in range(parquet.metadata.num_row_groups):
            rows = parquet.metadata.row_group(number).num_rows
            inside = pc.and_(pc.greater_equal(positions, start), pc.less(positions, start + rows))
            here = pc.subtract(positions.filter(inside), start)
            if len(here):
                read = parquet.read_row_group(number, columns=wanted)
                parts.append(_shape(read, names, fields).take(here))
            start += rows
    return pa.concat_tables(parts) if parts else arrow_schema(fields).empty_table()


def live_batches(
    io: FileIO, file: LiveFile, fields: Sequence[NestedField], deleted: pa.Array
) -> Iterator[pa.RecordBatch]:
    """The file's live rows, a row group at a time."""
    schema = arrow_schema(fields)
    with _opened(io, file.data) as parquet:
        names = _names(parquet, fields)
        wanted = [name for name in names if name is not None]
        start = 0
        for number in range(parquet.metadata.num_row_groups):
            count = parquet.metadata.row_group(number).num_rows
            read = _shape(parquet.read_row_group(number, columns=wanted), names, fields, count)
            if len(deleted):
                read = read.filter(live_mask(count, deleted, start))
            start += count
            yield from read.cast(schema).combine_chunks().to_batches()


@contextlib.contextmanager
def _opened(io: FileIO, file: DataFile) -> Iterator[pq.ParquetFile]:
    with io.new_input(file.file_path).open() as source:
        try:
            parquet = pq.ParquetFile(source)
        except pa.ArrowInvalid as error:
            raise _damaged(file, str(error)) from error
        if parquet.metadata.num_rows != file.record_count:
            raise _damaged(file, f"{parquet.metadata.num_rows} rows, its manifest says {file.record_count}")
        yield parquet


def _damaged(file: DataFile, why: str) -> PlatformError:
    return PlatformError(f"{file.file_path} is damaged: {why}", code="FB-PLATFORM-DAMAGED", permanent=True)


def _names(parquet: pq.ParquetFile, fields: Sequence[NestedField]) -> list[str | None]:
    """The file's own name of each field; None: the file does not have it."""
    held = {int((column.metadata or {}).get(FIELD_ID, b"-1")): column.name for column in parquet.schema_arrow}
    return [held.get(field.field_id) for field in fields]


def _shape(
    read: pa.Table, names: Sequence[str | None], fields: Sequence[NestedField], rows: int | None = None
) -> pa.Table:
    count = read.num_rows if rows is None else rows
    made = []
    for name, field in zip(names, fields, strict=True):
        kind = arrow_type(field.field_type)
        if name is None:
            made.append(pa.nulls(count, kind))
        else:
            column = read.column(name)
            made.append(column if column.type == kind else column.cast(kind))
    schema = pa.schema([pa.field(field.name, arrow_type(field.field_type)) for field in fields])
    return pa.table(made, schema=schema)
