"""The canary of a source: one row that the agent makes at the source and that goes the whole way, as a sign of life.

It travels as the stream `department/source/forebay.canary`, one row to a batch, always under the one schema that stands
here, and holds nothing of the department's: who it is of, when it was made at the source, and how. So it needs no
approval: the collector lets in what `is_canary` says is one. No table of a department may have its name.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import pyarrow as pa

from forebay_wire.schema import TableSchema, column
from forebay_wire.stream import StreamName

TABLE: Final = "forebay.canary"
"""the table's part of the stream's name"""

ID: Final = "id"
MADE_AT: Final = "made_at"
KIND: Final = "kind"

SCHEMA: Final = TableSchema.of(
    [
        column(ID, pa.string(), "text"),
        column(MADE_AT, pa.timestamp("us", tz="UTC"), "timestamp"),
        column(KIND, pa.string(), "text"),
    ],
    [ID],
)
"""id: the source's name, so that the mirror holds one row for each source. made_at: by the source's clock."""


class CanaryKind(StrEnum):
    """How a canary is made, by what the source permits."""

    ROW = "row"
    """a row of a table that a DBA made for it was written, and read back the way that changes are"""

    MESSAGE = "message"
    """a message was written to the database's log, and read back through it"""

    READ = "read"
    """nothing was written: the source's clock was asked"""


def stream_of(department: str, source: str) -> StreamName:
    """The stream of a source's canary."""
    return StreamName(department, source, TABLE)


def is_canary_stream(stream: StreamName) -> bool:
    """Whether the name is one of a canary. What such a stream may carry, `is_canary` says."""
    return stream.table == TABLE


def is_canary(stream: StreamName, schema: TableSchema) -> bool:
    """Whether batches of this stream under this schema are canaries: name, columns with all that is said of them, and key."""
    return is_canary_stream(stream) and schema.key == SCHEMA.key and schema.arrow.equals(SCHEMA.arrow, True)
