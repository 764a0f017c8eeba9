"""How an agent and its streams stand: one colour word, and why. Pure: what is known and the time in, the view out.

    word     the agent                                          one of its streams
    green    beats, and everything goes on                      goes on
    yellow   needs a look: waits, late, outbox filling, clock,   waits with a reason, late, columns wait for approval,
             configuration or offer refused, certificate ends   log soon lost
    red      silent for 2 heartbeats, one of its streams held,  held, here or at the agent
             or its identity in two places
    grey     never seen, or paused                              paused, or not told of
    revoked  revoked

Of what applies the worst counts, in this order: revoked, never seen, red, paused, yellow, green; `why` tells all of it.
A stream's colour is that of its last report: what a silent agent said last is shown with it, and counts no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from forebay_collector.ledger import AgentRecord, StreamRecord
from forebay_collector.ledger.canaries import CanaryRecord
from forebay_collector.ledger.offers import FAILED, OfferRecord
from forebay_collector.load.backlog import Backlog
from forebay_collector.service.stream_standing import LATE_AFTER_US, SECOND_US, AgentStream, Colour, Why, stream_view
from forebay_wire.canary import is_canary_stream

HOUR_US: Final = 3_600 * SECOND_US
DAY_US: Final = 24 * HOUR_US
BEATS_MISSED: Final = 2
CLOCK_OFFSET_US: Final = 5 * SECOND_US
OUTBOX_SHARE: Final = 0.7
CERTIFICATE_US: Final = 14 * DAY_US
TWO_PLACES_US: Final = DAY_US
_DEFAULT_HEARTBEAT_MS: Final = 15_000
_MOST_STREAMS_TOLD: Final = 10


_SEVERITY: Final = {Colour.RED: 0, Colour.YELLOW: 1, Colour.GREY: 2, Colour.GREEN: 3, Colour.REVOKED: 4}


@dataclass(frozen=True, slots=True)
class CanaryView:
    """The last canary of a source. round_trip_us: of the last one that was loaded, 0: none was. late_s: how long the one
    that is under way is overdue."""

    source: str
    kind: str
    made_at: int
    loaded_at: int
    round_trip_us: int
    late_s: float
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class AgentFacts:
    """All that the ledger knows of one agent. streams: what it said last; records: what was received of its streams."""

    record: AgentRecord
    streams: Sequence[Mapping[str, Any]] = ()
    records: Mapping[str, StreamRecord] = field(default_factory=dict)
    backlogs: Mapping[int, Backlog] = field(default_factory=dict)
    canaries: Sequence[CanaryRecord] = ()
    offer: OfferRecord | None = None


@dataclass(frozen=True, slots=True)
class AgentView:
    """One agent. state: the colour word. Times in microseconds, 0: none. health, outbox: as the agent said, by name.

    connected_since: of the connection that is open, 0: none is. offer: the newest that was made to it. offer_revision:
    the one in force, as the agent says.
    """

    name: str
    department: str
    state: Colour
    why: tuple[Why, ...]
    last_seen_at: int
    connected_since: int
    version: str
    hostname: str
    health: Mapping[str, Any]
    outbox: Mapping[str, Any]
    streams: tuple[AgentStream, ...]
    canaries: tuple[CanaryView, ...]
    offer: OfferRecord | None
    offer_revision: int
    paused: bool
    configuration_hash: str
    configuration_refusal: str
    certificate_expires_at: int
    clock_offset_us: int
    heartbeat_ms: int
    enrolled_at: int
    revoked_at: int

    @property
    def trouble(self) -> int:
        """To sort by: the smaller, the sooner to look at."""
        return _SEVERITY[self.state]


def agent_view(facts: AgentFacts, now_us: int) -> AgentView:
    record, health = facts.record, facts.record.health
    streams = tuple(_streams(facts, now_us))
    canaries = tuple(_canary(one, now_us) for one in facts.canaries)
    silent_us = now_us - record.last_seen_at
    interval_us = (record.heartbeat_ms or _DEFAULT_HEARTBEAT_MS) * 1_000
    silent = silent_us > BEATS_MISSED * interval_us
    paused = bool(health.get("paused"))
    red = [*_red(record, silent_us if silent else None, now_us), *_told(streams, Colour.RED)]
    yellow = list(_yellow(facts, canaries, now_us)) + list(_told(streams, Colour.YELLOW))
    grey = [Why("FB-AGENT-PAUSED", "the agent is paused: it captures nothing", "Resume it when it shall go on.")]
    state, why = Colour.GREEN, [*red, *(grey if paused else []), *yellow]
    if record.revoked_at:
        state, why = Colour.REVOKED, [_REVOKED]
    elif not record.last_seen_at:
        state, why = Colour.GREY, [_NEVER_SEEN]
    elif red:
        state = Colour.RED
    elif paused:
        state = Colour.GREY
    elif yellow:
        state = Colour.YELLOW
    return AgentView(
        name=record.name,
        department=record.department,
        state=state,
        why=tuple(why),
        last_seen_at=record.last_seen_at,
        connected_since=0 if silent or record.revoked_at else record.connected_since,
        version=record.version,
        hostname=record.hostname,
        health={name: value for name, value in health.items() if name not in _NOT_HEALTH},
        outbox=health.get("outbox") or {},
        streams=streams,
        canaries=canaries,
        offer=facts.offer,
        offer_revision=int(health.get("offer_revision", 0)),
        paused=paused,
        configuration_hash=str(health.get("configuration_hash", "")),
        configuration_refusal=str(health.get("configuration_refusal", "")),
        certificate_expires_at=record.expires_at,
        clock_offset_us=int(health.get("clock_offset_us", 0)),
        heartbeat_ms=record.heartbeat_ms,
        enrolled_at=record.enrolled_at,
        revoked_at=record.revoked_at,
    )


_NOT_HEALTH: Final = frozenset(
    {
        "outbox",
        "number",
        "offer",
        "offer_revision",
        "paused",
        "configuration_hash",
        "configuration_refusal",
        "renewal_refusal",
        "certificate_expires_at_us",
        "clock_offset_us",
    }
)
_REVOKED: Final = Why("FB-AGENT-REVOKED", "its certificate is refused", "Enrol it with a new token to let it in again.")
_NEVER_SEEN: Final = Why(
    "FB-AGENT-NEW", "it has enrolled and never came in", "Start forebay-agent on the appliance, and see `status` there."
)


def _red(record: AgentRecord, silent_us: int | None, now_us: int) -> Iterator[Why]:
    if silent_us is not None:
        yield Why(
            "FB-AGENT-SILENT",
            f"no heartbeat for {silent_us // SECOND_US} s",
            "See on the appliance that forebay-agent runs and reaches the collector (`forebay-agent check`).",
        )
    if record.two_places_at > max(record.enrolled_at, now_us - TWO_PLACES_US):
        yield Why(
            "FB-IDENTITY-TWO-PLACES",
            "its certificate is used in two places at once",
            "Find the second one; if nobody can name it, revoke the agent and enrol it with a new token.",
        )


def _yellow(facts: AgentFacts, canaries: Iterable[CanaryView], now_us: int) -> Iterator[Why]:
    record, health = facts.record, facts.record.health
    if refusal := str(health.get("configuration_refusal", "")):
        yield Why(
            "FB-CONFIG-REFUSED", refusal, "Correct the file at the agent; until then the last good one is in force."
        )
    if facts.offer is not None and facts.offer.state == FAILED:
        yield Why(
            "FB-OFFER-FAILED",
            f"offer {facts.offer.revision} is refused: {facts.offer.reason}",
            "Offer what only tunes or tightens; until then the last good one is in force.",
        )
    yield from _outbox(health.get("outbox") or {})
    offset_us = int(health.get("clock_offset_us", 0))
    if abs(offset_us) > CLOCK_OFFSET_US:
        way = "ahead" if offset_us > 0 else "behind"
        yield Why(
            "FB-CLOCK", f"its clock is {abs(offset_us) / SECOND_US:.0f} s {way}", "Set up time synchronisation there."
        )
    left_us = record.expires_at - now_us
    if left_us < CERTIFICATE_US:
        told = f"ends in {left_us / DAY_US:.1f} days" if left_us > 0 else "has ended"
        yield Why("FB-CERTIFICATE-ENDS", f"its certificate {told}", "Renew it: command rotate, or enrol it again.")
    if refusal := str(health.get("renewal_refusal", "")):
        yield Why(
            "FB-CERTIFICATE-RENEWAL", f"its certificate is not renewed: {refusal}", "Act on the reason; it tries again."
        )
    for canary in canaries:
        if canary.code:
            yield Why(canary.code, f"canary of {canary.source}: {canary.reason}", "Permit it at the source.")
        elif canary.late_s:
            yield Why(
                "FB-CANARY-LATE",
                f"the canary of {canary.source} is not back after {canary.late_s:.0f} s",
                "Look at the source's streams: what is captured there does not reach the platform.",
            )


def _outbox(outbox: Mapping[str, Any]) -> Iterator[Why]:
    remedy = "See why the collector does not take what it sends, or give the outbox more room."
    cap, used = int(outbox.get("cap_bytes", 0)), int(outbox.get("bytes", 0))
    if outbox.get("full"):
        yield Why("FB-OUTBOX-FULL", "its outbox is full: capture waits", remedy)
    elif cap and used > cap * OUTBOX_SHARE:
        yield Why("FB-OUTBOX-FILLING", f"its outbox is filled to {used / cap:.0%}", remedy)


def _told(streams: Iterable[AgentStream], colour: Colour) -> Iterator[Why]:
    """The streams of this colour, the first of them one by one."""
    ours = [stream for stream in streams if stream.colour is colour]
    if not ours:
        return
    for stream in ours[:_MOST_STREAMS_TOLD]:
        yield Why(stream.code, f"{stream.name}: {stream.reason}", stream.remedy)
    if len(ours) > _MOST_STREAMS_TOLD:
        last = ours[_MOST_STREAMS_TOLD]
        yield Why(last.code, f"and {len(ours) - _MOST_STREAMS_TOLD} more streams", "See its streams.")


def _canary(record: CanaryRecord, now_us: int) -> CanaryView:
    waits_us = now_us - record.made_at if record.made_at > record.loaded_at else 0
    return CanaryView(
        source=record.source,
        kind=record.kind,
        made_at=record.made_at,
        loaded_at=record.loaded_at,
        round_trip_us=record.round_trip,
        late_s=waits_us / SECOND_US if waits_us > LATE_AFTER_US else 0.0,
        code=record.code,
        reason=record.reason,
    )


def _streams(facts: AgentFacts, now_us: int) -> Iterator[AgentStream]:
    """Those that the agent told of, and then those that only the ledger knows. Canaries' streams only where they are held:
    how they are stands with the canaries."""
    seen = set()
    for said in facts.streams:
        name = str(said.get("stream", ""))
        seen.add(name)
        yield stream_view(name, said, facts.records.get(name), facts.backlogs, now_us)
    for name, record in facts.records.items():
        if name not in seen and not (is_canary_stream(record.name) and record.hold is None):
            yield stream_view(name, {}, record, facts.backlogs, now_us)
