"""What the fault harness excuses around a gap: nothing that an outbox or the ledger held when it came."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Final, cast

import pytest

from forebay_agent.config.model import OutboxConfig
from forebay_agent.outbox import Outbox
from forebay_collector.ledger import Arrival, Ledger
from forebay_wire.seal import Link, SealedBatch, seal
from forebay_wire.stream import StreamName
from tests.faults.captured import captured_until
from tests.faults.clock import CLOCK
from tests.faults.fleet import COLLECTOR, Fleet
from tests.faults.intent import Table
from tests.receiving.batches import FIRST, SCHEMA, rows

PLACE: Final = "mariadb"
TABLES: Final = (Table(PLACE, "permit", "log"), Table(PLACE, "enterprise", "log"))


@dataclass
class Department:
    name: str = "市监局"
    tables: tuple[Table, ...] = TABLES

    def stream(self, table: Table) -> str:
        return f"{self.name}/登记库/licence.{table.name}"


@dataclass
class Places:
    """Of a fleet what is looked at: where its files are."""

    folder: Path
    departments: dict[str, Department] = field(default_factory=lambda: {PLACE: Department()})
    looking: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.data = self.folder / "data"
        disk = SimpleNamespace(reading=threading.RLock())
        self.members = dict.fromkeys((PLACE, COLLECTOR), SimpleNamespace(disk=disk))
        for each in (self.data, self.state(PLACE)):
            each.mkdir()

    def state(self, place: str) -> Path:
        return self.folder / place


def committed(stream: StreamName, link: Link, seconds_ago: float) -> SealedBatch:
    at = int((time.time() - seconds_ago) * 1_000_000)
    return seal(stream, link, SCHEMA, rows(1, 3, committed_at_us=at), captured_at_us=at)


def ago(fleet: Places, *, outbox: bool) -> list[float]:
    """Seconds since the moments, of permit and enterprise."""
    found = captured_until(cast(Fleet, fleet), PLACE, outbox=outbox)
    return [CLOCK.now - found[table] for table in TABLES]


def test_a_table_is_captured_until_the_newest_commit_that_outbox_or_ledger_holds(tmp_path: Path) -> None:
    fleet = Places(tmp_path)
    permit = StreamName(*Department().stream(TABLES[0]).split("/"))
    sent = committed(permit, FIRST, 30)
    waits = committed(permit, FIRST.after(sent), 12)
    with closing(Ledger.open(fleet.data / "ledger.db")) as ledger:
        ledger.batches.receive([Arrival("a1", permit, sent)])
    with closing(Outbox.open(fleet.state(PLACE), OutboxConfig())) as outbox:
        outbox.put(outbox.stream(permit), [sent, waits], "{}", schema=SCHEMA)

        held, nothing = ago(fleet, outbox=True)
        assert held == pytest.approx(13, abs=0.5)
        assert nothing > 1_000_000  # no batch of it anywhere: all of it may lack
        held, _ = ago(fleet, outbox=False)
        assert held == pytest.approx(31, abs=0.5)


def test_what_cannot_be_read_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        captured_until(cast(Fleet, Places(tmp_path)), PLACE, outbox=False)
