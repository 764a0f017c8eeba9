"""Definitions in MariaDB's log: each table event where it stands, rows before it as they were, rows after it as they are."""

from __future__ import annotations

from typing import Any

import pytest

from forebay_agent import errors
from forebay_agent.capture.log import EventKind, LogRows, TableEvent
from tests.contract.sources.mysql import MySQLHarness
from tests.integration.log_of_mysql import Log, events, told

GREW, ALTERED, TRUNCATED, LOST = EventKind.GREW, EventKind.ALTERED, EventKind.TRUNCATED, EventKind.LOST


@pytest.fixture(params=["FULL", "NO_LOG"])
def metadata(request: pytest.FixtureRequest, mysql_harness: MySQLHarness) -> Any:
    mysql_harness.server.execute(f"SET GLOBAL binlog_row_metadata = {request.param}")
    yield request.param
    mysql_harness.server.execute("SET GLOBAL binlog_row_metadata = FULL")


def create(harness: MySQLHarness) -> None:
    harness.execute("CREATE TABLE t (id int PRIMARY KEY, a varchar(20), b int NOT NULL DEFAULT 7)")


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("ALTER TABLE t ADD COLUMN c int", GREW),
        ("ALTER TABLE t ADD (c int, d varchar(5) DEFAULT NULL)", GREW),
        ("alter online table `t` /* why */ add `c` datetime(3) null after id -- so", GREW),
        ("/*!50000 ALTER TABLE t ADD COLUMN c int */", GREW),
        (
            "SET STATEMENT lock_wait_timeout = 5 FOR ALTER TABLE t ADD c json, ADD INDEX (a), COMMENT 'it''s ADD b'",
            GREW,
        ),
        ("ALTER TABLE t ADD COLUMN c int DEFAULT 5", ALTERED),
        ("ALTER TABLE t ADD COLUMN c int NOT NULL", ALTERED),
        ("ALTER TABLE t ADD COLUMN c int AS (b + 1) VIRTUAL", ALTERED),
        ("ALTER TABLE t ADD COLUMN c int, DROP COLUMN a", ALTERED),
        ("ALTER TABLE t DROP COLUMN a", ALTERED),
        ("ALTER TABLE t RENAME COLUMN a TO z", ALTERED),
        ("ALTER TABLE t CHANGE a z varchar(20)", ALTERED),
        ("ALTER TABLE t MODIFY b bigint NOT NULL DEFAULT 7", ALTERED),
        ("ALTER TABLE t MODIFY a varchar(20) CHARACTER SET gbk", ALTERED),
        ("ALTER TABLE t MODIFY a varchar(20) NOT NULL", ALTERED),
        ("ALTER TABLE t DROP COLUMN b, ADD COLUMN b int NOT NULL DEFAULT 7", ALTERED),
        ("ALTER TABLE t CHANGE a c varchar(20), ADD COLUMN a varchar(20)", ALTERED),
        ("ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (b)", ALTERED),
        ("ALTER IGNORE TABLE t ADD UNIQUE (a)", ALTERED),
        ("REPAIR TABLE t", ALTERED),
        ("TRUNCATE TABLE t", TRUNCATED),
        ("truncate t", TRUNCATED),
        ("ALTER TABLE t MODIFY a varchar(40)", None),
        ("ALTER TABLE t MODIFY a varchar(20) COMMENT 'x'", None),
        ("ALTER TABLE t MODIFY b int NOT NULL", None),
        ("ALTER TABLE t ADD INDEX i (a), ENGINE = InnoDB, AUTO_INCREMENT = 5", None),
        ("CREATE UNIQUE INDEX i ON t (a, b)", None),
        ("ALTER TABLE t ALTER b SET DEFAULT 8", None),
        ("OPTIMIZE TABLE t", None),
        ("ANALYZE TABLE t", None),
        ("CREATE TABLE IF NOT EXISTS t (id int)", None),
        ("CREATE TRIGGER tr AFTER INSERT ON t FOR EACH ROW SET @x = 1", None),
        ("CREATE VIEW v AS SELECT * FROM t", None),
    ],
)
def test_a_statement_is_the_event_that_it_is(
    mysql_harness: MySQLHarness, metadata: str, statement: str, kind: EventKind | None
) -> None:
    create(mysql_harness)
    with Log(mysql_harness) as log:
        mysql_harness.execute("INSERT INTO t (id, a, b) VALUES (1, 'x', 1)", statement)
        mysql_harness.execute("INSERT IGNORE INTO t (id, b) VALUES (2, 2)")
        parts = log.parts()
        shown = [part.kind if isinstance(part, TableEvent) else "rows" for part in parts]
        assert shown == (["rows", "rows"] if kind is None else ["rows", kind, "rows"]) or (
            kind is None and shown == ["rows"]
        )
        before, after = parts[0], parts[-1]
        assert isinstance(before, LogRows)
        assert isinstance(after, LogRows)
        assert told([before])[0][:2] == ("c", 1)
        described = log.followed()[0].shape
        if kind in (GREW, ALTERED):
            (event,) = events(parts, kind)
            assert event.shape is not None
            assert [(c.name, c.arrow) for c in event.shape.columns] == [(c.name, c.arrow) for c in described.columns]
            assert event.shape.key == described.key
            assert after.shape == event.shape
            assert "'" not in event.reason.replace("'…'", "")
        stored = mysql_harness.rows(
            f"SELECT {', '.join(f'`{c.name}`' for c in after.shape.columns)} FROM t WHERE id = 2"
        )
        assert [row for row in told([after]) if row[0] == "c"][-1][1:] == stored[0]


@pytest.mark.parametrize(
    ("statements", "error"),
    [
        (("DROP TABLE t",), errors.TableMissing),
        (("DROP TABLE IF EXISTS u, t",), errors.TableMissing),
        (("RENAME TABLE t TO u",), errors.TableMissing),
        (("ALTER TABLE t RENAME u",), errors.TableMissing),
        (("CREATE TABLE n LIKE t", "RENAME TABLE t TO o, n TO t"), errors.TableReplaced),
        (("CREATE OR REPLACE TABLE t (id int PRIMARY KEY)",), errors.TableReplaced),
        (("DROP TABLE t", "CREATE TABLE t (id int PRIMARY KEY)"), errors.TableMissing),
        (("CREATE OR REPLACE TABLE t SELECT 1 AS id",), errors.TableReplaced),
    ],
)
def test_a_table_that_is_gone_or_replaced_is_lost_where_that_stands(
    mysql_harness: MySQLHarness, statements: tuple[str, ...], error: type[errors.AgentError]
) -> None:
    create(mysql_harness)
    mysql_harness.execute("CREATE TABLE other (id int PRIMARY KEY)")
    with Log(mysql_harness, tables=("t", "other")) as log:
        mysql_harness.execute("INSERT INTO t (id) VALUES (1)", *statements, "INSERT INTO other VALUES (5)")
        parts = log.parts()
        assert told(parts, "id") == [("c", 1), (LOST, "t"), ("c", 5)]
        (event,) = events(parts, LOST)
        assert isinstance(event.error, error)


def test_a_dropped_database_loses_its_tables(mysql_harness: MySQLHarness) -> None:
    create(mysql_harness)
    with Log(mysql_harness) as log:
        mysql_harness.server.execute(f"DROP DATABASE `{mysql_harness.database}`")
        mysql_harness.server.execute(f"CREATE DATABASE `{mysql_harness.database}`")
        assert told(log.parts()) == [(LOST, "t")]


def test_columns_that_are_not_captured_may_change_as_they_like(mysql_harness: MySQLHarness, metadata: str) -> None:
    create(mysql_harness)
    with Log(mysql_harness, options={"columns": ("id", "a")}) as log:
        mysql_harness.execute(
            "INSERT INTO t VALUES (1, 'x', 1)",
            "ALTER TABLE t ADD COLUMN c int NOT NULL DEFAULT 3 FIRST, DROP COLUMN b",
        )
        assert log.changes() == [("c", 1, "x")]
        mysql_harness.execute("INSERT INTO t VALUES (3, 2, 'y')")
        assert log.changes() == [("c", 2, "y")]


def test_many_definitions_read_late_give_the_right_rows_or_a_lost_table(
    mysql_harness: MySQLHarness, metadata: str
) -> None:
    """What the database says now is not what the log was written by."""
    create(mysql_harness)
    with Log(mysql_harness) as log:
        mysql_harness.execute(
            "INSERT INTO t VALUES (1, 'x', 1)",
            "ALTER TABLE t ADD COLUMN c int",
            "INSERT INTO t VALUES (2, 'y', 2, 22)",
            "ALTER TABLE t DROP COLUMN b",
            "INSERT INTO t VALUES (3, 'z', 33)",
            "ALTER TABLE t CHANGE a b varchar(20), CHANGE c a int",
            "INSERT INTO t VALUES (4, 'w', 44)",
        )
        parts = log.parts()
    if metadata == "NO_LOG":
        assert told(parts, "id") == [("c", 1), (LOST, "t")]
        (event,) = events(parts, LOST)
        assert isinstance(event.error, errors.LogUnfit)
        assert event.error.sql == "SET GLOBAL binlog_row_metadata = 'FULL';"
        return
    rows = [row for part in parts if isinstance(part, LogRows) for row in part.rows.to_pylist()]
    values = [{name: row[name] for name in row if not name.startswith("_")} for row in rows]
    assert values == [
        {"id": 1, "a": "x", "b": 1},
        {"id": 2, "a": "y", "b": 2, "c": 22},
        {"id": 3, "a": "z", "c": 33},
        {"id": 4, "b": "w", "a": 44},
    ]
    assert [part.kind for part in parts if isinstance(part, TableEvent)] == [GREW, ALTERED, ALTERED]


def test_a_definition_that_the_log_does_not_tell_of_is_noticed_by_the_columns(
    mysql_harness: MySQLHarness, metadata: str
) -> None:
    create(mysql_harness)
    with Log(mysql_harness) as log:
        mysql_harness.execute("INSERT INTO t VALUES (1, 'x', 1)")
        assert log.changes("id") == [("c", 1)]
        with_connection = mysql_harness.server.connect(mysql_harness.database)
        with with_connection.cursor() as cursor:
            cursor.execute("SET sql_log_bin = 0")
            cursor.execute("ALTER TABLE t MODIFY b bigint, ADD COLUMN c varchar(9)")
        with_connection.close()
        mysql_harness.execute("INSERT INTO t VALUES (2, 'y', 2, 'c')")
        parts = log.parts()
        if metadata == "FULL":
            assert [part.kind for part in parts if isinstance(part, TableEvent)] == [ALTERED]
            assert told([parts[-1]]) == [("c", 2, "y", 2, "c")]
        else:
            assert [part.kind for part in parts if isinstance(part, TableEvent)] in ([ALTERED], [LOST])


def test_partitions_that_lose_rows_make_the_table_altered(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute(
        "CREATE TABLE t (id int PRIMARY KEY) PARTITION BY RANGE (id) "
        "(PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20))"
    )
    with Log(mysql_harness) as log:
        mysql_harness.execute(
            "INSERT INTO t VALUES (1), (11)",
            "ALTER TABLE t ADD PARTITION (PARTITION p2 VALUES LESS THAN (30))",
            "ALTER TABLE t TRUNCATE PARTITION p0",
            "ALTER TABLE t DROP PARTITION p1",
            "ALTER TABLE t REORGANIZE PARTITION p2 INTO (PARTITION p3 VALUES LESS THAN (40))",
        )
        changes = log.changes()
        assert changes[:2] == [("c", 1), ("c", 11)]
        assert set(changes[2:]) == {(ALTERED, "t")}


def test_names_in_chinese_and_in_quotes_are_understood(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute("CREATE TABLE `企业``信息` (`编 号` int PRIMARY KEY)")
    with Log(mysql_harness, tables=("企业`信息",)) as log:
        connection = mysql_harness.server.connect(mysql_harness.database, charset="gbk")
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO `企业``信息` VALUES (1)")
            cursor.execute(f"ALTER TABLE `{mysql_harness.database}`.`企业``信息` ADD `名称` varchar(9) COMMENT '名'")
            cursor.execute("INSERT INTO `企业``信息` VALUES (2, '桂平')")
        connection.close()
        assert log.changes() == [("c", 1), (GREW, "企业`信息"), ("c", 2, "桂平")]


def test_a_key_over_long_columns_adds_a_hidden_column_that_is_not_captured(
    mysql_harness: MySQLHarness, metadata: str
) -> None:
    mysql_harness.execute("CREATE TABLE t (id int PRIMARY KEY, a text, UNIQUE (a))")
    with Log(mysql_harness) as log:
        mysql_harness.execute("INSERT INTO t VALUES (1, 'x')", "UPDATE t SET a = 'y'")
        assert log.changes() == [("c", 1, "x"), ("u", 1, "y")]


def test_system_versioned_tables_are_refused_with_another_way(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute("CREATE TABLE t (id int PRIMARY KEY, a int) WITH SYSTEM VERSIONING")
    with Log(mysql_harness) as log:
        mysql_harness.execute("INSERT INTO t VALUES (1, 2)")
        parts = log.parts()
        assert told(parts) == [(LOST, "t")]
        (event,) = events(parts, LOST)
        assert event.error is not None
        assert "trigger" in event.error.remedy
    findings = mysql_harness.open().examine_log(log.followed())  # type: ignore[attr-defined]
    assert any("system-versioned" in finding.message for finding in findings)
