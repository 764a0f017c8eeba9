"""What the publication holds of a table: all of it from a known place on, or the table is lost, with the reason and a remedy."""

from __future__ import annotations

import threading

import pytest

from forebay_agent import errors
from forebay_agent.capture.log import EventKind
from forebay_agent.capture.postgresql.log import entering
from forebay_agent.policy import remedy_of
from tests.contract.sources.postgresql import PostgreSQLHarness
from tests.integration.log_mirror import Mirrors, looking_often
from tests.integration.log_of_postgresql import Log, events, told
from tests.integration.log_slots import GAP, assert_begins_anew, assert_gap, lost_while_reading

__all__ = ["looking_often"]
LOST = EventKind.LOST
OWN = "forebay_source"


@pytest.fixture
def db(postgresql_harness: PostgreSQLHarness) -> PostgreSQLHarness:
    postgresql_harness.execute(
        "CREATE TABLE t (id int PRIMARY KEY, v text)", "CREATE TABLE other (id int PRIMARY KEY, v text)"
    )
    return postgresql_harness


CHANGES = {
    "taken out": (f"ALTER PUBLICATION {OWN} DROP TABLE t", "INSERT INTO t VALUES (2, 'unseen')"),
    "taken out and put in again": (
        f"ALTER PUBLICATION {OWN} DROP TABLE t",
        "INSERT INTO t VALUES (2, 'unseen')",
        f"ALTER PUBLICATION {OWN} ADD TABLE t",
    ),
    "filtered": (f"ALTER PUBLICATION {OWN} SET TABLE t WHERE (id > 5), other", "INSERT INTO t VALUES (2, 'unseen')"),
    "cut": (f"ALTER PUBLICATION {OWN} SET TABLE t (id), other", "UPDATE t SET v = 'unseen'"),
    "without deletes for a while": (
        f"ALTER PUBLICATION {OWN} SET (publish = 'insert, update')",
        "DELETE FROM t",
        f"ALTER PUBLICATION {OWN} SET (publish = 'insert, update, delete, truncate')",
    ),
}


@pytest.mark.usefixtures("looking_often")
@pytest.mark.parametrize("when", ["while it is read", "with rows after", "while nobody reads"])
@pytest.mark.parametrize("change", CHANGES.keys())
def test_a_table_of_which_the_publication_holds_something_else_is_lost(
    db: PostgreSQLHarness, change: str, when: str
) -> None:
    with Log(db, ("t", "other")) as log:
        db.execute("INSERT INTO t VALUES (1, 'a')")
        assert log.changes() == [("c", 1, "a")]
        if when == "while nobody reads":
            log.close()
        db.execute(*CHANGES[change], "INSERT INTO other VALUES (6, 'other')")
        if when == "with rows after":
            db.execute("INSERT INTO t VALUES (7, 'b')")
        if when == "while nobody reads":
            log.again()
        parts = log.parts(at_least=1)
        lost = [event for event in events(parts, LOST) if event.table.name == "t"]
        while not lost:
            parts += log.parts(at_least=1)
            lost = [event for event in events(parts, LOST) if event.table.name == "t"]
        assert isinstance(lost[0].error, errors.LogGap | errors.LogUnfit)
        assert remedy_of(lost[0].error)
        assert OWN in str(lost[0].error)
        assert [each for each in told(parts, "id") if each[0] != LOST] in ([("c", 6)], [])
        db.execute("INSERT INTO t VALUES (8, 'c')")
        assert ("c", 8) not in log.changes("id")
        if change in ("filtered", "cut"):
            db.execute(f"ALTER PUBLICATION {OWN} SET TABLE t, other")
        log.follow("t")  # anew
        db.execute("INSERT INTO t VALUES (9, 'd')")
        assert log.changes("id") == [("c", 9)]


@pytest.mark.parametrize("made_again", [False, True], ids=["dropped", "made again"])
def test_a_dropped_publication_is_a_gap_with_its_bounds(db: PostgreSQLHarness, made_again: bool) -> None:
    with Log(db) as log:
        db.execute("INSERT INTO t VALUES (1, 'a')")
        assert log.changes() == [("c", 1, "a")]
        db.execute(f"DROP PUBLICATION {OWN}", "INSERT INTO t VALUES (2, 'b')")
        assert isinstance(lost_while_reading(log), errors.LogGap)
        if made_again:
            db.execute(f"CREATE PUBLICATION {OWN} FOR TABLE t")
        assert_gap(log, GAP)
        assert_begins_anew(log)


def test_an_own_publication_grows_and_keeps_what_others_put_in(db: PostgreSQLHarness) -> None:
    query = f"SELECT tablename FROM pg_publication_tables WHERE pubname = '{OWN}' ORDER BY 1"
    with Log(db) as log:
        assert db.rows(query) == [("t",)]
        db.execute("CREATE TABLE theirs (id int)", f"ALTER PUBLICATION {OWN} ADD TABLE theirs")
        log.follow("t", "other")
        assert db.rows(query) == [("other",), ("t",), ("theirs",)]
        db.execute(
            "INSERT INTO other VALUES (1, 'x')", "INSERT INTO t VALUES (2, 'y')", "INSERT INTO theirs VALUES (3)"
        )
        assert sorted(log.changes("id")) == [("c", 1), ("c", 2)]
        log.follow("other")
        db.execute("INSERT INTO other VALUES (3, 'x')", "INSERT INTO t VALUES (4, 'y')")
        assert log.changes("id") == [("c", 3)]


@pytest.mark.usefixtures("looking_often")
def test_what_was_written_before_a_table_was_followed_is_in_its_snapshot_and_nowhere_twice(
    db: PostgreSQLHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a transaction that was open when the table entered the publication, the server would tell a part."""
    db.execute("INSERT INTO other VALUES (0, 'before'), (-1, 'before')")
    with Log(db) as log:
        old = db.session()
        old.execute("INSERT INTO other VALUES (1, 'old')")
        old.execute("DELETE FROM other WHERE id = 0")
        entered = threading.Event()

        def go_on() -> None:
            query = f"SELECT 1 FROM pg_publication_tables WHERE pubname = '{OWN}' AND tablename = 'other'"
            while not db.rows(query):
                pass
            old.execute("INSERT INTO other VALUES (2, 'old, after it entered')")
            old.execute("UPDATE other SET v = 'old' WHERE id = -1")
            old.commit()
            entered.set()

        writer = threading.Thread(target=go_on)
        writer.start()
        log.follow("other")
        assert entered.is_set(), "it was not waited for"
        writer.join()
        mirrors = Mirrors(log)
        db.execute("INSERT INTO other VALUES (3, 'new')", "DELETE FROM other WHERE id = 1")
        mirrors.settle()
        mirrors.check()
        monkeypatch.setattr(entering, "_PATIENCE_SECONDS", 0.2)
        old.execute("INSERT INTO t VALUES (1, 'never ends')")
        with pytest.raises(errors.SourceError, match=r"public\.t: transactions .* still open: pid \d+") as raised:
            log.follow("other", "t")
        assert "Wait for" in raised.value.remedy
        old.rollback()
        old.close()


@pytest.mark.parametrize(
    ("publication", "error"),
    [
        ("FOR TABLE t (id, v)", None),
        ("FOR ALL TABLES", None),
        ("FOR TABLES IN SCHEMA public", None),
        ("FOR TABLE t (id)", "lacks columns of public.t: v"),
        ("FOR TABLE t WHERE (id > 0)", "filters the rows of public.t"),
    ],
)
def test_a_publication_of_the_dba_is_taken_as_it_is_or_refused_for_the_table(
    db: PostgreSQLHarness, publication: str, error: str | None
) -> None:
    db.execute(f"CREATE PUBLICATION pub {publication}")
    with Log(db, config={"publication": "pub"}) as log:
        db.execute("INSERT INTO t VALUES (1, 'a')")
        parts = log.parts()
        findings = [each for each in log.source.examine_log(log.followed()) if each.subject == "public.t"]
        if error is None:
            assert told(parts) == [("c", 1, "a")]
            assert [each.severity.value for each in findings] == ["ok"]
            return
        (lost,) = events(parts, LOST)
        assert isinstance(lost.error, errors.LogUnfit)
        assert error in str(lost.error)
        assert "Ask the DBA" in lost.error.remedy
        assert [each.message for each in findings] == [str(lost.error)]


def test_a_publication_that_leaves_out_kinds_of_changes_is_refused_with_the_statement_that_cures_it(
    db: PostgreSQLHarness,
) -> None:
    db.execute("CREATE PUBLICATION pub FOR TABLE t WITH (publish = 'insert, update')")
    with pytest.raises(errors.LogUnfit, match="does not publish all of") as raised:
        Log(db, config={"publication": "pub"})
    db.execute(raised.value.sql)
    with Log(db, config={"publication": "pub"}) as log:
        db.execute("INSERT INTO t VALUES (1, 'a')", "DELETE FROM t")
        assert log.changes("id") == [("c", 1), ("d", 1)]


def test_a_column_that_the_dba_s_list_lacks_loses_the_table_once_it_is_wanted(db: PostgreSQLHarness) -> None:
    db.execute("CREATE PUBLICATION pub FOR TABLE t (id, v)")
    with Log(db, config={"publication": "pub"}) as log:
        db.execute("INSERT INTO t VALUES (1, 'a')", "ALTER TABLE t ADD n int", "INSERT INTO t VALUES (2, 'b', 5)")
        assert log.changes() == [("c", 1, "a"), ("c", 2, "b")]
        log.follow(excluded=("n",))
        db.execute("INSERT INTO t VALUES (3, 'c', 5)")
        assert log.changes() == [("c", 3, "c")]
        log.follow()  # the agent saw the column
        db.execute("INSERT INTO t VALUES (4, 'd', 5)")
        (lost,) = events(log.parts(at_least=1), LOST)
        assert "lacks columns of public.t: n" in str(lost.error)
