"""A mirror that is held, on real files: what is gathered is kept, kept small, hidden from every reader, and cleaned up."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from forebay_collector.platform.contract import PlatformError, PlatformMark
from tests.contract.platform_batches import STREAM, ask, batch, mirror, row_of, schema
from tests.faults.lake import Lake, Marks
from tests.loading.lake import Clock, files_of, foreign_table, open_platform, snapshots_of


def test_a_table_taken_anew_leaves_nothing_of_what_it_was(tmp_path: Path) -> None:
    clock = Clock()
    platform = open_platform(tmp_path, clock, keep_snapshots=2, grace_s=300, orphan_age_s=10**9, sweep_every_s=10**9)
    for seq in range(1, 6):
        platform.apply(STREAM, [batch(seq, [("r", row_of(number, str(seq))) for number in range(seq, 20)])])
    before = _mirrors_data(tmp_path)
    for seq in range(1, 30):
        platform.apply(STREAM, [batch(seq, [("r", row_of(seq))], epoch=2, last=seq == 29)])
        platform.maintain(STREAM)
        clock.now += 10
    assert before & _mirrors_data(tmp_path), "a reader may have opened it just before"
    for seq in range(30, 45):
        platform.apply(STREAM, [batch(seq, [("u", row_of(1, str(seq)))], epoch=2)])
        platform.maintain(STREAM)
        clock.now += 100
    assert not before & _mirrors_data(tmp_path)
    assert len(snapshots_of(tmp_path)) <= 8
    assert len(mirror(platform)) == 29
    platform.close()


def test_what_was_gathered_for_nothing_is_cleaned_up_and_what_is_gathered_stays(tmp_path: Path) -> None:
    clock = Clock()
    platform = open_platform(tmp_path, clock, keep_snapshots=2, grace_s=300, orphan_age_s=600, sweep_every_s=60)
    platform.apply(STREAM, [batch(1, [("r", row_of(number)) for number in range(10)], last=True)])
    shown = mirror(platform)
    for seq in range(1, 30):
        platform.apply(STREAM, [batch(seq, [("r", row_of(seq)), ("u", row_of(1, str(seq)))], epoch=2)])
        platform.maintain(STREAM)
        clock.now += 100
    assert len(snapshots_of(tmp_path)) <= 8, "the metadata stays small however long it takes"
    gathered = _mirrors_data(tmp_path)
    platform.apply(STREAM, [batch(1, [("r", row_of(99, "third"))], epoch=3)])
    for _ in range(20):
        clock.now += 100
        platform.maintain(STREAM)
        assert mirror(platform) == shown
    left = _mirrors_data(tmp_path)
    assert len(gathered & left) == 1, "what is shown"
    assert len(left) == 2, "and the new epoch's"
    platform.apply(STREAM, [batch(2, [], epoch=3, last=True)])
    assert mirror(platform) == [row_of(99, "third")]
    assert len(ask(platform, "SELECT * FROM enterprise_changes")) == 10 + 58 + 1
    platform.close()


def _mirrors_data(folder: Path) -> set[Path]:
    return {path for path in files_of(folder) if path.parts[-3] == "enterprise" and path.suffix == ".parquet"}


def test_a_long_snapshot_that_is_gathered_is_swept_by_nobody(tmp_path: Path) -> None:
    clock = Clock()
    platform = open_platform(tmp_path, clock, keep_snapshots=1, grace_s=0, orphan_age_s=0, sweep_every_s=0)
    platform.apply(STREAM, [batch(1, [("r", row_of(number)) for number in range(10)], last=True)])
    for seq in range(1, 40):
        rows: list[Any] = [("r", row_of(number, str(seq))) for number in range(seq, seq + 5)]
        platform.apply(STREAM, [batch(seq, rows, epoch=2)])
        clock.now += 10**6
        platform.maintain(STREAM)
    platform.apply(STREAM, [batch(40, [], epoch=2, last=True)])
    expected = {number: row_of(number, str(min(number, 39))) for number in range(1, 44)}
    assert mirror(platform) == sorted(expected.values(), key=repr)
    table = foreign_table(tmp_path)
    assert set(table.metadata.refs) == {"main"}
    assert len(table.scan().to_arrow()) == 43
    table.catalog.close()
    platform.close()


def test_foreign_readers_see_what_is_shown_and_its_columns(tmp_path: Path) -> None:
    platform = open_platform(tmp_path, Clock())
    platform.apply(STREAM, [batch(1, [("r", row_of(number)) for number in range(4)], last=True)])
    other = schema({"id": pa.string(), "x": pa.int32()})
    platform.apply(STREAM, [batch(1, [("r", {"id": "1", "x": 1})], other, epoch=2)])
    table = foreign_table(tmp_path)
    rows = table.scan().to_arrow()
    assert rows.column_names[:3] == ["id", "name", "capital"]
    assert rows.num_rows == 4
    table.catalog.close()
    platform.apply(STREAM, [batch(2, [], other, epoch=2, last=True)])
    table = foreign_table(tmp_path)
    assert table.scan().to_arrow().select(["id", "x"]).to_pylist() == [{"id": "1", "x": 1}]
    table.catalog.close()
    platform.close()


def test_another_writers_commit_lets_go_of_what_waited_and_a_new_epoch_of_the_other_writers(tmp_path: Path) -> None:
    platform = open_platform(tmp_path, Clock())
    platform.apply(STREAM, [batch(1, [("r", row_of(number)) for number in range(10)])])
    loads = [batch(2, [("u", row_of(5, "乙"))], ends=False), batch(3, [("d", row_of(6))])]
    platform.apply(STREAM, loads[:1])
    table = foreign_table(tmp_path)
    table.delete("id == 4")
    with pytest.raises(PlatformError) as conflict:
        platform.apply(STREAM, loads[1:])
    assert not conflict.value.permanent
    assert platform.mark(STREAM) == PlatformMark(1, 1)
    assert platform.apply(STREAM, loads) == PlatformMark(1, 3)
    assert [row["id"] for row in mirror(platform)] == [0, 1, 2, 3, 5, 7, 8, 9]
    platform.apply(STREAM, [batch(1, [("r", row_of(1))], epoch=2)])
    table.refresh()
    table.delete("id == 3")
    assert platform.apply(STREAM, [batch(2, [], epoch=2, last=True)]) == PlatformMark(2, 2)
    assert [row["id"] for row in mirror(platform)] == [1]
    table.catalog.close()
    platform.close()


def test_the_fault_harness_tells_what_is_taken_from_what_is_shown(tmp_path: Path) -> None:
    platform = open_platform(tmp_path, Clock())
    with contextlib.closing(Lake(tmp_path)) as lake:
        assert lake.marks_of(STREAM) == Marks()
        platform.apply(STREAM, [batch(1, [("r", row_of(1))], last=True)])
        assert lake.marks_of(STREAM) == Marks((1, 1), (1, 1))
        platform.apply(STREAM, [batch(1, [("r", row_of(1))], epoch=2)])
        assert lake.marks_of(STREAM) == Marks((1, 1), (2, 1))
        platform.apply(STREAM, [batch(2, [], epoch=2, last=True)])
        assert lake.marks_of(STREAM) == Marks((2, 2), (2, 2))
    platform.close()
