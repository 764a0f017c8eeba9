"""What the agent answers to the centre's commands, against SQL of one's own on the source."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from forebay_agent.clock import SystemClock
from forebay_agent.config.model import CollectorConfig, MaskConfig, OutboxConfig, SourceConfig, TableConfig
from forebay_agent.control import reading
from forebay_agent.control.commands import Commands
from forebay_agent.outbox import Outbox
from forebay_agent.pulse import Pulses
from forebay_agent.source_worker import SourceWorker
from forebay_agent.stream_state import Board
from forebay_agent.uplink import Uplink
from forebay_wire.canonical import CELLS, TableDigest, canonical_rows, cell, digests
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2
from tests.daemon.scripted import Script, ScriptedCollector
from tests.receiving.batches import DEPARTMENT

PEOPLE = StreamName(DEPARTMENT, "civil", "people")
BROKEN = StreamName(DEPARTMENT, "civil", "broken")


class Stage:
    """One source's thread and one uplink over a scripted collector, in this process."""

    def __init__(self, folder: Path) -> None:
        self.database = folder / "civil.db"
        with closing(sqlite3.connect(self.database)) as connection:
            connection.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT, n INTEGER NOT NULL)")
            connection.commit()
        state = folder / "state"
        self.script = Script()
        self.collector = ScriptedCollector(folder / "authority", self.script)
        self.collector.enrol(state)
        self.outbox = Outbox.open(state, OutboxConfig(free_disk=0))
        self.board = Board()
        clock = SystemClock()
        pulses = Pulses(clock.monotonic)
        people = TableConfig("people", mode="cursor", cursor="n", masks=(MaskConfig("name", "name"),))
        source = SourceConfig(
            "civil",
            "sqlite",
            "civil.toml",
            path=self.database,
            poll_interval=timedelta(hours=1),  # so that only commands poll
            tables=(people, TableConfig("broken", mode="cursor", cursor="n", priority=9)),
        )
        self.worker = SourceWorker(source, DEPARTMENT, self.outbox, self.board, pulses, clock)
        self.uplink = Uplink(state, CollectorConfig(), self.outbox, self.board, pulses, clock)
        self.commands = Commands(self.outbox, self.board, lambda: [self.worker])
        self._threads = [threading.Thread(target=body) for body in (self.worker.run, self.uplink.run)]
        for thread in self._threads:
            thread.start()

    def insert(self, first: int, count: int) -> None:
        with closing(sqlite3.connect(self.database, timeout=30)) as connection, connection:
            rows = ((number, f"欧阳{number}", number) for number in range(first, first + count))
            connection.executemany("INSERT INTO people VALUES (?, ?, ?)", rows)

    def without_trouble(self) -> None:
        """The table that is missing appears."""
        with closing(sqlite3.connect(self.database, timeout=30)) as connection, connection:
            connection.execute("CREATE TABLE broken (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)")

    def ask(self, **kind: object) -> list[control_pb2.CommandResult]:
        parts: list[control_pb2.CommandResult] = []
        self.commands.execute(control_pb2.Command(command_id="c1", **kind), parts.append)  # type: ignore[arg-type]
        assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]
        assert {part.command_id for part in parts} == {"c1"}
        return parts

    def close(self) -> None:
        self.worker.stop()
        self.uplink.stop()
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()
        self.outbox.close()
        self.collector.stop()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.close()


def expected(rows: list[tuple[int, str, int]]) -> tuple[list[bytes], list[bytes], list[bytes]]:
    """Key digests, canonical keys and row digests, from rows as they must leave the appliance."""
    ids = pa.array([number for number, _, _ in rows], pa.int64())
    columns = [ids, pa.array([name for _, name, _ in rows]), pa.array([n for _, _, n in rows], pa.int64())]
    keys = canonical_rows([ids])
    return digests(keys), keys.to_pylist(), digests(canonical_rows(columns))


def masked(first: int, count: int) -> list[tuple[int, str, int]]:
    return [(number, "欧阳*", number) for number in range(first, first + count)]


def test_drain_answers_when_everything_committed_is_durable(stage: Stage) -> None:
    stage.without_trouble()
    stage.insert(1, 500)
    (answer,) = stage.ask(drain=control_pb2.Drain(timeout_seconds=30))
    assert (answer.code, answer.reason) == ("", "")
    assert {row["id"] for row in stage.script.rows(PEOPLE)} == set(range(1, 501))
    assert stage.outbox.state().batches == 0
    stage.insert(501, 3)
    (answer,) = stage.ask(drain=control_pb2.Drain(timeout_seconds=30))
    assert answer.code == ""
    assert {row["id"] for row in stage.script.rows(PEOPLE)} == set(range(1, 504))


def test_drain_drains_the_others_and_names_the_stream_in_trouble(stage: Stage) -> None:
    stage.insert(1, 10)
    (answer,) = stage.ask(drain=control_pb2.Drain(timeout_seconds=30))
    assert answer.code
    assert str(BROKEN) in answer.reason
    assert str(PEOPLE) not in answer.reason
    assert {row["id"] for row in stage.script.rows(PEOPLE)} == set(range(1, 11))


def test_drain_says_what_is_not_durable_in_time(stage: Stage) -> None:
    stage.without_trouble()
    stage.script.answers = False
    stage.insert(1, 10)
    began = time.monotonic()
    (answer,) = stage.ask(drain=control_pb2.Drain(timeout_seconds=2))
    assert (answer.code, str(PEOPLE) in answer.reason) == ("FB-COMMAND-TIMEOUT", True)
    assert time.monotonic() - began < 10


def test_the_digest_is_that_of_the_masked_rows_and_names_the_seq_that_was_sealed_before(stage: Stage) -> None:
    stage.insert(1, 2_990)
    stage.ask(drain=control_pb2.Drain(timeout_seconds=30))
    before = stage.outbox.stream(PEOPLE).last
    stage.insert(2_991, 10)
    (answer,) = stage.ask(source_digest=control_pb2.SourceDigest(stream=PEOPLE.to_proto()))
    assert answer.code == ""
    table = TableDigest()
    keys, _, rows = expected(masked(1, 3_000))
    table.add(keys, rows)
    assert answer.rows == 3_000
    assert [(entry.bucket, entry.rows, entry.digest) for entry in answer.buckets] == list(table)
    assert (answer.epoch, answer.seq) == before
    assert answer.seq > 0


def test_keys_come_in_parts_with_their_rows_digests(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MOST_KEYS", 100)
    stage.insert(1, 3_000)
    wanted = list(range(0, 1_024, 3))
    parts = stage.ask(source_keys=control_pb2.SourceKeys(stream=PEOPLE.to_proto(), buckets=wanted))
    assert len(parts) > 5
    assert max(len(part.keys) for part in parts) <= 100
    found = {entry.key: entry.digest for part in parts for entry in part.keys}
    keys, texts, rows = expected(masked(1, 3_000))
    assert found == {text: row for key, text, row in zip(keys, texts, rows, strict=True) if cell(key, CELLS) in wanted}
    assert parts[-1].rows == len(found) == sum(len(part.keys) for part in parts)


def test_parts_follow_one_another_and_make_up_the_table(stage: Stage) -> None:
    stage.insert(1, 3_000)
    whole, after, parts = TableDigest(), None, 0
    while True:
        part = control_pb2.Part(rows=700, after=after)
        (answer,) = stage.ask(source_digest=control_pb2.SourceDigest(stream=PEOPLE.to_proto(), part=part, cells=1_024))
        assert answer.code == "", answer.reason
        parts += 1
        for entry in answer.buckets:
            whole.put(entry.bucket, entry.rows, entry.digest)
        if not answer.HasField("through"):
            break
        assert int(answer.through) == 700 * parts
        after = answer.through
    assert parts == 5
    table = TableDigest()
    keys, _, rows = expected(masked(1, 3_000))
    table.add(keys, rows)
    assert (whole.rows, whole.sums) == (table.rows, table.sums)


def test_keys_are_looked_up_exactly_and_their_columns_told_one_by_one(stage: Stage) -> None:
    stage.insert(1, 3_000)
    _, keys, rows = expected([*masked(5, 900), (99_999, "欧阳*", 1)])
    asked = control_pb2.SourceRows(stream=PEOPLE.to_proto(), keys=keys, columns=True)
    (answer,) = stage.ask(source_rows=asked)
    assert answer.code == "", answer.reason
    assert {entry.key: entry.digest for entry in answer.keys} == dict(zip(keys[:-1], rows[:-1], strict=True))
    first = next(entry for entry in answer.keys if entry.key == b"1:5")
    assert [column.name for column in first.columns] == ["id", "name", "n"]
    assert first.columns[1].digest == digests(canonical_rows([pa.array(["欧阳*"])]))[0]
    (answer,) = stage.ask(source_rows=control_pb2.SourceRows(stream=PEOPLE.to_proto(), keys=[b"3:abc"]))
    assert answer.code == "FB-COMMAND-UNFIT"


def test_a_table_that_cannot_be_read_answers_why(stage: Stage) -> None:
    (answer,) = stage.ask(source_digest=control_pb2.SourceDigest(stream=BROKEN.to_proto()))
    assert answer.code == "FB-TABLE-MISSING"
    assert "broken" in answer.reason


@pytest.mark.parametrize("name", ["civil/other", "elsewhere/people"])
def test_a_stream_that_is_not_configured_is_refused(stage: Stage, name: str) -> None:
    stream = StreamName.parse(f"{DEPARTMENT}/{name}").to_proto()
    for command in (
        {"source_digest": control_pb2.SourceDigest(stream=stream)},
        {"source_keys": control_pb2.SourceKeys(stream=stream, buckets=[1])},
    ):
        (answer,) = stage.ask(**command)
        assert answer.code == "FB-STREAM-UNKNOWN"


def test_a_command_of_a_newer_collector_is_refused_not_ignored(stage: Stage) -> None:
    (answer,) = stage.ask()
    assert answer.code == "FB-COMMAND-UNKNOWN"
