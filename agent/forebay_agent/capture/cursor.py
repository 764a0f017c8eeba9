"""Mode cursor: rows whose cursor column grew, read in windows that end at a settled bound.

First a bound is settled (`settled.py`), then a snapshot is taken, then each poll reads one window

    low less overlap <= cursor <= newest settled bound          ordered by (cursor, key)

in pieces, resumable inside the window; at its end `low` becomes the bound. The window includes `low` itself, since rows
with an equal value may come later (a DATE cursor gives the whole day's rows one value); so each window carries `Reread`,
by which the pipeline drops what it has sent before unchanged. `unique_cursor` promises that values are never shared:
then a window begins strictly after `low` and nothing is read twice.

Where the database cannot tell what is open, `highest` itself is the bound and every window reaches back at least
`UNTOLD_OVERLAP`; what commits later than that is lost, and the guarantee says so.

`low` follows the bound downwards too (the highest rows were deleted): everything at or below it was captured all the
same, and numbers that are used again are then read.

Rows have op `u`: a cursor cannot tell a new row from a changed one. Position: `cursor:<cursor and key of the piece's
last row>`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from forebay_agent.capture import snapshot
from forebay_agent.capture.captured import Captured, Checkpoint, Reread
from forebay_agent.capture.overlap import lowered
from forebay_agent.capture.settled import Settled
from forebay_agent.capture.source import Horizon, RowRange
from forebay_agent.capture.table import START, CapturedTable, empty, shown
from forebay_wire.columns import Op

CURSOR: Final = "cursor"
UNTOLD_OVERLAP: Final = timedelta(seconds=60)
REST_FACTOR: Final = 4
"""a window that holds nothing but what is read again is not read again for so many times as long as it took"""
_REST_FROM_SECONDS: Final = 0.25


class CursorCapture:
    """waiting: which transactions the bound waits for, in words; empty when it waits for none."""

    def __init__(self, table: CapturedTable) -> None:
        self._table = table
        self._column = table.config.cursor
        self._settled = Settled()
        self._told = True
        self._rest_until = 0.0
        self.waiting = ""
        self.guarantee = self._guarantee()

    @property
    def settlings(self) -> int:
        """How often what was waited for has settled (`settled.py`)."""
        return self._settled.settlings

    def _guarantee(self) -> str:
        """As far as is known by now: whether open transactions can be told shows at the first poll."""
        column, config = self._column, self._table.config
        sees = f"Sees every committed row whose {column} grew, late commits included"
        if not self._told:
            reach = self._overlap()
            sees = (
                f"Sees rows whose {column} grew and that commit within {reach} of drawing it (this user cannot see open "
                "transactions, so later commits are lost)"
                if reach
                else f"Sees rows whose {column} grew and that commit in the order of {column} (this user cannot see open "
                "transactions and no overlap is set, so late commits are lost)"
            )
        shared = f"; relies on {column} never being shared or used again" if config.unique_cursor else ""
        return (
            f"{sees}{shared}. Deletes are not seen, nor changes that leave {column} as it is; rows whose {column} is NULL "
            "are seen by the snapshot only."
        )

    def poll(self, checkpoint: Checkpoint) -> Iterator[Captured]:
        """See `Capture.poll`. Yields nothing while the first bound is not settled; `waiting` says why."""
        self._table.follow()
        checkpoint = self._table.claim(checkpoint)
        self._observe()
        if checkpoint.phase == START:
            if not self._settled.known:
                return
            checkpoint = checkpoint.advanced(low=self._settled.bound, through=None, after=None)
        if checkpoint.phase in (START, snapshot.SNAPSHOT):
            for piece in snapshot.take(self._table, checkpoint, then=CURSOR):
                checkpoint = piece.checkpoint
                yield piece
        if checkpoint.through is not None:  # the window that an earlier poll did not finish
            for piece in self._window(checkpoint, checkpoint.through):
                checkpoint = piece.checkpoint
                yield piece
        if not self._settled.known:
            return
        bound = self._settled.bound
        if bound is None:
            if checkpoint.low is not None:  # emptied
                yield self._piece(empty(self._table.shape), checkpoint.advanced(low=None), None)
            return
        if bound == checkpoint.low and (self._reads_once() or self._table.monotonic() < self._rest_until):
            return
        yield from self._window(checkpoint.advanced(through=bound, after=None), bound)

    def _observe(self) -> None:
        horizon: Horizon = self._table.source.horizon(self._table.shape, self._column)
        self._told = horizon.open is not None
        self.guarantee = self._guarantee()
        self._settled = self._settled.observed(horizon.highest, horizon.open or frozenset())
        pending = self._settled.pending
        self.waiting = (
            ""
            if pending is None
            else f"rows of {self._table.shape.table} up to {self._column} {pending.highest} wait for the end of "
            f"transactions {', '.join(sorted(pending.waits_for)[:5])}"
        )

    def _reads_once(self) -> bool:
        """Nothing can arrive at or below a settled bound, so that no window reaches back."""
        return self._table.config.unique_cursor and self._told

    def _overlap(self) -> timedelta | int:
        configured = self._table.config.overlap
        kind = self._table.shape.column(self._column).arrow
        if not self._told and (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
            configured = max(configured, UNTOLD_OVERLAP) if isinstance(configured, timedelta) else UNTOLD_OVERLAP
        if pa.types.is_date(kind) and isinstance(configured, timedelta):
            return timedelta(days=-(-configured // timedelta(days=1)))  # a date moves by whole days
        return configured

    def _window(self, checkpoint: Checkpoint, through: str) -> Iterator[Captured]:
        """The window from checkpoint.low to `through`, from checkpoint.after on. At its end `low` is `through`."""
        began = self._table.monotonic()
        low = checkpoint.low
        unique = self._reads_once()
        overlap = timedelta(0) if unique else self._overlap()
        key = () if unique else tuple(name for name in self._table.shape.key if name != self._column)
        order = (self._column, *key)
        # a window that was begun otherwise (unique_cursor was switched) is read anew
        after = checkpoint.after if checkpoint.after and len(checkpoint.after) == len(order) else None
        if unique:
            rows = RowRange(order, after=after or (None if low is None else (low,)), through=through)
        else:
            rows = RowRange(order, after=after, at_least=low, overlap=overlap, through=through)
        for piece, last in self._table.pieces(rows):
            if piece.num_rows:
                checkpoint = checkpoint.advanced(
                    after=self._table.marks_of(piece, order), rows=checkpoint.rows + piece.num_rows
                )
            where = checkpoint.after
            reread = None if unique else Reread(self._read_again(piece, through, overlap), last)
            if last:
                checkpoint = checkpoint.advanced(low=through, through=None, after=None)
                self._rest_until = self._rest(began, nothing_new=low == through)
            if piece.num_rows or last:
                yield self._piece(piece, checkpoint, reread, where)

    def _rest(self, began: float, *, nothing_new: bool) -> float:
        now = self._table.monotonic()
        took = now - began
        return now + REST_FACTOR * took if nothing_new and took > _REST_FROM_SECONDS else 0.0

    def _read_again(self, rows: pa.RecordBatch, through: str, overlap: timedelta | int) -> pa.BooleanArray:
        """Per row: is its value at or above the next window's beginning? For text by its bytes; where the database
        orders text otherwise, a row may be sent again, unchanged, which does no harm."""
        if not rows.num_rows:
            return pa.array([], pa.bool_())
        kind = self._table.shape.column(self._column).arrow
        values = rows.column(self._column)
        start = lowered(through, kind, overlap)
        if pa.types.is_timestamp(kind):
            values, kind = values.cast(pa.timestamp("us")), pa.timestamp("us")
        if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
            return pc.greater_equal(values, pa.scalar(bytes.fromhex(start), kind))
        return pc.greater_equal(values, pa.scalar(start).cast(kind))

    def _piece(
        self, rows: pa.RecordBatch, checkpoint: Checkpoint, reread: Reread | None, last: tuple[str, ...] | None = None
    ) -> Captured:
        where = json.dumps(last or (), ensure_ascii=False, separators=(",", ":"))
        return Captured(
            self._table.finished(rows, Op.UPDATE.value, shown(f"cursor:{where}")), checkpoint, reread=reread
        )
