"""The modes over every dialect's real server: what happens to a table while it is captured."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable

import pytest

from forebay_agent import errors
from forebay_agent.config.model import TableConfig
from tests.contract.dialects import DIALECTS, Dialect
from tests.contract.harness import SourceHarness
from tests.integration.capturing import Capturing

TRIGGER = TableConfig("t", mode="trigger", install=True)
CURSOR = TableConfig("t", mode="cursor", cursor="id", unique_cursor=True)


@pytest.fixture
def words(source_harness: SourceHarness) -> Dialect:
    return DIALECTS[source_harness.kind]


@pytest.fixture
def harness(source_harness: SourceHarness, words: Dialect) -> SourceHarness:
    source_harness.execute(
        f"CREATE TABLE t (id {words.integer} PRIMARY KEY, a {words.integer})",
        f"INSERT INTO t SELECT n * 10, n FROM {words.numbers.format(50)}",
    )
    return source_harness


def mirror(capturing: Capturing) -> list[tuple[object, ...]]:
    return sorted((row["id"], row["a"]) for row in capturing.rows.values())


def table(harness: SourceHarness) -> list[tuple[object, ...]]:
    return harness.rows("SELECT id, a FROM t ORDER BY id")


def random_changes(dice: random.Random, count: int) -> Iterable[str]:
    for number in range(count):
        key, other = dice.randrange(520), dice.randrange(600, 100_000)
        yield dice.choice(
            [
                f"DELETE FROM t WHERE id = {key}",
                f"UPDATE t SET a = {number} WHERE id BETWEEN {key} AND {key + 15}",
                f"UPDATE t SET id = {other} WHERE id = {key - key % 10}",
                f"INSERT INTO t VALUES ({other}, {number})",
            ]
        )


@pytest.mark.parametrize("seed", range(3))
def test_changes_during_a_snapshot_and_after_it_all_arrive(harness: SourceHarness, seed: int) -> None:
    dice = random.Random(seed)
    capturing = Capturing(harness, TRIGGER, batch_rows=7)
    for statement in random_changes(dice, 40):
        harness.execute(statement)
        capturing.poll(pieces=1)
        if dice.random() < 0.2:
            capturing.restart()
    capturing.poll_until(lambda: mirror(capturing) == table(harness))
    assert {"r", "c", "u", "d"} <= set(capturing.ops)


@pytest.mark.parametrize("dialect", ["mysql", "postgresql"])
def test_a_change_whose_transaction_commits_late_arrives_after_higher_ids(
    request: pytest.FixtureRequest, dialect: str
) -> None:
    harness: SourceHarness = request.getfixturevalue(f"{dialect}_harness")
    harness.execute("CREATE TABLE t (id bigint PRIMARY KEY, a bigint)")
    capturing = Capturing(harness, TRIGGER)
    capturing.poll()
    harness.execute("INSERT INTO t VALUES (0, 0)")
    capturing.poll_until(lambda: mirror(capturing) == [(0, 0)])
    late = harness.session()
    late.execute("INSERT INTO t VALUES (1, 1)")
    harness.execute("INSERT INTO t VALUES (2, 2)")
    began = time.monotonic()
    capturing.poll()  # purges the first change, beside the late one's locks
    assert time.monotonic() - began < 10
    changes = capturing.source.change_table(capturing.shape).shape.table.name  # type: ignore[attr-defined]
    assert harness.rows(f"SELECT count(*) FROM {changes}") == [(1,)]
    assert mirror(capturing) == [(0, 0)]
    late.commit()
    late.close()
    capturing.poll_until(lambda: mirror(capturing) == [(0, 0), (1, 1), (2, 2)])
    positions = [row["_position"] for piece in capturing.pieces for row in piece.rows.to_pylist()]
    assert positions == ["change:1", "change:2", "change:3"]


@pytest.mark.parametrize("config", [TRIGGER, CURSOR], ids=["trigger", "cursor"])
def test_an_added_column_is_followed_and_a_dropped_one_holds_the_stream(
    harness: SourceHarness, words: Dialect, config: TableConfig
) -> None:
    capturing = Capturing(harness, config)
    capturing.poll_until(lambda: mirror(capturing) == table(harness))
    harness.execute(f"ALTER TABLE t ADD COLUMN b {words.integer}", "INSERT INTO t VALUES (999, 1, 2)")
    capturing.poll_until(lambda: (999,) in capturing.rows)
    assert capturing.rows[(999,)]["b"] == 2
    if config is TRIGGER:
        harness.execute(*capturing.source.change_table(capturing.shape).remove)  # type: ignore[attr-defined]
    harness.execute("ALTER TABLE t DROP COLUMN a")
    with pytest.raises(errors.TableChanged, match="a"):
        capturing.poll()


def test_a_table_dropped_and_created_again_is_never_taken_for_the_same(harness: SourceHarness, words: Dialect) -> None:
    """Told by the table's identity where the database keeps one, by the triggers that went with it elsewhere."""
    capturing = Capturing(harness, TRIGGER)
    capturing.poll_until(lambda: mirror(capturing) == table(harness))
    harness.execute(
        "DROP TABLE t",
        f"CREATE TABLE t (id {words.integer} PRIMARY KEY, a {words.integer})",
        "INSERT INTO t VALUES (1, 1)",
    )
    if harness.kind == "postgresql":
        with pytest.raises(errors.TableReplaced):
            capturing.poll()
        return
    first = len(capturing.pieces)
    capturing.poll()
    capturing.poll()
    (snapshot,) = (piece for piece in capturing.pieces[first:] if piece.last_of_snapshot)
    assert snapshot.snapshot == 2
    assert snapshot.rows.column("id").to_pylist() == [1]


def test_a_dropped_table_is_missing_until_it_is_there_again(harness: SourceHarness) -> None:
    capturing = Capturing(harness, CURSOR)
    capturing.poll()
    harness.execute("ALTER TABLE t RENAME TO elsewhere")
    with pytest.raises(errors.TableMissing):
        capturing.poll()
    harness.execute("ALTER TABLE elsewhere RENAME TO t", "INSERT INTO t VALUES (999, 1)")
    capturing.poll_until(lambda: (999,) in capturing.rows)


@pytest.mark.parametrize("pieces", [1, 3])
def test_a_snapshot_left_anywhere_loses_and_doubles_nothing(harness: SourceHarness, pieces: int) -> None:
    capturing = Capturing(harness, TableConfig("t", mode="snapshot"), batch_rows=4)
    seen: list[object] = []
    while capturing.checkpoint.phase != "done":
        seen += [row["id"] for row in capturing.poll(pieces=pieces)]
        capturing.restart()
    assert seen == [row[0] for row in table(harness)]
