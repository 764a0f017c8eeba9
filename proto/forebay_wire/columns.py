"""What a row carries beside the table's own columns.

A payload's columns are the table's columns after the transform, in order, and then these, in this order. Table columns
whose names collide with them are refused by the agent when it describes the table.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import pyarrow as pa

OP: Final = "_op"
POSITION: Final = "_position"
COMMITTED_AT: Final = "_committed_at"
ABSENT: Final = "_absent"


class Op(StrEnum):
    """How a row came about."""

    READ = "r"
    INSERT = "c"
    UPDATE = "u"
    DELETE = "d"


CHANGE_FIELDS: Final = (
    pa.field(OP, pa.string(), nullable=False),
    pa.field(POSITION, pa.string(), nullable=False),
    # when the source committed the change; NULL when it does not say
    pa.field(COMMITTED_AT, pa.timestamp("us", tz="UTC"), nullable=True),
    # names of columns whose value the source did not give; a load leaves them as they were. NULL: none
    pa.field(ABSENT, pa.list_(pa.field("item", pa.string(), nullable=False)), nullable=True),
)

CHANGE_NAMES: Final = tuple(field.name for field in CHANGE_FIELDS)
