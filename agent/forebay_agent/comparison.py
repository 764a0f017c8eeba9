"""The source's side of verify: counts and digests of a table as it is now, through the same transform as its capture.

Runs on the source's own thread, between polls, so that nothing else reads that source meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import pyarrow as pa

from forebay_agent.capture import marks
from forebay_agent.capture.plan import describe
from forebay_agent.capture.source import RowRange, Source
from forebay_agent.config.model import TableConfig
from forebay_agent.errors import KeyMissing
from forebay_agent.transform import Transform
from forebay_wire.canonical import TableDigest, bucket, canonical_rows, digests, key_text, select
from forebay_wire.columns import CHANGE_FIELDS, OP, POSITION, Op

CHUNK_ROWS = 500_000
"""rows that one statement returns at most"""


def table_digest(source: Source, table: TableConfig) -> TableDigest:
    """Counts and sums per bucket over the whole table."""
    total = TableDigest()
    for keys, images, _ in _digested(source, table):
        total.add(keys, images)
    return total


def keys_of_buckets(source: Source, table: TableConfig, buckets: Collection[int]) -> Iterator[tuple[str, bytes]]:
    """(canonical key, row digest) of every row whose key falls into one of the buckets."""
    wanted = frozenset(buckets)
    for keys, images, columns in _digested(source, table):
        places = [place for place, key in enumerate(keys) if bucket(key) in wanted]
        taken = pa.array(places, pa.int64())
        texts = key_text([column.take(taken) for column in columns])
        yield from zip(texts, (images[place] for place in places), strict=True)


def _digested(source: Source, table: TableConfig) -> Iterator[tuple[list[bytes], list[bytes], list[pa.Array]]]:
    """Per piece: the keys' digests, the rows' digests, and the key columns."""
    shape = describe(source, table)
    if not shape.key:
        raise KeyMissing(f"{table.name} has no key: its rows cannot be compared one by one")
    transform = Transform(shape, table)
    names = [field.name for field in transform.schema.columns]
    after: tuple[str, ...] | None = None
    while True:
        read = 0
        for rows in source.read(shape, RowRange(shape.key, after=after, limit=CHUNK_ROWS)):
            if not rows.num_rows:
                continue
            read += rows.num_rows
            after = marks.to_texts(rows, shape.key, -1)
            left = transform.apply(_as_change(rows))
            columns = select(left, transform.schema.key)
            yield digests(canonical_rows(columns)), digests(canonical_rows(select(left, names))), columns
        if read < CHUNK_ROWS:
            return


def _as_change(rows: pa.RecordBatch) -> pa.RecordBatch:
    """The rows with the columns that a change carries, which a comparison leaves empty."""
    texts = {OP: Op.READ.value, POSITION: ""}
    extra = [
        pa.repeat(pa.scalar(texts[field.name], field.type), rows.num_rows)
        if field.name in texts
        else pa.nulls(rows.num_rows, field.type)
        for field in CHANGE_FIELDS
    ]
    return pa.RecordBatch.from_arrays([*rows.columns, *extra], schema=pa.schema([*rows.schema, *CHANGE_FIELDS]))
