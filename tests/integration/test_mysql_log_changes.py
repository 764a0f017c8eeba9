"""MariaDB's log: every committed change, once, in order, with the values that a SELECT gives."""

from __future__ import annotations

import pytest

from forebay_agent.capture.log import EventKind, LogRows
from forebay_agent.capture.source import RowRange, TableName
from tests.contract.sources.mysql import MySQLHarness
from tests.fidelity.mariadb_types import CASES, TEXT_BY_CHOICE, ZERO_DATES, Case
from tests.integration.log_of_mysql import Log, events, told
from tests.integration.log_tables import log_table
from tests.servers.mariadb import MariaDB

T = TableName("", "t")


def test_inserts_updates_and_deletes_come_in_order(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute("CREATE TABLE t (id int PRIMARY KEY, v varchar(20))", "INSERT INTO t VALUES (1, 'before')")
    with Log(mysql_harness) as log:
        mysql_harness.execute(
            "INSERT INTO t VALUES (2, '企业'), (3, NULL)",
            "UPDATE t SET v = 'x' WHERE id = 1",
            "DELETE FROM t WHERE id = 2",
            "UPDATE t SET id = 30 WHERE id = 3",
            "REPLACE INTO t VALUES (1, 'y')",
        )
        assert log.changes() == [
            ("c", 2, "企业"),
            ("c", 3, None),
            ("u", 1, "x"),
            ("d", 2, "企业"),
            ("d", 3, None),
            ("c", 30, None),
            ("u", 1, "y"),
        ]
        assert log.changes() == []


def test_each_row_tells_its_position_and_commit_time(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute("CREATE TABLE t (id int PRIMARY KEY)")
    with Log(mysql_harness) as log:
        mysql_harness.execute("INSERT INTO t VALUES (1)")
        (part,) = log.parts()
        assert isinstance(part, LogRows)
        row = part.rows.to_pylist()[0]
        ((gtid,),) = mysql_harness.rows("SELECT @@gtid_binlog_pos")
        assert row["_position"].startswith(f"{gtid}@binlog.0")
        ((now,),) = mysql_harness.rows("SELECT UNIX_TIMESTAMP()")
        assert abs(row["_committed_at"].timestamp() - float(str(now))) < 5
        assert row["_absent"] is None
        assert log.pieces[-1].position.startswith(f"{gtid}@binlog.0")


@pytest.mark.parametrize("case", [*CASES, *ZERO_DATES, *TEXT_BY_CHOICE], ids=lambda case: case.name)
@pytest.mark.parametrize("metadata", ["FULL", "NO_LOG"])
def test_a_value_from_the_log_is_the_value_of_a_snapshot(
    mysql_harness: MySQLHarness, case: Case, metadata: str
) -> None:
    mysql_harness.execute(f"CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, v {case.definition}) {case.table}")
    mysql_harness.server.execute(f"SET GLOBAL binlog_row_metadata = {metadata}")
    try:
        with Log(mysql_harness, options={"as_text": ("v",) if case.as_text else ()}) as log:
            mysql_harness.execute(*(f"INSERT INTO t (v) VALUES ({value})" for value in (*case.values, "NULL")))
            came = log.changes("id", "v")
            shape = log_table(log.source, T, **log.options).shape
            read = [
                ("c", row["id"], row["v"])
                for batch in log.source.read(shape, RowRange(("id",)))
                for row in batch.to_pylist()
            ]
            assert [column.arrow for column in shape.columns][1] == case.arrow
    finally:
        mysql_harness.server.execute("SET GLOBAL binlog_row_metadata = FULL")
    assert repr(came) == repr(read)
    assert len(came) == len(case.values) + 1


def test_moments_in_the_form_of_before_10_1_are_read_or_refused_with_the_cure(mysql_harness: MySQLHarness) -> None:
    mysql_harness.server.execute("SET GLOBAL mysql56_temporal_format = OFF")
    try:
        mysql_harness.execute(
            "CREATE TABLE t (id int PRIMARY KEY, a datetime, b timestamp NULL, c time)",
            "CREATE TABLE u (id int PRIMARY KEY, a datetime(3))",
        )
    finally:
        mysql_harness.server.execute("SET GLOBAL mysql56_temporal_format = ON")
    with Log(mysql_harness, tables=("t", "u")) as log:
        found = log.source.examine_log(log.followed())
        assert [finding.sql for finding in found if finding.subject == "a"] == [
            f"ALTER TABLE `{mysql_harness.database}`.`u` FORCE;"
        ]
        mysql_harness.execute(
            "INSERT INTO t VALUES (1, '2024-02-29 01:02:03', '2024-02-29 01:02:03', '-838:59:59')",
            "INSERT INTO u VALUES (1, '2024-02-29 01:02:03.123')",
        )
        parts = log.parts()
        shape = log.followed()[0].shape
        read = [row for batch in log.source.read(shape, RowRange(("id",))) for row in batch.to_pylist()]
        assert told(parts[:1]) == [("c", *read[0].values())]
        (lost,) = events(parts, EventKind.LOST)
        assert lost.table.name == "u"
        assert lost.error is not None
        assert "FORCE" in lost.error.remedy


def test_gbk_in_latin1_columns_is_the_text_that_it_stands_for(mysql_harness: MySQLHarness) -> None:
    names = ["桂平市覃塘区", "镕", "", "a\nb", "㐀𠮷", None]
    literals = ["NULL" if name is None else f"_latin1 X'{name.encode('gb18030').hex()}'" for name in names]
    mysql_harness.execute(
        "CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, v varchar(40), e enum('x', 'y'), u varchar(9) CHARACTER SET utf8mb4) "
        "CHARACTER SET latin1"
    )
    with Log(mysql_harness, config={"charset": "gbk"}) as log:
        mysql_harness.execute(*(f"INSERT INTO t (v, e, u) VALUES ({literal}, 'y', '中') " for literal in literals))
        assert log.changes("v", "e", "u") == [("c", name, "y", "中") for name in names]
        mysql_harness.execute("INSERT INTO t (v) VALUES (_latin1 X'80FF')")
        parts = log.parts()
        (lost,) = events(parts, EventKind.LOST)
        assert "id = 7: column v" in str(lost.error)


def test_many_charsets_in_one_table_are_read_as_the_server_converts_them(mysql_harness: MySQLHarness) -> None:
    texts = {
        "gbk": "桂平市€¤",
        "gb2312": "桂平市",
        "big5": "中華",
        "sjis": "日本ｱｲ",
        "cp932": "日本①",
        "ujis": "日本丂",
        "eucjpms": "日本①",
        "euckr": "한국",
        "latin2": "łódź",
        "cp1251": "мир",
        "koi8r": "мир",
        "greek": "αβγ",
        "utf16le": "a𠮷",
        "utf32": "a𠮷",
        "ucs2": "a中",
        "cp1256": "سلام",
    }
    columns = ", ".join(f"`{name}` varchar(40) CHARACTER SET {name}" for name in texts)
    mysql_harness.execute(f"CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, {columns})")
    with Log(mysql_harness) as log:
        values = ", ".join(f"'{text}'" for text in texts.values())
        mysql_harness.execute(f"INSERT IGNORE INTO t ({', '.join(f'`{name}`' for name in texts)}) VALUES ({values})")
        (part,) = log.parts()
        assert isinstance(part, LogRows)
        shape = log.followed()[0].shape
        read = [row for batch in log.source.read(shape, RowRange(("id",))) for row in batch.to_pylist()]
        assert [{name: row[name] for name in read[0]} for row in part.rows.to_pylist()] == read


def test_compressed_columns_and_memory_tables_emptied_by_a_restart(tmp_path_factory: pytest.TempPathFactory) -> None:
    with MariaDB.start(tmp_path_factory.mktemp("own")) as server:
        harness = MySQLHarness(server)
        harness.execute(
            "CREATE TABLE t (id int PRIMARY KEY, a text COMPRESSED, b varchar(3000) COMPRESSED, c blob COMPRESSED)",
            "CREATE TABLE m (id int PRIMARY KEY) ENGINE = MEMORY",
        )
        with Log(harness, tables=("t", "m")) as log:
            harness.execute("INSERT INTO t VALUES (1, REPEAT('中', 900), REPEAT('x', 900), X'00'), (2, '', NULL, '')")
            harness.execute("INSERT INTO m VALUES (7)")
            assert log.changes() == [("c", 1, "中" * 900, "x" * 900, b"\0"), ("c", 2, "", None, b""), ("c", 7)]
            server.halt()
            server.restart()
            harness.rows("SELECT * FROM m")
            harness.execute("INSERT INTO t (id) VALUES (3)")
            log.again()
            assert log.changes("id") == [(EventKind.TRUNCATED, "m"), ("c", 3)]
