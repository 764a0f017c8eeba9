"""MariaDB's log: every committed change, once, in order, with the values that a SELECT gives."""

from __future__ import annotations

import pytest

from forebay_agent.capture.log import LogRows
from forebay_agent.capture.source import RowRange, TableName
from tests.contract.sources.mysql import MySQLHarness
from tests.fidelity.mariadb_types import CASES, TEXT_BY_CHOICE, ZERO_DATES, Case
from tests.integration.log_of_mysql import Log
from tests.integration.log_tables import log_table

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
