"""Three `kill -9` of the agent at seeded moments of a running load: one in the snapshot, one in streaming, one anywhere."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable

from forebay_collector.demo.processes import DemoFailed
from tests.workloads.site import Site

PATIENCE_SECONDS = 120
STRIKES = 3


def play(site: Site, draw: random.Random, seconds: float, running: Callable[[], None]) -> Counter[str]:
    """Kills and starts the agent again, for about `seconds`. running: raises when the load broke.

    -> how often it died while a snapshot was under way, and while all streams followed the log, by what the outbox held.
    """
    struck: Counter[str] = Counter()
    began = time.monotonic()
    for number, wanted in enumerate(("snapshot", "streaming", "")):
        if number:  # a snapshot may be short: it is met as soon as it has begun
            _pause(began + seconds * draw.uniform(number, number + 0.8) / (STRIKES + 0.5), site, running)
        _strike(site, draw, wanted, struck, running)
    if not (struck["snapshot"] and struck["streaming"]):
        raise DemoFailed(f"the kills did not meet what they should: {dict(struck)}")
    return struck


def _pause(until: float, site: Site, running: Callable[[], None]) -> None:
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.1))
        site.check()
        running()


def _strike(site: Site, draw: random.Random, wanted: str, struck: Counter[str], running: Callable[[], None]) -> None:
    """Waits until the outbox says `wanted`, kills, and waits some time before the new start."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while wanted and phase(site) != wanted:
        if time.monotonic() > deadline:
            raise DemoFailed(f"the agent is not in phase {wanted} after {PATIENCE_SECONDS} s: {site.summary()}")
        _pause(time.monotonic() + 0.02, site, running)
    wait, dead = draw.uniform(0, 0.4), draw.choice((0.0, 0.3, 1.5))
    time.sleep(wait)
    site.check()
    site.agent.kill()
    met = phase(site)
    struck[met] += 1
    print(f"  kill -9 of the agent in {met}, back after {dead:.1f} s", flush=True)
    time.sleep(dead)
    site.agent.start()


def phase(site: Site) -> str:
    """snapshot: some table's copy has begun and some is not whole; streaming: all follow the log; else start."""
    phases = [site.phases().get(table, "start") for table in site.tables]
    if all(each not in ("start", "snapshot") for each in phases):
        return "streaming"
    return "snapshot" if any(each != "start" for each in phases) else "start"
