"""Changes a mirror behind Forebay's back: rows are deleted, altered in one column and added by a commit of another writer.

The collector must not run meanwhile. The mirror's marks stay as they are: nothing tells that anything happened.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from forebay_collector.platform.iceberg import names, snapshot
from forebay_collector.platform.iceberg.catalogue import Catalogue
from forebay_collector.platform.iceberg.durable_io import DurableFileIO
from forebay_collector.platform.iceberg.fields import arrow_schema, columns_of
from forebay_collector.platform.iceberg.fold import Folded
from forebay_collector.platform.iceberg.head import Head, ManifestEntries
from forebay_collector.platform.iceberg.keys import KeySet
from forebay_collector.platform.iceberg.mirror import MirrorSearch, plan
from forebay_wire.stream import StreamName

ADDED_FROM = 1_000_000_000


@dataclass(slots=True)
class Planted:
    """Ids of rows. altered: and the column."""

    deleted: set[int] = field(default_factory=set)
    altered: dict[int, str] = field(default_factory=dict)
    added: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, draw: random.Random, ids: Sequence[int], count: int, columns: Sequence[str]) -> Planted:
        """So many differences, of each kind about a third."""
        chosen = draw.sample(ids, count - count // 3)
        half = len(chosen) // 2
        altered = {number: columns[place % len(columns)] for place, number in enumerate(chosen[half:])}
        return cls(set(chosen[:half]), altered, {ADDED_FROM + number for number in range(count // 3)})

    @property
    def touched(self) -> set[int]:
        return self.deleted | self.altered.keys()


def plant(folder: Path, stream: StreamName, planted: Planted) -> None:
    """folder: the platform's. The key is `id`; altered columns are of text."""
    catalogue, entries, search = Catalogue(folder), ManifestEntries(), MirrorSearch(64 << 20)
    table = catalogue.load(names.mirror_of(stream))
    assert table is not None
    io: DurableFileIO = table.io  # type: ignore[assignment]  # the catalogue's own
    head = Head.of(table, entries)
    schema = table.schema()
    fields = schema.fields
    key = next(each for each in columns_of(schema) if each.name == "id")
    touched = pa.array(sorted(planted.touched), pa.int64())
    rows = pa.Table.from_batches(search.rows(table.io, head.files, [key], [touched], fields))
    rows = rows.cast(arrow_schema(fields))
    held = {row["id"]: row for row in rows.to_pylist()}
    assert held.keys() == planted.touched, "the mirror holds all that is to be changed"
    some = next(iter(held.values()))
    altered = [{**held[number], column: "另有他人"} for number, column in planted.altered.items()]
    added = [{**some, "id": number} for number in planted.added]
    upserts = pa.Table.from_pylist([*altered, *added], schema=rows.schema)
    keys = pa.array(sorted(planted.touched | planted.added), pa.int64())
    folded = Folded(KeySet.of([key], [keys]), upserts, identity=False)
    leaving = search.leaving(io, head, folded, None)
    change = plan(table, schema, folded, leaving, (), search)
    snapshot.commit(table, head, change, entries, int(time.time() * 1000))
    catalogue.close()
