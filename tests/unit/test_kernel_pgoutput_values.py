"""Values in the pgoutput kernel: text is exactly what it says, or does not fit; and the reference in plain Python agrees."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from forebay_agent.kernel import pgoutput as kernel
from forebay_agent.kernel.pgoutput import LogScanner, TableDecoder
from tests.reference.pgoutput_followed import END, FINAL, TIME, Followed, T, both, short
from tests.reference.pgoutput_messages import UNCHANGED, begin, commit, delete, insert, relation, update

KINDS: tuple[pa.DataType, ...] = (
    pa.bool_(),
    pa.int32(),
    pa.int64(),
    pa.float32(),
    pa.float64(),
    pa.decimal128(12, 3),
    pa.decimal128(38, 38),
    pa.decimal128(20, 0),
    pa.date32(),
    pa.timestamp("us"),
    pa.timestamp("us", tz="UTC"),
    pa.binary(),
    pa.string(),
)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (pa.int32(), "2147483648"),
        (pa.int64(), "9223372036854775808"),
        (pa.int32(), ""),
        (pa.int32(), "1x"),
        (pa.bool_(), "true"),
        (pa.float64(), "1e400"),
        (pa.float64(), "0x10"),
        (pa.float64(), "nan"),
        (pa.float32(), "3.5e38"),
        (pa.decimal128(5, 2), "NaN"),
        (pa.decimal128(5, 2), "Infinity"),
        (pa.decimal128(5, 2), "1000.00"),
        (pa.decimal128(5, 2), "0.001"),
        (pa.date32(), "infinity"),
        (pa.date32(), "0044-03-15 BC"),
        (pa.date32(), "10000-01-01"),
        (pa.date32(), "2023-02-29"),
        (pa.timestamp("us"), "-infinity"),
        (pa.timestamp("us"), "0044-03-15 00:00:00 BC"),
        (pa.timestamp("us", tz="UTC"), "infinity"),
        (pa.timestamp("us", tz="UTC"), "2024-01-01 00:00:00"),
        (pa.timestamp("us", tz="UTC"), "9999-12-31 23:59:59-01"),
        (pa.timestamp("us", tz="UTC"), "0001-01-01 00:00:00+00:01"),
        (pa.timestamp("us", tz="UTC"), "10000-01-01 00:00:00+00"),
        (pa.timestamp("us", tz="UTC"), "0044-03-15 00:00:00+00 BC"),
        (pa.binary(), "abc"),
        (pa.binary(), "\\x0"),
        (pa.binary(), "\\xzz"),
    ],
)
def test_what_does_not_fit_is_null_and_told(kind: pa.DataType, text: str) -> None:
    followed = Followed(pa.schema([("id", pa.int64()), ("v", kind)]))
    followed.feed(begin(1), insert(T, [b"1", None]))
    assert followed.feed(insert(T, [b"2", text.encode()])) == kernel.UNFIT
    unfit, batch = followed.decoder.unfit, followed.decoder.take()
    batch.validate(full=True)
    assert (unfit, followed.decoder.unfit, batch["v"].to_pylist()) == ((1, 1), None, [None, None])


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (pa.timestamp("us", tz="UTC"), "2024-01-01 08:00:00.5+08", datetime(2024, 1, 1, 0, 0, 0, 500_000, UTC)),
        (pa.timestamp("us", tz="UTC"), "2024-01-01 00:00:00-03:30", datetime(2024, 1, 1, 3, 30, tzinfo=UTC)),
        (pa.timestamp("us", tz="UTC"), "1900-01-01 00:00:00+08:05:43", datetime(1899, 12, 31, 15, 54, 17, tzinfo=UTC)),
        (
            pa.timestamp("us", tz="UTC"),
            "9999-12-31 23:59:59.999999+00",
            datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC),
        ),
        (pa.timestamp("us"), "0001-01-01 00:00:00", datetime(1, 1, 1)),
        (pa.date32(), "2024-02-29", date(2024, 2, 29)),
        (pa.decimal128(38, 0), "-" + "9" * 38, Decimal("-" + "9" * 38)),
        (pa.decimal128(18, 18), "-0.999999999999999999", Decimal("-0.999999999999999999")),
        (pa.decimal128(18, 0), "999999999999999999", Decimal(999999999999999999)),
        (pa.decimal128(5, 3), "1.5", Decimal("1.500")),
        (pa.float64(), "1e+23", 1e23),
        (pa.float64(), "9007199254740993", 9007199254740992.0),
        (pa.float64(), "2.2250738585072011e-308", 2.2250738585072011e-308),
        (pa.float64(), "5e-324", 5e-324),
        (pa.float64(), "-Infinity", float("-inf")),
        (pa.float32(), "1e-45", 2**-149),
        (pa.float32(), "3.4028235e+38", (2 - 2**-23) * 2.0**127),
        (pa.binary(), "\\x00FFab", b"\x00\xff\xab"),
        (pa.binary(), "\\x", b""),
        (pa.bool_(), "t", True),
    ],
)
def test_a_value_is_exactly_what_its_text_says(kind: pa.DataType, text: str, value: object) -> None:
    followed = Followed(pa.schema([("id", pa.int64()), ("v", kind)]))
    (row,) = followed.rows(insert(T, [b"1", text.encode()]))
    assert row["v"] == value


def test_text_of_a_boolean_or_an_address_is_what_a_cast_gives() -> None:
    schema = pa.schema([("b", pa.string()), ("i", pa.string()), ("s", pa.string())])
    decoder = TableDecoder(schema, [0, 1, 2], 3, [], [kernel.TRUE_FALSE, kernel.WITH_NETMASK, kernel.AS_SENT])
    scanner = LogScanner()
    scanner.register(relation(T, schema.names), decoder)
    scanner.feed(begin(1))
    for values in (
        [b"t", b"10.0.0.1", b"t"],
        [b"f", b"::1", b"f"],
        [None, b"10.0.0.0/8", b"1.1.1.1"],
        [b"t", b"::/0", None],
    ):
        scanner.feed(insert(T, values))
    assert short(decoder.take().to_pylist()) == [
        ("true", "10.0.0.1/32", "t", "c", None),
        ("false", "::1/128", "f", "c", None),
        (None, "10.0.0.0/8", "1.1.1.1", "c", None),
        ("true", "::/0", None, "c", None),
    ]
    assert scanner.feed(insert(T, [b"yes", b"", b""])) == kernel.UNFIT


def texts_of(kind: pa.DataType) -> st.SearchStrategy[bytes]:
    """Text that often is one of the type, and often just is not."""
    number = st.integers(-(10**19), 10**19).map(str)
    fixed = st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**11), max_value=10**11).map(str)
    reals = st.floats(width=64).map(lambda value: repr(value).replace("inf", "Infinity").replace("nan", "NaN"))
    moments = st.datetimes().map(lambda value: str(value))
    offsets = st.sampled_from(["+00", "-12:30", "+08:05:43", "+08:60", "+1", "", " BC"])
    binary = st.binary(max_size=9).map(lambda value: "\\x" + value.hex())
    anything = st.one_of(
        number, fixed, reals, st.dates().map(str), moments, st.tuples(moments, offsets).map("".join), binary,
        st.sampled_from(["t", "f", "infinity", "NaN", "", "-", ".", "1.", ".1", "1e5", "-0", "0044-03-15 BC"]),
    )  # fmt: skip
    own = {
        pa.int32(): st.integers(-(2**31), 2**31 - 1).map(str),
        pa.int64(): st.integers(-(2**63), 2**63 - 1).map(str),
        pa.float32(): st.one_of(reals, st.floats(width=32).map(lambda value: f"{value:.9g}")),
        pa.float64(): st.one_of(reals, fixed, number),
        pa.date32(): st.dates().map(str),
        pa.timestamp("us"): moments,
        pa.timestamp("us", tz="UTC"): st.tuples(moments, offsets).map("".join),
        pa.binary(): binary,
        pa.string(): st.text(max_size=20),
    }.get(kind, fixed if pa.types.is_decimal(kind) else st.sampled_from(["t", "f"]))
    return st.one_of(own, own, anything).map(lambda text: text.encode())


@st.composite
def histories(draw: st.DrawFn) -> tuple[pa.Schema, list[int], list[bytes]]:
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=5))
    schema = pa.schema([(f"c{number}", kind) for number, kind in enumerate(kinds)])
    keys = sorted(draw(st.sets(st.integers(0, len(kinds) - 1), max_size=2)))
    values = st.tuples(*(st.one_of(st.none(), st.just(UNCHANGED), texts_of(kind), texts_of(kind)) for kind in kinds))
    messages = []
    for _ in range(draw(st.integers(1, 8))):
        new, old = draw(values), draw(values)
        messages.append(
            draw(
                st.sampled_from(
                    [
                        insert(T, new),
                        update(T, new),
                        update(T, new, old),
                        update(T, new, old, b"O"),
                        update(T, new, new, b"O"),
                        delete(T, old),
                        delete(T, old, b"O"),
                    ]
                )
            )
        )
    return schema, keys, messages


@given(histories())
@example((pa.schema([("c", pa.float32())]), [], [insert(T, [b"1.00000017881393432617187499"])]))
@example((pa.schema([("c", pa.float32())]), [], [insert(T, [b"1.00000017881393432617187500"])]))
@example((pa.schema([("c", pa.float64())]), [], [insert(T, [b"9007199254740993"])]))
def test_the_kernel_agrees_with_the_reference(history: tuple[pa.Schema, list[int], list[bytes]]) -> None:
    schema, keys, messages = history
    both(schema, keys, [begin(FINAL, TIME), *messages, commit(FINAL, END)])


@given(
    histories(),
    st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=4),
    st.integers(0, 9),
)
def test_altered_bytes_are_read_as_the_reference_reads_them(
    history: tuple[pa.Schema, list[int], list[bytes]], changes: list[tuple[int, int]], which: int
) -> None:
    schema, keys, changed = history
    messages = [begin(FINAL, TIME), *changed, commit(FINAL, END)]
    altered = bytearray(messages[which % len(messages)])
    for at, byte in changes:
        altered[at % len(altered)] = byte
    if altered[0] not in b"SE":
        messages[which % len(messages)] = bytes(altered)
        both(schema, keys, messages)


@pytest.mark.parametrize("width", [4, 8])
@given(st.integers(0, (1 << 64) - 1), st.integers(-45, 45))
@example(9007199254740993, 0)
@example(1 << 63, 27)
@example(16777217, 0)
def test_numbers_of_many_digits_are_rounded_once(width: int, digits: int, exponent: int) -> None:
    kind = pa.float32() if width == 4 else pa.float64()
    schema = pa.schema([("id", pa.int64()), ("v", kind)])
    both(schema, [0], [begin(1), insert(T, [b"1", b"%de%d" % (digits, exponent)])])
