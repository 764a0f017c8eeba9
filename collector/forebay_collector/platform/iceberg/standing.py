"""A mirror as a load finds it: what readers see, and what is ahead of that on the branch (see `hold`)."""

from __future__ import annotations

from dataclasses import dataclass

from pyiceberg.schema import Schema
from pyiceberg.table import Table

from forebay_collector.platform.contract import PlatformError
from forebay_collector.platform.iceberg import marks
from forebay_collector.platform.iceberg.head import Head, ManifestEntries
from forebay_collector.platform.iceberg.hold import AHEAD, NOT_HELD, Held, Progress, held_of, progress_of
from forebay_collector.platform.iceberg.snapshot import Change, commit, known
from forebay_wire.stream import StreamName


@dataclass(frozen=True)
class Standing:
    """head, schema: what the next load goes on from, shown or not."""

    table: Table
    progress: Progress
    held: Held | None
    head: Head
    schema: Schema

    @classmethod
    def of(cls, table: Table, stream: StreamName, entries: ManifestEntries) -> Standing:
        held = held_of(table.properties, stream)
        progress = progress_of(table.properties, stream)
        if held is None:
            return cls(table, progress, None, Head.of(table, entries), table.schema())
        schema = table.metadata.schema_by_id(held.schema_id) or table.schema()
        return cls(table, progress, held, Head.of(table, entries, AHEAD), schema)

    def settle(self, change: Change, wanted: Schema, stream: StreamName, made: Next) -> None:
        """Decides where the commit goes: to main when the mirror may be shown after it, else to the branch."""
        change.schema = known(self.table.metadata, wanted)
        progress = made.progress
        if progress.whole:
            change.properties = {
                marks.THROUGH: marks.through(stream, progress.mark),
                marks.KEY: marks.listed(made.key),
            }
            change.audit = {marks.THROUGH: marks.through(stream, progress.mark)}
            if self.held is not None:
                change.properties[marks.AHEAD] = NOT_HELD
                change.drops = AHEAD
            return
        shown = self.table.metadata.current_snapshot_id or 0
        base = None if made.anew else self.held.base if self.held is not None else shown
        told = Held(progress, base, change.schema.schema_id, made.key).told(stream)
        change.branch = AHEAD
        change.properties = {marks.AHEAD: told}
        change.audit = {marks.AHEAD: told}


@dataclass(frozen=True, slots=True)
class Next:
    """Where a load leads the mirror. anew: a new epoch begins with it, so that nothing of before stays."""

    progress: Progress
    key: tuple[str, ...]
    anew: bool


def clear(change: Change, head: Head) -> None:
    """Lets everything go that `head` holds."""
    for file in head.files:
        change.removed.add(file.path)
        change.removed_deletes.update(delete.file_path for delete in (*file.scoped, *file.spanning))


def check_base(table: Table, stream: StreamName, entries: ManifestEntries, now_ms: int) -> None:
    """Lets go of what is held when another writer changed what it goes on from; what is shown is never overwritten.

    Raises PlatformError (not permanent) then: the mirror's mark is back at what readers see.
    """
    held = held_of(table.properties, stream)
    if held is None or held.base in (None, table.metadata.current_snapshot_id or 0):
        return
    change = Change(properties={marks.AHEAD: NOT_HELD}, drops=AHEAD)
    commit(table, Head.of(table, entries), change, entries, now_ms)
    raise PlatformError(
        f"{stream}: another writer changed the mirror while it waited for the end of a transaction or of a range's "
        "snapshot; what waited is loaded again",
        code="FB-PLATFORM-CONFLICT",
        permanent=False,
    )
