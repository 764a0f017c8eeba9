"""A heartbeat as the ledger keeps it: plain JSON, named as in forebay.v1 (sizes in bytes, times in microseconds)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, Final

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from forebay_collector.errors import IdentityRefused
from forebay_collector.identity import alarms
from forebay_collector.ledger.canaries import CanaryRecord
from forebay_collector.ledger.heartbeats import Beat, StreamSaid
from forebay_collector.ledger.history import HealthSample, minute
from forebay_collector.ledger.offers import OfferTold
from forebay_wire import limits
from forebay_wire.errors import WireError
from forebay_wire.stream import StreamName
from forebay_wire.v1 import batch_pb2, control_pb2

LONGEST_TEXT: Final = 2_000
_MOST: Final = 2**62


def beat(
    agent: str,
    department: str,
    heartbeat: control_pb2.Heartbeat,
    at: int,
    *,
    takes: bool,
    sample: bool,
    offer_known: tuple[int, str] | None,
    canaries: bool = True,
) -> Beat:
    """What of the heartbeat goes into the ledger. at: when it came, microseconds.

    takes: what it says of streams attaches to what is known of them. sample: it is the first of a minute. offer_known: what
    the agent said of its newest offer before; None: this is the first heartbeat of its connection. canaries: they are not
    those of the heartbeat before.

    Raises IdentityRefused when it names a stream that is none, or another department's.
    """
    offer = heartbeat.offer
    said = (offer.revision, offer.outcome)
    told = OfferTold(agent, _count(offer.revision), text(offer.outcome), text(offer.reason))
    states, gone = heartbeat.streams[: limits.MAX_STREAMS], heartbeat.gone[: limits.MAX_STREAMS]
    try:
        streams = {_name(state.stream, department): state for state in states} if takes else {}
        left = [_name(stream, department) for stream in gone] if takes else []
    except WireError as error:
        raise IdentityRefused(f"agent {agent}: heartbeat: {error}") from error
    whole = takes and heartbeat.since == 0
    return Beat(
        agent,
        at,
        _json(health(heartbeat, at)),
        {
            name: StreamSaid(text(state.code), _json({"stream": name, **_plain(state)}))
            for name, state in streams.items()
        },
        left,
        whole,
        [_canary(agent, canary) for canary in heartbeat.canaries[: limits.MAX_STREAMS]] if canaries or whole else [],
        _sample(agent, heartbeat, at) if sample else None,
        None if said == offer_known else told,
        offer_known is None,
    )


def health(heartbeat: control_pb2.Heartbeat, now_us: int) -> dict[str, Any]:
    """The appliance's health, its outbox and its configuration. `clock_offset_us`: how far its clock is ahead of ours
    (the way over the network included)."""
    return {
        **_plain(heartbeat.health),
        "outbox": _plain(heartbeat.outbox),
        "number": heartbeat.number,
        "clock_offset_us": _offset(heartbeat, now_us),
        "configuration_hash": text(heartbeat.configuration_hash),
        "configuration_refusal": text(heartbeat.configuration_refusal),
        "certificate_expires_at_us": heartbeat.certificate_expires_at_us,
        "renewal_refusal": text(heartbeat.renewal_refusal),
        "paused": heartbeat.paused,
        "offer_revision": heartbeat.offer_revision,
        "offer": _plain(heartbeat.offer),
    }


def text(value: str) -> str:
    """A text as the ledger keeps it: cut, and without what a database does not take."""
    return value[:LONGEST_TEXT].replace("\0", "")


def _sample(agent: str, heartbeat: control_pb2.Heartbeat, at: int) -> HealthSample:
    told, outbox = heartbeat.health, heartbeat.outbox
    used = told.memory_total_bytes - min(told.memory_available_bytes, told.memory_total_bytes)
    return HealthSample(
        agent=agent,
        at=minute(at),
        cpu_permille=_whole(told.cpu_percent * 10),
        load_percent=_whole(told.load_1m * 100),
        memory_used_permille=used * 1_000 // told.memory_total_bytes if told.memory_total_bytes else 0,
        disk_free=_count(told.disk_free_bytes),
        agent_rss=_count(told.agent_rss_bytes),
        outbox_batches=_count(outbox.batches),
        outbox_bytes=_count(outbox.bytes),
        clock_offset=_offset(heartbeat, at),
        streams_troubled=0,
        round_trip=max((_count(canary.round_trip_us) for canary in heartbeat.canaries), default=0),
    )


def _canary(agent: str, canary: control_pb2.CanaryState) -> CanaryRecord:
    return CanaryRecord(
        agent,
        text(canary.source),
        text(canary.kind),
        canary.made_at_us,
        canary.loaded_at_us,
        _count(canary.round_trip_us),
        text(canary.code),
        text(canary.reason),
    )


def _name(stream: batch_pb2.Stream, department: str) -> str:
    """Raises WireError, IdentityRefused."""
    name = StreamName.from_proto(stream)
    if name.department != department:
        raise IdentityRefused(
            f"the heartbeat tells of {name}, which is not of department {department}", action=alarms.WRONG_DEPARTMENT
        )
    return str(name)


def _plain(message: Message) -> dict[str, Any]:
    """The message's scalar fields: those at their default too, save optional ones that are not set. Texts are cut."""
    return {
        field.name: _value(getattr(message, field.name))
        for field in message.DESCRIPTOR.fields
        if field.type != FieldDescriptor.TYPE_MESSAGE and (not field.has_presence or message.HasField(field.name))
    }


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else 0.0
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return [_value(one) for one in value]
    return value


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _count(value: int) -> int:
    """A count that a signed number of 8 bytes holds."""
    return min(value, _MOST)


def _offset(heartbeat: control_pb2.Heartbeat, at: int) -> int:
    return min(max(heartbeat.sent_at_us - at, -_MOST), _MOST)


def _whole(value: float) -> int:
    """A figure of psutil, rounded; 0 for what is no number."""
    return round(min(max(value, 0.0), 1e9)) if math.isfinite(value) else 0
