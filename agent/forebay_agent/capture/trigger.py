"""Mode trigger: changes that triggers write to a change table, in the transaction that changes the table.

Deletes and changed keys are seen. First the change ids are settled (`settled.py`: an id is drawn inside the transaction),
then a snapshot is taken, then each poll reads the changes with

    low < id <= newest settled id          in the order of ids

and purges, at its beginning, the changes that the checkpoint handed to it has passed: those are durable. Changes made
during the snapshot are read again from the change table, so a row may for a moment be older than the snapshot showed.

The change table holds every column that is configured, so that it stays as it is when one is approved later; what is
read of it are the columns that are captured.

Without triggers changes go unseen, so each poll looks for them. Where they are gone, or lack a column, the checkpoint first
goes back to its start, durably, and only then are they installed again (or TriggerMissing raised): the next poll after
takes a new snapshot, which makes good what was missed, deletes included. What the change table holds beyond the checkpoint
is read before that snapshot, never after it: it may be older than what was missed.

Rows have the op, the time and, as `change:<id>`, the position that the trigger wrote.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Final, TypeGuard

import pyarrow as pa
import pyarrow.compute as pc

from forebay_agent.capture import snapshot
from forebay_agent.capture.captured import Captured, Checkpoint
from forebay_agent.capture.settled import Settled
from forebay_agent.capture.source import (
    CHANGE_AT,
    CHANGE_ID,
    CHANGE_OP,
    ChangeTable,
    RowRange,
    Source,
    TableShape,
    TriggerSource,
)
from forebay_agent.capture.table import START, CapturedTable, empty
from forebay_agent.errors import PrivilegeMissing, SourceError, StatementTimeout, TriggerMissing
from forebay_wire.columns import CHANGE_FIELDS

TRIGGER: Final = "trigger"
_NONE_YET: Final = "0"
_COMMITTED_AT: Final = CHANGE_FIELDS[2].type


def offers_triggers(source: Source) -> TypeGuard[TriggerSource]:
    return hasattr(source, "change_table")


class TriggerCapture:
    """waiting: which transactions the settled change id waits for, in words; empty when it waits for none."""

    guarantee = (
        "Sees every change that the table's triggers see, deletes included; not what bypasses triggers (TRUNCATE, bulk "
        "loads that switch them off)."
    )

    def __init__(
        self, table: CapturedTable, source: TriggerSource, configured: Callable[[], TableShape] | None = None
    ) -> None:
        """configured: describes the table with every column that is configured, where not all of them are captured."""
        self._table = table
        self._source = source
        self._configured = configured or (lambda: table.shape)
        self._settled = Settled()
        self._purged: str | None = None
        self.waiting = ""

    def poll(self, checkpoint: Checkpoint) -> Iterator[Captured]:
        """See `Capture.poll`. Yields nothing while the first change id is not settled; `waiting` says why. Raises
        TriggerMissing with the statements to run when triggers are missing and may not be installed."""
        self._table.follow()
        checkpoint = self._table.claim(checkpoint)
        changes = self._source.change_table(self._configured())
        if not self._source.installed(changes):
            if checkpoint.phase != START:
                checkpoint = checkpoint.advanced(phase=START, after=None)
                yield Captured(self._table.finished(empty(self._table.shape), "r", "trigger:gone"), checkpoint)
            self._install(changes)
            self._settled = Settled(settlings=self._settled.settlings)
        self._purge(changes, checkpoint)
        self._observe(changes)
        if not self._settled.known:
            return
        bound = self._settled.bound or _NONE_YET
        if checkpoint.phase == START:
            if checkpoint.low is not None and int(bound) > int(checkpoint.low):
                for piece in self._changes(changes, checkpoint, bound):
                    checkpoint = piece.checkpoint
                    yield piece
            checkpoint = checkpoint.advanced(low=bound)
        if checkpoint.phase in (START, snapshot.SNAPSHOT):
            for piece in snapshot.take(self._table, checkpoint, then=TRIGGER):
                checkpoint = piece.checkpoint
                yield piece
        if int(bound) > int(checkpoint.low or _NONE_YET):
            yield from self._changes(changes, checkpoint, bound)

    @property
    def settlings(self) -> int:
        """How often what was waited for has settled (`settled.py`)."""
        return self._settled.settlings

    def _install(self, changes: ChangeTable) -> None:
        if not self._table.config.install:
            raise TriggerMissing(
                f"{self._table.shape.table}: change table and triggers are not installed, or do not fit its columns",
                sql=";\n".join(changes.install) + ";",
            )
        self._source.install(changes)

    def _purge(self, changes: ChangeTable, checkpoint: Checkpoint) -> None:
        """Once per advance of the checkpoint, so that an idle table is never written to. A purge that fails for the
        moment (another session holds a lock) is left to the next poll; capture goes on."""
        passed = checkpoint.low
        if checkpoint.phase != TRIGGER or passed in (None, _NONE_YET, self._purged) or not self._table.config.purge:
            return
        with contextlib.suppress(SourceError, StatementTimeout):
            self._source.purge(changes, passed)
            self._purged = passed

    def _observe(self, changes: ChangeTable) -> None:
        horizon = self._source.horizon(changes.shape, CHANGE_ID)
        if horizon.open is None:
            raise PrivilegeMissing(
                f"{self._table.shape.table}: this user cannot see open transactions, so that changes that commit late "
                "would be lost",
                remedy="Grant what `forebay-agent check` names, so that open transactions can be seen.",
            )
        self._settled = self._settled.observed(horizon.highest, horizon.open)
        pending = self._settled.pending
        self.waiting = (
            ""
            if pending is None
            else f"changes of {self._table.shape.table} up to {pending.highest} wait for the end of transactions "
            f"{', '.join(sorted(pending.waits_for)[:5])}"
        )

    def _changes(self, changes: ChangeTable, checkpoint: Checkpoint, bound: str) -> Iterator[Captured]:
        rows = RowRange((CHANGE_ID,), after=(checkpoint.low or _NONE_YET,), through=bound)
        captured = (column.name for column in self._table.shape.columns)
        shape = changes.shape.with_columns((CHANGE_ID, CHANGE_OP, CHANGE_AT, *captured))
        for piece, last in self._table.pieces(rows, shape):
            low = bound if last else self._table.marks_of(piece, (CHANGE_ID,))[0]
            checkpoint = checkpoint.advanced(low=low, rows=checkpoint.rows + piece.num_rows)
            yield Captured(self._with_changes(piece), checkpoint)

    def _with_changes(self, piece: pa.RecordBatch) -> pa.RecordBatch:
        ids = piece.column(CHANGE_ID).cast(pa.string())
        at = piece.column(CHANGE_AT).cast(pa.timestamp("us"))
        return self._table.finished(
            piece,
            piece.column(CHANGE_OP).cast(pa.string()),
            pc.binary_join_element_wise("change:", ids, ""),
            pc.assume_timezone(at, _COMMITTED_AT.tz),
        )
