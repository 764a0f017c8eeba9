"""Whoever is refused again and again is in the audit, and does not fill it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from forebay_collector.ledger import Ledger, refusals
from forebay_collector.ledger.refusals import WINDOW_US


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000_000_000

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path / "ledger.db", clock)
    yield opened
    opened.close()


def note(ledger: Ledger, who: str = "a1", peer: str = "10.0.0.1", why: str = "revoked") -> None:
    ledger.refusals.note(who, "call refused", who, why, {"code": "X"}, peer=peer, same=why)


def counts(ledger: Ledger) -> list[int]:
    """Of all entries, the oldest first."""
    entries = ledger.audit.listing(action="call refused", limit=100_000)
    return [int(entry.detail.get("count", 1)) for entry in reversed(entries)]


def test_a_year_of_refusals_every_second_is_some_entries_a_day_and_none_is_lost(ledger: Ledger, clock: Clock) -> None:
    for _ in range(86_400):
        note(ledger)
        clock.now += 1_000_000
        ledger.refusals.settle()
    ledger.refusals.settle(everything=True)
    told = counts(ledger)
    assert sum(told) == 86_400
    assert told[0] == 1
    assert len(told) < 200


def test_what_stops_and_begins_again_is_an_entry_at_once(ledger: Ledger, clock: Clock) -> None:
    for _ in range(3):
        note(ledger)
        clock.now += 3 * WINDOW_US
        ledger.refusals.settle()
    assert counts(ledger) == [1, 1, 1]


def test_another_peer_another_agent_and_another_reason_are_entries_of_their_own(ledger: Ledger) -> None:
    note(ledger)
    note(ledger, peer="10.0.0.2")
    note(ledger, who="a2")
    note(ledger, why="replaced")
    note(ledger)
    assert counts(ledger) == [1, 1, 1, 1]
    entry = ledger.audit.listing(action="call refused")[-1]
    assert entry.detail == {"code": "X", "peer": "10.0.0.1"}


def test_however_many_kinds_there_are_the_entries_and_the_memory_are_bounded_and_the_count_is_right(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "MOST_KINDS", 100)
    for number in range(5_000):
        note(ledger, peer=f"10.0.{number // 256}.{number % 256}")
    ledger.refusals.settle(everything=True)
    told = counts(ledger)
    assert (sum(told), len(told)) == (5_000, 102)
    assert len(ledger.refusals._seen) <= 101


def test_threads_that_refuse_at_once_lose_no_count(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: note(ledger), range(2_000)))
    ledger.refusals.settle(everything=True)
    assert counts(ledger) == [1, 1_999]


def test_a_refusal_stands_though_the_ledger_cannot_record_it(ledger: Ledger) -> None:
    ledger.database.engine.dispose()
    with ledger.database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE audit RENAME TO elsewhere")
    note(ledger)
    note(ledger)
