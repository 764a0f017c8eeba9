"""What every platform promises about when readers see what was loaded: whole states only, however it arrives."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from forebay_collector.platform.contract import OpenedBatch, Platform, PlatformError, PlatformMark
from forebay_wire.key_range import KeyRange
from tests.contract.platform_batches import STREAM, Row, ask, batch, compact, mirror, row_of, schema


def ids(platform: Platform) -> list[int]:
    return [row["id"] for row in mirror(platform)]


def test_a_table_that_is_taken_anew_is_shown_as_it_was_until_its_snapshot_ends(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [("r", row_of(number, "old")) for number in range(4)], last=True)])
    held = [batch(1, [("r", row_of(1, "new"))], epoch=2), batch(2, [("c", row_of(9, "new"))], epoch=2)]
    assert platform.apply(STREAM, held) == PlatformMark(2, 2)
    assert mirror(platform) == [row_of(number, "old") for number in range(4)]
    assert (platform.mark(STREAM), platform.visible(STREAM)) == (PlatformMark(2, 2), PlatformMark(1, 1))
    assert ask(platform, "SELECT count(*) AS n FROM enterprise") == [{"n": 4}]
    assert ask(platform, "SELECT count(*) AS n FROM enterprise_changes") == [{"n": 6}], "the history goes on"
    assert {table.kind: (table.rows, table.mark) for table in platform.tables()} == {
        "mirror": (4, PlatformMark(1, 1)),
        "changes": (6, PlatformMark(2, 2)),
    }
    assert platform.apply(STREAM, [batch(3, [("r", row_of(2, "new"))], epoch=2, last=True)]) == PlatformMark(2, 3)
    assert mirror(platform) == [row_of(1, "new"), row_of(2, "new"), row_of(9, "new")]
    assert platform.visible(STREAM) == PlatformMark(2, 3)
    platform.apply(STREAM, [batch(4, [("d", row_of(2))], epoch=2)])
    assert ids(platform) == [1, 9]


def test_the_first_snapshot_of_a_stream_is_shown_as_it_grows(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [("r", row_of(1))], snapshot=1)])
    assert ids(platform) == [1]
    platform.apply(STREAM, [batch(2, [("r", row_of(2))], snapshot=1, last=True)])
    assert ids(platform) == [1, 2]


def test_what_is_held_survives_a_platform_opened_again_and_replays(opened: Callable[[], Platform]) -> None:
    first = opened()
    first.apply(STREAM, [batch(1, [("r", row_of(number, "old")) for number in range(4)], last=True)])
    held = [batch(seq, [("r", row_of(seq, "new"))], epoch=2) for seq in range(1, 4)]
    first.apply(STREAM, held[:2])
    first.close()
    second = opened()
    assert second.mark(STREAM) == PlatformMark(2, 2)
    assert second.apply(STREAM, held) == PlatformMark(2, 3)
    assert ids(second) == [0, 1, 2, 3]
    second.apply(STREAM, [*held, batch(4, [], epoch=2, last=True)])
    assert mirror(second) == [row_of(seq, "new") for seq in range(1, 4)]
    assert ask(second, "SELECT count(*) AS n FROM enterprise_changes") == [{"n": 7}]


def test_a_further_epoch_begins_again_from_nothing(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [("r", row_of(0, "old"))], last=True)])
    platform.apply(STREAM, [batch(1, [("r", row_of(number, "second")) for number in range(5)], epoch=2)])
    compact(platform)
    platform.apply(STREAM, [batch(1, [("r", row_of(7, "third"))], epoch=3)])
    compact(platform)
    assert mirror(platform) == [row_of(0, "old")]
    platform.apply(STREAM, [batch(2, [("u", {"id": 1, "name": "x"}, ["capital"])], epoch=3, last=True)])
    assert mirror(platform) == [row_of(1, "x", None), row_of(7, "third")]


def test_a_truncated_table_is_shown_empty_in_one_commit(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [("r", row_of(1))])])
    platform.apply(STREAM, [batch(1, [], epoch=2, last=True), batch(2, [("c", row_of(2))], epoch=2)])
    assert ids(platform) == [2]
    platform.apply(STREAM, [batch(1, [], epoch=3, last=True)])
    assert ids(platform) == []
    assert platform.visible(STREAM) == PlatformMark(3, 1)


def test_a_stream_that_begins_with_a_later_epoch_is_shown_when_its_snapshot_ends(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [], epoch=2)])
    platform.apply(STREAM, [batch(2, [("r", row_of(1))], epoch=2)])
    assert (ids(platform), platform.visible(STREAM), platform.mark(STREAM)) == (
        [],
        PlatformMark(),
        PlatformMark(2, 2),
    )
    assert platform.apply(STREAM, [batch(3, [], epoch=2, last=True)]) == PlatformMark(2, 3)
    assert ids(platform) == [1]


def test_what_is_held_is_compacted_and_what_is_shown_stays(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [("r", row_of(number, "old")) for number in range(50)], last=True)])
    for seq in range(1, 12):
        rows = [("r", row_of(number, str(seq))) for number in range(seq, 50, 7)]
        platform.apply(STREAM, [batch(seq, [*rows, ("d", row_of(seq))], epoch=2)])
        platform.maintain(STREAM)
        assert mirror(platform) == sorted((row_of(number, "old") for number in range(50)), key=repr)
    expected: dict[int, dict[str, Any]] = {}
    for seq in range(1, 12):
        expected |= {number: row_of(number, str(seq)) for number in range(seq, 50, 7)}
        expected.pop(seq, None)
    platform.apply(STREAM, [batch(12, [], epoch=2, last=True)])
    assert mirror(platform) == sorted(expected.values(), key=repr)


def test_a_transaction_is_shown_whole_however_many_loads_it_takes(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [("r", row_of(1, "a", "1.00")), ("r", row_of(2, "a"))])])
    load = [batch(2, [("u", row_of(1, "b"))]), batch(3, [("d", row_of(2))], ends=False)]
    assert platform.apply(STREAM, load) == PlatformMark(1, 3)
    assert mirror(platform) == [row_of(1, "b"), row_of(2, "a")], "what was whole before is shown"
    assert platform.visible(STREAM) == PlatformMark(1, 2)
    platform.apply(STREAM, [batch(4, [("u", {"id": 1, "name": "c"}, ["capital"])], ends=False)])
    compact(platform)
    assert platform.apply(STREAM, [batch(5, [], ends=False)]) == PlatformMark(1, 5)
    assert ids(platform) == [1, 2]
    assert platform.apply(STREAM, [batch(6, [("c", row_of(3))])]) == PlatformMark(1, 6)
    assert mirror(platform) == [row_of(1, "c"), row_of(3)]
    assert platform.visible(STREAM) == PlatformMark(1, 6)


def test_a_transaction_that_begins_a_stream_is_shown_whole(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [("c", row_of(1))], ends=False)])
    platform.apply(STREAM, [batch(2, [], ends=False)])
    assert ids(platform) == []
    platform.apply(STREAM, [batch(3, [])])
    assert ids(platform) == [1]


def test_a_transaction_that_an_epoch_ends_is_let_go_with_it(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [("c", row_of(1))])])
    platform.apply(STREAM, [batch(2, [("c", row_of(2))], ends=False), batch(1, [("r", row_of(3))], epoch=2)])
    assert ids(platform) == [1]
    platform.apply(STREAM, [batch(2, [("c", row_of(4))], epoch=2, last=True, ends=False)])
    assert ids(platform) == [1], "the snapshot is whole, the transaction is not"
    platform.apply(STREAM, [batch(3, [("c", row_of(5))], epoch=2)])
    assert ids(platform) == [3, 4, 5]


def test_columns_that_come_while_the_mirror_is_held_are_shown_with_what_brings_them(platform: Platform) -> None:
    wider = schema({"id": pa.int64(), "name": pa.string(), "capital": pa.decimal128(18, 2), "x": pa.int32()})
    platform.apply(STREAM, [batch(1, [("r", row_of(1))])])
    platform.apply(STREAM, [batch(2, [], wider, ends=False)])
    platform.apply(STREAM, [batch(3, [("c", {**row_of(2), "x": 7})], wider, ends=False)])
    assert mirror(platform) == [row_of(1)]
    assert ask(platform, "SELECT * FROM enterprise")[0].keys().isdisjoint({"x"})
    platform.apply(STREAM, [batch(4, [], wider)])
    assert mirror(platform) == [{**row_of(1), "x": None}, {**row_of(2), "x": 7}]
    platform.apply(STREAM, [batch(1, [("r", row_of(3))], epoch=2, last=True)])
    assert mirror(platform) == [row_of(3)]


def test_absent_columns_are_found_in_what_is_held(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [("r", row_of(1, "old", "9.00")), ("r", row_of(2, "old", "9.00"))])])
    platform.apply(STREAM, [batch(1, [("r", row_of(1, "new", "7.00"))], epoch=2)])
    held: list[Row] = [
        ("u", {"id": 1, "name": "x"}, ["capital"]),
        ("u", {"id": 2, "name": "y"}, ["capital"]),
        ("c", row_of(3, "z", "3.00")),
    ]
    platform.apply(STREAM, [batch(2, held, epoch=2)])
    fills: list[Row] = [("u", {"id": 2, "capital": Decimal("4.00")}, ["name"]), ("u", {"id": 3}, ["name", "capital"])]
    platform.apply(STREAM, [batch(3, fills, epoch=2, last=True)])
    assert mirror(platform) == [row_of(1, "x", "7.00"), row_of(2, "y", "4.00"), row_of(3, "z", "3.00")]


def ranged(
    seq: int,
    rows: list[Any],
    bounds: KeyRange,
    first_seq: int,
    *,
    last: bool = False,
    snapshot: int = 2,
    epoch: int = 1,
) -> OpenedBatch:
    return batch(seq, rows, epoch=epoch, last=last, snapshot=snapshot, within=bounds, first_seq=first_seq)


def test_a_range_is_shown_as_its_snapshot_found_it_in_one_commit(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [("r", row_of(number, "old")) for number in range(10)], snapshot=1, last=True)])
    bounds = KeyRange("3", "6")
    platform.apply(STREAM, [batch(2, [("u", row_of(6, "log"))]), ranged(3, [("r", row_of(3, "new"))], bounds, 2)])
    platform.apply(STREAM, [batch(4, [("u", row_of(9, "log")), ("c", row_of(33, "log"))])])
    assert {row["name"] for row in mirror(platform)} == {"old", "log"}
    assert 33 not in ids(platform)
    assert platform.visible(STREAM) == PlatformMark(1, 2), "what came before the range's first batch"
    end = ranged(5, [("r", row_of(44, "new")), ("r", row_of(5, "new"))], bounds, 2, last=True)
    assert platform.apply(STREAM, [end, batch(6, [("u", {"id": 4, "name": "late"}, ["capital"])])]) == PlatformMark(
        1, 6
    )
    found = {row["id"]: (row["name"], row["capital"]) for row in mirror(platform)}
    assert found[4] == ("late", None), "the row that left is not seen by what follows"
    assert {number: name for number, (name, _) in found.items() if number != 4} == {
        **dict.fromkeys((0, 1, 2, 7, 8), "old"),
        **dict.fromkeys((6, 9, 33), "log"),
        **dict.fromkeys((3, 5, 44), "new"),
    }
    assert platform.visible(STREAM) == PlatformMark(1, 6)


@pytest.mark.parametrize(
    ("bounds", "left"),
    [
        (KeyRange("3", None), {0, 1, 2}),
        (KeyRange(None, "3"), set(range(4, 10))),
        (KeyRange(None, None), set()),
        (KeyRange("-9223372036854775808", "9223372036854775807"), set()),
        (KeyRange("100", "200"), set(range(10))),
        (KeyRange("4", "3"), set(range(10))),
    ],
)
def test_bounds_are_inclusive_and_may_be_missing(platform: Platform, bounds: KeyRange, left: set[int]) -> None:
    platform.apply(STREAM, [batch(1, [("r", row_of(number)) for number in range(10)])])
    platform.apply(STREAM, [ranged(2, [], bounds, 2, last=True)])
    assert set(ids(platform)) == left


@pytest.mark.parametrize(
    ("kind", "values", "bounds"),
    [
        (pa.int32(), [-5, 0, 7], KeyRange("0", "6")),
        (
            pa.decimal128(38, 10),
            [Decimal("-1"), Decimal("1.5"), Decimal("2")],
            KeyRange("-0.9999999999", "1.5000000000"),
        ),
        (pa.decimal128(9, 2), [Decimal("-1"), Decimal("1.5"), Decimal("2")], KeyRange("1.50", "1.50")),
        (
            pa.date32(),
            [dt.date(1, 1, 1), dt.date(2026, 2, 28), dt.date(9999, 12, 31)],
            KeyRange("2000-01-01", "2026-02-28"),
        ),
        (
            pa.timestamp("us"),
            [dt.datetime(1000, 1, 1), dt.datetime(2026, 1, 1, 1, 2, 3, 4), dt.datetime(9999, 12, 31)],
            KeyRange("2026-01-01 01:02:03.000004", "2026-01-01 01:02:03.000004"),
        ),
        (
            pa.timestamp("us", "UTC"),
            [dt.datetime(y, 1, 1, 1, tzinfo=dt.UTC) for y in (1000, 2026, 9999)],
            KeyRange("2026-01-01 01:00:00.000000", "2026-01-01 01:00:00.000000"),
        ),
    ],
    ids=str,
)
def test_ranges_are_of_every_type_that_has_an_order_of_its_own(
    platform: Platform, kind: pa.DataType, values: list[Any], bounds: KeyRange
) -> None:
    described = schema({"k": kind, "n": pa.int32()}, ["k", "n"])
    rows: list[Any] = [("r", {"k": value, "n": number}) for value in values for number in (1, 2)]
    platform.apply(STREAM, [batch(1, rows, described)])
    platform.apply(STREAM, [batch(2, [rows[2]], described, last=True, snapshot=2, within=bounds, first_seq=2)])
    assert mirror(platform) == sorted((row[1] for row in (*rows[:3], *rows[4:])), key=repr)


@pytest.mark.parametrize(
    ("kind", "bounds"),
    [
        (pa.string(), KeyRange("a", "b")),
        (pa.float64(), KeyRange("1", "2")),
        (pa.int32(), KeyRange("x", None)),
        (pa.int32(), KeyRange(None, "9999999999")),
        (pa.date32(), KeyRange("2026-02-30", None)),
        (pa.decimal128(9, 2), KeyRange("", None)),
    ],
    ids=str,
)
def test_a_range_that_the_key_cannot_have_is_refused_before_anything_is_held(
    platform: Platform, kind: pa.DataType, bounds: KeyRange
) -> None:
    described = schema({"k": kind}, ["k"])
    platform.apply(STREAM, [batch(1, [], described)])
    with pytest.raises(PlatformError) as refused:
        platform.apply(STREAM, [batch(2, [], described, snapshot=2, within=bounds, first_seq=2)])
    assert (refused.value.permanent, refused.value.code) == (True, "FB-PLATFORM-RANGE")
    assert platform.mark(STREAM) == PlatformMark(1, 1)


def test_a_range_that_begins_again_takes_the_place_of_the_one_before(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [("r", row_of(number, "old")) for number in range(4)])])
    platform.apply(STREAM, [ranged(2, [("r", row_of(1, "two"))], KeyRange("0", "3"), 2)])
    platform.apply(STREAM, [ranged(3, [("r", row_of(2, "three"))], KeyRange("2", "3"), 3, snapshot=3)])
    assert {row["name"] for row in mirror(platform)} == {"old"}
    platform.apply(STREAM, [ranged(4, [], KeyRange("2", "3"), 3, snapshot=3, last=True)])
    assert mirror(platform) == [row_of(0, "old"), row_of(1, "two"), row_of(2, "three")]


def test_a_range_within_a_later_epoch_spares_what_the_epochs_snapshot_told_of_since(platform: Platform) -> None:
    platform.apply(STREAM, [batch(9, [("r", row_of(1, "old"))])])
    platform.apply(STREAM, [batch(1, [("r", row_of(1)), ("r", row_of(2))], epoch=2, last=True)])
    platform.apply(STREAM, [ranged(3, [("r", row_of(2))], KeyRange("1", "5"), 2, last=True, epoch=2)])
    assert ids(platform) == [2]
