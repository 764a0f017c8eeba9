"""Rows of batches, each with a digest over all of its columns, so that none changes unseen.

    digest = SM3(tag ‖ JSON list of every column but header and digest, in the table's order ‖ header)

Every insert and every change of such a row is made here. A row that is not what its digest says is left so: what changes
in it later is written, its digest is not computed anew, so that the damage never passes for the truth.

Whoever can write the ledger can compute digests too. That is found by what is kept elsewhere: the archive's objects, the
platform's marks, and the certificates, which carry each stream's chain.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, bindparam, insert, select, tuple_, update

from forebay_collector.ledger import tables
from forebay_collector.ledger.reading import any_text
from forebay_wire.digest import DigestAlgorithm

_TAG: Final = b"forebay batch row 1"
_AT_ONCE: Final = 1_000
_COVERED: Final = tuple(column.name for column in tables.batch.c if column.name not in ("header", "digest"))
_KEY: Final = ("stream_id", "epoch", "seq")
_digest: Final = DigestAlgorithm.SM3

Row = Mapping[str, Any]
Place = tuple[int, int]
"""(epoch, seq)"""


def digest_of(row: Row) -> bytes:
    """The digest that the row must have. A value of another type than its column's is another value."""
    covered = json.dumps([_plain(row[name]) for name in _COVERED], separators=(",", ":"))
    header = row["header"]
    return _digest(_TAG, covered.encode(), header if isinstance(header, bytes) else repr(header).encode())


def is_whole(row: Row) -> bool:
    """Whether the row is what its digest says."""
    return bool(digest_of(row) == row["digest"])


def add(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Inserts rows, of all columns but the digest."""
    connection.execute(insert(tables.batch), [{**row, "digest": digest_of(dict(row))} for row in rows])


def change(connection: Connection, which: ColumnElement[bool], values: Callable[[Row], Mapping[str, Any]]) -> list[Row]:
    """Changes the rows for which `which` is true, each by what `values` makes of it; -> them as they are then."""
    rows = connection.execute(select(tables.batch).where(which).with_for_update()).mappings().all()
    found: list[Row] = [dict(row) for row in rows]
    changes: list[dict[str, Any]] = []
    changed: list[Row] = []
    for row in found:
        new = {**row, **values(row)}
        if is_whole(row):
            new["digest"] = digest_of(new)
        changed.append(new)
        changes.append(
            {f"of_{name}": row[name] for name in _KEY} | {name: new[name] for name in (*values(row), "digest")}
        )
    if changes:
        names = [name for name in changes[0] if not name.startswith("of_")]
        connection.execute(_UPDATE.values({name: bindparam(name) for name in names}), changes)
    return changed


def page(
    connection: Connection,
    stream_id: int,
    first: Place,
    *,
    last: Place | None = None,
    limit: int | None = None,
) -> list[Row]:
    """The stream's rows from (epoch, seq) `first` on, through `last` where it is given; as they stand, altered or not."""
    batch = tables.batch.c
    place = tuple_(batch.epoch, batch.seq)
    query = select(tables.batch).where(batch.stream_id == stream_id, place >= tuple_(*first))
    if last is not None:
        query = query.where(place <= tuple_(*last))
    query = query.order_by(batch.epoch, batch.seq).limit(limit)
    with any_text(connection):
        return [dict(row) for row in connection.execute(query).mappings()]


def before(connection: Connection, stream_id: int, place: Place) -> Row | None:
    """The row just before (epoch, seq), over epochs too; None: there is none."""
    batch = tables.batch.c
    query = (
        select(tables.batch)
        .where(batch.stream_id == stream_id, tuple_(batch.epoch, batch.seq) < tuple_(*place))
        .order_by(batch.epoch.desc(), batch.seq.desc())
        .limit(1)
    )
    with any_text(connection):
        row = connection.execute(query).mappings().one_or_none()
        return None if row is None else dict(row)


def first_since(connection: Connection, stream_id: int, since: int) -> Place | None:
    """The stream's first batch that was received at `since`, microseconds, or later; None: there is none."""
    batch = tables.batch.c
    query = (
        select(batch.epoch, batch.seq)
        .where(batch.stream_id == stream_id, batch.received_at >= since)
        .order_by(batch.epoch, batch.seq)
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else (row[0], row[1])


def _plain(value: object) -> object:
    """As JSON holds it, without two values becoming one."""
    return value if isinstance(value, int | str) else repr(value)


_UPDATE: Final = update(tables.batch).where(*(tables.batch.c[name] == bindparam(f"of_{name}") for name in _KEY))


def digest_existing(connection: Connection) -> None:
    """Gives the rows of a ledger that had no such digests theirs. Part of migration 9."""
    batch = tables.batch.c
    place = tuple_(*(batch[name] for name in _KEY))
    query = select(tables.batch).order_by(*(batch[name] for name in _KEY)).limit(_AT_ONCE)
    rows = connection.execute(query).mappings().all()
    while rows:
        digests = [{f"of_{name}": row[name] for name in _KEY} | {"digest": digest_of(dict(row))} for row in rows]
        connection.execute(_UPDATE.values(digest=bindparam("digest")), digests)
        last = tuple_(*(rows[-1][name] for name in _KEY))
        rows = connection.execute(query.where(place > last)).mappings().all()
