"""Log capture over a database in memory: whatever is cut, lost or killed, a mirror of the sealed batches is the source."""

from __future__ import annotations

import datetime as dt
import random
from pathlib import Path

import pyarrow as pa
import pytest

from forebay_agent.errors import ValueUnrepresentable
from forebay_wire.key_range import KeyRange
from forebay_wire.stream import StreamName
from tests.contract.sources.memory_log import Change
from tests.daemon.memory_agent import TABLES, Agent, database_of, source_rows, write


@pytest.mark.parametrize("seed", range(60))
def test_whatever_happens_the_mirror_becomes_the_source(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    database = database_of(draw.choice((0, 3, 25)))
    agent = Agent(tmp_path, database, draw)
    for _ in range(60):
        move = draw.random()
        if move < 0.45:
            write(database, draw)
        elif move < 0.9:
            agent.pipeline.step()
        elif move < 0.94:
            agent.kill()
        elif move < 0.96:
            database.truncate(draw.choice(TABLES))
        elif move < 0.98:
            database.add_column(draw.choice(TABLES), f"c{len(database.log)}", pa.int64(), draw.choice((None, 5)))
        else:
            table = database.tables[draw.choice(TABLES)].shape
            spare = [column.name for column in table.columns if column.name.startswith("c")]
            if spare:
                database.drop_column(table.table.name, draw.choice(spare))
    agent.drain()
    for name in TABLES:
        assert agent.mirror(name) == source_rows(database, name), name


def test_rows_never_go_back_in_time_and_no_change_is_told_twice(tmp_path: Path) -> None:
    draw = random.Random(7)
    database = database_of(25)
    agent = Agent(tmp_path, database, draw)
    agent.pipeline.step()
    begun = len(database.log)
    for _ in range(60):
        write(database, draw)
        agent.pipeline.step()
        if draw.random() < 0.1:
            agent.kill()
    agent.drain()
    for name in TABLES:
        told = [
            (int(row["_position"]), row["id"], row["_op"])
            for row in agent.rows(name)
            if row["_op"] in ("c", "u", "d") and not row["_position"].startswith("snapshot")
        ]
        assert told == sorted(told, key=lambda each: each[0])
        wrote = [
            (at, change.row["id"], change.op)
            for at, transaction in enumerate(database.log)
            for change in transaction
            if at >= begun and isinstance(change, Change) and change.table == name
        ]
        assert sorted(told) == sorted(wrote)


def test_a_transaction_that_is_cut_is_shown_only_when_it_is_whole(tmp_path: Path) -> None:
    draw = random.Random(1)
    database = database_of(0)
    agent = Agent(tmp_path, database, draw)
    agent.drain()
    database.commit(*(("t", "c", {"id": n, "v": "x", "large": "y"}) for n in range(20)))
    seen = set()
    while len(agent.mirror("t")) < 20:
        agent.pipeline.step()
        seen.add(len(agent.mirror("t")))
    assert seen <= {0, 20}


def test_a_table_that_is_lost_is_parked_and_the_others_go_on(tmp_path: Path) -> None:
    draw = random.Random(2)
    database = database_of(5)
    agent = Agent(tmp_path, database, draw)
    agent.drain()
    database.lose("t", ValueUnrepresentable("t: id = 10: column v holds what cannot be"))
    database.commit(
        ("t", "u", {"id": 10, "v": "unseen", "large": "l"}), ("u", "u", {"id": 10, "v": "seen", "large": "l"})
    )
    agent.drain()
    assert agent.mirror("u") == source_rows(database, "u")
    assert agent.mirror("t")[(10,)]["v"] == "v10"
    state = agent.board.of(StreamName("d", "s", "t"))
    assert (state.state, state.trouble and state.trouble.code) == ("held", ValueUnrepresentable.code)
    agent.kill()
    agent.drain()
    assert agent.board.of(StreamName("d", "s", "t")).state == "held"
    agent.outbox.reset(StreamName("d", "s", "t"), who="test", why="mended")
    agent.pipeline._looked = float("-inf")
    agent.drain()
    assert agent.mirror("t") == source_rows(database, "t")
    assert agent.board.of(StreamName("d", "s", "t")).state == "streaming"


def test_a_gap_parks_what_needed_the_log_and_is_told_with_its_bounds(tmp_path: Path) -> None:
    draw = random.Random(3)
    database = database_of(5)
    agent = Agent(tmp_path, database, draw)
    agent.drain()
    for _ in range(20):
        write(database, draw)
    database.first = len(database.log)
    agent.kill()
    agent.drain()
    for name in TABLES:
        trouble = agent.board.of(StreamName("d", "s", name)).trouble
        assert trouble is not None
        assert trouble.code == "FB-LOG-GAP"
        assert "are gone" in trouble.reason
        agent.outbox.reset(StreamName("d", "s", name), who="test", why="gap")
    agent.pipeline._looked = float("-inf")
    agent.drain()
    for name in TABLES:
        assert agent.mirror(name) == source_rows(database, name)


@pytest.mark.parametrize("seed", range(20))
def test_a_range_of_keys_is_taken_anew_and_what_is_gone_from_it_goes(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    database = database_of(25)
    agent = Agent(tmp_path, database, draw)
    agent.drain()
    table = database.tables["t"]
    for key in draw.sample(sorted(table.rows), 10):  # the log knows nothing of this
        if draw.random() < 0.5:
            del table.rows[key]
        else:
            table.rows[key] = table.rows[key] | {"v": "changed unseen", "large": "unseen"}
    low, high = sorted(draw.sample(range(10, 40), 2))
    before = agent.mirror("t")
    agent.outbox.request_range(StreamName("d", "s", "t"), KeyRange(str(low), str(high)), who="test", why="repair")
    agent.pipeline._looked = float("-inf")
    written = set[int]()
    for _ in range(draw.choice((0, 15))):
        at = len(database.log)
        write(database, draw)
        written |= {
            change.row["id"]
            for transaction in database.log[at:]
            for change in transaction
            if isinstance(change, Change) and change.table == "t"
        }
        agent.pipeline.step()
        if draw.random() < 0.1:
            agent.kill()
            agent.pipeline._looked = float("-inf")
    while agent.outbox.range_requests("d", "s"):
        agent.pipeline._looked = float("-inf")
        agent.pipeline.step()
    agent.drain()
    after, source = agent.mirror("t"), source_rows(database, "t")
    for key in {*after, *source, *before}:
        if low <= key[0] <= high:
            assert after.get(key) == source.get(key), key
        elif key[0] not in written:
            assert after.get(key) == before.get(key), key
    assert agent.outbox.stream(StreamName("d", "s", "t")).epoch == 1


def test_a_table_that_was_not_followed_for_a_while_is_taken_anew(tmp_path: Path) -> None:
    draw = random.Random(4)
    database = database_of(5)
    agent = Agent(tmp_path, database, draw)
    agent.drain()
    both, agent.tables = agent.tables, agent.tables[1:]
    agent.kill()
    agent.drain()
    database.commit(("t", "d", {"id": 10}), ("u", "d", {"id": 10}))
    agent.drain()
    agent.tables = both
    agent.kill()
    agent.drain()
    assert agent.mirror("t") == source_rows(database, "t")
    assert agent.outbox.stream(StreamName("d", "s", "t")).epoch == 2
    reader = agent.outbox.reader()
    assert ["not followed" in reset.why for reset in reader.resets()] == [True]
    reader.close()


def test_a_table_that_waits_for_its_snapshot_misses_no_change_over_a_restart(tmp_path: Path) -> None:
    draw = random.Random(8)
    database = database_of(3)

    class Closed:
        def is_open(self, now: dt.time) -> bool:
            return False

    agent = Agent(tmp_path, database, draw)
    agent.pipeline._snapshots._pace._windows = (Closed(),)
    agent.pipeline.step()
    database.commit(("t", "c", {"id": 50, "v": "v", "large": "l"}))
    while not agent.mirror("t"):
        agent.pipeline.step()
    agent.kill()
    database.commit(("t", "d", {"id": 50}))
    agent.drain()
    assert agent.mirror("t") == source_rows(database, "t")


def test_a_stream_that_told_changes_and_waits_for_its_snapshot_misses_no_change_of_columns_or_rows(
    tmp_path: Path,
) -> None:
    draw = random.Random(5)
    database = database_of(5)
    database.add_column("t", "spare", pa.int64(), 7)
    agent = Agent(tmp_path, database, draw)
    agent.pipeline._snapshots.step = lambda: None  # type: ignore[method-assign]
    agent.pipeline.step()
    for name in TABLES:
        database.commit((name, "u", database.tables[name].rows[(10,)] | {"v": "told"}))
    while any(agent.outbox.stream(StreamName("d", "s", name)).next_seq == 1 for name in TABLES):
        agent.pipeline.step()
    database.drop_column("t", "spare")
    database.commit(("u", "d", {"id": 10}))
    agent.kill()
    agent.drain()
    assert agent.mirror("t") == source_rows(database, "t")
    assert agent.mirror("u") == source_rows(database, "u")
    assert {row["_epoch"] for row in agent.rows("t") if "spare" in row} == {1}
    assert agent.outbox.stream(StreamName("d", "s", "t")).epoch == 2
    assert agent.outbox.stream(StreamName("d", "s", "u")).epoch == 1
