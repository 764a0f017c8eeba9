"""Telling: which messages the alerts make, and to whom. Pure.

    opened     once, when it was open for `group`: what opened within that time goes into the same message of its kind
    worse      once, when what was told as a warning is critical
    reminder   every `remind`, of what is still open and nobody acknowledged
    resolved   once, of what was told

One message for a kind and a channel, however many alerts it is about, and not more often than once in `group`. What a
maintenance window covers is told when the window has ended, if it is still worth it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from forebay_collector.alerts.kinds import Severity
from forebay_collector.alerts.settings import AlertSettings, ChannelSettings
from forebay_collector.ledger.alerts import AlertRecord
from forebay_collector.ledger.maintenance import WindowRecord
from forebay_collector.ledger.notifications import OPENED, REMINDER, RESOLVED, WORSE

_US: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Message:
    """To be sent to a channel: what became of these alerts, all of one kind."""

    channel: str
    what: str
    kind: str
    alerts: tuple[AlertRecord, ...]


@dataclass(slots=True)
class Plan:
    """messages: to be put down. told, resolved: the alerts that this settles, also those that no channel wants."""

    messages: list[Message] = field(default_factory=list)
    told: list[AlertRecord] = field(default_factory=list)
    resolved: list[AlertRecord] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.told or self.resolved)


class Telling:
    """Decides. Remembers when it last made a message of each kind."""

    def __init__(self, settings: AlertSettings) -> None:
        self._channels = settings.channels
        self._group_us = settings.group // _US
        self._remind_us = settings.remind // _US
        self._last: dict[tuple[str, str], int] = {}

    def plan(
        self, open_ones: Sequence[AlertRecord], over: Sequence[AlertRecord], windows: Sequence[WindowRecord], at: int
    ) -> Plan:
        """over: those that were told of and whose end was not. windows: that are not over. at: microseconds."""
        plan = Plan()
        if not self._channels:
            return plan

        def heard(one: AlertRecord) -> bool:
            return not any(window.covers(one.department, one.agent, at) for window in windows)

        audible = [one for one in open_ones if heard(one)]
        for kind, ones in _by_kind(one for one in audible if not one.told_severity).items():
            if self._due(OPENED, kind, min(one.opened_at for one in ones), at):
                self._tell(plan, OPENED, kind, ones)
        for kind, ones in _by_kind(one for one in audible if _is_worse(one)).items():
            if self._due(WORSE, kind, min(one.told_at for one in ones), at):
                self._tell(plan, WORSE, kind, ones)
        if self._remind_us:
            unknown = [one for one in audible if one.told_severity and not _is_worse(one) and not one.acknowledged_at]
            for kind, ones in _by_kind(unknown).items():
                # those that will soon be due are told along: one message in so long, not one for each
                soon = [one for one in ones if at - one.told_at >= self._remind_us // 2]
                if any(at - one.told_at >= self._remind_us for one in soon):
                    self._tell(plan, REMINDER, kind, soon)
        for kind, ones in _by_kind(one for one in over if heard(one)).items():
            if self._due(RESOLVED, kind, min(one.closed_at for one in ones), at):
                self._send(plan, RESOLVED, kind, ones)
                plan.resolved += ones
        return plan

    def made(self, plan: Plan, at: int) -> None:
        """The plan was put down."""
        for message in plan.messages:
            self._last[message.what, message.kind] = at

    def _due(self, what: str, kind: str, waits_since: int, at: int) -> bool:
        return at - max(waits_since, self._last.get((what, kind), 0)) >= self._group_us

    def _tell(self, plan: Plan, what: str, kind: str, ones: list[AlertRecord]) -> None:
        self._send(plan, what, kind, ones)
        plan.told += ones

    def _send(self, plan: Plan, what: str, kind: str, ones: list[AlertRecord]) -> None:
        for name, channel in self._channels.items():
            wanted = tuple(one for one in ones if _wants(channel, one))
            if wanted:
                plan.messages.append(Message(name, what, kind, wanted))


def _is_worse(one: AlertRecord) -> bool:
    return one.told_severity == Severity.WARNING and one.severity == Severity.CRITICAL


def _wants(channel: ChannelSettings, one: AlertRecord) -> bool:
    severe = channel.least != Severity.CRITICAL or one.severity == Severity.CRITICAL
    return severe and (not channel.departments or one.department in channel.departments)


def _by_kind(ones: Iterable[AlertRecord]) -> Mapping[str, list[AlertRecord]]:
    found: dict[str, list[AlertRecord]] = {}
    for one in ones:
        found.setdefault(one.kind, []).append(one)
    return found
