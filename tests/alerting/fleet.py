"""A ledger whose agents say what a test wants, and the engine that watches it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import func, select

from forebay_collector.alerts.engine import Engine
from forebay_collector.alerts.settings import AlertSettings, WebhookSettings
from forebay_collector.ledger import Ledger, alerts
from forebay_collector.ledger.agents import put_certificate
from forebay_collector.ledger.alert_tables import notification_alert
from forebay_collector.ledger.alerts import AlertRecord
from forebay_collector.ledger.canaries import CanaryRecord
from forebay_collector.ledger.heartbeats import Beat, Hello, StreamSaid
from forebay_collector.ledger.notifications import SENT
from forebay_collector.ledger.places import Place
from forebay_wire.stream import StreamName

SECOND: Final = 1_000_000
HOUR: Final = 3_600 * SECOND
DAY: Final = 24 * HOUR
DEPARTMENT: Final = "市监局"
AGENT: Final = "scjg-01"
STREAM: Final = StreamName(DEPARTMENT, "djk", "public.enterprise")
ROUND: Final = timedelta(seconds=10)
SELDOM: Final = timedelta(seconds=25)
HALF_AN_HOUR: Final = timedelta(minutes=30)
HOOK: Final = AlertSettings(webhook=WebhookSettings(url="https://hook.example/x"))


class Clock:
    def __init__(self) -> None:
        self.now = 1_790_000_000 * SECOND

    def __call__(self) -> int:
        self.now += 1
        return self.now

    def passes(self, time: timedelta) -> None:
        self.now += time // timedelta(microseconds=1)


class Watched:
    """A ledger, its agents, and an engine. Agents beat in every round of `rounds` unless they are silent."""

    def __init__(self, ledger: Ledger, clock: Clock, settings: AlertSettings = HOOK) -> None:
        self.ledger = ledger
        self.clock = clock
        self.settings = settings
        self.engine = Engine(ledger, settings)
        self.silent: set[str] = set()
        self._agents: dict[str, dict[str, Any]] = {}

    def restart(self, settings: AlertSettings | None = None) -> None:
        """Another process goes on."""
        self.engine.stop()
        self.settings = settings or self.settings
        self.engine = Engine(self.ledger, self.settings)

    def enrol(self, *agents: str, department: str = DEPARTMENT, lasts_days: float = 300) -> None:
        """AGENT where none is named."""
        until = self.clock.now + int(lasts_days * DAY)
        for agent in agents or (AGENT,):
            with self.ledger.database.write() as connection:
                serial = f"{agent} {until}"
                put_certificate(connection, agent, department, serial, until, self.clock.now, hostname="h", version="0")
            self._agents[agent] = {"health": {}, "streams": {}, "canaries": []}
        here = [Hello(Place(agent, "i", "h", "10.0.0.5"), "1", 15_000, self.clock.now) for agent in agents or (AGENT,)]
        self.ledger.heartbeats.write(here)
        self._beat(*(agents or (AGENT,)))

    def say(
        self,
        agent: str = AGENT,
        *,
        health: Mapping[str, Any] | None = None,
        streams: Mapping[StreamName, Mapping[str, Any]] | None = None,
        canary: tuple[int, int] | None = None,
    ) -> None:
        """What the agent says from now on. canary: made and loaded at."""
        known = self._agents[agent]
        known["health"] |= health or {}
        for name, state in (streams or {}).items():
            known["streams"][str(name)] = {"stream": str(name), "state": "streaming", "code": "", **state}
        if canary is not None:
            known["canaries"] = [CanaryRecord(agent, "djk", "row", *canary, SECOND, "", "")]
        self._beat(agent)

    def rounds(self, lasts: timedelta) -> None:
        """Time passes; every ten to 25 seconds, of hours twenty times, each agent beats and the engine looks."""
        step = max(ROUND, lasts / 20 if lasts > HALF_AN_HOUR else min(lasts / 20, SELDOM))
        for _ in range(round(lasts / step)):
            self.clock.passes(step)
            self._beat(*(agent for agent in self._agents if agent not in self.silent))
            self.engine.look()

    def open(self) -> dict[tuple[str, str], AlertRecord]:
        with self.ledger.database.read() as connection:
            return {one.key: one for one in alerts.open_now(connection)}

    def kinds(self) -> set[str]:
        return {kind for kind, _ in self.open()}

    def told(self) -> list[tuple[str, str, int]]:
        """(what, kind, of how many alerts) of each message, in order; it counts as sent."""
        about = select(notification_alert.c.notification_id, func.count()).group_by(
            notification_alert.c.notification_id
        )
        with self.ledger.database.read() as connection:
            counts = {row[0]: row[1] for row in connection.execute(about)}
        notes = self.ledger.notifications.listing(limit=1_000)[::-1]
        for note in notes:
            self.ledger.notifications.end(note.id, SENT, "")
        return [(note.what, note.kind, counts[note.id]) for note in notes]

    def _beat(self, *agents: str) -> None:
        self.ledger.heartbeats.write([self._said(agent) for agent in agents])

    def _said(self, agent: str) -> Beat:
        known = self._agents[agent]
        said = {
            name: StreamSaid(state["code"], json.dumps(state, ensure_ascii=False))
            for name, state in known["streams"].items()
        }
        health = json.dumps(known["health"])
        return Beat(agent, self.clock.now, health, said, (), True, known["canaries"], None, None, False)
