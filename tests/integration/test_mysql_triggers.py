"""Change tables on MariaDB: every change once, with full images, whatever the table's columns are."""

from __future__ import annotations

import pymysql
import pytest

from forebay_agent import errors
from forebay_agent.capture.mysql import triggers
from forebay_agent.capture.source import RowRange, Severity, TableName, TriggerSource
from forebay_agent.capture.sources import open_source
from forebay_agent.capture.trigger import offers_triggers
from tests.contract.sources.mysql import MySQLHarness

T = TableName("", "t")


def opened(harness: MySQLHarness, **changes: object) -> TriggerSource:
    source = harness.open(**changes)
    assert offers_triggers(source)
    return source


def changes_of(
    source: TriggerSource, name: TableName = T, *, as_text: frozenset[str] = frozenset()
) -> list[dict[str, object]]:
    shape = source.change_table(source.shape(name, as_text)).shape
    rows = [row for batch in source.read(shape, RowRange(("forebay_id",))) for row in batch.to_pylist()]
    for row in rows:
        assert row.pop("forebay_at") is not None
        row.pop("forebay_id")
    return rows


def ops(source: TriggerSource, *names: str) -> list[tuple[object, ...]]:
    return [tuple(row[name] for name in ("forebay_op", *names)) for row in changes_of(source)]


def test_every_way_to_change_a_row_is_written_once(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute("CREATE TABLE t (id varchar(9) PRIMARY KEY, v int, g int AS (v * 2) VIRTUAL)")
    source = opened(mysql_harness)
    source.install(source.change_table(source.shape(T)))
    mysql_harness.execute(
        "INSERT INTO t (id, v) VALUES ('a', 1), ('b', 2)",
        "UPDATE t SET v = 5 WHERE id = 'a'",
        "UPDATE t SET id = 'c' WHERE id = 'b'",
        "REPLACE INTO t (id, v) VALUES ('a', 6)",
        "INSERT INTO t (id, v) VALUES ('a', 0) ON DUPLICATE KEY UPDATE v = 7",
        "INSERT IGNORE INTO t (id, v) VALUES ('a', 9)",
        "UPDATE t SET id = 'A' WHERE id = 'a'",
        "DELETE FROM t",
    )
    assert ops(source, "id", "v", "g") == [
        ("c", "a", 1, 2),
        ("c", "b", 2, 4),
        ("u", "a", 5, 10),
        ("d", "b", 2, 4),
        ("c", "c", 2, 4),
        ("d", "a", 5, 10),
        ("c", "a", 6, 12),
        ("u", "a", 7, 14),
        # the collation calls them equal, the platform's keys do not
        ("d", "a", 7, 14),
        ("c", "A", 7, 14),
        ("d", "A", 7, 14),
        ("d", "c", 2, 4),
    ]


def test_what_is_rolled_back_leaves_no_change(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute("CREATE TABLE t (id int PRIMARY KEY)")
    source = opened(mysql_harness)
    source.install(source.change_table(source.shape(T)))
    session = mysql_harness.session()
    session.execute("INSERT INTO t VALUES (1)")
    session.rollback()
    session.execute("INSERT INTO t VALUES (2)")
    session.commit()
    session.close()
    assert ops(source, "id") == [("c", 2)]


def test_a_change_that_the_table_took_never_fails_for_its_change_table(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute(
        "SET GLOBAL sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_DATE,NO_ZERO_IN_DATE,ERROR_FOR_DIVISION_BY_ZERO,ANSI_QUOTES'"
    )
    try:
        mysql_harness.execute(
            "CREATE TABLE t (id int PRIMARY KEY, d date, at timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE "
            "CURRENT_TIMESTAMP, e enum('x', 'y') NOT NULL, s varchar(9) CHARACTER SET gbk, b bit(7) NOT NULL, p point)"
        )
        source = opened(mysql_harness)
        table = source.change_table(source.shape(T))
        # as a DBA would run what `tables` prints, in a session of his own
        mysql_harness.execute(*table.install)
        assert source.installed(table)
        session = mysql_harness.session()
        session.execute("SET sql_mode = ''")
        session.execute("INSERT INTO t VALUES (1, '0000-00-00', '2024-01-01', 'no such', '中', 5, NULL)")
        session.execute("UPDATE t SET d = '2024-00-10'")
        session.commit()
        session.close()
    finally:
        mysql_harness.execute("SET GLOBAL sql_mode = DEFAULT")
    rows = changes_of(source, as_text=frozenset({"d"}))
    assert [(row["d"], row["e"], row["s"], row["b"]) for row in rows] == [
        ("0000-00-00", "", "中", 5),
        ("2024-00-10", "", "中", 5),
    ]


def test_the_writer_s_last_insert_id_stays_its_own(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute("CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT)")
    source = opened(mysql_harness)
    source.install(source.change_table(source.shape(T)))
    mysql_harness.execute("INSERT INTO t VALUES (1000)")
    connection = mysql_harness.server.connect(mysql_harness.database)
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO t VALUES (NULL)")
        cursor.execute("SELECT LAST_INSERT_ID()")
        assert cursor.fetchone() == (1001,)
    connection.close()


def test_long_and_chinese_names_get_change_tables_of_their_own(mysql_harness: MySQLHarness) -> None:
    # a file's name has 255 bytes, and each of these characters takes 5 of them
    names = ["业" * 49 + "甲", "业" * 49 + "乙", "企业`信息", "x" * 63 + "a", "x" * 63 + "b", "$" * 46]
    source = opened(mysql_harness)
    tables = set()
    for number, name in enumerate(names):
        quoted = "`" + name.replace("`", "``") + "`"
        mysql_harness.execute(f"CREATE TABLE {quoted} (`编 号` int PRIMARY KEY)")
        table = source.change_table(source.shape(TableName("", name)))
        source.install(table)
        assert source.installed(source.change_table(source.shape(TableName("", name))))
        assert len(table.shape.table.name) <= 64
        tables.add(table.shape.table.name)
        mysql_harness.execute(f"INSERT INTO {quoted} VALUES ({number})")
        assert [row["编 号"] for row in changes_of(source, TableName("", name))] == [number]
    assert len(tables) == len(names)


def test_only_the_columns_asked_for_are_written(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute("CREATE TABLE t (id int PRIMARY KEY, secret varchar(9), v int)")
    source = opened(mysql_harness)
    table = source.change_table(source.shape(T).with_columns(("id", "v")))
    source.install(table)
    assert "secret" not in " ".join(table.install)
    mysql_harness.execute("INSERT INTO t VALUES (1, 's', 2)")
    assert ops_of(mysql_harness, table.shape.table.name) == [("c", 1, 2)]


def ops_of(harness: MySQLHarness, table: str) -> list[tuple[object, ...]]:
    return harness.rows(f"SELECT forebay_op, id, v FROM `{table}` ORDER BY forebay_id")


def test_triggers_that_are_gone_or_do_not_fit_are_noticed_and_made_good(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(5))")
    source = opened(mysql_harness)

    def fits() -> bool:
        return source.installed(source.change_table(source.shape(T)))

    assert not fits()
    breakages = [
        "ALTER TABLE t ADD COLUMN w int",
        "ALTER TABLE t MODIFY COLUMN v varchar(50)",
        "DROP TRIGGER _forebay_u_t",
        "DROP TABLE t; CREATE TABLE t (id int PRIMARY KEY, v varchar(50), w int)",
        "DROP TABLE _forebay_changes_t",
        "CREATE OR REPLACE TRIGGER _forebay_d_t AFTER DELETE ON t FOR EACH ROW SET @x = 1",
    ]
    for breakage in breakages:
        source.install(source.change_table(source.shape(T)))
        source.install(source.change_table(source.shape(T)))
        assert fits()
        mysql_harness.execute(*breakage.split("; "))
        assert not fits(), breakage
    source.install(source.change_table(source.shape(T)))
    mysql_harness.execute("INSERT INTO t VALUES (1, REPEAT('x', 50), 3)", "DELETE FROM t")
    assert ops(source, "id", "v", "w") == [("c", 1, "x" * 50, 3), ("d", 1, "x" * 50, 3)]
    mysql_harness.execute(*source.change_table(source.shape(T)).remove)
    assert mysql_harness.rows("SHOW TRIGGERS") == []
    assert not fits()


def test_purging_takes_what_was_asked_and_no_more_in_bounded_pieces(
    mysql_harness: MySQLHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triggers, "PURGED_AT_ONCE", 10)
    mysql_harness.execute("CREATE TABLE t (id int PRIMARY KEY)")
    source = opened(mysql_harness)
    table = source.change_table(source.shape(T))
    source.install(table)
    mysql_harness.execute("INSERT INTO t SELECT seq FROM seq_1_to_45")
    ids = [number for (number,) in mysql_harness.rows("SELECT forebay_id FROM _forebay_changes_t ORDER BY 1")]
    assert source.purge(table, str(ids[34])) == 35
    assert source.purge(table, str(ids[34])) == 0
    assert [number for (number,) in mysql_harness.rows("SELECT forebay_id FROM _forebay_changes_t ORDER BY 1")] == ids[
        35:
    ]
    assert source.purge(table, str(ids[-1])) == 10
    mysql_harness.server.halt()
    mysql_harness.server.restart()
    mysql_harness.execute("INSERT INTO t VALUES (1000)")
    assert mysql_harness.rows(f"SELECT 1 FROM _forebay_changes_t WHERE forebay_id > {ids[-1]}") == [(1,)]


def test_who_may_not_make_triggers_is_told_the_statements(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute("CREATE TABLE t (id int PRIMARY KEY)")
    database = mysql_harness.database
    reader = mysql_harness.reader(f"SELECT ON `{database}`.*")
    source = opened(mysql_harness, **reader)
    table = source.change_table(source.shape(T))
    assert not source.installed(table)
    with pytest.raises(errors.PrivilegeMissing) as raised:
        source.install(table)
    mysql_harness.execute(*raised.value.sql.rstrip(";").split(";\n"))
    with pytest.raises(errors.PrivilegeMissing) as hidden:
        source.installed(table)
    mysql_harness.execute(hidden.value.sql.rstrip(";"))
    allowed = open_source(mysql_harness.config(**reader))
    assert offers_triggers(allowed)
    assert allowed.installed(allowed.change_table(allowed.shape(T)))
    allowed.close()


def test_check_tells_whose_account_the_application_s_writes_need(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute("CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE u (id int PRIMARY KEY)")
    maker = mysql_harness.reader("ALL ON *.*")
    source = opened(mysql_harness, **maker)
    shape = source.shape(T)
    source.install(source.change_table(shape))
    assert [
        finding for finding in source.examine(source.shape(TableName("", "u")), None) if finding.subject == "triggers"
    ] == []
    (told,) = (finding for finding in source.examine(shape, None) if finding.subject == "triggers")
    assert f"run as {maker['user']}@%" in told.message
    assert told.severity is Severity.NOTE
    mysql_harness.server.execute(f"DROP USER {maker['user']}@'%'")
    try:
        with pytest.raises(pymysql.MySQLError, match=str(maker["user"])):
            mysql_harness.execute("INSERT INTO t VALUES (1)")
    finally:
        mysql_harness.server.execute(f"CREATE USER {maker['user']}@'%'")


def test_installing_gives_up_soon_when_the_table_is_in_use(
    mysql_harness: MySQLHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triggers, "_LOCK_WAIT_SECONDS", 1)
    mysql_harness.execute("CREATE TABLE t (id int PRIMARY KEY)")
    source = opened(mysql_harness)
    busy = mysql_harness.session()
    busy.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(errors.SourceError):
        source.install(source.change_table(source.shape(T)))
    busy.rollback()
    busy.close()
    source.install(source.change_table(source.shape(T)))
    assert source.installed(source.change_table(source.shape(T)))
