"""Which transactions of PostgreSQL are open, so that a growing column is read no further than is settled."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from forebay_agent.capture.postgresql.horizon import _Succession
from forebay_agent.capture.settled import Settled
from forebay_agent.capture.source import Horizon, RowRange, Severity, Source, TableName, TableShape
from tests.contract.sources.postgresql import PostgreSQLHarness
from tests.servers.postgresql import PostgreSQL

T = TableName("public", "t")


@pytest.fixture
def table(postgresql_harness: PostgreSQLHarness) -> PostgreSQLHarness:
    postgresql_harness.execute(
        "CREATE TABLE t (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL DEFAULT now())",
        "CREATE INDEX ON t (at, id)",
        "INSERT INTO t DEFAULT VALUES",
    )
    return postgresql_harness


def look(source: Source) -> Horizon:
    return source.horizon(source.shape(T), "at")


def open_ids(source: Source) -> frozenset[str]:
    ids = look(source).open
    assert ids is not None
    return ids


def test_nothing_is_open_when_nobody_works(table: PostgreSQLHarness) -> None:
    source, other = table.open(), table.open()
    idle = table.session()
    assert other.clock_us() > 0
    assert open_ids(source) == frozenset()
    idle.close()


def test_an_open_transaction_keeps_one_id_from_its_begin_to_its_commit(table: PostgreSQLHarness) -> None:
    source, writer = table.open(), table.session()
    writer.execute("SELECT now()")  # no transaction id yet, but its time is drawn
    began = open_ids(source)
    assert len(began) == 1
    writer.execute("INSERT INTO t DEFAULT VALUES")
    assert open_ids(source) == began
    writer.commit()
    assert open_ids(source) == frozenset()
    writer.execute("SELECT 1")
    assert not open_ids(source) & began
    writer.close()


def test_a_transaction_of_another_database_is_not_waited_for(table: PostgreSQLHarness, postgresql: PostgreSQL) -> None:
    source = table.open()
    with postgresql.connect(autocommit=False) as elsewhere:
        elsewhere.execute("SELECT now()")
        assert open_ids(source) == frozenset()


def test_a_transaction_stays_open_while_it_is_prepared_and_its_session_gone(table: PostgreSQLHarness) -> None:
    source, writer = table.open(), table.session()
    writer.execute("INSERT INTO t DEFAULT VALUES")
    before = open_ids(source)
    writer.execute("PREPARE TRANSACTION 'forebay test'")
    writer.close()
    assert before <= open_ids(source)
    assert before <= open_ids(source)
    table.execute("COMMIT PREPARED 'forebay test'")
    assert open_ids(source) == frozenset()


def test_only_sessions_that_went_as_the_prepared_one_came_stay_listed() -> None:
    succession = _Succession()
    none = frozenset[str]()
    assert succession.observed(frozenset({"a", "b"}), none) == {"a", "b"}
    assert succession.observed(frozenset({"b"}), frozenset({"p"})) == {"a", "b", "p"}
    assert succession.observed(none, frozenset({"p"})) == {"a", "p"}
    assert succession.observed(none, none) == none


def test_without_the_privilege_nobody_can_tell_and_check_says_what_to_grant(table: PostgreSQLHarness) -> None:
    reader = table.reader("SELECT ON t")
    source = table.open(**reader)
    shape = source.shape(T)
    assert look(source).open is None
    (finding,) = [f for f in source.examine(shape, "at") if f.subject == "open transactions"]
    assert finding.severity is Severity.WARNING
    table.execute(finding.sql)
    assert look(source).open == frozenset()
    writer = table.session()
    writer.execute("SELECT now()")
    assert len(open_ids(source)) == 1
    writer.close()


def test_a_session_that_is_not_tracked_makes_open_transactions_unknown(table: PostgreSQLHarness) -> None:
    source, hidden = table.open(), table.session()
    hidden.execute("SET track_activities TO off")
    hidden.commit()
    assert look(source).open is None
    hidden.close()


def test_a_standby_cannot_tell_what_its_primary_has_open() -> None:
    with PostgreSQL.start() as primary, PostgreSQL.start(options=("hot_standby=on",)) as server:
        primary.execute("CREATE TABLE t (id bigint PRIMARY KEY, at timestamptz)", "CREATE INDEX ON t (at)")
        server.restart_as_standby_of(primary)
        standby = PostgreSQLHarness(server, primary.database)
        source = standby.open()
        with primary.connect(autocommit=False) as writer:
            writer.execute("SELECT now()")
            assert look(source).open is None
        (finding,) = [f for f in source.examine(source.shape(T), "at") if f.subject == "open transactions"]
        assert "standby" in finding.message
        source.close()


def test_the_highest_value_is_the_text_that_ranges_compare_with(table: PostgreSQLHarness) -> None:
    source = table.open()
    shape = source.shape(T)
    highest = look(source).highest
    assert highest is not None
    assert [b.num_rows for b in source.read(shape, RowRange(("at",), at_least=highest, through=highest))] == [1]
    table.execute("DELETE FROM t")
    assert look(source).highest is None


def test_a_row_that_commits_late_arrives_and_a_plain_comparison_loses_it(table: PostgreSQLHarness) -> None:
    table.execute("DELETE FROM t")
    source, late = table.open(), table.session()
    shape = source.shape(T)
    late.execute("SELECT now()")
    time.sleep(0.01)
    table.execute("INSERT INTO t DEFAULT VALUES")

    def ids(rows: RowRange) -> set[int]:
        return {key for batch in source.read(shape, rows) for key in batch.column("id").to_pylist()}

    plain = ids(RowRange(("at",)))
    last = look(source).highest
    seen = settle(source, shape, Settled())
    assert not seen.known
    late.execute("INSERT INTO t DEFAULT VALUES")
    late.commit()
    late.close()
    table.execute("INSERT INTO t DEFAULT VALUES")
    everything = {key for (key,) in table.rows("SELECT id FROM t")}
    assert last is not None
    plain |= ids(RowRange(("at",), after=(last,)))
    assert len(everything - plain) == 1
    seen = settle(source, shape, seen)
    assert seen.known
    seen = settle(source, shape, seen)
    assert ids(RowRange(("at", "id"), through=seen.bound)) == everything


def settle(source: Source, shape: TableShape, settled: Settled) -> Settled:
    horizon = source.horizon(shape, "at")
    assert horizon.open is not None
    return settled.observed(horizon.highest, horizon.open)


def test_under_load_no_row_ever_arrives_below_a_settled_bound(table: PostgreSQLHarness) -> None:
    """Writers take now(), dawdle and commit in any order, some by two phases; a reader that moves on by settled bounds, and
    never looks below them again, sees each row."""
    table.execute("DELETE FROM t")
    source = table.open()
    shape = source.shape(T)
    until = time.monotonic() + 4

    def write(number: int) -> int:
        count = 0
        session = table.session()
        while time.monotonic() < until:
            session.execute("SELECT now()")
            time.sleep((number * 7 + count * 3) % 11 / 200)
            session.execute("INSERT INTO t DEFAULT VALUES")
            if number == 0:
                session.execute(f"PREPARE TRANSACTION 'load {count}'")
                session.commit()
                time.sleep(0.03)
                table.execute(f"COMMIT PREPARED 'load {count}'")
            else:
                session.commit()
            count += 1
        session.close()
        return count

    seen: set[int] = set()
    settled = Settled()
    low: str | None = None
    with ThreadPoolExecutor(6) as threads:
        writers = [threads.submit(write, number) for number in range(6)]
        quiet = False
        while not quiet or settled.pending is not None:
            quiet = all(writer.done() for writer in writers)
            settled = settle(source, shape, settled)
            if settled.known and settled.bound is not None:
                for batch in source.read(shape, RowRange(("at", "id"), at_least=low, through=settled.bound)):
                    seen.update(batch.column("id").to_pylist())
                low = settled.bound
        written = sum(writer.result() for writer in writers)
    assert written > 50
    ids = {key for (key,) in table.rows("SELECT id FROM t")}
    assert len(ids) == written
    assert ids - seen == set()
