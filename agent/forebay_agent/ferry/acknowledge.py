"""Acknowledge: the centre's answer to what was carried to it, taken as its words on a line are.

What it calls durable leaves the outbox, what it approves may leave, and a certificate that it gave comes into use.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from forebay_agent.approval.approvals import Approvals
from forebay_agent.errors import CertificateRefused, CollectorBehind, StateLost
from forebay_agent.ferry import renewing
from forebay_agent.ferry.seal import opened
from forebay_agent.identity import Identity
from forebay_agent.outbox import Outbox, OutboxReader
from forebay_agent.uplink.fit import CollectorMark, check_fit
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2, upload_pb2


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """One stream of one answer. deleted: its batches that left the outbox. trouble: why none did, when the two do not fit."""

    stream: StreamName
    epoch: int
    seq: int
    deleted: int
    trouble: StateLost | None = None


@dataclass(slots=True)
class Taken:
    """One answer. said: what else it brought, in words. refused: why the centre took nothing of what this agent sealed."""

    streams: list[Acknowledged] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    refused: CertificateRefused | None = None


def acknowledge(path: Path, state: Path, own: Identity, outbox: Outbox) -> Taken:
    """Takes all that the answer says. Taking one twice changes nothing. Beside a running agent, too: that one looks.

    own: as the state folder has it in force. Raises: FerryUnusable when it is damaged, not this agent's, or not from its
        centre; CertificateRefused when it brings a certificate that does not fit; OutboxDamaged, OutboxFull,
        StateFolderUnusable.
    """
    answer = opened(path, own.agent, own.authority)
    taken = Taken()
    with closing(outbox.reader()) as reader:
        for record in answer.records():
            match record.WhichOneof("kind"):
                case "down":
                    for mark in record.down.marks.marks:
                        taken.streams += _take(mark, outbox, reader)
                case "control_down" if record.control_down.HasField("approvals"):
                    taken.said += _approved(record.control_down.approvals, state, answer.made_at_us)
                case "renewed":
                    taken.said += renewing.take(record.renewed, state)
                case "standing":
                    taken.said += renewing.settle(record.standing.serial, state)
                case "refused":
                    taken.refused = renewing.refused(record.refused, state) or taken.refused
    return taken


def _take(mark: upload_pb2.Mark, outbox: Outbox, reader: OutboxReader) -> Iterator[Acknowledged]:
    name = StreamName.from_proto(mark.stream)
    known = {stream.name: stream.id for stream in reader.streams()}
    if name not in known:
        return
    record, first = reader.standing(known[name])
    held = CollectorMark.of(mark)
    try:
        check_fit(record, first, lambda epoch, seq: reader.find(record.id, epoch, seq), held)
    except CollectorBehind:  # an older answer than what a line, or a newer one, has told since: it says nothing new
        yield Acknowledged(name, *held.at, 0)
        return
    except StateLost as error:
        yield Acknowledged(name, *held.at, 0, error)
        return
    deleted = outbox.delete({record.id: held.at}) if held.epoch else 0
    yield Acknowledged(name, *held.at, deleted)


def _approved(message: control_pb2.Approvals, state: Path, made_at_us: int) -> Iterator[str]:
    if not Approvals(state).bring(message, made_at_us):
        yield "what it says of approvals is older than what is known: it changes nothing"
    elif message.automatic:
        yield "the centre approves whatever is proposed"
    else:
        yield f"the centre approves columns of {len(message.approvals)} tables"
