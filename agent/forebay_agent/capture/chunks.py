"""Snapshots beside the log: a table is copied chunk by chunk while its log is captured, and nothing is written to it.

A chunk is read in one snapshot of the database that holds everything the log has told so far. Then the log goes on until
it has passed all that the chunk could have seen; keys that it tells of on the way are dropped from the chunk, because
what the log told is newer or the same. Then the rest of the chunk is handed on. So a row never goes back in time
(after DBLog, Andreakis and Papapanagiotou 2020, without its watermark table: positions are read, not written).

A change of the log may leave large unchanged columns out (`_absent`). Where the log told of a key but never of such a
column, the chunk's value of it is handed on by itself, after the log's changes: it did not change meanwhile.

A table without a key is copied in one go, from one snapshot, interleaved with the log; a copy that was interrupted
begins again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from forebay_agent.capture.captured import Checkpoint
from forebay_agent.capture.log import LogReader, LogRows, LogSource
from forebay_agent.capture.pace import Pace
from forebay_agent.capture.source import RowRange, TableShape
from forebay_agent.capture.table import CapturedTable, empty, shown
from forebay_wire.canonical import canonical_rows, digests, select
from forebay_wire.columns import ABSENT, CHANGE_FIELDS, OP, Op

CHUNK_BYTES: Final = 16 << 20
"""Arrow bytes of one chunk, as far as one batch of the source allows"""


@dataclass(frozen=True, slots=True)
class Copied:
    """Rows of a snapshot to be handed on, and the checkpoint that holds with them. fills: columns that the log left out, as
    changes; None when there are none."""

    rows: pa.RecordBatch
    checkpoint: Checkpoint
    last: bool
    fills: pa.RecordBatch | None = None


@dataclass(slots=True)
class _Chunk:
    rows: pa.RecordBatch
    last: bool
    target: str  # the log must have passed this
    told: list[pa.RecordBatch] = field(
        default_factory=list
    )  # key, op and absent columns of what the log told meanwhile


class KeyedCopy:
    """One snapshot of a table with a key: `begin` reads a chunk, `saw` hears what the log tells, `finish` gives the rest."""

    def __init__(self, table: CapturedTable, source: LogSource, pace: Pace) -> None:
        self._table = table
        self._source = source
        self._pace = pace
        self._chunk: _Chunk | None = None

    @property
    def target(self) -> str | None:
        """The log checkpoint that the chunk at hand waits for; None: there is no chunk."""
        return self._chunk.target if self._chunk is not None else None

    def begin(self, checkpoint: Checkpoint, reader: LogReader, tick: Callable[[], None]) -> None:
        """Reads the chunk after the checkpoint's."""
        shape, key = self._table.shape, self._table.shape.key
        limit = self._pace.rows
        batches: list[pa.RecordBatch] = []
        count = size = 0
        whole = True
        started = self._table.monotonic()
        rows_wanted = RowRange(key, checkpoint.after, checkpoint.low, through=checkpoint.through, limit=limit)
        reading = self._source.read_chunk(shape, rows_wanted, reader)
        try:
            for batch in reading:
                batches.append(batch)
                count, size = count + batch.num_rows, size + batch.nbytes
                tick()
                if size >= CHUNK_BYTES and count < limit:
                    whole = False
                    break
        finally:
            _close(reading)
        self._pace.took(count, size, self._table.monotonic() - started)
        rows = pa.concat_batches(batches) if batches else empty(shape)
        self._chunk = _Chunk(rows, whole and count < limit, self._source.log_end())

    def saw(self, rows: LogRows) -> None:
        """The log told this, after the chunk at hand was read."""
        if self._chunk is not None:
            self._chunk.told.append(rows.rows.select([*self._table.shape.key, OP, ABSENT]))

    def cancel(self) -> None:
        """The chunk at hand is of no more use."""
        self._chunk = None

    def finish(self, checkpoint: Checkpoint, then: str) -> Copied:
        """The chunk at hand, less what the log told of meanwhile. The last one enters phase `then`."""
        assert self._chunk is not None
        chunk, self._chunk = self._chunk, None
        key = self._table.shape.key
        if chunk.rows.num_rows:
            checkpoint = checkpoint.advanced(after=self._table.marks_of(chunk.rows, key))
        position = _position(checkpoint)
        if chunk.last:
            checkpoint = checkpoint.advanced(phase=then, after=None, low=None, through=None)
        told = pa.Table.from_batches(chunk.told) if chunk.told else None
        kept, fills = chunk.rows, None
        if told is not None and told.num_rows and chunk.rows.num_rows:
            touched = _touched(chunk.rows, told, key)
            kept = chunk.rows.filter(pc.invert(touched))
            if told.column(ABSENT).null_count < told.num_rows:
                fills = self._fills(chunk.rows.filter(touched), told, position)
        return Copied(self._table.finished(kept, Op.READ.value, position), checkpoint, chunk.last, fills)

    def _fills(self, rows: pa.RecordBatch, told: pa.Table, position: str) -> pa.RecordBatch | None:
        """Of each key, the columns that the log left out in everything that it told: the chunk's values of them."""
        key = self._table.shape.key
        lacking: dict[bytes, frozenset[str]] = {}
        each = digests(canonical_rows(select(told, key)))
        for digest, op, absent in zip(each, told.column(OP).to_pylist(), told.column(ABSENT).to_pylist(), strict=True):
            names = frozenset(absent or ())
            if op == Op.DELETE.value:
                names = frozenset()
            elif digest in lacking:
                names &= lacking[digest]
            lacking[digest] = names
        all_names = [column.name for column in self._table.shape.columns]
        wanted = [lacking.get(digest, frozenset()) for digest in digests(canonical_rows(select(rows, key)))]
        if not any(wanted):
            return None
        some = rows.filter(pa.array([bool(each) for each in wanted]))
        absent = [[name for name in all_names if name not in each and name not in key] for each in wanted if each]
        finished = self._table.finished(some, Op.UPDATE.value, position)
        return finished.set_column(finished.schema.names.index(ABSENT), ABSENT, pa.array(absent, CHANGE_FIELDS[3].type))


class WholeCopy:
    """One snapshot of a table without a key: `next` gives a part at a time."""

    def __init__(self, table: CapturedTable, source: LogSource, reader: LogReader) -> None:
        self._table = table
        self._reading = source.read_chunk(table.shape, RowRange(()), reader)

    def next(self, checkpoint: Checkpoint, then: str) -> Copied:
        """The next part; the last one is empty and enters phase `then`."""
        position = _position(checkpoint)
        rows = next(self._reading, None)
        if rows is None:
            return Copied(
                self._table.finished(empty(self._table.shape), Op.READ.value, position),
                checkpoint.advanced(phase=then),
                True,
            )
        return Copied(self._table.finished(rows, Op.READ.value, position), checkpoint, False)

    def cancel(self) -> None:
        """Leaves the copy."""
        _close(self._reading)


def _position(checkpoint: Checkpoint) -> str:
    where = json.dumps(checkpoint.after or (), ensure_ascii=False, separators=(",", ":"))
    return shown(f"snapshot:{checkpoint.snapshot}:{where}")


def _touched(rows: pa.RecordBatch, told: pa.Table, key: tuple[str, ...]) -> pa.BooleanArray:
    """Which rows' keys the log told of. Most tables' keys are one column; of others, the first tells most apart."""
    candidates: pa.BooleanArray = pc.is_in(rows.column(key[0]), value_set=told.column(key[0]).combine_chunks())
    if len(key) == 1 or not pc.any(candidates).as_py():
        return candidates
    known = set(digests(canonical_rows(select(told, key))))
    places = pc.indices_nonzero(candidates)
    hits = [digest in known for digest in digests(canonical_rows(select(rows.take(places), key)))]
    touched = [False] * rows.num_rows
    for place, hit in zip(places.to_pylist(), hits, strict=True):
        touched[place] = hit
    return pa.array(touched, pa.bool_())


def _close(reading: Iterator[pa.RecordBatch]) -> None:
    close = getattr(reading, "close", None)
    if close is not None:
        close()


def same_columns(one: TableShape, other: TableShape) -> bool:
    """Whether rows of one are rows of the other: names, types and key; how the database names the types may differ."""
    return one.key == other.key and [(c.name, c.arrow, c.carried) for c in one.columns] == [
        (c.name, c.arrow, c.carried) for c in other.columns
    ]
