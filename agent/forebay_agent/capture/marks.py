"""Values of key and cursor columns as text: what checkpoints hold and queries compare with.

Numbers in decimal, text as it is, dates `YYYY-MM-DD`, timestamps `YYYY-MM-DD HH:MM:SS.ffffff` (in UTC where the column
has a zone), booleans `0`/`1`, binary as lower-case hexadecimal. A dialect turns the text back with the column's type.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc


def to_texts(rows: pa.RecordBatch, names: Sequence[str], row: int) -> tuple[str, ...]:
    """The named columns' values of one row. Raises ValueError when one of them is NULL."""
    return tuple(_text(rows.column(name).slice(row if row >= 0 else rows.num_rows + row, 1), name) for name in names)


def _text(one: pa.Array, name: str) -> str:
    if one.null_count:
        raise ValueError(f"column {name} is NULL where a key or cursor value is needed")
    kind = one.type
    if pa.types.is_boolean(kind):
        return "1" if one[0].as_py() else "0"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return cast(bytes, one[0].as_py()).hex()
    if pa.types.is_timestamp(kind):
        return cast(str, pc.strftime(one.cast(pa.timestamp("us")), "%Y-%m-%d %H:%M:%S")[0].as_py())
    if pa.types.is_floating(kind):
        return repr(one[0].as_py())
    return cast(str, one.cast(pa.string())[0].as_py())
