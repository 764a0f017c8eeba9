"""Durability, compaction, expiry and other writers, on real files."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import Table

from forebay_collector.platform.contract import PlatformError, PlatformMark
from tests.contract.platform_batches import STREAM, ask, batch, mirror, row_of
from tests.loading.lake import Clock, files_of, foreign_table, open_platform, snapshots_of


def test_every_file_is_on_the_disk_before_the_commit_that_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: set[tuple[int, int]] = set()
    unsynced: list[Path] = []
    commits = 0
    real_sync, real_commit = os.fsync, SqlCatalog.commit_table

    def sync(descriptor: int) -> None:
        real_sync(descriptor)
        held = os.fstat(descriptor)
        synced.add((held.st_dev, held.st_ino))

    def commit(self: SqlCatalog, *arguments: Any) -> Any:
        nonlocal commits
        commits += 1
        done = real_commit(self, *arguments)
        warehouse = tmp_path / "platform" / "warehouse"
        held = ((path, path.stat()) for path in (warehouse, *warehouse.rglob("*")))
        unsynced.extend(path for path, stat in held if (stat.st_dev, stat.st_ino) not in synced)
        return done

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(SqlCatalog, "commit_table", commit)
    platform = open_platform(tmp_path, Clock())
    for seq in range(1, 6):
        platform.apply(STREAM, [batch(seq, [("u", row_of(number)) for number in (seq, 7, 8)])])
        platform.maintain(STREAM)
    platform.close()
    assert commits > 10
    assert not unsynced


def test_the_catalogue_commits_synchronously(tmp_path: Path) -> None:
    platform = open_platform(tmp_path, Clock())
    with platform._catalogue._catalog.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    platform.close()


def test_the_mirror_shares_the_historys_bytes_and_survives_them(tmp_path: Path) -> None:
    clock = Clock()
    platform = open_platform(tmp_path, clock, grace_s=0)
    platform.apply(STREAM, [batch(1, [("r", row_of(number)) for number in range(10)])])
    mirrors = [path for path in files_of(tmp_path) if path.parts[-3] == "enterprise" and path.suffix == ".parquet"]
    assert [path.stat().st_nlink for path in mirrors] == [2]
    for path in files_of(tmp_path):
        if path.parts[-3] == "enterprise_changes" and path.suffix == ".parquet":
            path.unlink()
    assert len(mirror(platform)) == 10
    platform.close()


def test_without_hard_links_the_mirror_is_written_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "link", refuse)
    platform = open_platform(tmp_path, Clock())
    platform.apply(STREAM, [batch(1, [("r", row_of(number)) for number in range(10)])])
    platform.apply(STREAM, [batch(2, [("u", row_of(3, "乙"))])])
    assert [row["name"] for row in mirror(platform)].count("乙") == 1
    assert len(mirror(platform)) == 10
    platform.close()


def test_files_go_after_the_grace_and_no_sooner_and_the_metadata_stays_small(tmp_path: Path) -> None:
    clock = Clock()
    platform = open_platform(tmp_path, clock, keep_snapshots=2, grace_s=300, orphan_age_s=10**9)
    for seq in range(1, 10):
        platform.apply(STREAM, [batch(seq, [("u", row_of(number)) for number in range(5)])])
        platform.maintain(STREAM)
        clock.now += 10
    held = foreign_table(tmp_path)
    before = files_of(tmp_path)
    for seq in range(10, 20):
        clock.now += 10
        platform.apply(STREAM, [batch(seq, [("u", row_of(1, "乙"))])])
        platform.maintain(STREAM)
    assert held.metadata.current_snapshot_id not in {known.snapshot_id for known in snapshots_of(tmp_path)}
    assert len(held.scan().to_arrow()) == 5, "a reader of a snapshot that is forgotten still finds its files"
    assert {path for path in before - files_of(tmp_path) if path.suffix != ".json"} == set()
    clock.now += 301
    while platform.maintain(STREAM):
        pass
    assert len([path for path in files_of(tmp_path) if path.suffix != ".json"]) < len(before) / 2
    assert len(snapshots_of(tmp_path)) <= 6
    assert [row["name"] for row in mirror(platform)].count("乙") == 1
    assert platform.mark(STREAM) == PlatformMark(1, 19)
    held.catalog.close()
    platform.close()


def test_what_is_being_read_here_outlives_its_grace_and_goes_afterwards(tmp_path: Path) -> None:
    clock = Clock()
    platform = open_platform(tmp_path, clock, keep_snapshots=1, grace_s=0)
    platform.apply(STREAM, [batch(1, [("r", row_of(number)) for number in range(5)])])
    platform.apply(STREAM, [batch(2, [("u", row_of(1, "乙"))])])
    reading = platform.read(STREAM)
    first = next(reading)
    for seq in range(3, 12):
        clock.now += 10
        platform.apply(STREAM, [batch(seq, [("du"[seq % 2], row_of(number)) for number in range(5)])])
        platform.maintain(STREAM)
    kept = len(files_of(tmp_path))
    assert first.num_rows + sum(part.num_rows for part in reading) == 5
    clock.now += 10
    platform.maintain(STREAM)
    assert len(files_of(tmp_path)) < kept
    platform.close()


def test_files_of_a_load_that_died_are_swept_once_they_are_old(tmp_path: Path) -> None:
    clock = Clock()
    platform = open_platform(tmp_path, clock, grace_s=300)
    platform.apply(STREAM, [batch(1, [("r", row_of(1))])])
    folder = next(path.parent for path in files_of(tmp_path) if path.parent.name == "data")
    orphan, young = folder / "orphan.parquet", folder / "young.parquet"
    for path, age in ((orphan, 90_000), (young, 3_600)):
        path.write_bytes(b"left behind")
        os.utime(path, (clock.now - age, clock.now - age))
    named = files_of(tmp_path) - {orphan}
    for path in named - {young}:
        os.utime(path, (clock.now - 10**6, clock.now - 10**6))
    assert not platform.maintain(STREAM)
    assert orphan.exists(), "a reader may have opened a snapshot that named it"
    clock.now += 301
    assert platform.maintain(STREAM)
    assert files_of(tmp_path) == named
    platform.close()


def test_compaction_brings_worn_and_small_files_together_and_changes_no_row(tmp_path: Path) -> None:
    platform = open_platform(tmp_path, Clock())
    platform.apply(STREAM, [batch(1, [("r", row_of(number)) for number in range(2_000)])])
    for seq in range(2, 30):
        platform.apply(STREAM, [batch(seq, [("u", row_of(number, str(seq))) for number in range(seq, 2_000, 40)])])
        before = mirror(platform)
        platform.maintain(STREAM)
        assert mirror(platform) == before
    listed = {table.kind: table for table in platform.tables()}
    assert listed["mirror"].files <= 12
    assert listed["changes"].files <= 8
    assert listed["mirror"].rows == 2_000
    history = ask(platform, "SELECT count(*) AS n, count(DISTINCT (_seq, _row)) AS d FROM enterprise_changes")
    assert history == [
        {"n": 2_000 + 28 * 49 + sum(1 for seq in range(2, 30) if len(range(seq, 2_000, 40)) > 49), "d": history[0]["n"]}
    ]
    platform.close()


def test_many_small_commits_do_not_leave_many_manifests(tmp_path: Path) -> None:
    platform = open_platform(tmp_path, Clock(), deleted_share=1.1)
    for seq in range(1, 80):
        platform.apply(STREAM, [batch(seq, [("c", row_of(seq))])])
    table = foreign_table(tmp_path)
    snapshot = table.current_snapshot()
    assert snapshot is not None
    assert len(snapshot.manifests(table.io)) < 40
    assert len(mirror(platform)) == 79
    table.catalog.close()
    platform.close()


def test_another_writers_commit_is_seen_and_never_overwritten(tmp_path: Path) -> None:
    platform = open_platform(tmp_path, Clock())
    platform.apply(STREAM, [batch(1, [("r", row_of(number)) for number in range(10)])])
    table = foreign_table(tmp_path)
    table.delete("id == 4")
    with table.transaction() as transaction:
        transaction.set_properties({"owner": "another"})
    platform.apply(STREAM, [batch(2, [("u", row_of(5, "乙"))])])
    assert [row["id"] for row in mirror(platform)] == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    table.refresh()
    assert table.properties["owner"] == "another"
    assert platform.mark(STREAM) == PlatformMark(1, 2)
    table.catalog.close()
    platform.close()


def test_a_commit_on_a_head_that_moved_is_refused_and_may_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = open_platform(tmp_path, Clock())
    platform.apply(STREAM, [batch(1, [("r", row_of(number)) for number in range(10)])])
    real = SqlCatalog.commit_table
    moved: list[bool] = []

    def commit(self: SqlCatalog, table: Table, *arguments: Any) -> Any:
        if table.name()[-1] == "enterprise" and not moved:
            moved.append(True)
            other = foreign_table(tmp_path)
            other.delete("id == 4")
            other.catalog.close()
        return real(self, table, *arguments)

    monkeypatch.setattr(SqlCatalog, "commit_table", commit)
    loads = [batch(2, [("u", row_of(5, "乙"))])]
    with pytest.raises(PlatformError) as conflict:
        platform.apply(STREAM, loads)
    assert not conflict.value.permanent
    assert platform.mark(STREAM) == PlatformMark(1, 1)
    assert platform.apply(STREAM, loads) == PlatformMark(1, 2)
    assert sorted(row["id"] for row in mirror(platform)) == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    platform.close()


def test_a_commit_that_landed_but_was_reported_as_failed_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = open_platform(tmp_path, Clock())
    real = SqlCatalog.commit_table

    def commit(self: SqlCatalog, *arguments: Any) -> Any:
        real(self, *arguments)
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(SqlCatalog, "commit_table", commit)
    assert platform.apply(STREAM, [batch(1, [("r", row_of(1))])]) == PlatformMark(1, 1)
    assert platform.apply(STREAM, [batch(2, [("u", row_of(1, "乙"))])]) == PlatformMark(1, 2)
    assert mirror(platform) == [row_of(1, "乙")]
    assert ask(platform, "SELECT count(*) AS n FROM enterprise_changes") == [{"n": 2}]
    platform.close()


def test_a_full_disk_is_told_as_such_and_may_be_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = open_platform(tmp_path, Clock())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(PlatformError) as refused:
            platform.apply(STREAM, [batch(1, [("r", row_of(1))])])
    assert (refused.value.code, refused.value.permanent) == ("FB-PLATFORM-DISK-FULL", False)
    assert platform.apply(STREAM, [batch(1, [("r", row_of(1))])]) == PlatformMark(1, 1)
    assert mirror(platform) == [row_of(1)]
    platform.close()


@pytest.mark.parametrize("damage", ["cut", "other"])
def test_a_damaged_file_is_told_as_such_and_never_read_as_fewer_rows(tmp_path: Path, damage: str) -> None:
    platform = open_platform(tmp_path, Clock())
    platform.apply(STREAM, [batch(1, [("r", row_of(number)) for number in range(10)])])
    for path in files_of(tmp_path):
        if path.suffix == ".parquet":
            held = path.read_bytes()
            path.write_bytes(held[: len(held) // 2])
            if damage == "other":
                pq.write_table(pa.table({"x": [1]}), path)
    with pytest.raises(PlatformError) as damaged:
        mirror(platform)
    assert damaged.value.code == "FB-PLATFORM-DAMAGED"
    platform.close()
