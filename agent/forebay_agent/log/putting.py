"""From pieces of a log to one outbox transaction: what the sealer's thread does while the next piece is read.

All streams of a piece and the source's log checkpoint are put together, so that a crash leaves all of it or nothing.
A stream whose rows cannot be transformed or sealed is parked in the same transaction; the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import pyarrow as pa

from forebay_agent.capture.captured import Checkpoint
from forebay_agent.capture.log import LogRows
from forebay_agent.capture.source import TableShape
from forebay_agent.errors import AgentError
from forebay_agent.log.stream import LOG, RANGE, LogStream, parking
from forebay_agent.outbox import LogRecord, NewEpoch, Outbox, StreamPut, StreamRecord
from forebay_agent.pipeline import checkpoint_of
from forebay_agent.stream_state import SNAPSHOT, STREAMING, Board
from forebay_wire.key_range import KeyRange
from forebay_wire.schema import TableSchema
from forebay_wire.seal import SealedBatch

AGENT: Final = "forebay-agent"
"""who starts an epoch that nobody asked for"""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of `shape`'s columns and the change columns, to be sealed. snapshot: its number, 0: changes."""

    shape: TableShape
    rows: pa.RecordBatch
    snapshot: int = 0
    last_of_snapshot: bool = False
    ends_transaction: bool = True
    key_range: KeyRange | None = None  # the snapshot is of these keys only


@dataclass(frozen=True, slots=True)
class Anew:
    """From here on the stream is in its next epoch."""

    why: str


@dataclass(slots=True)
class StreamWork:
    """One stream's part. checkpoint: what it leads to, but for its count of rows."""

    stream: LogStream
    checkpoint: Checkpoint
    steps: list[Rows | Anew] = field(default_factory=list)
    failed: AgentError | None = None


@dataclass(slots=True)
class Work:
    """One outbox transaction. committed_at_us: 0 when the database does not say."""

    log: LogRecord
    open: bool = False
    committed_at_us: int = 0
    streams: dict[str, StreamWork] = field(default_factory=dict)

    def of(self, stream: LogStream) -> StreamWork:
        """The stream's part, begun when there is none."""
        key = str(stream.name)
        if key not in self.streams:
            self.streams[key] = StreamWork(stream, stream.checkpoint)
        return self.streams[key]

    def add(self, stream: LogStream, *steps: Rows | Anew) -> None:
        """Appends steps; the stream's checkpoint as it is now is what they lead to."""
        work = self.of(stream)
        work.steps.extend(steps)
        work.checkpoint = stream.checkpoint

    def take(self, stream: LogStream, part: LogRows, *, open_after: bool) -> None:
        """Rows of the log. open_after: of the open transaction the last row is kept back, because whether it ends the
        transaction is not known yet."""
        if stream.carried_shape is not None and stream.carried_shape != part.shape:
            self.flush(stream)
        rows = part.rows
        if stream.carried is not None:
            rows = pa.concat_batches([stream.carried, rows])
            stream.carried = stream.carried_shape = None
        if open_after:
            stream.carried, stream.carried_shape = rows.slice(rows.num_rows - 1), part.shape
            rows = rows.slice(0, rows.num_rows - 1)
        if rows.num_rows:
            self.add(stream, Rows(part.shape, rows, ends_transaction=not open_after))

    def flush(self, stream: LogStream) -> None:
        """Adds the row that was kept back: it ends its transaction, or nothing of this shape follows."""
        if stream.carried is not None and stream.carried_shape is not None:
            self.add(stream, Rows(stream.carried_shape, stream.carried))
            stream.carried = stream.carried_shape = None


class LogSealer:
    """`put` runs on the sealer's thread; one at a time. durable: the log checkpoint that the outbox holds."""

    def __init__(self, department: str, source: str, outbox: Outbox, board: Board, now_us: Callable[[], int]) -> None:
        self._department = department
        self._source = source
        self._outbox = outbox
        self._board = board
        self._now_us = now_us
        self.durable = ""

    def put(self, work: Work) -> None:
        """Seals and keeps one piece. Raises Superseded, OutboxFull (nothing was kept: it can be put again), OutboxDamaged."""
        puts = [self._put_of(part) for part in work.streams.values() if part.stream.failed is None]
        self._outbox.put_log(self._department, self._source, puts, work.log, open=work.open)
        if not work.open:
            self.durable = work.log.checkpoint
        by_name = {put.after.name: put for put in puts}
        for part in work.streams.values():
            put = by_name.get(part.stream.name)
            if put is not None:
                part.stream.record = put.after
                part.stream.failed = part.failed
                self.show(part.stream, put.batches, work.committed_at_us)

    def show(self, stream: LogStream, batches: Sequence[SealedBatch] = (), at_us: int = 0) -> None:
        """Tells the board how the stream stands."""
        record, checkpoint = stream.record, checkpoint_of(stream.record)
        changes: dict[str, object] = {}
        if batches:
            fields = batches[-1].fields
            changes = {
                "position": fields.last_position or self._board.of(stream.name).position,
                "last_change_at_us": fields.last_committed_at_us or at_us or self._now_us(),
            }
        self._board.update(
            stream.name,
            epoch=record.epoch,
            sealed_seq=record.next_seq - 1,
            rows_captured=checkpoint.rows,
            phase=STREAMING if checkpoint.phase == LOG else SNAPSHOT,
            **changes,
        )

    def _put_of(self, part: StreamWork) -> StreamPut:
        stream = part.stream
        before = record = stream.record
        kept = checkpoint_of(before)
        rows, first_seq, fingerprint = kept.rows, kept.first_seq, kept.schema
        if part.checkpoint.phase == RANGE and not first_seq:
            first_seq = record.next_seq  # nothing of the range was read before this
        batches: list[SealedBatch] = []
        schemas: dict[bytes, TableSchema] = {}
        epochs: list[NewEpoch] = []
        checkpoint = part.checkpoint
        try:
            for step in part.steps:
                if isinstance(step, Anew):
                    epochs.append(NewEpoch(record.epoch + 1, record.next_seq, record.checkpoint, AGENT, step.why))
                    record, rows, first_seq, fingerprint = record.next_epoch(), 0, 0, ""
                    continue
                made = self._sealed(stream, step, record, first_seq)
                if step.last_of_snapshot:
                    first_seq = 0
                schema = stream.sealing.transform.schema
                schemas[schema.fingerprint] = schema
                batches += made
                if made:
                    record = replace(record, next_seq=made[-1].seq + 1, chain=made[-1].chain)
                    fingerprint = schema.fingerprint.hex()
                rows += step.rows.num_rows
        except AgentError as error:
            part.failed = error
            checkpoint = parking(checkpoint, error)
        checkpoint = checkpoint.advanced(rows=rows, first_seq=first_seq, schema=fingerprint)
        after: StreamRecord = replace(record, checkpoint=checkpoint.to_json())
        return StreamPut(before, after, batches, tuple(schemas.values()), tuple(epochs))

    def _sealed(self, stream: LogStream, step: Rows, record: StreamRecord, first_seq: int) -> list[SealedBatch]:
        if not step.rows.num_rows and not step.last_of_snapshot:
            return []
        rows = stream.sealing.transformed_as(step.shape, step.rows)
        return stream.sealing.sealed(
            rows,
            record.link,
            ends_transaction=step.ends_transaction,
            snapshot=step.snapshot,
            last_of_snapshot=step.last_of_snapshot,
            first_seq=first_seq if step.key_range is not None else 0,
            key_range=step.key_range,
        )
