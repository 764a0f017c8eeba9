"""`make bench-fleet`: simulated agents on one collector, as the fleet of a city would be.

    AGENTS agents (1,000), each with a certificate, a connection and three tables of its own; a heartbeat every 15 s,
    a batch a minute of every table, MINUTES minutes (10); one collector as `serve` runs it: receives, controls, loads,
    and shows the console, which somebody looks at all the time

Prints the figures and writes build/fleet.json (`figures.Fleet`). Collector and agents share the machine: what the agents use
of it is told. Exits 1 when a bound does not hold.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.fleet import figures, judge, tables
from bench.fleet.agent import HEARTBEAT_S
from bench.fleet.centre import Centre, Use, Visitor
from bench.fleet.figures import Fleet, percentile
from forebay_collector.archive import LocalArchive

_FIRST: Final = 20
"""agents that come in before memory is looked at: what the first ones make the process load is not of theirs"""
_LOOKS_S: Final = 2.0


class Simulator:
    """The agents' process. Says what it tells of a long run."""

    def __init__(self, folder: Path, address: str, seed: int) -> None:
        command = [sys.executable, "-m", "bench.fleet.simulator", str(folder), address, str(seed)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.cpu_s = 0.0

    def do(self, word: str, number: float = 0) -> None:
        """Returns when it is done. Raises RuntimeError when the process ends instead."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{word} {number:g}\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            said = json.loads(line)
            if "done" in said:
                self.cpu_s = said.get("cpu_s", self.cpu_s)
                return
            _say("  " + "  ".join(f"{name} {value:,}" for name, value in said.items()))
        raise RuntimeError(f"the agents' process ended with {self._process.wait()}")

    def end(self) -> None:
        """Raises RuntimeError when it does not end well."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        if self._process.wait(60) != 0:
            raise RuntimeError(f"the agents' process ended with {self._process.returncode}")

    def close(self) -> None:
        """Ends it if it has not ended."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


@dataclass(frozen=True, slots=True)
class Asked:
    """settle_s: how long all agents only beat before memory is looked at."""

    agents: int
    minutes: float
    seed: int
    settle_s: float = 2 * HEARTBEAT_S


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=1_000)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0, help="0: drawn, and printed")
    parser.add_argument("--keep", action="store_true", help="leave the folder, and say where it is")
    given = parser.parse_args()
    seed = given.seed or time.time_ns() % 1_000_000 + 1
    folder = Path(tempfile.mkdtemp(prefix="forebay-fleet-"))
    _say(f"seed {seed}" + (f", folder {folder}" if given.keep else ""))
    try:
        fleet, lost = measure(folder, Asked(given.agents, given.minutes, seed))
    finally:
        if not given.keep:
            shutil.rmtree(folder, ignore_errors=True)
    figures.show(fleet)
    figures.write(fleet)
    beyond = fleet.beyond()
    print(*lost[:20], *beyond, sep="\n", file=sys.stderr)
    return 1 if beyond else 0


def measure(folder: Path, asked: Asked) -> tuple[Fleet, list[str]]:
    """-> the figures, and what was lost, in words. Raises RuntimeError when it cannot be run to its end."""
    with Centre(folder) as centre:
        _say(f"{asked.agents} certificates")
        own = [
            [each.authority.decode(), each.certificate.decode(), each.key.decode()]
            for each in centre.enrol(asked.agents)
        ]
        (folder / "certificates.json").write_text(json.dumps(own), "utf-8")
        centre.start()
        agents = Simulator(folder, centre.address, asked.seed)
        try:
            return _measured(folder, asked, centre, agents)
        finally:
            agents.close()


def _measured(folder: Path, asked: Asked, centre: Centre, agents: Simulator) -> tuple[Fleet, list[str]]:
    first = min(_FIRST, asked.agents // 2)
    _connect(agents, first)
    before = centre.use()
    _say(f"the first {first} agents are in; the collector takes {before.rss_kib / 1024:.0f} MiB")
    _connect(agents, asked.agents)
    idle_began = centre.use()
    time.sleep(asked.settle_s)
    idle = centre.use()
    kb = (idle.rss_kib - before.rss_kib) / (asked.agents - first)
    _say(f"{asked.agents} agents are in; {kb:.0f} KiB each, {_cores(idle_began, idle):.2f} cores")
    visitor = centre.visitor()
    first_ms = visitor.fleet_ms(asked.agents)
    _say(f"the fleet's page the first time: {first_ms:.0f} ms; approving {3 * asked.agents} tables")
    centre.approve([stream for number in range(asked.agents) for stream in tables.streams_of(number)])
    agents.do("approved")
    agents.do("forget")
    _say(f"batches for {asked.minutes:g} minutes")
    began, agents_cpu = centre.use(), agents.cpu_s
    with _looking(visitor, asked.agents) as looks:
        agents.do("run", asked.minutes * 60)
    ended = centre.use()
    agents_cores = (agents.cpu_s - agents_cpu) / (ended.at - began.at)
    agents.end()
    centre.stop()
    seen = json.loads((folder / "seen.json").read_text("utf-8"))
    _say(f"looking for {len(seen['acked']):,} batches in ledger and archive")
    archive = LocalArchive(centre.settings.data.archive, writes=False)
    found = judge.judge(centre.ledger, archive, [tuple(each) for each in seen["acked"]], seen["sent_of"])
    archive.close()
    lost = [
        *found.lost,
        *([f"{seen['sent'] - found.acked} batches were sent and not answered"] if seen["sent"] != found.acked else []),
    ]
    fleet = Fleet(
        agents=asked.agents,
        lost=len(found.lost) + seen["sent"] - found.acked,
        ack_p99_ms=_ms(seen["acks"], 0.99),
        heartbeat_p99_ms=_ms(seen["heartbeats"], 0.99),
        kb_per_idle_agent=round(kb, 1),
        console_fleet_ms=round(max(first_ms, percentile(looks, 0.99)), 1),
        minutes=asked.minutes,
        seed=asked.seed,
        batches=found.acked,
        loaded=found.loaded,
        refused=len(seen["refused"]),
        broken=len(seen["broken"]),
        ack_median_ms=_ms(seen["acks"], 0.5),
        ack_most_ms=_ms(seen["acks"], 1),
        heartbeats=len(seen["heartbeats"]),
        heartbeat_median_ms=_ms(seen["heartbeats"], 0.5),
        heartbeat_most_ms=_ms(seen["heartbeats"], 1),
        console_fleet_first_ms=round(first_ms, 1),
        console_fleet_median_ms=round(percentile(looks, 0.5), 1),
        console_fleet_most_ms=round(max(looks, default=0.0), 1),
        collector_cores=round(_cores(began, ended), 3),
        collector_idle_cores=round(_cores(idle_began, idle), 3),
        agents_cores=round(agents_cores, 3),
        collector_rss_mb=round(ended.rss_kib / 1024, 1),
    )
    return fleet, [*lost, *seen["refused"], *seen["broken"]]


def _connect(agents: Simulator, upto: int) -> None:
    agents.do("connect", upto)


@contextmanager
def _looking(visitor: Visitor, agents: int) -> Iterator[list[float]]:
    """Somebody looks at the fleet's page all the time; -> how long each look took, ms."""
    looks: list[float] = []
    stopped = threading.Event()
    failed: list[BaseException] = []

    def look() -> None:
        try:
            while not stopped.wait(_LOOKS_S):
                looks.append(visitor.fleet_ms(agents))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=look, name="visitor", daemon=True)
    thread.start()
    try:
        yield looks
    finally:
        stopped.set()
        thread.join(60)
        visitor.close()
    if failed:
        raise RuntimeError(f"the console cannot be looked at: {failed[0]}") from failed[0]


def _cores(began: Use, ended: Use) -> float:
    return (ended.cpu_s - began.cpu_s) / max(1e-6, ended.at - began.at)


def _ms(seconds: list[float], share: float) -> float:
    return round(percentile(seconds, share) * 1_000, 1)


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
