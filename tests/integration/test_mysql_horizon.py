"""What is open on MariaDB: nothing that could still commit a row is overlooked, nothing that cannot is waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from forebay_agent.capture.settled import Settled
from forebay_agent.capture.source import Horizon, RowRange, Source, TableName, TableShape
from tests.contract.sources.mysql import MySQLHarness

T = TableName("", "t")


@pytest.fixture
def table(mysql_harness: MySQLHarness) -> MySQLHarness:
    mysql_harness.execute(
        "CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, at datetime(6), INDEX (at))",
        "INSERT INTO t (at) VALUES (NOW(6))",
    )
    return mysql_harness


def look(source: Source) -> Horizon:
    return source.horizon(source.shape(T), "at")


def open_ids(source: Source) -> frozenset[str]:
    ids = look(source).open
    assert ids is not None
    return ids


def test_nothing_is_open_when_nobody_works(table: MySQLHarness) -> None:
    source = table.open()
    idle = table.session()
    assert open_ids(source) == frozenset()
    idle.close()


def test_an_open_transaction_keeps_one_id_from_its_first_read_to_its_commit(table: MySQLHarness) -> None:
    source = table.open()
    writer = table.session()
    writer.execute("SELECT COUNT(*) FROM t")
    reading = open_ids(source)
    assert reading
    writer.execute("INSERT INTO t (at) VALUES (NOW(6))")
    time.sleep(1.1)
    writing = open_ids(source)
    assert reading <= writing
    writer.commit()
    assert open_ids(source) == frozenset()
    writer.close()


def test_a_prepared_xa_transaction_whose_connection_is_gone_stays_open(table: MySQLHarness) -> None:
    source = table.open()
    writer = table.session()
    for statement in ("XA START 'x'", "INSERT INTO t (at) VALUES (NOW(6))", "XA END 'x'", "XA PREPARE 'x'"):
        writer.execute(statement)
    try:
        before = open_ids(source)
        writer.close()
        time.sleep(0.3)
        assert before & open_ids(source)
    finally:
        writer.close()
        table.execute("XA COMMIT 'x'")
    assert open_ids(source) == frozenset()


def test_what_cannot_write_is_not_waited_for(table: MySQLHarness) -> None:
    source, other = table.open(), table.open()
    reader = table.session()
    reader.execute("START TRANSACTION READ ONLY")
    reader.execute("SELECT COUNT(*) FROM t")
    with ThreadPoolExecutor() as threads:
        report = threads.submit(table.rows, "SELECT SLEEP(2), COUNT(*) FROM t")
        time.sleep(0.3)
        list(other.read(other.shape(T), RowRange(("id",))))
        assert open_ids(source) == frozenset()
        assert report.result()
    reader.close()


def test_a_statement_that_waits_for_a_lock_before_its_transaction_begins_is_open_until_its_commit(
    table: MySQLHarness,
) -> None:
    """It has taken its NOW() already; InnoDB knows nothing of it yet."""
    source = table.open()
    locker, writer = table.session(), table.session()
    locker.execute("LOCK TABLES t WRITE")
    writer.execute("BEGIN")
    insert = threading.Thread(target=writer.execute, args=("INSERT INTO t (at) VALUES (NOW(6))",), daemon=True)
    insert.start()
    time.sleep(0.3)
    # the locked table cannot be read: what is open is looked at by another table's horizon
    table.execute("CREATE TABLE u (id int PRIMARY KEY)", "INSERT INTO u VALUES (1)")
    shape = source.shape(TableName("", "u"))

    def others() -> frozenset[str]:
        ids = source.horizon(shape, "id").open
        assert ids is not None
        return ids

    waiting = others()
    assert waiting
    locker.execute("UNLOCK TABLES")
    insert.join()
    # its transaction has a name of its own now, and is still told by the old one
    assert waiting & others()
    assert waiting & others()
    writer.commit()
    assert others() == frozenset()
    locker.close()
    writer.close()


def test_the_list_is_fresh_even_while_monitoring_reads_it_all_the_time(table: MySQLHarness) -> None:
    """The server answers from a copy that is not renewed while it is read again within 0.1 s."""
    source = table.open()
    shape = source.shape(T)
    stop = threading.Event()

    def monitor() -> None:
        while not stop.is_set():
            table.rows("SELECT COUNT(*) FROM information_schema.INNODB_TRX")
            stop.wait(0.2)

    watching = threading.Thread(target=monitor)
    watching.start()
    try:
        for _ in range(5):
            source.horizon(shape, "at")
            writer = table.session()
            writer.execute("INSERT INTO t (at) VALUES (NOW(6))")
            assert source.horizon(shape, "at").open
            writer.rollback()
            writer.close()
            assert source.horizon(shape, "at").open == frozenset()
    finally:
        stop.set()
        watching.join()


def test_without_the_privilege_nobody_can_tell_and_check_says_what_to_grant(table: MySQLHarness) -> None:
    reader = table.reader(f"SELECT ON `{table.database}`.*")
    source = table.open(**reader)
    assert look(source).open is None
    finding = source.examine(source.shape(T), "at")[-1]
    assert finding.sql.startswith("GRANT PROCESS ON *.* TO 'reader_")
    table.execute(finding.sql.rstrip(";"))
    assert look(table.open(**reader)).open == frozenset()


def test_the_highest_value_is_the_text_that_ranges_compare_with(table: MySQLHarness) -> None:
    source = table.open()
    shape = source.shape(T)
    highest = look(source).highest
    assert highest is not None
    assert [batch.num_rows for batch in source.read(shape, RowRange(("at",), at_least=highest, through=highest))] == [1]
    table.execute("DELETE FROM t")
    assert look(source).highest is None


def test_a_row_that_commits_late_arrives_and_a_plain_comparison_loses_it(table: MySQLHarness) -> None:
    source = table.open()
    shape = source.shape(T)
    table.execute("DELETE FROM t")
    late = table.session()
    late.execute("INSERT INTO t (id, at) VALUES (1, NOW(6))")
    time.sleep(0.01)
    table.execute("INSERT INTO t (id, at) VALUES (2, NOW(6))")

    def ids(read: Callable[[], RowRange]) -> list[int]:
        return [key for batch in source.read(shape, read()) for key in batch.column("id").to_pylist()]

    # plainly: everything after the last value seen
    plain = ids(lambda: RowRange(("at",)))
    last = source.horizon(shape, "at").highest
    settled = Settled()
    seen = _settle(source, shape, settled)
    assert not seen.known
    late.commit()
    table.execute("INSERT INTO t (id, at) VALUES (3, NOW(6))")
    assert last is not None
    plain += ids(lambda: RowRange(("at",), after=(last,)))
    assert plain == [2, 3]
    seen = _settle(source, shape, seen)
    assert seen.known
    assert seen.bound is not None
    assert ids(lambda: RowRange(("at", "id"), through=seen.bound)) == [1, 2, 3]
    late.close()


def _settle(source: Source, shape: TableShape, settled: Settled) -> Settled:
    horizon = source.horizon(shape, "at")
    assert horizon.open is not None
    return settled.observed(horizon.highest, horizon.open)


def test_under_load_no_row_ever_arrives_below_a_settled_bound(table: MySQLHarness) -> None:
    """Writers take NOW(6), dawdle and commit in any order; a reader that moves on by settled bounds sees each row."""
    source = table.open()
    shape = source.shape(T)
    table.execute("DELETE FROM t")
    until = time.monotonic() + 4

    def write(number: int) -> int:
        count = 0
        session = table.session()
        while time.monotonic() < until:
            session.execute("INSERT INTO t (at) VALUES (NOW(6))")
            time.sleep((number * 7 + count * 3) % 11 / 100)
            session.commit()
            count += 1
        session.close()
        return count

    seen: set[int] = set()
    settled = Settled()
    low: str | None = None
    with ThreadPoolExecutor(8) as threads:
        writers = [threads.submit(write, number) for number in range(6)]
        quiet = False
        while not quiet:
            quiet = all(writer.done() for writer in writers)  # and then one more look
            settled = _settle(source, shape, settled)
            if settled.known and settled.bound is not None:
                window = RowRange(("at", "id"), at_least=low, through=settled.bound)
                for batch in source.read(shape, window):
                    seen.update(batch.column("id").to_pylist())
                low = settled.bound
        written = sum(writer.result() for writer in writers)
    assert written > 50
    ids = {key for (key,) in table.rows("SELECT id FROM t")}
    assert len(ids) == written
    assert ids - seen == set()
