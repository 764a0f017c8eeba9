"""What a table holds at one snapshot: its live data files, each with the delete files that apply to it.

Always derived from the manifests (which never change, so their entries are cached by path), never from what this
process believes to have written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile, DataFileContent, ManifestContent, ManifestEntry, ManifestFile
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.delete_file_index import PATH_FIELD_ID
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH

from forebay_collector.platform.contract import PlatformError
from forebay_collector.platform.iceberg.recent import Recent

_CACHED_ENTRIES: Final = 50_000


@dataclass(frozen=True, slots=True)
class LiveFile:
    """A live data file. `scoped` deletes rows of this file only, `spanning` (of another writer) of several files."""

    data: DataFile
    scoped: tuple[DataFile, ...] = ()
    spanning: tuple[DataFile, ...] = ()

    @property
    def path(self) -> str:
        return self.data.file_path

    @property
    def rows(self) -> int:
        """Physical rows, deleted ones included."""
        return self.data.record_count

    @property
    def deleted(self) -> int:
        """Rows that its own delete files name."""
        return sum(delete.record_count for delete in self.scoped)


@dataclass(frozen=True, slots=True)
class Head:
    """A table at one snapshot (None: it has none yet)."""

    snapshot_id: int | None
    files: tuple[LiveFile, ...] = ()
    manifests: tuple[ManifestFile, ...] = field(default=())

    @classmethod
    def of(cls, table: Table, entries: ManifestEntries, branch: str = MAIN_BRANCH) -> Head:
        """A branch of the table as `table.metadata` knows it; one that it does not know is empty."""
        snapshot_id = head_of(table.metadata, branch)
        snapshot = table.metadata.snapshot_by_id(snapshot_id) if snapshot_id is not None else None
        if snapshot is None:
            return cls(None)
        manifests = tuple(snapshot.manifests(table.io))
        return cls(snapshot.snapshot_id, _assemble(table.io, manifests, entries), manifests)


def head_of(metadata: TableMetadata, branch: str = MAIN_BRANCH) -> int | None:
    """The id of a branch's snapshot; None: there is no such branch."""
    if branch == MAIN_BRANCH:
        return metadata.current_snapshot_id
    ref = metadata.refs.get(branch)
    return ref.snapshot_id if ref is not None else None


def schema_at(table: Table, branch: str = MAIN_BRANCH) -> Schema:
    """A branch's schema: the table's own on main, on another the one that its snapshot was written with."""
    if branch != MAIN_BRANCH and (snapshot_id := head_of(table.metadata, branch)) is not None:
        snapshot = table.metadata.snapshot_by_id(snapshot_id)
        if snapshot is not None and snapshot.schema_id is not None:
            schema = table.metadata.schema_by_id(snapshot.schema_id)
            if schema is not None:
                return schema
    return table.schema()


class ManifestEntries:
    """The live entries of manifests, cached by manifest path. Used by several threads."""

    def __init__(self) -> None:
        self._cache: Recent[str, list[ManifestEntry]] = Recent(_CACHED_ENTRIES, lambda held: 1 + len(held))

    def __call__(self, io: FileIO, manifest: ManifestFile) -> list[ManifestEntry]:
        return self._cache.get(manifest.manifest_path, lambda: manifest.fetch_manifest_entry(io, discard_deleted=True))


def referenced_path(delete: DataFile) -> str | None:
    """The one data file whose rows a delete file names; None when it may name rows of several."""
    lower, upper = (delete.lower_bounds or {}).get(PATH_FIELD_ID), (delete.upper_bounds or {}).get(PATH_FIELD_ID)
    return lower.decode() if lower is not None and lower == upper else None


def _assemble(io: FileIO, manifests: Iterable[ManifestFile], entries: ManifestEntries) -> tuple[LiveFile, ...]:
    data: list[ManifestEntry] = []
    scoped: dict[str, list[ManifestEntry]] = {}
    spanning: list[ManifestEntry] = []
    for manifest in manifests:
        for entry in entries(io, manifest):
            if manifest.content == ManifestContent.DATA:
                data.append(entry)
                continue
            if entry.data_file.content != DataFileContent.POSITION_DELETES:
                raise PlatformError(
                    f"{entry.data_file.file_path}: another writer's equality deletes, which cannot be read here; "
                    "have that writer compact the table",
                    code="FB-PLATFORM-FOREIGN",
                    permanent=True,
                )
            path = referenced_path(entry.data_file)
            if path is None:
                spanning.append(entry)
            else:
                scoped.setdefault(path, []).append(entry)
    return tuple(
        LiveFile(
            entry.data_file,
            _applying(scoped.get(entry.data_file.file_path, ()), entry),
            _applying(spanning, entry),
        )
        for entry in data
    )


def _applying(deletes: Iterable[ManifestEntry], data: ManifestEntry) -> tuple[DataFile, ...]:
    """A position delete applies to data files that are not younger than it."""
    return tuple(delete.data_file for delete in deletes if (delete.sequence_number or 0) >= (data.sequence_number or 0))


def referenced_files(table: Table, entries: ManifestEntries, snapshot_id: int) -> set[str]:
    """Every file that the snapshot needs: manifest list, manifests, data and delete files."""
    snapshot = table.metadata.snapshot_by_id(snapshot_id)
    if snapshot is None:
        return set()
    found = {snapshot.manifest_list}
    for manifest in snapshot.manifests(table.io):
        found.add(manifest.manifest_path)
        found.update(entry.data_file.file_path for entry in entries(table.io, manifest))
    return found
