"""SourceDigest, SourceKeys, SourceRows: a table as it is at its source, told in digests (`forebay_wire.canonical`).

Read beside the capture (`verifying/reading.py`), which goes on. The answer names the seq that the stream was sealed up to
before: what is sealed after it may be newer than what was read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import Any, Final, cast

import pyarrow as pa

from forebay_agent.control.addressing import Workers, find
from forebay_agent.errors import CommandUnfit, StreamPaused
from forebay_agent.lane import Lane
from forebay_agent.outbox import Outbox
from forebay_agent.source_worker import SourceWorker
from forebay_agent.verifying.reading import Readings
from forebay_wire.canonical import (
    CELLS,
    MOST_CELLS,
    Digester,
    canonical_rows,
    column_digests,
    in_cells,
    row_digests,
    select,
)
from forebay_wire.part import Part
from forebay_wire.v1 import batch_pb2, control_pb2

MOST_KEYS: Final = 10_000
"""keys, and cells, of one message"""

_AHEAD: Final = 2
"""pieces that are read while one is digested"""

Emit = Callable[[control_pb2.CommandResult], None]


class Reading:
    """The handlers. Each raises StreamUnknown, StreamPaused, NotApproved, KeyMissing, OutsideWindow, CommandUnfit, and
    what reading the table raises."""

    def __init__(self, outbox: Outbox, workers: Workers, readings: Readings) -> None:
        self._outbox = outbox
        self._workers = workers
        self._readings = readings

    def digest(self, command: control_pb2.Command, emit: Emit) -> control_pb2.CommandResult:
        """Answers rows and digest of every cell."""
        asked = command.source_digest
        worker, lane, answer = self._to_be_read(asked.stream)
        digester = Digester(_cells(asked.cells))
        with (
            self._readings.table(worker, lane, asked.rows_per_second) as table,
            ThreadPoolExecutor(1, thread_name_prefix="digest") as beside,
            closing(_generator(table.pieces(Part.from_proto(asked.part)))) as pieces,
        ):
            columns, key = table.columns, table.schema.key
            under_way: list[Future[None]] = []
            for rows in pieces:
                if len(under_way) >= _AHEAD:
                    under_way.pop(0).result()
                under_way.append(beside.submit(digester.add, select(rows, key), select(rows, columns)))
            for future in under_way:
                future.result()
            through = table.through
        told = digester.table()
        part = control_pb2.CommandResult()
        for number, rows_of_cell, digest in told:
            if len(part.buckets) == MOST_KEYS:
                emit(part)
                part = control_pb2.CommandResult()
            part.buckets.append(control_pb2.BucketDigest(bucket=number, rows=rows_of_cell, digest=digest))
        answer.buckets.extend(part.buckets)
        answer.rows = told.count
        answer.effect = f"{lane.name}: read at its source, {told.count:,} rows"
        if through is not None:
            answer.through = through
        return answer

    def keys(self, command: control_pb2.Command, emit: Emit) -> control_pb2.CommandResult:
        """Answers every key of these cells with its row's digest, at most MOST_KEYS in one message."""
        asked = command.source_keys
        worker, lane, answer = self._to_be_read(asked.stream)
        wanted = bytearray(_cells(asked.cells))
        for number in asked.buckets:
            if number >= len(wanted):
                raise CommandUnfit(f"there is no cell {number} of {len(wanted)}")
            wanted[number] = 1
        telling = _Telling(emit, answer)
        with self._readings.table(worker, lane, asked.rows_per_second) as table:
            for rows in table.pieces(Part.from_proto(asked.part)):
                chosen = rows.take(in_cells(select(rows, table.schema.key), wanted))
                telling.tell(chosen, table.schema.key, table.columns)
        return telling.ended(f"{lane.name}: read at its source, {telling.count:,} keys told")

    def rows(self, command: control_pb2.Command, emit: Emit) -> control_pb2.CommandResult:
        """Answers those of the keys that are there now, with their rows' digests."""
        asked = command.source_rows
        worker, lane, answer = self._to_be_read(asked.stream)
        telling = _Telling(emit, answer)
        with self._readings.table(worker, lane) as table:
            telling.tell(table.at(list(asked.keys)), table.schema.key, table.columns, each_column=asked.columns)
        effect = f"{lane.name}: looked up at its source, {telling.count:,} of {len(asked.keys):,} keys are there"
        return telling.ended(effect)

    def _to_be_read(self, stream: batch_pb2.Stream) -> tuple[SourceWorker, Lane, control_pb2.CommandResult]:
        """-> what reads it, and the answer as it begins."""
        worker, lane = find(self._workers, stream)
        if lane.paused:
            raise StreamPaused(f"{lane.name} is not read: {lane.paused}")
        record = self._outbox.stream(lane.name)
        return worker, lane, control_pb2.CommandResult(epoch=record.epoch, seq=record.next_seq - 1)


class _Telling:
    """Keys with their digests, in messages of bounded size; the last of them is `answer`."""

    def __init__(self, emit: Emit, answer: control_pb2.CommandResult) -> None:
        self._emit = emit
        self._answer = answer
        self._part = control_pb2.CommandResult()
        self.count = 0

    def tell(
        self, rows: pa.RecordBatch, key: tuple[str, ...], columns: list[str], *, each_column: bool = False
    ) -> None:
        if not rows.num_rows:
            return
        keys = canonical_rows(select(rows, key)).to_pylist()
        values = select(rows, columns)
        of_columns = [each.to_pylist() for each in column_digests(values)] if each_column else []
        for place, (one, digest) in enumerate(zip(keys, row_digests(values).to_pylist(), strict=True)):
            told = [
                control_pb2.ColumnDigest(name=name, digest=each[place])
                for name, each in zip(columns, of_columns, strict=bool(of_columns))
            ]
            if len(self._part.keys) == MOST_KEYS:
                self._emit(self._part)
                self._part = control_pb2.CommandResult()
            self._part.keys.append(control_pb2.KeyDigest(key=one, digest=digest, columns=told))
            self.count += 1

    def ended(self, effect: str) -> control_pb2.CommandResult:
        answer = self._answer
        answer.keys.extend(self._part.keys)
        answer.rows = self.count
        answer.effect = effect
        return answer


def _cells(asked: int) -> int:
    """Raises CommandUnfit."""
    cells = asked or CELLS
    if cells > MOST_CELLS or cells & (cells - 1):
        raise CommandUnfit(f"{cells} cells: must be a power of two, at most {MOST_CELLS}")
    return cells


def _generator(pieces: Iterator[pa.RecordBatch]) -> Any:
    return cast(Any, pieces)
