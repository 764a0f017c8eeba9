"""`IcebergPlatform`: one folder with a SQLite catalogue and a warehouse; a history and a mirror per stream."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pyarrow as pa

from forebay_collector.platform.contract import OpenedBatch, PlatformError, PlatformMark, PlatformTable
from forebay_collector.platform.iceberg import hold, listing, marks, names, reading
from forebay_collector.platform.iceberg.catalogue import Catalogue
from forebay_collector.platform.iceberg.fields import columns_of
from forebay_collector.platform.iceberg.head import Head, ManifestEntries
from forebay_collector.platform.iceberg.leases import Leases
from forebay_collector.platform.iceberg.load import Loading
from forebay_collector.platform.iceberg.maintain import Maintenance
from forebay_collector.platform.iceberg.mirror import MirrorSearch
from forebay_collector.platform.iceberg.query import Queries
from forebay_collector.platform.iceberg.trouble import told
from forebay_collector.platform.iceberg.upkeep import Upkeep
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
            return PlatformMark() if shown is None else marks.mark_of(shown.properties, stream)

    def apply(self, stream: StreamName, batches: Sequence[OpenedBatch]) -> PlatformMark:
        with told(str(stream)), self._lock_of(stream):
            if batches:
                self._loading.apply(stream, batches)
            return self.mark(stream)

    def maintain(self, stream: StreamName) -> bool:
        with told(str(stream)), self._lock_of(stream):
            history = self._maintenance.step(names.history_of(stream))
            return self._maintenance.step(names.mirror_of(stream)) or history

    def read(self, stream: StreamName, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        with told(str(stream)):
            table = self._catalogue.load(names.mirror_of(stream))
            if table is None:
                return
            fields = columns_of(table.schema())
            if columns is not None:
                held = {field.name: field for field in fields}
                missing = [name for name in columns if name not in held]
                if missing:
                    raise PlatformError(
                        f"{stream}: the mirror has no column {missing[0]!r}", code="FB-PLATFORM-COLUMN", permanent=True
                    )
                fields = tuple(held[name] for name in columns)
            with self._leases.reading(table.metadata.table_uuid):
                for file in Head.of(table, self._entries).files:
                    deleted = self._search.deletes.positions(table.io, file)
                    yield from reading.live_batches(table.io, file, fields, deleted)

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
