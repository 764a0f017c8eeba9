"""Folding a load to one final change per key, and what the key encoding tells apart."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
import pytest

from forebay_collector.platform.iceberg.fields import columns_of, history_schema
from forebay_collector.platform.iceberg.fold import Folded, fold
from forebay_collector.platform.iceberg.keys import KeySet, encode, strictly_increasing
from forebay_collector.platform.iceberg.loadrows import rows_of
from forebay_collector.platform.iceberg.recent import Recent
from tests.contract.platform_batches import ENTERPRISE, Row, batch


def _folded(rows: list[Row]) -> Folded:
    schema = history_schema(ENTERPRISE.columns)
    key = [field for field in columns_of(schema) if field.name == "id"]
    return fold(rows_of([batch(1, rows)], schema), key)


def test_rows_with_each_key_once_are_taken_as_they_stand_in_whatever_order() -> None:
    for numbers in ([1, 2, 3], [3, 1, 2], []):
        folded = _folded([("r", {"id": number}) for number in numbers])
        assert folded.identity
        assert folded.upserts.column("id").to_pylist() == numbers


@pytest.mark.parametrize(
    "rows",
    [
        [("c", {"id": 1}), ("u", {"id": 1})],
        [("c", {"id": 1}), ("d", {"id": 2})],
        [("u", {"id": 1}, ["name"])],
    ],
)
def test_rows_that_need_folding_are_never_taken_as_they_stand(rows: list[Row]) -> None:
    assert not _folded(rows).identity


def test_every_touched_key_is_in_the_set_the_deleted_ones_too() -> None:
    folded = _folded([("c", {"id": 1}), ("d", {"id": 2}), ("u", {"id": 1}), ("d", {"id": 2})])
    assert sorted(folded.keys.encoded.to_pylist()) == [1, 2]
    assert folded.upserts.column("_row").to_pylist() == [2]


def test_encoded_keys_are_equal_only_where_all_their_parts_are() -> None:
    texts = ["", "1", "1:", ":1", "~", "1|", None]
    numbers = [0, 1, 11, -1, None]
    pairs = [(text, number) for text in texts for number in numbers]
    columns = [pa.array([text for text, _ in pairs]), pa.array([number for _, number in pairs], pa.int64())]
    assert len(set(encode(columns).to_pylist())) == len(pairs)
    assert len(set(encode([columns[0], columns[0]]).to_pylist())) == len(texts)


def test_a_set_finds_each_of_its_keys_and_no_other() -> None:
    schema = history_schema(ENTERPRISE.columns)
    key = [field for field in columns_of(schema) if field.name in ("id", "capital")]
    mine = [pa.array([1, 2]), pa.array([Decimal("1.00"), Decimal("2.00")], pa.decimal128(18, 2))]
    found = KeySet.of(key, mine).find(
        [
            pa.array([1, 1, 2, 2, None]),
            pa.array([Decimal("1.00"), Decimal("2.00"), Decimal("2.00"), None, None], pa.decimal128(18, 2)),
        ]
    )
    assert found.to_pylist() == [0, 2]


@pytest.mark.parametrize(
    ("columns", "rising"),
    [
        ([[1, 2, 3]], True),
        ([[1, 2, 2]], False),
        ([[1, None, 2]], False),
        ([[1, 1, 2], [1, 2, 0]], True),
        ([[1, 1, 2], [2, 2, 0]], False),
        ([[2, 1], [1, 2]], False),
        ([[1]], True),
    ],
)
def test_only_keys_that_rise_at_each_row_count_as_rising(columns: list[list[int | None]], rising: bool) -> None:
    assert strictly_increasing([pa.array(column, pa.int64()) for column in columns]) is rising


def test_the_cache_never_holds_more_than_its_limit() -> None:
    cache: Recent[int, bytes] = Recent(100, len)
    made: list[int] = []

    def make(number: int, size: int) -> bytes:
        def fresh() -> bytes:
            made.append(number)
            return b"x" * size

        return cache.get(number, fresh)

    for number in range(10):
        make(number, 30)
        assert cache.weight <= 100
    make(9, 30)
    assert made == list(range(10)), "the newest is still held"
    make(0, 30)
    assert made[-1] == 0, "the oldest is not"
    assert len(make(50, 1_000)) == 1_000
    assert cache.weight <= 100
