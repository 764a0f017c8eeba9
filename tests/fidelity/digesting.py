"""What verification makes of a type's values: the same digests at the source and in the platform, and keys that lead back."""

from __future__ import annotations

from itertools import count

import pyarrow as pa

from forebay_agent.capture.source import RowRange, Source, TableShape
from forebay_collector.platform.contract import OpenedBatch, Platform
from forebay_collector.verify.sides import Mirror
from forebay_wire import canonical, canonical_keys
from forebay_wire.columns import CHANGE_FIELDS
from forebay_wire.schema import TableSchema, column
from forebay_wire.stream import StreamName

CELLS = 8
_numbers = count(1)


def assert_one_digest(platform: Platform, source: Source, shape: TableShape, rows: RowRange) -> None:
    """The rows, read as verification reads them, and what the platform holds of them once they are loaded: counts, digests,
    digests of single keys, and of single columns. The kernel's are those of the definition."""
    schema = TableSchema.of([column(c.name, c.arrow, c.origin, carried=c.carried) for c in shape.columns], shape.key)
    stream = StreamName("department", f"source{next(_numbers)}", "t")
    names = [each.name for each in shape.columns]
    digester, plain = canonical.Digester(CELLS), canonical.TableDigest(CELLS)
    told: dict[bytes, bytes] = {}
    for seq, batch in enumerate(source.read(shape, rows), start=1):
        key, values = canonical.select(batch, shape.key), canonical.select(batch, names)
        digester.add(key, values)
        keys, digests = canonical.canonical_rows(key), canonical.digests(canonical.canonical_rows(values))
        plain.add(canonical.digests(keys), digests)
        told |= dict(zip(keys.to_pylist(), digests, strict=True))
        _assert_leads_back(values, [each.arrow for each in shape.columns])
        more = [pa.repeat(pa.scalar("r"), batch.num_rows), pa.repeat(pa.scalar("snapshot:"), batch.num_rows)]
        more += [pa.nulls(batch.num_rows, field.type) for field in CHANGE_FIELDS[2:]]
        loaded = pa.RecordBatch.from_arrays([*values, *more], schema=schema.arrow)
        platform.apply(stream, [OpenedBatch(1, seq, schema, loaded)])
    assert told
    assert list(digester.table()) == list(plain)
    mirror = Mirror(platform, stream, lambda: schema)
    assert list(mirror.digest(CELLS)) == list(plain)
    assert mirror.look_up(told) == {key: (1, int.from_bytes(digest, "big")) for key, digest in told.items()}
    columns = mirror.columns(told)
    assert columns.keys() == told.keys()
    assert all(set(each) == set(names) for each in columns.values())


def _assert_leads_back(columns: list[pa.Array], kinds: list[pa.DataType]) -> None:
    """As if each column were a key: its canonical bytes give its values again, as what is looked up by key must."""
    for values, kind in zip(columns, kinds, strict=True):
        known = canonical.canonical_rows([values])
        (again,) = canonical_keys.columns_of(known.to_pylist(), [kind])
        assert canonical.canonical_rows([again]).equals(known)
