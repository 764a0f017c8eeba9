"""Snapshots beside MariaDB's log, what keeps the log, and what `check` says of it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import pytest

from forebay_agent import errors
from forebay_agent.capture.log import LogRows
from forebay_agent.capture.mysql.log.checkpoint import LogCheckpoint
from forebay_agent.capture.source import Finding, RowRange, Severity, TableName
from tests.contract.sources.mysql import MySQLHarness
from tests.integration.log_of_mysql import Log
from tests.integration.log_tables import log_table
from tests.servers.mariadb import MariaDB

T = TableName("", "t")
BY_ID = RowRange(("id",))


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MySQLHarness]:
    with MariaDB.start(tmp_path_factory.mktemp("own")) as server:
        yield MySQLHarness(server)


def test_a_chunk_holds_everything_that_the_log_has_told(mysql_harness: MySQLHarness) -> None:
    """Under writers, a thousand times: a commit stands in the log before others can see it."""
    mysql_harness.execute("CREATE TABLE t (id int PRIMARY KEY, v int)", "INSERT INTO t SELECT seq, 0 FROM seq_1_to_10")
    stop = threading.Event()

    def write(first: int) -> None:
        connection = mysql_harness.server.connect(mysql_harness.database)
        with contextlib.closing(connection), connection.cursor() as cursor:
            number = 0
            while not stop.is_set():
                number += 1
                cursor.execute(f"UPDATE t SET v = {number} WHERE id = {first}")

    writers = [threading.Thread(target=write, args=(first,)) for first in (1, 2, 3)]
    for writer in writers:
        writer.start()
    try:
        with Log(mysql_harness) as log:
            shape = log.followed()[0].shape
            latest: dict[int, int] = {}
            deadline = time.monotonic() + 10
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
            assert rounds > 50
    finally:
        stop.set()
        for writer in writers:
            writer.join()


def test_a_chunk_may_be_left_and_the_log_and_the_table_be_asked_meanwhile(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t SELECT seq, REPEAT('x', 900) FROM seq_1_to_20000"
    )
    with Log(mysql_harness) as log:
        shape = log.followed()[0].shape
        chunk = log.source.read_chunk(shape, BY_ID, log.reader)
        assert next(chunk).num_rows
        assert log.source.shape(T).columns == shape.columns
        mysql_harness.execute("INSERT INTO t VALUES (0, 'new')")
        assert log.changes("id") == [("c", 0)]
        chunk.close()  # type: ignore[attr-defined]
        rows = [
            row for batch in log.source.read_chunk(shape, BY_ID, log.reader) for row in batch.column("id").to_pylist()
        ]
        assert rows == list(range(20_001))
        assert sum(batch.num_rows for batch in log.source.read_chunk(shape, RowRange(()), log.reader)) == 20_001


def test_retention_is_told_in_hours_and_bytes(own: MySQLHarness) -> None:
    own.execute("CREATE TABLE t (id int PRIMARY KEY, v longtext)")
    with Log(own) as log:
        kept = log.source.retention(log.checkpoint)
        assert (kept.hours_left, kept.bytes_behind) == (None, 0)
        own.execute("SET GLOBAL binlog_expire_logs_seconds = 36000", "INSERT INTO t VALUES (1, REPEAT('x', 100000))")
        kept = log.source.retention(log.checkpoint)
        assert kept.hours_left == 10
        assert 100_000 < kept.bytes_behind < 102_000
        own.execute("FLUSH BINARY LOGS", "FLUSH BINARY LOGS", "DO SLEEP(1.5)")
        kept = log.source.retention(log.checkpoint)
        assert kept.hours_left is not None
        assert 9.9 < kept.hours_left < 10
        assert 100_000 < kept.bytes_behind < 103_000
        before = log.checkpoint
        assert len(log.changes()) == 1
        assert log.source.retention(log.checkpoint).bytes_behind < 1_000
        log.reader.close()
        deadline = time.monotonic() + 20
        while len(files := own.rows("SHOW BINARY LOGS")) > 1:
            assert time.monotonic() < deadline
            own.execute(f"PURGE BINARY LOGS TO '{files[-1][0]}'")
        kept = log.source.retention(before)
        assert kept.hours_left == 0.0
        assert LogCheckpoint.parse(before).place.file in kept.reason


def severe(findings: list[Finding]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings if finding.severity in (Severity.ERROR, Severity.WARNING)}


def test_check_says_what_is_missing_and_its_sql_is_enough(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute("CREATE TABLE t (id int PRIMARY KEY)")
    reader = mysql_harness.reader(f"SELECT ON `{mysql_harness.database}`.*")
    source = mysql_harness.open(**reader)
    table = log_table(source, T)
    with pytest.raises(errors.PrivilegeMissing) as raised:
        source.open_log([table], None)  # type: ignore[attr-defined]
    found = severe(source.examine_log([table]))  # type: ignore[attr-defined]
    assert set(found) == {"log privileges"}
    assert found["log privileges"].sql == raised.value.sql
    assert found["log privileges"].sql.startswith("GRANT REPLICATION SLAVE, BINLOG MONITOR ON *.* TO ")
    mysql_harness.server.execute(found["log privileges"].sql)
    granted = mysql_harness.open(**reader)
    assert not severe(granted.examine_log([table]))  # type: ignore[attr-defined]
    opened = granted.open_log([table], None)  # type: ignore[attr-defined]
    mysql_harness.execute("INSERT INTO t VALUES (1)")
    piece = opened.read(time.monotonic() + 5, rows=1, size=1 << 20)
    assert sum(part.rows.num_rows for part in piece.parts) == 1
    assert next(iter(granted.read_chunk(table.shape, BY_ID, opened))).num_rows == 1  # type: ignore[attr-defined]
    assert granted.retention(opened.checkpoint).bytes_behind > 0  # type: ignore[attr-defined]
    opened.close()


def test_check_warns_of_what_the_log_does_not_hold(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute(
        "CREATE TABLE parent (id int PRIMARY KEY)",
        "CREATE TABLE t (id int PRIMARY KEY, p int, CONSTRAINT falls FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE)",
    )
    mysql_harness.server.execute(
        "SET GLOBAL binlog_row_metadata = NO_LOG", "SET GLOBAL binlog_expire_logs_seconds = 3600"
    )
    try:
        source = mysql_harness.open()
        found = severe(source.examine_log([log_table(source, T)]))  # type: ignore[attr-defined]
    finally:
        mysql_harness.server.execute(
            "SET GLOBAL binlog_row_metadata = FULL", "SET GLOBAL binlog_expire_logs_seconds = 0"
        )
    assert set(found) == {"falls", "binlog_row_metadata", "retention"}
    assert found["binlog_row_metadata"].sql == "SET GLOBAL binlog_row_metadata = 'FULL';"


def test_virtual_and_generated_columns_are_in_the_log(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute(
        "CREATE TABLE t (id int PRIMARY KEY, a int, v int AS (a * 2) VIRTUAL, w varchar(20) AS (CONCAT(a, 'x')) VIRTUAL, "
        "s int AS (a + 1) STORED, INDEX (v))"
    )
    with Log(mysql_harness) as log:
        mysql_harness.execute(
            "INSERT INTO t (id, a) VALUES (1, 5), (2, 6)",
            "UPDATE t SET a = 7 WHERE v = 10",
            "INSERT INTO t (id, a) VALUES (2, 9) ON DUPLICATE KEY UPDATE a = 8",
            "DELETE FROM t WHERE id = 2",
        )
        assert log.changes() == [
            ("c", 1, 5, 10, "5x", 6),
            ("c", 2, 6, 12, "6x", 7),
            ("u", 1, 7, 14, "7x", 8),
            ("u", 2, 8, 16, "8x", 9),
            ("d", 2, 8, 16, "8x", 9),
        ]
