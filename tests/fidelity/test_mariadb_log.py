"""MariaDB's types as its log tells them: the same values as a snapshot reads, for the same rows."""

from __future__ import annotations

import pytest

from forebay_agent.capture.source import RowRange, TableName
from forebay_wire.canonical import canonical_rows
from tests.contract.sources.mysql import MySQLHarness
from tests.fidelity.from_log import from_log
from tests.fidelity.mariadb_types import CASES, TEXT_BY_CHOICE, ZERO_DATES, Case
from tests.fidelity.sealing import through_sealed_batches

BY_ID = RowRange(("id",))


@pytest.mark.parametrize("case", [*CASES, *ZERO_DATES, *TEXT_BY_CHOICE], ids=lambda case: case.name)
def test_the_log_tells_the_values_that_a_snapshot_reads(mysql_harness: MySQLHarness, case: Case) -> None:
    mysql_harness.execute(f"CREATE TABLE t (id int PRIMARY KEY AUTO_INCREMENT, v {case.definition}) {case.table}")
    as_text = frozenset({"v"}) if case.as_text else frozenset[str]()
    mysql_harness.server.execute("SET GLOBAL time_zone = '+08:00'")
    try:
        source = mysql_harness.open()
        shape = source.shape(TableName("", "t"), as_text)
        # the literals are UTC: the first moment of TIMESTAMP is no moment in +08:00
        utc = "SET time_zone = '+00:00'"
        inserts = [utc, *(f"INSERT INTO t (v) VALUES ({value})" for value in (*case.values, "NULL"))]
        came, events = from_log(source, shape, lambda: mysql_harness.execute(*inserts), as_text=as_text)
        read = through_sealed_batches(source, shape, BY_ID)
        updates = [
            utc,
            "UPDATE t SET v = NULL WHERE v IS NOT NULL",
            *(f"UPDATE t SET v = {value} WHERE id = {number}" for number, value in enumerate(case.values, start=1)),
            "DELETE FROM t WHERE v IS NOT NULL",
        ]
        changed, more = from_log(source, shape, lambda: mysql_harness.execute(*updates), as_text=as_text)
    finally:
        mysql_harness.server.execute("SET GLOBAL time_zone = 'SYSTEM'")
    assert (events, more) == ([], [])
    assert came.column("_op").to_pylist() == ["c"] * (len(case.values) + 1)
    told = came.select(["id", "v"]).combine_chunks()
    assert told.schema == read.schema
    assert told.column("v").null_count == 1
    assert canonical_rows(told.columns and [c.combine_chunks() for c in told.columns]).equals(
        canonical_rows([c.combine_chunks() for c in read.columns])
    )
    after = [row for row in changed.to_pylist() if row["_op"] == "u" and row["v"] is not None]
    deleted = [row for row in changed.to_pylist() if row["_op"] == "d"]
    wanted = [row for row in read.to_pylist() if row["v"] is not None]
    assert [repr({"id": row["id"], "v": row["v"]}) for row in after] == [repr(row) for row in wanted]
    assert [repr({"id": row["id"], "v": row["v"]}) for row in deleted] == [repr(row) for row in wanted]
