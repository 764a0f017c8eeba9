"""A binary COPY stream decoded in plain Python, from the PostgreSQL manual (COPY, "Binary Format") and the types' send functions.

Values come as `tests.reference.pgoutput.plain_rows` gives them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Context, Decimal
from typing import Final
from uuid import UUID

import pyarrow as pa

SIGNATURE: Final = b"PGCOPY\n\xff\r\n\0"
_MOST: Final = 0x40000000
_Y2000: Final = datetime(2000, 1, 1)
_EPOCH: Final = datetime(1970, 1, 1)
_MICROSECOND: Final = timedelta(microseconds=1)
_FIRST: Final = (datetime(1, 1, 1) - _Y2000) // _MICROSECOND
_LAST: Final = (datetime(9999, 12, 31, 23, 59, 59, 999_999) - _Y2000) // _MICROSECOND


class Malformed(ValueError):
    """The stream is not what the manual says."""


class Unfit(ValueError):
    """The value does not fit its column."""


@dataclass
class Result:
    rows: list[tuple[object, ...]] = field(default_factory=list)
    unfit: tuple[int, int] | None = None
    ended: bool = False
    malformed: bool = False


def decoded(schema: pa.Schema, uuids: Sequence[bool], stream: bytes) -> Result:
    """Everything up to what is malformed, or to a row that is not complete."""
    result = Result()
    try:
        at = _header(stream)
        while at is not None and at < len(stream):
            if result.ended:
                raise Malformed("after the end")
            if stream[at : at + 2] == b"\xff\xff":
                result.ended = True
                at += 2
                continue
            found = _fields(stream, at, len(schema))
            if found is None:
                break
            fields, at = found
            _append(result, schema, uuids, fields)
    except Malformed:
        result.malformed = True
    return result


def _header(stream: bytes) -> int | None:
    if not SIGNATURE.startswith(stream[:11]):
        raise Malformed("signature")
    if len(stream) < 19:
        return None
    flags, extension = struct.unpack_from("!Ii", stream, 11)
    if flags >> 16 or not 0 <= extension <= _MOST:
        raise Malformed("header")
    return 19 + extension if len(stream) >= 19 + extension else None


def _fields(stream: bytes, at: int, count: int) -> tuple[list[bytes | None], int] | None:
    if at + 2 > len(stream):
        return None
    if int.from_bytes(stream[at : at + 2]) != count:
        raise Malformed("count")
    at += 2
    fields: list[bytes | None] = []
    for _ in range(count):
        if at + 4 > len(stream):
            return None
        size = int.from_bytes(stream[at : at + 4], signed=True)
        at += 4
        if not -1 <= size <= _MOST:
            raise Malformed("length")
        if size < 0:
            fields.append(None)
            continue
        if at + size > len(stream):
            return None
        fields.append(stream[at : at + size])
        at += size
    return fields, at


def _append(result: Result, schema: pa.Schema, uuids: Sequence[bool], fields: Sequence[bytes | None]) -> None:
    values: list[object] = []
    unfit = None
    for number, data in enumerate(fields):
        try:
            values.append(None if data is None else _value(schema.field(number).type, uuids[number], data))
        except Unfit:
            unfit = unfit or (len(result.rows), number)
            values.append(None)
    result.rows.append(tuple(values))
    result.unfit = result.unfit or unfit


def _value(kind: pa.DataType, uuid: bool, data: bytes) -> object:
    types = pa.types
    if types.is_string(kind) and uuid:
        return str(UUID(bytes=_sized(data, 16))).encode()
    if types.is_string(kind) or types.is_binary(kind):
        return data
    if types.is_boolean(kind):
        if _sized(data, 1)[0] > 1:
            raise Malformed("boolean")
        return data == b"\1"
    if types.is_integer(kind):
        if len(data) not in (2, 4, 8) or len(data) > kind.bit_width // 8:
            raise Malformed("integer")
        return int.from_bytes(data, signed=True)
    if types.is_floating(kind):
        code = "d" if kind.bit_width == 64 else "f"
        value = struct.unpack("!" + code, _sized(data, kind.bit_width // 8))[0]
        return struct.pack("<" + code, abs(value) if value != value else value)
    if types.is_decimal(kind):
        return _numeric(kind, data)
    return _moment(kind, data)


def _sized(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise Malformed("length")
    return data


def _moment(kind: pa.DataType, data: bytes) -> date | int:
    if pa.types.is_date(kind):
        days = int.from_bytes(_sized(data, 4), signed=True)
        if not _FIRST <= days * 86_400_000_000 <= _LAST:
            raise Unfit
        return (_Y2000 + timedelta(days=days)).date()
    moment = int.from_bytes(_sized(data, 8), signed=True)
    if not _FIRST <= moment <= _LAST:
        raise Unfit
    return moment + (_Y2000 - _EPOCH) // _MICROSECOND


def _numeric(kind: pa.DataType, data: bytes) -> Decimal:
    if len(data) < 8:
        raise Malformed("numeric")
    count, weight, sign, _ = struct.unpack_from("!HhHH", data)
    if len(data) != 8 + 2 * count:
        raise Malformed("numeric")
    if sign in (0xC000, 0xD000, 0xF000):
        if count:
            raise Malformed("numeric")
        raise Unfit
    digits = struct.unpack_from(f"!{count}H", data, 8)
    if sign not in (0, 0x4000) or any(digit > 9999 for digit in digits):
        raise Malformed("numeric")
    whole = 0
    for digit in digits:
        whole = whole * 10_000 + digit
    power = 4 * (weight - count + 1) + kind.scale  # of ten: what `whole` is to be multiplied by
    unscaled, rest = (whole * 10**power, 0) if power >= 0 else divmod(whole, 10**-power)
    if rest or unscaled >= 10**kind.precision:
        raise Unfit
    return Decimal(-unscaled if sign else unscaled).scaleb(-kind.scale, Context(prec=60))
