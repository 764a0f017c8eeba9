"""Keys from their canonical bytes back to columns: the inverse of `canonical.canonical_rows`, for keys that are looked up."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final

import pyarrow as pa

from forebay_wire.errors import Malformed

_LENGTH: Final = re.compile(rb"(\d{1,10}):")


def values_of(canonical: bytes) -> list[bytes | None]:
    """The canonical texts of a row's columns. Raises Malformed."""
    values: list[bytes | None] = []
    at = 0
    while at < len(canonical):
        if canonical[at : at + 1] == b"-":
            values.append(None)
            at += 1
            continue
        length = _LENGTH.match(canonical, at)
        if length is None or length.end() + int(length[1]) > len(canonical):
            raise Malformed("canonical bytes are not well formed")
        at = length.end() + int(length[1])
        values.append(canonical[length.end() : at])
    return values


def columns_of(keys: Sequence[bytes], kinds: Sequence[pa.DataType]) -> list[pa.Array]:
    """Columns of these types that hold the keys. Raises Malformed where a key is none of these types."""
    parsed = [values_of(key) for key in keys]
    if any(len(values) != len(kinds) for values in parsed):
        raise Malformed("a key has not as many columns as the table's key")
    try:
        return [_column([values[place] for values in parsed], kind) for place, kind in enumerate(kinds)]
    except (ValueError, ArithmeticError, pa.ArrowException):
        raise Malformed("a key does not hold values of the key's types") from None


def _column(texts: Sequence[bytes | None], kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.array(texts, kind)
    parse = _parser(kind)
    values = pa.array([None if text is None else parse(text.decode()) for text in texts], _stored(kind))
    if pa.types.is_timestamp(kind):
        values = values.cast(pa.timestamp("us", kind.tz))
    return values if values.type == kind else values.cast(kind)


def _parser(kind: pa.DataType) -> Callable[[str], Any]:
    of = pa.types
    if of.is_boolean(kind):
        return lambda text: bool(int(text))
    if of.is_decimal(kind):
        return Decimal
    if of.is_floating(kind):
        return lambda text: struct.unpack("<d", struct.pack("<q", int(text)))[0]
    if of.is_integer(kind) or of.is_date32(kind) or of.is_timestamp(kind):
        return int
    return str


def _stored(kind: pa.DataType) -> pa.DataType:
    """The type whose values the parser gives."""
    of = pa.types
    if of.is_date32(kind):
        return pa.int32()
    if of.is_timestamp(kind):
        return pa.int64()
    if of.is_floating(kind):
        return pa.float64()
    return kind if of.is_boolean(kind) or of.is_decimal(kind) or of.is_integer(kind) else pa.string()
