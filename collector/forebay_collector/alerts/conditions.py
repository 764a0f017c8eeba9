"""Conditions: what is the matter, found from what was read. Pure: facts and settings in, findings out.

What an agent said last counts only while it beats. Of one that is silent, or was not heard since the collector started,
nothing is known: neither that something is the matter nor that it is over (`Found.unknown`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from forebay_collector.alerts import kinds
from forebay_collector.alerts.kinds import Kind, Severity
from forebay_collector.alerts.reading import Facts
from forebay_collector.alerts.settings import AlertSettings
from forebay_collector.ledger.alerts import Condition
from forebay_collector.service.fleet import AgentView
from forebay_collector.service.standing import BEATS_MISSED
from forebay_wire.stream import StreamName

TOLD_BY_AGENTS: Final = frozenset(
    kind.name
    for kind in (
        kinds.POSITION_STALLED,
        kinds.OUTBOX_FILLING,
        kinds.LOG_LOSS_NEAR,
        kinds.CLOCK_OFFSET,
        kinds.CANARY_LATE,
    )
)
"""Kinds that only the agent itself can say are over."""
_NOT_STALLED: Final = frozenset(
    # waits for people here, is paused on purpose, or is another kind
    {"", "FB-NOT-APPROVED", "FB-PAUSED", "FB-COLUMNS-WAIT", "FB-LOG-HOURS", "FB-STREAM-LATE", "FB-OUTBOX-FULL"}
)
_PROBES: Final = 3
"""So many connections without a call are more than a probe."""
_US: Final = timedelta(microseconds=1)
_HOUR_US: Final = 3_600_000_000
_LAST_DAYS_US: Final = 3 * 24 * _HOUR_US
_HELD_FOR: Final = timedelta(minutes=1)
_OVERDUE_FOR: Final = timedelta(minutes=10)
_DEFAULT_HEARTBEAT_MS: Final = 15_000


@dataclass(frozen=True, slots=True)
class Finding:
    """A condition, and how long without a break it must be so before an alert opens."""

    condition: Condition
    holds: timedelta


@dataclass(frozen=True, slots=True)
class Found:
    """findings by kind and subject. unknown: the agents of which nothing is known now."""

    findings: Mapping[tuple[str, str], Finding]
    unknown: frozenset[str]


def conditions(facts: Facts, settings: AlertSettings, started: int, stands: Mapping[tuple[str, str], int]) -> Found:
    """started: since when this collector listens, microseconds. stands: since when the log of an agent's source goes on
    while its position does not (`stands.py`)."""
    found: list[Finding] = []
    unknown = set()
    for view in facts.agents:
        if view.revoked_at or not view.last_seen_at:
            continue
        found += _certificate(view, facts.at, settings)
        if _silent(view, facts.at, settings, started):
            found.append(_of(kinds.AGENT_SILENT, view, view.name, since=view.last_seen_at))
            unknown.add(view.name)
        elif view.last_seen_at < started:
            unknown.add(view.name)
        else:
            found += _told(view, facts.at, settings, started, stands)
    found += _of_the_ledger(facts, settings)
    return Found({one.condition.key: one for one in found}, frozenset(unknown))


def _silent(view: AgentView, at: int, settings: AlertSettings, started: int) -> bool:
    """A collector that was away itself has not heard anybody: it waits as long as it would from now on."""
    patience = max(settings.silent // _US, BEATS_MISSED * (view.heartbeat_ms or _DEFAULT_HEARTBEAT_MS) * 1_000)
    return at - max(view.last_seen_at, started) > patience


def _certificate(view: AgentView, at: int, settings: AlertSettings) -> Iterator[Finding]:
    left = view.certificate_expires_at - at
    if left < settings.certificate // _US:
        severity = Severity.CRITICAL if left < _LAST_DAYS_US else Severity.WARNING
        case = "over" if left <= 0 else ""
        until = view.certificate_expires_at
        yield _of(kinds.CERTIFICATE_EXPIRING, view, view.name, severity=severity, case=case, until=until)


def _told(
    view: AgentView, at: int, settings: AlertSettings, started: int, stands: Mapping[tuple[str, str], int]
) -> Iterator[Finding]:
    cap, used = int(view.outbox.get("cap_bytes", 0)), int(view.outbox.get("bytes", 0))
    percent = used * 100 // cap if cap else 0
    if view.outbox.get("full"):
        yield _of(kinds.OUTBOX_FILLING, view, view.name, severity=Severity.CRITICAL, case="full", percent=percent)
    elif percent >= settings.outbox_percent:
        yield _of(kinds.OUTBOX_FILLING, view, view.name, percent=percent)
    if abs(view.clock_offset_us) > settings.clock // _US:
        yield _of(kinds.CLOCK_OFFSET, view, view.name, seconds=round(abs(view.clock_offset_us) / 1e6, 1))
    if view.paused:
        return
    for canary in view.canaries:
        # when it was made is said by the agent's clock
        made = max(canary.made_at - view.clock_offset_us, started)
        if canary.made_at > canary.loaded_at and at - made > settings.canary // _US:
            yield _of(kinds.CANARY_LATE, view, f"{view.department}/{canary.source}", since=canary.made_at)
    yield from _streams(view, at, settings, stands)


def _streams(
    view: AgentView, at: int, settings: AlertSettings, stands: Mapping[tuple[str, str], int]
) -> Iterator[Finding]:
    stalled_us = settings.stalled // _US
    hours: dict[str, float] = {}
    for stream in view.streams:
        source = stream.name.rpartition("/")[0]
        if stream.log_hours_left is not None:
            hours[source] = min(hours.get(source, stream.log_hours_left), stream.log_hours_left)
        if stream.state == "held at agent":
            said = f"{stream.reason} ({stream.code})"
            yield _of(
                kinds.POSITION_STALLED,
                view,
                stream.name,
                severity=Severity.CRITICAL,
                holds=_HELD_FOR,
                said=said,
                trouble=stream.code,
            )
        elif stream.state == "held":
            continue
        elif stream.lag_s * 1e6 > stalled_us:
            since = at - round(stream.lag_s) * 1_000_000
            yield _of(
                kinds.POSITION_STALLED, view, stream.name, holds=_HELD_FOR, case="late", since=since - since % 1_000_000
            )
        elif stream.state != "paused" and stream.code not in _NOT_STALLED:
            said = f"{stream.reason} ({stream.code})"
            yield _of(kinds.POSITION_STALLED, view, stream.name, holds=settings.stalled, said=said, trouble=stream.code)
    for source, left in hours.items():
        if left < settings.log_hours:
            severity = Severity.CRITICAL if left * 4 < settings.log_hours else Severity.WARNING
            yield _of(kinds.LOG_LOSS_NEAR, view, source, severity=severity, hours=round(left, 1))
    for (agent, source), since in stands.items():
        if agent == view.name and at - since > stalled_us:
            yield _of(kinds.POSITION_STALLED, view, source, case="stands", since=since)


def _of_the_ledger(facts: Facts, settings: AlertSettings) -> Iterator[Finding]:
    for record in facts.held:
        hold = record.hold
        if hold is not None:
            detail = {"epoch": hold.epoch, "seq": hold.seq, "said": hold.reason, "trouble": hold.code}
            yield _stream(kinds.QUARANTINE_NOT_EMPTY, record.name, record.agent, detail)
    for cycle in facts.cycles:
        if (facts.at - cycle.since) * 100 > cycle.lasts_us * settings.overdue_percent:
            detail = {"cycle": cycle.label, "since": cycle.since}
            yield _stream(kinds.UPDATE_OVERDUE, cycle.stream, cycle.agent, detail, _OVERDUE_FOR)
    for one in facts.differences:
        detail = {"verification": one.verification, **one.found}
        yield _stream(kinds.VERIFY_DIFFERS, one.stream, one.agent, detail)
    yield from _identity(facts)


def _identity(facts: Facts) -> Iterator[Finding]:
    known = {view.name for view in facts.agents}
    for one in facts.incidents:
        kind = kinds.IDENTITY[one.action]
        if kind is kinds.NO_CALL and one.times < _PROBES:
            continue
        agent = one.subject if one.subject in known else ""
        detail = {"peer": one.peer or "–", "since": one.at, "said": one.said, "count": one.times}
        condition = Condition(kind.name, one.subject, one.department, agent, kind.severity, kind.code, detail)
        yield Finding(condition, kind.holds)


def _of(
    kind: Kind,
    view: AgentView,
    subject: str,
    *,
    severity: Severity | None = None,
    holds: timedelta | None = None,
    **detail: Any,
) -> Finding:
    told = {name: value for name, value in detail.items() if value != ""}
    condition = Condition(kind.name, subject, view.department, view.name, severity or kind.severity, kind.code, told)
    return Finding(condition, kind.holds if holds is None else holds)


def _stream(
    kind: Kind, stream: StreamName, agent: str, detail: Mapping[str, Any], holds: timedelta | None = None
) -> Finding:
    condition = Condition(kind.name, str(stream), stream.department, agent, kind.severity, kind.code, detail)
    return Finding(condition, kind.holds if holds is None else holds)


def sources(views: Iterable[AgentView]) -> Iterator[tuple[str, str, int, tuple[str, ...]]]:
    """(agent, source, bytes of its log that are not captured, the positions of its streams) of each that reads a log."""
    for view in views:
        logs: dict[str, tuple[int, list[str]]] = {}
        for stream in view.streams:
            if stream.mode == "log" and stream.state not in ("paused", "held at agent"):
                behind, positions = logs.setdefault(stream.name.rpartition("/")[0], (0, []))
                positions.append(f"{stream.position} {stream.epoch}/{stream.sealed_seq}")
                logs[stream.name.rpartition("/")[0]] = (max(behind, stream.log_bytes_behind), positions)
        for source, (behind, positions) in logs.items():
            yield view.name, source, behind, tuple(positions)
