"""A reader that is opened anew hands on each change once, or says what is gone."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest

from forebay_agent import errors
from forebay_agent.capture.log import LogRows
from forebay_agent.capture.mysql.log.checkpoint import LogCheckpoint
from forebay_agent.policy import remedy_of
from tests.contract.sources.mysql import MySQLHarness
from tests.integration.log_of_mysql import Log, told
from tests.servers.mariadb import MariaDB


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MySQLHarness]:
    """A server whose log may be cut and begun anew."""
    with MariaDB.start(tmp_path_factory.mktemp("own")) as server:
        harness = MySQLHarness(server)
        yield harness
        with contextlib.suppress(Exception):
            harness.close()


def purge(harness: MySQLHarness) -> None:
    """Purges all files but the last; the server keeps one for as long as it believes that someone reads it."""
    deadline = time.monotonic() + 20
    while len(files := harness.rows("SHOW BINARY LOGS")) > 1:
        assert time.monotonic() < deadline
        harness.execute(f"PURGE BINARY LOGS TO '{files[-1][0]}'")
        time.sleep(0.05)


def test_a_restart_at_any_checkpoint_gives_each_change_once(own: MySQLHarness) -> None:
    own.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(40))", "CREATE TABLE other (id int PRIMARY KEY)")
    with Log(own, rows_at_once=1) as log:
        checkpoints = [log.checkpoint]
        for number in range(12):
            own.execute(
                f"INSERT INTO t VALUES ({number}, REPEAT('x', {number}))", f"INSERT INTO other VALUES ({number})"
            )
            if number % 4 == 3:
                own.execute("FLUSH BINARY LOGS")
        whole = log.changes()
        checkpoints += [piece.checkpoint for piece in log.pieces if not piece.open]
        assert [row[:2] for row in whole] == [("c", number) for number in range(12)]
        assert len(checkpoints) > 12
        for checkpoint in dict.fromkeys(checkpoints):
            seen = told(
                [
                    part
                    for piece in log.pieces
                    for part in piece.parts
                    if piece.checkpoint in checkpoints[: checkpoints.index(checkpoint) + 1]
                ]
            )
            log.again(checkpoint)
            pieces, log.pieces = log.pieces, []
            assert seen + log.changes() == whole
            log.pieces = pieces


def test_idle_rotation_moves_the_checkpoint_so_that_old_files_may_go(own: MySQLHarness) -> None:
    own.execute("CREATE TABLE t (id int PRIMARY KEY)")
    with Log(own) as log:
        own.execute("INSERT INTO t VALUES (1)")
        assert log.changes() == [("c", 1)]
        before = log.checkpoint
        own.execute("FLUSH BINARY LOGS")
        assert log.changes() == []
        assert LogCheckpoint.parse(log.checkpoint).place.order > LogCheckpoint.parse(before).place.order
        # the file is gone, but nothing stood in it that was not read
        log.reader.close()
        purge(own)
        own.execute("INSERT INTO t VALUES (2)")
        log.again(before)
        assert log.changes() == [("c", 2)]


def test_a_purged_log_is_a_gap_with_its_bounds_before_anything_is_read(own: MySQLHarness) -> None:
    own.execute("CREATE TABLE t (id int PRIMARY KEY)")
    with Log(own) as log:
        own.execute("INSERT INTO t VALUES (1)", "FLUSH BINARY LOGS", "INSERT INTO t VALUES (2)", "FLUSH BINARY LOGS")
        log.reader.close()
        purge(own)
        with pytest.raises(errors.LogGap, match=r"gap from 0-1-\d+@binlog\.\d+:\d+ to 0-1-\d+@binlog") as raised:
            log.again()
        assert "snapshot" in raised.value.remedy


def test_a_log_begun_anew_is_noticed(own: MySQLHarness) -> None:
    own.execute("CREATE TABLE t (id int PRIMARY KEY)")
    with Log(own) as log:
        own.execute("INSERT INTO t VALUES (1)")
        assert log.changes() == [("c", 1)]
        log.reader.close()
        own.execute("RESET MASTER", "CREATE TABLE u (id int PRIMARY KEY)", "INSERT INTO t VALUES (2)")
        with pytest.raises(errors.LogGap, match="not the one that was read"):
            log.again()


def test_a_log_begun_anew_with_the_same_transactions_is_noticed_by_its_time(own: MySQLHarness) -> None:
    own.execute("CREATE TABLE t (id int PRIMARY KEY)", "RESET MASTER", "INSERT INTO t VALUES (1)")
    with Log(own) as log:
        log.reader.close()
        own.execute("DO SLEEP(1.1)", "RESET MASTER", "INSERT INTO t VALUES (2)")
        with pytest.raises(errors.LogGap, match="another time"):
            log.again()


def test_a_log_begun_anew_while_it_is_read_is_noticed(own: MySQLHarness) -> None:
    own.execute("CREATE TABLE t (id int PRIMARY KEY)", "FLUSH BINARY LOGS")
    with Log(own) as log:
        own.execute("INSERT INTO t VALUES (1)")
        assert log.changes() == [("c", 1)]
        own.execute("RESET MASTER", "INSERT INTO t VALUES (2)")
        with pytest.raises((errors.LogGap, errors.SourceUnreachable)):  # noqa: PT012 - one of the reads
            for _ in range(50):
                log.read()
        with pytest.raises(errors.LogGap):
            log.again()


def test_another_server_is_refused(own: MySQLHarness, mysql_harness: MySQLHarness) -> None:
    own.execute("CREATE TABLE t (id int PRIMARY KEY)")
    mysql_harness.execute("CREATE TABLE t (id int PRIMARY KEY)")
    with Log(own) as log:
        checkpoint = log.checkpoint
    source = mysql_harness.open()
    with pytest.raises(errors.SourceReplaced) as raised:
        source.open_log([], checkpoint)  # type: ignore[attr-defined]
    assert "Point the source back" in remedy_of(raised.value)
    assert "forebay-agent snapshot" in remedy_of(raised.value)


def test_a_damaged_checkpoint_is_never_taken_for_another_one(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute("CREATE TABLE t (id int PRIMARY KEY)")
    with Log(mysql_harness) as log:
        for damaged in ("", "{}", log.checkpoint[:-5], log.checkpoint.replace('"v":1', '"v":2')):
            with pytest.raises(errors.LogUnreadable):
                log.source.open_log([], damaged)


def test_a_restarted_server_s_log_goes_on(own: MySQLHarness) -> None:
    own.execute("CREATE TABLE t (id int PRIMARY KEY)")
    with Log(own) as log:
        own.execute("INSERT INTO t VALUES (1)")
        assert log.changes() == [("c", 1)]
        own.server.kill()
        with pytest.raises(errors.SourceUnreachable):  # noqa: PT012 - one of the reads
            for _ in range(50):
                log.read()
        own.server.restart()
        own.execute("INSERT INTO t VALUES (2)")
        # the port is a part of a MariaDB's identity
        assert LogCheckpoint.parse(log.checkpoint).server == log.source.identity()
        log.again()
        assert log.changes() == [("c", 2)]


def test_a_large_transaction_is_cut_and_its_checkpoint_stays_before_it(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(100))")
    with Log(mysql_harness) as log:
        before = log.checkpoint
        mysql_harness.execute("INSERT INTO t SELECT seq, REPEAT('v', 90) FROM seq_1_to_450000")
        rows = log.parts()
        assert all(isinstance(part, LogRows) for part in rows)
        pieces = [piece for piece in log.pieces if piece.parts]
        assert len(pieces) >= 4
        assert [piece.open for piece in pieces[:-1]] == [True] * (len(pieces) - 1)
        assert not pieces[-1].open
        assert {piece.checkpoint for piece in pieces[:-1]} == {before}
        ids = [row for part in rows if isinstance(part, LogRows) for row in part.rows.column("id").to_pylist()]
        assert ids == list(range(1, 450_001))
        log.again(before)
        assert sum(part.rows.num_rows for part in log.parts() if isinstance(part, LogRows)) == 450_000
