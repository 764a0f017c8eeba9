"""Snapshots: the table as it is, in key order, in pieces, resumable after each piece.

A snapshot is no single moment: each statement of `table.CHUNK_ROWS` rows sees the table as of its own. What changes
meanwhile behind the reader is caught by the mode that goes on from the bound taken before the snapshot began. Without a
key there is nothing to resume from: such a copy is one statement, and an interrupted one begins again under the next
snapshot's number, so that nothing of the interrupted one counts.

Rows have op `r` and the position `snapshot:<number>:<key of the piece's last row>`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from forebay_agent.capture.captured import Captured, Checkpoint
from forebay_agent.capture.source import RowRange
from forebay_agent.capture.table import START, CapturedTable, shown
from forebay_wire.columns import Op

SNAPSHOT: Final = "snapshot"
DONE: Final = "done"
"""phase of mode snapshot when its copy is complete; set back to `start`, the next poll takes the next one"""


class SnapshotCapture:
    """Mode snapshot: one copy, and then nothing until another is asked for."""

    def __init__(self, table: CapturedTable) -> None:
        self._table = table
        self.guarantee = "Holds the rows as each was read during the copy; later changes are not seen."
        if not table.shape.key:
            self.guarantee += (
                " The table has no key: an interrupted copy begins again, and the platform keeps its history only."
            )

    def poll(self, checkpoint: Checkpoint) -> Iterator[Captured]:
        self._table.follow()
        checkpoint = self._table.claim(checkpoint)
        if checkpoint.phase in (START, SNAPSHOT):
            yield from take(self._table, checkpoint, then=DONE)


def take(table: CapturedTable, checkpoint: Checkpoint, *, then: str) -> Iterator[Captured]:
    """Begins a snapshot or goes on with the one that the checkpoint is in; its last piece enters phase `then`.

    The checkpoint's `low` is carried along untouched: the bound that the mode goes on from.
    """
    key = table.shape.key
    if checkpoint.phase != SNAPSHOT or not key:
        checkpoint = checkpoint.advanced(phase=SNAPSHOT, snapshot=checkpoint.snapshot + 1, after=None)
    for rows, last in table.pieces(RowRange(order=key, after=checkpoint.after)):
        if key and rows.num_rows:
            checkpoint = checkpoint.advanced(after=table.marks_of(rows, key))
        checkpoint = checkpoint.advanced(rows=checkpoint.rows + rows.num_rows)
        where = json.dumps(checkpoint.after or (), ensure_ascii=False, separators=(",", ":"))
        if last:
            checkpoint = checkpoint.advanced(phase=then, after=None)
        yield Captured(
            table.finished(rows, Op.READ.value, shown(f"snapshot:{checkpoint.snapshot}:{where}")),
            checkpoint,
            snapshot=checkpoint.snapshot,
            last_of_snapshot=last,
        )
