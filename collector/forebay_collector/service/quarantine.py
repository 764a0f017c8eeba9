"""Quarantine: what is held and why, and what a person decides about it: replay or discard, one or many at once.

Each stream is decided by itself, in a transaction of its own: one that cannot be decided stops none of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from forebay_collector.errors import CollectorError, NotPossible
from forebay_collector.ledger import BatchRecord, BatchState, Ledger
from forebay_collector.load import quarantine
from forebay_collector.load.backlog import Backlog, backlogs
from forebay_collector.load.policy import remedy_of_hold
from forebay_collector.service.actor import Actor, Permission
from forebay_collector.service.streams import need
from forebay_wire.stream import StreamName

_ALL: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class HeldView:
    """A stream that is held, the batch that holds it, and what waits behind it (the batch included)."""

    batch: BatchRecord
    code: str
    reason: str
    remedy: str
    held_at: int
    batches_waiting: int
    rows_waiting: int

    @property
    def stream(self) -> StreamName:
        return self.batch.stream


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one stream: the batch as it is now, or why it was not done."""

    stream: StreamName
    batch: BatchRecord | None = None
    error: CollectorError | None = None


def held(ledger: Ledger, actor: Actor, *, department: str = "") -> list[HeldView]:
    """By the stream's name. Raises NotPermitted."""
    actor.require(Permission.SEE, department)
    records = [
        record
        for record in ledger.streams.listing(department=department, held=True)
        if actor.sees(record.name.department)
    ]
    if not records:
        return []
    waiting = backlogs(ledger, newest_too=False)
    quarantined = {batch.stream_id: batch for batch in ledger.batches.listing(state=BatchState.QUARANTINED, limit=_ALL)}
    found = []
    for record in records:
        hold, batch = record.hold, quarantined.get(record.id)
        if hold is not None and batch is not None:
            behind = waiting.get(record.id, Backlog())
            remedy = remedy_of_hold(hold.code)
            found.append(HeldView(batch, hold.code, hold.reason, remedy, hold.at, behind.batches, behind.rows))
    return found


def count(ledger: Ledger, actor: Actor) -> int:
    """How many streams are held. Raises NotPermitted."""
    actor.require(Permission.SEE)
    return sum(actor.sees(record.name.department) for record in ledger.streams.listing(held=True))


def replay(
    ledger: Ledger,
    actor: Actor,
    streams: Sequence[StreamName],
    why: str,
    *,
    only: Mapping[StreamName, tuple[int, int]] | None = None,
) -> list[Outcome]:
    """Releases the held batches for the loader. `only`: refuse unless it is this (epoch, seq) that holds the stream.

    Raises NotPermitted for any of them, before anything is done; NotPossible when no reason is given.
    """
    return _decide(ledger, actor, streams, why, only or {}, discard_them=False)


def discard(
    ledger: Ledger,
    actor: Actor,
    streams: Sequence[StreamName],
    why: str,
    *,
    only: Mapping[StreamName, tuple[int, int]] | None = None,
) -> list[Outcome]:
    """Gives the held batches up; their streams go on behind them. Otherwise as `replay`."""
    return _decide(ledger, actor, streams, why, only or {}, discard_them=True)


def _decide(
    ledger: Ledger,
    actor: Actor,
    streams: Sequence[StreamName],
    why: str,
    only: Mapping[StreamName, tuple[int, int]],
    *,
    discard_them: bool,
) -> list[Outcome]:
    actor.require(Permission.OPERATE)
    for name in streams:
        if actor.sees(name.department):
            actor.require(Permission.OPERATE, name.department)
    if not why.strip():
        raise NotPossible("a reason is needed: it is kept for ever beside the deed", remedy="Say why.")
    decide = quarantine.discard if discard_them else quarantine.replay
    outcomes = []
    for name in streams:
        try:
            record = need(ledger, actor, name)
            wanted = only.get(name)
            if wanted is not None and record.hold is not None and wanted[0] != record.hold.epoch:
                raise NotPossible(
                    f"stream {name} is held by batch {record.hold.epoch}/{record.hold.seq}, not by {wanted[0]}/{wanted[1]}",
                    remedy="Look at the batch that holds it now, and decide about that one.",
                )
            batch = decide(
                ledger, name, wanted[1] if wanted else None, who=actor.name, why=why, detail={"via": actor.via}
            )
            outcomes.append(Outcome(name, batch))
        except CollectorError as error:
            outcomes.append(Outcome(name, error=error))
    return outcomes
