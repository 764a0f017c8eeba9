"""A heartbeat as the ledger keeps it: plain JSON, named as in forebay.v1 (sizes in bytes, times in microseconds)."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from forebay_wire import limits
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2


def health(heartbeat: control_pb2.Heartbeat, now_us: int) -> dict[str, Any]:
    """The appliance's health, its outbox and its configuration. `clock_offset_us`: how far its clock is ahead of ours
    (the way over the network included)."""
    return {
        **_plain(heartbeat.health),
        "outbox": _plain(heartbeat.outbox),
        "number": heartbeat.number,
        "clock_offset_us": heartbeat.sent_at_us - now_us,
        "configuration_hash": heartbeat.configuration_hash,
        "configuration_refusal": heartbeat.configuration_refusal,
        "certificate_expires_at_us": heartbeat.certificate_expires_at_us,
    }


def streams(heartbeat: control_pb2.Heartbeat) -> list[dict[str, Any]]:
    """Every stream's state at the agent, at most as many as an agent may have; `stream` is its name.

    Raises: kinds of `forebay_wire.errors` for a name that is none.
    """
    return [
        {"stream": str(StreamName.from_proto(state.stream)), **_plain(state)}
        for state in heartbeat.streams[: limits.MAX_STREAMS]
    ]


def _plain(message: Message) -> dict[str, Any]:
    """The message's scalar fields, those at their default included."""
    return {
        field.name: getattr(message, field.name)
        for field in message.DESCRIPTOR.fields
        if field.type != FieldDescriptor.TYPE_MESSAGE
    }
