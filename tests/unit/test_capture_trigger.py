"""Trigger mode over a real SQLite file."""

from __future__ import annotations

import random

import pytest

from forebay_agent.config.model import TableConfig
from forebay_agent.errors import TriggerMissing
from tests.contract.harness import SourceHarness
from tests.integration.capturing import Capturing

TRIGGER = TableConfig("t", mode="trigger", install=True)


@pytest.fixture
def harness(sqlite_harness: SourceHarness) -> SourceHarness:
    sqlite_harness.execute(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)", "INSERT INTO t VALUES (1, 'a'), (2, 'b')"
    )
    return sqlite_harness


def mirror(capturing: Capturing) -> list[tuple[object, ...]]:
    return sorted((row["id"], row["name"]) for row in capturing.rows.values())


def test_inserts_updates_deletes_and_changed_keys_arrive_in_order(harness: SourceHarness) -> None:
    capturing = Capturing(harness, TRIGGER)
    capturing.poll()
    harness.execute(
        "INSERT INTO t VALUES (3, 'c')",
        "UPDATE t SET name = 'B' WHERE id = 2",
        "UPDATE t SET id = 9 WHERE id = 1",
        "DELETE FROM t WHERE id = 3",
    )
    rows = capturing.poll()
    assert [(row["_op"], row["id"], row["name"]) for row in rows] == [
        ("c", 3, "c"),
        ("u", 2, "B"),
        ("d", 1, "a"),
        ("c", 9, "a"),
        ("d", 3, "c"),
    ]
    assert [row["_position"] for row in rows] == [f"change:{n}" for n in range(1, 6)]
    assert all(row["_committed_at"] is not None for row in rows)
    assert mirror(capturing) == [(2, "B"), (9, "a")]
    assert capturing.poll() == []


def test_without_leave_to_install_the_statements_are_told_and_nothing_is_written(harness: SourceHarness) -> None:
    capturing = Capturing(harness, TableConfig("t", mode="trigger"))
    with pytest.raises(TriggerMissing) as caught:
        capturing.poll()
    assert harness.rows("SELECT name FROM sqlite_master") == [("t",)]
    assert "CREATE TRIGGER" in caught.value.sql
    import sqlite3

    connection = sqlite3.connect(str(harness.config().path))
    connection.executescript(caught.value.sql)
    connection.close()
    assert len(capturing.poll()) == 2


def test_changes_are_purged_only_after_the_checkpoint_that_passed_them_came_back(harness: SourceHarness) -> None:
    capturing = Capturing(harness, TRIGGER)
    capturing.poll()
    harness.execute("INSERT INTO t VALUES (3, 'c')", "INSERT INTO t VALUES (4, 'd')")
    before = capturing.checkpoint
    capturing.poll()
    assert harness.rows("SELECT count(*) FROM forebay_changes_t") == [(2,)]
    after, capturing.checkpoint = capturing.checkpoint, before  # the agent died before that was durable
    capturing.restart()
    assert [row["id"] for row in capturing.poll()] == [3, 4]
    capturing.checkpoint = after
    assert capturing.poll() == []
    assert harness.rows("SELECT count(*) FROM forebay_changes_t") == [(0,)]
    harness.execute("INSERT INTO t VALUES (5, 'e')")
    assert [row["id"] for row in capturing.poll()] == [5]


def test_purge_can_be_left_to_others(harness: SourceHarness) -> None:
    capturing = Capturing(harness, TableConfig("t", mode="trigger", install=True, purge=False))
    capturing.poll()
    harness.execute("INSERT INTO t VALUES (3, 'c')")
    for _ in range(3):
        capturing.poll()
    assert harness.rows("SELECT count(*) FROM forebay_changes_t") == [(1,)]
    assert mirror(capturing) == [(1, "a"), (2, "b"), (3, "c")]


def test_what_was_missed_while_triggers_were_gone_is_made_good_by_a_new_snapshot(harness: SourceHarness) -> None:
    capturing = Capturing(harness, TRIGGER)
    capturing.poll()
    harness.execute(
        "DROP TRIGGER forebay_t_insert", "INSERT INTO t VALUES (3, 'c')", "UPDATE t SET name = 'B' WHERE id = 2"
    )
    capturing.poll()
    capturing.poll()
    assert mirror(capturing) == [(1, "a"), (2, "B"), (3, "c")]
    assert [piece.snapshot for piece in capturing.pieces if piece.last_of_snapshot] == [1, 2]


def test_changes_that_were_not_read_yet_when_a_column_is_added_are_captured_too(harness: SourceHarness) -> None:
    capturing = Capturing(harness, TRIGGER)
    capturing.poll()
    harness.execute(
        "UPDATE t SET name = 'A' WHERE id = 1",
        "UPDATE t SET name = 'AA' WHERE id = 1",
        "INSERT INTO t VALUES (3, 'c')",
        "DELETE FROM t WHERE id = 3",
        "ALTER TABLE t ADD COLUMN score REAL DEFAULT 0.5",
    )
    rows = [row for _ in range(3) for row in capturing.poll()]
    told = [(row["_op"], row["id"], row["name"]) for row in rows]
    assert told == [("u", 1, "A"), ("u", 1, "AA"), ("c", 3, "c"), ("d", 3, "c"), ("r", 1, "AA"), ("r", 2, "b")]
    assert {row["id"]: row["score"] for row in capturing.rows.values()} == {1: 0.5, 2: 0.5}


def test_an_old_change_is_never_told_after_the_snapshot_that_makes_good_what_was_missed(harness: SourceHarness) -> None:
    capturing = Capturing(harness, TRIGGER)
    capturing.poll()
    harness.execute(
        "UPDATE t SET name = 'seen' WHERE id = 1",
        "DROP TRIGGER forebay_t_update",
        "UPDATE t SET name = 'missed' WHERE id = 1",
    )
    rows = [row for _ in range(3) for row in capturing.poll()]
    assert [(row["_op"], row["name"]) for row in rows if row["id"] == 1] == [("u", "seen"), ("r", "missed")]
    assert mirror(capturing) == [(1, "missed"), (2, "b")]


def test_missing_triggers_are_remembered_before_anybody_can_put_them_back(harness: SourceHarness) -> None:
    capturing = Capturing(harness, TRIGGER)
    capturing.poll()
    capturing = Capturing(harness, TableConfig("t", mode="trigger"))
    capturing.poll()
    triggers = harness.rows("SELECT sql FROM sqlite_master WHERE type = 'trigger'")
    harness.execute("DROP TRIGGER forebay_t_delete", "DELETE FROM t WHERE id = 1")
    with pytest.raises(TriggerMissing):
        capturing.poll()
    assert capturing.checkpoint.phase == "start"
    harness.execute(*(str(sql) for (sql,) in triggers if "forebay_t_delete" in str(sql)))
    capturing.restart()
    capturing.poll()
    assert capturing.pieces[-1].last_of_snapshot
    assert [row["id"] for row in capturing.pieces[-1].rows.to_pylist()] == [2]


def test_a_table_dropped_and_created_again_is_captured_anew(harness: SourceHarness) -> None:
    capturing = Capturing(harness, TRIGGER)
    capturing.poll()
    harness.execute(
        "DROP TABLE t", "CREATE TABLE t (id INTEGER PRIMARY KEY, name TEXT)", "INSERT INTO t VALUES (7, 'new')"
    )
    capturing.rows.clear()  # what the last batch of a snapshot does to the mirror
    capturing.poll()
    harness.execute("INSERT INTO t VALUES (8, 'newer')")
    capturing.poll()
    assert mirror(capturing) == [(7, "new"), (8, "newer")]


def test_an_added_column_is_captured_from_then_on_with_its_old_values(harness: SourceHarness) -> None:
    capturing = Capturing(harness, TRIGGER)
    capturing.poll()
    harness.execute("ALTER TABLE t ADD COLUMN score REAL DEFAULT 0.5", "INSERT INTO t VALUES (3, 'c', 1.5)")
    capturing.poll()
    capturing.poll()
    harness.execute("UPDATE t SET score = 2.5 WHERE id = 1")
    capturing.poll()
    assert {row["id"]: row["score"] for row in capturing.rows.values()} == {1: 2.5, 2: 0.5, 3: 1.5}


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_changed_and_wherever_the_agent_dies_the_mirror_ends_equal(
    harness: SourceHarness, seed: int
) -> None:
    dice = random.Random(seed)
    capturing = Capturing(harness, TRIGGER, batch_rows=3)
    saved = capturing.checkpoint
    for number in range(120):
        key, other = dice.randrange(20), dice.randrange(20)
        harness.execute(
            dice.choice(
                [
                    f"INSERT OR IGNORE INTO t VALUES ({key}, 'i{number}')",
                    f"INSERT OR REPLACE INTO t VALUES ({key}, 'r{number}')",
                    f"INSERT INTO t VALUES ({key}, 'n{number}') ON CONFLICT (id) DO UPDATE SET name = excluded.name",
                    f"UPDATE t SET name = 'u{number}' WHERE id = {key}",
                    f"UPDATE OR IGNORE t SET id = {other} WHERE id = {key}",
                    f"DELETE FROM t WHERE id = {key}",
                ]
            )
        )
        if dice.random() < 0.4:
            capturing.poll(pieces=dice.randrange(1, 4))
        if dice.random() < 0.1:
            if dice.random() < 0.5:
                capturing.checkpoint = saved  # what was read since was not durable yet
            capturing.restart()
        elif dice.random() < 0.3:
            capturing.poll()
            saved = capturing.checkpoint
    for _ in range(3):
        capturing.poll()
    assert mirror(capturing) == harness.rows("SELECT id, name FROM t ORDER BY id"), f"seed {seed}"
