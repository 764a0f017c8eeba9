"""The kernel that reads MySQL's text rows: what the server may send comes out exactly, what it may not is refused."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay_agent.kernel import mysql_text as kernel
from forebay_agent.kernel.mysql_text import TextRows

FULL = 0xFFFFFF
BYTES, INT32, INT64 = (kernel.BYTES, 0, 0), (kernel.INT32, 0, 0), (kernel.INT64, 0, 0)
DATE, TIMESTAMP = (kernel.DATE, 0, 0), (kernel.TIMESTAMP, 0, 0)
END = b"\xfe\x00\x00\x02\x00"
TYPES = {
    kernel.BYTES: pa.binary(),
    kernel.INT32: pa.int32(),
    kernel.INT64: pa.int64(),
    kernel.DATE: pa.date32(),
    kernel.TIMESTAMP: pa.timestamp("us"),
}


def length_encoded(size: int) -> bytes:
    if size < 251:
        return bytes([size])
    if size < 1 << 16:
        return b"\xfc" + struct.pack("<H", size)
    if size < 1 << 24:
        return b"\xfd" + struct.pack("<I", size)[:3]
    return b"\xfe" + struct.pack("<Q", size)


def row(values: Sequence[bytes | None]) -> bytes:
    return b"".join(b"\xfb" if value is None else length_encoded(len(value)) + value for value in values)


def packets(payloads: Sequence[bytes], sequence: int = 7) -> bytes:
    """Payloads as the server frames them: one of 0xffffff bytes or more is split."""
    out = bytearray()
    for payload in payloads:
        position = 0
        while True:
            part = payload[position : position + FULL]
            out += struct.pack("<I", len(part))[:3] + bytes([sequence & 255]) + part
            sequence += 1
            position += len(part)
            if len(part) < FULL:
                break
    return bytes(out)


def fed(rows: TextRows, stream: bytes, step: int = 1 << 30) -> Iterator[None]:
    """Feeds the stream in steps as a socket would; yields whenever the kernel holds a full batch, and at the end."""
    buffer = bytearray()
    position = 0
    while True:
        consumed = rows.feed(buffer, 0, len(buffer))
        del buffer[:consumed]
        if rows.ended:
            yield
            return
        if rows.full:
            yield
            continue
        assert position < len(stream), "the kernel waits for more than there is"
        buffer += stream[position : position + step]
        position += step


def arrays(rows: TextRows, kinds: Sequence[tuple[int, int, int]]) -> list[pa.Array]:
    count = rows.rows
    made = []
    for (kind, precision, scale), (validity, offsets, data) in zip(kinds, rows.take(), strict=True):
        type_ = pa.decimal128(precision, scale) if kind == kernel.DECIMAL else TYPES[kind]
        buffers = [None if part is None else pa.py_buffer(part) for part in (validity, offsets, data)]
        array = pa.Array.from_buffers(type_, count, buffers if offsets is not None else [buffers[0], buffers[2]])
        array.validate(full=True)
        made.append(array)
    return made


def decoded(kinds: Sequence[tuple[int, int, int]], stream: bytes, *, step: int = 1 << 30, **limits: int) -> list[list]:  # type: ignore[type-arg]
    rows = TextRows(kinds, 7, **limits)
    columns: list[list[object]] = [[] for _ in kinds]
    for _ in fed(rows, stream, step):
        assert rows.unfit is None
        for column, array in zip(columns, arrays(rows, kinds), strict=True):
            column.extend(array.to_pylist())
    return columns


def unfit(kind: tuple[int, int, int], text: bytes) -> bool:
    rows = TextRows([kind], 7)
    for _ in fed(rows, packets([row([b"1"] if kind[0] != kernel.DATE else [b"2024-01-01"]), row([text]), END])):
        pass
    assert rows.unfit in (None, (0, 0), (1, 0))
    return rows.unfit == (1, 0)


texts = st.one_of(
    st.none(), st.binary(max_size=30), st.integers(240, 260).map(bytes), st.integers(65_530, 65_540).map(bytes)
)
moments = st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31, 23, 59, 59, 999999))
decimals = st.decimals(allow_nan=False, allow_infinity=False, places=10).filter(lambda d: abs(d) < Decimal(10) ** 28)
VALUES = st.tuples(
    texts,
    st.none() | st.integers(-(2**31), 2**31 - 1),
    st.none() | st.integers(-(2**63), 2**63 - 1),
    st.none() | decimals,
    st.none() | st.dates(),
    st.none() | moments,
)
KINDS = [BYTES, INT32, INT64, (kernel.DECIMAL, 38, 10), DATE, TIMESTAMP]


def as_server_writes(values: Sequence[object]) -> list[bytes | None]:
    def one(value: object) -> bytes | None:
        if value is None or isinstance(value, bytes):
            return value
        if isinstance(value, Decimal):
            return format(value, ".10f").encode()
        if isinstance(value, datetime):
            return value.isoformat(" ", "microseconds").encode()
        return str(value).encode() if not isinstance(value, date) else value.isoformat().encode()

    return [one(value) for value in values]


@settings(max_examples=100, deadline=None)
@given(st.lists(VALUES, max_size=12), st.integers(1, 5_000), st.integers(1, 20))
def test_what_the_server_sends_comes_out_exactly_however_it_is_cut(
    table: list[tuple[object, ...]], step: int, max_rows: int
) -> None:
    stream = packets([*(row(as_server_writes(values)) for values in table), END])
    columns = decoded(KINDS, stream, step=step, max_rows=max_rows)
    assert list(zip(*columns, strict=True)) == table


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4), st.binary(max_size=80), st.integers(1, 30))
def test_no_input_crashes_or_makes_a_row_that_was_not_sent(
    kinds: list[tuple[int, int, int]], garbage: bytes, step: int
) -> None:
    rows = TextRows(kinds, 0, max_row_bytes=1 << 20)
    buffer = bytearray()
    for position in range(0, len(garbage), step):
        buffer += garbage[position : position + step]
        try:
            del buffer[: rows.feed(buffer, 0, len(buffer))]
        except (ValueError, OverflowError):
            return
    assert all(len(array) == 0 or array.validate() is None for array in arrays(rows, kinds))


@settings(max_examples=200, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=3), st.data())
def test_a_row_with_one_wrong_byte_is_refused_or_still_has_every_column(
    table: list[tuple[object, ...]], data: st.DataObject
) -> None:
    stream = bytearray(packets([*(row(as_server_writes(values)) for values in table), END]))
    stream[data.draw(st.integers(0, len(stream) - 1))] ^= data.draw(st.integers(1, 255))
    rows = TextRows(KINDS, 7, max_row_bytes=1 << 20)
    try:
        rows.feed(stream, 0, len(stream))
    except (ValueError, OverflowError):
        return
    count = rows.rows
    assert count <= len(table)
    for array in arrays(rows, KINDS):
        assert len(array) == count


@pytest.mark.parametrize(
    ("payload", "place"),
    [
        (b"", "row 0, column 0"),
        (b"\x05abc", "row 0, column 0"),
        (b"\x01a", "row 0, column 1"),
        (b"\x01a\x01b\x01c", "row 0, column 2"),
        (b"\xfc\x01", "row 0, column 0"),
        (b"\xfd\xff\xff\xff" + bytes(20), "row 0, column 0"),
        (b"\xfe" + b"\xff" * 8 + bytes(20), "row 0, column 0"),
        (b"\x01a\xff", "row 0, column 1"),
        (b"\x01a\xfe\x01\x00\x00\x00\x00\x00\x00\x80", "row 0, column 1"),
    ],
    ids=[
        "empty",
        "value beyond the packet",
        "too few columns",
        "too many columns",
        "truncated length",
        "length beyond the packet",
        "huge length",
        "length that is none",
        "length that would be negative",
    ],
)
def test_a_malformed_row_is_refused_with_its_place(payload: bytes, place: str) -> None:
    rows = TextRows([BYTES, BYTES], 7)
    with pytest.raises(ValueError, match=place):
        rows.feed(bytearray(packets([payload])), 0, len(payload) + 4)


def test_a_packet_out_of_sequence_is_refused() -> None:
    stream = bytearray(packets([row([b"a"])]) + packets([row([b"b"])], sequence=9))
    with pytest.raises(ValueError, match="row 1"):
        TextRows([BYTES], 7).feed(stream, 0, len(stream))


def test_a_range_outside_the_buffer_is_refused() -> None:
    rows = TextRows([BYTES], 7)
    for start, end in ((0, 11), (-1, 5), (5, 4), (11, 11)):
        with pytest.raises(ValueError, match="no range"):
            rows.feed(bytearray(10), start, end)


@pytest.mark.parametrize("kinds", [[], [(9, 0, 0)], [(-1, 0, 0)], [(kernel.DECIMAL, 39, 0)], [BYTES] * 4097])
def test_kinds_that_are_none_are_refused(kinds: list[tuple[int, int, int]]) -> None:
    with pytest.raises(ValueError, match="column"):
        TextRows(kinds, 0)


@pytest.mark.parametrize("size", [FULL - 5, FULL - 4, FULL - 3, FULL, FULL * 2 - 20, FULL * 2 + 17])
def test_a_row_split_over_several_packets_is_joined(size: int) -> None:
    value = bytes(range(256)) * (size // 256 + 1)
    small, large = [b"before", None, b"x"], [b"k", value[:size], b"after"]
    stream = packets([row(small), row(large), row(small), END])
    for step in (1 << 30, 5 << 20):
        columns = decoded([BYTES] * 3, stream, step=step)
        assert [list(values) for values in zip(*columns, strict=True)] == [small, large, small]


def test_a_row_longer_than_allowed_is_refused_before_it_is_held() -> None:
    stream = bytearray(packets([row([bytes(FULL * 2)])])[: FULL + 100])
    with pytest.raises(OverflowError, match="longer than"):
        TextRows([BYTES], 7, max_row_bytes=FULL + 10).feed(stream, 0, len(stream))


def test_an_error_in_the_middle_ends_the_result_and_keeps_the_rows_before() -> None:
    error = b"\xff\xb1\x07#70100max_statement_time exceeded"
    rows = TextRows([BYTES], 7)
    stream = bytearray(packets([row([b"a"]), error]))
    assert rows.feed(stream, 0, len(stream)) == len(stream)
    assert (rows.rows, rows.ended, rows.error) == (1, True, error)


def test_a_server_that_shuts_down_may_restart_the_sequence() -> None:
    rows = TextRows([BYTES], 7)
    stream = bytearray(packets([row([b"a"])]) + packets([b"\xff\x1d\x04bye"], sequence=0))
    rows.feed(stream, 0, len(stream))
    assert rows.ended
    assert rows.error == b"\xff\x1d\x04bye"


def test_a_long_value_whose_length_takes_8_bytes_is_no_end_of_the_result() -> None:
    payload = b"\xfe" + struct.pack("<Q", 3) + b"abc"
    assert decoded([BYTES], packets([payload, END])) == [[b"abc"]]


def test_a_batch_ends_at_its_bytes() -> None:
    rows = TextRows([BYTES], 7, max_rows=1000, max_bytes=100)
    counts = []
    for _ in fed(rows, packets([*[row([bytes(30)])] * 10, END])):
        counts.append(rows.rows)
        rows.take()
    assert counts == [4, 4, 2]


@pytest.mark.parametrize(
    "text",
    [
        *(b"0000-00-00", b"2024-00-10", b"2024-02-30", b"2023-02-29", b"1900-02-29", b"2024-13-01", b"0000-01-01"),
        *(b"", b"2024-1-1", b"2024-01-01 ", b"2024/01/01", b"-024-01-01"),
    ],
)
def test_a_date_that_is_none_is_told_not_guessed(text: bytes) -> None:
    assert unfit(DATE, text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            b"0000-00-00 00:00:00",
            b"2024-01-01",
            b"2024-01-01 24:00:00",
            b"2024-01-01 00:60:00",
            b"2024-01-01 00:00:60",
        ),
        *(b"2024-01-01 00:00:00.", b"2024-01-01 00:00:00.1234567", b"2024-01-01T00:00:00", b"2024-01-01 00:00:0x"),
    ],
)
def test_a_moment_that_is_none_is_told_not_guessed(text: bytes) -> None:
    rows = TextRows([TIMESTAMP], 7)
    stream = bytearray(packets([row([text]), END]))
    rows.feed(stream, 0, len(stream))
    assert rows.unfit == (0, 0)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (INT32, b"2147483648"),
        (INT32, b"-2147483649"),
        (INT64, b"9223372036854775808"),
        (INT64, b"-9223372036854775809"),
        (INT64, b"99999999999999999999999"),
        (INT64, b""),
        (INT64, b"-"),
        (INT64, b"1.0"),
        (INT64, b"+1"),
        ((kernel.DECIMAL, 5, 2), b"1000.00"),
        ((kernel.DECIMAL, 5, 2), b"1000"),
        ((kernel.DECIMAL, 5, 2), b"1.234"),
        ((kernel.DECIMAL, 5, 2), b"1e2"),
        ((kernel.DECIMAL, 5, 2), b"."),
        ((kernel.DECIMAL, 5, 2), b"1.2.3"),
        ((kernel.DECIMAL, 38, 0), b"1" * 39),
    ],
)
def test_a_number_that_does_not_fit_is_told_not_wrapped(kind: tuple[int, int, int], text: bytes) -> None:
    assert unfit(kind, text)


def test_numbers_at_their_limits_and_with_leading_zeros_are_exact() -> None:
    nines, least, tiny = Decimal("9" * 38), Decimal("-" + "9" * 38), Decimal("0." + "9" * 38)
    kinds = [INT32, INT64, (kernel.DECIMAL, 38, 0), (kernel.DECIMAL, 38, 38), (kernel.DECIMAL, 5, 2)]
    table = [
        [b"-2147483648", b"-9223372036854775808", b"-" + b"9" * 38, b"-0." + b"9" * 38, b"-999.99"],
        [b"2147483647", b"9223372036854775807", b"9" * 38, b"0." + b"9" * 38, b"00999.90"],
        [b"00042", b"-0", b"-0", b"0." + b"0" * 37 + b"1", b"7"],
    ]
    columns = decoded(kinds, packets([*map(row, table), END]))
    assert columns[0] == [-(2**31), 2**31 - 1, 42]
    assert columns[1] == [-(2**63), 2**63 - 1, 0]
    assert columns[2] == [least, nines, Decimal(0)]
    assert columns[3] == [tiny.copy_negate(), tiny, Decimal(1).scaleb(-38)]
    assert columns[4] == [Decimal("-999.99"), Decimal("999.90"), Decimal("7.00")]


def test_every_day_of_four_centuries_is_the_day_it_says() -> None:
    days = [date(1799, 12, 31) + timedelta(days=number) for number in range(146_097 + 2)]
    assert decoded([DATE], packets([*(row([day.isoformat().encode()]) for day in days), END]), max_rows=1 << 20) == [
        days
    ]
