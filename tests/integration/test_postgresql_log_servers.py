"""The server behind the log: another one, an earlier state of it, one that keeps too little, one that is restarted."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator

import psycopg
import pytest

from forebay_agent import errors
from forebay_agent.policy import remedy_of
from tests.contract.sources.postgresql import PostgreSQLHarness
from tests.integration.log_of_postgresql import SECONDS, Log
from tests.integration.log_slots import GAP, T, assert_begins_anew, assert_gap, lost_while_reading, slot_of
from tests.servers.postgresql import PostgreSQL


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    """A server that may be killed, and whose log is short."""
    with PostgreSQL.start(tmp_path_factory.mktemp("own"), options=["min_wal_size=32MB", "max_wal_size=32MB"]) as server:
        yield server


@pytest.fixture
def own(own_server: PostgreSQL) -> Iterator[PostgreSQLHarness]:
    harness = PostgreSQLHarness(own_server)
    harness.execute(T)
    yield harness
    harness.close()


def test_a_slot_that_kept_too_much_is_a_gap(own: PostgreSQLHarness) -> None:
    with Log(own) as log, limited(own):
        own.execute("INSERT INTO t VALUES (1, 'a')")
        assert log.changes() == [("c", 1, "a")]
        log.close()
        assert_lost(log)
        assert_gap(log, f"max_slot_wal_keep_size: .*{GAP}")
        kept = log.source.retention(log.checkpoint)
        assert kept.hours_left == 0.0
        assert "invalidated" in kept.reason
        with pytest.raises(errors.LogUnfit) as raised:  # it was named by the configuration, so it is not the agent's
            log.source.open_log(log.followed(), None)
        own.execute(*(statement for statement in raised.value.sql.split(";") if statement.strip()))
        assert_begins_anew(log)


def test_a_slot_that_is_lost_while_it_is_read_is_a_gap(own: PostgreSQLHarness) -> None:
    with Log(own, keep=False) as log, limited(own):
        assert_lost(log)
        lost_while_reading(log)
        assert_gap(log, f"max_slot_wal_keep_size: .*{GAP}")


def test_another_server_another_database_and_another_timeline_are_refused(
    own: PostgreSQLHarness, own_server: PostgreSQL, postgresql_harness: PostgreSQLHarness
) -> None:
    postgresql_harness.execute(T)
    with Log(postgresql_harness) as log:
        checkpoint = log.checkpoint
    for harness in (own, postgresql_harness):
        other = PostgreSQLHarness(harness.server)
        with (
            contextlib.closing(other),
            pytest.raises(errors.TableReplaced, match=r"captured was server \d+, database \d+"),
        ):
            other.open(slot=slot_of(log)).open_log([], checkpoint)
    with PostgreSQL.start() as standby, Log(own) as log:
        own.execute("INSERT INTO t VALUES (1, 'a')")
        assert log.changes() == [("c", 1, "a")]
        standby.restart_as_standby_of(own_server)
        behind = PostgreSQLHarness(standby, own.database)
        with contextlib.closing(behind.open(**log.config)) as source:
            with pytest.raises(errors.LogUnfit, match="standby") as unfit:
                source.open_log(log.followed(), log.checkpoint)
            assert "primary" in unfit.value.remedy
            standby.execute("SELECT pg_promote()")
            with pytest.raises(errors.TableReplaced, match="timeline 1; the server is on timeline 2") as raised:
                source.open_log(log.followed(), log.checkpoint)
            assert "forebay-agent" in remedy_of(raised.value)


def test_a_server_that_was_set_back_is_a_gap(own: PostgreSQLHarness, own_server: PostgreSQL) -> None:
    """From a copy of its disk: the same server, the same slot, and less log."""
    with Log(own) as log:
        own_server.kill()
        kept = own_server.data.with_name("kept")
        subprocess.run(["cp", "-a", str(own_server.data), str(kept)], check=True)
        own_server.restart()
        own.execute("INSERT INTO t SELECT n, repeat('x', 1000) FROM generate_series(1, 2000) n")
        log.again()
        assert len(log.changes()) == 2000
        log.close()
        own_server.kill()
        shutil.rmtree(own_server.data)
        kept.rename(own_server.data)
        own_server.restart()
        assert_gap(log, "set back")


@pytest.mark.parametrize("ends", ["killed", "shut down"])
def test_a_restarted_server_s_log_goes_on(own: PostgreSQLHarness, own_server: PostgreSQL, ends: str) -> None:
    with Log(own) as log:
        own.execute("INSERT INTO t VALUES (1, 'a')")
        assert log.changes() == [("c", 1, "a")]
        own.execute("INSERT INTO t VALUES (2, 'b')")
        before = log.checkpoint
        if ends == "killed":
            own_server.kill()
        restart = threading.Thread(target=own_server.restart)
        restart.start()  # a server that is shut down sends everything before it ends
        began = time.monotonic()
        assert isinstance(lost_while_reading(log), errors.SourceUnreachable)
        assert time.monotonic() - began < 10
        restart.join()
        own.execute("INSERT INTO t VALUES (3, 'c')")
        log.again(before)
        assert log.changes() == [("c", 2, "b"), ("c", 3, "c")]


def test_how_long_the_log_is_kept_is_told(own: PostgreSQLHarness) -> None:
    with Log(own) as log:
        kept = log.source.retention(log.checkpoint)
        assert kept.hours_left is None
        assert "as long as needed" in kept.reason
        with limited(own, "64MB"):
            own.execute("INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(1, 20000) n")
            kept = log.source.retention(log.checkpoint)
            assert 2_000_000 < kept.bytes_behind < 20_000_000
            assert kept.hours_left is None or kept.hours_left > 0
            time.sleep(1.1)
            own.execute("INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(20001, 40000) n")
            kept = log.source.retention(log.checkpoint)
            assert kept.hours_left is not None
            assert 0 < kept.hours_left < 0.1  # some MB a second, of 64 MB
            assert len(log.changes()) == 40_000
            assert log.source.retention(log.checkpoint).bytes_behind < 100_000


@contextlib.contextmanager
def limited(harness: PostgreSQLHarness, most: str = "1MB") -> Iterator[None]:
    """With a server that keeps so much log for slots."""
    harness.execute(f"ALTER SYSTEM SET max_slot_wal_keep_size = '{most}'", "SELECT pg_reload_conf()")
    try:
        yield
    finally:
        harness.execute("ALTER SYSTEM RESET max_slot_wal_keep_size", "SELECT pg_reload_conf()")


def assert_lost(log: Log) -> None:
    """Log is written until the server has invalidated the slot."""
    query = f"SELECT wal_status FROM pg_replication_slots WHERE slot_name = '{slot_of(log)}'"
    deadline = time.monotonic() + SECONDS
    while log.harness.rows(query) != [("lost",)]:
        assert time.monotonic() < deadline
        with contextlib.suppress(psycopg.Error):
            log.harness.execute("SELECT pg_switch_wal()", "CREATE TABLE w ()", "DROP TABLE w", "CHECKPOINT")
