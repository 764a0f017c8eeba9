"""A mirror that is kept by PostgreSQL's log alone is the table, whatever is written, defined and interrupted meanwhile."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from forebay_agent.capture.postgresql.log import reader
from forebay_agent.capture.source import TableName
from forebay_agent.config.model import TableConfig
from forebay_agent.errors import AgentError
from forebay_agent.log import pipeline
from tests.contract.sources.postgresql import PostgreSQLHarness
from tests.integration.log_agent import LogAgent
from tests.servers.postgresql import PostgreSQL

SECONDS = 8.0
LOOK_SECONDS = 0.4
_T = "public.t"
_EXTRA = ("e1", "e2", "e3")
_LARGE = "(SELECT string_agg(md5((n + {0})::text), '') FROM generate_series(1, 120) n)"


@pytest.fixture(scope="module")
def small_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    """A server that sends what passes 64 kB before it is committed."""
    folder = tmp_path_factory.mktemp("small")
    with PostgreSQL.start(folder, options=["logical_decoding_work_mem=64kB"]) as server:
        yield server


class _Writer:
    """Random work of one seed, in a session of its own."""

    def __init__(self, harness: PostgreSQLHarness, seed: int) -> None:
        self.random = random.Random(seed)
        self.gid = f"{harness.database}_{seed}"
        self.connection = harness.server.connect(dbname=harness.database, autocommit=True)
        self.execute("SET lock_timeout = '1s'")
        self.prepared: list[str] = []
        self.steps = 0

    def execute(self, statement: str) -> None:
        self.connection.execute(statement.encode())

    def work(self, deadline: float, *, defines: bool) -> None:
        while time.monotonic() < deadline:
            try:
                self.step(defines=defines)
                self.steps += 1
            except psycopg.Error:
                with contextlib.suppress(psycopg.Error):
                    self.execute("ROLLBACK")
        while self.prepared:
            self.settle_prepared()
        self.connection.close()

    def step(self, *, defines: bool) -> None:
        pick = self.random.random()
        if defines and pick < 0.12:
            for _ in range(self.random.choice((1, 1, 1, 2, 3))):
                self.execute(self.definition())
            time.sleep(0.05)
        elif defines and pick < 0.2:
            self.execute("BEGIN")
            for _ in range(self.random.randint(1, 3)):
                self.execute(self.definition(within=True))
                self.execute(self.change())
            self.execute(self.random.choice(("COMMIT", "COMMIT", "ROLLBACK")))
        elif pick < 0.25 and not defines:
            self.execute("BEGIN")
            self.execute(self.change())
            gid = f"{self.gid}_{self.steps}"
            self.execute(f"PREPARE TRANSACTION '{gid}'")
            self.prepared.append(gid)
            if self.random.random() < 0.5:
                self.execute(self.change())
            self.settle_prepared()
        else:
            self.transaction()

    def settle_prepared(self) -> None:
        gid = self.prepared.pop()
        self.execute(f"{self.random.choice(('COMMIT', 'ROLLBACK'))} PREPARED '{gid}'")

    def transaction(self) -> None:
        self.execute("BEGIN")
        for _ in range(self.random.randint(1, 5)):
            self.execute(self.change())
            if self.random.random() < 0.2:
                self.execute("SAVEPOINT s")
                self.execute(self.change())
                self.execute(self.random.choice(("ROLLBACK TO s", "RELEASE s")))
        self.execute(self.random.choice(("COMMIT", "COMMIT", "COMMIT", "ROLLBACK")))

    def change(self) -> str:
        number = self.random.randint(1, 300)
        if self.random.random() < 0.03:
            return (
                f"INSERT INTO t (id, a) SELECT n, repeat('bulk', 20) FROM generate_series({1000 + number}, {2200 + number}) n "
                "ON CONFLICT DO NOTHING"
            )
        return self.random.choice(
            (
                f"INSERT INTO t (id, a, b) VALUES ({number}, 'v{self.random.random()}', {number}) ON CONFLICT DO NOTHING",
                f"INSERT INTO t (id, a) VALUES ({number}, '企业{number}') ON CONFLICT (id) DO UPDATE SET a = '企业'",
                f"UPDATE t SET a = 'w{self.random.random()}', b = b + 1 WHERE id BETWEEN {number} AND {number + 5}",
                f"UPDATE t SET large = {_LARGE.format(number)} WHERE id % 50 = {number % 50}",
                f"UPDATE t SET b = b - 1 WHERE id % 60 = {number % 60}",
                f"UPDATE t SET id = id + 407 WHERE id = {number} AND large IS NULL",
                f"DELETE FROM t WHERE id = {number}",
                f"DELETE FROM t WHERE id > 1000 AND id % 3 = {number % 3}",
            )
        )

    def definition(self, *, within: bool = False) -> str:
        extra = self.random.choice(_EXTRA)
        definitions = [
            f"ALTER TABLE t ADD COLUMN {extra} int",
            f"ALTER TABLE t ADD COLUMN {extra} varchar(9)",
            f"ALTER TABLE t ADD COLUMN {extra} varchar(9) NOT NULL DEFAULT 'd'",
            f"ALTER TABLE t ADD COLUMN {extra} bigserial",
            f"ALTER TABLE t DROP COLUMN {extra}",
            f"ALTER TABLE t DROP COLUMN {extra}, ADD COLUMN {extra} int",
            f"ALTER TABLE t RENAME {extra} TO {self.random.choice(_EXTRA)}",
            f"ALTER TABLE t ALTER {extra} TYPE varchar(30) USING {extra}::text || 'u'",
            "ALTER TABLE t ALTER b TYPE bigint USING b + 1000",
            "ALTER TABLE t ALTER a SET STORAGE EXTERNAL",
            f"ALTER TABLE t REPLICA IDENTITY {self.random.choice(('FULL', 'DEFAULT'))}",
            "TRUNCATE t",
        ]
        if not within:
            definitions += ["VACUUM FULL t", "ANALYZE t", "CREATE INDEX i ON t (b)", "DROP INDEX i", "CHECKPOINT"]
        return self.random.choice(definitions)


class _Reading:
    """The agent, killed now and then. troubles: what its steps raised."""

    def __init__(self, agent: LogAgent, seed: int) -> None:
        self.agent = agent
        self.random = random.Random(seed)
        self.troubles: list[str] = []
        self.kills = self.lost = 0

    def step(self) -> None:
        """As the agent's source worker: after an error, again."""
        try:
            self.agent.pipeline.step()
        except AgentError as error:
            self.troubles.append(f"{error.code} {error}")
            time.sleep(0.05)
        self.take_anew()

    def take_anew(self) -> None:
        """As a person does with a table that is lost."""
        parked = [stream for stream in self.agent.pipeline.streams.values() if stream.parked]
        if parked and not self.agent.pipeline.open:
            self.lost += 1
            self.troubles += [stream.checkpoint.parked for stream in parked]
            self.agent.outbox.reset(self.agent.name(_T), who="test", why="lost")

    def while_alive(self, threads: list[threading.Thread]) -> None:
        kill = time.monotonic() + 1
        while any(thread.is_alive() for thread in threads):
            self.step()
            if time.monotonic() > kill:
                self.agent.kill()
                self.kills += 1
                kill = time.monotonic() + self.random.uniform(0.1, 2)

    def to_the_end(self) -> None:
        """Until nothing has changed for as long as looks may take."""
        epoch, until = -1, 0.0
        give_up = time.monotonic() + 30
        while epoch < 0 or time.monotonic() < until:
            assert time.monotonic() < give_up, self.troubles
            with contextlib.suppress(AgentError):
                self.agent.drain(5)
            self.take_anew()
            now = self.agent.outbox.stream(self.agent.name(_T)).epoch
            copying = any(stream.copying for stream in self.agent.pipeline.streams.values())
            if now != epoch or copying or not self.agent.pipeline.streams:
                epoch, until = now, time.monotonic() + 2.5 * LOOK_SECONDS


@pytest.mark.parametrize(("seed", "streams"), [(1, False), (2, True), (3, True)])
def test_a_mirror_kept_by_the_log_is_the_table(
    postgresql: PostgreSQL,
    small_server: PostgreSQL,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    streams: bool,
) -> None:
    """streams: transactions are sent before they are committed."""
    monkeypatch.setattr(reader, "_LOOK_SECONDS", LOOK_SECONDS)
    monkeypatch.setattr(pipeline, "_LOOK_SECONDS", LOOK_SECONDS / 2)
    harness = PostgreSQLHarness(small_server if streams else postgresql)
    harness.execute(
        "CREATE TABLE t (id int PRIMARY KEY, a text, b bigint, large text)",
        "INSERT INTO t SELECT n, 'before', n FROM generate_series(1, 300) n",
        "ALTER TABLE t ALTER large SET STORAGE EXTERNAL",
    )
    deadline = time.monotonic() + SECONDS
    writers = [_Writer(harness, seed * 10 + number) for number in range(3)]
    threads = [
        threading.Thread(target=writer.work, args=(deadline,), kwargs={"defines": number == 0})
        for number, writer in enumerate(writers)
    ]
    try:
        with LogAgent(harness, tmp_path, TableConfig(_T, mode="log"), chunk_rows=60) as agent:
            reading = _Reading(agent, seed)
            for thread in threads:
                thread.start()
            reading.while_alive(threads)
            reading.to_the_end()
            stored = agent.table(_T)
            names = [column.name for column in agent.source.shape(TableName.parse(_T)).columns]
            mirror = {key: {name: row.get(name) for name in names} for key, row in agent.mirror(_T).items()}
            steps = [writer.steps for writer in writers]
            epoch = agent.outbox.stream(agent.name(_T)).epoch
            print(f"{seed=} {steps=} rows={len(stored)} {epoch=} {reading.kills=} {reading.lost=} {reading.troubles}")
            assert mirror == stored
            assert reading.kills > 0
            assert reading.lost == 0
    finally:
        for thread in threads:
            thread.join()
        harness.close()
