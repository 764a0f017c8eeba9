"""What every platform promises about columns that change with a new epoch: the mirror has the new ones, the history all."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from forebay_collector.platform.contract import Platform, PlatformError, PlatformMark
from tests.contract.platform_batches import STREAM, ask, batch, compact, mirror, row_of, schema


def load(
    platform: Platform, epoch: int, columns: dict[str, pa.DataType], rows: list[dict[str, Any]], key: str = "id"
) -> None:
    """One epoch with a snapshot of these rows."""
    described = schema(columns, [key])
    platform.apply(STREAM, [batch(1, [("r", row) for row in rows], described, epoch=epoch, snapshot=1)])
    platform.apply(STREAM, [batch(2, [], described, epoch=epoch, last=True)])


def test_a_column_that_left_leaves_the_mirror_and_stays_in_the_history(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [("r", row_of(1, "甲"))])])
    load(platform, 2, {"id": pa.int64(), "capital": pa.decimal128(18, 2)}, [{"id": 1, "capital": Decimal("2.00")}])
    assert mirror(platform) == [{"id": 1, "capital": Decimal("2.00")}]
    assert ask(platform, "SELECT name, capital FROM enterprise_changes ORDER BY _epoch") == [
        {"name": "甲", "capital": Decimal("1.50")},
        {"name": None, "capital": Decimal("2.00")},
    ]
    load(platform, 3, {"name": pa.string(), "id": pa.int64()}, [{"id": 1, "name": "丙"}])
    assert mirror(platform) == [{"name": "丙", "id": 1}], "it comes back without its old values"
    compact(platform)
    assert mirror(platform) == [{"name": "丙", "id": 1}]
    assert [row["name"] for row in ask(platform, "SELECT name FROM enterprise_changes ORDER BY _epoch")] == [
        "甲",
        None,
        "丙",
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((pa.string(), "12"), (pa.int64(), 13)),
        ((pa.int64(), 12), (pa.string(), "13")),
        ((pa.decimal128(18, 2), Decimal("1.25")), (pa.decimal128(18, 3), Decimal("1.125"))),
        ((pa.date32(), dt.date(2026, 1, 2)), (pa.timestamp("us"), dt.datetime(2026, 1, 2, 3))),
        ((pa.binary(), b"\x00\xff"), (pa.string(), "文")),
        ((pa.bool_(), True), (pa.int32(), 7)),
    ],
    ids=str,
)
def test_a_retyped_column_keeps_its_old_values_under_another_name(
    platform: Platform, before: tuple[pa.DataType, Any], after: tuple[pa.DataType, Any]
) -> None:
    load(platform, 1, {"id": pa.int64(), "c": before[0]}, [{"id": 1, "c": before[1]}])
    load(platform, 2, {"id": pa.int64(), "c": after[0]}, [{"id": 1, "c": after[1]}, {"id": 2, "c": None}])
    expected = [{"id": 1, "c": after[1]}, {"id": 2, "c": None}]
    history = [
        {"c__epoch_1": before[1], "c": None},
        {"c__epoch_1": None, "c": after[1]},
        {"c__epoch_1": None, "c": None},
    ]
    for _ in range(2):
        assert mirror(platform) == expected
        assert ask(platform, "SELECT c__epoch_1, c FROM enterprise_changes ORDER BY _epoch, id") == history
        assert ask(platform, "SELECT id, c FROM enterprise ORDER BY id") == expected
        compact(platform)
    described = schema({"id": pa.int64(), "c": after[0]})
    platform.apply(STREAM, [batch(3, [("u", {"id": 2, "c": after[1]})], described, epoch=2)])
    platform.apply(STREAM, [batch(4, [("u", {"id": 1}, ["c"])], described, epoch=2)])
    assert [row["c"] for row in mirror(platform)] == [after[1], after[1]]


def test_a_retyped_column_that_can_be_widened_stays_one_column(platform: Platform) -> None:
    load(platform, 1, {"id": pa.int32(), "c": pa.float32()}, [{"id": 1, "c": 1.5}])
    load(platform, 2, {"id": pa.int64(), "c": pa.float64()}, [{"id": 2**40, "c": 1e300}])
    load(platform, 3, {"id": pa.int32(), "c": pa.float32()}, [{"id": 3, "c": 2.5}])
    assert mirror(platform) == [{"id": 3, "c": 2.5}]
    assert ask(platform, "SELECT id, c FROM enterprise_changes ORDER BY _epoch") == [
        {"id": 1, "c": 1.5},
        {"id": 2**40, "c": 1e300},
        {"id": 3, "c": 2.5},
    ]


def test_a_column_that_goes_to_and_fro_between_types_loses_no_value(platform: Platform) -> None:
    kinds = [(pa.string(), "a"), (pa.int32(), 1), (pa.string(), "b"), (pa.int32(), 2), (pa.int64(), 2**40)]
    for epoch, (kind, value) in enumerate(kinds, 1):
        load(platform, epoch, {"id": pa.int64(), "c": kind}, [{"id": 1, "c": value}])
        assert mirror(platform) == [{"id": 1, "c": value}]
    history = ask(platform, "SELECT c__epoch_1, c__epoch_2, c__epoch_3, c FROM enterprise_changes ORDER BY _epoch")
    assert [tuple(row.values()) for row in history] == [
        ("a", None, None, None),
        (None, 1, None, None),
        (None, None, "b", None),
        (None, None, None, 2),
        (None, None, None, 2**40),
    ]


def test_a_source_column_that_is_called_like_a_retired_one_takes_the_name(platform: Platform) -> None:
    load(platform, 1, {"id": pa.int64(), "c": pa.string()}, [{"id": 1, "c": "old"}])
    load(platform, 2, {"id": pa.int64(), "c": pa.int64()}, [{"id": 1, "c": 2}])
    both = {"id": pa.int64(), "c": pa.int64(), "c__epoch_1": pa.string()}
    described = schema(both)
    platform.apply(STREAM, [batch(3, [("u", {"id": 1, "c": 3, "c__epoch_1": "mine"})], described, epoch=2)])
    assert mirror(platform) == [{"id": 1, "c": 3, "c__epoch_1": "mine"}]
    load(
        platform,
        3,
        {"id": pa.int64(), "c": pa.bool_(), "c__epoch_2": pa.int32()},
        [{"id": 1, "c": True, "c__epoch_2": 9}],
    )
    assert mirror(platform) == [{"id": 1, "c": True, "c__epoch_2": 9}]
    names = [name for name in ask(platform, "SELECT * FROM enterprise_changes LIMIT 1")[0] if name[0] == "c"]
    assert sorted(names) == ["c", "c__epoch_1", "c__epoch_1_", "c__epoch_2", "c__epoch_2_"]
    history = ask(platform, f"SELECT {', '.join(sorted(names))} FROM enterprise_changes ORDER BY _epoch, _seq")
    assert [tuple(row.values()) for row in history] == [
        (None, None, "old", None, None),
        (None, None, None, None, 2),
        (None, "mine", None, None, 3),
        (True, None, None, 9, None),
    ]


def test_the_key_may_change_its_columns_and_their_types(platform: Platform) -> None:
    load(platform, 1, {"id": pa.int64(), "c": pa.string()}, [{"id": 1, "c": "a"}, {"id": 2, "c": "b"}])
    load(platform, 2, {"id": pa.string(), "c": pa.string()}, [{"id": "1", "c": "a"}])
    described = schema({"id": pa.string(), "c": pa.string()})
    platform.apply(STREAM, [batch(3, [("d", {"id": "1"}), ("c", {"id": "x", "c": "y"})], described, epoch=2)])
    assert mirror(platform) == [{"id": "x", "c": "y"}]
    load(platform, 3, {"id": pa.string(), "c": pa.string()}, [{"id": "1", "c": "a"}, {"id": "2", "c": "a"}], key="c")
    assert mirror(platform) == [{"id": "2", "c": "a"}]


def test_old_and_new_columns_in_one_load(platform: Platform) -> None:
    old, new = schema({"id": pa.int64(), "c": pa.string()}), schema({"id": pa.int64(), "c": pa.int32()})
    platform.apply(
        STREAM,
        [
            batch(1, [("r", {"id": 1, "c": "a"})], old),
            batch(2, [("c", {"id": 2, "c": "b"})], old),
            batch(1, [("r", {"id": 1, "c": 1})], new, epoch=2),
            batch(2, [("c", {"id": 3, "c": 3})], new, epoch=2, last=True),
            batch(1, [], old, epoch=3, last=True),
        ],
    )
    assert mirror(platform) == []
    names = "c__epoch_1, c__epoch_2, c"
    history = ask(platform, f"SELECT {names} FROM enterprise_changes ORDER BY _epoch, _seq")
    assert [tuple(row.values()) for row in history] == [
        ("a", None, None),
        ("b", None, None),
        (None, 1, None),
        (None, 3, None),
    ]


def test_a_type_changes_incompatibly_only_with_a_new_epoch(platform: Platform) -> None:
    load(platform, 1, {"id": pa.int64(), "c": pa.string()}, [{"id": 1, "c": "a"}])
    load(platform, 2, {"id": pa.int64(), "c": pa.int32()}, [{"id": 1, "c": 5}])
    with pytest.raises(PlatformError) as refused:
        platform.apply(STREAM, [batch(3, [], schema({"id": pa.int64(), "c": pa.string()}), epoch=2)])
    assert refused.value.permanent
    assert (platform.mark(STREAM), mirror(platform)) == (PlatformMark(2, 2), [{"id": 1, "c": 5}])


def test_columns_of_a_mirror_that_never_had_a_row_leave_as_well(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [])])
    fewer = schema({"id": pa.string(), "x": pa.int32()})
    platform.apply(STREAM, [batch(1, [], fewer, epoch=2)])
    platform.apply(STREAM, [batch(2, [], fewer, epoch=2)])
    platform.apply(STREAM, [batch(3, [("r", {"id": "1", "x": 2})], fewer, epoch=2, last=True)])
    assert mirror(platform) == [{"id": "1", "x": 2}]
