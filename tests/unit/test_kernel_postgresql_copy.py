"""The COPY kernel against a reference in plain Python, and against streams that are not what they should be."""

from __future__ import annotations

import math
import struct
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay_agent.kernel.postgresql_copy import CopyDecoder

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"
CONTEXT = Context(prec=60)
EPOCH = datetime(2000, 1, 1)
MICROSECOND = timedelta(microseconds=1)


def field(value: bytes | None) -> bytes:
    return struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value


def row(*values: bytes | None) -> bytes:
    return struct.pack("!h", len(values)) + b"".join(map(field, values))


def numeric(value: Decimal | str) -> bytes:
    """As numeric_send writes it: base 10000, no zero groups at either end."""
    special = {"NaN": 0xC000, "Infinity": 0xD000, "-Infinity": 0xF000}
    if str(value) in special:
        return struct.pack("!HhHH", 0, 0, special[str(value)], 0)
    value = Decimal(value)
    scale = max(0, -int(value.as_tuple().exponent))
    whole, _, fraction = format(value.copy_abs(), "f").partition(".")
    whole = whole.zfill(-(-len(whole) // 4) * 4)
    fraction = fraction.ljust(-(-len(fraction) // 4) * 4, "0")
    digits = [int((whole + fraction)[at : at + 4]) for at in range(0, len(whole + fraction), 4)]
    weight = len(whole) // 4 - 1
    while digits and digits[0] == 0:
        digits.pop(0)
        weight -= 1
    while digits and digits[-1] == 0:
        digits.pop()
    sign = 0x4000 if value < 0 else 0
    return struct.pack(f"!HhHH{len(digits)}H", len(digits), weight if digits else 0, sign, scale, *digits)


def decoded(schema: pa.Schema, stream: bytes, *, uuids: list[bool] | None = None, step: int = 0) -> pa.RecordBatch:
    decoder = CopyDecoder(schema, uuids or [False] * len(schema))
    step = step or len(stream) or 1
    for at in range(0, len(stream), step):
        decoder.feed(stream[at : at + step])
    decoder.finish()
    batch = decoder.take()
    batch.validate(full=True)
    return batch


@dataclass(frozen=True)
class Kind:
    arrow: pa.DataType
    values: st.SearchStrategy[Any]
    encode: Callable[[Any], bytes]


def decimals(precision: int, scale: int) -> Kind:
    bound = 10**precision - 1
    values = st.integers(-bound, bound).map(lambda unscaled: Decimal(unscaled).scaleb(-scale, CONTEXT))
    return Kind(pa.decimal128(precision, scale), values, numeric)


KINDS = [
    Kind(pa.bool_(), st.booleans(), lambda value: bytes([value])),
    Kind(pa.int32(), st.integers(-(2**15), 2**15 - 1), lambda value: struct.pack("!h", value)),
    Kind(pa.int32(), st.integers(-(2**31), 2**31 - 1), lambda value: struct.pack("!i", value)),
    Kind(pa.int64(), st.integers(-(2**63), 2**63 - 1), lambda value: struct.pack("!q", value)),
    Kind(pa.float32(), st.floats(width=32, allow_nan=False), lambda value: struct.pack("!f", value)),
    Kind(pa.float64(), st.floats(allow_nan=False), lambda value: struct.pack("!d", value)),
    Kind(pa.string(), st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), str.encode),
    Kind(pa.binary(), st.binary(), bytes),
    Kind(pa.date32(), st.dates(), lambda value: struct.pack("!i", (value - EPOCH.date()).days)),
    Kind(
        pa.timestamp("us"),
        st.datetimes(),
        lambda value: struct.pack("!q", (value - EPOCH) // MICROSECOND),
    ),
    *(decimals(*shape) for shape in ((38, 0), (38, 38), (38, 10), (20, 4), (5, 3), (1, 0), (1, 1), (12, 8))),
]


@given(st.data())
def test_every_value_comes_out_as_the_database_sent_it(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=6))
    schema = pa.schema([(f"c{number}", kind.arrow) for number, kind in enumerate(kinds)])
    rows = data.draw(st.lists(st.tuples(*(st.none() | kind.values for kind in kinds)), max_size=20))
    step = data.draw(st.integers(0, 50))
    stream = HEADER
    for values in rows:
        encoded = (None if v is None else k.encode(v) for k, v in zip(kinds, values, strict=True))
        stream += row(*encoded)
    batch = decoded(schema, stream + TRAILER, step=step)
    assert batch.schema == schema
    assert [tuple(column[n].as_py() for column in batch.columns) for n in range(batch.num_rows)] == rows


@given(st.lists(st.none() | st.uuids(), max_size=20))
def test_uuids_become_their_text(values: list[uuid.UUID | None]) -> None:
    stream = HEADER + b"".join(row(None if value is None else value.bytes) for value in values) + TRAILER
    batch = decoded(pa.schema([("u", pa.string())]), stream, uuids=[True])
    assert batch.column(0).to_pylist() == [None if value is None else str(value) for value in values]


def test_special_floats_are_exact() -> None:
    values = [math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308]
    stream = HEADER + b"".join(row(struct.pack("!d", value)) for value in values) + TRAILER
    batch = decoded(pa.schema([("f", pa.float64())]), stream)
    assert struct.pack("6d", *batch.column(0).to_pylist()) == struct.pack("6d", *values)


def test_a_timestamp_with_zone_is_the_same_moment_in_utc() -> None:
    moment = datetime(1986, 5, 4, 1, 2, 3, 4, tzinfo=UTC)
    sent = (moment - EPOCH.replace(tzinfo=UTC)) // MICROSECOND
    batch = decoded(pa.schema([("t", pa.timestamp("us", tz="UTC"))]), HEADER + row(struct.pack("!q", sent)) + TRAILER)
    assert batch.column(0)[0].as_py() == moment


UNFIT = {
    "date infinity": (pa.date32(), struct.pack("!i", 2**31 - 1)),
    "date -infinity": (pa.date32(), struct.pack("!i", -(2**31))),
    "the last day BC": (pa.date32(), struct.pack("!i", (date.min - EPOCH.date()).days - 1)),
    "the first day of year 10000": (pa.date32(), struct.pack("!i", (date.max - EPOCH.date()).days + 1)),
    "timestamp infinity": (pa.timestamp("us"), struct.pack("!q", 2**63 - 1)),
    "timestamp -infinity": (pa.timestamp("us"), struct.pack("!q", -(2**63))),
    "timestamp BC": (pa.timestamp("us"), struct.pack("!q", (datetime(1, 1, 1) - EPOCH) // MICROSECOND - 1)),
    "timestamp 10000": (
        pa.timestamp("us"),
        struct.pack("!q", (datetime(9999, 12, 31) - EPOCH) // MICROSECOND + 24 * 3600 * 10**6),
    ),
    "numeric NaN": (pa.decimal128(10, 2), numeric("NaN")),
    "numeric Infinity": (pa.decimal128(10, 2), numeric("Infinity")),
    "numeric -Infinity": (pa.decimal128(10, 2), numeric("-Infinity")),
    "too many digits before the point": (pa.decimal128(4, 2), numeric("100")),
    "too many digits after the point": (pa.decimal128(10, 2), numeric("0.001")),
    "far too small": (pa.decimal128(38, 2), numeric("1e-40")),
    "39 digits": (pa.decimal128(38, 0), numeric(Decimal(10) ** 38)),
    "far too large": (pa.decimal128(38, 0), numeric("1e2000")),
    "the largest weight": (pa.decimal128(38, 38), struct.pack("!HhHHH", 1, 32767, 0, 0, 9999)),
    "the lowest weight": (pa.decimal128(38, 38), struct.pack("!HhHHH", 1, -32768, 0, 0, 9999)),
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_does_not_fit_is_told_with_its_row_and_column(case: str) -> None:
    arrow, value = UNFIT[case]
    decoder = CopyDecoder(pa.schema([("id", pa.int32()), ("v", arrow)]), [False, False])
    decoder.feed(HEADER + row(struct.pack("!i", 1), None) + row(struct.pack("!i", 2), value))
    assert decoder.full
    assert decoder.unfit == (1, 1)
    assert decoder.take().to_pylist() == [{"id": 1, "v": None}, {"id": 2, "v": None}]
    assert decoder.unfit is None


INT = pa.schema([("i", pa.int32())])
MALFORMED = {
    "bad signature": (INT, b"PGCOPX\n\xff\r\n\0" + bytes(8)),
    "text instead": (INT, b"1\n2\n3\n"),
    "critical flags": (INT, b"PGCOPY\n\xff\r\n\0" + b"\0\1\0\0" + bytes(4)),
    "header extension of 2 GiB": (INT, b"PGCOPY\n\xff\r\n\0" + bytes(4) + b"\x7f\xff\xff\xff"),
    "negative header extension": (INT, b"PGCOPY\n\xff\r\n\0" + bytes(4) + b"\xff\xff\xff\xff"),
    "too few fields": (INT, HEADER + struct.pack("!h", 0)),
    "too many fields": (INT, HEADER + row(bytes(4), bytes(4))),
    "a negative number of fields": (INT, HEADER + struct.pack("!h", -2)),
    "a length below -1": (INT, HEADER + struct.pack("!hi", 1, -2)),
    "a length of 2 GiB": (INT, HEADER + struct.pack("!hi", 1, 2**31 - 1)),
    "an integer of 3 bytes": (INT, HEADER + row(bytes(3))),
    "an integer wider than its column": (INT, HEADER + row(bytes(8))),
    "an empty integer": (INT, HEADER + row(b"")),
    "a boolean of 2": (pa.schema([("b", pa.bool_())]), HEADER + row(b"\2")),
    "a boolean of 2 bytes": (pa.schema([("b", pa.bool_())]), HEADER + row(b"\0\1")),
    "a float of 4 bytes in a double": (pa.schema([("f", pa.float64())]), HEADER + row(bytes(4))),
    "a date of 8 bytes": (pa.schema([("d", pa.date32())]), HEADER + row(bytes(8))),
    "a timestamp of 4 bytes": (pa.schema([("t", pa.timestamp("us"))]), HEADER + row(bytes(4))),
    "a numeric of 7 bytes": (pa.schema([("n", pa.decimal128(9, 2))]), HEADER + row(bytes(7))),
    "fewer digits than counted": (
        pa.schema([("n", pa.decimal128(9, 2))]),
        HEADER + row(struct.pack("!HhHHH", 2, 0, 0, 0, 1)),
    ),
    "a digit of 10000": (
        pa.schema([("n", pa.decimal128(9, 2))]),
        HEADER + row(struct.pack("!HhHHH", 1, 0, 0, 0, 10000)),
    ),
    "an unknown sign": (
        pa.schema([("n", pa.decimal128(9, 2))]),
        HEADER + row(struct.pack("!HhHHH", 1, 0, 1, 0, 1)),
    ),
    "a NaN with digits": (
        pa.schema([("n", pa.decimal128(9, 2))]),
        HEADER + row(struct.pack("!HhHHH", 1, 0, 0xC000, 0, 1)),
    ),
    "data after the end": (INT, HEADER + TRAILER + row(bytes(4))),
}


@pytest.mark.parametrize("case", MALFORMED)
@pytest.mark.parametrize("step", [0, 1])
def test_malformed_input_is_refused_with_its_offset(case: str, step: int) -> None:
    schema, stream = MALFORMED[case]
    with pytest.raises(ValueError, match=r"byte \d+"):
        decoded(schema, stream, step=step)


def test_a_uuid_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="byte 19"):
        decoded(pa.schema([("u", pa.string())]), HEADER + row(bytes(15)) + TRAILER, uuids=[True])


@given(st.integers(0, 60))
def test_a_stream_that_is_cut_short_is_refused(kept: int) -> None:
    schema = pa.schema([("i", pa.int32()), ("s", pa.string())])
    stream = HEADER + row(bytes(4), b"abc") + row(bytes(4), None) + TRAILER
    with pytest.raises(ValueError, match="cut short"):
        decoded(schema, stream[: min(kept, len(stream) - 1)])


@given(st.binary(max_size=200), st.booleans(), st.integers(1, 40))
def test_no_bytes_crash_the_kernel(noise: bytes, with_header: bool, step: int) -> None:
    schema = pa.schema([("i", pa.int64()), ("s", pa.string()), ("n", pa.decimal128(20, 4)), ("b", pa.bool_())])
    stream = HEADER * with_header + noise
    decoder = CopyDecoder(schema, [False] * 4)
    try:
        for at in range(0, len(stream), step):
            decoder.feed(stream[at : at + step])
    except ValueError:
        return
    assert decoder.take().num_rows <= len(stream) // 18


@given(st.integers(0, 400), st.integers(0, 255))
def test_no_altered_byte_crashes_the_kernel(at: int, byte: int) -> None:
    schema = pa.schema([("i", pa.int64()), ("s", pa.string()), ("n", pa.decimal128(20, 4)), ("t", pa.timestamp("us"))])
    good = row(struct.pack("!q", 7), "贵港".encode(), numeric("-12345.6789"), bytes(8))
    stream = bytearray(HEADER + good * 8 + TRAILER)
    stream[at % len(stream)] = byte
    decoder = CopyDecoder(schema, [False] * 4)
    try:
        decoder.feed(stream)
        decoder.finish()
    except ValueError:
        return
    assert decoder.take().num_rows <= 8


def test_a_batch_ends_at_its_rows_or_bytes_and_the_next_begins_empty() -> None:
    decoder = CopyDecoder(INT, [False], most_rows=3)
    full: list[bool] = []
    for _ in range(3):
        decoder.feed((b"" if full else HEADER) + row(bytes(4)))
        full.append(decoder.full)
    assert full == [False, False, True]
    assert decoder.take().num_rows == 3
    assert (decoder.rows, decoder.full) == (0, False)
    wide = CopyDecoder(pa.schema([("s", pa.string())]), [False], most_rows=1_000, most_bytes=100)
    wide.feed(HEADER + row(b"x" * 60))
    full = [wide.full]
    wide.feed(row(b"x" * 60))
    assert [*full, wide.full] == [False, True]


def test_batches_do_not_share_memory() -> None:
    decoder = CopyDecoder(pa.schema([("s", pa.string()), ("b", pa.bool_())]), [False, False])
    decoder.feed(HEADER + row(b"first", b"\1") + row(None, None))
    first = decoder.take()
    decoder.feed(row(b"other", b"\0") + row(b"more", b"\0"))
    second = decoder.take()
    assert first.to_pylist() == [{"s": "first", "b": True}, {"s": None, "b": None}]
    assert second.to_pylist() == [{"s": "other", "b": False}, {"s": "more", "b": False}]


@pytest.mark.parametrize(
    "arrow", [pa.int8(), pa.timestamp("ns"), pa.decimal128(5, -2), pa.large_string(), pa.time64("us")]
)
def test_a_type_that_it_does_not_decode_is_refused(arrow: pa.DataType) -> None:
    with pytest.raises(ValueError, match="cannot decode"):
        CopyDecoder(pa.schema([("c", arrow)]), [False])
