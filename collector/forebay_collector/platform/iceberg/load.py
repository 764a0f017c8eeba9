"""One load of one stream: the history's commit, then the mirror's, each with its own mark.

A crash anywhere leaves each table at a commit of its own; the same load, applied again, passes over what a table has.
The history's file is written while the mirror's rows are being searched. What the mirror may not show yet is committed to
a branch of it, see `hold`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.table import Table

from forebay_collector.platform.contract import OpenedBatch, PlatformMark
from forebay_collector.platform.iceberg import checks, datafile, hold, loadrows, marks, mirror, names, standing
from forebay_collector.platform.iceberg.catalogue import Catalogue
from forebay_collector.platform.iceberg.evolution import Evolved
from forebay_collector.platform.iceberg.fields import columns_of, mirror_schema
from forebay_collector.platform.iceberg.fold import Folded, fold
from forebay_collector.platform.iceberg.head import Head, ManifestEntries
from forebay_collector.platform.iceberg.names import TableId
from forebay_collector.platform.iceberg.ranges import Unnamed
from forebay_collector.platform.iceberg.snapshot import Change, commit
from forebay_collector.platform.iceberg.standing import Next, Standing
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
        keyed = marks.names_of(properties, marks.KEY)
        checks.check(stream, batches, mark, marks.names_of(properties, marks.COLUMNS), keyed)
        Evolved.of(history, mark).taking(_after(batches, mark))
        mirrored = self.catalogue.load(names.mirror_of(stream))
        if mirrored is None:
            progress = hold.Progress(PlatformMark() if keyed else mark)
        else:
            standing.check_base(mirrored, stream, self.entries, self.now_ms())
            progress = hold.progress_of(mirrored.properties, stream)
        for part in hold.parts(progress, batches):
            _Load(self, stream, part).run()


@dataclass(frozen=True)
class _Made:
    """What a load does to the mirror."""

    next: Next
    folded: Folded
    leaving: list[mirror.Leaving]


class _Load:
    """One part of a load, of one epoch: at most one commit of each table."""

    def __init__(self, loading: Loading, stream: StreamName, batches: list[OpenedBatch]) -> None:
        self._loading = loading
        self._catalogue = loading.catalogue
        self._stream = stream
        self._batches = batches
        self._key = batches[0].schema.key

    def run(self) -> None:
        history_id, mirror_id = names.history_of(self._stream), names.mirror_of(self._stream)
        history = self._catalogue.load(history_id)
        mark = marks.mark_of(history.properties, self._stream) if history is not None else PlatformMark()
        fresh = _after(self._batches, mark)
        evolved = Evolved.of(history, mark).taking(fresh)
        schema = evolved.schema
        assert schema is not None
        if history is None:
            history = self._create(history_id, schema, {})
        stands = self._standing(mirror_id, history, schema) if self._key else None
        due = _after(self._batches, stands.progress.mark) if stands is not None else []
        rows = loadrows.rows_of(fresh, schema)
        writing = self._loading.writers.submit(self._write_history, history, schema, rows)
        try:
            made = None
            if stands is not None and due:
                # an older epoch than the history's is loaded again into a mirror that was lost: nothing of it will stay
                kept = due if due[0].epoch >= mark.epoch else []
                made = self._make(stands, schema, due, rows if due == fresh else loadrows.rows_of(kept, schema))
        finally:
            files = writing.result()
        if fresh:
            self._commit_history(history_id, history, evolved, fresh, files)
        if made is not None and stands is not None:
            self._commit_mirror(mirror_id, stands, schema, due, made, files if due == fresh else [])

    def _create(self, table_id: TableId, schema: Schema, properties: dict[str, str]) -> Table:
        return self._catalogue.create(
            table_id,
            schema,
            {marks.STREAM: str(self._stream), marks.KEY: marks.listed(self._key), **properties},
        )

    def _standing(self, mirror_id: TableId, history: Table, schema: Schema) -> Standing:
        """The mirror, made when there is none. A table that had no key until now starts with what comes."""
        found = self._catalogue.load(mirror_id)
        if found is None:
            properties = {}
            mark = marks.mark_of(history.properties, self._stream)
            if mark > PlatformMark() and not marks.names_of(history.properties, marks.KEY):
                properties[marks.THROUGH] = marks.through(self._stream, mark)
            found = self._create(mirror_id, mirror_schema(schema, _names(self._batches)), properties)
        return Standing.of(found, self._stream, self._loading.entries)

    def _write_history(self, history: Table, schema: Schema, rows: pa.Table) -> list[DataFile]:
        location = history.metadata.location
        return [
            datafile.write(history.io, location, schema.fields, part, set(self._key))  # type: ignore[arg-type]
            for part in datafile.slices(rows)
        ]

    def _make(self, stands: Standing, schema: Schema, due: list[OpenedBatch], rows: pa.Table) -> _Made:
        progress = stands.progress
        anew = due[0].epoch > 1 and hold.begins(progress.mark, due[0])
        for batch in due:
            progress = progress.after(batch)
        key = [field for name in self._key for field in columns_of(schema) if field.name == name]
        folded = fold(rows, key)
        ends_range = due[-1].key_range is not None and due[-1].last_of_snapshot
        unnamed = Unnamed.of(due[-1], key[0]) if ends_range else None
        if unnamed is not None:
            folded = unnamed.without(folded)
        head = Head(None) if anew else stands.head
        io = stands.table.io
        leaving = self._loading.search.leaving(io, head, folded, unnamed)  # type: ignore[arg-type]
        return _Made(Next(progress, self._key, anew), folded, leaving)

    def _commit_history(
        self, table_id: TableId, history: Table, evolved: Evolved, fresh: list[OpenedBatch], files: list[DataFile]
    ) -> None:
        through = marks.through(self._stream, PlatformMark(fresh[-1].epoch, fresh[-1].seq))
        change = Change(
            added=files,
            schema=evolved.schema,
            properties={
                marks.THROUGH: through,
                marks.KEY: marks.listed(self._key),
                marks.COLUMNS: marks.listed(tuple(column.name for column in fresh[-1].schema.columns)),
                **evolved.properties,
            },
            audit={marks.THROUGH: through},
        )
        head = Head.of(history, self._loading.entries)
        commit(history, head, change, self._loading.entries, self._loading.now_ms())
        self._catalogue.keep(table_id, history)

    def _commit_mirror(
        self,
        table_id: TableId,
        stands: Standing,
        schema: Schema,
        due: list[OpenedBatch],
        made: _Made,
        files: list[DataFile],
    ) -> None:
        table, entries = stands.table, self._loading.entries
        wanted = mirror_schema(schema, _names(due), None if made.next.anew else stands.schema)
        change = mirror.plan(table, wanted, made.folded, made.leaving, files, self._loading.search)
        head = stands.head
        if made.next.anew:
            head = Head.of(table, entries)
            standing.clear(change, head)
        stands.settle(change, wanted, self._stream, made.next)
        commit(table, head, change, entries, self._loading.now_ms())
        self._catalogue.keep(table_id, table)


def _after(batches: Sequence[OpenedBatch], mark: PlatformMark) -> list[OpenedBatch]:
    return [batch for batch in batches if PlatformMark(batch.epoch, batch.seq) > mark]


def _names(batches: Sequence[OpenedBatch]) -> list[str]:
    """Every column of the batches, in order."""
    return list(dict.fromkeys(column.name for batch in batches for column in batch.schema.columns))
