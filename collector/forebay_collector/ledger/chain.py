"""The audit's chain: every entry carries the digest of the one before it and its own, so that none changes unseen.

    digest = SM3(tag ‖ previous ‖ field …)      each: length (8 bytes, big-endian) ‖ type ‖ value

over all columns of the entry in the order of `FIELDS`, its id included. Ids have no gaps. The first entry's `previous` is
32 zero bytes. One row beside the entries, the head, holds how many there ever were and the last digest, so that entries
cut off at the end are missed; and the anchor: how many expired, and the digest of the last of these. The expiry is an
entry itself, which names the anchor.

Whoever can write the ledger's file can compute a whole new chain. It does not agree with a head that was noted elsewhere:
note `audit verify`'s head from time to time where the ledger's administrator cannot write.

The head's row is what writers queue at: it is locked before an entry is added (on SQLite the whole file is).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, delete, func, insert, select, update

from forebay_collector.errors import LedgerDamaged
from forebay_collector.ledger import tables
from forebay_wire.digest import GENESIS, DigestAlgorithm

FIELDS: Final = ("id", "at", "who", "action", "subject", "why", "detail", "department")
_TAG: Final = b"forebay audit 1"
_AT_ONCE: Final = 1_000
_HEAD: Final = tuple(tables.audit_head.c[name] for name in ("entries", "digest", "expired", "anchor"))
_digest: Final = DigestAlgorithm.SM3


@dataclass(frozen=True, slots=True)
class Head:
    """entries: how many were ever added; digest: the last one's. expired, anchor: the same of those that retention removed."""

    entries: int = 0
    digest: bytes = GENESIS
    expired: int = 0
    anchor: bytes = GENESIS

    def __str__(self) -> str:
        return anchor_text(self.entries, self.digest)


def anchor_text(number: int, digest: bytes) -> str:
    """`NUMBER:DIGEST`, as people note it."""
    return f"{number}:{digest.hex()}"


def digest_of(entry: Mapping[str, Any], previous: object) -> bytes:
    """The digest that an entry must have after the one with digest `previous`."""
    values = (previous, *(entry[name] for name in FIELDS))
    return _digest(_TAG, *(part for value in values for part in _canonical(value)))


def _canonical(value: object) -> Iterator[bytes]:
    """A value of another type than the column's is another value: it must not pass for the one that was digested."""
    match value:
        case int():
            kind, content = b"i", str(value).encode()
        case str():
            kind, content = b"t", value.encode("utf-8", "surrogateescape")
        case bytes():
            kind, content = b"b", value
        case _:
            kind, content = b"?", repr(value).encode()
    yield len(content).to_bytes(8, "big")
    yield kind
    yield content


def head(connection: Connection) -> Head:
    """The head as it stands; an empty one where its row is missing."""
    row = connection.execute(select(*_HEAD)).mappings().one_or_none()
    return Head() if row is None else Head(**row)


def locked_head(connection: Connection) -> Head:
    """The head; no other transaction adds or removes an entry until this one ends. Raises LedgerDamaged."""
    row = connection.execute(select(*_HEAD).with_for_update()).mappings().one_or_none()
    if row is None:
        raise LedgerDamaged("the head of the audit's chain is missing")
    return Head(**row)


def append(connection: Connection, entry: Mapping[str, Any]) -> int:
    """Adds the entry (all fields but the id) at the end of the chain, within the caller's transaction; -> its id."""
    last = locked_head(connection)
    number = last.entries + 1
    digest = digest_of({**entry, "id": number}, last.digest)
    connection.execute(insert(tables.audit).values(id=number, **entry, previous=last.digest, digest=digest))
    connection.execute(update(tables.audit_head).values(entries=number, digest=digest))
    return number


def found(connection: Connection) -> None:
    """Chains the entries of a ledger that had no chain, and gives them ids without gaps."""
    audit = tables.audit.c
    query = select(*(audit[name] for name in FIELDS)).order_by(audit.id)
    number, previous = 0, GENESIS
    for row in connection.execute(query).mappings().all():
        number += 1
        digest = digest_of({**row, "id": number}, previous)
        values = {"id": number, "previous": previous, "digest": digest}
        connection.execute(update(tables.audit).where(audit.id == row["id"]).values(**values))
        previous = digest
    connection.execute(
        insert(tables.audit_head).values(one=1, entries=number, digest=previous, expired=0, anchor=GENESIS)
    )


def entries(connection: Connection) -> Iterator[Mapping[str, Any]]:
    """All entries with `previous` and `digest`, by id."""
    audit = tables.audit.c
    columns = [audit[name] for name in (*FIELDS, "previous", "digest")]
    rows: Iterable[Any] = connection.execute(select(*columns).order_by(audit.id).limit(_AT_ONCE)).mappings().all()
    while rows:
        last = None
        for row in rows:
            last = row["id"]
            yield row
        query = select(*columns).where(audit.id > last).order_by(audit.id).limit(_AT_ONCE)
        rows = connection.execute(query).mappings().all()


def expire(connection: Connection, before: int) -> Head | None:
    """Removes the entries at the beginning that are older than `before`, and moves the anchor behind them; -> the head
    after it, None when there are none. Entries behind a younger one stay: only a prefix leaves a chain."""
    audit = tables.audit.c
    last = locked_head(connection)
    young = select(func.min(audit.id)).where(audit.at >= before)
    first_kept: int | None = connection.execute(young).scalar_one_or_none()
    through = last.entries if first_kept is None else first_kept - 1
    if through <= last.expired:
        return None
    anchor: bytes = connection.execute(select(audit.digest).where(audit.id == through)).scalar_one()
    connection.execute(delete(tables.audit).where(audit.id <= through))
    connection.execute(update(tables.audit_head).values(expired=through, anchor=anchor))
    return Head(last.entries, last.digest, through, anchor)
