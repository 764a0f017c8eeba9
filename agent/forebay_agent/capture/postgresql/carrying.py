"""What each PostgreSQL type is carried as: its origin, as `format_type` writes it, decides.

| origin | carried as |
|---|---|
| boolean; smallint, integer; bigint; real; double precision | bool; int32; int64; float32; float64 |
| numeric(p,s) with at most 38 digits | decimal128 |
| date; timestamp; timestamp with time zone | date32; timestamp[us]; timestamp[us, UTC] |
| text, character varying, character, name; bytea | string, binary |
| everything else, and what `as_text` names | string: the database's own text of the value |

Domains are described by their base type. `character(n)` keeps its padding, as the database shows it. A numeric without
precision may hold any number of digits, so it is text. Text is exact and stable because the session fixes every setting
that it depends on (`session.py`).
"""

from __future__ import annotations

import re
from typing import Final

import pyarrow as pa

from forebay_agent.capture.source import Column

EXACT: Final = "exact"
TEXT: Final = "text"

_PLAIN: Final[dict[str, pa.DataType]] = {
    "boolean": pa.bool_(),
    "smallint": pa.int32(),
    "integer": pa.int32(),
    "bigint": pa.int64(),
    "real": pa.float32(),
    "double precision": pa.float64(),
    "date": pa.date32(),
    "timestamp without time zone": pa.timestamp("us"),
    "timestamp with time zone": pa.timestamp("us", tz="UTC"),
    "bytea": pa.binary(),
    "text": pa.string(),
    "character varying": pa.string(),
    "character": pa.string(),
    "bpchar": pa.string(),
    "name": pa.string(),
}
_TYPMOD: Final = re.compile(r"\((\d+)(?:,(-?\d+))?\)")
_BARE: Final = {"character": "bpchar", "bit": "bit varying"}
_DIGITS_MOST: Final = 38
UUID: Final = "uuid"
_SAME_BYTES: Final = frozenset({"text", "character varying", "character", "bpchar", "name", "json", UUID})
"""types whose binary form is their text (a uuid's is written as text by the kernel)"""


def describe(name: str, origin: str, *, as_text: bool) -> Column:
    """The column of this name and type as it is carried."""
    arrow = _PLAIN.get(bare(origin)) or _decimal(origin)
    if arrow is None or (as_text and not pa.types.is_string(arrow)):
        return Column(name, origin, pa.string(), TEXT)
    return Column(name, origin, arrow, EXACT)


def bare(origin: str) -> str:
    """The type without its modifier: `timestamp(3) without time zone` -> `timestamp without time zone`."""
    return origin if origin.startswith('"') else _TYPMOD.sub("", origin, count=1)


def cast_needed(column: Column) -> bool:
    """Whether the database must be asked for the column's text, because its binary form is something else."""
    return pa.types.is_string(column.arrow) and bare(column.origin) not in _SAME_BYTES


def literal_type(origin: str) -> str:
    """The type to cast a literal to that is compared with the column: without a modifier, which would round or cut it."""
    without = bare(origin)
    if without == "smallint":
        return "integer"  # the same index serves, and a bound may lie outside
    return _BARE.get(without, without)


def _decimal(origin: str) -> pa.DataType | None:
    found = _TYPMOD.fullmatch(origin.removeprefix("numeric")) if origin.startswith("numeric(") else None
    if found is None:
        return None
    precision, scale = int(found[1]), int(found[2])
    # from PostgreSQL 15 a scale may be negative, or larger than the precision
    precision, scale = max(precision - min(scale, 0), scale), max(scale, 0)
    return pa.decimal128(precision, scale) if precision <= _DIGITS_MOST else None
