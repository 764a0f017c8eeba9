"""Expiry: snapshots that nobody reads any more, the files that only they needed, and files that nobody ever named.

A snapshot is due when the one that took its place is older than the grace: a reader may have opened it until then.
Snapshots form a line, and a file that has left it never comes back, so what an expired snapshot has and the oldest
remaining one has not, nobody has. A table with tags or branches of another writer is left alone.

Files are removed after the commit that forgets their snapshots; a crash in between leaves orphans, which the sweep finds.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Container
from pathlib import Path
from typing import Final

from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import Snapshot, ancestors_of

from forebay_collector.platform.iceberg.durable_io import local_path
from forebay_collector.platform.iceberg.head import ManifestEntries, referenced_files
from forebay_collector.platform.iceberg.snapshot import expire, remove_file
from forebay_collector.platform.iceberg.upkeep import Upkeep

_log = logging.getLogger(__name__)
_FOLDERS: Final = ("data", "metadata")


def expire_due(table: Table, entries: ManifestEntries, leased: Container[int], upkeep: Upkeep, now_ms: int) -> bool:
    """Expires what is due and removes its files; whether anything was. Raises PlatformError."""
    line = _line(table)
    if line is None:
        return False
    horizon = now_ms - int(upkeep.grace_s * 1000)
    due = []
    for snapshot, successor in itertools.pairwise(line):
        if successor.timestamp_ms > horizon or snapshot.snapshot_id in leased:
            break
        due.append(snapshot)
    if len(due) < upkeep.expire_from:
        return False
    due = due[: upkeep.expire_at_most]
    oldest = line[len(due)]
    needless: set[str] = set()
    for snapshot in due:
        needless |= referenced_files(table, entries, snapshot.snapshot_id)
    needless -= referenced_files(table, entries, oldest.snapshot_id)
    needless -= referenced_files(table, entries, line[-1].snapshot_id)
    expire(table, [snapshot.snapshot_id for snapshot in due])
    for location in needless:
        remove_file(table, location)
    return True


def _line(table: Table) -> list[Snapshot] | None:
    """Every snapshot, oldest first; None when they do not form one line."""
    line = list(ancestors_of(table.metadata.current_snapshot(), table.metadata))[::-1]
    if set(table.metadata.refs) - {MAIN_BRANCH} or len(line) != len(table.metadata.snapshots):
        return None
    return line


def sweep(table: Table, entries: ManifestEntries, upkeep: Upkeep, now_s: float) -> bool:
    """Removes files of the table's folders that no snapshot needs and that are old enough; whether there were any."""
    named = {table.metadata_location, *(entry.metadata_file for entry in table.metadata.metadata_log)}
    named |= {statistics.statistics_path for statistics in table.metadata.statistics}
    for snapshot in table.metadata.snapshots:
        named |= referenced_files(table, entries, snapshot.snapshot_id)
    known = {local_path(location) for location in named}
    removed = False
    for name in _FOLDERS:
        folder = Path(local_path(table.metadata.location)) / name
        for path in folder.iterdir() if folder.is_dir() else ():
            if str(path) not in known and path.is_file() and now_s - path.stat().st_mtime > upkeep.orphan_age_s:
                _log.info("%s: no snapshot needs it, removed", path)
                path.unlink(missing_ok=True)
                removed = True
    return removed
