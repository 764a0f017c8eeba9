"""What one load takes: the stream's durable batches after its loaded mark, in order, up to a size.

Decided from the headers in the ledger alone, before any payload is read. A group ends where a transaction of the source
ends; only one that is larger than a whole group is loaded in parts, for memory is bounded first. (The platform shows no
part of it before it has all of it.) A small group lingers a moment, so that trickles do not make a commit per batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, literal_column, select, tuple_

from forebay_collector.ledger import Ledger, tables
from forebay_collector.ledger.records import StreamRecord
from forebay_collector.load import succession
from forebay_collector.platform.contract import PlatformMark
from forebay_wire.errors import WireError
from forebay_wire.seal import check_header
from forebay_wire.v1 import batch_pb2

MOST_BATCHES: Final = 1_000


@dataclass(frozen=True, slots=True)
class Waiting:
    """A durable batch that is not loaded yet, as its header in the ledger tells it. at: the (epoch, seq) of its row."""

    at: tuple[int, int]
    header: batch_pb2.BatchHeader
    received_at: int
    attempts: int


@dataclass(frozen=True, slots=True)
class GroupSize:
    """raw_bytes: Arrow bytes of one group. linger_s: how long a smaller group waits for more, from its first batch."""

    raw_bytes: int = 96 << 20
    linger_s: float = 0.5


def waiting(ledger: Ledger, stream: StreamRecord, size: GroupSize) -> tuple[list[Waiting], bool]:
    """-> the durable batches in order up to the size (at least one where there is one), and whether there are more.

    Raises LedgerUnavailable, LedgerDamaged; LedgerRowDamaged where the first one's header was altered.
    """
    # a literal: the partial index on durable batches is used for nothing else
    return _taken(ledger, stream, tables.batch.c.state == literal_column("'durable'"), size)


def lost(ledger: Ledger, stream: StreamRecord, mark: PlatformMark, size: GroupSize) -> list[Waiting]:
    """Batches that the ledger knows as loaded and that a platform with this mark does not hold, up to the size.

    Raises as `waiting`.
    """
    batch = tables.batch.c
    beyond = tuple_(batch.epoch, batch.seq) > tuple_(mark.epoch, mark.seq)
    return _taken(ledger, stream, (batch.state == literal_column("'loaded'")) & beyond, size)[0]


def _taken(
    ledger: Ledger, stream: StreamRecord, which: ColumnElement[bool], size: GroupSize
) -> tuple[list[Waiting], bool]:
    batch = tables.batch.c
    query = (
        select(batch.epoch, batch.seq, batch.header, batch.received_at, batch.attempts)
        .where(batch.stream_id == stream.id, which)
        .order_by(batch.epoch, batch.seq)
        .limit(MOST_BATCHES + 1)
    )
    with ledger.database.read() as connection:
        rows = connection.execute(query).all()
    taken: list[Waiting] = []
    raw_bytes = 0
    for row in rows[:MOST_BATCHES]:
        try:
            header = check_header(row.header)
        except WireError as error:
            if taken:
                return taken, True
            raise succession.altered(stream.name, (row.epoch, row.seq), f"header: {error}") from error
        raw_bytes += header.raw_bytes
        if taken and raw_bytes > size.raw_bytes:
            return taken, True
        taken.append(Waiting((row.epoch, row.seq), header, row.received_at, row.attempts))
    return taken, len(rows) > MOST_BATCHES


def ready(taken: Sequence[Waiting], more: bool, now_us: int, size: GroupSize) -> list[Waiting]:
    """What is loaded now: nothing while a small group lingers or its first transaction is not complete.

    A group that came at a moment that has not been yet, by a clock that was set right since, does not wait for it.
    """
    if not taken:
        return []
    if not more and 0 <= now_us - taken[0].received_at < size.linger_s * 1_000_000:
        return []
    for count in range(len(taken), 0, -1):
        if taken[count - 1].header.ends_transaction:
            return list(taken[:count])
    return list(taken) if more else []
