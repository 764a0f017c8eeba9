"""Streams of one log that stand still for a while, alone or all of them: nothing is lost, and nothing captured meanwhile."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from forebay_wire.key_range import KeyRange
from forebay_wire.stream import StreamName
from tests.daemon.memory_agent import TABLES, Agent, database_of, source_rows, write


def stream(name: str) -> StreamName:
    return StreamName("d", "s", name)


@pytest.mark.parametrize("seed", range(40))
def test_pauses_in_any_order_lose_nothing_and_capture_nothing_meanwhile(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    database = database_of(draw.choice((0, 3, 25)))
    agent = Agent(tmp_path, database, draw)
    paused: frozenset[StreamName] = frozenset()
    for _ in range(80):
        move = draw.random()
        if move < 0.45:
            write(database, draw)
        elif move < 0.85:
            before = {name: agent.rows(name.table) for name in paused}
            agent.pipeline.step()
            agent.pipeline.pause(paused)  # changes nothing
            assert {name: agent.rows(name.table) for name in paused} == before
        elif move < 0.9:
            agent.kill()
            agent.pipeline.pause(paused)
        elif move < 0.92:
            agent.outbox.reset(agent.outbox.stream(stream(draw.choice(TABLES))).name, who="test", why="now")
        elif move < 0.94:
            asked = agent.outbox.stream(stream(draw.choice(TABLES))).name
            agent.outbox.request_range(asked, KeyRange("10", "30"), who="test", why="now")
            agent.pipeline._looked = float("-inf")
        else:
            paused = frozenset(stream(name) for name in TABLES if draw.random() < 0.4)
            agent.pipeline.pause(paused)
    agent.pipeline.pause(frozenset())
    agent.pipeline._looked = float("-inf")
    agent.drain()
    for name in TABLES:
        assert agent.mirror(name) == source_rows(database, name), name


def test_a_source_that_is_paused_as_a_whole_goes_on_where_it_was(tmp_path: Path) -> None:
    draw = random.Random(5)
    database = database_of(5)
    agent = Agent(tmp_path, database, draw)
    agent.drain()
    at = agent.outbox.log("d", "s")
    agent.pipeline.pause(frozenset({stream("t"), stream("u")}))
    database.commit(("t", "u", {"id": 10, "v": "between", "large": "x"}), ("u", "d", {"id": 10}))
    database.commit(("t", "u", {"id": 10, "v": "after", "large": "x"}))
    agent.drain()
    assert agent.outbox.log("d", "s") == at
    assert agent.board.of(stream("t")).log_bytes_behind == 2, "how much waits is not looked at"
    agent.pipeline.pause(frozenset())
    agent.drain()
    assert agent.mirror("t") == source_rows(database, "t")
    assert [row["v"] for row in agent.rows("t") if row["_op"] == "u"] == ["between", "after"]
    assert [agent.outbox.stream(stream(name)).epoch for name in TABLES] == [1, 1]


def test_a_stream_that_is_paused_beside_others_does_not_pin_the_log_and_is_taken_anew(tmp_path: Path) -> None:
    draw = random.Random(6)
    database = database_of(5)
    agent = Agent(tmp_path, database, draw)
    agent.drain()
    agent.pipeline.pause(frozenset({stream("t")}))
    database.commit(("t", "d", {"id": 10}), ("u", "d", {"id": 10}))
    agent.drain()
    log = agent.outbox.log("d", "s")
    assert log is not None
    assert (int(log.checkpoint), log.tables) == (len(database.log), frozenset({"u"}))
    assert (10,) in agent.mirror("t")
    agent.pipeline.pause(frozenset())
    agent.drain()
    assert agent.mirror("t") == source_rows(database, "t")
    assert [agent.outbox.stream(stream(name)).epoch for name in TABLES] == [2, 1]
