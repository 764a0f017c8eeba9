"""The replication slot: nothing that it lost goes unnoticed, and it keeps what was not acknowledged and nothing else."""

from __future__ import annotations

import contextlib
import subprocess
import threading
import time
from collections.abc import Iterator

import pytest

from forebay_agent import errors
from forebay_agent.capture.postgresql.log import slot
from forebay_agent.capture.postgresql.log.checkpoint import LogCheckpoint, lsn_of
from forebay_agent.capture.source import TableName
from forebay_agent.policy import Reaction, policy_of
from tests.contract.sources.postgresql import PostgreSQLHarness
from tests.integration.log_of_postgresql import SECONDS, Log
from tests.integration.log_slots import (
    GAP,
    T,
    assert_begins_anew,
    assert_gap,
    confirmed,
    lost_while_reading,
    slot_of,
)
from tests.integration.log_tables import log_table
from tests.servers.postgresql import binary


def open_again(log: Log) -> None:
    """Although the slot is in use."""
    with contextlib.closing(log.harness.open(**log.config)) as source:
        source.open_log([log_table(source, TableName("public", "t"))], log.checkpoint).close()


def drop_slot(log: Log) -> None:
    log.harness.execute(f"SELECT pg_drop_replication_slot('{slot_of(log)}')")


def make_slot(log: Log) -> None:
    log.harness.execute(f"SELECT pg_create_logical_replication_slot('{slot_of(log)}', 'pgoutput')")


def move_slot(log: Log, to: str = "pg_current_wal_flush_lsn()") -> None:
    log.harness.execute(f"SELECT pg_replication_slot_advance('{slot_of(log)}', {to})")


@pytest.mark.parametrize("made_again", [False, True], ids=["dropped", "made again"])
def test_a_dropped_slot_is_a_gap_with_its_bounds(postgresql_harness: PostgreSQLHarness, made_again: bool) -> None:
    postgresql_harness.execute(T)
    with Log(postgresql_harness) as log:
        postgresql_harness.execute("INSERT INTO t VALUES (1, 'a')")
        assert log.changes() == [("c", 1, "a")]
        log.close()
        drop_slot(log)
        postgresql_harness.execute("INSERT INTO t VALUES (2, 'b')")
        if made_again:
            make_slot(log)
        assert_gap(log, GAP)
        assert_begins_anew(log)


def test_a_slot_made_again_at_once_is_a_gap_although_nothing_was_written(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute(T)
    with Log(postgresql_harness) as log:
        log.changes()
        log.close()
        drop_slot(log)
        make_slot(log)
        assert_gap(log, GAP)


def test_a_slot_dropped_while_it_is_read_is_a_gap(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute(T)
    with Log(postgresql_harness) as log:
        log.changes()
        postgresql_harness.execute(
            f"SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots WHERE slot_name = '{slot_of(log)}'",
            f"SELECT pg_drop_replication_slot('{slot_of(log)}')",
        )
        assert isinstance(lost_while_reading(log), errors.SourceUnreachable)
        assert_gap(log, f"dropped: .*{GAP}")


def test_a_slot_that_was_moved_ahead_is_a_gap_up_to_where_it_stands(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute(T)
    with Log(postgresql_harness) as log:
        log.changes()
        before = log.checkpoint
        log.close()
        postgresql_harness.execute("INSERT INTO t VALUES (1, 'a')")
        move_slot(log)
        postgresql_harness.execute("INSERT INTO t VALUES (2, 'b')")
        there = confirmed(log)
        with pytest.raises(errors.LogGap, match=GAP) as raised:
            log.again()
        told = str(raised.value).partition("gap from ")[2].split()
        assert (lsn_of(told[0]), lsn_of(told[2])) == (LogCheckpoint.from_json(before).lsn, there)


def test_a_slot_that_was_moved_within_what_was_read_has_lost_nothing(postgresql_harness: PostgreSQLHarness) -> None:
    """Up to the outbox's checkpoint everything is durable, told to the server or not."""
    postgresql_harness.execute(T)
    with Log(postgresql_harness, keep=False) as log:
        for number in range(5):
            postgresql_harness.execute(f"INSERT INTO t VALUES ({number}, 'a')")
            assert log.changes("id") == [("c", number)]
        checkpoints = list(dict.fromkeys(piece.checkpoint for piece in log.pieces))
        lsns = [LogCheckpoint.from_json(checkpoint).lsn for checkpoint in checkpoints]
        assert confirmed(log) < lsns[0]
        log.close()
        middle = LogCheckpoint.from_json(checkpoints[len(checkpoints) // 2])
        move_slot(log, f"'{middle.lsn >> 32:X}/{middle.lsn & 0xFFFFFFFF:X}'")
        assert lsns[0] < confirmed(log) <= middle.lsn < lsns[-1]
        postgresql_harness.execute("INSERT INTO t VALUES (9, 'z')")
        log.again(checkpoints[len(checkpoints) // 2])
        assert log.changes("id")[-1] == ("c", 9)
        log.again(checkpoints[-1])
        assert log.changes("id") == [("c", 9)]
        with pytest.raises(errors.LogGap, match=GAP):
            log.again(checkpoints[0])


def test_a_slot_in_use_is_told_with_who_uses_it_and_waited_for(
    postgresql_harness: PostgreSQLHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slot, "_IN_USE_SECONDS", 0.5)
    postgresql_harness.execute(T)
    with Log(postgresql_harness) as log:
        log.close()
        with held(log) as pid:
            with pytest.raises(errors.SourceError, match=f"in use by pid {pid} user .* intruder") as raised:
                open_again(log)
            assert policy_of(raised.value).reaction is Reaction.RETRY
            assert "only one agent" in raised.value.remedy
        postgresql_harness.execute("INSERT INTO t VALUES (1, 'a')")
        log.again()
        assert log.changes() == [("c", 1, "a")]


def test_what_someone_else_read_from_the_slot_while_it_was_waited_for_is_a_gap(
    postgresql_harness: PostgreSQLHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads on while it holds the slot: who waits for it never finds it free and not yet moved."""
    monkeypatch.setattr(slot, "_IN_USE_SECONDS", 2 * SECONDS)
    postgresql_harness.execute(T)
    with Log(postgresql_harness) as log:
        log.close()

        def read_and_leave() -> None:
            with held(log, confirms=True):
                began.set()
                time.sleep(1)
                before = confirmed(log)
                postgresql_harness.execute("INSERT INTO t VALUES (1, 'a')")
                deadline = time.monotonic() + SECONDS
                while confirmed(log) == before:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)

        began = threading.Event()
        intruder = threading.Thread(target=read_and_leave)
        intruder.start()
        assert began.wait(SECONDS)
        try:
            with pytest.raises(errors.LogGap, match=GAP):
                open_again(log)
        finally:
            intruder.join()


def test_slot_and_publication_may_be_made_by_a_dba_for_a_user_who_may_only_read(
    postgresql_harness: PostgreSQLHarness,
) -> None:
    postgresql_harness.execute(T, "CREATE TABLE u (id int PRIMARY KEY)")
    reader = postgresql_harness.reader("SELECT ON t", "SELECT ON u")
    postgresql_harness.execute(
        f"ALTER ROLE {reader['user']} REPLICATION",
        "CREATE PUBLICATION pub FOR TABLE t",
        "INSERT INTO t VALUES (0, '0')",
    )
    slot = f"slot_{postgresql_harness.database}"
    postgresql_harness.execute(f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")
    with Log(postgresql_harness, config={**reader, "slot": slot, "publication": "pub"}) as log:
        postgresql_harness.execute("INSERT INTO t VALUES (1, 'a')")
        assert log.changes() == [("c", 1, "a")]
        log.again()
        log.follow("t", "u")  # what the publication lacks is said with the statement that adds it
        postgresql_harness.execute("INSERT INTO t VALUES (2, 'b')")
        parts = log.parts()
        (lost,) = [part for part in parts if not hasattr(part, "rows")]
        assert isinstance(lost.error, errors.PrivilegeMissing)
        postgresql_harness.execute(lost.error.sql)
        log.follow("t", "u")
        postgresql_harness.execute("INSERT INTO u VALUES (3)")
        assert log.changes("id") == [("c", 3)]


def test_a_transaction_that_is_older_than_the_publication_holds_up_a_slot_that_was_there(
    postgresql_harness: PostgreSQLHarness,
) -> None:
    """The server looks for the publication where each change stands, and ends the stream where there is none."""
    postgresql_harness.execute(T, "CREATE TABLE other (id int)")
    slot = f"slot_{postgresql_harness.database}"
    postgresql_harness.execute(f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')")
    old = postgresql_harness.session()
    old.execute("INSERT INTO other VALUES (1)")
    commit = threading.Timer(0.7, old.commit)
    commit.start()
    with Log(postgresql_harness, config={"slot": slot}) as log:
        commit.join()
        postgresql_harness.execute("INSERT INTO t VALUES (1, 'a')")
        assert log.changes() == [("c", 1, "a")]
    old.close()


def test_a_damaged_checkpoint_is_never_taken_for_another_one(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute(T)
    with Log(postgresql_harness) as log:
        whole = log.checkpoint
        lsn = LogCheckpoint.from_json(whole).lsn
        for damaged in (
            "",
            "{}",
            "[]",
            "{" * 5000,
            whole[:-5],
            whole.replace(f"{lsn & 0xFFFFFFFF:X}", "XYZ"),
            whole.replace('"database":', '"database":"'),
            whole.replace('"tables":{"', '"tables":{"x'),
            whole.replace('"tables":{', '"tables":{"1":["",""],'),
        ):
            assert damaged != whole
            with pytest.raises((errors.LogUnfit, errors.LogUnreadable), match="checkpoint"):
                log.source.open_log([], damaged)
        assert LogCheckpoint.from_json(whole).to_json() == whole


def test_tables_that_rest_never_keep_the_log(postgresql_harness: PostgreSQLHarness) -> None:
    """What others write moves the checkpoint, and so the slot."""
    postgresql_harness.execute(T, "CREATE TABLE other (id int)")
    with Log(postgresql_harness) as log:
        before = log.checkpoint
        postgresql_harness.execute("INSERT INTO other SELECT generate_series(1, 20000)")
        end = lsn_of(str(postgresql_harness.rows("SELECT pg_current_wal_flush_lsn()::text")[0][0]))
        deadline = time.monotonic() + SECONDS
        while confirmed(log) < end:
            assert time.monotonic() < deadline
            log.read(0.5)
            log.reader.acknowledge(log.checkpoint)
        assert {piece.parts for piece in log.pieces} == {()}
        assert len(log.pieces) <= 4
        assert LogCheckpoint.from_json(log.checkpoint).lsn >= end > LogCheckpoint.from_json(before).lsn


def test_the_server_is_told_only_what_was_acknowledged(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute(T)
    with Log(postgresql_harness, keep=False) as log:
        start = confirmed(log)
        postgresql_harness.execute("INSERT INTO t VALUES (1, 'a')")
        assert log.changes() == [("c", 1, "a")]
        first = log.checkpoint
        postgresql_harness.execute("INSERT INTO t VALUES (2, 'b')")
        assert log.changes() == [("c", 2, "b")]
        for _ in range(10):
            log.read(0.1)
            log.reader.reached(log.source.log_end())
        assert confirmed(log) == start
        log.reader.acknowledge(first)
        deadline = time.monotonic() + SECONDS
        while confirmed(log) == start:
            assert time.monotonic() < deadline
            log.reader.acknowledge(first)
            log.read(0.1)
        assert confirmed(log) == LogCheckpoint.from_json(first).lsn
        log.close()  # as by a crash: what was not acknowledged comes again
        log.again(first)
        assert log.changes() == [("c", 2, "b")]
        log.reader.acknowledge(log.checkpoint)
        log.close()  # tells what was acknowledged last
        assert confirmed(log) == LogCheckpoint.from_json(log.checkpoint).lsn


@pytest.mark.parametrize("offset", [24, 32, 40, 8184])
def test_the_log_s_end_is_told_wherever_a_record_ends(postgresql_harness: PostgreSQLHarness, offset: int) -> None:
    """On a page of 8192 bytes; the server tells the place behind the next page's header where nothing is on it yet."""
    postgresql_harness.execute(T)
    with Log(postgresql_harness) as log, postgresql_harness.server.connect(dbname=log.harness.database) as writer:

        def write(size: int) -> int:
            message = "SELECT pg_logical_emit_message(true, 'p', repeat('x', %s))"
            with writer.transaction():
                writer.execute(message, (max(0, size),))
            row = writer.execute("SELECT pg_current_wal_insert_lsn()::text").fetchone()
            assert row is not None
            return lsn_of(row[0])

        deadline = time.monotonic() + 6 * SECONDS  # others write to the log too
        at = write(0)
        while at % 8192 != offset:
            assert time.monotonic() < deadline
            before = at
            at = write(0)
            overhead = at - before
            at = write((offset - at - overhead - (24 if offset < at % 8192 else 0)) & 8191)
        assert LogCheckpoint.from_json(log.source.log_end()).lsn == at - (24 if offset == 24 else 0)
        log.parts()
        log.again()


@contextlib.contextmanager
def held(log: Log, *, confirms: bool = False) -> Iterator[int]:
    """The slot in use by someone else, for as long as this lasts. confirms: who tells the server what it has read."""
    command = [binary("pg_recvlogical"), "--start", "-S", slot_of(log), "-f", "/dev/null", "--no-loop"]
    options = ["-o", "proto_version=1", "-o", "publication_names=forebay_source", "-s", "1" if confirms else "0"]
    where = log.harness.server.conninfo(dbname=log.harness.database, application_name="intruder")
    process = subprocess.Popen([*command, *options, "-d", where], stderr=subprocess.DEVNULL)
    try:
        query = f"SELECT active_pid FROM pg_replication_slots WHERE slot_name = '{slot_of(log)}' AND active"
        deadline = time.monotonic() + SECONDS
        while not (found := log.harness.rows(query)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield int(str(found[0][0]))
    finally:
        process.kill()
        process.wait()
        while log.harness.rows(query):
            time.sleep(0.02)
