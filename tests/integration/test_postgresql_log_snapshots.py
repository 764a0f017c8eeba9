"""Snapshots beside PostgreSQL's log, and what `check` says of the log."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from forebay_agent import errors
from forebay_agent.capture.log import LogRows
from forebay_agent.capture.postgresql.log import source as log_source
from forebay_agent.capture.source import Finding, RowRange, Severity, TableName
from forebay_agent.config.model import TableConfig
from tests.contract.sources.postgresql import PostgreSQLHarness
from tests.integration.log_agent import LogAgent
from tests.integration.log_of_postgresql import Log
from tests.integration.log_tables import log_table

T = TableName("public", "t")
BY_ID = RowRange(("id",))


@contextlib.contextmanager
def writing(harness: PostgreSQLHarness, *statements: str) -> Iterator[None]:
    """A writer for each statement, with numbers in it that count up, from two sessions' worth of transactions."""
    stop = threading.Event()

    def write(statement: str) -> None:
        with harness.server.connect(dbname=harness.database) as connection:
            number = 0
            while not stop.is_set():
                number += 1
                connection.execute(statement.replace("NUMBER", str(number)).encode())

    writers = [threading.Thread(target=write, args=(statement,)) for statement in statements]
    for writer in writers:
        writer.start()
    try:
        yield
    finally:
        stop.set()
        for writer in writers:
            writer.join()


def test_a_chunk_holds_everything_that_the_log_has_told(postgresql_harness: PostgreSQLHarness) -> None:
    """Under writers, some hundred times: a commit stands in the log before others can see it."""
    postgresql_harness.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t SELECT n, 0 FROM generate_series(1, 10) n"
    )
    updates = [f"UPDATE t SET v = NUMBER WHERE id = {first}" for first in (1, 2, 3)]
    with Log(postgresql_harness) as log, writing(postgresql_harness, *updates):
        shape = log.followed()[0].shape
        latest: dict[int, int] = {}
        deadline = time.monotonic() + 5
        rounds = 0
        while time.monotonic() < deadline and rounds < 300:
            piece = log.read(0.002)
            for part in piece.parts if piece is not None else ():
                assert isinstance(part, LogRows)
                latest |= zip(*(part.rows.column(name).to_pylist() for name in ("id", "v")), strict=True)
            if not latest:
                continue
            seen: dict[int, int] = {}
            for batch in log.source.read_chunk(shape, BY_ID, log.reader):
                seen |= zip(*(batch.column(name).to_pylist() for name in ("id", "v")), strict=True)
            assert all(seen[number] >= value for number, value in latest.items())
            rounds += 1
        assert rounds > 30
        assert min(latest[number] for number in (1, 2, 3)) > 1


def test_a_chunk_waits_for_commits_that_wait_for_a_standby(
    postgresql_harness: PostgreSQLHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log tells of them long before any read sees them."""
    postgresql_harness.execute("CREATE TABLE t (id int PRIMARY KEY, v text)")
    with Log(postgresql_harness) as log:
        shape = log.followed()[0].shape
        postgresql_harness.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()")
        insert = "INSERT INTO t SELECT count(*), 'a' FROM t"
        while True:
            commits = threading.Thread(target=postgresql_harness.execute, args=(insert,))
            commits.start()
            commits.join(0.3)
            if commits.is_alive():  # the server has taken the setting up
                break
        try:
            assert len(log.changes()) == len(postgresql_harness.rows("SELECT id FROM t")) + 1
            monkeypatch.setattr(log_source, "_VISIBLE_SECONDS", 0.2)
            for _ in range(2):  # a reader that was opened meanwhile knows no less
                with pytest.raises(errors.SourceError, match="wait for a synchronous standby"):
                    list(log.source.read_chunk(shape, BY_ID, log.reader))
                log.again()
                monkeypatch.setattr("forebay_agent.capture.postgresql.log.visibility._SETTLE_SECONDS", 0.0)
        finally:
            postgresql_harness.execute("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
            commits.join()
        monkeypatch.setattr(log_source, "_VISIBLE_SECONDS", 20.0)
        (batch,) = log.source.read_chunk(shape, BY_ID, log.reader)
        assert batch.num_rows == len(postgresql_harness.rows("SELECT id FROM t"))


def test_a_chunk_may_be_left_and_the_log_and_the_table_be_asked_meanwhile(
    postgresql_harness: PostgreSQLHarness,
) -> None:
    postgresql_harness.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)",
        "INSERT INTO t SELECT n, repeat('x', 900) FROM generate_series(1, 20000) n",
    )
    with Log(postgresql_harness) as log:
        shape = log.followed()[0].shape
        chunk = log.source.read_chunk(shape, BY_ID, log.reader)
        assert next(chunk).num_rows
        postgresql_harness.execute("INSERT INTO t VALUES (0, 'new')")
        piece = log.read(0.5)
        assert piece is not None
        assert sum(part.rows.num_rows for part in piece.parts if isinstance(part, LogRows)) == 1
        chunk.close()  # type: ignore[attr-defined]
        assert log.source.shape(T).columns == shape.columns
        chunks = (log.source.read_chunk(shape, order, log.reader) for order in (BY_ID, RowRange(())))
        by_id, unordered = ([row for batch in chunk for row in batch.column("id").to_pylist()] for chunk in chunks)
        assert by_id == list(range(20_001))
        assert sorted(unordered) == by_id


@pytest.mark.parametrize("seed", [1, 2])
def test_chunks_and_log_make_the_table(postgresql_harness: PostgreSQLHarness, tmp_path: Path, seed: int) -> None:
    """Through the agent's own pipeline: while chunks are read, rows change, move, come and go; large values are left alone."""
    large = "(SELECT string_agg(md5((n + id)::text), '') FROM generate_series(1, 200) n)"
    postgresql_harness.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v int, large text)",
        "INSERT INTO t SELECT n FROM generate_series(1, 3000) n",
        f"UPDATE t SET large = {large} WHERE id % 7 = 0",
    )
    statements = (
        "UPDATE t SET v = NUMBER WHERE id % 101 = NUMBER % 101",
        "DELETE FROM t WHERE id % 307 = NUMBER % 307",
        "INSERT INTO t SELECT n, NUMBER FROM generate_series(NUMBER * 5, NUMBER * 5 + 9) n ON CONFLICT DO NOTHING",
        "UPDATE t SET id = 100000 + NUMBER WHERE large IS NULL AND id = NUMBER * 3",
        f"UPDATE t SET large = {large} WHERE id % 211 = NUMBER % 211",
    )
    draw = random.Random(seed)
    with LogAgent(postgresql_harness, tmp_path, TableConfig("public.t", mode="log"), chunk_rows=40) as agent:
        agent.pipeline.step()
        with writing(postgresql_harness, *statements):
            until = time.monotonic() + 2.5
            while time.monotonic() < until:
                agent.pipeline.step()
                agent.pipeline._snapshots._pace.rows = draw.randint(20, 120)
                if draw.random() < 0.01:
                    agent.kill()
        agent.drain()
        stored = agent.table("public.t")
        assert len(stored) > 100  # how many the writer leaves depends on how fast it is
        assert agent.mirror("public.t") == stored
        assert agent.outbox.stream(agent.name("public.t")).epoch == 1


def test_a_table_without_a_key_is_copied_whole_beside_the_log(
    postgresql_harness: PostgreSQLHarness, tmp_path: Path
) -> None:
    postgresql_harness.execute(
        "CREATE TABLE t (a int, v text)",
        "INSERT INTO t SELECT n % 10, 'x' FROM generate_series(1, 5000) n",
        "ALTER TABLE t REPLICA IDENTITY FULL",
    )
    with LogAgent(postgresql_harness, tmp_path, TableConfig("public.t", mode="log")) as agent:
        agent.drain()
        postgresql_harness.execute("UPDATE t SET v = 'y' WHERE a = 3", "DELETE FROM t WHERE a = 4")
        agent.drain()
        told = agent.told("public.t")
        assert {op: len([each for each in told if each[0] == op]) for op in "rcd"} == {"r": 5000, "c": 500, "d": 1000}
        left = sorted([row for op, *row in told if op in "rc"])
        for op, *row in told:
            if op == "d":
                left.remove(row)
        assert left == sorted([list(row) for row in postgresql_harness.rows("SELECT a, v FROM t")])


def test_a_table_without_a_key_that_comes_in_many_pieces_is_copied_while_the_source_is_asked_other_things(
    postgresql_harness: PostgreSQLHarness, tmp_path: Path
) -> None:
    rows = 400_000
    postgresql_harness.execute(
        "CREATE TABLE t (a int, v text)",
        f"INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(1, {rows}) n",
        "ALTER TABLE t REPLICA IDENTITY FULL",
        "CREATE TABLE u (id int PRIMARY KEY, v int)",
        "INSERT INTO u VALUES (1, 1)",
    )
    tables = [TableConfig(f"public.{name}", mode="log") for name in "tu"]
    with LogAgent(postgresql_harness, tmp_path, *tables) as agent:
        with writing(postgresql_harness, "INSERT INTO t VALUES (-NUMBER, 'new')"):
            agent.drain()
        agent.drain()
        told = {op: [row for kind, row, *_ in agent.told("public.t") if kind == op] for op in "rc"}
        stored = {row for (row,) in postgresql_harness.rows("SELECT a FROM t")}
    assert len(told["r"]) >= rows
    assert set(told["r"]) | set(told["c"]) == stored
    for rows_of_a_kind in told.values():  # what changed while the copy began may stand in both, and in neither twice
        assert len(rows_of_a_kind) == len(set(rows_of_a_kind))


@pytest.mark.parametrize("key", ["PRIMARY KEY", "NOT NULL"], ids=["with a key", "without"])
def test_a_column_that_is_dropped_right_before_a_chunk_is_read_begins_the_table_anew(
    postgresql_harness: PostgreSQLHarness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    postgresql_harness.execute(
        f"CREATE TABLE t (id int {key}, v int)",
        "ALTER TABLE t REPLICA IDENTITY FULL",
        "INSERT INTO t SELECT n, n FROM generate_series(1, 500) n",
    )
    with LogAgent(postgresql_harness, tmp_path, TableConfig("public.t", mode="log")) as agent:
        read_chunk = agent.source.read_chunk

        def too_late(*arguments: object) -> Iterator[object]:
            if postgresql_harness.rows("SELECT 1 FROM pg_attribute WHERE attrelid = 't'::regclass AND attname = 'v'"):
                postgresql_harness.execute("ALTER TABLE t DROP v")
            return read_chunk(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(agent.source, "read_chunk", too_late)
        agent.drain()
        assert not agent.pipeline.streams[T].parked
        assert sorted(row for _, *row in agent.told("public.t")) == [[number] for number in range(1, 501)]


def severe(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity in (Severity.ERROR, Severity.WARNING)]


@pytest.mark.parametrize("made_by", ["agent", "dba"])
def test_check_says_what_is_missing_and_its_sql_is_enough(postgresql_harness: PostgreSQLHarness, made_by: str) -> None:
    """For a role with nothing: what is printed is run by the DBA until nothing is missing. made_by: who makes the slot."""
    postgresql_harness.execute(
        "CREATE SCHEMA s",
        'CREATE TABLE s."T t" (id int PRIMARY KEY, v text)',
        "CREATE TABLE s.keyless (a int)",
        "ALTER TABLE s.keyless REPLICA IDENTITY NOTHING",
    )
    reader = postgresql_harness.reader()
    config = {**reader, "slot": f"slot_{postgresql_harness.database}"}
    names = [TableName("s", "T t"), TableName("s", "keyless")]
    for name in names:
        with pytest.raises(errors.PrivilegeMissing) as raised:
            postgresql_harness.open(**config).shape(name)
        postgresql_harness.execute(*raised.value.sql.split("; "))
    source = postgresql_harness.open(**config)
    tables = [log_table(source, name) for name in names]
    with pytest.raises(errors.PrivilegeMissing) as refused:
        source.open_log(tables, None)
    found = source.examine_log(tables)
    assert {"replication", "publication", "s.keyless"} == {each.subject for each in severe(found)}
    assert refused.value.sql in {each.sql for each in found}
    rounds = 0
    while missing := severe(found):
        rounds += 1
        assert rounds < 4
        assert all(each.sql and "DBA" in each.remedy for each in missing)
        postgresql_harness.execute(*(each.sql for each in missing))
        found = source.examine_log(tables)
    if made_by == "dba":
        postgresql_harness.execute(*(each.sql for each in found if each.subject == "slot"))
    opened = source.open_log(tables, None)
    try:
        postgresql_harness.execute("INSERT INTO s.\"T t\" VALUES (1, 'a')", "INSERT INTO s.keyless VALUES (2)")
        deadline = time.monotonic() + 10
        rows: list[object] = []
        while len(rows) < 2:
            assert time.monotonic() < deadline
            piece = opened.read(time.monotonic() + 0.1, rows=10, size=1 << 20)
            for part in piece.parts if piece is not None else ():
                assert isinstance(part, LogRows), part
                rows += part.rows.to_pylist()
        assert sum(batch.num_rows for batch in source.read_chunk(tables[0].shape, BY_ID, opened)) == 1
        assert source.retention(opened.checkpoint).bytes_behind > 0
        assert not severe(source.examine_log(tables))
    finally:
        opened.close()
        source.close()


def test_check_warns_of_a_server_that_cannot_take_another_reader(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute("CREATE TABLE t (id int PRIMARY KEY)")
    source = postgresql_harness.open()
    ((most,),) = postgresql_harness.rows(
        "SELECT current_setting('max_replication_slots')::int - count(*) FROM pg_replication_slots"
    )
    made = [f"full_{number}_{postgresql_harness.database}" for number in range(int(str(most)))]
    postgresql_harness.execute(*(f"SELECT pg_create_physical_replication_slot('{name}')" for name in made))
    try:
        found = {each.subject: each for each in severe(source.examine_log([log_table(source, T)]))}
        with pytest.raises(errors.LogUnfit) as raised:
            source.open_log([log_table(source, T)], None)
        assert set(found) == {"max_replication_slots"}
        assert found["max_replication_slots"].sql == raised.value.sql
    finally:
        postgresql_harness.execute(*(f"SELECT pg_drop_replication_slot('{name}')" for name in made))


def test_check_warns_of_tables_that_the_log_cannot_carry(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute(
        "CREATE TABLE generated (id int PRIMARY KEY, d int GENERATED ALWAYS AS (id * 2) STORED)",
        "CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY)",
        "CREATE TABLE parent (id int PRIMARY KEY)",
        "CREATE TABLE child () INHERITS (parent)",
        "CREATE VIEW seen AS SELECT 1 AS id",
        "CREATE TABLE rootless (id int NOT NULL, v text) PARTITION BY RANGE (id)",
        "CREATE TABLE leaf PARTITION OF rootless FOR VALUES FROM (0) TO (10)",
        "ALTER TABLE leaf REPLICA IDENTITY FULL",
        "CREATE TABLE hidden (id int PRIMARY KEY)",
        "ALTER TABLE hidden ENABLE ROW LEVEL SECURITY",
    )
    reader = postgresql_harness.reader("SELECT ON ALL TABLES IN SCHEMA public")
    postgresql_harness.execute(f"ALTER ROLE {reader['user']} REPLICATION", "CREATE PUBLICATION pub")
    expected = {
        "generated": "generated column d is not in the log",
        "unlogged": "an unlogged table",
        "parent": "other tables inherit",
        "seen": "is a view",
        "rootless": "has no primary key",
        "hidden": "hide rows from this user",
    }
    with Log(postgresql_harness, tuple(expected), {**reader, "publication": "pub"}) as log:
        found = {each.subject.removeprefix("public."): each for each in severe(log.source.examine_log(log.followed()))}
        for name, reason in expected.items():
            assert reason in found[name].message
            assert found[name].remedy
        piece = log.read(1)
        assert piece is not None
        assert {event.table.name: event.reason for event in piece.parts if not isinstance(event, LogRows)} == {
            name: found[name].message for name in expected
        }
        postgresql_harness.execute(  # nothing was published that the application would suffer from
            "CREATE TABLE leaf_2 PARTITION OF rootless FOR VALUES FROM (10) TO (20)",
            "INSERT INTO rootless VALUES (11)",
            "UPDATE rootless SET v = 'x'",
        )
