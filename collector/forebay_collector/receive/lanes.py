"""Lanes: for every stream, the one place that decides which batch comes next. Used by the event loop only.

A lane holds the stream's durable mark, as the ledger has it, and the batches that were accepted after it and are on
their way into archive and ledger. A batch is judged against the end of these:

    the next of the epoch, or seq 1 of a later epoch, on the chain  -> accepted
    one that is held already, the very same                         -> doubled: acknowledged again
    one that is held already, a different one                       -> CHAIN
    of an earlier epoch                                             -> EPOCH
    further on                                                      -> GAP

When archive or ledger fail, everything accepted and not durable is forgotten, and the mark is read anew from the ledger
before the next decision: whether that transaction happened after all is for the ledger to say.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from forebay_collector.ledger import Ledger, StreamRecord
from forebay_collector.receive.refusal import CHAIN, EPOCH, GAP, Refusal
from forebay_wire.seal import SealedBatch
from forebay_wire.stream import StreamName


@dataclass(eq=False, slots=True)
class Accepted:
    """A batch on its way. `outcome` ends with None when it is durable, with the error when it is not."""

    batch: SealedBatch
    outcome: asyncio.Future[Exception | None]
    forgotten: bool = False


@dataclass(frozen=True, slots=True)
class Next:
    """The batch is the stream's next."""


@dataclass(frozen=True, slots=True)
class OnItsWay:
    """The very same batch was accepted before and is not durable yet."""

    accepted: Accepted


@dataclass(frozen=True, slots=True)
class Held:
    """A batch at or below the durable mark: the same if its header is the ledger's."""


Verdict = Next | OnItsWay | Held | Refusal


@dataclass(eq=False, slots=True)
class Lane:
    """One stream's order. `mark` is the durable mark as last known; unless `fresh` it must be read before deciding."""

    stream: StreamName
    mark: StreamRecord
    fresh: bool = False
    schemas: set[bytes] = field(default_factory=set)
    dictionaries: set[str] = field(default_factory=set)
    accepted: dict[tuple[int, int], Accepted] = field(default_factory=dict)
    reading: asyncio.Lock = field(default_factory=asyncio.Lock)

    def judge(self, batch: SealedBatch) -> Verdict:
        """What to do with a batch whose digests were checked."""
        at = (batch.epoch, batch.seq)
        mark = self.mark
        if on_its_way := self.accepted.get(at):
            same = on_its_way.batch.header == batch.header
            return OnItsWay(on_its_way) if same else self._differs(batch)
        if batch.epoch == mark.epoch and batch.seq <= mark.durable_seq:
            return Held()
        epoch, seq, chain = self._end()
        if batch.epoch < epoch:
            return Refusal(EPOCH, f"epoch {batch.epoch} is over: the stream is at epoch {epoch}")
        expected = seq + 1 if batch.epoch == epoch else 1
        if batch.seq != expected:
            return Refusal(GAP, f"epoch {batch.epoch} seq {batch.seq} came where seq {expected} is next")
        if batch.fields.previous_chain != chain:
            return Refusal(CHAIN, f"epoch {batch.epoch} seq {batch.seq} was not sealed after the batch held before it")
        return Next()

    def accept(self, batch: SealedBatch) -> Accepted:
        """Takes the batch that `judge` called the next."""
        outcome: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        accepted = Accepted(batch, outcome)
        self.accepted[batch.epoch, batch.seq] = accepted
        outcome.add_done_callback(lambda done: self._settled(accepted, done.result()))
        return accepted

    def _settled(self, accepted: Accepted, error: Exception | None) -> None:
        if accepted.forgotten:
            return
        if error is not None:
            self.forget()
            return
        batch = accepted.batch
        del self.accepted[batch.epoch, batch.seq]
        self.mark = replace(self.mark, epoch=batch.epoch, durable_seq=batch.seq, durable_chain=batch.chain)

    def forget(self) -> None:
        """Nothing that was accepted counts any more; the mark must be read anew."""
        for accepted in self.accepted.values():
            accepted.forgotten = True
        self.accepted.clear()
        self.fresh = False

    def _end(self) -> tuple[int, int, bytes]:
        if self.accepted:
            last = next(reversed(self.accepted.values())).batch
            return last.epoch, last.seq, last.chain
        return self.mark.epoch, self.mark.durable_seq, self.mark.durable_chain

    def _differs(self, batch: SealedBatch) -> Refusal:
        return Refusal(CHAIN, f"epoch {batch.epoch} seq {batch.seq} differs from the batch that is held under it")


class Lanes:
    """Every stream's lane, made when first asked for."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._lanes: dict[StreamName, Lane] = {}

    async def ready(self, stream: StreamName) -> Lane:
        """The stream's lane, its mark known. Raises LedgerUnavailable, LedgerDamaged."""
        lane = self._lanes.get(stream)
        if lane is None:
            lane = self._lanes[stream] = Lane(stream, StreamRecord(0, stream, ""))
        if not lane.fresh:
            async with lane.reading:
                if not lane.fresh:
                    lane.mark, (lane.schemas, lane.dictionaries) = await asyncio.to_thread(self._read, stream)
                    lane.fresh = True
        return lane

    def mark(self, stream: StreamName) -> StreamRecord | None:
        """The durable mark as last known."""
        lane = self._lanes.get(stream)
        return lane.mark if lane is not None else None

    async def marks(self, streams: list[StreamName]) -> list[StreamRecord]:
        """The ledger's own marks of these streams, epoch 0 for one that it has never seen."""
        known = await asyncio.to_thread(self._ledger.streams.marks, streams)
        return [known.get(stream) or StreamRecord(0, stream, "") for stream in streams]

    async def is_held(self, batch: SealedBatch) -> bool:
        """Whether the ledger has exactly this batch under its epoch and seq."""
        header = await asyncio.to_thread(self._ledger.batches.header, batch.stream, batch.epoch, batch.seq)
        return header == batch.header

    def _read(self, stream: StreamName) -> tuple[StreamRecord, tuple[set[bytes], set[str]]]:
        mark = self._ledger.streams.get(stream) or StreamRecord(0, stream, "")
        return mark, self._ledger.schemas.known(stream)
