"""A row that draws its cursor value early and commits late still arrives; a plain "greater than the last" loses it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import pytest

from forebay_agent.capture.plan import describe, open_capture
from forebay_agent.config.model import TableConfig
from tests.contract.harness import SourceHarness
from tests.integration.capturing import Capturing


@dataclass(frozen=True, slots=True)
class Words:
    """The database's own way to draw cursor values: the clock, and a sequence."""

    by_time: str
    by_number: str
    by_day: str


WORDS = {
    "mysql": Words(
        by_time="CREATE TABLE permit (id BIGINT PRIMARY KEY, at DATETIME(6) NOT NULL DEFAULT NOW(6), INDEX (at))",
        by_number="CREATE TABLE permit (no BIGINT AUTO_INCREMENT PRIMARY KEY, id BIGINT)",
        by_day="CREATE TABLE permit (id BIGINT PRIMARY KEY, day DATE NOT NULL, INDEX (day))",
    ),
    "postgresql": Words(
        by_time="CREATE TABLE permit (id bigint PRIMARY KEY, at timestamp NOT NULL DEFAULT clock_timestamp())",
        by_number="CREATE TABLE permit (no bigserial PRIMARY KEY, id bigint)",
        by_day="CREATE TABLE permit (id bigint PRIMARY KEY, day date NOT NULL)",
    ),
}
SERVERS = tuple(WORDS)


@pytest.fixture(params=SERVERS)
def harness(request: pytest.FixtureRequest) -> SourceHarness:
    harness: SourceHarness = request.getfixturevalue(f"{request.param}_harness")
    return harness


class PlainReader:
    """`WHERE cursor > last`: what is not good enough."""

    def __init__(self, harness: SourceHarness, cursor: str) -> None:
        self._harness = harness
        self._cursor = cursor
        self._last: object = None
        self.seen: set[object] = set()

    def poll(self) -> None:
        where = "" if self._last is None else f"WHERE {self._cursor} > '{self._last}'"
        for identifier, value in self._harness.rows(
            f"SELECT id, {self._cursor} FROM permit {where} ORDER BY {self._cursor}"
        ):
            self.seen.add(identifier)
            self._last = value


def ids(capturing: Capturing) -> set[object]:
    return {row["id"] for row in capturing.rows.values()}


@pytest.mark.parametrize("unique", [False, True], ids=["shared values", "unique values"])
@pytest.mark.parametrize("by", ["at", "no"], ids=["by timestamp", "by number"])
def test_a_late_commit_arrives_and_a_plain_reader_loses_it(harness: SourceHarness, by: str, unique: bool) -> None:
    words = WORDS[harness.kind]
    harness.execute(words.by_time if by == "at" else words.by_number, "INSERT INTO permit (id) VALUES (1), (2)")
    capturing = Capturing(harness, TableConfig("permit", mode="cursor", cursor=by, unique_cursor=unique))
    plain = PlainReader(harness, by)
    capturing.poll()
    plain.poll()
    assert ids(capturing) == plain.seen == {1, 2}

    late = harness.session()
    late.execute("INSERT INTO permit (id) VALUES (3)")  # draws its value now
    for identifier in (4, 5):
        harness.execute(f"INSERT INTO permit (id) VALUES ({identifier})")  # draw higher ones, and commit
        capturing.poll()
        plain.poll()
    assert plain.seen == {1, 2, 4, 5}
    assert ids(capturing) == {1, 2}, "read past a transaction that was still open"
    assert "wait" in capturing.capture.waiting  # type: ignore[attr-defined]

    late.commit()
    late.close()
    harness.execute("INSERT INTO permit (id) VALUES (6)")
    capturing.poll_until(lambda: ids(capturing) >= {4, 5, 6})
    plain.poll()
    assert ids(capturing) == {1, 2, 3, 4, 5, 6}
    assert plain.seen == {1, 2, 4, 5, 6}, "the plain reader should have lost row 3"


def test_a_snapshot_begins_when_its_bound_is_settled(harness: SourceHarness) -> None:
    harness.execute(WORDS[harness.kind].by_time, "INSERT INTO permit (id) VALUES (1)")
    late = harness.session()
    late.execute("INSERT INTO permit (id) VALUES (2)")
    harness.execute("INSERT INTO permit (id) VALUES (3)")
    capturing = Capturing(harness, TableConfig("permit", mode="cursor", cursor="at"))
    assert capturing.poll() == []
    assert "wait" in capturing.capture.waiting  # type: ignore[attr-defined]
    late.commit()
    late.close()
    capturing.poll_until(lambda: ids(capturing) == {1, 2, 3})


def test_constant_overlapping_transactions_never_hold_rows_back_for_ever(harness: SourceHarness) -> None:
    harness.execute(WORDS[harness.kind].by_time)
    capturing = Capturing(harness, TableConfig("permit", mode="cursor", cursor="at"))
    capturing.poll()
    running = harness.session()
    running.execute("INSERT INTO permit (id) VALUES (0)")
    for identifier in range(1, 12):
        following = harness.session()
        following.execute(f"INSERT INTO permit (id) VALUES ({identifier})")
        running.commit()  # there is never a moment without an open transaction
        running.close()
        running = following
        capturing.poll()
    assert len(ids(capturing)) >= 5
    running.commit()
    running.close()
    capturing.poll_until(lambda: ids(capturing) == set(range(12)))


def test_rows_of_a_date_that_was_read_already_still_arrive(harness: SourceHarness) -> None:
    """A DATE gives the whole day's rows one value; later ones may have lower keys."""
    harness.execute(
        WORDS[harness.kind].by_day,
        "INSERT INTO permit VALUES (50, '2026-01-30'), (60, '2026-01-31'), (70, '2026-01-31')",
    )
    capturing = Capturing(harness, TableConfig("permit", mode="cursor", cursor="day"), batch_rows=2)
    plain = PlainReader(harness, "day")
    plain.poll()
    capturing.poll_until(lambda: ids(capturing) == {50, 60, 70})
    harness.execute("INSERT INTO permit VALUES (1, '2026-01-31'), (65, '2026-01-31'), (99, '2026-01-31')")
    capturing.poll_until(lambda: ids(capturing) == {50, 60, 70, 1, 65, 99})
    plain.poll()
    assert plain.seen == {50, 60, 70}
    harness.execute("INSERT INTO permit VALUES (2, '2026-02-01')")
    capturing.poll_until(lambda: 2 in ids(capturing))
    first = len(capturing.pieces)
    capturing.poll_until(lambda: len(capturing.pieces) > first + 1)
    read_again = {row["id"] for piece in capturing.pieces[first:] for row in piece.rows.to_pylist()}
    assert read_again == {2}, "an earlier day is not read for ever"


def test_an_overlap_sees_rows_that_arrive_below_the_bound(harness: SourceHarness) -> None:
    """An application that writes a time of its own, drawn before its transaction began."""
    harness.execute(WORDS[harness.kind].by_time, "INSERT INTO permit VALUES (1, '2026-01-31 12:00:00')")
    capturing = Capturing(
        harness, TableConfig("permit", mode="cursor", cursor="at", overlap=timedelta(seconds=30)), batch_rows=2
    )
    capturing.poll_until(lambda: ids(capturing) == {1})
    harness.execute("INSERT INTO permit VALUES (2, '2026-01-31 11:59:40'), (3, '2026-01-31 11:59:20')")
    capturing.poll_until(lambda: 2 in ids(capturing))
    assert 3 not in ids(capturing)


def test_where_open_transactions_cannot_be_told_the_guarantee_says_so(harness: SourceHarness) -> None:
    harness.execute(WORDS[harness.kind].by_time, "INSERT INTO permit (id) VALUES (1)")
    database = getattr(harness, "database", "")
    grant = f"SELECT ON `{database}`.permit" if harness.kind == "mysql" else "SELECT ON permit"
    reader = harness.reader(grant)  # type: ignore[attr-defined]
    table = TableConfig("permit", mode="cursor", cursor="at", unique_cursor=True)
    capturing = Capturing(harness, table)
    assert "late commits included" in capturing.capture.guarantee

    source = harness.open(**reader)
    capture = open_capture(source, describe(source, table), table)
    for piece in capture.poll(capturing.checkpoint):
        capturing.take(piece, [])
    assert ids(capturing) == {1}
    assert "cannot see open transactions" in capture.guarantee
    assert "0:01:00" in capture.guarantee
    late = harness.session()
    late.execute("INSERT INTO permit (id) VALUES (2)")
    harness.execute("INSERT INTO permit (id) VALUES (3)")
    for piece in capture.poll(capturing.checkpoint):
        capturing.take(piece, [])
    assert 3 in ids(capturing)
    late.commit()
    late.close()
    for piece in capture.poll(capturing.checkpoint):
        capturing.take(piece, [])
    assert ids(capturing) == {1, 2, 3}
