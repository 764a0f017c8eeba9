"""Alerts within a process: its engine and a sender for each channel, as steps that threads of their own repeat."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from forebay_collector.alerts.engine import Engine
from forebay_collector.alerts.sender import Sender
from forebay_collector.ledger import Ledger
from forebay_collector.settings import Settings

SEND_EVERY_S: Final = 3.0
"""A robot takes 20 messages a minute."""


class AlertHost:
    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._every_s = settings.alerts.every.total_seconds()
        self._engine = Engine(ledger, settings.alerts)
        self._senders = [
            Sender(ledger, name, settings.alerts, settings.folder, self._engine.works)
            for name in settings.alerts.channels
        ]

    def steps(self) -> Iterator[tuple[str, float, Callable[[], bool]]]:
        """(name, every how many seconds, step) of each thread."""
        yield "alerts", self._every_s, self._engine.step
        for sender in self._senders:
            yield f"notify {sender.name}", SEND_EVERY_S, sender.step

    def stop(self) -> None:
        """When no step runs any more: closes the channels, and lets another process go on."""
        for sender in self._senders:
            sender.close()
        self._engine.stop()
