"""Batches: recorded when they are durable, settled when they are loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    RowMapping,
    and_,
    bindparam,
    literal_column,
    or_,
    select,
    tuple_,
    update,
)

from forebay_collector.ledger import batch_rows, tables
from forebay_collector.ledger.database import Database
from forebay_collector.ledger.records import Arrival, BatchRecord, BatchState, StreamRecord
from forebay_collector.ledger.streams import advance_loaded, find, need, need_id
from forebay_wire import canary
from forebay_wire.stream import StreamName

# written into the statement, not bound: a partial index is used only for a literal
DURABLE: ColumnElement[str] = literal_column("'durable'")
LOADED: ColumnElement[str] = literal_column("'loaded'")
_COLUMNS = [column for column in tables.batch.c if column.name not in ("header", "digest", "brought_by")]
_AT_ONCE = 100
_OF_STREAM = [
    tables.stream.c.department,
    tables.stream.c.source,
    tables.stream.c.table_name,
    tables.batch.c.brought_by.label("agent"),
]
_SELECT = select(*_COLUMNS, *_OF_STREAM).join(tables.stream, tables.stream.c.id == tables.batch.c.stream_id)
Place = tuple[int, int, int, int]
"""Where a batch stands in a listing: received_at, stream_id, epoch, seq."""
_AS_THEY_ARE = [column.name for column in _COLUMNS if column.name not in ("row_count", "state", "last_of_snapshot")]


@dataclass(frozen=True, slots=True)
class Neighbours:
    """(epoch, seq) of the batches just before and just after one; None where there is none."""

    before: tuple[int, int] | None
    after: tuple[int, int] | None


class Batches:
    def __init__(self, database: Database) -> None:
        self._database = database

    def receive(self, arrivals: Sequence[Arrival]) -> list[Arrival]:
        """Records archived batches and moves their streams' durable marks, all in one transaction.

        Per stream they are in order. -> those that were not recorded: from the first on that does not attach to its
        stream's mark (another process moved it, or a batch before failed), all of that stream.
        """
        at = self._database.clock()
        rows: list[dict[str, Any]] = []
        moves: list[dict[str, Any]] = []
        left: list[Arrival] = []
        with self._database.write() as connection:
            for name, group in groupby(sorted(arrivals, key=_stream), key=_stream):
                of_stream = list(group)
                stream_id = need_id(connection, name, of_stream[0].agent)
                taken = _attaching(need(connection, name), of_stream)
                left += of_stream[taken:]
                if not taken:
                    continue
                rows += [_to_row(stream_id, arrival, at) for arrival in of_stream[:taken]]
                last = of_stream[taken - 1]
                move = {"epoch": last.batch.epoch, "durable_seq": last.batch.seq, "durable_chain": last.batch.chain}
                moves.append({"stream_id": stream_id, "agent": last.agent, **move})
            if rows:
                batch_rows.add(connection, rows)
                connection.execute(_MOVE_DURABLE, moves)
        return left

    def header(self, name: StreamName, epoch: int, seq: int) -> bytes | None:
        """The header of a batch as it was received; None when the ledger does not have it."""
        with self._database.read() as connection:
            stream = find(connection, name)
            if stream is None:
                return None
            query = select(tables.batch.c.header).where(of(stream.id, epoch, seq))
            header: bytes | None = connection.execute(query).scalar_one_or_none()
            return header

    def get(self, name: StreamName, epoch: int, seq: int) -> BatchRecord | None:
        with self._database.read() as connection:
            stream = find(connection, name)
            return None if stream is None else get(connection, stream.id, epoch, seq)

    def neighbours(self, batch: BatchRecord) -> Neighbours:
        """The batches of the same stream just before and just after this one, over epochs too."""
        of_batch = tables.batch.c
        place = tuple_(of_batch.epoch, of_batch.seq)
        here = tuple_(batch.epoch, batch.seq)
        query = select(of_batch.epoch, of_batch.seq).where(of_batch.stream_id == batch.stream_id).limit(1)
        with self._database.read() as connection:
            before = connection.execute(query.where(place < here).order_by(of_batch.epoch.desc(), of_batch.seq.desc()))
            earlier = before.first()
            after = connection.execute(query.where(place > here).order_by(of_batch.epoch, of_batch.seq))
            later = after.first()
        return Neighbours(
            None if earlier is None else (earlier[0], earlier[1]), None if later is None else (later[0], later[1])
        )

    def snapshot_ended(self, name: StreamName, epoch: int, seq: int) -> bool:
        """Whether a snapshot ended, or another epoch began, after this batch."""
        batch = tables.batch.c
        query = select(batch.seq).where(tuple_(batch.epoch, batch.seq) > tuple_(epoch, seq)).limit(1)
        with self._database.read() as connection:
            stream = find(connection, name)
            if stream is None:
                return False
            query = query.where(batch.stream_id == stream.id, or_(batch.last_of_snapshot == 1, batch.epoch > epoch))
            return connection.execute(query).first() is not None

    def mark_loaded(self, name: StreamName, epoch: int, seq: int) -> bool:
        """Everything up to (epoch, seq) is visible in the platform: settles the durable batches up to there.

        Whether the mark moved: it never moves backwards, nor beyond what is durable.
        """
        batch = tables.batch.c
        with self._database.write() as connection:
            stream = need(connection, name)
            if not advance_loaded(connection, stream.id, epoch, seq):
                return False
            up_to_there = or_(batch.epoch < epoch, (batch.epoch == epoch) & (batch.seq <= seq))
            loaded = {"state": BatchState.LOADED.value, "loaded_at": self._database.clock(), "code": "", "reason": ""}
            which = and_(batch.stream_id == stream.id, batch.state == DURABLE, up_to_there)
            batch_rows.change(connection, which, lambda _: loaded)
            return True

    def note_failure(self, name: StreamName, epoch: int, seq: int, code: str, reason: str) -> int:
        """A load of the batch failed and will be tried again; -> how often it failed so far."""
        with self._database.write() as connection:
            stream = need(connection, name)
            changed = batch_rows.change(
                connection,
                of(stream.id, epoch, seq),
                lambda row: {"attempts": row["attempts"] + 1, "code": code, "reason": reason},
            )
            return changed[0]["attempts"] if changed else 0

    def listing(
        self,
        *,
        stream: StreamName | None = None,
        agent: str = "",
        department: str = "",
        departments: frozenset[str] | None = None,
        canaries: bool = True,
        state: BatchState | None = None,
        since: int = 0,
        until: int = 0,
        limit: int = 100,
        before: Place | None = None,
    ) -> list[BatchRecord]:
        """Newest first. since, until: received at or after, and before, microseconds. departments: only of these.
        canaries: the sources' canaries too. before: only what comes after the batch at this place in such a listing."""
        batch, of_stream = tables.batch.c, tables.stream.c
        query = _SELECT.where(batch.received_at >= since)
        if state is not None:
            query = query.where(batch.state == literal_column(f"'{state.value}'"))
        if agent:
            query = query.where(of_stream.agent == agent)
        if department:
            query = query.where(of_stream.department == department)
        if departments is not None:
            query = query.where(of_stream.department.in_(sorted(departments)))
        if not canaries:
            query = query.where(of_stream.table_name != canary.TABLE)
        if until:
            query = query.where(batch.received_at < until)
        place = (batch.received_at, batch.stream_id, batch.epoch, batch.seq)
        if before is not None:
            query = query.where(tuple_(*place) < tuple_(*before), batch.received_at <= before[0])
        query = query.order_by(*(part.desc() for part in place)).limit(limit)
        with self._database.read() as connection:
            if stream is not None:
                found = find(connection, stream)
                if found is None:
                    return []
                query = query.where(batch.stream_id == found.id)
            return [to_record(row) for row in connection.execute(query).mappings()]

    def expirable(self, loaded_before: int, limit: int = 1_000) -> list[BatchRecord]:
        """Loaded batches still in the archive whose retention is over, the oldest first."""
        batch = tables.batch.c
        query = _SELECT.where(batch.state == LOADED, batch.expired_at == literal_column("0"))
        query = query.where(batch.loaded_at < loaded_before).order_by(batch.loaded_at).limit(limit)
        with self._database.read() as connection:
            return [to_record(row) for row in connection.execute(query).mappings()]

    def mark_expired(self, records: Sequence[BatchRecord]) -> None:
        """These batches left the archive; their records stay."""
        if not records:
            return
        expired = {"expired_at": self._database.clock()}
        batch = tables.batch.c
        keys = [(one.stream_id, one.epoch, one.seq) for one in records]
        with self._database.write() as connection:
            for first in range(0, len(keys), _AT_ONCE):
                some = tuple_(batch.stream_id, batch.epoch, batch.seq).in_(keys[first : first + _AT_ONCE])
                batch_rows.change(connection, some, lambda _: expired)


def of(stream_id: int, epoch: int, seq: int) -> ColumnElement[bool]:
    batch = tables.batch.c
    return and_(batch.stream_id == stream_id, batch.epoch == epoch, batch.seq == seq)


def get(connection: Connection, stream_id: int, epoch: int, seq: int) -> BatchRecord | None:
    row = connection.execute(_SELECT.where(of(stream_id, epoch, seq))).mappings().one_or_none()
    return None if row is None else to_record(row)


def to_record(row: RowMapping) -> BatchRecord:
    return BatchRecord(
        stream=StreamName(row["department"], row["source"], row["table_name"]),
        agent=row["agent"],
        rows=row["row_count"],
        state=BatchState(row["state"]),
        last_of_snapshot=bool(row["last_of_snapshot"]),
        **{name: row[name] for name in _AS_THEY_ARE},
    )


def attaches(stream: StreamRecord, epoch: int, seq: int, previous_chain: bytes) -> bool:
    """Whether a batch is the very next one after the stream's durable mark."""
    follows = seq == stream.durable_seq + 1 if epoch == stream.epoch else epoch > stream.epoch and seq == 1
    return follows and previous_chain == stream.durable_chain


def _attaching(stream: StreamRecord, arrivals: Sequence[Arrival]) -> int:
    """How many of these, from the first on, follow the mark without a break."""
    for number, arrival in enumerate(arrivals):
        batch = arrival.batch
        if not attaches(stream, batch.epoch, batch.seq, batch.fields.previous_chain):
            return number
        stream = StreamRecord(stream.id, stream.name, stream.agent, batch.epoch, batch.seq, batch.chain)
    return len(arrivals)


def _stream(arrival: Arrival) -> StreamName:
    return arrival.stream


def _to_row(stream_id: int, arrival: Arrival, received_at: int) -> dict[str, Any]:
    fields = arrival.batch.fields
    return {
        "stream_id": stream_id,
        "epoch": fields.epoch,
        "seq": fields.seq,
        "header": arrival.batch.header,
        "row_count": fields.rows,
        "reads": fields.ops.snapshot_reads,
        "inserts": fields.ops.inserts,
        "updates": fields.ops.updates,
        "deletes": fields.ops.deletes,
        "bytes": arrival.batch.size,
        "first_position": fields.first_position,
        "last_position": fields.last_position,
        "first_committed_at": fields.first_committed_at_us,
        "last_committed_at": fields.last_committed_at_us,
        "captured_at": fields.captured_at_us,
        "received_at": received_at,
        "loaded_at": 0,
        "expired_at": 0,
        "snapshot": fields.snapshot_part.snapshot,
        "last_of_snapshot": int(fields.snapshot_part.last),
        "state": BatchState.DURABLE.value,
        "code": "",
        "reason": "",
        "attempts": 0,
        "brought_by": arrival.agent,
    }


_MOVE_DURABLE = (
    update(tables.stream)
    .where(tables.stream.c.id == bindparam("stream_id"))
    .values(
        agent=bindparam("agent"),
        epoch=bindparam("epoch"),
        durable_seq=bindparam("durable_seq"),
        durable_chain=bindparam("durable_chain"),
    )
)
