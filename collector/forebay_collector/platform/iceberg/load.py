"""One load of one stream: the history's commit, then the mirror's, each with its own mark.

A crash anywhere leaves each table at a commit of its own; the same load, applied again, passes over what a table has.
The history's file is written while the mirror's rows are being searched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.table import Table

from forebay_collector.platform.contract import OpenedBatch, PlatformError, PlatformMark
from forebay_collector.platform.iceberg import datafile, loadrows, marks, mirror, names
from forebay_collector.platform.iceberg.catalogue import Catalogue
from forebay_collector.platform.iceberg.fields import columns_of, history_schema, mirror_schema
from forebay_collector.platform.iceberg.fold import Folded, fold
from forebay_collector.platform.iceberg.head import Head, ManifestEntries
from forebay_collector.platform.iceberg.names import TableId
from forebay_collector.platform.iceberg.snapshot import Change, commit
from forebay_wire.stream import StreamName


@dataclass(frozen=True)
class Loading:
    """What loads share. `writers` writes the history's files."""

    catalogue: Catalogue
    entries: ManifestEntries
    search: mirror.MirrorSearch
    writers: ThreadPoolExecutor
    now_ms: Callable[[], int]

    def apply(self, stream: StreamName, batches: Sequence[OpenedBatch]) -> None:
        """Loads consecutive batches. Raises PlatformError, OSError, Arrow's and SQLAlchemy's errors."""
        history = self.catalogue.load(names.history_of(stream))
        properties = history.properties if history is not None else {}
        mark = marks.mark_of(properties, stream)
        loadrows.check(stream, batches, mark, marks.names_of(properties, marks.COLUMNS))
        schema = history.schema() if history is not None else None
        for batch in batches:
            schema = history_schema(batch.schema.columns, schema)
        _check_key(stream, batches, mark, marks.names_of(properties, marks.KEY))
        for part in _parts(batches):
            _Load(self, stream, part).run()


def _check_key(stream: StreamName, batches: Sequence[OpenedBatch], mark: PlatformMark, key: tuple[str, ...]) -> None:
    """Raises PlatformError (permanent) when the key changes within an epoch, or there is none any more."""
    epoch = mark.epoch
    for batch in batches:
        if PlatformMark(batch.epoch, batch.seq) <= mark:
            continue
        now = batch.schema.key
        if epoch and now != key and (batch.epoch == epoch or not now):
            raise PlatformError(
                f"{stream}: the key changes from ({', '.join(key)}) to ({', '.join(now)}); "
                + ("it may with a new epoch only, so reset the stream" if now else "a mirror cannot lose its key"),
                code="FB-PLATFORM-SCHEMA",
                permanent=True,
            )
        epoch, key = batch.epoch, now


def _parts(batches: Sequence[OpenedBatch]) -> Iterator[list[OpenedBatch]]:
    """What one commit takes: batches of one key, up to the end of a snapshot that lets older epochs' rows go.

    Such an end is rare, once per reset. What comes after it must not see the rows that left (absent columns would).
    """
    part: list[OpenedBatch] = []
    for batch in batches:
        if part and (part[-1].schema.key != batch.schema.key or (part[-1].last_of_snapshot and part[-1].epoch > 1)):
            yield part
            part = []
        part.append(batch)
    if part:
        yield part


class _Load:
    """One part of a load: at most one commit of each table."""

    def __init__(self, loading: Loading, stream: StreamName, batches: list[OpenedBatch]) -> None:
        self._loading = loading
        self._catalogue = loading.catalogue
        self._stream = stream
        self._batches = batches
        self._key = batches[0].schema.key
        self._through = PlatformMark(batches[-1].epoch, batches[-1].seq)

    def run(self) -> None:
        history_id, mirror_id = names.history_of(self._stream), names.mirror_of(self._stream)
        history = self._catalogue.load(history_id)
        schema = history.schema() if history is not None else None
        for batch in self._batches:
            schema = history_schema(batch.schema.columns, schema)
        assert schema is not None
        if history is None:
            history = self._create(history_id, schema, {})
        mirrored = self._mirror(mirror_id, history, schema) if self._key else None
        fresh = self._after(marks.mark_of(history.properties, self._stream))
        due = self._after(marks.mark_of(mirrored.properties, self._stream)) if mirrored is not None else []
        rows = loadrows.rows_of(fresh, schema)
        writing = self._loading.writers.submit(self._write_history, history, schema, rows)
        try:
            made = None
            if mirrored is not None and due:
                due_rows = rows if due == fresh else loadrows.rows_of(due, schema)
                made = self._search(mirrored, schema, due, due_rows)
        finally:
            files = writing.result()
        if fresh:
            self._commit_history(history_id, history, schema, fresh, files)
        if made is not None and mirrored is not None:
            self._commit_mirror(mirror_id, mirrored, schema, made, files if due == fresh else [])

    def _after(self, mark: PlatformMark) -> list[OpenedBatch]:
        return [batch for batch in self._batches if PlatformMark(batch.epoch, batch.seq) > mark]

    def _create(self, table_id: TableId, schema: Schema, properties: dict[str, str]) -> Table:
        return self._catalogue.create(
            table_id,
            schema,
            {marks.STREAM: str(self._stream), marks.KEY: marks.listed(self._key), **properties},
        )

    def _mirror(self, mirror_id: TableId, history: Table, schema: Schema) -> Table:
        """The mirror, made when there is none. A table that had no key until now starts with what comes."""
        found = self._catalogue.load(mirror_id)
        if found is not None:
            return found
        properties = {}
        mark = marks.mark_of(history.properties, self._stream)
        if mark > PlatformMark() and not marks.names_of(history.properties, marks.KEY):
            properties[marks.THROUGH] = marks.through(self._stream, mark)
        return self._create(mirror_id, mirror_schema(schema), properties)

    def _write_history(self, history: Table, schema: Schema, rows: pa.Table) -> list[DataFile]:
        location = history.metadata.location
        return [
            datafile.write(history.io, location, schema.fields, part, set(self._key))  # type: ignore[arg-type]
            for part in datafile.slices(rows)
        ]

    def _search(
        self, mirrored: Table, schema: Schema, due: list[OpenedBatch], rows: pa.Table
    ) -> tuple[Head, Folded, list[mirror.Leaving]]:
        head = Head.of(mirrored, self._loading.entries)
        key = [field for name in self._key for field in columns_of(schema) if field.name == name]
        cut = max((batch.epoch for batch in due if batch.last_of_snapshot), default=0)
        folded = fold(rows, key, cut)
        return head, folded, self._loading.search.leaving(mirrored.io, head, folded, cut)  # type: ignore[arg-type]

    def _commit_history(
        self, table_id: TableId, history: Table, schema: Schema, fresh: list[OpenedBatch], files: list[DataFile]
    ) -> None:
        through = marks.through(self._stream, self._through)
        columns = tuple(column.name for column in fresh[-1].schema.columns)
        change = Change(
            added=files,
            schema=schema,
            properties={
                marks.THROUGH: through,
                marks.KEY: marks.listed(self._key),
                marks.COLUMNS: marks.listed(columns),
            },
            audit={marks.THROUGH: through},
        )
        head = Head.of(history, self._loading.entries)
        commit(history, head, change, self._loading.entries, self._loading.now_ms())
        self._catalogue.keep(table_id, history)

    def _commit_mirror(
        self,
        table_id: TableId,
        mirrored: Table,
        schema: Schema,
        made: tuple[Head, Folded, list[mirror.Leaving]],
        files: list[DataFile],
    ) -> None:
        head, folded, leaving = made
        wanted = mirror_schema(schema, mirrored.schema())
        change = mirror.plan(mirrored, wanted, head, folded, leaving, files, self._loading.search)
        through = marks.through(self._stream, self._through)
        change.schema = wanted
        change.properties = {marks.THROUGH: through, marks.KEY: marks.listed(self._key)}
        change.audit = {marks.THROUGH: through}
        commit(mirrored, head, change, self._loading.entries, self._loading.now_ms())
        self._catalogue.keep(table_id, mirrored)
