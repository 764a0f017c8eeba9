"""The engine: looks, opens and closes alerts, and puts messages down. One process of a ledger does it at a time.

Every process of `serve` has one. Which of them works is settled by a lease in the ledger; another takes over when nothing
was heard of it for three rounds, at least `LEASE`. Sending is the business of `sender.py`, in threads of its own.
"""

from __future__ import annotations

import logging
import os
import socket
import uuid
from datetime import timedelta
from typing import Final

from forebay_collector.alerts.conditions import conditions
from forebay_collector.alerts.reading import Reading
from forebay_collector.alerts.settings import AlertSettings
from forebay_collector.alerts.stands import Stands
from forebay_collector.alerts.telling import Telling
from forebay_collector.alerts.watch import Watch
from forebay_collector.errors import CollectorError
from forebay_collector.ledger import Ledger, alerts, maintenance, notifications

LEASE: Final = timedelta(seconds=15)
_US: Final = timedelta(microseconds=1)
_log = logging.getLogger("forebay.alerts")


class Engine:
    """One process's. It listens since it was made; or since it looked again, when it did not for long: a machine that was
    suspended has not heard anybody either."""

    def __init__(self, ledger: Ledger, settings: AlertSettings) -> None:
        self._ledger = ledger
        self._settings = settings
        self._holder = f"{socket.gethostname()} {os.getpid()} {uuid.uuid4().hex[:8]}"
        self._lease = max(LEASE, 3 * settings.every)
        self._started = self._looked = ledger.database.clock()
        self._reading = Reading(ledger, settings.stalled, settings.identity)
        self._stands = Stands()
        self._watch = Watch(ledger, settings.clear)
        self._telling = Telling(settings)

    def step(self) -> bool:
        """One round. Trouble of the ledger is logged: the next round tries again."""
        try:
            if self.works():
                self.look()
        except CollectorError as error:
            _log.warning("alerts wait for the ledger code=%s reason=%s", error.code, error)
        return False

    def works(self) -> bool:
        """Whether it is this process that watches and notifies. Raises the ledger's errors."""
        return self._ledger.alerts.lease(self._holder, self._lease)

    def look(self) -> None:
        """Looks at everything once. Raises the ledger's errors."""
        now = self._ledger.database.clock()
        if now - self._looked > self._lease // _US:
            _log.info("the fleet was not looked at for %.0f s", (now - self._looked) / 1e6)
            self._started = now
        facts = self._reading.facts()
        self._looked = facts.at
        stands = self._stands.look(facts.agents, facts.at)
        self._watch.look(conditions(facts, self._settings, self._started, stands), facts.at)
        self._tell()

    def stop(self) -> None:
        """Another process may go on at once."""
        try:
            self._ledger.alerts.release(self._holder)
        except CollectorError as error:
            _log.warning("alerts are not handed over code=%s reason=%s", error.code, error)

    def _tell(self) -> None:
        """The messages and that they are made of these alerts are one transaction: a crash makes none twice, and loses none."""
        at = self._ledger.database.clock()
        self._ledger.notifications.drop(self._settings.channels, "the channel is not configured any more")
        with self._ledger.database.read() as connection:
            open_ones, over = alerts.open_now(connection), alerts.to_resolve(connection)
            windows = maintenance.not_over(connection, at)
        plan = self._telling.plan(open_ones, over, windows, at)
        if not plan:
            return
        with self._ledger.database.write() as connection:
            for one in plan.messages:
                numbers = [about.id for about in one.alerts]
                notifications.put(connection, one.channel, one.what, one.kind, numbers, at)
            alerts.told(connection, plan.told, at)
            alerts.resolved(connection, [one.id for one in plan.resolved])
        self._telling.made(plan, at)
