"""Fit: whether what the collector holds of a stream and what the outbox holds are one history.

Chain digests decide. The collector's mark must be the batch right before the first that waits, or one that waits (then
it and all before it are durable), or, when none waits, the last that was sealed. Anything else is a lost state:

    the mark is beyond what was sealed here, or differs from it    StateLost (the agent's state was lost or set back)
    the mark is before what it had already confirmed               CollectorBehind (the collector's state was)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from forebay_agent.errors import CollectorBehind, OutboxDamaged, StateLost
from forebay_agent.outbox import StreamRecord, WaitingBatch
from forebay_wire.digest import GENESIS
from forebay_wire.errors import WireError
from forebay_wire.seal import parse_header
from forebay_wire.v1 import upload_pb2

Find = Callable[[int, int], WaitingBatch | None]
"""(epoch, seq) -> that batch, when it waits."""


@dataclass(frozen=True, slots=True)
class CollectorMark:
    """What the collector holds of a stream: everything up to (epoch, seq). Epoch 0: nothing."""

    epoch: int
    seq: int
    chain: bytes

    @classmethod
    def of(cls, mark: upload_pb2.Mark) -> CollectorMark:
        return cls(mark.epoch, mark.durable_seq, mark.durable_chain if mark.epoch else GENESIS)

    @property
    def at(self) -> tuple[int, int]:
        return self.epoch, self.seq

    def __str__(self) -> str:
        return f"epoch {self.epoch} seq {self.seq}" if self.epoch else "nothing"


def check_fit(record: StreamRecord, first: WaitingBatch | None, find: Find, mark: CollectorMark) -> None:
    """first: the first batch that waits. Raises StateLost, CollectorBehind; OutboxDamaged when `first` is unreadable."""
    if first is None:
        if mark.chain == record.chain:
            return
    else:
        if mark.chain == _previous_chain(record, first):
            return
        held = find(*mark.at)
        if held is not None and held.chain == mark.chain:
            return
    behind = mark.at < ((first.epoch, first.seq) if first else record.last)
    if mark.at > record.last:
        raise StateLost(
            f"{record.name}: the collector holds {mark}; this agent has sealed up to epoch {record.last[0]} seq"
            f" {record.last[1]}"
        )
    if behind:
        raise CollectorBehind(
            f"{record.name}: the collector holds {mark}, less than it has confirmed to this agent before"
        )
    raise StateLost(f"{record.name}: the collector holds another {mark} than this agent has sealed")


def _previous_chain(record: StreamRecord, first: WaitingBatch) -> bytes:
    try:
        return parse_header(first.header).previous_chain
    except WireError as error:
        raise OutboxDamaged(
            f"{record.name}: the outbox holds epoch {first.epoch} seq {first.seq} with a damaged header ({error.code})"
        ) from error
