"""The agents of the made-up city: what each said of itself and of its streams, up to now or to when it fell silent."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from typing import Any

from forebay_collector.ledger import Ledger
from forebay_collector.ledger.agents import put_certificate
from forebay_collector.ledger.canaries import CanaryRecord
from forebay_collector.ledger.heartbeats import Beat, Hello, StreamSaid
from forebay_collector.ledger.history import HealthSample
from forebay_collector.ledger.places import Place
from tests.browser.city_data import AGENT, DAY, DEPARTMENTS, HOUR, MINUTE, NOW, SECOND, Clock, source_of

FATES = {4: "silent", 17: "held", 23: "paused", 31: "outbox", 38: "silent", 42: "clock", 47: "never"}
"""What is the matter with the agent of this number."""


class Agents:
    """Enrols every agent, and lets it say how it is."""

    def __init__(self, ledger: Ledger, clock: Clock, draw: random.Random) -> None:
        self.ledger = ledger
        self.clock = clock
        self.draw = draw
        self._agents()

    def _agents(self) -> None:
        number = 0
        for department, initials, agents, shared in DEPARTMENTS:
            for place in range(1, agents + 1):
                number += 1
                name = f"{initials}-{place:02d}"
                self.clock.now = NOW - 30 * DAY + number * MINUTE
                with self.ledger.database.write() as connection:
                    put_certificate(
                        connection,
                        name,
                        department,
                        f"{number:x}",
                        NOW + (368 if number % 11 else 9) * DAY,
                        self.clock.now,
                        hostname=f"qzj-{initials}-{place}",
                        version="0.1.0",
                    )
                self._beats(name, department, initials, shared if place == 1 else shared[:1], number)

    def _beats(self, agent: str, department: str, initials: str, tables: tuple[str, ...], number: int) -> None:
        """The agent's life up to now, or to when it fell silent."""
        fate = FATES.get(number)
        if fate == "never":
            return
        seen = NOW - (23 * MINUTE if fate == "silent" else self.draw.randrange(1, 14) * SECOND)
        place = Place(agent, f"i{number}", f"qzj-{agent}", "10.20.1.7")
        self.ledger.heartbeats.write([Hello(place, "0.1.0", 15_000, NOW - 3 * DAY - number * HOUR)])
        streams = {}
        for table in tables:
            name = f"{department}/{source_of(initials)}/{table}"
            streams[name] = self._said(name, fate if table == tables[0] else None, seen)
        outbox = {"batches": 3, "bytes": 380 << 10, "cap_bytes": 10 << 30, "disk_free_bytes": 61 << 30, "full": False}
        if fate == "outbox":
            outbox |= {"batches": 9_120, "bytes": 8 << 30}
        health = {
            "cpu_percent": 6.0 + number % 7,
            "load_1m": 0.3 + number % 5 / 10,
            "memory_total_bytes": 8 << 30,
            "memory_available_bytes": 5 << 30,
            "disk_total_bytes": 100 << 30,
            "disk_free_bytes": 61 << 30,
            "uptime_seconds": 1_900_000 + number * 1_000,
            "agent_rss_bytes": 88 << 20,
            "agent_cpu_seconds": 4_100.0,
            "outbox": outbox,
            "number": 17_000,
            "clock_offset_us": 41 * SECOND if fate == "clock" else -3_000 - number * 71,
            "configuration_hash": f"{number * 7919:032x}"[::-1],
            "configuration_refusal": "",
            "certificate_expires_at_us": NOW + 368 * DAY,
            "offer_revision": 2 if agent == AGENT else 0,
            "paused": fate == "paused",
        }
        canary = CanaryRecord(
            agent, initials, "row", seen - 41 * SECOND, seen - 39 * SECOND, 1_240_000 + number * 9_000, "", ""
        )
        samples = list(self._samples(agent, number)) if agent == AGENT else [None]
        beats = [
            Beat(agent, seen, json.dumps(health), streams, (), True, [canary], sample, None, False)
            for sample in samples
        ]
        self.ledger.heartbeats.write(beats)

    def _said(self, name: str, fate: str | None, seen: int) -> StreamSaid:
        said: dict[str, Any] = {
            "stream": name,
            "epoch": 1,
            "mode": "trigger" if "low_income" in name else "log",
            "guarantee": "Sees every committed change, deletes included, in the order of the commits.",
            "state": "streaming",
            "code": "",
            "reason": "",
            "remedy": "",
            "position": "0-1-4180221",
            "sealed_seq": 41,
            "durable_seq": 41,
            "loaded_seq": 41,
            "rows_captured": 184_220,
            "last_change_at_us": seen - 4 * SECOND,
            "last_poll_at_us": seen,
            "snapshot_done": 1.0,
            "log_hours_left": 61.0,
            "log_bytes_behind": 0,
            "paused": fate == "paused",
            "columns_waiting": ["photo_url"] if name.endswith("public.permit") else [],
        }
        if fate == "held":
            said |= {
                "state": "held",
                "code": "FB-TABLE-CHANGED",
                "reason": "column `area` is now TEXT, was DECIMAL(12,2)",
                "remedy": "Undo the change, or start the stream anew: `forebay-agent reset STREAM --reason …`.",
            }
        if name.endswith("public.birth"):
            said |= {"state": "snapshot", "snapshot_done": 0.63}
        return StreamSaid(said["code"], json.dumps(said, ensure_ascii=False))

    def _samples(self, agent: str, number: int) -> Iterator[HealthSample]:
        for minute in range(0, 24 * 60, 3):
            at = NOW - NOW % MINUTE - minute * MINUTE
            wave = math.sin(minute / 180) + 0.4 * math.sin(minute / 23)
            busy = 1.0 if 130 < minute < 190 else 0.0
            yield HealthSample(
                agent=agent,
                at=at,
                cpu_permille=int(90 + 40 * wave + 320 * busy + self.draw.randrange(30)),
                load_percent=40,
                memory_used_permille=int(360 + 25 * wave + self.draw.randrange(8)),
                disk_free=(61 << 30) + minute * (3 << 20),
                agent_rss=(84 << 20) + int(busy * (31 << 20)) + self.draw.randrange(3 << 20),
                outbox_batches=int(2 + busy * 300),
                outbox_bytes=int((300 << 10) + busy * (190 << 20)) + self.draw.randrange(200 << 10),
                clock_offset=-3_000,
                streams_troubled=0,
                round_trip=int(1_300_000 + 250_000 * wave + busy * 21_000_000),
            )
