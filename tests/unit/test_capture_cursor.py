"""Cursor mode over a real SQLite file: windows, what they read again, and where they go on."""

from __future__ import annotations

import random
from datetime import timedelta

import pytest

from forebay_agent.config.model import TableConfig
from tests.contract.harness import SourceHarness
from tests.integration.capturing import Capturing

BY_DAY = TableConfig("t", mode="cursor", cursor="day")
BY_ID = TableConfig("t", mode="cursor", cursor="id", unique_cursor=True)


@pytest.fixture
def harness(sqlite_harness: SourceHarness) -> SourceHarness:
    sqlite_harness.execute(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, day DATE)",
        "INSERT INTO t VALUES (1, '2026-01-30'), (2, '2026-01-31'), (3, '2026-01-31'), (4, NULL)",
    )
    return sqlite_harness


def ids(capturing: Capturing) -> list[object]:
    return sorted(row["id"] for row in capturing.rows.values())


def test_a_snapshot_comes_first_and_windows_follow(harness: SourceHarness) -> None:
    capturing = Capturing(harness, BY_DAY)
    capturing.poll()
    assert ids(capturing) == [1, 2, 3, 4]
    assert capturing.checkpoint.phase == "cursor"
    assert capturing.checkpoint.low == "2026-01-31"
    harness.execute("INSERT INTO t VALUES (5, '2026-02-01')", "UPDATE t SET day = '2026-02-02' WHERE id = 1")
    capturing.poll()
    assert capturing.checkpoint.low == "2026-02-02"
    assert capturing.rows[(1,)]["day"] == "2026-02-02"
    assert set(capturing.ops) == {"r", "u"}
    assert capturing.rows[(1,)]["_position"] == 'cursor:["2026-02-02","1"]'


def test_a_window_says_which_rows_the_next_one_reads_again(harness: SourceHarness) -> None:
    capturing = Capturing(harness, BY_DAY)
    capturing.poll()
    harness.execute("INSERT INTO t VALUES (5, '2026-02-01'), (6, '2026-02-02'), (7, '2026-02-02')")
    first = len(capturing.pieces)
    capturing.poll()
    (window,) = capturing.pieces[first:]
    assert window.reread is not None
    marked = dict(zip(window.rows.column("id").to_pylist(), window.reread.remember.to_pylist(), strict=True))
    assert marked == {2: False, 3: False, 5: False, 6: True, 7: True}
    assert window.reread.last_of_window
    read_next = {row["id"] for row in capturing.poll()}
    assert read_next == {key for key, again in marked.items() if again}


def test_with_an_overlap_all_rows_within_it_are_marked(harness: SourceHarness) -> None:
    table = TableConfig("t", mode="cursor", cursor="day", overlap=timedelta(days=1))
    capturing = Capturing(harness, table)
    capturing.poll()
    first = len(capturing.pieces)
    rows = capturing.poll()
    assert {row["id"] for row in rows} == {1, 2, 3}
    for piece in capturing.pieces[first:]:
        assert piece.reread is not None
        assert piece.reread.remember.to_pylist() == [True] * piece.rows.num_rows


@pytest.mark.parametrize("table", [BY_DAY, BY_ID], ids=["shared values", "unique values"])
def test_a_window_left_after_any_piece_goes_on_there_in_another_process(
    harness: SourceHarness, table: TableConfig
) -> None:
    capturing = Capturing(harness, table, batch_rows=10)
    capturing.poll()
    harness.execute(
        "WITH RECURSIVE s(n) AS (SELECT 100 UNION ALL SELECT n + 1 FROM s WHERE n < 199) "
        "INSERT INTO t SELECT n, '2026-02-' || printf('%02d', 1 + (n * 7) % 25) FROM s"
    )
    seen: list[object] = []
    for _ in range(12):
        seen += [row["id"] for row in capturing.poll(pieces=1) if row["id"] >= 100]
        capturing.restart()
    assert len(seen) >= 100
    assert set(seen) == set(range(100, 200))
    if table is BY_ID:
        assert seen == list(range(100, 200))
    assert capturing.checkpoint.through is None


def test_unique_values_are_never_read_twice(harness: SourceHarness) -> None:
    capturing = Capturing(harness, BY_ID)
    capturing.poll()
    assert capturing.poll() == []
    harness.execute("INSERT INTO t VALUES (5, NULL), (6, NULL)")
    assert [row["id"] for row in capturing.poll()] == [5, 6]
    assert capturing.poll() == []
    assert capturing.pieces[-1].reread is None


def test_numbers_that_are_used_again_after_a_delete_still_arrive(harness: SourceHarness) -> None:
    capturing = Capturing(harness, BY_ID)
    capturing.poll()
    harness.execute("DELETE FROM t WHERE id >= 3")
    capturing.poll()
    harness.execute("INSERT INTO t VALUES (3, '2026-05-05')")
    assert [row["day"] for row in capturing.poll()] == ["2026-05-05"]


def test_a_table_that_was_emptied_starts_from_its_beginning(harness: SourceHarness) -> None:
    capturing = Capturing(harness, BY_ID)
    capturing.poll()
    harness.execute("DELETE FROM t")
    capturing.poll()
    assert capturing.checkpoint.low is None
    harness.execute("INSERT INTO t VALUES (1, '2026-05-05')")
    assert [row["day"] for row in capturing.poll()] == ["2026-05-05"]


def test_an_empty_table_is_captured_from_its_first_row(sqlite_harness: SourceHarness) -> None:
    sqlite_harness.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, day DATE)")
    capturing = Capturing(sqlite_harness, BY_DAY)
    assert capturing.poll() == []
    assert capturing.pieces[-1].last_of_snapshot
    sqlite_harness.execute("INSERT INTO t VALUES (1, '2026-01-01')")
    assert [row["id"] for row in capturing.poll()] == [1]


def test_the_guarantee_names_what_is_not_seen(harness: SourceHarness) -> None:
    guarantee = Capturing(harness, BY_DAY).capture.guarantee
    assert "Deletes are not seen" in guarantee
    assert "NULL" in guarantee


def test_a_long_window_of_nothing_new_is_not_read_again_at_once(harness: SourceHarness) -> None:
    capturing = Capturing(harness, BY_DAY)
    now = [0.0]

    def slow() -> float:
        now[0] += 1.0  # every look at the clock is a second later
        return now[0]

    capturing.poll()
    capturing.capture._table.monotonic = slow  # type: ignore[attr-defined]
    assert {row["id"] for row in capturing.poll()} == {2, 3}
    assert capturing.poll() == []
    harness.execute("INSERT INTO t VALUES (5, '2026-02-01')")
    assert 5 in {row["id"] for row in capturing.poll()}, "new values never wait"
    now[0] += 1000
    assert {row["id"] for row in capturing.poll()} == {5}


@pytest.mark.parametrize("seed", range(5))
def test_without_deletes_the_mirror_ends_equal_wherever_the_agent_dies(harness: SourceHarness, seed: int) -> None:
    dice = random.Random(seed)
    capturing = Capturing(harness, TableConfig("t", mode="cursor", cursor="day"), batch_rows=3)
    saved, day = capturing.checkpoint, 0
    for _ in range(100):
        day += dice.random() < 0.3
        today = f"2026-{3 + day // 28:02d}-{1 + day % 28:02d}"
        key = dice.randrange(1000)
        harness.execute(f"INSERT INTO t VALUES ({key}, '{today}') ON CONFLICT (id) DO UPDATE SET day = excluded.day")
        if dice.random() < 0.3:
            capturing.poll(pieces=dice.randrange(1, 4))
        if dice.random() < 0.1:
            capturing.checkpoint = saved
            capturing.restart()
        elif dice.random() < 0.2:
            saved = capturing.checkpoint
    for _ in range(3):
        capturing.poll()
    expected = harness.rows("SELECT id, day FROM t ORDER BY id")
    assert sorted((row["id"], row["day"]) for row in capturing.rows.values()) == expected, f"seed {seed}"
