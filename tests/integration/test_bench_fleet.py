"""`make bench-fleet` in small: it runs, its figures are there, and what is lost is found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.fleet import figures, tables
from bench.fleet.figures import Fleet, percentile
from bench.fleet.judge import Acked, judge
from bench.fleet.run import Asked, measure
from forebay_collector.archive import LocalArchive
from forebay_collector.ledger import Ledger
from forebay_wire.stream import StreamName

AGENTS = 5
STREAMS = AGENTS * len(tables.TABLES)


class Ran:
    """What a run of the benchmark left."""

    def __init__(self, folder: Path) -> None:
        self.fleet, self.lost = measure(folder, Asked(AGENTS, minutes=0.05, seed=7, settle_s=0.5))
        seen = json.loads((folder / "seen.json").read_text())
        self.acked: list[Acked] = [(each[0], each[1], each[2], each[3]) for each in seen["acked"]]
        self.sent: dict[str, int] = seen["sent_of"]
        self.ledger = Ledger.open(folder / "collector" / "ledger.db")
        self.archive = LocalArchive(folder / "collector" / "archive", writes=False)

    def judged(self, acked: list[Acked] | None = None, sent: dict[str, int] | None = None) -> list[str]:
        return judge(self.ledger, self.archive, self.acked if acked is None else acked, sent or self.sent).lost


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    made = Ran(tmp_path_factory.mktemp("fleet"))
    yield made
    made.archive.close()
    made.ledger.close()


def test_a_small_fleet_is_measured_and_loses_nothing(ran: Ran, tmp_path: Path) -> None:
    fleet = ran.fleet
    assert (fleet.agents, fleet.batches, fleet.lost, ran.lost) == (AGENTS, STREAMS, 0, [])
    assert (fleet.refused, fleet.broken) == (0, 0)
    assert 0 < fleet.ack_median_ms <= fleet.ack_p99_ms <= fleet.ack_most_ms
    assert fleet.console_fleet_ms >= fleet.console_fleet_first_ms > 0
    assert fleet.collector_cores > 0
    assert fleet.agents_cores > 0
    assert fleet.beyond() == []
    figures.write(fleet, tmp_path / "build" / "fleet.json")
    written = json.loads((tmp_path / "build" / "fleet.json").read_text())
    assert {"agents", "lost", "ack_p99_ms", "heartbeat_p99_ms", "kb_per_idle_agent", "console_fleet_ms"} <= set(written)


def test_a_batch_that_is_not_in_the_archive_is_lost(ran: Ran) -> None:
    name, epoch, seq, _ = ran.acked[0]
    stream = StreamName.parse(name)
    batch = ran.archive.read(stream, epoch, seq)
    ran.archive.delete(stream, epoch, seq)
    (lost,) = ran.judged()
    assert lost.startswith(f"{name} {epoch}/{seq}: ")
    ran.archive.write(batch)
    ran.archive.sync()
    assert ran.judged() == []


def test_an_acknowledgement_of_what_never_came_and_one_of_another_batch_are_lost(ran: Ran) -> None:
    name, epoch, seq, chain = ran.acked[0]
    (beyond,) = ran.judged([*ran.acked, (name, epoch, seq + 1, "00" * 32)])
    assert "beyond the ledger's mark" in beyond
    (other,) = ran.judged([(name, epoch, seq, "00" * 32), *ran.acked[1:]])
    assert "differ" in other
    assert ran.judged([(name, epoch, seq, chain), *ran.acked[1:]]) == []


def test_what_the_ledger_holds_and_nobody_sent_is_found(ran: Ran) -> None:
    name = ran.acked[0][0]
    (more,) = ran.judged(sent={**ran.sent, name: 0})
    assert more.startswith(f"{name}: the ledger holds up to 1")


def test_bounds_that_do_not_hold_are_named_and_few_agents_are_judged_by_loss_alone(ran: Ran) -> None:
    from dataclasses import asdict

    slow = {**asdict(ran.fleet), "ack_p99_ms": 201.0, "kb_per_idle_agent": 151.0, "console_fleet_ms": 301.0}
    assert Fleet(**slow).beyond() == []
    full = Fleet(**{**slow, "agents": 1_000, "lost": 1, "broken": 2}).beyond()
    assert [line.split()[0] for line in full] == ["lost", "ack_p99_ms", "kb_per_idle_agent", "console_fleet_ms", "0"]


def test_a_percentile_is_one_of_the_values() -> None:
    hundred = [float(number) for number in range(1, 101)]
    assert [percentile(hundred, share) for share in (0, 0.5, 0.99, 1)] == [1, 50, 99, 100]
    assert percentile([], 0.5) == 0
    assert percentile([3.0], 0.99) == 3
