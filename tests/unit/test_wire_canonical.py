"""Promises of canonical rows: equal rows share a digest, no two different rows do, order does not matter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal, localcontext

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay_wire import canonical, canonical_keys
from forebay_wire.errors import Malformed


def digests(*columns: pa.Array) -> list[bytes]:
    return canonical.digests(canonical.canonical_rows(columns))


@given(st.lists(st.tuples(st.none() | st.text(), st.none() | st.text()), min_size=2, max_size=30, unique=True))
def test_different_rows_never_share_their_canonical_bytes(pairs: list[tuple[str | None, str | None]]) -> None:
    columns = [pa.array([pair[place] for pair in pairs], pa.string()) for place in (0, 1)]
    assert len(set(canonical.canonical_rows(columns).to_pylist())) == len(pairs)


def test_null_empty_text_and_the_words_that_stand_for_them_differ() -> None:
    values = pa.array([None, "", "-", "0:", "1:-", "null"])
    assert len(set(digests(values))) == len(values)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.int32(), [-(2**31), 0, 2**31 - 1, None]),
        (pa.int64(), [-(2**63), 2**63 - 1, None]),
        (pa.float64(), [0.0, -0.0, 1e308, 5e-324, math.inf, -math.inf, math.nan, None]),
        (pa.decimal128(38, 10), [Decimal("1E-10"), Decimal("-9999999999999999999999999999.9999999999"), None]),
        (pa.date32(), [date(1, 1, 1), date(9999, 12, 31), None]),
        (pa.timestamp("us"), [datetime(1000, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999999), None]),
        (pa.bool_(), [True, False, None]),
        (pa.binary(), [b"", bytes(range(256)), None]),
    ],
)
def test_every_type_has_one_form_whatever_batch_or_slice_it_came_in(
    kind: pa.DataType, values: Sequence[object]
) -> None:
    whole = pa.array(values, kind)
    assert len(set(digests(whole))) == len(values)
    padded = pa.concat_arrays([pa.nulls(3, kind), whole, pa.nulls(2, kind)]).slice(3, len(values))
    assert digests(padded) == digests(whole)


def test_every_nan_is_the_same_nan() -> None:
    bits = pa.array([0x7FF8000000000000, 0x7FF8000000000001, -(2**51)], pa.int64()).view(pa.float64())
    assert len(set(digests(bits))) == 1


def test_a_table_digest_does_not_depend_on_order_and_counts_doubled_rows() -> None:
    keys, values = pa.array(range(5_000)), pa.array([f"值{n}" for n in range(5_000)])
    forwards, backwards, doubled = (canonical.TableDigest() for _ in range(3))
    forwards.add(digests(keys), digests(keys, values))
    order = pa.array(range(4_999, -1, -1))
    for start in range(0, 5_000, 700):
        part = order.slice(start, 700)
        backwards.add(digests(keys.take(part)), digests(keys.take(part), values.take(part)))
    assert (forwards.count, forwards.digest) == (backwards.count, backwards.digest)
    assert forwards.differing(backwards) == []
    doubled.add(digests(keys), digests(keys, values))
    doubled.add(digests(keys.slice(17, 1)), digests(keys.slice(17, 1), values.slice(17, 1)))
    assert doubled.differing(forwards) == [canonical.cell(digests(keys.slice(17, 1))[0], canonical.CELLS)]


def test_keys_read_as_text() -> None:
    (key,) = canonical.canonical_rows([pa.array([7]), pa.array(["贵港"])]).to_pylist()
    assert canonical.key_text(key) == "1:76:贵港"


KINDS = [
    pa.bool_(),
    *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
    *(pa.float32(), pa.float64()),
    *(pa.decimal128(5, 0), pa.decimal128(18, 2), pa.decimal128(38, 10), pa.decimal128(38, 37), pa.decimal128(12, -2)),
    pa.decimal256(60, 3),
    *(pa.date32(), pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.timestamp("ms"), pa.timestamp("s")),
    *(pa.string(), pa.large_string(), pa.binary(), pa.large_binary(), pa.binary(3)),
    pa.dictionary(pa.int32(), pa.string()),
]


def values_of(kind: pa.DataType) -> st.SearchStrategy[object]:
    """Values of a type, the ends of its range among them; NULL too."""
    of = pa.types
    if of.is_dictionary(kind):
        return values_of(kind.value_type)
    if of.is_boolean(kind):
        return st.none() | st.booleans()
    if of.is_integer(kind):
        low = 0 if of.is_unsigned_integer(kind) else -(1 << (kind.bit_width - 1))
        return st.none() | st.integers(low, low + (1 << kind.bit_width) - 1)
    if of.is_floating(kind):
        return st.none() | st.floats(width=32 if kind == pa.float32() else 64)
    if of.is_decimal(kind):
        most = 10**kind.precision - 1
        return st.none() | (st.integers(-most, most) | st.integers(-3, 3)).map(lambda n: Decimal(n).scaleb(-kind.scale))
    if of.is_date32(kind):
        return st.none() | st.dates()
    if of.is_timestamp(kind):
        return st.none() | st.integers(-(10**9), 10**9)
    if of.is_fixed_size_binary(kind):
        return st.none() | st.binary(min_size=kind.byte_width, max_size=kind.byte_width)
    return st.none() | (st.binary(max_size=300) if of.is_binary(kind) or of.is_large_binary(kind) else st.text())


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_the_kernel_gives_the_bytes_of_the_definition_whatever_type_slice_and_nulls(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))
    rows = data.draw(st.integers(0, 20))
    before, after = data.draw(st.integers(0, 9)), data.draw(st.integers(0, 3))
    columns = []
    with localcontext() as context:
        context.prec = 80
        for kind in kinds:
            drawn = data.draw(st.lists(values_of(kind), min_size=rows + before + after, max_size=rows + before + after))
            columns.append(pa.array(drawn, kind).slice(before, rows))
    plain = digests(*columns)
    assert canonical.row_digests(columns).to_pylist() == plain
    assert [each.to_pylist() for each in canonical.column_digests(columns)] == [digests(each) for each in columns]
    keys = digests(columns[0])
    cells = 1 << data.draw(st.integers(0, 12))
    table = canonical.TableDigest(cells)
    table.add(keys, plain)
    digester = canonical.Digester(cells)
    middle = rows // 2
    for part in (slice(0, middle), slice(middle, rows)):
        digester.add([columns[0][part]], [column[part] for column in columns])
    assert digester.table() == table
    wanted = bytearray(
        data.draw(st.binary(min_size=cells, max_size=cells)) if cells <= 64 else bytes([0, 1]) * (cells // 2)
    )
    chosen = [place for place, key in enumerate(keys) if wanted[canonical.cell(key, cells)]]
    assert canonical.in_cells([columns[0]], wanted).to_pylist() == chosen


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_canonical_key_turns_back_into_its_columns(data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3))
    with localcontext() as context:
        context.prec = 80
        columns = [pa.array(data.draw(st.lists(values_of(kind), min_size=5, max_size=5)), kind) for kind in kinds]
    keys = canonical.canonical_rows(columns).to_pylist()
    again = canonical_keys.columns_of(keys, kinds)
    assert canonical.canonical_rows(again).to_pylist() == keys


def test_what_is_no_canonical_key_is_refused() -> None:
    for key in (b"", b"1", b"3:ab", b"x", b"1:a", b"2:1"):
        with pytest.raises(Malformed):
            canonical_keys.columns_of([key], [pa.int64()])
