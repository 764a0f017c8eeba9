"""Transactions in MariaDB's log: XA, savepoints, rollbacks, interleaved tables, compressed and older events."""

from __future__ import annotations

import contextlib
import time

import pytest

from forebay_agent import errors
from forebay_agent.capture.log import EventKind, LogPiece, LogRows
from forebay_agent.capture.mysql.log.checkpoint import LogCheckpoint
from tests.contract.sources.mysql import MySQLHarness
from tests.integration.log_of_mysql import SECONDS, Log, events, told
from tests.servers.mariadb import MariaDB

LOST = EventKind.LOST


def sessions(harness: MySQLHarness, *statements: str) -> None:
    """One session's statements, one after the other."""
    connection = harness.server.connect(harness.database)
    with contextlib.closing(connection), connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@pytest.fixture
def t(mysql_harness: MySQLHarness) -> MySQLHarness:
    mysql_harness.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(20))", "CREATE TABLE u (id int PRIMARY KEY)")
    return mysql_harness


def prepare(harness: MySQLHarness, xid: str, *statements: str) -> None:
    sessions(harness, f"XA START {xid}", *statements, f"XA END {xid}", f"XA PREPARE {xid}")


def test_a_prepared_transaction_takes_effect_where_it_commits(t: MySQLHarness) -> None:
    with Log(t) as log:
        prepare(t, "'a', 'b', 3", "INSERT INTO t VALUES (1, 'xa')", "UPDATE t SET v = 'xb'", "INSERT INTO u VALUES (9)")
        t.execute("INSERT INTO t VALUES (2, 'between')")
        assert log.changes("id") == [("c", 2)]
        assert LogCheckpoint.parse(log.checkpoint).prepared is not None
        t.execute("XA COMMIT 'a', 'b', 3")
        assert log.changes() == [("c", 1, "xa"), ("u", 1, "xb")]
        assert LogCheckpoint.parse(log.checkpoint).prepared is None


def test_a_prepared_transaction_that_is_rolled_back_leaves_nothing(t: MySQLHarness) -> None:
    with Log(t) as log:
        prepare(t, "'a'", "INSERT INTO t VALUES (1, 'xa')")
        t.execute("XA ROLLBACK 'a'", "INSERT INTO t VALUES (1, 'then')")
        assert log.changes() == [("c", 1, "then")]
        assert LogCheckpoint.parse(log.checkpoint).prepared is None


def test_one_phase_and_two_at_a_time(t: MySQLHarness) -> None:
    with Log(t) as log:
        sessions(t, "XA START 'one'", "INSERT INTO t VALUES (1, 'one')", "XA END 'one'", "XA COMMIT 'one' ONE PHASE")
        prepare(t, "'two'", "INSERT INTO t VALUES (2, 'two')")
        prepare(t, "'three'", "INSERT INTO t VALUES (3, 'three')")
        t.execute("XA COMMIT 'three'", "XA COMMIT 'two'")
        assert log.changes("id") == [("c", 1), ("c", 3), ("c", 2)]


def test_a_restart_reads_a_prepared_transaction_again_and_nothing_else(t: MySQLHarness) -> None:
    with Log(t) as log:
        t.execute("INSERT INTO t VALUES (1, 'before')")
        prepare(t, "'a'", "INSERT INTO t VALUES (2, 'xa')")
        prepare(t, "'b'", "INSERT INTO t VALUES (3, 'xb')")
        t.execute("FLUSH BINARY LOGS", "INSERT INTO t VALUES (4, 'after')", "XA COMMIT 'b'")
        assert log.changes("id") == [("c", 1), ("c", 4), ("c", 3)]
        log.again()
        assert log.changes() == []
        log.again()
        t.execute("INSERT INTO t VALUES (5, 'more')", "XA COMMIT 'a'", "DELETE FROM t WHERE id = 1")
        assert log.changes("id") == [("c", 5), ("c", 2), ("d", 1)]
        log.again()
        assert log.changes() == []


def test_whatever_checkpoint_reading_goes_on_from_a_prepared_transaction_is_whole(t: MySQLHarness) -> None:
    """A piece may end between the event that says XA COMMIT and the rows that it brings."""
    with Log(t) as log:
        prepare(t, "'a'", "INSERT INTO t VALUES (2, 'xa')")
        t.execute("INSERT INTO t VALUES (0, 'between')", "INSERT INTO t VALUES (1, 'between')")
        t.execute("XA COMMIT 'a'", "INSERT INTO t VALUES (3, 'after')")
        target = log.source.log_end()
        pieces = [LogPiece((), log.checkpoint, "")]
        deadline = time.monotonic() + SECONDS
        while not log.reader.reached(target):
            assert time.monotonic() < deadline
            piece = log.read(-1.0)  # one step of the reader at a time
            if piece is not None:
                pieces.append(piece)
        whole = told([part for piece in pieces for part in piece.parts], "id")
        assert whole == [("c", 0), ("c", 1), ("c", 2), ("c", 3)]
        for number, piece in enumerate(pieces):
            if not piece.open:
                before = told([part for earlier in pieces[: number + 1] for part in earlier.parts], "id")
                log.again(piece.checkpoint)
                assert before + told(log.parts(), "id") == whole


def test_a_commit_of_what_was_prepared_before_capture_began_is_told(t: MySQLHarness) -> None:
    prepare(t, "'early'", "INSERT INTO t VALUES (1, 'xa')")
    with Log(t) as log:
        t.execute("XA COMMIT 'early'")
        parts = log.parts()
        assert told(parts) == [(LOST, "t")]
        assert isinstance(events(parts, LOST)[0].error, errors.LogGap)


def test_savepoints_that_are_taken_back_leave_nothing(t: MySQLHarness) -> None:
    t.execute("CREATE TABLE m (id int) ENGINE = MyISAM")
    with Log(t, tables=("t", "m", "u")) as log:
        sessions(
            t,
            "BEGIN",
            "INSERT INTO t VALUES (1, 'kept')",
            "SAVEPOINT s",
            "INSERT INTO t VALUES (2, 'gone')",
            "INSERT INTO m VALUES (7)",
            "SAVEPOINT s2",
            "INSERT INTO u VALUES (2)",
            "ROLLBACK TO s2",
            "INSERT INTO u VALUES (3)",
            "ROLLBACK TO s",
            "INSERT INTO t VALUES (3, 'kept too')",
            "COMMIT",
            "BEGIN",
            "INSERT INTO t VALUES (4, 'never')",
            "INSERT INTO m VALUES (8)",
            "ROLLBACK",
        )
        changes = log.changes("id")
        assert sorted(changes) == [("c", 1), ("c", 3), ("c", 7), ("c", 8)]
        assert t.rows("SELECT id FROM t ORDER BY id") == [(1,), (3,)]


def test_interleaved_tables_keep_their_own_order(t: MySQLHarness) -> None:
    with Log(t, tables=("t", "u")) as log:
        for number in range(20):
            t.execute(f"INSERT INTO t VALUES ({number}, 'x')", f"INSERT INTO u VALUES ({number})")
        parts = log.parts()
        for name in ("t", "u"):
            own = [part for part in parts if isinstance(part, LogRows) and part.table.name == name]
            assert [row[1] for row in told([*own], "id")] == list(range(20))


def test_rows_of_a_trigger_and_of_two_tables_in_one_statement_come(t: MySQLHarness) -> None:
    t.execute("CREATE TRIGGER tr AFTER INSERT ON t FOR EACH ROW INSERT INTO u VALUES (NEW.id + 100)")
    with Log(t, tables=("t", "u")) as log:
        t.execute(
            "INSERT INTO t VALUES (1, 'a'), (2, 'b')",
            "UPDATE t JOIN u ON u.id = t.id + 100 SET v = 'c', u.id = u.id + 1000",
        )
        changes = log.changes("id")
        assert [row for row in changes if row[1] < 100] == [("c", 1), ("c", 2), ("u", 1), ("u", 2)]
        assert sorted(row[1] for row in changes if row[1] > 100 and row[0] != "d")[-2:] == [1101, 1102]


@pytest.mark.parametrize("metadata", ["FULL", "NO_LOG"])
@pytest.mark.parametrize(
    "options", [("--log-bin-compress=ON", "--log-bin-compress-min-len=10"), ("--binlog-checksum=NONE",)]
)
def test_a_compressed_log_and_one_without_checksums_are_read(
    tmp_path_factory: pytest.TempPathFactory, options: tuple[str, ...], metadata: str
) -> None:
    with MariaDB.start(
        tmp_path_factory.mktemp("own"), options=(*options, f"--binlog-row-metadata={metadata}")
    ) as server:
        harness = MySQLHarness(server)
        harness.execute(
            "CREATE TABLE t (id int PRIMARY KEY, v longtext)", "CREATE TABLE u (id int PRIMARY KEY, v text)"
        )
        with Log(harness) as log:
            harness.execute(
                "INSERT INTO t SELECT seq, REPEAT('中', seq) FROM seq_1_to_2000",
                "INSERT INTO u SELECT seq, REPEAT('中', seq) FROM seq_1_to_200",
                "UPDATE t SET v = REPEAT('x', 100000) WHERE id = 3",
                "ALTER TABLE t ADD COLUMN added_with_a_long_name int NULL COMMENT 'some words to make it long enough'",
                "DELETE FROM t WHERE id > 3",
            )
            prepare(harness, "'a'", "INSERT INTO t VALUES (5000, REPEAT('z', 3000), 1)")
            harness.execute("XA COMMIT 'a'")
            changes = log.changes("id", "v")
            assert changes[:2000] == [("c", n, "中" * n) for n in range(1, 2001)]
            assert changes[2000:2003] == [("u", 3, "x" * 100_000), (EventKind.GREW, "t"), ("d", 4, "中" * 4)]
            assert changes[-1] == ("c", 5000, "z" * 3000)
        harness.close()


def test_statements_instead_of_rows_lose_every_table_with_the_cure(t: MySQLHarness) -> None:
    with Log(t, tables=("t", "u")) as log:
        t.execute("INSERT INTO t VALUES (1, 'a')")
        sessions(t, "SET SESSION binlog_format = STATEMENT", "INSERT INTO t VALUES (2, 'secret')")
        t.execute("INSERT INTO t VALUES (3, 'c')")
        parts = log.parts()
        assert told(parts, "id") == [("c", 1), (LOST, "t"), (LOST, "u")]
        for event in events(parts, LOST):
            assert isinstance(event.error, errors.LogUnfit)
            assert event.error.sql == "SET GLOBAL binlog_format = 'ROW';"
            assert "secret" not in event.reason
        log.follow("u")
        t.execute("INSERT INTO u VALUES (4)")
        assert log.changes() == [("c", 4)]


def test_a_minimal_row_image_loses_the_table_with_the_cure(t: MySQLHarness) -> None:
    with Log(t, tables=("t", "u")) as log:
        t.execute("INSERT INTO t VALUES (1, 'a')")
        sessions(t, "SET SESSION binlog_row_image = MINIMAL", "UPDATE t SET v = 'b'")
        t.execute("INSERT INTO u VALUES (1)")
        parts = log.parts()
        assert told(parts, "id") == [("c", 1), (LOST, "t"), ("c", 1)]
        (event,) = events(parts, LOST)
        assert isinstance(event.error, errors.LogUnfit)
        assert event.error.sql == "SET GLOBAL binlog_row_image = 'FULL';"


def test_a_server_that_writes_no_rows_is_refused_with_the_cure(t: MySQLHarness) -> None:
    source = t.open()
    for name, wrong, right in (("binlog_format", "MIXED", "ROW"), ("binlog_row_image", "MINIMAL", "FULL")):
        t.server.execute(f"SET GLOBAL {name} = '{wrong}'")
        try:
            with pytest.raises(errors.LogUnfit) as raised:
                source.open_log([], None)  # type: ignore[attr-defined]
            assert raised.value.sql == f"SET GLOBAL {name} = '{right}';"
            found = source.examine_log([])  # type: ignore[attr-defined]
            assert any(finding.sql == raised.value.sql for finding in found)
        finally:
            t.server.execute(f"SET GLOBAL {name} = '{right}'")


def test_a_value_that_cannot_be_carried_loses_the_table_at_its_row(t: MySQLHarness) -> None:
    t.execute("CREATE TABLE d (id int PRIMARY KEY, day date)")
    with Log(t, tables=("d", "u")) as log:
        t.execute("INSERT INTO d VALUES (1, '2024-02-29')")
        sessions(t, "SET sql_mode = ''", "INSERT INTO d VALUES (2, '2024-01-01'), (3, '2024-00-10'), (4, '2024-01-01')")
        t.execute("INSERT INTO u VALUES (1)")
        parts = log.parts()
        assert told(parts, "id") == [("c", 1), ("c", 2), (LOST, "d"), ("c", 1)] or told(parts, "id") == [
            ("c", 1),
            ("c", 2),
            ("c", 1),
            (LOST, "d"),
        ]
        (event,) = events(parts, LOST)
        assert isinstance(event.error, errors.ValueUnrepresentable)
        assert "id = 3: column day" in str(event.error)
        assert "2024-00-10" not in f"{event.error} {event.reason}"


def test_a_table_that_is_followed_anew_within_a_transaction_goes_on_with_the_rows_that_are_left(
    mysql_harness: MySQLHarness,
) -> None:
    mysql_harness.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v varchar(100), n int)", "INSERT INTO t VALUES (0, '', 0)"
    )
    with Log(mysql_harness) as log:
        mysql_harness.execute(
            "INSERT INTO t VALUES (1, '', 0)",
            "FLUSH TABLES",  # from here on it has another id in the log
            "INSERT INTO t VALUES (2, '', 0)",
            "INSERT INTO t SELECT seq, REPEAT('v', 90), seq FROM seq_3_to_250000",
        )
        ids = []
        while not (log.pieces and log.pieces[-1].open):
            log.read()
        log.follow(excluded=("n",))
        log.parts()
        for piece in log.pieces:
            for part in piece.parts:
                assert isinstance(part, LogRows)
                ids += part.rows.column("id").to_pylist()
        assert ids == list(range(1, 250_001))
        last = log.pieces[-1].parts[-1]
        assert isinstance(last, LogRows)
        assert "n" not in last.rows.column_names
