"""Reading a table for verification: the columnar way of its capture, with its transform, in a session of its own.

The capture goes on meanwhile: it has its own session and thread. Rows are read in chunks by key, of the size and at the
pace of snapshots (`capture/pace.py`): `chunk_time`, `max_rows_per_second` and `snapshot_windows` of the source hold here
too, and what asks may ask for less. One table of a source is read at a time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from forebay_agent.capture.keys import KEYS_AT_ONCE, only, values_of
from forebay_agent.capture.pace import Pace
from forebay_agent.capture.plan import describe
from forebay_agent.capture.source import RowRange, Source, TableShape, Values
from forebay_agent.capture.sources import open_source
from forebay_agent.capture.table import CapturedTable
from forebay_agent.config.model import SourceConfig
from forebay_agent.errors import AgentError, CommandUnfit, KeyMissing, NotApproved, OutsideWindow
from forebay_agent.lane import Lane
from forebay_agent.source_worker import SourceWorker
from forebay_agent.transform import Transform
from forebay_wire.columns import Op
from forebay_wire.part import WHOLE, Part
from forebay_wire.schema import TableSchema

CHUNK_BYTES: Final = 256 << 20
"""Arrow bytes of one statement: they are digested as they come, never held together"""

_NAP_SECONDS: Final = 0.25


class Readings:
    """The sessions beside the captures', one per source, opened when they are needed."""

    def __init__(self, opener: Callable[[SourceConfig], Source] = open_source) -> None:
        self._opener = opener
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    @contextmanager
    def table(self, worker: SourceWorker, lane: Lane, rows_per_second: int = 0) -> Iterator[TableReading]:
        """A table to be read, by one thread. Raises NotApproved (digests tell of rows, too), KeyMissing, and what opening
        and describing raise."""
        worker.ask(worker.heed_restraints).result()  # what the centre said a moment ago holds for this, too
        if lane.unapproved:
            raise NotApproved(f"{lane.name} is not read: {lane.unapproved}")
        with self._lock:
            mine = self._locks.setdefault(worker.config.name, threading.Lock())
        with mine:
            source = self._opener(worker.config)
            try:
                yield TableReading(source, worker, lane, rows_per_second)
            finally:
                source.close()


class TableReading:
    """through: of the part that `pieces` read last, where it ended; None: at the table's end."""

    def __init__(self, source: Source, worker: SourceWorker, lane: Lane, rows_per_second: int) -> None:
        config = worker.config
        rates = [rate for rate in (config.max_rows_per_second, rows_per_second) if rate]
        self._pace = Pace(
            config.chunk_time.total_seconds(), min(rates, default=0), config.snapshot_windows, CHUNK_BYTES
        )
        self._source = source
        self._worker = worker
        self._lane = lane
        self._shape = describe(source, lane.table)
        shape = self._shape
        self._table = CapturedTable(source, shape, lambda: shape, lane.table, config.batch_rows, time.monotonic)
        self._transform = Transform(shape, lane.table)
        if not shape.key:
            raise KeyMissing(f"{lane.name} has no key: its rows cannot be compared one by one")
        self.through: str | None = None

    @property
    def schema(self) -> TableSchema:
        return self._transform.schema

    @property
    def columns(self) -> list[str]:
        """Those that a row's digest is made of, in order."""
        return [field.name for field in self.schema.columns]

    def pieces(self, part: Part = WHOLE) -> Iterator[pa.RecordBatch]:
        """The part's rows in key order, transformed; never an empty piece. Raises OutsideWindow, CommandUnfit (a part of a
        table that cannot be read in parts), and what reading raises."""
        key = self._shape.key
        if part != WHOLE:
            refuse_unordered(self._shape)
        after: Values | None = None
        count, last = 0, ""
        self.through = None
        while True:
            self._await()
            whole = bool(part.rows) and count >= part.rows  # what is left of the last value only
            through = last if whole else part.through
            limit = min(self._pace.rows, part.rows - count) if part.rows > count else self._pace.rows
            rows_wanted = RowRange(key, after, None if after else part.after, through=through, limit=limit)
            read = 0
            for piece in self._chunk(rows_wanted):
                read += piece.num_rows
                after = self._table.marks_of(piece, key)
                kept = piece if part.after is None else self._beyond(piece, part.after)
                if kept.num_rows:
                    count, last = count + kept.num_rows, after[0]
                    yield self._transform.apply(self._table.finished(kept, Op.READ.value, ""))
            if read < limit:
                self.through = last if whole else None
                return

    def at(self, keys: Sequence[bytes]) -> pa.RecordBatch:
        """Of these keys (canonical bytes) the rows that are there, transformed. Raises CommandUnfit for keys that are none
        of the table's, and what reading raises."""
        found = [self._at(keys[start : start + KEYS_AT_ONCE]) for start in range(0, len(keys), KEYS_AT_ONCE)]
        rows = pa.concat_batches(found) if found else None
        if rows is None:
            return pa.RecordBatch.from_pylist([], self.schema.arrow)
        return only(rows, self._shape.key, keys)

    def _at(self, keys: Sequence[bytes]) -> pa.RecordBatch:
        self._await()
        rows_wanted = RowRange(self._shape.key, among=values_of(self._shape, keys))
        finished = [
            self._transform.apply(self._table.finished(piece, Op.READ.value, "")) for piece in self._chunk(rows_wanted)
        ]
        return pa.concat_batches(finished) if finished else pa.RecordBatch.from_pylist([], self.schema.arrow)

    def _chunk(self, rows: RowRange) -> Iterator[pa.RecordBatch]:
        began, waited = time.monotonic(), 0.0
        count = size = 0
        reading = self._source.read(self._shape, rows)
        for piece in reading:
            if not piece.num_rows:
                continue
            count, size = count + piece.num_rows, size + piece.nbytes
            given = time.monotonic()
            yield piece
            waited += time.monotonic() - given
        if not rows.among:
            self._pace.took(count, size, time.monotonic() - began - waited)

    def _beyond(self, piece: pa.RecordBatch, after: str) -> pa.RecordBatch:
        """The rows whose first key column is greater than this; rows are in its order."""
        column = piece.column(self._shape.key[0])
        return piece.filter(pc.greater(column, pa.scalar(after).cast(column.type)))

    def _await(self) -> None:
        """Until the next chunk may be read. Raises OutsideWindow; AgentError when the agent stops."""
        while True:
            if self._worker.stopping:
                raise AgentError("the source's thread is stopping")
            if self._pace.closed:
                raise OutsideWindow(f"{self._lane.name}: read within its daily time only (snapshot_windows)")
            pause = self._pace.wait()
            if pause <= 0:
                return
            time.sleep(min(pause, _NAP_SECONDS))


def refuse_unordered(shape: TableShape) -> None:
    """Raises CommandUnfit where the first key column is not ordered everywhere alike."""
    column = shape.column(shape.key[0])
    kind = column.arrow
    ordered = (pa.types.is_integer, pa.types.is_decimal, pa.types.is_date, pa.types.is_timestamp)
    if not any(fits(kind) for fits in ordered):
        raise CommandUnfit(
            f"{shape.table}: the first key column {column.name} is {column.origin}: parts are of numbers, dates and times",
            remedy="Take the whole table.",
        )
