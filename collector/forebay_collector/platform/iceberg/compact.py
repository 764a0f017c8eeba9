"""Compaction: which files to rewrite, and the commit that does it.

Due are files with too many deleted rows, and small files when enough of one size class have gathered. The rows stay as
they are, so the mark does not move and readers of either snapshot see the same. While a mirror is held, it is the branch
that gathers which is compacted; what is shown stays.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH

from forebay_collector.platform.iceberg import datafile, hold, marks, reading
from forebay_collector.platform.iceberg.durable_io import DurableFileIO
from forebay_collector.platform.iceberg.head import Head, LiveFile, ManifestEntries, schema_at
from forebay_collector.platform.iceberg.snapshot import Change, commit
from forebay_collector.platform.iceberg.upkeep import Upkeep


def due(files: Sequence[LiveFile], upkeep: Upkeep) -> list[LiveFile]:
    """The files that one call rewrites: within its bounds, or a single file that is over them by itself."""
    worn = sorted((file for file in files if _share(file) > upkeep.deleted_share), key=_share, reverse=True)
    chosen = _within(worn, upkeep)
    if chosen:
        return chosen
    classes: dict[int, list[LiveFile]] = {}
    for file in files:
        if _live(file) < upkeep.small_rows:
            classes.setdefault(_size_class(_live(file), upkeep), []).append(file)
    for number in sorted(classes):
        if len(classes[number]) >= upkeep.merge_files:
            return _within(classes[number], upkeep)
    return []


def _within(files: Sequence[LiveFile], upkeep: Upkeep) -> list[LiveFile]:
    chosen: list[LiveFile] = []
    rows = size = 0
    for file in files:
        rows += _live(file)
        size += file.data.file_size_in_bytes
        if chosen and (rows > upkeep.rewrite_rows or size > upkeep.rewrite_bytes):
            break
        chosen.append(file)
    return chosen


def _live(file: LiveFile) -> int:
    return file.rows - file.deleted


def _share(file: LiveFile) -> float:
    return file.deleted / file.rows if file.rows else 1.0


def _size_class(rows: int, upkeep: Upkeep) -> int:
    number = 0
    while rows >= upkeep.class_factor:
        rows //= upkeep.class_factor
        number += 1
    return number


def rewrite(
    table: Table,
    head: Head,
    files: Sequence[LiveFile],
    deletes: reading.Deletes,
    entries: ManifestEntries,
    now_ms: int,
    branch: str = MAIN_BRANCH,
) -> None:
    """Puts the live rows of `files`, in order, into new files of the branch. Raises PlatformError, OSError."""
    io: DurableFileIO = table.io  # type: ignore[assignment] # the catalogue's py-io-impl
    fields = schema_at(table, branch).fields
    parts = []
    for file in files:
        rows = reading.columns(io, file.data, fields)
        deleted = deletes.positions(io, file)
        parts.append(rows.filter(reading.live_mask(file.rows, deleted)) if len(deleted) else rows)
    shown = branch == MAIN_BRANCH
    key = set(marks.names_of(table.properties, marks.KEY) if shown else hold.key_of(table.properties))
    mark = marks.THROUGH if shown else marks.AHEAD
    change = Change(rewrite=True, branch=branch, audit={mark: table.properties.get(mark, "")})
    for part in datafile.slices(pa.concat_tables(parts)):
        change.added.append(datafile.write(io, table.metadata.location, fields, part, key))
    change.removed = {file.path for file in files}
    change.removed_deletes = {delete.file_path for file in files for delete in file.scoped}
    commit(table, head, change, entries, now_ms)
