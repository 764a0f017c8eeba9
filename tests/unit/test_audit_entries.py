"""The audit's entries: kept as the law asks, chained from the first, each with whose matter it is."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from forebay_collector.errors import LedgerDamaged
from forebay_collector.ledger import Ledger, tables
from forebay_collector.ledger.audit import record
from forebay_collector.ledger.migrate import migrate
from forebay_collector.ledger.retention import SLACK, AuditRetention
from forebay_collector.ledger.verdict import EXPIRED
from tests.accounts.audit import ENTRIES, Clock, altered, fill, run

DAY_US = 86_400_000_000


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path / "ledger.db", clock)
    fill(opened)
    yield opened
    opened.close()


def test_an_entry_undone_with_its_deed_leaves_no_gap(ledger: Ledger) -> None:
    def fail() -> None:
        with ledger.database.write() as connection:
            record(connection, 1, "x", "x", "x")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    fill(ledger, 1)
    assert ledger.audit.verify().ok
    assert [entry.id for entry in ledger.audit.listing()] == list(range(ENTRIES + 1, 0, -1))


def test_nothing_is_done_unrecorded_when_the_head_is_gone(ledger: Ledger) -> None:
    with ledger.database.write() as connection:
        connection.execute(text("DELETE FROM audit_head"))
    with pytest.raises(LedgerDamaged):
        fill(ledger, 1)
    assert len(ledger.audit.listing()) == ENTRIES


def test_text_that_no_database_stores_is_recorded_all_the_same(ledger: Ledger) -> None:
    ledger.audit.add("half \ud800", "a\0b", "s", "w\udfff", {"k\ud800": "v\0"})
    entry = ledger.audit.listing(limit=1)[0]
    assert (entry.who, entry.action, entry.why, entry.detail) == ("half ?", "a\ufffdb", "w?", {"k?": "v\0"})
    assert ledger.audit.verify().ok


def test_entries_of_a_ledger_without_a_chain_are_chained_when_it_is_migrated(tmp_path: Path, clock: Clock) -> None:
    ledger = Ledger.open(tmp_path / "ledger.db", clock)
    migrate(ledger.database, 2)
    with ledger.database.write() as connection:
        for number in (3, 5, 9):  # ids with gaps, as a sequence makes them
            sql = "INSERT INTO audit VALUES (:n, :n, '李四', 'discard', 's', 'why', '{\"a\": 1}')"
            connection.execute(text(sql), {"n": number})
    migrate(ledger.database)
    verdict = ledger.audit.verify()
    assert (verdict.ok, verdict.entries, verdict.head.entries) == (True, 3, 3)
    assert [(entry.id, entry.at, entry.detail) for entry in ledger.audit.listing()] == [
        (3, 9, {"a": 1}),
        (2, 5, {"a": 1}),
        (1, 3, {"a": 1}),
    ]
    fill(ledger, 1)
    assert ledger.audit.verify().ok
    ledger.close()


def test_only_the_oldest_entries_expire_and_the_chain_holds_on(ledger: Ledger, clock: Clock) -> None:
    clock.now += 200 * DAY_US
    fill(ledger, 3)
    noted = {entry.id: entry.digest for entry in ledger.audit.listing()}
    assert not AuditRetention(ledger, timedelta(days=180)).step()
    entries = ledger.audit.listing()
    assert [entry.id for entry in entries] == [11, 10, 9, 8]
    assert (entries[0].action, entries[0].who) == (EXPIRED, "retention")
    verdict = ledger.audit.verify()
    assert (verdict.ok, verdict.entries, verdict.head.expired, verdict.head.anchor) == (True, 4, 7, noted[7])
    assert ledger.audit.verify((7, noted[7])).ok, "the anchor itself can be compared"
    assert ledger.audit.verify((8, noted[8])).ok
    assert not ledger.audit.verify((7, noted[6])).ok
    old = ledger.audit.verify((3, noted[3]))
    assert old.ok
    assert "expired" in old.reason
    for sql in (
        "DELETE FROM audit WHERE id = 8",
        "UPDATE audit_head SET expired = 6",
        "UPDATE audit_head SET anchor = x'00'",
        "UPDATE audit SET why = 'x' WHERE id = 8",
    ):
        assert not altered(ledger, run(sql)).ok


def test_a_beginning_removed_by_hand_is_found_though_the_anchor_was_moved(ledger: Ledger) -> None:
    def remove(connection: Connection) -> None:
        digest = connection.execute(text("SELECT digest FROM audit WHERE id = 3")).scalar_one()
        run("DELETE FROM audit WHERE id <= 3")(connection)
        run("UPDATE audit_head SET expired = 3, anchor = :digest", digest=digest)(connection)

    verdict = altered(ledger, remove)
    assert (verdict.ok, verdict.first_bad_id) == (False, 3)
    assert "no entry says" in verdict.reason


def test_all_may_expire_and_the_chain_goes_on_behind(ledger: Ledger, clock: Clock) -> None:
    keeping = AuditRetention(ledger, timedelta(days=180))
    for round_ in range(3):
        clock.now += 400 * DAY_US
        keeping.step()
        assert [entry.action for entry in ledger.audit.listing()] == [EXPIRED], round_
        assert ledger.audit.verify().ok
    assert ledger.audit.verify().head.entries == ENTRIES + 3


def test_an_old_entry_behind_a_younger_one_stays(ledger: Ledger, clock: Clock) -> None:
    with ledger.database.write() as connection:
        record(connection, clock.now + 300 * DAY_US, "x", "clock ran ahead", "x")
    fill(ledger, 2)
    clock.now += 200 * DAY_US
    AuditRetention(ledger, timedelta(days=180)).step()
    assert [entry.id for entry in ledger.audit.listing()] == [11, 10, 9, 8]
    assert ledger.audit.verify().ok


def test_retention_acts_once_a_day_at_most(ledger: Ledger, clock: Clock) -> None:
    keeping = AuditRetention(ledger, timedelta(days=180))
    oldest = ledger.audit.oldest()
    assert oldest is not None
    clock.now = oldest + 180 * DAY_US + SLACK // timedelta(microseconds=1) - 10_000
    keeping.step()
    assert len(ledger.audit.listing()) == ENTRIES
    clock.now += 20_000
    keeping.step()
    assert [entry.action for entry in ledger.audit.listing()] == [EXPIRED]


def test_an_entry_knows_whose_matter_it_is(ledger: Ledger) -> None:
    with ledger.database.write() as connection:
        values: dict[str, Any] = {
            "department": "民政局",
            "serial": "",
            "expires_at": 0,
            "enrolled_at": 0,
            "revoked_at": 0,
        }
        values |= {"last_seen_at": 0, "version": "", "hostname": "", "instance": "", "health": "{}"}
        rest: dict[str, Any] = {
            column.name: 0 for column in tables.agent.columns if column.name not in (*values, "name")
        }
        rest |= {name: "[]" for name in rest if str(tables.agent.c[name].type) == "TEXT"}
        connection.execute(tables.agent.insert().values(name="mzj-01", **values, **rest))
        record(connection, 1, "x", "revoke", "mzj-01")
        record(connection, 1, "x", "replay", "市监局/企业库/main.t 1/7")
        record(connection, 1, "x", "token", "new-01", detail={"department": "公安局"})
        record(connection, 1, "x", "account", "zhang")
        record(connection, 1, "x", "account", "mzj-01", department="")
    found = [entry.department for entry in ledger.audit.listing(limit=5)]
    assert found == ["", "", "公安局", "市监局", "民政局"]
    assert len(ledger.audit.listing(departments=frozenset({"民政局", "公安局"}))) == 2
    assert ledger.audit.listing(departments=frozenset()) == []
