"""Expiry: snapshots that nobody opens any more, and the files that nobody needs any more.

What an expired snapshot has and no remaining one has is needless: a file that has left a table never comes back. A table
with tags or branches of another writer is left alone.

Metadata and files go at different times. A snapshot is forgotten soon, since every commit reads and writes all of them;
a file is removed only after the grace, since a reader may have opened the snapshot just before, and never while a reader
in this process is older than the file's being needless. What is needless is remembered in memory only: after a restart
the sweep, which compares the folders with the snapshots, finds it again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import Snapshot, ancestors_of

from forebay_collector.platform.iceberg import marks
from forebay_collector.platform.iceberg.durable_io import local_path
from forebay_collector.platform.iceberg.head import ManifestEntries, referenced_files
from forebay_collector.platform.iceberg.hold import AHEAD
from forebay_collector.platform.iceberg.snapshot import expire, remove_file
from forebay_collector.platform.iceberg.upkeep import Upkeep

_FOLDERS: Final = ("data", "metadata")


def expire_due(table: Table, entries: ManifestEntries, upkeep: Upkeep, now: float) -> set[str]:
    """Forgets the snapshots that are due; -> the files that only they needed. Raises PlatformError."""
    loose, due = _due(table.metadata, upkeep, now)
    if not loose and len(due) < upkeep.expire_from:
        return set()
    due = [*loose, *due][: upkeep.expire_at_most]
    gone = {snapshot.snapshot_id for snapshot in due}
    needless: set[str] = set()
    for snapshot in due:
        needless |= referenced_files(table, entries, snapshot.snapshot_id)
    for snapshot in table.metadata.snapshots:
        if needless and snapshot.snapshot_id not in gone:
            needless -= referenced_files(table, entries, snapshot.snapshot_id)
    expire(table, [snapshot.snapshot_id for snapshot in due])
    return needless


def _due(metadata: TableMetadata, upkeep: Upkeep, now: float) -> tuple[list[Snapshot], list[Snapshot]]:
    """The snapshots that nobody opens any more: -> those that no branch leads to, and those of the branches, oldest first.

    Of what readers see all but the newest; of what they do not see yet all but the last, which alone is ever read. What no
    branch leads to is ours, where a load gathered what was then not shown; else, of another writer that rolled back, it is
    left for a time.
    """
    if set(metadata.refs) - {MAIN_BRANCH, AHEAD}:
        return [], []
    shown = list(ancestors_of(metadata.current_snapshot(), metadata))
    ahead = metadata.snapshot_by_name(AHEAD)
    held = {snapshot.snapshot_id for snapshot in shown}
    gathered = [one for one in ancestors_of(ahead, metadata) if one.snapshot_id not in held][::-1] if ahead else []
    held |= {snapshot.snapshot_id for snapshot in gathered}
    before = (now - upkeep.orphan_age_s) * 1000
    loose = []
    for one in metadata.snapshots:
        if one.snapshot_id in held:
            continue
        if _marked(one, marks.THROUGH):
            shown.append(one)  # before a table was taken anew, whose line began elsewhere
        elif _marked(one, marks.AHEAD) or one.timestamp_ms < before:
            loose.append(one)
    shown.sort(key=lambda one: one.sequence_number or 0)
    due = [one for one in shown[: -upkeep.keep_snapshots] if one.snapshot_id != metadata.current_snapshot_id]
    return loose, [*gathered[:-1], *due]


def _marked(snapshot: Snapshot, mark: str) -> bool:
    return snapshot.summary is not None and mark in snapshot.summary.additional_properties


def orphans(table: Table, entries: ManifestEntries, upkeep: Upkeep, now: float) -> set[str]:
    """Files of the table's folders that no snapshot needs and that are too old to be of a load under way."""
    named = {table.metadata_location, *(entry.metadata_file for entry in table.metadata.metadata_log)}
    named |= {statistics.statistics_path for statistics in table.metadata.statistics}
    for snapshot in table.metadata.snapshots:
        named |= referenced_files(table, entries, snapshot.snapshot_id)
    known = {local_path(location) for location in named}
    folders = [Path(local_path(table.metadata.location)) / name for name in _FOLDERS]
    held = (path for folder in folders if folder.is_dir() for path in folder.iterdir() if str(path) not in known)
    return {str(path) for path in held if path.is_file() and now - path.stat().st_mtime > upkeep.orphan_age_s}


class Needless:
    """The needless files of one table, and since when each is."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self.swept = float("-inf")

    def add(self, locations: set[str], now: float) -> None:
        """These are needless from now on, if they were not before."""
        for location in locations:
            self._since.setdefault(location, now)

    def remove_due(self, table: Table, until: float, oldest_reader: float) -> bool:
        """Removes those that are needless since `until` or longer, and since before any reader; whether there were any."""
        due = [location for location, since in self._since.items() if since <= until and since < oldest_reader]
        for location in due:
            del self._since[location]
            remove_file(table, location)
        return bool(due)
