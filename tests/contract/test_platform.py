"""What every platform promises about loading. A new implementation joins by one line in `conftest.PLATFORMS`."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from forebay_collector.platform.contract import Platform, PlatformError, PlatformMark
from tests.contract.platform_batches import STREAM, ask, batch, compact, mirror, row_of, schema


def test_a_stream_that_was_never_loaded_has_no_mark_and_no_rows(platform: Platform) -> None:
    assert platform.mark(STREAM) == PlatformMark(0, 0)
    assert mirror(platform) == []
    assert platform.tables() == []
    assert platform.maintain(STREAM) is False


def test_a_load_is_in_history_and_mirror_and_the_mark_says_so(platform: Platform) -> None:
    assert platform.apply(
        STREAM, [batch(1, [("r", row_of(1)), ("r", row_of(2))]), batch(2, [("u", row_of(2, "乙"))])]
    ) == (PlatformMark(1, 2))
    assert platform.mark(STREAM) == PlatformMark(1, 2)
    assert mirror(platform) == [row_of(1), row_of(2, "乙")]
    history = ask(platform, "SELECT _op, id, name, _epoch, _seq, _row FROM enterprise_changes ORDER BY _seq, _row")
    assert [tuple(row.values()) for row in history] == [
        ("r", 1, "甲", 1, 1, 0),
        ("r", 2, "甲", 1, 1, 1),
        ("u", 2, "乙", 1, 2, 0),
    ]


def test_a_platform_opened_again_knows_what_it_holds(opened: Callable[[], Platform]) -> None:
    first = opened()
    first.apply(STREAM, [batch(1, [("c", row_of(1))])])
    first.close()
    second = opened()
    assert second.mark(STREAM) == PlatformMark(1, 1)
    assert mirror(second) == [row_of(1)]


def test_a_batch_has_one_effect_however_often_it_is_applied(platform: Platform) -> None:
    first, second = batch(1, [("c", row_of(1))]), batch(2, [("u", row_of(1, "乙")), ("c", row_of(2))])
    platform.apply(STREAM, [first, second])
    for again in ([first], [first, second], [second]):
        assert platform.apply(STREAM, again) == PlatformMark(1, 2)
    assert platform.apply(STREAM, [second, batch(3, [("d", row_of(2))])]) == PlatformMark(1, 3)
    assert mirror(platform) == [row_of(1, "乙")]
    assert ask(platform, "SELECT count(*) AS n FROM enterprise_changes") == [{"n": 4}]


def test_an_old_batch_never_overwrites_a_newerrow_of(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [("c", row_of(1, "old"))]), batch(2, [("u", row_of(1, "new"))])])
    platform.apply(STREAM, [batch(1, [("c", row_of(1, "old"))])])
    assert mirror(platform) == [row_of(1, "new")]


def test_an_empty_batch_moves_the_mark_and_nothing_else(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [("c", row_of(1))])])
    assert platform.apply(STREAM, [batch(2, [])]) == PlatformMark(1, 2)
    assert mirror(platform) == [row_of(1)]


def test_batches_out_of_order_are_refused_and_change_nothing(platform: Platform) -> None:
    with pytest.raises(PlatformError) as refused:
        platform.apply(STREAM, [batch(2, [("c", row_of(1))]), batch(1, [("c", row_of(2))])])
    assert refused.value.permanent
    assert platform.mark(STREAM) == PlatformMark(0, 0)


def test_the_last_change_of_a_key_wins_within_a_load_and_across_loads(platform: Platform) -> None:
    platform.apply(
        STREAM, [batch(1, [("c", row_of(1, "a")), ("u", row_of(1, "b"))]), batch(2, [("u", row_of(1, "c"))])]
    )
    assert mirror(platform) == [row_of(1, "c")]
    platform.apply(
        STREAM, [batch(3, [("d", row_of(1)), ("c", row_of(1, "d"))]), batch(4, [("c", row_of(2)), ("d", row_of(2))])]
    )
    assert mirror(platform) == [row_of(1, "d")]


def test_a_delete_takes_its_row_and_a_delete_of_nothing_takes_none(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [("r", row_of(number)) for number in range(5)])])
    platform.apply(STREAM, [batch(2, [("d", {"id": 3}), ("d", {"id": 99})])])
    platform.apply(STREAM, [batch(3, [("d", {"id": 3})])])
    assert [row["id"] for row in mirror(platform)] == [0, 1, 2, 4]


def test_every_row_of_a_mirror_can_leave_and_come_back(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [("r", row_of(number)) for number in range(3)])])
    platform.apply(STREAM, [batch(2, [("d", row_of(number)) for number in range(3)])])
    assert mirror(platform) == []
    platform.apply(STREAM, [batch(3, [("c", row_of(1))])])
    assert mirror(platform) == [row_of(1)]


def test_a_key_that_changes_leaves_no_row_under_the_old_one(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [("r", row_of(1, "a")), ("r", row_of(2, "b"))])])
    platform.apply(
        STREAM, [batch(2, [("d", row_of(1)), ("c", row_of(2, "a")), ("d", row_of(2)), ("c", row_of(3, "b"))])]
    )
    assert mirror(platform) == [row_of(3, "b")]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (pa.string(), ["", "a", "A", "é", "中", "𠮷", "x" * 500, "x" * 501, "\U0010ffff" * 70]),
        (pa.binary(), [b"", b"\x00", b"\xff" * 70, b"\xff" * 71, bytes(range(256))]),
        (pa.decimal128(38, 10), [Decimal("-1.5000000000"), Decimal("0E-10"), Decimal("9" * 28 + ".9999999999")]),
        (pa.decimal128(9, 2), [Decimal("-1.50"), Decimal("0.00"), Decimal("9999999.99")]),
        (pa.timestamp("us"), [dt.datetime(1000, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999)]),
        (pa.date32(), [dt.date(1, 1, 1), dt.date(1970, 1, 1), dt.date(9999, 12, 31)]),
        (pa.int32(), [-(2**31), -1, 0, 2**31 - 1]),
        (pa.int64(), [-(2**63), -1, 0, 2**63 - 1]),
        (pa.bool_(), [True, False]),
        (pa.float64(), [-1.5, 0.0, 1e300]),
    ],
    ids=str,
)
def test_keys_of_every_type_are_found_again(platform: Platform, kind: pa.DataType, values: list[Any]) -> None:
    described = schema({"k": kind, "n": pa.int32()}, ["k"])
    platform.apply(STREAM, [batch(1, [("r", {"k": value, "n": 1}) for value in values], described)])
    for seq, value in enumerate(values, 2):
        platform.apply(STREAM, [batch(seq, [("u", {"k": value, "n": seq})], described)])
    expected = [{"k": value, "n": seq} for seq, value in enumerate(values, 2)]
    assert mirror(platform) == sorted(expected, key=repr)
    compact(platform)
    assert mirror(platform) == sorted(expected, key=repr)
    platform.apply(STREAM, [batch(99, [("d", {"k": value}) for value in values], described)])
    assert mirror(platform) == []


def test_composite_keys_that_look_alike_are_different_keys(platform: Platform) -> None:
    described = schema({"a": pa.string(), "b": pa.string(), "c": pa.int32(), "n": pa.int32()}, ["a", "b", "c"])
    keys = [
        ("1:a", "", 1),
        ("1", ":a", 1),
        ("", "1:a", 1),
        ("a", "b", 11),
        ("a", "b1", 1),
        ("ab", "", 11),
        ("a", "b", 1),
    ]
    rows = [{"a": a, "b": b, "c": c, "n": 0} for a, b, c in keys]
    platform.apply(STREAM, [batch(1, [("r", row) for row in rows], described)])
    for seq in range(2, 2 + len(rows)):
        rows[seq - 2]["n"] = seq
        platform.apply(STREAM, [batch(seq, [("u", rows[seq - 2])], described)])
        assert mirror(platform) == sorted(rows, key=repr)
    platform.apply(STREAM, [batch(50, [("d", row) for row in rows[::2]], described)])
    assert mirror(platform) == sorted(rows[1::2], key=repr)


def test_an_absent_column_keeps_what_the_mirror_has(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [("r", row_of(1, "甲", "7.00")), ("r", row_of(2, "乙", "8.00"))])])
    platform.apply(STREAM, [batch(2, [("u", {"id": 1, "name": "丙"}, ["capital"])])])
    assert mirror(platform) == [row_of(1, "丙", "7.00"), row_of(2, "乙", "8.00")]


def test_an_absent_column_takes_what_the_same_load_gave_before(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [("r", row_of(1, "甲", "7.00")), ("r", row_of(3, "丁", "9.00"))])])
    platform.apply(
        STREAM,
        [
            batch(2, [("u", row_of(1, "乙", "8.00")), ("u", {"id": 1, "name": "丙"}, ["capital"])]),
            batch(3, [("u", {"id": 1, "capital": Decimal("9.00")}, ["name"])]),
            batch(4, [("d", {"id": 3}), ("c", {"id": 3, "name": "戊"}, ["capital"])]),
            batch(5, [("u", {"id": 4, "name": "己"}, ["capital"])]),
        ],
    )
    assert mirror(platform) == [row_of(1, "丙", "9.00"), row_of(3, "戊", None), row_of(4, "己", None)]


def test_an_epoch_may_begin_and_end_within_one_load(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [("r", row_of(1, "old")), ("r", row_of(2, "old"))])])
    platform.apply(
        STREAM,
        [
            batch(2, [("c", row_of(3, "old")), ("u", row_of(2, "old"))]),
            batch(1, [("r", row_of(2, "new"))], epoch=2),
            batch(2, [], epoch=2, last=True),
            batch(3, [("c", row_of(4, "new"))], epoch=2),
        ],
    )
    assert mirror(platform) == [row_of(2, "new"), row_of(4, "new")]


def test_an_empty_snapshot_of_a_new_epoch_empties_the_mirror(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [("r", row_of(1))])])
    platform.apply(STREAM, [batch(1, [], epoch=2, last=True)])
    assert mirror(platform) == []


def test_a_new_column_is_added_and_old_rows_have_none(platform: Platform) -> None:
    wider = schema({"id": pa.int64(), "电话": pa.string(), "name": pa.string(), "capital": pa.decimal128(18, 2)})
    platform.apply(STREAM, [batch(1, [("r", row_of(1)), ("r", row_of(2))])])
    platform.apply(STREAM, [batch(2, [("u", {**row_of(2), "电话": "0775"})], wider)])
    expected = [{**row_of(1), "电话": None}, {**row_of(2), "电话": "0775"}]
    assert [{name: row[name] for name in expected[0]} for row in mirror(platform)] == expected
    assert ask(platform, 'SELECT id, "电话" FROM enterprise ORDER BY id') == [
        {"id": 1, "电话": None},
        {"id": 2, "电话": "0775"},
    ]
    assert ask(platform, 'SELECT count("电话") AS n FROM enterprise_changes') == [{"n": 1}]


def test_types_that_only_widen_are_widened_the_key_too(platform: Platform) -> None:
    narrow = schema({"id": pa.int32(), "f": pa.float32(), "d": pa.decimal128(5, 2)})
    wide = schema({"id": pa.int64(), "f": pa.float64(), "d": pa.decimal128(20, 2)})
    platform.apply(STREAM, [batch(1, [("r", {"id": n, "f": 1.5, "d": Decimal("1.00")}) for n in (1, 2)], narrow)])
    platform.apply(STREAM, [batch(2, [("u", {"id": 1, "f": 1e300, "d": Decimal("9" * 18)})], wide)])
    platform.apply(STREAM, [batch(3, [("c", {"id": 2**40, "f": 0.0, "d": None})], wide)])
    expected = [
        {"id": 1, "f": 1e300, "d": Decimal("9" * 18 + ".00")},
        {"id": 2**40, "f": 0.0, "d": None},
        {"id": 2, "f": 1.5, "d": Decimal("1.00")},
    ]
    assert mirror(platform) == sorted(expected, key=repr)
    assert ask(platform, "SELECT id, f, d FROM enterprise ORDER BY id")[1]["id"] == 2
    compact(platform)
    assert mirror(platform) == sorted(expected, key=repr)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"id": pa.int64(), "name": pa.int64(), "capital": pa.decimal128(18, 2)}, ("'name'", "string", "long")),
        ({"id": pa.int64(), "name": pa.string(), "capital": pa.decimal128(18, 3)}, ("'capital'", "(18, 2)", "(18, 3)")),
        ({"id": pa.int64(), "name": pa.string(), "capital": pa.float64()}, ("'capital'", "decimal", "double")),
        ({"id": pa.int64(), "name": pa.string()}, ("'capital'", "no longer")),
        ({"id": pa.int64(), "name": pa.large_string(), "capital": pa.decimal128(18, 2)}, ("'name'", "large_string")),
        ({"id": pa.int64(), "name": pa.string(), "capital": pa.decimal128(18, 2), "x": pa.uint8()}, ("'x'", "uint8")),
    ],
)
def test_a_change_that_is_not_additive_is_refused_by_name_and_leaves_everything_as_it_was(
    platform: Platform, columns: dict[str, pa.DataType], told: Sequence[str]
) -> None:
    platform.apply(STREAM, [batch(1, [("r", row_of(1))])])
    before = platform.tables()
    with pytest.raises(PlatformError) as refused:
        platform.apply(STREAM, [batch(2, [("c", row_of(2))]), batch(3, [("c", {"id": 3})], schema(columns))])
    assert refused.value.permanent
    assert all(word in str(refused.value) for word in told), str(refused.value)
    assert platform.tables() == before
    assert platform.apply(STREAM, [batch(2, [("c", row_of(2))])]) == PlatformMark(1, 2)


def test_a_column_may_leave_with_a_new_epoch(platform: Platform) -> None:
    platform.apply(STREAM, [batch(1, [("r", row_of(1))])])
    narrower = schema({"id": pa.int64(), "name": pa.string()})
    platform.apply(STREAM, [batch(1, [("r", {"id": 1, "name": "乙"})], narrower, epoch=2, last=True)])
    assert mirror(platform) == [{"id": 1, "name": "乙"}]


def test_a_key_changes_only_with_a_new_epoch(platform: Platform) -> None:
    by_name = schema({"id": pa.int64(), "name": pa.string(), "capital": pa.decimal128(18, 2)}, ["name"])
    platform.apply(STREAM, [batch(1, [("r", row_of(1, "a")), ("r", row_of(2, "b"))])])
    with pytest.raises(PlatformError, match="key"):
        platform.apply(STREAM, [batch(2, [("c", row_of(3))], by_name)])
    platform.apply(
        STREAM,
        [
            batch(2, [("c", row_of(3, "c"))]),
            batch(1, [("r", row_of(7, "a")), ("r", row_of(8, "a"))], by_name, epoch=2, last=True),
        ],
    )
    assert mirror(platform) == [row_of(8, "a")]


def test_a_table_without_a_key_has_a_history_only(platform: Platform) -> None:
    log = schema({"line": pa.string()}, [])
    assert platform.apply(STREAM, [batch(1, [("r", {"line": "x"}), ("r", {"line": "x"})], log)]) == PlatformMark(1, 1)
    assert [(table.kind, table.rows) for table in platform.tables()] == [("changes", 2)]
    assert mirror(platform) == []
    keyed = schema({"line": pa.string()}, ["line"])
    assert platform.apply(STREAM, [batch(1, [("r", {"line": "y"})], keyed, epoch=2, last=True)]) == PlatformMark(2, 1)
    assert mirror(platform) == [{"line": "y"}]
