"""Position delete files: which rows of one data file are gone.

One file per data file, positions sorted, exact bounds on `file_path` (so that every reader sees that it concerns that
file only) and the field ids that the format reserves for the two columns.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table.delete_file_index import PATH_FIELD_ID

from forebay_collector.platform.iceberg.durable_io import DurableFileIO, local_path
from forebay_collector.platform.iceberg.fields import FIELD_ID

POSITION_FIELD_ID: Final = 2147483545
_SCHEMA: Final = pa.schema(
    [
        pa.field("file_path", pa.string(), nullable=False, metadata={FIELD_ID: str(PATH_FIELD_ID)}),
        pa.field("pos", pa.int64(), nullable=False, metadata={FIELD_ID: str(POSITION_FIELD_ID)}),
    ]
)


def write(io: DurableFileIO, location: str, data: DataFile, positions: pa.Array) -> DataFile:
    """Writes the deleted positions (sorted, each once, at least one) of `data` as one durable file. Raises OSError."""
    path = f"{location}/data/{uuid.uuid4()}-deletes.parquet"
    rows = pa.table([pa.repeat(data.file_path, len(positions)), positions], schema=_SCHEMA)
    with (
        io.new_output(path).create() as sink,
        pq.ParquetWriter(
            sink, _SCHEMA, compression="zstd", compression_level=1, use_dictionary=["file_path"], store_schema=False
        ) as writer,
    ):
        writer.write_table(rows)
    named = data.file_path.encode()
    least, most = positions[0].as_py(), positions[-1].as_py()
    entry = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=data.partition,
        record_count=len(positions),
        file_size_in_bytes=Path(local_path(path)).stat().st_size,
        column_sizes=None,
        value_counts={PATH_FIELD_ID: len(positions), POSITION_FIELD_ID: len(positions)},
        null_value_counts={PATH_FIELD_ID: 0, POSITION_FIELD_ID: 0},
        nan_value_counts=None,
        lower_bounds={PATH_FIELD_ID: named, POSITION_FIELD_ID: least.to_bytes(8, "little")},
        upper_bounds={PATH_FIELD_ID: named, POSITION_FIELD_ID: most.to_bytes(8, "little")},
        key_metadata=None,
        split_offsets=None,
        equality_ids=None,
        sort_order_id=None,
    )
    # not part of the stored record, and not set by from_args
    entry.spec_id = data.spec_id
    return entry
