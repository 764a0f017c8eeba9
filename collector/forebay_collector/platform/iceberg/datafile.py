"""Data files: rows to Parquet and their entry in a manifest.

Written with pyarrow's writer directly: zstd level 1, dictionaries only for columns whose first rows repeat, statistics
only where they prune (fixed-width columns and the key; a text column's bounds would cost more than they save). The
manifest's metrics are computed from the rows, not from the footer: counts, NULLs, and bounds of the same columns.

A load that changes each key once needs no second file for the mirror: the history's file is hard-linked under a name of
the mirror's own, so that either table may drop its name at any time. Field ids make that sound, see `fields.py`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.conversions import to_bytes
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.typedef import Record
from pyiceberg.types import BinaryType, DoubleType, FloatType, ListType, NestedField, PrimitiveType, StringType
from pyiceberg.utils.truncate import truncate_upper_bound_binary_string, truncate_upper_bound_text_string

from forebay_collector.platform.iceberg.durable_io import DurableFileIO, local_path
from forebay_collector.platform.iceberg.fields import file_schema

ROW_GROUP_ROWS: Final = 128 << 10
MAX_FILE_ROWS: Final = 1 << 20
MAX_FILE_RAW_BYTES: Final = 512 << 20
_SAMPLE_ROWS: Final = 2_048
_BOUND_LENGTH: Final = 64


def slices(rows: pa.Table) -> Iterator[pa.Table]:
    """Cuts rows into parts of at most one file each; none for no rows."""
    if not rows.num_rows:
        return
    files = max(-(-rows.num_rows // MAX_FILE_ROWS), -(-rows.nbytes // MAX_FILE_RAW_BYTES))
    length = -(-rows.num_rows // files)
    for start in range(0, rows.num_rows, length):
        yield rows.slice(start, length)


def write(io: DurableFileIO, location: str, fields: Sequence[NestedField], rows: pa.Table, key: set[str]) -> DataFile:
    """Writes `rows` (columns as in `fields`) as one new durable file below `location`. Raises OSError."""
    path = f"{location}/data/{uuid.uuid4()}.parquet"
    schema = file_schema(fields)
    pruning = [field.name in key or not isinstance(field.field_type, _UNBOUNDED) for field in fields]
    parquet = rows.rename_columns(schema.names).cast(schema)
    with io.new_output(path).create() as sink:
        writer = pq.ParquetWriter(
            sink,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=[name for name in _leaves(fields, schema) if _repeats(parquet, name)],
            write_statistics=[name for name, prunes in zip(schema.names, pruning, strict=True) if prunes],
            store_schema=False,
            store_decimal_as_integer=True,
        )
        writer.write_table(parquet, row_group_size=ROW_GROUP_ROWS)
        writer.close()
    footer = writer.writer.metadata
    bounded = [field for field, prunes in zip(fields, pruning, strict=True) if prunes]
    lower, upper = _bounds(bounded, rows)
    scalar = [field for field in fields if not isinstance(field.field_type, ListType)]
    return _entry(
        path,
        Path(local_path(path)).stat().st_size,
        rows.num_rows,
        column_sizes=None,
        value_counts={field.field_id: rows.num_rows for field in scalar},
        null_value_counts={field.field_id: rows.column(field.name).null_count for field in scalar},
        lower_bounds=lower,
        upper_bounds=upper,
        split_offsets=[_offset(footer.row_group(number)) for number in range(footer.num_row_groups)],
    )


def link(io: DurableFileIO, location: str, other: DataFile, fields: Sequence[NestedField]) -> DataFile:
    """The other table's file as a file of this one: another name for the same bytes, metrics of `fields` only.

    Raises OSError where the file system has no hard links.
    """
    path = f"{location}/data/{uuid.uuid4()}.parquet"
    io.new_output(path).link_from(Path(local_path(other.file_path)))
    ids = {field.field_id for field in fields}
    return _entry(
        path,
        other.file_size_in_bytes,
        other.record_count,
        column_sizes=None,
        **{
            name: {number: value for number, value in getattr(other, name).items() if number in ids}
            for name in ("value_counts", "null_value_counts", "lower_bounds", "upper_bounds")
        },
        split_offsets=other.split_offsets,
    )


_UNBOUNDED: Final = (StringType, BinaryType, FloatType, DoubleType, ListType)


def _entry(path: str, size: int, rows: int, **metrics: Any) -> DataFile:
    entry = DataFile.from_args(
        content=DataFileContent.DATA,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=rows,
        file_size_in_bytes=size,
        nan_value_counts=None,
        key_metadata=None,
        equality_ids=None,
        sort_order_id=None,
        **metrics,
    )
    entry.spec_id = 0
    return entry


def _leaves(fields: Sequence[NestedField], schema: pa.Schema) -> list[str]:
    return [
        name
        for name, field in zip(schema.names, fields, strict=True)
        if not isinstance(field.field_type, (ListType, FloatType, DoubleType))
    ]


def _repeats(rows: pa.Table, name: str) -> bool:
    """Whether a dictionary is likely to pay: in the first rows each value stands at least four times."""
    sample = rows.column(name).slice(0, _SAMPLE_ROWS)
    return bool(pc.count_distinct(sample, mode="all").as_py() * 4 <= len(sample))


def _bounds(fields: Sequence[NestedField], rows: pa.Table) -> tuple[dict[int, bytes], dict[int, bytes]]:
    lower: dict[int, bytes] = {}
    upper: dict[int, bytes] = {}
    for field in fields:
        kind = field.field_type
        if isinstance(kind, (FloatType, DoubleType)) or not isinstance(kind, PrimitiveType):
            continue  # a key of floats: NaN has no place in bounds
        least, most = extremes(rows.column(field.name))
        if least is None or most is None:
            continue
        low, high = _cut(least, most)
        lower[field.field_id] = to_bytes(kind, low)
        if high is not None:
            upper[field.field_id] = to_bytes(kind, high)
    return lower, upper


def extremes(values: pa.ChunkedArray | pa.Array) -> tuple[Any, Any]:
    """Least and greatest value as Iceberg's single values (dates as days, timestamps as microseconds); None if none."""
    kind = values.type
    if pa.types.is_date32(kind):
        values = values.cast(pa.int32())
    elif pa.types.is_timestamp(kind):
        values = values.cast(pa.int64())
    found = pc.min_max(values)
    return found["min"].as_py(), found["max"].as_py()


def _cut(least: Any, most: Any) -> tuple[Any, Any]:
    """Text and bytes bounds of bounded length: the lower cut short, the upper cut and raised; None: no upper bound."""
    if isinstance(most, str):
        high = truncate_upper_bound_text_string(most, _BOUND_LENGTH)
        if high is not None and any("\ud800" <= character <= "\udfff" for character in high):
            high = None  # raised into the surrogates, which UTF-8 does not have
        return least[:_BOUND_LENGTH], high
    if isinstance(most, bytes):
        return least[:_BOUND_LENGTH], truncate_upper_bound_binary_string(most, _BOUND_LENGTH)
    return least, most


def _offset(row_group: Any) -> int:
    column = row_group.column(0)
    if column.has_dictionary_page:
        return int(min(column.dictionary_page_offset, column.data_page_offset))
    return int(column.data_page_offset)
