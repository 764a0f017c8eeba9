"""Tables of PostgreSQL's log that are gone, replaced, renamed or can no longer be told, and what each can be told of."""

from __future__ import annotations

import pytest

from forebay_agent import errors
from forebay_agent.capture.log import EventKind
from forebay_agent.policy import remedy_of
from tests.contract.sources.postgresql import PostgreSQLHarness
from tests.integration.log_mirror import looking_often
from tests.integration.log_of_postgresql import Log, events, told

__all__ = ["looking_often"]
GREW, ALTERED, TRUNCATED, LOST = EventKind.GREW, EventKind.ALTERED, EventKind.TRUNCATED, EventKind.LOST
CREATE = "CREATE TABLE t (id int PRIMARY KEY, a varchar(20), b int NOT NULL DEFAULT 7)"


@pytest.mark.usefixtures("looking_often")
@pytest.mark.parametrize(
    ("statements", "error"),
    [
        (("DROP TABLE t",), errors.TableMissing),
        (("ALTER TABLE t RENAME TO u", "INSERT INTO u VALUES (2)"), errors.TableMissing),
        (("ALTER TABLE t RENAME TO u",), errors.TableMissing),
        (("CREATE SCHEMA s", "ALTER TABLE t SET SCHEMA s", "INSERT INTO s.t VALUES (2)"), errors.TableMissing),
        (("ALTER TABLE t RENAME TO u", "CREATE TABLE t (id int PRIMARY KEY)"), errors.TableMissing),
        (("DROP TABLE t", "CREATE TABLE t (id int PRIMARY KEY)"), errors.TableMissing),
        (("ALTER TABLE t DROP id", "INSERT INTO t (a) VALUES ('x')"), errors.TableChanged),
        (
            ("ALTER TABLE t DROP CONSTRAINT t_pkey, ADD PRIMARY KEY (b)", "INSERT INTO t VALUES (2, 'x', 2)"),
            errors.LogUnfit,
        ),
        (("CREATE TABLE child () INHERITS (t)", "INSERT INTO child VALUES (2)"), errors.LogUnfit),
    ],
)
def test_a_table_whose_changes_cannot_be_told_is_lost_and_the_others_go_on(
    postgresql_harness: PostgreSQLHarness, statements: tuple[str, ...], error: type[errors.AgentError]
) -> None:
    postgresql_harness.execute(CREATE)
    postgresql_harness.execute("CREATE TABLE other (id int PRIMARY KEY)")
    with Log(postgresql_harness, tables=("t", "other")) as log:
        postgresql_harness.execute("INSERT INTO t (id) VALUES (1)")
        assert log.changes("id") == [("c", 1)]
        postgresql_harness.execute(*statements, "INSERT INTO other VALUES (5)")
        parts = log.parts(at_least=2)
        assert sorted(told(parts, "id"), key=str) == [("c", 5), (LOST, "t")]
        (event,) = events(parts, LOST)
        assert isinstance(event.error, error)
        assert remedy_of(event.error)


@pytest.mark.usefixtures("looking_often")
def test_a_renamed_schema_loses_its_tables_once_that_is_seen(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute(CREATE)
    with Log(postgresql_harness) as log:
        postgresql_harness.execute("ALTER SCHEMA public RENAME TO s", "INSERT INTO s.t (id) VALUES (1)")
        changes = told(log.parts(at_least=1), "id")
        if changes == [("c", 1)]:  # the server may go on telling of the table by its old name
            changes = told(log.parts(at_least=1), "id")
        assert changes == [(LOST, "t")]


@pytest.mark.parametrize("late", [False, True], ids=["at once", "late"])
def test_another_table_in_the_place_of_one_is_noticed_by_the_first_row(
    postgresql_harness: PostgreSQLHarness, late: bool
) -> None:
    postgresql_harness.execute(CREATE)
    postgresql_harness.execute("CREATE PUBLICATION everything FOR ALL TABLES")
    with Log(postgresql_harness, config={"publication": "everything"}) as log:
        postgresql_harness.execute("INSERT INTO t (id) VALUES (1)")
        changes = [] if late else log.changes("id")
        postgresql_harness.execute(
            "ALTER TABLE t RENAME TO u", "CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (2)"
        )
        parts = log.parts()
        assert changes + told(parts, "id") == [("c", 1), (LOST, "t")]
        assert isinstance(events(parts, LOST)[0].error, errors.TableReplaced)
        log.follow("t")
        postgresql_harness.execute("INSERT INTO t VALUES (3)")
        assert log.changes() == [("c", 3)]


@pytest.mark.parametrize(
    ("identity", "guarantee", "deleted"),
    [
        ("DEFAULT", "deletes with their key only (replica identity default)", (1, None, None)),
        ("FULL", "whole old row", (1, "x", 5)),
        ("USING INDEX k", "deletes with their key only (replica identity index)", (1, None, 5)),
    ],
)
def test_each_replica_identity_gives_what_is_guaranteed(
    postgresql_harness: PostgreSQLHarness, identity: str, guarantee: str, deleted: tuple[object, ...]
) -> None:
    postgresql_harness.execute(CREATE)
    postgresql_harness.execute("CREATE UNIQUE INDEX k ON t (b, id)", f"ALTER TABLE t REPLICA IDENTITY {identity}")
    with Log(postgresql_harness) as log:
        (finding,) = [each for each in log.source.examine_log(log.followed()) if each.subject == "public.t"]
        assert guarantee in finding.message
        postgresql_harness.execute(
            "INSERT INTO t VALUES (1, 'x', 4)", "UPDATE t SET b = 5", "UPDATE t SET a = 'x'", "DELETE FROM t"
        )
        assert log.changes() == [("c", 1, "x", 4), ("u", 1, "x", 5), ("u", 1, "x", 5), ("d", *deleted)]


@pytest.mark.parametrize("identity", ["NOTHING", "USING INDEX k"])
def test_a_replica_identity_without_the_key_loses_the_table(
    postgresql_harness: PostgreSQLHarness, identity: str
) -> None:
    postgresql_harness.execute(CREATE)
    postgresql_harness.execute("CREATE UNIQUE INDEX k ON t (b)")
    with Log(postgresql_harness) as log:
        postgresql_harness.execute(
            "INSERT INTO t VALUES (1, 'x', 4)", f"ALTER TABLE t REPLICA IDENTITY {identity}", "INSERT INTO t VALUES (2)"
        )
        parts = log.parts()
        assert told(parts, "id") == [("c", 1), (LOST, "t")]
        (finding,) = [each for each in log.source.examine_log(log.followed()) if each.subject == "public.t"]
        log.follow("t")  # refused, so that the application's updates do not fail
        (lost,) = events(log.parts(at_least=1), LOST)
        assert (finding.message, finding.sql) == (str(lost.error), lost.error.sql if lost.error else "")
        postgresql_harness.execute(finding.sql)
        log.follow("t")
        postgresql_harness.execute("DELETE FROM t WHERE id = 2")
        assert log.changes("id") == [("d", 2)]


def test_columns_that_are_not_captured_may_change_as_they_like(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute(CREATE)
    with Log(postgresql_harness) as log:
        log.follow(columns=("id", "a"))
        for number, statement in enumerate(
            (
                "ALTER TABLE t ADD COLUMN c serial, DROP b",
                "ALTER TABLE t RENAME c TO d",
                "ALTER TABLE t ALTER d TYPE text USING 'x'",
                "ALTER TABLE t DROP d, ADD d int DEFAULT 7",
            )
        ):
            postgresql_harness.execute(statement, f"INSERT INTO t (id, a) VALUES ({number}, 'x')")
            assert log.changes() == [("c", number, "x")]


def test_names_in_chinese_and_in_quotes_are_understood(postgresql_harness: PostgreSQLHarness) -> None:
    name = '企业"信 息'
    table = '"企业""信 息"'
    postgresql_harness.execute(f'CREATE TABLE {table} ("编 号" int PRIMARY KEY)')
    with Log(postgresql_harness, (name,), {"publication": 'the "pub"', "user": "forebay"}) as log:
        changes = []
        for statement in (
            f"INSERT INTO {table} VALUES (1)",
            f'ALTER TABLE {table} ADD "名称" varchar(9)',
            f"INSERT INTO {table} VALUES (2, '桂平')",
            f'ALTER TABLE {table} RENAME "名称" TO "a""b"',
            f"INSERT INTO {table} VALUES (3, '')",
        ):
            postgresql_harness.execute(statement)
            changes += log.changes()
        assert changes == [("c", 1), (GREW, name), ("c", 2, "桂平"), (ALTERED, name), ("c", 3, "")]
        log.again()
        postgresql_harness.execute(f"TRUNCATE {table}")
        assert log.changes() == [(TRUNCATED, name)]
