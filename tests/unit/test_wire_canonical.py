"""Promises of canonical rows: equal rows share a digest, no two different rows do, order does not matter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay_wire import canonical


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
