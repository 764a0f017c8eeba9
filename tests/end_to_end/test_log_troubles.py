"""Troubles of log capture at the running daemon: each is one clear state with its remedy, and never wrong data.

In every test the remedy that `status` prints is carried out to the letter, and then source and mirror are compared.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.appliance import Appliance, Rows, Table
from tests.end_to_end.proxy import Proxy
from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL

ROWS = 500
WATCHED_SECONDS = 2.0
PLACE = r"0-1-\d+@binlog\.\d{6}:\d+"
LSN = r"[0-9A-F]+/[0-9A-F]+"
SETTINGS = {"binlog_format": "ROW", "binlog_row_image": "FULL", "binlog_expire_logs_seconds": 0}

_numbers = itertools.count(1)


@pytest.fixture
def set_up_anew(own_mariadb: MariaDB) -> Iterator[None]:
    """The server's settings are as they were when the test has ended."""
    yield
    own_mariadb.execute(*(f"SET GLOBAL {name} = {value!r}" for name, value in SETTINGS.items()))


def in_mariadb(server: MariaDB, database: str, name: str, kind: str = "int") -> Table:
    """A table of `ROWS` rows in a source named as its database."""
    server.execute(f"CREATE DATABASE IF NOT EXISTS {database}")
    table = Table(server, database, database, name)
    table.execute(
        f"CREATE TABLE {name} (id int PRIMARY KEY, v {kind})",
        f"INSERT INTO {name} SELECT seq, seq FROM seq_1_to_{ROWS}",
    )
    return table


def in_postgresql(server: PostgreSQL, database: str, name: str) -> Table:
    server.create_database(database)
    table = Table(server, database, database, name)
    table.execute(
        f"CREATE TABLE {name} (id int PRIMARY KEY, v int)",
        f"INSERT INTO {name} SELECT n, n FROM generate_series(1, {ROWS}) n",
    )
    return table


def change(table: Table) -> list[Rows]:
    """An insert, an update and a delete that were not there before. -> the table before and after each."""
    number = next(_numbers)
    states = [table.rows()]
    for statement in (
        f"INSERT INTO {table.name} VALUES ({10_000 + number}, {number})",
        f"UPDATE {table.name} SET v = {1_000_000 + number} WHERE id = {number}",
        f"DELETE FROM {table.name} WHERE id = {ROWS - number}",
    ):
        table.execute(statement)
        states.append(table.rows())
    return states


def purge(server: MariaDB) -> None:
    """Purges all files but the last; the server keeps one for as long as it believes that someone reads it."""
    deadline = time.monotonic() + 20
    while len(files := server.execute("SHOW BINARY LOGS")) > 1:
        assert time.monotonic() < deadline
        server.execute(f"PURGE BINARY LOGS TO '{files[-1][0]}'")
        time.sleep(0.05)


def assert_rests(
    appliance: Appliance, states: dict[Table, dict[str, Any]], proxy: Proxy, most: int, going_on: Table
) -> None:
    """The troubles stay exactly as they are, at no more than so many connections, and mirrors do not move; another
    source goes on meanwhile."""
    assert appliance.agent.process is not None
    pid = appliance.agent.process.pid
    for table in states:  # what was captured before the trouble is shown
        appliance.until(partial(all_shown, appliance, table), "loaded")
    mirrors = {table: appliance.mirror(table) for table in states}
    connections = proxy.accepted
    change(going_on)
    until = time.monotonic() + WATCHED_SECONDS
    while time.monotonic() < until:
        for table, state in states.items():
            now = appliance.stand(table)
            for name in ("state", "code", "reason", "remedy", "epoch", "sealed_seq"):
                assert now[name] == state[name], name
        time.sleep(0.2)
    assert proxy.accepted - connections <= most, "it connects over and over"
    appliance.until_equal(going_on)
    assert {table: appliance.mirror(table) for table in states} == mirrors
    assert appliance.agent.process.pid == pid
    appliance.agent.check()


def all_shown(appliance: Appliance, table: Table) -> bool:
    now = appliance.stand(table)
    return bool(now) and now["loaded_seq"] == now["sealed_seq"]


def test_a_purged_binlog_is_a_gap_with_its_bounds_and_a_snapshot_closes_it(
    appliance: Appliance, own_mariadb: MariaDB, own_postgresql: PostgreSQL
) -> None:
    bills, lines = in_mariadb(own_mariadb, "purged", "bills"), in_mariadb(own_mariadb, "purged", "bill_lines")
    other = in_postgresql(own_postgresql, "purged_other", "permits")
    with Proxy(own_mariadb.port) as proxy:
        appliance.capture(bills, lines, settings={"port": proxy.port})
        appliance.capture(other)
        appliance.start()
        appliance.until_equal(bills, lines, other)
        appliance.stop()
        change(bills)
        own_mariadb.execute("FLUSH BINARY LOGS")
        change(lines)
        own_mariadb.execute("FLUSH BINARY LOGS")
        purge(own_mariadb)
        appliance.start()
        states = {table: appliance.until_held(table, "FB-LOG-GAP") for table in (bills, lines)}
        for state in states.values():
            assert state["state"] == "held"
            assert re.search(f"gap from {PLACE} to {PLACE}", state["reason"])
            assert state["log_hours_left"] is None
        shown = appliance.shown("--troubled")
        assert shown.returncode == 1
        assert shown.stdout.count("remedy: Take the tables anew: `forebay-agent snapshot") == 2
        assert_rests(appliance, states, proxy, 0, other)
        for state in states.values():
            appliance.obey(state)
        change(bills)
        appliance.assert_equal(bills, lines, other)
        assert appliance.status(bills)["epoch"] == 2


def test_a_slot_that_was_dropped_or_moved_is_a_gap_with_its_bounds_and_a_snapshot_closes_it(
    appliance: Appliance, own_mariadb: MariaDB, own_postgresql: PostgreSQL
) -> None:
    dropped, moved, running = (
        in_postgresql(own_postgresql, f"slot_{what}", f"people_{what}") for what in ("dropped", "moved", "running")
    )
    tables = (dropped, moved, running)
    other = in_mariadb(own_mariadb, "slot_other", "firms")
    with Proxy(own_postgresql.port) as proxy:
        for table in tables:
            appliance.capture(table, settings={"port": proxy.port})
        appliance.capture(other)
        appliance.start()
        appliance.until_equal(*tables, other)
        appliance.stop()
        for table in (dropped, moved):
            change(table)
        drop(dropped)
        moved.execute("SELECT pg_replication_slot_advance('forebay_slot_moved', pg_current_wal_lsn())")
        appliance.start()
        states = {table: appliance.until_held(table, "FB-LOG-GAP") for table in (dropped, moved)}
        appliance.until_equal(running)
        drop(running)
        change(running)
        states[running] = appliance.until_held(running, "FB-LOG-GAP")
        for table, state in states.items():
            assert state["state"] == "held"
            assert table.source in state["reason"], "it does not name the slot"
            assert re.search(f"gap from {LSN} to {LSN}", state["reason"])
        assert_rests(appliance, states, proxy, 0, other)
        for state in states.values():
            appliance.obey(state)
        for table in tables:
            change(table)
        appliance.assert_equal(*tables, other)


def drop(table: Table) -> None:
    """Drops the table's slot, and whoever reads from it."""
    slot = f"forebay_{table.source}"
    deadline = time.monotonic() + 20
    while table.execute(f"SELECT 1 FROM pg_replication_slots WHERE slot_name = '{slot}'"):
        assert time.monotonic() < deadline
        table.execute(
            f"SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{slot}'",
            f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{slot}' "
            "AND active_pid IS NULL",
        )


def test_an_event_that_was_damaged_on_its_way_is_never_taken_and_its_position_is_named(
    appliance: Appliance, own_mariadb: MariaDB, own_postgresql: PostgreSQL
) -> None:
    notes = in_mariadb(own_mariadb, "damaged", "notes", "varchar(40)")
    other = in_postgresql(own_postgresql, "damaged_other", "licences")
    with Proxy(own_mariadb.port) as proxy:
        appliance.capture(notes, settings={"port": proxy.port})
        appliance.capture(other)
        appliance.start()
        appliance.until_equal(notes, other)
        proxy.damage(b"MARKED")
        notes.execute("INSERT INTO notes VALUES (9001, 'before')", "INSERT INTO notes VALUES (9002, 'MARKED')")
        notes.execute("INSERT INTO notes VALUES (9003, 'after')")
        state = appliance.until_held(notes, "FB-LOG-UNREADABLE")
        assert re.search(rf"at {PLACE}: .*checksum", state["reason"])
        assert proxy.damaged
        assert_rests(appliance, {notes: state}, proxy, 8, other)
        assert not {9002, 9003} & set(appliance.mirror(notes))
        proxy.damage(b"")
        appliance.assert_equal(notes, other)
        assert appliance.status(notes)["epoch"] == 1, "it was taken anew, and need not have been"
        assert appliance.centre.sql("SELECT count(*) AS n FROM notes_changes WHERE v = 'mARKED'") == [{"n": 0}]


def test_another_server_at_the_source_s_address_is_never_read_and_its_own_goes_on_without_loss(
    appliance: Appliance, own_mariadb: MariaDB, own_postgresql: PostgreSQL, tmp_path: Path
) -> None:
    """By a name or an address that leads elsewhere from one moment on (MariaDB), and by the configuration (PostgreSQL)."""
    cases, claims = in_mariadb(own_mariadb, "cases", "cases"), in_postgresql(own_postgresql, "claims", "claims")
    other = in_mariadb(own_mariadb, "cases_other", "zones")
    with (
        MariaDB.start(tmp_path / "mariadb") as mariadb,
        PostgreSQL.start(tmp_path / "postgresql", fresh=True) as postgresql,
        Proxy(own_mariadb.port) as proxy,
    ):
        postgresql.execute(f"ALTER ROLE {postgresql.user} PASSWORD '{own_postgresql.password}'")
        postgresql.password = own_postgresql.password
        foreign = in_mariadb(mariadb, "cases", "cases"), in_postgresql(postgresql, "claims", "claims")
        foreign[0].execute("UPDATE cases SET v = -1")
        # its scan is counted now, and not a second later
        foreign[1].execute("UPDATE claims SET v = -1", "SELECT pg_stat_force_next_flush()")
        mariadb.execute("SET GLOBAL userstat = 1")
        scans = "SELECT seq_scan + idx_scan FROM pg_stat_user_tables WHERE relname = 'claims'"
        scanned = foreign[1].execute(scans)
        appliance.capture(cases, settings={"port": proxy.port})
        appliance.capture(claims)
        appliance.capture(other)
        appliance.start()
        appliance.until_equal(cases, claims, other)
        proxy.target = mariadb.port
        proxy.cut()
        appliance.capture(claims, settings={"port": postgresql.port})
        states = {table: appliance.until_held(table, "FB-SOURCE-REPLACED") for table in (cases, claims)}
        for state in states.values():
            assert state["state"] == "held"
            assert state["remedy"].startswith("Point the source back at its server")
            assert "forebay-agent snapshot" in state["remedy"]
        change(cases)
        change(claims)
        assert_rests(appliance, states, proxy, 8, other)
        read = "SELECT rows_read FROM information_schema.table_statistics WHERE table_name = 'cases'"
        assert not [rows for (rows,) in mariadb.execute(read) if rows]
        assert foreign[1].execute(scans) == scanned
        proxy.target = own_mariadb.port
        appliance.capture(claims)
        appliance.assert_equal(cases, claims)
        assert [appliance.status(table)["epoch"] for table in (cases, claims)] == [1, 1]


@pytest.mark.usefixtures("set_up_anew")
def test_changes_that_the_log_does_not_hold_whole_are_never_guessed(
    appliance: Appliance, own_mariadb: MariaDB, own_postgresql: PostgreSQL
) -> None:
    votes, other = in_mariadb(own_mariadb, "votes", "votes"), in_postgresql(own_postgresql, "votes_other", "seats")
    with Proxy(own_mariadb.port) as proxy:
        appliance.capture(votes, settings={"port": proxy.port})
        appliance.capture(other)
        appliance.start()
        appliance.until_equal(votes, other)
        for setting, value in (
            ("binlog_format", "STATEMENT"),
            ("binlog_format", "MIXED"),
            ("binlog_row_image", "MINIMAL"),
        ):
            own_mariadb.execute(f"SET GLOBAL {setting} = '{value}'")
            states = change(votes)
            state = appliance.until_held(votes, "FB-LOG-UNFIT")
            assert state["state"] == "held"
            statement = ": INSERT INTO votes …" if setting == "binlog_format" else ""
            where = rf"{setting} was not {SETTINGS[setting]} \(at {PLACE}{statement}\)"
            assert re.search(where, state["reason"]), state["reason"]
            assert_rests(appliance, {votes: state}, proxy, 0, other)
            mirror = appliance.mirror(votes)
            # with MINIMAL an insert of all columns is whole, and what comes after it is not
            assert mirror in (states[:1] if setting == "binlog_format" else states[:2])
            cure = re.search(r"SQL: (SET GLOBAL [^;]*);", state["remedy"])
            assert cure is not None
            # a snapshot alone is of no use: the log would go on as it is
            appliance.obey(state)
            refused = f"the server's {setting} is {value}"
            appliance.until(partial(told, appliance, votes, refused), refused)
            assert cure[0] in appliance.status(votes)["remedy"]
            assert appliance.mirror(votes) == mirror
            own_mariadb.execute(cure[1])
            change(votes)
            appliance.until_equal(votes)
        appliance.assert_equal(votes, other)


def told(appliance: Appliance, table: Table, reason: str) -> bool:
    return reason in appliance.stand(table).get("reason", "")


@pytest.mark.usefixtures("set_up_anew")
def test_status_tells_for_how_many_hours_the_database_keeps_what_was_not_captured(
    appliance: Appliance, own_mariadb: MariaDB, own_postgresql: PostgreSQL
) -> None:
    own_mariadb.execute("SET GLOBAL binlog_expire_logs_seconds = 259200")
    days, size = in_mariadb(own_mariadb, "kept_days", "ships"), in_postgresql(own_postgresql, "kept_size", "docks")
    appliance.capture(days)
    appliance.capture(size)
    appliance.start()

    def hours_told() -> bool:
        change(size)
        return all(appliance.stand(table).get("log_hours_left") is not None for table in (days, size))

    appliance.until(hours_told, "hours told")
    by_days, by_size = appliance.status(days), appliance.status(size)
    assert 71.9 < by_days["log_hours_left"] <= 72
    assert "72 hours" in by_days["log_kept"]
    assert by_size["log_hours_left"] > 0
    assert "bytes of log may still be written" in by_size["log_kept"]
    assert " 72 h " in appliance.shown().stdout
