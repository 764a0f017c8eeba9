"""Definitions in PostgreSQL's log, which tells of none: rows before them as they were, rows after them as they are, and
whatever happened to older rows makes the table be read anew."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from forebay_agent.capture.log import EventKind, LogRows, TableEvent
from forebay_agent.capture.postgresql.log import reader
from forebay_agent.capture.postgresql.session import Session
from forebay_agent.capture.source import TableName
from tests.contract.sources.postgresql import PostgreSQLHarness
from tests.integration.log_mirror import LOOK_SECONDS, Mirrors, looking_often
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


def test_a_definition_in_the_midst_of_a_look_is_not_seen_in_half(
    postgresql_harness: PostgreSQLHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look is several queries: new columns with old files would be taken for nothing, and the new files after that too."""
    create(postgresql_harness)
    postgresql_harness.execute("INSERT INTO t VALUES (1, 'x', 1)")
    rows = Session.rows
    waits = ["ALTER TABLE t ALTER b TYPE int USING b + 1"]

    def in_the_midst(session: Session, statement: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        if "a.attnum::int, a.atttypid" in statement and waits:
            postgresql_harness.execute(waits.pop())
        return rows(session, statement, parameters)

    with Log(postgresql_harness) as log:
        mirrors = Mirrors(log)
        mirrors.settle()
        monkeypatch.setattr(Session, "rows", in_the_midst)
        postgresql_harness.execute("CREATE INDEX ON t (a)", "INSERT INTO t VALUES (2, 'y', 2)")  # it is told of again
        mirrors.settle()
        assert not waits
        monkeypatch.setattr(reader, "_LOOK_SECONDS", LOOK_SECONDS)
        mirrors.settle()
        mirrors.check()
