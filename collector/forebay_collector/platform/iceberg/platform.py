"""`IcebergPlatform`: one folder with a SQLite catalogue and a warehouse; a history and a mirror per stream."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Final

import pyarrow as pa
from pyiceberg.table import Table
from pyiceberg.types import NestedField

from forebay_collector.platform.contract import OpenedBatch, PlatformError, PlatformMark, PlatformTable
from forebay_collector.platform.iceberg import hold, listing, marks, names, parts, reading
from forebay_collector.platform.iceberg.catalogue import Catalogue
from forebay_collector.platform.iceberg.fields import PLACE, columns_of
from forebay_collector.platform.iceberg.head import Head, ManifestEntries
from forebay_collector.platform.iceberg.leases import Leases
from forebay_collector.platform.iceberg.load import Loading
from forebay_collector.platform.iceberg.maintain import Maintenance
from forebay_collector.platform.iceberg.mirror import MirrorSearch
from forebay_collector.platform.iceberg.query import Queries
from forebay_collector.platform.iceberg.trouble import told
from forebay_collector.platform.iceberg.upkeep import Upkeep
from forebay_wire.part import WHOLE, Part
from forebay_wire.stream import StreamName

CACHE_BYTES: Final = 256 << 20


class IcebergPlatform:
    """The `Platform` in a local folder. See `contract.Platform`."""

    def __init__(
        self,
        folder: Path,
        *,
        upkeep: Upkeep | None = None,
        cache_bytes: int = CACHE_BYTES,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Opens the platform in `folder`, or makes it.

        `cache_bytes`: for key columns and deleted positions, over all streams. `clock`: seconds since 1970.

        Raises:
            PlatformError: the folder or its catalogue cannot be opened.
        """
        with told(f"platform {folder}"):
            self._catalogue = Catalogue(folder)
        self._entries = ManifestEntries()
        self._search = MirrorSearch(cache_bytes)
        self._leases = Leases(clock)
        self._writers = ThreadPoolExecutor(2, "iceberg-history")
        self._loading = Loading(
            self._catalogue, self._entries, self._search, self._writers, lambda: int(clock() * 1000)
        )
        self._maintenance = Maintenance(
            upkeep or Upkeep(), self._catalogue, self._entries, self._search.deletes, self._leases, clock
        )
        self._queries = Queries(self._catalogue, self._entries, self._leases)
        self._locks: dict[StreamName, threading.RLock] = {}
        self._lock = threading.Lock()

    def mark(self, stream: StreamName) -> PlatformMark:
        with told(str(stream)):
            history = self._catalogue.load(names.history_of(stream))
            if history is None:
                return PlatformMark()
            taken = marks.mark_of(history.properties, stream)
            if not marks.names_of(history.properties, marks.KEY):
                return taken
            mirror = self._catalogue.load(names.mirror_of(stream))
            return PlatformMark() if mirror is None else min(taken, hold.progress_of(mirror.properties, stream).mark)

    def visible(self, stream: StreamName) -> PlatformMark:
        with told(str(stream)):
            history = self._catalogue.load(names.history_of(stream))
            keyed = history is not None and marks.names_of(history.properties, marks.KEY)
            shown = self._catalogue.load(names.mirror_of(stream)) if keyed else history
            if shown is None:
                return PlatformMark()
            version = f"{shown.metadata.table_uuid}/{shown.metadata.current_snapshot_id or 0}"
            return replace(marks.mark_of(shown.properties, stream), version=version)

    def apply(self, stream: StreamName, batches: Sequence[OpenedBatch]) -> PlatformMark:
        with told(str(stream)), self._lock_of(stream):
            if batches:
                self._loading.apply(stream, batches)
            return self.mark(stream)

    def maintain(self, stream: StreamName) -> bool:
        with told(str(stream)), self._lock_of(stream):
            history = self._maintenance.step(names.history_of(stream))
            return self._maintenance.step(names.mirror_of(stream)) or history

    def read(
        self,
        stream: StreamName,
        columns: Sequence[str] | None = None,
        *,
        part: Part = WHOLE,
        keys: Sequence[pa.Array] | None = None,
        since: PlatformMark | None = None,
    ) -> Iterator[pa.RecordBatch]:
        if since is not None:
            yield from self._told(stream, columns, since)
            return
        with told(str(stream)):
            table = self._catalogue.load(names.mirror_of(stream))
            if table is None:
                return
            fields = _named(stream, columns_of(table.schema()), columns)
            with self._leases.reading(table.metadata.table_uuid):
                files = Head.of(table, self._entries).files
                if keys is not None:
                    yield from self._search.rows(table.io, files, self._key_of(stream, table), keys, fields)
                    return
                inside = parts.Inside.of(part, self._key_of(stream, table)[0]) if part.bounded else None
                for file in files:
                    if inside is None or inside.may_be_in(file.data):
                        deleted = self._search.deletes.positions(table.io, file)
                        rows = reading.live_batches(table.io, file, fields, deleted)
                        yield from rows if inside is None else map(inside.of_rows, rows)

    def _told(self, stream: StreamName, columns: Sequence[str] | None, since: PlatformMark) -> Iterator[pa.RecordBatch]:
        """The history's rows after the mark."""
        with told(str(stream)):
            table = self._catalogue.load(names.history_of(stream))
            if table is None:
                return
            fields = _named(stream, columns_of(table.schema()), columns)
            with self._leases.reading(table.metadata.table_uuid):
                for file in Head.of(table, self._entries).files:
                    if parts.may_be_after(file.data, since):
                        deleted = self._search.deletes.positions(table.io, file)
                        rows = reading.live_batches(table.io, file, [*fields, *PLACE], deleted)
                        yield from (parts.after(each, since).select([field.name for field in fields]) for each in rows)

    def _key_of(self, stream: StreamName, table: Table) -> list[NestedField]:
        """Raises PlatformError for a mirror that does not tell its key."""
        key = marks.names_of(table.properties, marks.KEY)
        return list(_named(stream, columns_of(table.schema()), key))

    def tables(self) -> list[PlatformTable]:
        with told("platform"):
            return listing.tables(self._catalogue)

    def sql(self, query: str) -> pa.RecordBatchReader:
        with told("platform"):
            return self._queries.answer(query)

    def close(self) -> None:
        self._writers.shutdown()
        self._catalogue.close()

    def _lock_of(self, stream: StreamName) -> threading.RLock:
        with self._lock:
            return self._locks.setdefault(stream, threading.RLock())


def _named(stream: StreamName, held: Sequence[NestedField], names: Sequence[str] | None) -> Sequence[NestedField]:
    if names is None:
        return held
    by_name = {field.name: field for field in held}
    missing = [name for name in names if name not in by_name]
    if missing:
        raise PlatformError(
            f"{stream}: the mirror has no column {missing[0]!r}", code="FB-PLATFORM-COLUMN", permanent=True
        )
    return [by_name[name] for name in names]
