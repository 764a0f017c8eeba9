"""pgoutput's messages decoded in plain Python, from the PostgreSQL manual ("Logical Replication Message Formats").

Values come as what `to_pylist` gives, except: text as bytes, floats as their packed bytes, moments as microseconds since 1970.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Context, Decimal
from fractions import Fraction
from typing import Final

import pyarrow as pa

EPOCH: Final = datetime(1970, 1, 1)
Y2000: Final = (datetime(2000, 1, 1) - EPOCH) // timedelta(microseconds=1)
FIRST: Final = (datetime(1, 1, 1) - EPOCH) // timedelta(microseconds=1)
LAST: Final = (datetime(9999, 12, 31, 23, 59, 59, 999999) - EPOCH) // timedelta(microseconds=1)
UNCHANGED: Final = object()
"""the field of a tuple whose value was not sent"""
Value = object
Row = tuple[Value, ...]


class Malformed(ValueError):
    """The message is not what the manual says."""


class Unfit(ValueError):
    """The text is none of its column's type, or does not fit it."""


@dataclass
class Table:
    """What is captured of a relation, as `TableDecoder` has it. rows: values, then op, position, committed_at, absent."""

    schema: pa.Schema
    places: list[int]
    width: int
    keys: list[int]
    forms: list[int]
    rows: list[Row] = field(default_factory=list)
    unfit: tuple[int, int] | None = None


class Cursor:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        if self.at + size > len(self._data):
            raise Malformed("cut short")
        self.at += size
        return self._data[self.at - size : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size))

    def signed(self) -> int:
        return int.from_bytes(self.take(8), signed=True)

    def rest(self) -> bytes:
        return self.take(len(self._data) - self.at)

    def end(self) -> None:
        if self.at != len(self._data):
            raise Malformed("too long")


class Decoder:
    """relations: per number the registered Relation message and its table (None: skipped)."""

    def __init__(self, relations: Mapping[int, tuple[bytes, Table | None]]) -> None:
        self.relations = dict(relations)
        self.transaction: tuple[int, int, int] | None = None  # final LSN, commit time, xid
        self.transactions = 0
        self.commit_end = 0

    def feed(self, message: bytes, *, streamed: bool = False) -> bool:
        """Whether it was dealt with; False: a message that is for the caller. Not for Stream Start and Stop."""
        cursor = Cursor(message)
        kind = cursor.take(1)
        if streamed:
            cursor.take(4)
        if kind in b"IUD":
            self._change(kind, cursor)
        elif kind == b"B" and not streamed:
            self._begin(cursor)
        elif kind == b"C" and not streamed:
            self._commit(cursor)
        elif kind == b"R":
            body = cursor.rest()
            if len(body) < 4:
                raise Malformed("cut short")
            registered = self.relations.get(int.from_bytes(body[:4]))
            return registered is not None and registered[0][1:] == body
        else:
            return kind in b"OY"
        return True

    def _begin(self, cursor: Cursor) -> None:
        if self.transaction is not None:
            raise Malformed("within a transaction")
        final, time, xid = cursor.number(8), cursor.signed() + Y2000, cursor.number(4)
        cursor.end()
        if not FIRST <= time <= LAST:
            raise Malformed("no time")
        self.transaction = (final, time, xid)

    def _commit(self, cursor: Cursor) -> None:
        cursor.take(1)
        commit, end, _ = cursor.number(8), cursor.number(8), cursor.number(8)
        cursor.end()
        if self.transaction is None or self.transaction[0] != commit:
            raise Malformed("another transaction")
        self.transaction = None
        self.transactions += 1
        self.commit_end = end

    def _change(self, kind: bytes, cursor: Cursor) -> None:
        if self.transaction is None:
            raise Malformed("no transaction")
        relation = cursor.number(4)
        if relation not in self.relations:
            raise Malformed("unknown relation")
        table = self.relations[relation][1]
        if table is None:
            return
        old_kind, old, new = _tuples(kind, cursor, table.width)
        key = {table.places[number] for number in table.keys}
        if old is not None:
            for place in key:
                if old[place] is None and old_kind == b"K":
                    raise Malformed("no key")
                if old[place] is UNCHANGED:
                    raise Malformed("no key")
        if new is None:
            assert old is not None
            self._append(table, b"d", old, marks=False)
            return
        if old is not None:
            new = [
                was if is_ is UNCHANGED and isinstance(was, bytes) else is_ for was, is_ in zip(old, new, strict=True)
            ]
        if any(new[place] is UNCHANGED for place in key):
            raise Malformed("no key")
        op = b"c" if kind == b"I" else b"u"
        if old is not None and any(old[place] != new[place] for place in key):
            self._append(table, b"d", old, marks=False)
            op = b"c"
        self._append(table, op, new, marks=True)

    def _append(self, table: Table, op: bytes, fields: list[object], *, marks: bool) -> None:
        assert self.transaction is not None
        values: list[object] = []
        absent = []
        for number, place in enumerate(table.places):
            text = fields[place]
            value: object = None
            if text is UNCHANGED:
                if marks:
                    absent.append(table.schema.names[number])
            elif isinstance(text, bytes):
                try:
                    value = parsed(text, table.schema.field(number).type, table.forms[number])
                except Unfit:
                    table.unfit = table.unfit or (len(table.rows), number)
            values.append(value)
        final, time, _ = self.transaction
        table.rows.append((*values, op, lsn_text(final).encode(), time, absent or None))


def lsn_text(lsn: int) -> str:
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def _tuples(kind: bytes, cursor: Cursor, width: int) -> tuple[bytes, list[object] | None, list[object] | None]:
    old_kind, old, new = b"", None, None
    tag = cursor.take(1)
    if tag in (b"K", b"O") and kind != b"I":
        old_kind, old = tag, _tuple(cursor, width)
        tag = cursor.take(1) if kind == b"U" else b""
    elif kind == b"D":
        raise Malformed("no old tuple")
    if kind != b"D":
        if tag != b"N":
            raise Malformed("no new tuple")
        new = _tuple(cursor, width)
    cursor.end()
    return old_kind, old, new


def _tuple(cursor: Cursor, width: int) -> list[object]:
    if cursor.number(2) != width:
        raise Malformed("another width")
    fields: list[object] = []
    for _ in range(width):
        kind = cursor.take(1)
        if kind == b"n":
            fields.append(None)
        elif kind == b"u":
            fields.append(UNCHANGED)
        elif kind == b"t":
            fields.append(cursor.take(cursor.number(4)))
        else:
            raise Malformed("no kind of field")
    return fields


def parsed(text: bytes, kind: pa.DataType, form: int = 0) -> object:
    """The value of a column's text. Raises Unfit."""
    if pa.types.is_string(kind):
        return _FORMS[form](text)
    for is_kind, parse in _PARSERS:
        if is_kind(kind):
            return parse(text, kind)
    raise AssertionError(kind)


def _matched(pattern: str, text: bytes) -> re.Match[str]:
    found = re.fullmatch(pattern, text.decode("latin-1"), re.ASCII | re.DOTALL)
    if found is None:
        raise Unfit
    return found


def _boolean(text: bytes, kind: pa.DataType) -> bool:
    return _matched("[tf]", text)[0] == "t"


def _integer(text: bytes, kind: pa.DataType) -> int:
    value = int(_matched("-?[0-9]+", text)[0]) if len(text) < 4000 else 0
    if len(text) >= 4000 or not -(1 << (kind.bit_width - 1)) <= value < 1 << (kind.bit_width - 1):
        raise Unfit
    return value


def _decimal(text: bytes, kind: pa.DataType) -> Decimal:
    found = _matched(r"(-?)([0-9]*)(?:\.([0-9]*))?", text)
    whole, fraction = found[2], found[3] or ""
    if not whole + fraction or len(fraction) > kind.scale or len((whole + fraction).lstrip("0")) > 76:
        raise Unfit
    unscaled = int((whole + fraction).lstrip("0") or "0") * 10 ** (kind.scale - len(fraction))
    if unscaled >= 10**kind.precision:
        raise Unfit
    return Decimal(-unscaled if found[1] else unscaled).scaleb(-kind.scale, Context(prec=60))


def _float(text: bytes, kind: pa.DataType) -> bytes:
    if text in (b"NaN", b"Infinity", b"-Infinity"):
        value = float(text)
        return struct.pack("<d", value) if kind.bit_width == 64 else struct.pack("<f", value)
    written = _matched(r"-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]{1,4})?", text)[0]
    value = float(written)
    if len(text) > 63 or value in (float("inf"), float("-inf")):
        raise Unfit
    return struct.pack("<d", value) if kind.bit_width == 64 else _nearest_single(written)


def _nearest_single(written: str) -> bytes:
    """The float32 nearest to the number as written, not to its double."""
    exact = Fraction(written)
    if abs(exact) >= Fraction(2**128 - 2**103):
        raise Unfit
    bits = struct.unpack(
        "<I", struct.pack("<f", max(-3.4028234663852886e38, min(float(written), 3.4028234663852886e38)))
    )[0]
    sign, magnitude = bits & 0x80000000, bits & 0x7FFFFFFF
    near = [n for n in (magnitude - 1, magnitude, magnitude + 1) if 0 <= n < 0x7F800000]

    def distance(candidate: int) -> tuple[Fraction, int]:
        value = struct.unpack("<f", struct.pack("<I", candidate))[0]
        return abs(Fraction(value) - abs(exact)), candidate & 1

    return struct.pack("<I", sign | min(near, key=distance))


def _binary(text: bytes, kind: pa.DataType) -> bytes:
    return bytes.fromhex(_matched(r"\\x((?:[0-9a-fA-F]{2})*)", text)[1])


def _date(text: bytes, kind: pa.DataType) -> date:
    found = _matched("([0-9]{4})-([0-9]{2})-([0-9]{2})", text)
    try:
        return date(*(int(part) for part in found.groups()))
    except ValueError:
        raise Unfit from None


_MOMENT: Final = r"([0-9]{4})-([0-9]{2})-([0-9]{2}) ([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,6}))?"


def _timestamp(text: bytes, kind: pa.DataType) -> int:
    offset = "" if kind.tz is None else "([+-])([0-9]{2})(?::([0-9]{2})(?::([0-9]{2}))?)?"
    found = _matched(_MOMENT + offset, text)
    try:
        year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
        moment = datetime(year, month, day, hour, minute, second)
    except ValueError:
        raise Unfit from None
    value = (moment - EPOCH) // timedelta(microseconds=1) + int((found[7] or "0").ljust(6, "0"))
    if offset:
        hours, minutes, seconds = (int(part or 0) for part in found.groups()[8:])
        shift = (hours * 3600 + minutes * 60 + seconds) * 1_000_000
        value += shift if found[8] == "-" else -shift
        if minutes > 59 or seconds > 59 or not FIRST <= value <= LAST:
            raise Unfit
    return value


def _true_false(text: bytes) -> bytes:
    try:
        return {b"t": b"true", b"f": b"false"}[text]
    except KeyError:
        raise Unfit from None


def _with_netmask(text: bytes) -> bytes:
    if not 0 < len(text) <= 64:
        raise Unfit
    return text if b"/" in text else text + (b"/128" if b":" in text else b"/32")


_FORMS: Final[tuple[Callable[[bytes], bytes], ...]] = (bytes, _true_false, _with_netmask)
_PARSERS: Final[tuple[tuple[Callable[[pa.DataType], bool], Callable[[bytes, pa.DataType], object]], ...]] = (
    (pa.types.is_boolean, _boolean),
    (pa.types.is_integer, _integer),
    (pa.types.is_floating, _float),
    (pa.types.is_decimal, _decimal),
    (pa.types.is_date, _date),
    (pa.types.is_timestamp, _timestamp),
    (pa.types.is_binary, _binary),
)


def plain_rows(batches: Iterable[pa.RecordBatch]) -> list[Row]:
    """Rows of the kernel as this module gives them."""
    rows: list[Row] = []
    for batch in batches:
        columns = [_plain_column(batch.column(number)) for number in range(batch.num_columns)]
        rows.extend(zip(*columns, strict=True))
    return rows


def _plain_column(column: pa.Array) -> list[object]:
    kind = column.type
    if pa.types.is_string(kind):
        column = column.cast(pa.binary())
    elif pa.types.is_timestamp(kind):
        column = column.view(pa.int64())
    values: list[object] = column.to_pylist()
    if pa.types.is_floating(kind):
        code = "<d" if kind.bit_width == 64 else "<f"
        # NaN has one form here, whatever its sign
        return [None if v is None else struct.pack(code, abs(v) if v != v else v) for v in values]  # type: ignore[arg-type]
    return values
