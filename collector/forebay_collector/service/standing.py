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
from enum import StrEnum
from typing import Any, Final, NamedTuple

from forebay_collector.ledger import AgentRecord, StreamRecord
from forebay_collector.ledger.canaries import CanaryRecord
from forebay_collector.ledger.offers import FAILED, OfferRecord
from forebay_collector.load.backlog import Backlog
from forebay_collector.load.policy import remedy_of_hold
from forebay_wire.canary import is_canary_stream

SECOND_US: Final = 1_000_000
HOUR_US: Final = 3_600 * SECOND_US
DAY_US: Final = 24 * HOUR_US
BEATS_MISSED: Final = 2
LATE_AFTER_US: Final = 300 * SECOND_US
CLOCK_OFFSET_US: Final = 5 * SECOND_US
LOG_HOURS: Final = 24.0
OUTBOX_SHARE: Final = 0.7
CERTIFICATE_US: Final = 14 * DAY_US
TWO_PLACES_US: Final = DAY_US
_DEFAULT_HEARTBEAT_MS: Final = 15_000
_MOST_STREAMS_TOLD: Final = 10


class Colour(StrEnum):
    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"
    GREY = "grey"
    REVOKED = "revoked"


_SEVERITY: Final = {Colour.RED: 0, Colour.YELLOW: 1, Colour.GREY: 2, Colour.GREEN: 3, Colour.REVOKED: 4}


class Why(NamedTuple):
    """A code that never changes, what is the matter, and what to do about it."""

    code: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class AgentStream:
    """One stream as its agent last told and as it stands here. Times in microseconds, 0: none; marks are (epoch, seq).

    colour: green, yellow, red or grey. state: held, held at agent, paused, late, loading, or what the agent says
    (starting, snapshot, streaming, waiting). lag_s: age of the oldest change that is received and not loaded.
    """

    name: str
    colour: Colour
    state: str
    code: str
    reason: str
    remedy: str
    mode: str
    guarantee: str
    position: str
    epoch: int
    sealed_seq: int
    durable: tuple[int, int]
    loaded: tuple[int, int]
    behind: int
    lag_s: float
    rows_captured: int
    last_change_at: int
    last_poll_at: int
    snapshot_done: float
    log_hours_left: float | None
    log_bytes_behind: int
    columns_waiting: tuple[str, ...]

    @property
    def outbox_batches(self) -> int:
        """Batches that are sealed and not durable."""
        return max(0, self.sealed_seq - self.durable[1]) if self.durable[0] == self.epoch else self.sealed_seq


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
        yield _stream(name, said, facts.records.get(name), facts.backlogs, now_us)
    for name, record in facts.records.items():
        if name not in seen and not (is_canary_stream(record.name) and record.hold is None):
            yield _stream(name, {}, record, facts.backlogs, now_us)


def _stream(
    name: str, said: Mapping[str, Any], record: StreamRecord | None, backlogs: Mapping[int, Backlog], now_us: int
) -> AgentStream:
    backlog = backlogs.get(record.id, Backlog()) if record is not None else Backlog()
    lag_s = max(0.0, (now_us - backlog.oldest_us) / SECOND_US) if backlog.oldest_us else 0.0
    waits = tuple(said.get("columns_waiting", ()))
    colour, state, why = _stand(said, record, lag_s, waits)
    if colour is Colour.GREEN and backlog.batches and state == "streaming":
        state = "loading"
    return AgentStream(
        name=name,
        colour=colour,
        state=state,
        code=why.code,
        reason=why.reason,
        remedy=why.remedy,
        mode=str(said.get("mode", "")),
        guarantee=str(said.get("guarantee", "")),
        position=str(said.get("position", "")),
        epoch=int(said.get("epoch", 0)) or (record.epoch if record is not None else 0),
        sealed_seq=int(said.get("sealed_seq", 0)),
        durable=record.durable if record is not None else (0, 0),
        loaded=record.loaded if record is not None else (0, 0),
        behind=backlog.batches,
        lag_s=lag_s,
        rows_captured=int(said.get("rows_captured", 0)),
        last_change_at=int(said.get("last_change_at_us", 0)),
        last_poll_at=int(said.get("last_poll_at_us", 0)),
        snapshot_done=float(said.get("snapshot_done", 0.0)),
        log_hours_left=said.get("log_hours_left"),
        log_bytes_behind=int(said.get("log_bytes_behind", 0)),
        columns_waiting=waits,
    )


def _stand(
    said: Mapping[str, Any], record: StreamRecord | None, lag_s: float, waits: tuple[str, ...]
) -> tuple[Colour, str, Why]:
    """Colour, state and why of one stream; the worst first."""
    state = str(said.get("state", ""))
    own = Why(str(said.get("code", "")), str(said.get("reason", "")), str(said.get("remedy", "")))
    hours = said.get("log_hours_left")
    if record is not None and record.hold is not None:
        hold = record.hold
        why = Why(hold.code, f"batch {hold.epoch}/{hold.seq}: {hold.reason}", remedy_of_hold(hold.code))
        return Colour.RED, "held", why
    if state == "held":
        return Colour.RED, "held at agent", own
    if not said:
        why = Why("", "its agent does not tell of it any more", "Nothing, when it was taken out of the configuration.")
        return Colour.GREY, "not told of", why
    if said.get("paused"):
        return Colour.GREY, "paused", own
    if hours is not None and hours < LOG_HOURS:
        reason = f"the source's log is kept for {hours:.1f} h more than what is captured"
        return Colour.YELLOW, state, Why("FB-LOG-HOURS", reason, "Let capture catch up, or keep the log for longer.")
    if own.code:
        return Colour.YELLOW, state, own
    if waits:
        reason = f"columns wait for approval: {', '.join(waits)}"
        return Colour.YELLOW, state, Why("FB-COLUMNS-WAIT", reason, "Approve them, or reject them.")
    if lag_s * SECOND_US > LATE_AFTER_US:
        reason = f"what was received {lag_s:.0f} s ago is not loaded"
        return Colour.YELLOW, "late", Why("FB-STREAM-LATE", reason, "See that `serve` loads, and what its log says.")
    return Colour.GREEN, state, own
