"""How a source's thread waits for its log: each trouble is shown once, looked at ever more slowly, and heals by itself."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from forebay_agent.capture.log import LogPiece, LogTable, Retention
from forebay_agent.capture.source import TableName, TableShape
from forebay_agent.config.model import OutboxConfig, SourceConfig, TableConfig
from forebay_agent.errors import AgentError, LogGap, LogUnfit, LogUnreadable, SourceReplaced, SourceUnreachable
from forebay_agent.outbox import Outbox
from forebay_agent.pulse import Pulses
from forebay_agent.source_worker import SourceWorker
from forebay_agent.stream_state import Board, StreamState
from forebay_wire.stream import StreamName
from tests.contract.sources.memory_log import MemoryDatabase, MemoryReader, MemorySource

T = StreamName("d", "s", "t")
U = StreamName("d", "s", "u")


class Clock:
    def __init__(self) -> None:
        self.seconds = 1000.0

    def now_us(self) -> int:
        return int(self.seconds * 1_000_000)

    def monotonic(self) -> float:
        return self.seconds


@dataclass
class Server:
    """What answers at the source's address. refuses: opening the log; breaks: reading within the transaction of that number;
    gone: reading at all."""

    database: MemoryDatabase
    refuses: type[AgentError] | None = None
    breaks: tuple[int, type[AgentError]] | None = None
    gone: bool = False
    sessions: int = 0
    logs: int = 0
    asked: int = 0
    described: Counter[str] = field(default_factory=Counter)


class Session(MemorySource):
    """Pieces are of one change, or nothing has come yet."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.database, random.Random(1), most=1)
        self.server = server
        server.sessions += 1

    def open_log(self, tables: Sequence[LogTable], checkpoint: str | None) -> MemoryReader:
        self.server.logs += 1
        if self.server.refuses is not None:
            raise self.server.refuses
        super().open_log(tables, checkpoint)
        return Reader(self, tables, self.log_end() if checkpoint is None else checkpoint)

    def shape(self, table: TableName, as_text: frozenset[str] = frozenset()) -> TableShape:
        self.server.described[table.name] += 1
        return super().shape(table, as_text)

    def retention(self, checkpoint: str) -> Retention:
        self.server.asked += 1
        return Retention(7.0, 1, "for seven hours")


class Reader(MemoryReader):
    def read(self, until: float, *, rows: int, size: int) -> LogPiece | None:
        assert isinstance(self._source, Session)
        server = self._source.server
        if server.gone:
            raise SourceUnreachable("the line was cut")
        if server.breaks is not None and self._at[0] == server.breaks[0] and self._at[1]:
            raise server.breaks[1]
        return super().read(until, rows=rows, size=size)


class Agent:
    """One source's thread, stepped by the test on a clock of its own. `server` may be exchanged."""

    def __init__(self, folder: Path, server: Server, *tables: TableConfig) -> None:
        self.server = server
        self.clock = Clock()
        self.outbox = Outbox.open(folder, OutboxConfig(free_disk=0))
        self.board = Board()
        config = SourceConfig(
            "s", "mysql", "s.toml", linger=timedelta(0), tables=tables or (TableConfig("t", mode="log"),)
        )
        self.worker = SourceWorker(
            config, "d", self.outbox, self.board, Pulses(self.clock.monotonic), self.clock, opener=self._open
        )

    def _open(self, config: SourceConfig) -> Session:
        return Session(self.server)

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> float:
        """Steps for so long; -> after how many seconds `until` came to hold."""
        began = self.clock.seconds
        while self.clock.seconds < began + seconds and not until():
            pause = self.worker.step()
            assert self.worker.log is not None
            if self.worker.log._in_flight is not None:
                self.worker.log._in_flight.exception()  # what takes real time takes none of the clock's
            self.clock.seconds += max(pause, 0.1)
        return self.clock.seconds - began

    def state(self, name: StreamName = T) -> StreamState:
        return self.board.of(name)

    def streams(self, name: StreamName = T) -> bool:
        return self.state(name).state == "streaming"

    def told(self) -> str:
        """State, code and reason."""
        state = self.state()
        return " ".join((state.state, state.trouble.code, state.trouble.reason) if state.trouble else (state.state,))

    @property
    def captured(self) -> int:
        return self.outbox.stream(T).next_seq - 1


@pytest.fixture
def database() -> MemoryDatabase:
    made = MemoryDatabase()
    for name in ("t", "u"):
        made.create(name, {"id": pa.int64(), "v": pa.string()}, ("id",))
    return made


@contextmanager
def agent_over(folder: Path, server: Server, *tables: TableConfig) -> Iterator[Agent]:
    agent = Agent(folder, server, *tables)
    yield agent
    agent.worker._close_session()
    agent.outbox.close()


def test_a_log_that_breaks_off_is_looked_at_soon_and_then_ever_more_slowly(
    tmp_path: Path, database: MemoryDatabase
) -> None:
    server = Server(database)
    with agent_over(tmp_path, server) as agent:
        agent.run(10, agent.streams)
        server.breaks = len(database.log), LogUnreadable
        database.commit(*(("t", "c", {"id": number, "v": "x"}) for number in range(5)))
        agent.run(10, lambda: agent.state().state == "held")
        logs = server.logs
        agent.run(10)
        assert 2 <= server.logs - logs <= 8
        agent.run(120)
        logs = server.logs
        agent.run(300)
        # each of them reads the whole transaction anew, up to where it breaks off
        assert 300 / 31 <= server.logs - logs <= 300 / 14
        assert agent.told() == f"held {LogUnreadable.code} {LogUnreadable.__doc__}"
        server.breaks = None
        assert agent.run(60, agent.streams) < 35
        before = agent.captured
        database.commit(("t", "c", {"id": 50, "v": "x"}))
        assert agent.run(10, lambda: agent.captured > before) < 5


def test_a_trouble_that_heals_once_is_over_within_seconds(tmp_path: Path, database: MemoryDatabase) -> None:
    server = Server(database)
    with agent_over(tmp_path, server) as agent:
        agent.run(10, agent.streams)
        server.breaks = len(database.log), LogUnreadable
        database.commit(*(("t", "c", {"id": number, "v": "x"}) for number in range(3)))
        agent.run(10, lambda: agent.state().state == "held")
        server.breaks = None
        assert agent.run(10, agent.streams) < 3


def test_a_reset_of_a_held_stream_is_taken_up_at_once(tmp_path: Path, database: MemoryDatabase) -> None:
    server = Server(database)
    with agent_over(tmp_path, server) as agent:
        agent.run(10, agent.streams)
        server.breaks = len(database.log), LogUnreadable
        database.commit(*(("t", "c", {"id": number, "v": "x"}) for number in range(3)))
        agent.run(200)
        agent.outbox.reset(T, who="test", why="the log is damaged")
        assert agent.run(60, agent.streams) < 3


def test_another_server_is_asked_for_anew_at_every_look_and_its_own_is_found_again(
    tmp_path: Path, database: MemoryDatabase
) -> None:
    """Behind a proxy or a name a session with the wrong server would live on for ever."""
    own, other = Server(database), Server(MemoryDatabase())
    other.database.name = "memory-2"
    other.database.create("t", {"id": pa.int64(), "v": pa.string()}, ("id",))
    other.database.commit(("t", "c", {"id": 1, "v": "not ours"}))
    with agent_over(tmp_path, own) as agent:
        agent.run(10, agent.streams)
        agent.server = other
        own.gone = True
        database.commit(("t", "c", {"id": 5, "v": "a"}), ("t", "c", {"id": 6, "v": "a"}))
        agent.run(10, lambda: agent.state().state == "held")
        trouble = agent.state().trouble
        assert trouble is not None
        assert trouble.code == SourceReplaced.code
        assert "Point the source back" in trouble.remedy
        agent.run(60)
        assert 3 <= other.sessions <= 12
        assert other.logs == 0
        agent.server, own.gone = own, False
        before = agent.captured
        assert agent.run(60, lambda: agent.captured > before) < 35
        assert agent.outbox.stream(T).epoch == 1


def test_a_log_that_refuses_its_readers_is_not_asked_over_and_over(tmp_path: Path, database: MemoryDatabase) -> None:
    """A session can be opened, a replication connection cannot (as when the server has no more of them to give)."""
    server = Server(database, refuses=SourceUnreachable)
    with agent_over(tmp_path, server, TableConfig("t", mode="log"), TableConfig("u", mode="snapshot")) as agent:
        agent.run(60)
        assert server.logs <= 12
        assert agent.state().state == "waiting"
        # a table in another mode has nothing to do with it
        assert agent.streams(U)
        server.refuses = None
        assert agent.run(60, agent.streams) < 35


def test_a_stream_with_a_trouble_of_its_own_keeps_it_whatever_happens_to_the_log(
    tmp_path: Path, database: MemoryDatabase
) -> None:
    server = Server(database)
    with agent_over(tmp_path, server, TableConfig("t", mode="log"), TableConfig("u", mode="log")) as agent:
        agent.run(10, lambda: agent.streams(T) and agent.streams(U))
        database.lose("t", LogUnfit("a part of the row is missing", sql="SET GLOBAL x = 1;"))
        agent.run(10, lambda: agent.state().state == "held")
        held = agent.state().trouble
        assert held is not None
        assert held.remedy.endswith("SQL: SET GLOBAL x = 1;")
        server.gone = True
        database.commit(("u", "c", {"id": 5, "v": "a"}), ("u", "c", {"id": 6, "v": "a"}))
        agent.run(10, lambda: agent.state(U).state == "waiting")
        assert agent.state(U).state == "waiting"
        assert agent.state(T).trouble == held
        server.gone = False
        agent.run(60, lambda: agent.streams(U))
        assert agent.state(T).trouble == held
        assert agent.state(T).log_hours_left is None
        assert agent.state(U).log_hours_left == 7.0


def test_a_gap_that_the_reader_meets_parks_the_stream_within_seconds(tmp_path: Path, database: MemoryDatabase) -> None:
    server = Server(database)
    with agent_over(tmp_path, server) as agent:
        agent.run(10, agent.streams)
        server.breaks = len(database.log), LogGap
        database.commit(("t", "c", {"id": 1, "v": "x"}), ("t", "c", {"id": 2, "v": "x"}))
        database.commit(("t", "c", {"id": 3, "v": "x"}))
        database.first = len(database.log)
        agent.run(10, lambda: "are gone" in agent.told())
        assert "are gone" in agent.told()
        logs = server.logs
        agent.run(120)
        assert server.logs == logs, "a parked stream needs no connection"


def test_while_a_trouble_holds_the_log_its_retention_is_watched(tmp_path: Path, database: MemoryDatabase) -> None:
    server = Server(database)
    with agent_over(tmp_path, server) as agent:
        agent.run(10, agent.streams)
        server.refuses = LogUnfit
        server.breaks = len(database.log), LogUnreadable
        database.commit(("t", "c", {"id": 1, "v": "x"}), ("t", "c", {"id": 2, "v": "x"}))
        agent.run(60)
        assert agent.state().state == "held"
        asked = server.asked
        agent.run(120)
        assert 2 <= server.asked - asked <= 6
        assert (agent.state().log_hours_left, agent.state().log_kept) == (7.0, "for seven hours")


@pytest.mark.parametrize("tables", [1, 5, 40])
def test_tables_that_rest_are_described_now_and_then_each_in_its_turn(
    tmp_path: Path, database: MemoryDatabase, tables: int
) -> None:
    """What a resting agent asks of its database is next to nothing, however many tables it has."""
    names = [f"t{number}" for number in range(tables)]
    for name in names:
        database.create(name, {"id": pa.int64(), "v": pa.string()}, ("id",))
    server = Server(database)
    with agent_over(tmp_path, server, *(TableConfig(name, mode="log") for name in names)) as agent:
        agent.run(30, lambda: all(agent.streams(StreamName("d", "s", name)) for name in names))
        server.described.clear()
        agent.run(120)
        approval = 120 / 30 + 1
        turns = 120 / max(10, tables) + 1
        assert min(server.described[name] for name in names) >= turns / 2
        assert max(server.described.values()) <= turns + approval
