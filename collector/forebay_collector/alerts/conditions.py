"""Conditions: what is the matter, found from what was read. Pure: facts and settings in, findings out.

What an agent said last counts only while it beats. Of one that is silent, or was not heard since the collector started,
nothing is known: neither that something is the matter nor that it is over (`Found.unknown`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from forebay_collector.alerts import kinds
from forebay_collector.alerts.agents_now import AgentNow
from forebay_collector.alerts.kinds import Kind, Severity
from forebay_collector.alerts.reading import Facts
from forebay_collector.alerts.settings import AlertSettings
from forebay_collector.ledger.alerts import Condition
from forebay_collector.service.standing import BEATS_MISSED
from forebay_wire.stream import StreamName

TOLD_BY_AGENTS: Final = frozenset(
    kind.name
    for kind in (
        kinds.AGENT_SILENT,
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
    for agent in facts.agents:
        if agent.revoked_at or not agent.last_seen_at:
            continue
        found += _certificate(agent, facts.at, settings)
        if _silent(agent, facts.at, settings, started):
            found.append(_of(kinds.AGENT_SILENT, agent, agent.name, since=agent.last_seen_at))
            unknown.add(agent.name)
        elif agent.last_seen_at < started:
            unknown.add(agent.name)
        else:
            found += _told(agent, facts.at, settings, started)
    found += _of_the_ledger(facts, settings)
    beats = {agent.name: agent for agent in facts.agents if agent.name not in unknown and not agent.paused}
    for (name, source), since in stands.items():
        if name in beats and facts.at - since > settings.stalled // _US:
            found.append(_of(kinds.POSITION_STALLED, beats[name], source, case="stands", since=since))
    return Found({one.condition.key: one for one in found}, frozenset(unknown))


def _silent(agent: AgentNow, at: int, settings: AlertSettings, started: int) -> bool:
    """A collector that was away itself has not heard anybody: it waits as long as it would from now on."""
    patience = max(settings.silent // _US, BEATS_MISSED * (agent.heartbeat_ms or _DEFAULT_HEARTBEAT_MS) * 1_000)
    return at - max(agent.last_seen_at, started) > patience


def _certificate(agent: AgentNow, at: int, settings: AlertSettings) -> Iterator[Finding]:
    left = agent.expires_at - at
    if left < settings.certificate // _US:
        severity = Severity.CRITICAL if left < _LAST_DAYS_US else Severity.WARNING
        case = "over" if left <= 0 else ""
        yield _of(kinds.CERTIFICATE_EXPIRING, agent, agent.name, severity=severity, case=case, until=agent.expires_at)


def _told(agent: AgentNow, at: int, settings: AlertSettings, started: int) -> Iterator[Finding]:
    cap, used = int(agent.outbox.get("cap_bytes", 0)), int(agent.outbox.get("bytes", 0))
    percent = used * 100 // cap if cap else 0
    if agent.outbox.get("full"):
        yield _of(kinds.OUTBOX_FILLING, agent, agent.name, severity=Severity.CRITICAL, case="full", percent=percent)
    elif percent >= settings.outbox_percent:
        yield _of(kinds.OUTBOX_FILLING, agent, agent.name, percent=percent)
    if abs(agent.clock_offset_us) > settings.clock // _US:
        yield _of(kinds.CLOCK_OFFSET, agent, agent.name, seconds=round(abs(agent.clock_offset_us) / 1e6, 1))
    if agent.paused:
        return
    for source, (made_at, _) in agent.canaries.items():
        # when it was made is said by the agent's clock
        made = max(made_at - agent.clock_offset_us, started)
        if at - made > settings.canary // _US:
            yield _of(kinds.CANARY_LATE, agent, f"{agent.department}/{source}", since=made_at)
    yield from _streams(agent, settings)


def _streams(agent: AgentNow, settings: AlertSettings) -> Iterator[Finding]:
    hours: dict[str, float] = {}
    for stream in agent.streams:
        if stream.hours_left is not None:
            hours[stream.source] = min(hours.get(stream.source, stream.hours_left), stream.hours_left)
        if stream.paused:
            continue
        said = f"{stream.reason} ({stream.code})"
        if stream.state == "held":
            yield _of(
                kinds.POSITION_STALLED, agent, stream.name, severity=Severity.CRITICAL, holds=_HELD_FOR, said=said
            )
        elif stream.code not in _NOT_STALLED:
            yield _of(kinds.POSITION_STALLED, agent, stream.name, holds=settings.stalled, said=said)
    for source, left in hours.items():
        if left < settings.log_hours:
            severity = Severity.CRITICAL if left * 4 < settings.log_hours else Severity.WARNING
            yield _of(kinds.LOG_LOSS_NEAR, agent, source, severity=severity, hours=round(left, 1))


def _of_the_ledger(facts: Facts, settings: AlertSettings) -> Iterator[Finding]:
    for record in facts.held:
        hold = record.hold
        if hold is not None:
            detail = {"epoch": hold.epoch, "seq": hold.seq, "said": hold.reason, "trouble": hold.code}
            yield _stream(kinds.QUARANTINE_NOT_EMPTY, record.name, record.agent, detail)
    for late in facts.late:
        detail = {"case": "late", "since": late.since}
        yield _stream(kinds.POSITION_STALLED, late.stream, late.agent, detail, _HELD_FOR)
    for cycle in facts.cycles:
        if (facts.at - cycle.since) * 100 > cycle.lasts_us * settings.overdue_percent:
            detail = {"cycle": cycle.label, "since": cycle.since}
            yield _stream(kinds.UPDATE_OVERDUE, cycle.stream, cycle.agent, detail, _OVERDUE_FOR)
    for one in facts.differences:
        detail = {"verification": one.verification, **one.found}
        yield _stream(kinds.VERIFY_DIFFERS, one.stream, one.agent, detail)
    yield from _identity(facts)


def _identity(facts: Facts) -> Iterator[Finding]:
    known = {agent.name for agent in facts.agents}
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
    agent: AgentNow,
    subject: str,
    *,
    severity: Severity | None = None,
    holds: timedelta | None = None,
    **detail: Any,
) -> Finding:
    told = {name: value for name, value in detail.items() if value != ""}
    condition = Condition(kind.name, subject, agent.department, agent.name, severity or kind.severity, kind.code, told)
    return Finding(condition, kind.holds if holds is None else holds)


def _stream(
    kind: Kind, stream: StreamName, agent: str, detail: Mapping[str, Any], holds: timedelta | None = None
) -> Finding:
    condition = Condition(kind.name, str(stream), stream.department, agent, kind.severity, kind.code, detail)
    return Finding(condition, kind.holds if holds is None else holds)
