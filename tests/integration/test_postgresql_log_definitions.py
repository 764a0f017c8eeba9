"""Definitions in PostgreSQL's log, which tells of none: rows before them as they were, rows after them as they are, and
whatever happened to older rows makes the table be read anew."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import pytest

from forebay_agent import errors
from forebay_agent.capture.log import EventKind, LogRows, TableEvent
from forebay_agent.capture.source import TableName
from forebay_agent.policy import remedy_of
from tests.contract.sources.postgresql import PostgreSQLHarness
from tests.integration.log_mirror import Mirrors, looking_often
from tests.integration.log_of_postgresql import Log, events, told

__all__ = ["looking_often"]
GREW, ALTERED, TRUNCATED, LOST = EventKind.GREW, EventKind.ALTERED, EventKind.TRUNCATED, EventKind.LOST


def create(harness: PostgreSQLHarness, name: str = "t") -> None:
    harness.execute(f"CREATE TABLE {name} (id int PRIMARY KEY, a varchar(20), b int NOT NULL DEFAULT 7)")


STATEMENTS = (
    ("ALTER TABLE t ADD COLUMN c int", GREW),
    ("ALTER TABLE t ADD c int, ADD d varchar(5) DEFAULT NULL, ALTER a SET STATISTICS 5", GREW),
    ("ALTER TABLE t ADD c jsonb, ADD CHECK (c IS NULL) NOT VALID", GREW),
    ("ALTER TABLE t ADD c int; ALTER TABLE t ALTER c SET DEFAULT 5", GREW),
    ("ALTER TABLE t ADD c int DEFAULT 5", ALTERED),
    ("ALTER TABLE t ADD c int NOT NULL DEFAULT 5", ALTERED),
    ("ALTER TABLE t ADD c serial", ALTERED),
    ("ALTER TABLE t ADD c int GENERATED ALWAYS AS IDENTITY", ALTERED),
    ("ALTER TABLE t ADD c timestamptz DEFAULT clock_timestamp()", ALTERED),
    ("ALTER TABLE t ADD c int, DROP a", ALTERED),
    ("ALTER TABLE t DROP a", ALTERED),
    ("ALTER TABLE t RENAME a TO z", ALTERED),
    ("ALTER TABLE t ALTER b TYPE bigint", ALTERED),
    ("ALTER TABLE t ALTER b TYPE numeric(10, 2)", ALTERED),
    ("ALTER TABLE t ALTER b TYPE int USING b + 1", ALTERED),
    ("ALTER TABLE t ALTER a TYPE varchar(10)", ALTERED),
    ("ALTER TABLE t ALTER a TYPE char(20)", ALTERED),
    ("ALTER TABLE t DROP b, ADD b int NOT NULL DEFAULT 7", ALTERED),
    ("ALTER TABLE t DROP b; ALTER TABLE t ADD b int", ALTERED),
    ("ALTER TABLE t RENAME a TO c; ALTER TABLE t ADD a varchar(20)", ALTERED),
    ("TRUNCATE t", TRUNCATED),
    ("TRUNCATE ONLY t RESTART IDENTITY CASCADE", TRUNCATED),
    ("ALTER TABLE t ALTER a TYPE varchar(40)", None),
    ("ALTER TABLE t ALTER a TYPE text", None),
    ("ALTER TABLE t ALTER b DROP NOT NULL, ALTER b SET DEFAULT 8", None),
    ("ALTER TABLE t ALTER a SET STORAGE EXTERNAL, SET (fillfactor = 50)", None),
    ("ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ADD PRIMARY KEY (id)", None),
    ("ALTER TABLE t ADD CONSTRAINT c CHECK (b > 0), ADD UNIQUE (a)", None),
    ("CREATE INDEX i ON t (a, b); REINDEX TABLE t; COMMENT ON COLUMN t.a IS 'x'; ANALYZE t", None),
    ("CREATE VIEW v AS SELECT * FROM t; CREATE TABLE IF NOT EXISTS t (id int)", None),
    ("ALTER TABLE t ENABLE ROW LEVEL SECURITY; ALTER TABLE t CLUSTER ON t_pkey", None),
    ("CLUSTER t USING t_pkey", None),
    ("VACUUM FULL t", None),
)


def test_a_statement_is_the_event_that_it_is(postgresql_harness: PostgreSQLHarness) -> None:
    names = tuple(f"t{number}" for number in range(len(STATEMENTS)))
    for name in names:
        create(postgresql_harness, name)
    with Log(postgresql_harness, names) as log:
        for name, (statement, kind) in zip(names, STATEMENTS, strict=True):
            postgresql_harness.execute(f"INSERT INTO {name} (id, a, b) VALUES (1, 'x', 1)")
            assert log.changes() == [("c", 1, "x", 1)]
            statements = re.sub(r"\bt(?=[ _.;]|$)", name, statement).split("; ")
            postgresql_harness.execute(*statements, f"INSERT INTO {name} (id, b) VALUES (2, 2)")
            parts = log.parts(at_least=1 if kind is None else 2)
            kinds = [part.kind for part in parts if isinstance(part, TableEvent)]
            assert (statement, kinds) == (statement, [] if kind is None else [kind])
            after = [part for part in parts if isinstance(part, LogRows)][-1]
            described = log.source.shape(TableName("public", name))
            assert [(c.name, c.arrow) for c in after.shape.columns] == [(c.name, c.arrow) for c in described.columns]
            for event in events(parts, kind) if kind is not None else ():
                assert event.shape == after.shape
                assert event.shape.key == described.key
            columns = ", ".join(column.name for column in after.shape.columns)
            assert told([after])[-1][1:] == postgresql_harness.rows(f"SELECT {columns} FROM {name} WHERE id = 2")[0]


ROWS = "INSERT INTO t (id) SELECT n FROM generate_series({0}, {0} + 3) n"
SCRIPTS = {
    "added, filled, dropped": (
        "ALTER TABLE t ADD c int",
        "ALTER TABLE t ADD d int DEFAULT 5",
        "ALTER TABLE t ALTER c TYPE bigint",
        "ALTER TABLE t DROP b, DROP d",
    ),
    "dropped, then added": ("ALTER TABLE t DROP b", "ALTER TABLE t ADD b int NOT NULL DEFAULT 9"),
    "dropped and added": ("ALTER TABLE t DROP b, ADD b int NOT NULL DEFAULT 9",),
    "added twice": ("ALTER TABLE t ADD c int DEFAULT 5", "ALTER TABLE t DROP c, ADD c int"),
    "filled": (
        "ALTER TABLE t ADD c int",
        "ALTER TABLE t ALTER c TYPE int USING 7",
        "ALTER TABLE t ADD d serial",
        "ALTER TABLE t ALTER w SET STATISTICS 10",
    ),
    "swapped": (
        "ALTER TABLE t ADD c int DEFAULT 1",
        "ALTER TABLE t RENAME b TO x",
        "ALTER TABLE t RENAME c TO b",
        "ALTER TABLE t RENAME x TO c",
    ),
    "swapped and back": (
        "ALTER TABLE t RENAME a TO x",
        "ALTER TABLE t ADD a varchar(20) DEFAULT 'other'",
        "ALTER TABLE t DROP a",
        "ALTER TABLE t RENAME x TO a",
    ),
    "rewritten": ("ALTER TABLE t ALTER b TYPE int USING b + 1",),
    "rewritten, then touched": (
        "ALTER TABLE t ALTER b TYPE int USING b + 1",
        "UPDATE t SET b = b * 2",
        "ALTER TABLE t ALTER a TYPE varchar(3)",
        "ALTER TABLE t ALTER b SET DEFAULT 8",
    ),
    "emptied": (
        "ALTER TABLE t ADD c int DEFAULT 5",
        "TRUNCATE t",
        "ALTER TABLE t ALTER b TYPE int USING b + 1",
        "ALTER TABLE t DROP c",
        "TRUNCATE t",
    ),
    "identity": (
        "ALTER TABLE t REPLICA IDENTITY FULL",
        "UPDATE t SET id = id + 5000",
        "ALTER TABLE t ADD CONSTRAINT u UNIQUE (id, b), ADD UNIQUE (b, id)",
        "ALTER TABLE t REPLICA IDENTITY USING INDEX u",
        "UPDATE t SET b = b + 1",
        "UPDATE t SET id = id + 10000",
        "ALTER TABLE t REPLICA IDENTITY DEFAULT",
    ),
}


@pytest.mark.usefixtures("looking_often")
@pytest.mark.parametrize("how", ["at once", "late", "restarted", "in one transaction", "without rows after"])
def test_whatever_is_defined_the_log_and_the_snapshots_that_it_asks_for_give_the_table(
    postgresql_harness: PostgreSQLHarness, how: str
) -> None:
    """late: what the database says now is not what the log was written by."""
    with scripted(postgresql_harness) as mirrors:
        session = postgresql_harness.session()
        for number in range(max(map(len, SCRIPTS.values())) + 1):
            for name, script in SCRIPTS.items():
                for statement in work(script, number, last=how == "without rows after"):
                    session.execute(of(name, statement))
                    if how != "in one transaction":
                        session.commit()
            if how == "restarted":
                mirrors.again()
            if how in ("at once", "restarted"):
                mirrors.step(0.05)
        session.commit()
        session.close()
        mirrors.settle()
        mirrors.check()
        before = {name: len(mirror.events) for name, mirror in mirrors.all.items()}
        for name in SCRIPTS:
            postgresql_harness.execute(of(name, ROWS.format(7000)), of(name, "UPDATE t SET w = 3 WHERE id = 7001"))
        mirrors.settle()
        mirrors.check()
        assert {name: len(mirror.events) for name, mirror in mirrors.all.items()} == before


@contextlib.contextmanager
def scripted(harness: PostgreSQLHarness) -> Iterator[Mirrors]:
    """Tables named as the scripts, mirrored, of which the server has told."""
    for name in SCRIPTS:
        harness.execute(
            of(name, "CREATE TABLE t (id int PRIMARY KEY, w int, a varchar(20), b int NOT NULL DEFAULT 7)"),
            of(name, "INSERT INTO t VALUES (-1, 0, 'was', 1), (-2, 0, NULL, 2)"),
        )
    with Log(harness, tuple(SCRIPTS)) as log:
        mirrors = Mirrors(log)
        harness.execute(*(of(name, "INSERT INTO t VALUES (-3, 0, 'is', 3)") for name in SCRIPTS))
        mirrors.settle()
        mirrors.check()
        yield mirrors


def work(script: tuple[str, ...], number: int, *, last: bool) -> tuple[str, ...]:
    """A script's statement, and rows around it. The first one means nothing, but has the server tell of the table again."""
    if number > len(script):
        return ()
    rows = (ROWS.format(number * 10), f"UPDATE t SET w = {number} WHERE id % 4 = {number % 4}")
    statement = ("CREATE INDEX ON t (w)", *script)[number]
    return (*rows, statement) if last else (statement, *rows)


def of(name: str, statement: str) -> str:
    return f"{statement} ".replace(" t ", f' "{name}" ')


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
    create(postgresql_harness)
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
    create(postgresql_harness)
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
    create(postgresql_harness)
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
    create(postgresql_harness)
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
    create(postgresql_harness)
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
    create(postgresql_harness)
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


@pytest.mark.usefixtures("looking_often")
def test_values_whose_text_changes_without_them_make_the_table_be_read_anew(
    postgresql_harness: PostgreSQLHarness,
) -> None:
    postgresql_harness.execute(
        "CREATE TYPE kind AS ENUM ('a', 'b')",
        "CREATE TYPE pair AS (k kind, n int)",
        "CREATE DOMAIN pairs AS pair[]",
        "CREATE TABLE t (id int PRIMARY KEY, k kind, p pairs, other text)",
        "INSERT INTO t VALUES (1, 'a', '{\"(b,1)\"}')",
    )
    with Log(postgresql_harness) as log:
        mirrors = Mirrors(log)
        mirrors.settle()
        events = mirrors.all["t"].events
        for statement, altered in (
            ("ALTER TYPE kind ADD VALUE 'c'", False),
            ("ALTER TYPE kind ADD VALUE 'aa' BEFORE 'b'", False),
            ("ALTER TYPE kind RENAME VALUE 'b' TO 'z'", True),
            ("ALTER TYPE pair RENAME ATTRIBUTE n TO m", False),
            ("ALTER TYPE pair ADD ATTRIBUTE o int", True),
            ("ALTER TYPE pair DROP ATTRIBUTE m", True),
            ("ALTER TYPE pair RENAME TO couple", False),
        ):
            before = len(events)
            postgresql_harness.execute(statement)
            mirrors.settle()
            mirrors.check()
            assert (statement, [event.reason for event in events[before:]]) == (
                statement,
                ["the values of an enumeration, or of a composite type, are written otherwise"] * altered,
            )
        postgresql_harness.execute("INSERT INTO t VALUES (2, 'aa', '{\"(z,)\"}')", "UPDATE t SET other = 'x'")
        mirrors.settle()
        mirrors.check()
