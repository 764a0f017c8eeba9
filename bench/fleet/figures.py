"""What was measured of a fleet: printed, and as build/fleet.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

FILE: Final = Path("build/fleet.json")
BOUNDS: Final = {"lost": 0.0, "ack_p99_ms": 200.0, "kb_per_idle_agent": 150.0, "console_fleet_ms": 300.0}
"""What a figure may be at most."""
FULL: Final = 500
"""From so many agents on all bounds count; fewer show only that nothing is lost: what a process has once weighs on few."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """agents: connected all the time. lost: batches acknowledged and not there, or sent and never answered. ack: from sending
    a batch's first message to its durable acknowledgement, at the agent. heartbeat: from sending to its acknowledgement, at
    the agent. kb_per_idle_agent: memory of the collector's process per agent that is connected with both calls and only
    beats, KiB. console_fleet_ms: the 99th percentile of the
    requests for the fleet's page, one every 2 s while batches come, or the very first one of the process when that took longer;
    from asking to the whole page at the browser, ms. loaded: of the acknowledged batches, as the ledger has it when the collector
    was stopped. ..._cores: CPU seconds a second; idle: while agents only beat."""

    agents: int
    lost: int
    ack_p99_ms: float
    heartbeat_p99_ms: float
    kb_per_idle_agent: float
    console_fleet_ms: float
    minutes: float
    seed: int
    batches: int
    loaded: int
    refused: int
    broken: int
    ack_median_ms: float
    ack_most_ms: float
    heartbeats: int
    heartbeat_median_ms: float
    heartbeat_most_ms: float
    console_fleet_first_ms: float
    console_fleet_median_ms: float
    console_fleet_most_ms: float
    collector_cores: float
    collector_idle_cores: float
    agents_cores: float
    collector_rss_mb: float

    def beyond(self) -> list[str]:
        """The bounds that do not hold, in words."""
        figures = asdict(self)
        count = BOUNDS if self.agents >= FULL else {"lost": BOUNDS["lost"]}
        found = [
            f"{name} is {figures[name]:.6g}, at most {most:g} is allowed"
            for name, most in count.items()
            if figures[name] > most
        ]
        if self.refused or self.broken:
            found.append(f"{self.refused} batches refused, {self.broken} calls ended")
        return found


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of all do not exceed; 0 of none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))] if ordered else 0.0


def show(fleet: Fleet) -> None:
    for name, value in asdict(fleet).items():
        most = f"  (at most {BOUNDS[name]:g})" if name in BOUNDS else ""
        print(f"{name:24} {value:12,.2f}{most}" if isinstance(value, float) else f"{name:24} {value:12,}{most}")


def write(fleet: Fleet, file: Path = FILE) -> None:
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(asdict(fleet), indent=1), "utf-8")
