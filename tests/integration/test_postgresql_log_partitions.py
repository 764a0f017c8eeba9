"""Partitioned tables: the log tells of their rows as the table's own; what comes or goes with a partition makes the table be
read anew."""

from __future__ import annotations

import re

import pytest

from forebay_agent import errors
from forebay_agent.capture.log import EventKind
from tests.contract.sources.postgresql import PostgreSQLHarness
from tests.integration.log_mirror import Mirrors, looking_often
from tests.integration.log_of_postgresql import Log, events, told

__all__ = ["looking_often"]

TABLE = (
    "CREATE TABLE t (id int, at int, v text DEFAULT 'none', PRIMARY KEY (id, at)) PARTITION BY RANGE (at)",
    "CREATE TABLE t_1 PARTITION OF t FOR VALUES FROM (0) TO (10)",
    "CREATE TABLE t_2 PARTITION OF t FOR VALUES FROM (10) TO (20)",
    "CREATE TABLE t_3 PARTITION OF t FOR VALUES FROM (20) TO (30) PARTITION BY RANGE (id)",
    "CREATE TABLE t_3a PARTITION OF t_3 FOR VALUES FROM (0) TO (100)",
    "INSERT INTO t SELECT n, n FROM generate_series(0, 29) n",
)
ANEW = {
    "attached": (
        "CREATE TABLE t_4 (v text, id int NOT NULL, at int NOT NULL)",
        "INSERT INTO t_4 VALUES ('there', 30, 30)",
        "ALTER TABLE t ATTACH PARTITION t_4 FOR VALUES FROM (30) TO (40)",
    ),
    "made, filled and attached at once": (
        "BEGIN",
        "CREATE TABLE t_4 (v text, id int NOT NULL, at int NOT NULL)",
        "INSERT INTO t_4 VALUES ('there', 30, 30)",
        "ALTER TABLE t ATTACH PARTITION t_4 FOR VALUES FROM (30) TO (40)",
        "COMMIT",
    ),
    "detached": ("INSERT INTO t VALUES (900, 15)", "ALTER TABLE t DETACH PARTITION t_2"),
    "dropped": ("INSERT INTO t VALUES (900, 15)", "DROP TABLE t_2"),
    "emptied": ("INSERT INTO t VALUES (900, 15)", "TRUNCATE t_2", "INSERT INTO t VALUES (901, 16)"),
    "detached, changed and attached": (
        "ALTER TABLE t DETACH PARTITION t_2",
        "UPDATE t_2 SET v = 'outside'",
        "ALTER TABLE t ATTACH PARTITION t_2 FOR VALUES FROM (10) TO (20)",
    ),
    "tree detached, changed and attached": (
        "ALTER TABLE t DETACH PARTITION t_3",
        "CREATE TABLE t_3b PARTITION OF t_3 FOR VALUES FROM (100) TO (200)",
        "INSERT INTO t_3 VALUES (150, 25)",
        "ALTER TABLE t ATTACH PARTITION t_3 FOR VALUES FROM (20) TO (30)",
    ),
    "tree attached": (
        "CREATE TABLE t_4 (id int NOT NULL, at int NOT NULL, v text) PARTITION BY RANGE (id)",
        "CREATE TABLE t_4a PARTITION OF t_4 FOR VALUES FROM (0) TO (1000)",
        "INSERT INTO t_4 VALUES (30, 30, 'there')",
        "ALTER TABLE t ATTACH PARTITION t_4 FOR VALUES FROM (30) TO (40)",
    ),
    "grew and detached": (
        "ALTER TABLE t ADD n int DEFAULT 5",
        "INSERT INTO t VALUES (900, 15), (901, 5)",
        "ALTER TABLE t DETACH PARTITION t_2",
    ),
    "rewritten": ("ALTER TABLE t ALTER v TYPE text USING v || '!'",),
    "filled": ("ALTER TABLE t ADD n serial",),
}
ON = {
    "partition made": (
        "CREATE TABLE t_4 PARTITION OF t FOR VALUES FROM (30) TO (40)",
        "INSERT INTO t VALUES (30, 30), (31, 31)",
        "INSERT INTO t_4 VALUES (32, 32)",
        "CREATE TABLE t_3b PARTITION OF t_3 FOR VALUES FROM (100) TO (200)",
        "INSERT INTO t_3 VALUES (150, 25)",
    ),
    "made in one transaction": (
        "BEGIN",
        "CREATE TABLE t_4 PARTITION OF t DEFAULT",
        "INSERT INTO t VALUES (30, 30), (31, 31)",
        "COMMIT",
        "ANALYZE t_4",
    ),
    "tree made": (
        "CREATE TABLE t_4 PARTITION OF t FOR VALUES FROM (30) TO (40) PARTITION BY RANGE (id)",
        "CREATE TABLE t_4a PARTITION OF t_4 FOR VALUES FROM (0) TO (1000)",
        "INSERT INTO t VALUES (30, 30)",
        "UPDATE t SET at = 35 WHERE id < 5",
    ),
    "emptied whole": ("TRUNCATE t", "INSERT INTO t VALUES (1, 1), (25, 25)", "ANALYZE t"),
    "grew": ("ALTER TABLE t ADD n int", "INSERT INTO t VALUES (40, 5, 'x', 7)"),
}


@pytest.mark.usefixtures("looking_often")
@pytest.mark.parametrize("how", ["without rows after", "restarted", "with rows after"])
def test_whatever_comes_of_its_partitions_the_table_is_right(postgresql_harness: PostgreSQLHarness, how: str) -> None:
    whats = {f"p{number}": what for number, what in enumerate([*ANEW, *ON])}
    for name in whats:
        postgresql_harness.execute(*of(name, TABLE))
    with Log(postgresql_harness, tuple(whats)) as log:
        mirrors = Mirrors(log)
        postgresql_harness.execute(*(f"INSERT INTO {name} VALUES (1000, 1)" for name in whats))
        mirrors.settle()
        mirrors.check()
        for name, what in whats.items():
            run(postgresql_harness, of(name, (ANEW | ON)[what]))
            if how == "with rows after":
                postgresql_harness.execute(
                    *of(name, ("INSERT INTO t VALUES (2000, 2)", "UPDATE t SET v = 'x' WHERE at < 3"))
                )
        if how == "restarted":
            mirrors.again()
        mirrors.settle()
        mirrors.check()
        for name, what in whats.items():
            kinds = [event.kind for event in mirrors.all[name].events]
            if what in ANEW:
                assert (what, set(kinds) <= {EventKind.ALTERED}) == (what, True)
                assert (what, mirrors.all[name].begun) in ((what, 1), (what, 2))
            else:
                expected = {"emptied whole": [EventKind.TRUNCATED], "grew": [EventKind.GREW]}.get(what, [])
                assert (what, kinds) == (what, expected)


def of(name: str, statements: tuple[str, ...]) -> list[str]:
    """Of the table of this name instead of `t`, and of its partitions."""
    return [re.sub(r"\bt(?=_|\b)", name, statement) for statement in statements]


def run(harness: PostgreSQLHarness, statements: list[str]) -> None:
    """Each in a transaction of its own, or all in one."""
    if "BEGIN" not in statements:
        harness.execute(*statements)
        return
    session = harness.session()
    for statement in statements:
        if statement not in ("BEGIN", "COMMIT"):
            session.execute(statement)
    session.commit()
    session.close()


def test_a_partition_is_followed_by_itself_where_its_table_is_not(postgresql_harness: PostgreSQLHarness) -> None:
    postgresql_harness.execute(*TABLE)
    with Log(postgresql_harness, ("t_1",)) as log:
        postgresql_harness.execute("INSERT INTO t VALUES (50, 1), (51, 11)", "DELETE FROM t_1 WHERE id = 50")
        assert log.changes("id") == [("c", 50), ("d", 50)]
        log.follow("t", "t_1")  # from now on its changes are the table's
        postgresql_harness.execute("INSERT INTO t VALUES (60, 1)")
        parts = log.parts()
        assert ("c", 60) in told([part for part in parts if part.table.name == "t"], "id")
        lost = events(parts, EventKind.LOST)
        while not lost:
            log.reader._looked_at = 0.0  # type: ignore[attr-defined]
            lost = events(log.parts(), EventKind.LOST)
        assert [event.table.name for event in lost] == ["t_1"]
        assert "is a partition of a table that publication" in str(lost[0].error)
        log.follow("t", "t_1")
        assert [event.table.name for event in events(log.parts(at_least=1), EventKind.LOST)] == ["t_1"]


def test_a_publication_of_partitions_under_their_own_names_is_refused_for_the_table(
    postgresql_harness: PostgreSQLHarness,
) -> None:
    postgresql_harness.execute(*TABLE, "CREATE PUBLICATION pub FOR TABLE t")
    with Log(postgresql_harness, config={"publication": "pub"}) as log:
        (lost,) = events(log.parts(at_least=1), EventKind.LOST)
        assert isinstance(lost.error, errors.LogUnfit)
        postgresql_harness.execute(lost.error.sql)
        log.again()
        postgresql_harness.execute("INSERT INTO t VALUES (60, 1)")
        assert log.changes("id") == [("c", 60)]


def test_a_partition_without_identity_is_told_with_the_statement_that_cures_it(
    postgresql_harness: PostgreSQLHarness,
) -> None:
    postgresql_harness.execute(*TABLE, "ALTER TABLE t_3a REPLICA IDENTITY NOTHING")
    with Log(postgresql_harness) as log:
        (lost,) = events(log.parts(at_least=1), EventKind.LOST)
        assert isinstance(lost.error, errors.LogUnfit)
        assert "public.t_3a has no replica identity" in str(lost.error)
        postgresql_harness.execute("UPDATE t SET v = 'the application goes on'", lost.error.sql)
        log.follow()
        postgresql_harness.execute("UPDATE t SET v = 'x' WHERE id = 20")
        assert log.changes("id") == [("u", 20)]
