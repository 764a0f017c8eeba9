"""The marks beside the batches: the platform's own commits against the ledger."""

from __future__ import annotations

from collections.abc import Iterator

from forebay_collector.custody.finding import Finding, Kind, Place
from forebay_collector.ledger import BatchState, Ledger, batch_rows
from forebay_collector.ledger.streams import need
from forebay_collector.platform.contract import Platform
from forebay_wire.stream import StreamName


def of_platform(ledger: Ledger, platform: Platform, stream: StreamName) -> Iterator[Finding]:
    """The ledger is read before and after the platform: a load under way moves both. Raises LedgerUnavailable,
    PlatformError."""
    with ledger.database.read() as connection:
        before = need(connection, stream)
    mark = platform.mark(stream)
    held = (mark.epoch, mark.seq)
    with ledger.database.read() as connection:
        after = need(connection, stream)
        lacks = (
            batch_rows.page(connection, after.id, (held[0], held[1] + 1), last=before.loaded)
            if held < before.loaded
            else []
        )
    lost = [row for row in lacks if row["state"] == BatchState.LOADED]
    if lost:
        first, last = lost[0], lost[-1]
        reason = f"the platform holds up to {held[0]}/{held[1]}, the ledger says that {last['epoch']}/{last['seq']} is loaded"
        through = last["seq"] if last["epoch"] == first["epoch"] else 0
        yield Finding(Kind.MISSING, Place.PLATFORM, reason, stream, first["epoch"], first["seq"], through)
    if held > after.durable:
        reason = (
            f"the platform holds up to {held[0]}/{held[1]}, the ledger up to {after.epoch}/{after.durable_seq} only"
        )
        yield Finding(Kind.MISSING, Place.LEDGER, reason, stream, *held)
