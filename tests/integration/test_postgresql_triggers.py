"""The change table and its triggers on a real PostgreSQL."""

from __future__ import annotations

import pytest

from forebay_agent.capture.postgresql.source import PostgreSQLSource
from forebay_agent.capture.source import ChangeTable, RowRange, TableName, TableShape
from forebay_agent.errors import PrivilegeMissing, SourceError, StatementTimeout
from tests.contract.sources.postgresql import PostgreSQLHarness

T = TableName("public", "t")
BY_ID = RowRange(("forebay_id",))


def installed(source: PostgreSQLSource, shape: TableShape) -> ChangeTable:
    changes = source.change_table(shape)
    assert not source.installed(changes)
    source.install(changes)
    assert source.installed(source.change_table(shape))
    return changes


def written(source: PostgreSQLSource, changes: ChangeTable) -> list[tuple[object, ...]]:
    """Operation and captured columns of every change, in order."""
    return [
        (row["forebay_op"], *(row[column.name] for column in changes.shape.columns[3:]))
        for batch in source.read(changes.shape, BY_ID)
        for row in batch.to_pylist()
    ]


def test_every_way_to_change_a_row_is_written_once(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute("CREATE TABLE t (a int, b text, v text, PRIMARY KEY (a, b))")
    source = postgresql_harness.open()
    changes = installed(source, source.shape(T))
    postgresql_harness.execute(
        "INSERT INTO t VALUES (1, 'x', '甲'), (2, 'x', NULL)",
        "UPDATE t SET v = '乙' WHERE a = 1",
        "UPDATE t SET b = 'X' WHERE a = 1",
        "INSERT INTO t VALUES (2, 'x', 'z') ON CONFLICT (a, b) DO UPDATE SET v = excluded.v",
        "INSERT INTO t VALUES (2, 'x', 'never') ON CONFLICT DO NOTHING",
        "DELETE FROM t WHERE a = 1",
        "TRUNCATE t",
    )
    assert written(source, changes) == [
        ("c", 1, "x", "甲"),
        ("c", 2, "x", None),
        ("u", 1, "x", "乙"),
        ("d", 1, "x", "乙"),
        ("c", 1, "X", "乙"),
        ("u", 2, "x", "z"),
        ("d", 1, "X", "乙"),
        ("d", 2, "x", "z"),
    ]
    ids = [key for batch in source.read(changes.shape, BY_ID) for key in batch.column("forebay_id").to_pylist()]
    assert ids == sorted(set(ids))
    assert source.horizon(changes.shape, "forebay_id").highest == str(ids[-1])


def test_a_key_that_only_its_collation_calls_equal_has_changed(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute(
        "CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        "CREATE TABLE t (k text COLLATE blind PRIMARY KEY)",
        "INSERT INTO t VALUES ('abc')",
    )
    source = postgresql_harness.open()
    changes = installed(source, source.shape(T))
    postgresql_harness.execute("UPDATE t SET k = 'ABC' WHERE k = 'Abc'")
    assert written(source, changes) == [("d", "abc"), ("c", "ABC")]


def test_the_time_of_a_change_is_the_databases_clock_in_utc(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute("CREATE TABLE t (id int PRIMARY KEY)")
    source = postgresql_harness.open()
    changes = installed(source, source.shape(T))
    before = source.clock_us()
    writer = postgresql_harness.session()
    writer.execute("SET timezone TO 'Asia/Shanghai'")
    writer.execute("INSERT INTO t VALUES (1)")
    writer.commit()
    writer.close()
    (batch,) = source.read(changes.shape, BY_ID)
    (at,) = batch.column("forebay_at").cast("int64").to_pylist()
    assert before <= at <= source.clock_us()


def test_what_is_rolled_back_leaves_no_change(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute("CREATE TABLE t (id int PRIMARY KEY)")
    source = postgresql_harness.open()
    changes = installed(source, source.shape(T))
    writer = postgresql_harness.session()
    writer.execute("INSERT INTO t VALUES (1)")
    writer.rollback()
    writer.close()
    assert written(source, changes) == []


def test_who_changes_the_table_needs_no_right_on_the_change_table(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute("CREATE TABLE t (id int PRIMARY KEY)", "CREATE SCHEMA evil")
    source = postgresql_harness.open()
    changes = installed(source, source.shape(T))
    user = postgresql_harness.reader("INSERT, DELETE, SELECT ON t", "ALL ON SCHEMA evil")
    role = str(user["user"])
    writer = postgresql_harness.session()
    writer.execute(f"SET SESSION AUTHORIZATION {role}")
    writer.execute(
        "CREATE FUNCTION evil.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$ SELECT NULL::timestamptz $$"
    )
    writer.execute("SET search_path TO evil, pg_catalog, public")
    writer.execute("INSERT INTO public.t VALUES (1)")
    writer.commit()
    with pytest.raises(Exception, match="permission denied"):
        writer.execute(f"SELECT * FROM public.{changes.shape.table.name}")
    writer.rollback()
    with pytest.raises(Exception, match="permission denied"):
        writer.execute(
            "CREATE TEMP TABLE own (id int); CREATE TRIGGER x AFTER INSERT ON own FOR EACH ROW "
            "EXECUTE FUNCTION public._forebay_capture_t()"
        )
    writer.close()
    postgresql_harness.execute("DROP SCHEMA evil CASCADE")
    assert written(source, changes) == [("c", 1)]


def test_rows_that_a_replication_applies_are_written(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute("CREATE TABLE t (id int PRIMARY KEY)")
    source = postgresql_harness.open()
    changes = installed(source, source.shape(T))
    writer = postgresql_harness.session()
    writer.execute("SET session_replication_role TO replica")
    writer.execute("INSERT INTO t VALUES (1)")
    writer.commit()
    writer.close()
    assert written(source, changes) == [("c", 1)]


def test_a_partitioned_table_is_written_through_its_partitions(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute(
        "CREATE TABLE t (id int, year int, PRIMARY KEY (id, year)) PARTITION BY LIST (year)",
        "CREATE TABLE t_2024 PARTITION OF t FOR VALUES IN (2024)",
        "CREATE TABLE t_2025 PARTITION OF t FOR VALUES IN (2025)",
    )
    source = postgresql_harness.open()
    shape = source.shape(T)
    assert shape.key == ("id", "year")
    changes = installed(source, shape)
    postgresql_harness.execute("INSERT INTO t VALUES (1, 2024)", "INSERT INTO t_2025 VALUES (2, 2025)")
    postgresql_harness.execute("UPDATE t SET year = 2025 WHERE id = 1", "TRUNCATE t")
    assert written(source, changes)[:4] == [("c", 1, 2024), ("c", 2, 2025), ("d", 1, 2024), ("c", 1, 2025)]
    assert sorted(written(source, changes)[4:]) == [("d", 1, 2025), ("d", 2, 2025)]


def test_long_and_chinese_names_get_change_tables_of_their_own(postgresql_harness: PostgreSQLHarness) -> None:
    names = ["贵" * 20 + "港", "贵" * 20 + "桂", 'a"b$forebay$', "x" * 63]
    for name in names:
        quoted = name.replace('"', '""')
        postgresql_harness.execute(f'CREATE TABLE "{quoted}" (id int PRIMARY KEY, "it\'s $forebay$ ""q""" text)')
    source = postgresql_harness.open()
    tables = set()
    for name in names:
        changes = installed(source, source.shape(TableName("public", name)))
        tables.add(changes.shape.table)
        postgresql_harness.execute("INSERT INTO \"{}\" VALUES (1, 'x')".format(name.replace('"', '""')))
        assert written(source, changes) == [("c", 1, "x")]
        assert len(changes.shape.table.name.encode()) <= 63
        postgresql_harness.execute(*changes.remove)
        assert not source.installed(changes)
    assert len(tables) == len(names)


def test_only_the_columns_asked_for_are_written(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute("CREATE TABLE t (id int PRIMARY KEY, secret text, v int)")
    source = postgresql_harness.open()
    changes = installed(source, source.shape(T).with_columns(("id", "v")))
    postgresql_harness.execute("INSERT INTO t VALUES (1, 'hidden', 2)")
    assert written(source, changes) == [("c", 1, 2)]
    assert "hidden" not in str(postgresql_harness.rows(f"SELECT * FROM {changes.shape.table.name}"))


@pytest.mark.parametrize(
    "damage",
    [
        "ALTER TABLE t DISABLE TRIGGER _forebay_changes",
        "DROP TRIGGER _forebay_truncate ON t",
        "CREATE OR REPLACE FUNCTION _forebay_capture_t() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "ALTER TABLE _forebay_changes_t DROP COLUMN v",
        "ALTER TABLE t ALTER COLUMN v TYPE numeric(20,4)",
        "ALTER TABLE t ADD COLUMN more date",
        "DROP TABLE _forebay_changes_t",
        "DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, v int, w amount)",
    ],
)
def test_triggers_that_are_gone_or_do_not_fit_are_noticed_and_made_good(
    postgresql_harness: PostgreSQLHarness, damage: str
) -> None:
    postgresql_harness.execute(
        "CREATE DOMAIN amount AS numeric(8,2) NOT NULL CHECK (VALUE > 0)",
        "CREATE TABLE t (id int PRIMARY KEY, v int, w amount)",
    )
    source = postgresql_harness.open()
    installed(source, source.shape(T))
    postgresql_harness.execute(damage)
    assert not source.installed(source.change_table(source.shape(T)))
    changes = source.change_table(source.shape(T))
    source.install(changes)
    assert source.installed(source.change_table(source.shape(T)))
    postgresql_harness.execute("INSERT INTO t (id, v, w) VALUES (1, 5, 1.25)", "TRUNCATE t")
    assert [row[:3] for row in written(source, changes)] == [("c", 1, 5), ("d", 1, 5)]


def test_installing_again_changes_nothing(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute("CREATE TABLE t (id int PRIMARY KEY)")
    source = postgresql_harness.open()
    changes = installed(source, source.shape(T))
    postgresql_harness.execute("INSERT INTO t VALUES (1)")
    source.install(changes)
    source.install(source.change_table(source.shape(T)))
    postgresql_harness.execute("INSERT INTO t VALUES (2)")
    assert written(source, changes) == [("c", 1), ("c", 2)]


def test_purging_takes_what_was_asked_and_no_more_in_bounded_pieces(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute("CREATE TABLE t (id int PRIMARY KEY)")
    source = postgresql_harness.open()
    changes = installed(source, source.shape(T))
    postgresql_harness.execute("INSERT INTO t SELECT generate_series(1, 25000)")
    number = "SELECT pg_current_xact_id()::text::bigint"
    before = int(str(postgresql_harness.rows(number)[0][0]))
    assert source.purge(changes, "24990") == 24990
    assert int(str(postgresql_harness.rows(number)[0][0])) - before >= 1 + 3  # three transactions, and this one
    assert source.purge(changes, "24990") == 0
    assert [row[1] for row in written(source, changes)] == list(range(24991, 25001))
    postgresql_harness.execute("INSERT INTO t VALUES (0)")
    assert source.horizon(changes.shape, "forebay_id").highest == "25001"


def test_who_may_not_make_triggers_is_told_the_statements_and_a_dba_s_hands_suffice(
    postgresql_harness: PostgreSQLHarness,
) -> None:
    postgresql_harness.execute("CREATE TABLE t (id int PRIMARY KEY)")
    reader = postgresql_harness.reader("SELECT ON t", "pg_read_all_stats")
    source = postgresql_harness.open(**reader)
    shape = source.shape(T)
    changes = source.change_table(shape)
    with pytest.raises(PrivilegeMissing) as refused:
        source.install(changes)
    assert refused.value.sql == ";\n".join(changes.install) + ";"
    postgresql_harness.execute(refused.value.sql)
    assert source.installed(changes)
    postgresql_harness.execute("INSERT INTO t VALUES (1), (2)")
    assert written(source, changes) == [("c", 1), ("c", 2)]
    assert source.purge(changes, "1") == 1
    postgresql_harness.execute("REVOKE DELETE ON _forebay_changes_t FROM " + str(reader["user"]))
    with pytest.raises(PrivilegeMissing) as purging:
        source.purge(changes, "2")
    postgresql_harness.execute(purging.value.sql)
    assert source.purge(changes, "2") == 1
    postgresql_harness.execute(*changes.remove)


def test_installing_gives_up_soon_when_the_table_is_in_use(
    postgresql_harness: PostgreSQLHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forebay_agent.capture.postgresql.triggers._LOCK_SECONDS", 1)
    postgresql_harness.execute("CREATE TABLE t (id int PRIMARY KEY)")
    source = postgresql_harness.open()
    writer = postgresql_harness.session()
    writer.execute("INSERT INTO t VALUES (1)")
    changes = source.change_table(source.shape(T))
    with pytest.raises(StatementTimeout):
        source.install(changes)
    assert not source.installed(changes)
    writer.commit()
    writer.close()
    source.install(changes)
    assert source.installed(changes)


def test_a_view_has_no_triggers(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute("CREATE VIEW t AS SELECT 1 AS id")
    source = postgresql_harness.open()
    with pytest.raises(SourceError, match="not a table"):
        source.change_table(source.shape(T))
