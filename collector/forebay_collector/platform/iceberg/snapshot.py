"""Commits: one new snapshot of a table with data files and position deletes added and removed, and its properties.

pyiceberg's own producers append and overwrite but cannot add position deletes, and retry by re-planning, which positions
do not survive. So manifests and manifest list are written here with pyiceberg's writers, and the commit goes through the
catalogue's public `commit_table` with the requirement that the branches still stand where they stood when it was planned.

A commit goes to a branch: `main`, which is what readers see, or the one that gathers what is not shown yet (see `hold`).
A commit writes at most one data and one delete manifest: what it adds, what it removes (as DELETED entries), and what
is left of the manifests that it had to touch. Small manifests are folded in when there are many.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pyiceberg.exceptions import CommitFailedException
from pyiceberg.manifest import (
    DataFile,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    ManifestWriter,
    ManifestWriterV2,
    write_manifest_list,
)
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.snapshots import (
    Operation,
    Snapshot,
    SnapshotSummaryCollector,
    Summary,
    update_snapshot_summaries,
)
from pyiceberg.table.update import (
    AddSchemaUpdate,
    AddSnapshotUpdate,
    AssertRefSnapshotId,
    AssertTableUUID,
    RemoveSnapshotRefUpdate,
    RemoveSnapshotsUpdate,
    SetCurrentSchemaUpdate,
    SetPropertiesUpdate,
    SetSnapshotRefUpdate,
    TableUpdate,
)

from forebay_collector.platform.contract import PlatformError
from forebay_collector.platform.iceberg.head import Head, ManifestEntries, head_of, schema_at

_log = logging.getLogger(__name__)
_FOLD_FROM: Final = 32
_FOLD_SMALLER_THAN: Final = 200
_CODEC: Final = "deflate"


@dataclass(slots=True)
class Change:
    """What one commit does to a table. Paths in `removed` and `removed_deletes` must be live at the planned head."""

    added: list[DataFile] = field(default_factory=list)
    removed: set[str] = field(default_factory=set)
    added_deletes: list[DataFile] = field(default_factory=list)
    removed_deletes: set[str] = field(default_factory=set)
    properties: dict[str, str] = field(default_factory=dict)
    schema: Schema | None = None
    audit: dict[str, str] = field(default_factory=dict)  # into the snapshot's summary
    rewrite: bool = False  # the same rows in other files
    branch: str = MAIN_BRANCH  # moves to the result
    drops: str = ""  # a branch that goes

    @property
    def touches_files(self) -> bool:
        return bool(self.added or self.removed or self.added_deletes or self.removed_deletes)


class _DeleteManifestWriter(ManifestWriterV2):
    """pyiceberg has the format but no writer for manifests of delete files."""

    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}


def commit(table: Table, head: Head, change: Change, entries: ManifestEntries, now_ms: int) -> None:
    """Commits `change`, planned on `head`, and moves `table` on to the result.

    Raises:
        PlatformError: not permanent; another writer came first, so plan again; or the commit did not land.
    """
    metadata = table.metadata
    updates: list[TableUpdate] = []
    schema = schema_at(table, change.branch)
    if change.schema is not None and change.schema.fields != schema.fields:
        schema = known(metadata, change.schema)
        if metadata.schema_by_id(schema.schema_id) is None:
            updates.append(AddSchemaUpdate(schema=schema))
    if change.branch == MAIN_BRANCH and schema.schema_id != metadata.current_schema_id:
        updates.append(SetCurrentSchemaUpdate.model_validate({"schema-id": schema.schema_id}))
    if change.properties:
        updates.append(SetPropertiesUpdate(updates=change.properties))
    result = head.snapshot_id
    if change.touches_files:
        snapshot = _snapshot(table, head, change, schema, entries, now_ms)
        updates.append(AddSnapshotUpdate(snapshot=snapshot))
        result = snapshot.snapshot_id
    gone = {change.drops}
    if result is None:
        gone.add(change.branch if change.branch != MAIN_BRANCH else "")
    elif result != head_of(metadata, change.branch):
        updates.append(
            SetSnapshotRefUpdate.model_validate(
                {"ref-name": change.branch, "type": SnapshotRefType.BRANCH, "snapshot-id": result}
            )
        )
    updates += [RemoveSnapshotRefUpdate.model_validate({"ref-name": name}) for name in gone & set(metadata.refs)]

    def landed(now: Table) -> bool:
        if change.touches_files:
            return result is not None and now.metadata.snapshot_by_id(result) is not None
        return change.properties.items() <= now.metadata.properties.items()

    _commit(table, updates, landed)


def known(metadata: TableMetadata, wanted: Schema) -> Schema:
    """The table's schema of these fields, which an earlier commit may have added; else `wanted` under the id that it will get."""
    for schema in metadata.schemas:
        if schema.fields == wanted.fields:
            return schema
    return wanted.model_copy(update={"schema_id": 1 + max(schema.schema_id for schema in metadata.schemas)})


def expire(table: Table, snapshot_ids: Sequence[int]) -> None:
    """Forgets snapshots (their files stay). Raises PlatformError as `commit`."""
    gone = set(snapshot_ids)
    _commit(
        table,
        [RemoveSnapshotsUpdate.model_validate({"snapshot-ids": list(snapshot_ids)})],
        lambda now: gone.isdisjoint(snapshot.snapshot_id for snapshot in now.metadata.snapshots),
    )


def _commit(table: Table, updates: Sequence[TableUpdate], landed: Callable[[Table], bool]) -> None:
    before = table.metadata
    heads = {MAIN_BRANCH: before.current_snapshot_id} | {name: ref.snapshot_id for name, ref in before.refs.items()}
    requirements: tuple[AssertTableUUID | AssertRefSnapshotId, ...] = (
        AssertTableUUID(uuid=before.table_uuid),
        *(AssertRefSnapshotId.model_validate({"ref": name, "snapshot-id": head}) for name, head in heads.items()),
    )
    try:
        response = table.catalog.commit_table(table, requirements, tuple(updates))
    except CommitFailedException as error:
        raise PlatformError(
            f"{_told(table)}: another writer committed first ({error})", code="FB-PLATFORM-CONFLICT", permanent=False
        ) from error
    except Exception as error:
        # the outcome is unknown: what the catalogue says now is what happened
        now = table.catalog.load_table(table.name())
        if not landed(now):
            raise PlatformError(
                f"{_told(table)}: the commit did not land ({error})", code="FB-PLATFORM-COMMIT", permanent=False
            ) from error
        _log.warning("%s: the commit landed although it was reported as failed", _told(table))
        table.metadata, table.metadata_location = now.metadata, now.metadata_location
    else:
        table.metadata, table.metadata_location = response.metadata, response.metadata_location
    kept = {entry.metadata_file for entry in table.metadata.metadata_log}
    for entry in before.metadata_log:
        if entry.metadata_file not in kept:
            remove_file(table, entry.metadata_file)


def remove_file(table: Table, location: str) -> None:
    """Removes a file that nothing needs; one that is gone already, or stays, hurts nobody: it is swept later."""
    try:
        table.io.delete(location)
    except FileNotFoundError:
        pass
    except OSError as error:
        _log.warning("%s: cannot remove %s: %s", _told(table), location, error)


def _told(table: Table) -> str:
    return ".".join(table.name())


def _snapshot(
    table: Table, head: Head, change: Change, schema: Schema, entries: ManifestEntries, now_ms: int
) -> Snapshot:
    metadata = table.metadata
    if metadata.format_version != 2:
        raise PlatformError(
            f"{_told(table)}: format version {metadata.format_version}, expected 2",
            code="FB-PLATFORM-FOREIGN",
            permanent=True,
        )
    producer = _Manifests(table, schema, metadata.new_snapshot_id(), entries)
    manifests, gone, gone_deletes = producer.write(head, change)
    operation = Operation.OVERWRITE if change.removed or change.added_deletes else Operation.APPEND
    collector = SnapshotSummaryCollector()
    for added in (*change.added, *change.added_deletes):
        collector.add_file(added, schema=schema)
    for removed in (*gone, *gone_deletes):
        collector.remove_file(removed, schema=schema)
    previous = metadata.snapshot_by_id(head.snapshot_id) if head.snapshot_id is not None else None
    summary = update_snapshot_summaries(
        Summary(operation=operation, **collector.build(), **change.audit),
        previous.summary.additional_properties if previous is not None and previous.summary is not None else None,
    )
    if change.rewrite:
        summary = Summary(operation=Operation.REPLACE, **summary.additional_properties)
    location = f"{metadata.location}/metadata/snap-{producer.snapshot_id}-0-{producer.uuid}.avro"
    sequence_number = metadata.next_sequence_number()
    with write_manifest_list(
        2, table.io.new_output(location), producer.snapshot_id, head.snapshot_id, sequence_number, _CODEC
    ) as writer:
        writer.add_manifests(manifests)
    return Snapshot.model_validate(
        {
            "snapshot-id": producer.snapshot_id,
            "parent-snapshot-id": head.snapshot_id,
            "sequence-number": sequence_number,
            "timestamp-ms": max(now_ms, metadata.last_updated_ms),
            "manifest-list": location,
            "summary": summary,
            "schema-id": schema.schema_id,
        }
    )


class _Manifests:
    """The manifests of one new snapshot."""

    def __init__(self, table: Table, schema: Schema, snapshot_id: int, entries: ManifestEntries) -> None:
        self.snapshot_id = snapshot_id
        self.uuid = uuid.uuid4()
        self._table = table
        self._schema = schema
        self._entries = entries
        self._written = 0

    def write(self, head: Head, change: Change) -> tuple[list[ManifestFile], list[DataFile], list[DataFile]]:
        """-> the snapshot's manifests, the data files and the delete files that leave."""
        data, gone = self._side(head, ManifestContent.DATA, change.added, change.removed)
        deletes, gone_deletes = self._side(head, ManifestContent.DELETES, change.added_deletes, change.removed_deletes)
        return [*data, *deletes], gone, gone_deletes

    def _side(
        self, head: Head, content: ManifestContent, added: list[DataFile], removed: set[str]
    ) -> tuple[list[ManifestFile], list[DataFile]]:
        held = [manifest for manifest in head.manifests if manifest.content == content]
        held = [manifest for manifest in held if manifest.has_added_files() or manifest.has_existing_files()]
        listed = {manifest.manifest_path: self._entries(self._table.io, manifest) for manifest in held}
        touched = {
            path for path, entries in listed.items() if any(entry.data_file.file_path in removed for entry in entries)
        }
        small = [path for path, entries in listed.items() if len(entries) < _FOLD_SMALLER_THAN]
        if len(small) >= _FOLD_FROM:
            touched.update(small)
        untouched = [manifest for manifest in held if manifest.manifest_path not in touched]
        if not touched and not added:
            return untouched, []
        gone = []
        with self._writer(content) as writer:
            for file in added:
                writer.add(self._added(file))
            for path in touched:
                for entry in listed[path]:
                    if entry.data_file.file_path in removed:
                        writer.delete(entry)
                        gone.append(entry.data_file)
                    else:
                        writer.existing(entry)
        if missing := removed - {file.file_path for file in gone}:
            raise ValueError(f"not live at the planned snapshot: {sorted(missing)[0]}")
        return [writer.to_manifest_file(), *untouched], gone

    def _writer(self, content: ManifestContent) -> ManifestWriter:
        location = f"{self._table.metadata.location}/metadata/{self.uuid}-m{self._written}.avro"
        self._written += 1
        kind: Any = _DeleteManifestWriter if content == ManifestContent.DELETES else ManifestWriterV2
        writer: ManifestWriter = kind(
            self._table.metadata.spec(), self._schema, self._table.io.new_output(location), self.snapshot_id, _CODEC
        )
        return writer

    def _added(self, file: DataFile) -> ManifestEntry:
        return ManifestEntry.from_args(
            status=ManifestEntryStatus.ADDED,
            snapshot_id=self.snapshot_id,
            sequence_number=None,
            file_sequence_number=None,
            data_file=file,
        )
