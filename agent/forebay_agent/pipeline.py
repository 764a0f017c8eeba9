"""The agent's story: capture -> transform -> drop what a window read again -> seal -> outbox.

`StreamPipeline.step` is one poll of one table. Its capture reads on the caller's thread (a source's session belongs to one
thread); each piece is transformed, sealed and put into the outbox on the sealer's thread while the next ones are read.
So at most AHEAD + 1 pieces are in memory, and a piece's checkpoint goes nowhere but into the transaction that keeps its
batch. After one piece that could not be kept, no later one is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import closing
from dataclasses import dataclass
from typing import Final, cast

import pyarrow as pa

from forebay_agent.capture.captured import Capture, Captured, Checkpoint
from forebay_agent.capture.source import TableShape
from forebay_agent.clock import Clock
from forebay_agent.errors import AgentError, CollectorBehind, OutboxDamaged, StateLost
from forebay_agent.outbox import Outbox, SeenChanges, StreamRecord, Superseded
from forebay_agent.reread import drop_unchanged
from forebay_agent.sealing import Sealing
from forebay_agent.stream_state import SNAPSHOT, STREAMING, Board
from forebay_agent.transform import Transform
from forebay_wire.digest import DigestAlgorithm
from forebay_wire.seal import SealedBatch
from forebay_wire.stream import StreamName

AHEAD: Final = 2
"""pieces handed to the sealer's thread and not kept yet; with one, the database waits while the sealer syncs a disk"""

TURN_SECONDS: Final = 10.0
"""a step leaves off after so long, at a piece's end, for the source's other tables"""


@dataclass(frozen=True, slots=True)
class Opened:
    """A table as it was opened in this session: its capture, its shape, and what turns a shape into a transform."""

    capture: Capture
    shape: TableShape
    transform_of: Callable[[TableShape], Transform]


class StreamPipeline:
    """One table of one source.

    tick: called after every piece, so that whoever watches sees progress. stopping: a step ends at the piece that it is
    at once this says so.
    """

    def __init__(
        self,
        name: StreamName,
        opened: Opened,
        outbox: Outbox,
        sealer: Executor,
        board: Board,
        clock: Clock,
        *,
        algorithm: DigestAlgorithm = DigestAlgorithm.SM3,
        tick: Callable[[], None] = lambda: None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self.name = name
        self.opened = opened
        self._outbox = outbox
        self._sealer = sealer
        self._board = board
        self._clock = clock
        self._tick = tick
        self._stopping = stopping
        self._sealing = Sealing(name, opened.shape, opened.transform_of, clock, algorithm)
        self._record = outbox.stream(name)

    def step(self) -> bool:
        """Captures what is settled at the source now; whether it left off before the end, for others' sake.

        Raises:
            StateLost, CollectorBehind: collector and outbox do not fit together; only a reset goes on.
            OutboxFull: no room, nothing was lost: the next step reads again from the checkpoint.
            OutboxDamaged, StateFolderUnusable: the process must end.
            and what captures and transforms raise.
        """
        self._record = self._outbox.stream(self.name)
        refuse_unfit(self._record)
        self._outbox.check_room()
        checkpoint = checkpoint_of(self._record)
        self._show_record(checkpoint)
        try:
            with closing(cast("_Closable", self.opened.capture.poll(checkpoint))) as pieces:
                left_off = self._take(pieces)
        except Superseded:
            return True
        self._board.capturing(self.name, None)
        self._board.update(
            self.name,
            waits=self.waits,
            guarantee=self.opened.capture.guarantee,
            last_poll_at_us=self._clock.now_us(),
        )
        return left_off

    def send(self, rows: pa.RecordBatch) -> None:
        """Keeps rows beside what is captured: the checkpoint stays. Returns when they are in the outbox. Raises as `step`."""
        self._record = self._outbox.stream(self.name)
        refuse_unfit(self._record)
        self._outbox.check_room()
        if rows.num_rows:
            self._sealer.submit(self._keep, Captured(rows, checkpoint_of(self._record), beside=True)).result()

    @property
    def transform(self) -> Transform:
        """As the rows sealed last needed it."""
        return self._sealing.transform

    @property
    def waits(self) -> str:
        """What the capture waits for at the source, in words; empty when for nothing."""
        return cast(str, getattr(self.opened.capture, "waiting", ""))

    @property
    def settlings(self) -> int:
        """How often what it waited for has settled (`capture/settled.py`)."""
        return cast(int, getattr(self.opened.capture, "settlings", 0))

    def _take(self, pieces: Iterator[Captured]) -> bool:
        # without a key there is nothing to resume a copy from: it is read to its end
        until = self._clock.monotonic() + TURN_SECONDS if self.opened.shape.key else float("inf")
        in_flight: deque[Future[None]] = deque()
        turn = _Turn()
        left_off = False
        try:
            for captured in pieces:
                if len(in_flight) >= AHEAD:
                    in_flight.popleft().result()
                in_flight.append(self._sealer.submit(self._keep_in, turn, captured))
                if not captured.rows.num_rows:
                    # moves the checkpoint only; what the capture does next may rely on it
                    _wait(in_flight)
                self._tick()
                if self._stopping() or self._clock.monotonic() > until:
                    left_off = True
                    break
            _wait(in_flight)
        except BaseException:
            for pending in in_flight:
                pending.exception()  # what was read is kept, and nothing goes on beside the next step
            raise
        return left_off

    def _keep_in(self, turn: _Turn, captured: Captured) -> None:
        """On the sealer's thread: keeps a piece unless one before it was not kept."""
        if turn.failed:
            return
        try:
            self._keep(captured)
        except BaseException:
            turn.failed = True
            raise

    def _keep(self, captured: Captured) -> None:
        """On the sealer's thread: one piece, from rows as read to durable batches."""
        rows = self._sealing.transformed(captured.rows)
        schema = self.transform.schema
        record = self._record
        changes = SeenChanges(forget_all=True) if captured.snapshot or captured.beside else None
        if captured.reread is not None:
            rows, changes = drop_unchanged(
                rows,
                [field.name for field in schema.columns],
                schema.key,
                captured.reread,
                record.window,
                lambda keys: self._outbox.seen(record.id, keys),
            )
            if not (changes.remember or changes.forget or rows.num_rows):
                changes = None
        before = checkpoint_of(record)
        batches: list[SealedBatch] = []
        if rows.num_rows or captured.last_of_snapshot:
            batches = self._sealing.sealed(
                rows,
                record.link,
                ends_transaction=captured.ends_transaction,
                snapshot=captured.snapshot,
                last_of_snapshot=captured.last_of_snapshot,
            )
        checkpoint = captured.checkpoint.advanced(
            rows=before.rows + rows.num_rows, schema=schema.fingerprint.hex() if batches else before.schema
        )
        if not batches and checkpoint == before and (changes is None or changes.forget_all):
            return
        self._record = self._outbox.put(
            record, batches, checkpoint.to_json(), schema=schema if batches else None, seen_changes=changes
        )
        self._show_record(checkpoint)
        if batches:
            self._board.update(
                self.name,
                position=batches[-1].fields.last_position,
                last_change_at_us=batches[-1].fields.last_committed_at_us or self._clock.now_us(),
            )

    def _show_record(self, checkpoint: Checkpoint) -> None:
        if self._board.of(self.name).epoch not in (0, self._record.epoch):
            self._board.update(self.name, durable_seq=0, loaded_seq=0)
        self._board.update(
            self.name,
            epoch=self._record.epoch,
            sealed_seq=self._record.next_seq - 1,
            rows_captured=checkpoint.rows,
            phase=SNAPSHOT if checkpoint.phase in ("start", "snapshot") else STREAMING,
        )


@dataclass(slots=True)
class _Turn:
    """The pieces of one step. failed: from here on none is kept."""

    failed: bool = False


def _wait(in_flight: deque[Future[None]]) -> None:
    """Until all are kept. Raises what the first that was not kept met."""
    while in_flight:
        in_flight.popleft().result()


class _Closable(Iterator[Captured]):
    """A generator, as far as it matters here."""

    def close(self) -> None:
        """Ends the reading."""


def checkpoint_of(record: StreamRecord) -> Checkpoint:
    """Raises OutboxDamaged when the outbox holds something else."""
    try:
        return Checkpoint.from_json(record.checkpoint)
    except (ValueError, TypeError) as error:
        raise OutboxDamaged(f"{record.name}: the outbox holds a checkpoint that cannot be read") from error


def refuse_unfit(record: StreamRecord) -> None:
    """What is captured now could never be taken by the collector."""
    if record.hold is None:
        return
    for kind in (StateLost, CollectorBehind):
        if record.hold.code == kind.code:
            refusal: AgentError = kind(record.hold.reason)
            raise refusal
