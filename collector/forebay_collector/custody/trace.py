"""Trace: where a row of the platform comes from, and every hand it passed.

The platform's history holds every change of the row with its place (`_epoch`, `_seq`, `_row`): its batch. The ledger knows what
became of the batch, the audit who decided about it, the archive whether it is what was sealed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import func, select

from forebay_collector.archive import Archive
from forebay_collector.custody import batch as judged
from forebay_collector.errors import NotKnown, NotPossible
from forebay_collector.ledger import BatchRecord, Ledger, batch_rows, tables
from forebay_collector.platform.contract import Platform, PlatformTable
from forebay_wire.columns import CHANGE_NAMES
from forebay_wire.schema import TableSchema
from forebay_wire.stream import StreamName

MOST: Final = 100
"""Versions that are told, the newest."""
_OWN: Final = frozenset({*CHANGE_NAMES, "_epoch", "_seq", "_row"})

At = tuple[int, int, int]
"""(epoch, seq, row)"""


@dataclass(frozen=True, slots=True)
class Hand:
    """One hand that the batch passed. at: microseconds, 0: not known, or not yet."""

    what: str
    who: str
    at: int
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Version:
    """One change of the row. committed_at: at the source, microseconds, 0: it does not say. custody: what its batch is now:
    whole, expired (the archive does not hold it any more), or what is wrong with it."""

    op: str
    position: str
    committed_at: int
    at: At
    rows: int
    hands: Sequence[Hand]
    custody: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Trace:
    """key: of the row. present: whether the mirror holds it now. versions: newest first, `found` is how many there are."""

    stream: StreamName
    key: Mapping[str, Any]
    present: bool
    versions: Sequence[Version]
    found: int


def trace(
    ledger: Ledger,
    archive: Archive,
    platform: Platform,
    stream: StreamName,
    where: Mapping[str, str],
    place: At | None = None,
    *,
    most: int = MOST,
) -> Trace:
    """The row whose columns have these values, as text; or the one that the change at `place` is of.

    Raises NotKnown: there is no such row; NotPossible: the values fit several; QueryRefused, PlatformError.
    """
    history = _table(platform, stream, "changes")
    names = platform.sql(f"SELECT * FROM {_name(history.name)} LIMIT 0").schema.names
    key = [name for name in _key_of(ledger, stream) if name in names]
    for name in where:
        if name not in names or name in _OWN:
            raise NotKnown(f"{stream} has no column {name!r}; it has {', '.join(n for n in names if n not in _OWN)}")
    if place is not None:
        condition = f"_epoch = {place[0]:d} AND _seq = {place[1]:d} AND _row = {place[2]:d}"
    else:
        condition = " AND ".join(f"CAST({_name(name)} AS VARCHAR) = {_text(value)}" for name, value in where.items())
    # as text by the same cast each time: what a value looks like is for one program to say
    listed = ", ".join(f"CAST({_name(name)} AS VARCHAR) AS {_name(name)}" for name in key)
    keys = (
        _all(platform, f"SELECT DISTINCT {listed} FROM {_name(history.name)} WHERE {condition} LIMIT 6") if key else []
    )
    if key and len(keys) != 1:
        asked = condition if place is not None else ", ".join(f"{name}={value}" for name, value in where.items())
        if not keys:
            raise NotKnown(f"{stream}: no change of a row with {asked} is in the platform")
        several = "; ".join(", ".join(f"{name}={one[name]}" for name in key) for one in keys[:5])
        raise NotPossible(f"{stream}: several rows have {asked}: {several}", remedy="Name the key's columns.")
    if key:
        condition = " AND ".join(f"CAST({_name(name)} AS VARCHAR) = {_text(keys[0][name])}" for name in key)
    count = _all(platform, f"SELECT count(*) AS n FROM {_name(history.name)} WHERE {condition}")[0]["n"]
    if not count:
        raise NotKnown(f"{stream}: no change of such a row is in the platform")
    query = (
        f"SELECT * FROM {_name(history.name)} WHERE {condition} ORDER BY _epoch DESC, _seq DESC, _row DESC LIMIT {most}"
    )
    versions = [_version(ledger, archive, stream, row) for row in _all(platform, query)]
    present = False
    if key:
        mirror = _table(platform, stream, "mirror")
        present = bool(_all(platform, f"SELECT count(*) AS n FROM {_name(mirror.name)} WHERE {condition}")[0]["n"])
    return Trace(stream, keys[0] if key else dict(where), present, versions, count)


def _version(ledger: Ledger, archive: Archive, stream: StreamName, row: Mapping[str, Any]) -> Version:
    at = (row["_epoch"], row["_seq"], row["_row"])
    batch = ledger.batches.get(stream, at[0], at[1])
    values = {name: value for name, value in row.items() if name not in _OWN}
    committed = row["_committed_at"]
    told = int(committed.timestamp() * 1_000_000) if committed is not None else 0
    if batch is None:
        return Version(row["_op"], row["_position"], told, at, 0, (), "the ledger has no row of its batch", values)
    hands = _hands(ledger, batch)
    return Version(row["_op"], row["_position"], told, at, batch.rows, hands, _custody(ledger, archive, batch), values)


def _hands(ledger: Ledger, batch: BatchRecord) -> list[Hand]:
    first, last = _loaded_with(ledger, batch)
    name = f"{batch.stream} {batch.epoch}/{batch.seq}"
    hands = [
        Hand("captured and sealed", batch.agent, batch.captured_at, f"{batch.rows} rows"),
        Hand("received, archived, recorded", "collector", batch.received_at, f"{batch.bytes} bytes"),
    ]
    decided = ledger.audit.listing(subject=name, limit=MOST)
    hands += [Hand(one.action, one.who, one.at, one.why) for one in reversed(decided)]
    if batch.loaded_at:
        hands.append(Hand("loaded", "loader", batch.loaded_at, f"with {first[0]}/{first[1]} to {last[0]}/{last[1]}"))
    if batch.expired_at:
        hands.append(Hand("removed from the archive", "retention", batch.expired_at))
    return sorted(hands, key=lambda hand: hand.at)


def _loaded_with(ledger: Ledger, batch: BatchRecord) -> tuple[tuple[int, int], tuple[int, int]]:
    """The first and the last batch that were loaded in one commit with it."""
    of_batch = tables.batch.c
    query = select(func.min(of_batch.seq), func.max(of_batch.seq)).where(
        of_batch.stream_id == batch.stream_id,
        of_batch.epoch == batch.epoch,
        of_batch.loaded_at == batch.loaded_at,
    )
    with ledger.database.read() as connection:
        first, last = connection.execute(query).one()
    return (batch.epoch, first or batch.seq), (batch.epoch, last or batch.seq)


def _custody(ledger: Ledger, archive: Archive, batch: BatchRecord) -> str:
    at = (batch.epoch, batch.seq)
    with ledger.database.read() as connection:
        (row,) = batch_rows.page(connection, batch.stream_id, at, last=at)
    _, findings = judged.of_row(batch.stream, row)
    if not findings and not batch.expired_at:
        _, findings = judged.of_object(archive, batch.stream, row)
    if findings:
        return "; ".join(f"{one.kind} in the {one.place}: {one.reason}" for one in findings)
    return "expired" if batch.expired_at else "whole"


def _key_of(ledger: Ledger, stream: StreamName) -> Sequence[str]:
    history = ledger.schemas.history(stream)
    if not history:
        raise NotKnown(f"stream {stream} is not in the ledger")
    fingerprint, content, _ = history[-1]
    return TableSchema.parse(content, fingerprint).key


def _table(platform: Platform, stream: StreamName, kind: str) -> PlatformTable:
    found = [table for table in platform.tables() if table.stream == stream and table.kind == kind]
    if not found:
        raise NotKnown(f"the platform has no table of stream {stream} yet")
    return found[0]


def _all(platform: Platform, query: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = platform.sql(query).read_all().to_pylist()
    return rows


def _name(name: str) -> str:
    """An identifier for SQL; `schema.table` as `tables` lists it is one name."""
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
