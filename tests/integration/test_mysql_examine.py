"""What `check` says of a MariaDB table: each thing that will go wrong, with what to do about it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from forebay_agent.capture.mysql import examine
from forebay_agent.capture.source import Finding, Severity, TableName
from tests.contract.sources.mysql import MySQLHarness
from tests.servers.mariadb import MariaDB

T = TableName("", "t")


def found(harness: MySQLHarness, cursor: str | None = None, **changes: object) -> dict[str, Finding]:
    source = harness.open(**changes)
    return {finding.subject: finding for finding in source.examine(source.shape(T), cursor)}


def test_a_sound_table_has_nothing_to_be_done(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute(
        "CREATE TABLE t (id int PRIMARY KEY, at datetime(6) NOT NULL, INDEX by_time (at))",
        "INSERT INTO t SELECT seq, NOW(6) FROM seq_1_to_1000",
        "ANALYZE TABLE t",
    )
    findings = found(mysql_harness, "at")
    assert {finding.severity for finding in findings.values()} == {Severity.OK, Severity.NOTE}
    assert findings["key"].message == "key (id)"
    assert "1000" in findings["rows"].message
    assert "by_time" in findings["at"].message
    assert findings["identity"].severity is Severity.NOTE


def test_a_cursor_without_an_index_gets_the_statement_that_makes_one(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute("CREATE TABLE t (id int PRIMARY KEY, `更新時間` datetime)")
    finding = found(mysql_harness, "更新時間")["更新時間"]
    assert finding.severity is Severity.WARNING
    mysql_harness.execute(finding.sql.rstrip(";"))
    assert found(mysql_harness, "更新時間")["更新時間"].severity is Severity.OK
    assert found(mysql_harness, "no_such")["no_such"].severity is Severity.ERROR


@pytest.mark.parametrize(
    ("definition", "key"),
    [
        ("a int, b int", ()),
        ("a int UNIQUE, b int", ()),
        ("a varchar(50) NOT NULL, b int, UNIQUE (a(5))", ()),
        ("a int NOT NULL, b int NOT NULL, c int NOT NULL UNIQUE, UNIQUE (a, b)", ("c",)),
        ("a int NOT NULL UNIQUE, b int, c int, PRIMARY KEY (c, b)", ("c", "b")),
    ],
)
def test_the_key_is_the_one_that_pages_can_follow(
    mysql_harness: MySQLHarness, definition: str, key: tuple[str, ...]
) -> None:
    mysql_harness.execute(f"CREATE TABLE t ({definition})")
    assert mysql_harness.open().shape(T).key == key
    assert found(mysql_harness)["key"].severity is (Severity.OK if key else Severity.ERROR)


def test_a_view_is_read_and_has_no_key(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute("CREATE TABLE base (id int PRIMARY KEY, v int)", "CREATE VIEW t AS SELECT id, v FROM base")
    findings = found(mysql_harness, "id")
    assert findings["rows"].message == "a view"
    assert findings["key"].severity is Severity.ERROR


def test_looking_for_bad_values_does_not_burden_the_database(
    mysql_harness: MySQLHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    mysql_harness.execute(
        "CREATE TABLE base (id int PRIMARY KEY)",
        "INSERT INTO base SELECT seq FROM seq_1_to_100",
        "CREATE VIEW t AS SELECT id, IF(SLEEP(1), CURRENT_DATE, CURRENT_DATE) AS born FROM base",
    )
    monkeypatch.setattr(examine, "PROBE_SECONDS", 1)
    began = time.monotonic()
    finding = found(mysql_harness)["born"]
    assert time.monotonic() - began < 10
    assert finding.severity is Severity.NOTE
    assert "not looked through" in finding.message


def test_a_cascade_is_warned_of(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute(
        "CREATE TABLE parent (id int PRIMARY KEY)",
        "CREATE TABLE t (id int PRIMARY KEY, p int, CONSTRAINT fk FOREIGN KEY (p) REFERENCES parent (id) ON DELETE CASCADE)",
    )
    assert found(mysql_harness)["fk"].severity is Severity.WARNING


def test_what_may_not_be_read_gets_the_grant(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute("CREATE TABLE t (id int PRIMARY KEY, a int)")
    reader = mysql_harness.reader(f"SELECT (id) ON `{mysql_harness.database}`.t")
    shape = mysql_harness.open().shape(T)
    [finding] = mysql_harness.open(**reader).examine(shape, None)
    assert (finding.severity, finding.subject) == (Severity.ERROR, "privileges")
    mysql_harness.execute(finding.sql.rstrip(";"))
    assert mysql_harness.open(**reader).examine(shape, None)[0].severity is Severity.OK


def test_text_that_is_not_what_it_is_declared_to_be_is_noted(mysql_harness: MySQLHarness) -> None:
    mysql_harness.execute("CREATE TABLE t (id int PRIMARY KEY, a varchar(9) CHARACTER SET latin1, b varchar(9))")
    findings = found(mysql_harness, charset="gbk")
    assert "gb18030" in findings["a"].message
    assert "b" not in findings


def test_on_a_replica_nobody_can_tell_what_is_open(tmp_path: Path) -> None:
    with (
        MariaDB.start(tmp_path / "primary") as primary,
        MariaDB.start(tmp_path / "replica", options=("--server-id=2",)) as replica,
    ):
        password = primary.password.replace("'", "''")
        replica.execute(
            f"CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={primary.port}, MASTER_USER='{primary.user}', "
            f"MASTER_PASSWORD='{password}', MASTER_USE_GTID=no",
        )
        replica.execute("START SLAVE")
        harness = MySQLHarness(replica)
        harness.execute("CREATE TABLE t (id int PRIMARY KEY, INDEX (id))", "INSERT INTO t VALUES (1)")
        source = harness.open()
        horizon = source.horizon(source.shape(T), "id")
        assert (horizon.highest, horizon.open) == ("1", None)
        finding = found(harness, "id")["open transactions"]
        assert finding.severity is Severity.WARNING
        assert "replica" in finding.message
        harness.close()
