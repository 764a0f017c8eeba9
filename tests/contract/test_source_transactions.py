"""What every Source promises while others write: nothing is written by us, open transactions are told, triggers see all."""

from __future__ import annotations

import datetime as dt
import time

import pytest

from forebay_agent import errors
from forebay_agent.capture.source import (
    CHANGE_AT,
    CHANGE_ID,
    CHANGE_OP,
    ChangeTable,
    RowRange,
    Source,
    TableName,
    TableShape,
    TriggerSource,
)
from forebay_agent.capture.trigger import offers_triggers
from tests.contract.dialects import DIALECTS, Dialect, rows_of
from tests.contract.harness import SourceHarness

WRITING_VIEWS = {
    "mysql": (
        "SET GLOBAL log_bin_trust_function_creators = 1",
        "CREATE FUNCTION writes() RETURNS BIGINT MODIFIES SQL DATA BEGIN INSERT INTO t VALUES (7, 7); RETURN 7; END",
        "CREATE VIEW writing AS SELECT writes() AS id",
    ),
    "postgresql": (
        "CREATE FUNCTION writes() RETURNS bigint LANGUAGE sql VOLATILE AS 'INSERT INTO t VALUES (7, 7) RETURNING id'",
        "CREATE VIEW writing AS SELECT writes() AS id",
    ),
}


@pytest.fixture
def words(source_harness: SourceHarness) -> Dialect:
    return DIALECTS[source_harness.kind]


@pytest.fixture
def table(source_harness: SourceHarness, words: Dialect) -> TableName:
    source_harness.execute(
        f"CREATE TABLE t (id {words.integer} PRIMARY KEY, a {words.integer})", "INSERT INTO t VALUES (1, 1), (2, 2)"
    )
    return TableName.parse("t")


@pytest.fixture
def source(source_harness: SourceHarness) -> Source:
    return source_harness.open()


@pytest.mark.parametrize("dialect", WRITING_VIEWS)
def test_reading_cannot_write_even_where_the_user_may(request: pytest.FixtureRequest, dialect: str) -> None:
    harness: SourceHarness = request.getfixturevalue(f"{dialect}_harness")
    harness.execute("CREATE TABLE t (id bigint PRIMARY KEY, a bigint)", *WRITING_VIEWS[dialect])
    assert harness.rows("SELECT id FROM writing") == [(7,)]  # the owner's own session can
    harness.execute("DELETE FROM t")
    source = harness.open()
    with pytest.raises(errors.AgentError):
        rows_of(source, source.shape(TableName.parse("writing")), RowRange(()))
    assert harness.rows("SELECT count(*) FROM t") == [(0,)]


def test_a_sqlite_session_refuses_to_write(sqlite_harness: SourceHarness) -> None:
    from forebay_agent.capture.sqlite.session import Session

    sqlite_harness.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    session = Session(sqlite_harness.config())
    for statement in ("INSERT INTO t VALUES (1)", "DROP TABLE t", "CREATE TABLE u (id)"):
        with pytest.raises(errors.PrivilegeMissing):
            session.rows("write", statement)
    session.close()
    assert sqlite_harness.rows("SELECT count(*) FROM t") == [(0,)]


def test_the_horizon_sees_a_transaction_of_another_session_until_it_ends(
    source_harness: SourceHarness, source: Source, table: TableName
) -> None:
    """SQLite has one writer at a time, whose rows come at once: there is never anything to wait for."""
    shape = source.shape(table)
    assert source.horizon(shape, "id").open == frozenset()
    other = source_harness.session()
    other.execute("INSERT INTO t VALUES (10, 10)")
    during = source.horizon(shape, "id")
    assert during.highest == "2"
    assert during.open is not None
    assert bool(during.open) == (source_harness.kind != "sqlite")
    other.commit()
    other.close()
    after = source.horizon(shape, "id")
    assert after.highest == "10"
    assert after.open is not None
    assert not during.open & after.open


def test_an_open_transaction_keeps_its_id_and_another_gets_another(
    source_harness: SourceHarness, source: Source, table: TableName
) -> None:
    if source_harness.kind == "sqlite":
        assert source.horizon(source.shape(table), "id").open == frozenset()
        return
    shape = source.shape(table)
    other = source_harness.session()
    other.execute("INSERT INTO t VALUES (10, 10)")
    first = source.horizon(shape, "id").open
    other.execute("INSERT INTO t VALUES (11, 11)")
    second = source.horizon(shape, "id").open
    assert first is not None
    assert second is not None
    assert first & second
    other.rollback()
    time.sleep(1.1)  # ids may name a start in whole seconds
    other.execute("INSERT INTO t VALUES (12, 12)")
    third = source.horizon(shape, "id").open
    assert third
    assert not first & third
    other.rollback()
    other.close()


def changes_of(source: TriggerSource, changes: ChangeTable, after: str = "0") -> list[tuple[object, ...]]:
    rows = rows_of(source, changes.shape, RowRange((CHANGE_ID,), after=(after,)))
    names = [column.name for column in changes.shape.columns]
    place = {name: names.index(name) for name in (CHANGE_OP, CHANGE_AT, CHANGE_ID, "id", "a")}
    return [(row[place[CHANGE_OP]], row[place["id"]], row[place["a"]]) for row in rows]


@pytest.fixture
def triggered(source_harness: SourceHarness, source: Source, table: TableName) -> tuple[TriggerSource, TableShape]:
    assert offers_triggers(source)
    return source, source.shape(table)


def test_triggers_write_every_change_and_a_changed_key_as_delete_and_insert(
    source_harness: SourceHarness, triggered: tuple[TriggerSource, TableShape]
) -> None:
    source, shape = triggered
    changes = source.change_table(shape)
    assert not source.installed(changes)
    source.install(changes)
    assert source.installed(source.change_table(shape))
    source_harness.execute(
        "INSERT INTO t VALUES (3, 30)",
        "UPDATE t SET a = 31 WHERE id = 3",
        "UPDATE t SET id = 4 WHERE id = 3",
        "DELETE FROM t WHERE id = 4",
        "UPDATE t SET a = NULL WHERE id <= 2",
    )
    assert changes_of(source, changes) == [
        ("c", 3, 30),
        ("u", 3, 31),
        ("d", 3, 31),
        ("c", 4, 31),
        ("d", 4, 31),
        ("u", 1, None),
        ("u", 2, None),
    ]


def test_a_change_carries_the_databases_utc_clock(
    source_harness: SourceHarness, triggered: tuple[TriggerSource, TableShape]
) -> None:
    source, shape = triggered
    changes = source.change_table(shape)
    source.install(changes)
    source_harness.execute("INSERT INTO t VALUES (3, 30)")
    at = rows_of(source, changes.shape.with_columns((CHANGE_AT, CHANGE_ID)), RowRange((CHANGE_ID,)))[0][0]
    moment = at if isinstance(at, dt.datetime) else dt.datetime.fromisoformat(str(at))
    now = dt.datetime.now(dt.UTC)
    assert abs((now - moment.replace(tzinfo=dt.UTC)).total_seconds()) < 10


def test_installing_twice_loses_no_change(
    source_harness: SourceHarness, triggered: tuple[TriggerSource, TableShape]
) -> None:
    source, shape = triggered
    source.install(source.change_table(shape))
    source_harness.execute("INSERT INTO t VALUES (3, 30)")
    source.install(source.change_table(shape))
    source_harness.execute("INSERT INTO t VALUES (4, 40)")
    assert changes_of(source, source.change_table(shape)) == [("c", 3, 30), ("c", 4, 40)]


def test_purge_deletes_what_was_passed_and_ids_are_never_used_again(
    source_harness: SourceHarness, triggered: tuple[TriggerSource, TableShape]
) -> None:
    source, shape = triggered
    changes = source.change_table(shape)
    source.install(changes)
    source_harness.execute("INSERT INTO t VALUES (3, 30)", "INSERT INTO t VALUES (4, 40)")
    highest = source.horizon(changes.shape, CHANGE_ID).highest
    assert highest is not None
    assert source.purge(changes, highest) == 2
    assert source.purge(changes, highest) == 0
    source_harness.execute("INSERT INTO t VALUES (5, 50)")
    assert changes_of(source, changes, after=highest) == [("c", 5, 50)]


def test_a_rolled_back_change_leaves_none(
    source_harness: SourceHarness, triggered: tuple[TriggerSource, TableShape]
) -> None:
    source, shape = triggered
    changes = source.change_table(shape)
    source.install(changes)
    other = source_harness.session()
    other.execute("INSERT INTO t VALUES (3, 30)")
    other.rollback()
    other.close()
    assert changes_of(source, changes) == []


def test_an_added_column_needs_the_triggers_anew(
    source_harness: SourceHarness, triggered: tuple[TriggerSource, TableShape], words: Dialect
) -> None:
    source, shape = triggered
    source.install(source.change_table(shape))
    source_harness.execute(f"ALTER TABLE t ADD COLUMN b {words.integer}")
    wider = source.shape(shape.table)
    assert not source.installed(source.change_table(wider))
    source.install(source.change_table(wider))
    changes = source.change_table(wider)
    assert source.installed(changes)
    source_harness.execute("INSERT INTO t VALUES (3, 30, 300)")
    assert rows_of(source, changes.shape.with_columns(("b",)), RowRange(())) == [(300,)]


def test_a_dropped_table_takes_its_triggers_along(
    source_harness: SourceHarness, triggered: tuple[TriggerSource, TableShape], words: Dialect
) -> None:
    source, shape = triggered
    source.install(source.change_table(shape))
    source_harness.execute("DROP TABLE t", f"CREATE TABLE t (id {words.integer} PRIMARY KEY, a {words.integer})")
    again = source.shape(shape.table)
    assert not source.installed(source.change_table(again))


def test_removing_leaves_the_table_as_it_was(
    source_harness: SourceHarness, triggered: tuple[TriggerSource, TableShape]
) -> None:
    source, shape = triggered
    changes = source.change_table(shape)
    source.install(changes)
    source_harness.execute(*changes.remove)
    assert not source.installed(source.change_table(shape))
    source_harness.execute("INSERT INTO t VALUES (3, 30)", "DELETE FROM t WHERE id = 3")
    assert source.shape(shape.table) == shape


def test_triggers_take_odd_names(source_harness: SourceHarness, source: Source, words: Dialect) -> None:
    assert offers_triggers(source)
    name = """表 "n`a'm%s"""
    quoted = words.quoted(name)
    source_harness.execute(f"CREATE TABLE {quoted} ({quoted} {words.integer} PRIMARY KEY)")
    shape = source.shape(TableName("", name))
    changes = source.change_table(shape)
    source.install(changes)
    source_harness.execute(
        f"INSERT INTO {quoted} VALUES (1)", f"UPDATE {quoted} SET {quoted} = 2", f"DELETE FROM {quoted}"
    )
    narrow = changes.shape.with_columns((CHANGE_OP, name, CHANGE_ID))
    assert [row[:2] for row in rows_of(source, narrow, RowRange((CHANGE_ID,)))] == [
        ("c", 1),
        ("d", 1),
        ("c", 2),
        ("d", 2),
    ]
