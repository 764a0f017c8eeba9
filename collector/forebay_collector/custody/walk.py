"""Over one stream, batch by batch, a page at a time: beside a collector that goes on, without ever holding it up.

What looks wrong is looked at once more, with its row as it is then: a batch may be loaded, or leave the archive when its
time is over, between two looks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from forebay_collector.archive import Archive
from forebay_collector.custody import batch
from forebay_collector.custody.finding import Finding, Kind, Place
from forebay_collector.ledger import Ledger, StreamRecord, batch_rows
from forebay_collector.ledger.batch_rows import Row
from forebay_collector.ledger.streams import need
from forebay_wire.digest import GENESIS
from forebay_wire.errors import WireError
from forebay_wire.schema import TableSchema
from forebay_wire.seal import check_header
from forebay_wire.v1 import batch_pb2

_PAGE: Final = 200

At = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Told:
    """How far a walk is. batches, read, expired: rows gone over, objects read, objects that retention removed. bytes: read."""

    at: At = (0, 0)
    batches: int = 0
    read: int = 0
    expired: int = 0
    bytes: int = 0


class StreamWalk:
    """since: only batches received then or later, microseconds. after: (epoch, seq) of the last that was gone over before."""

    def __init__(
        self, ledger: Ledger, archive: Archive, stream: StreamRecord, *, since: int = 0, after: At = (0, 0)
    ) -> None:
        self._ledger = ledger
        self._archive = archive
        self._stream = stream
        self._since = since
        self._after = after
        self._chain: bytes | None = GENESIS
        self._schemas: dict[bytes, bool] = {}
        self.told = Told(at=after)

    def steps(self) -> Iterator[list[Finding]]:
        """What is wrong, one batch after the other; `told` is how far it is. Raises LedgerUnavailable, LedgerDamaged,
        ArchiveUnavailable."""
        objects = _Objects(self._ledger, self._archive, self._stream)
        first = self._start(objects)
        while rows := self._page(first):
            for row in rows:
                at = (row["epoch"], row["seq"])
                yield [*objects.before(at), *self._successor(row), *self._judge(row)]
            first = (at[0], at[1] + 1)
        yield self._end(objects)

    def _page(self, first: At) -> list[Row]:
        with self._ledger.database.read() as connection:
            return batch_rows.page(connection, self._stream.id, first, limit=_PAGE)

    def _start(self, objects: _Objects) -> At:
        """Where the walk begins; what was before it is the beginning of its chain."""
        first = (self._after[0], self._after[1] + 1) if self._after != (0, 0) else (0, 0)
        with self._ledger.database.read() as connection:
            if self._since:
                newer = batch_rows.first_since(connection, self._stream.id, self._since)
                first = max(first, newer or (self._stream.epoch, self._stream.durable_seq + 1))
            before = batch_rows.before(connection, self._stream.id, first) if first != (0, 0) else None
        if before is not None:
            self.told = replace(self.told, at=(before["epoch"], before["seq"]))
            self._chain = _chain_of(before)
            objects.skip(self.told.at)
        return first

    def _successor(self, row: Row) -> Iterator[Finding]:
        """Whether the row follows the one before it, by number and by chain."""
        at, last = (row["epoch"], row["seq"]), self.told.at
        expected = (last[0], last[1] + 1) if at[0] == last[0] else (at[0], 1)
        stream = self._stream.name
        if at[1] > expected[1]:
            reason = "the ledger has no row of it"
            yield Finding(Kind.MISSING, Place.LEDGER, reason, stream, expected[0], expected[1], at[1] - 1)
        header = _header_of(row)
        if header is not None and self._chain is not None and header.previous_chain != self._chain:
            reason = "it does not continue the chain of the batch before it"
            if at == expected:
                yield Finding(Kind.REORDERED, Place.LEDGER, reason, stream, *at)
            elif at[1] == expected[1]:
                reason = f"{reason}: what ended epoch {last[0]} is missing"
                yield Finding(Kind.MISSING, Place.LEDGER, reason, stream, last[0], last[1] + 1)
        self._chain = None if header is None else header.chain

    def _judge(self, row: Row) -> list[Finding]:
        found, size = self._look(row)
        if found:
            again = self._again(row)
            found, size = self._look(again)
            row = again
        told = self.told
        self.told = Told(
            (row["epoch"], row["seq"]),
            told.batches + 1,
            told.read + bool(size),
            told.expired + bool(row["expired_at"]),
            told.bytes + size,
        )
        return found

    def _look(self, row: Row) -> tuple[list[Finding], int]:
        header, found = batch.of_row(self._stream.name, row)
        size = 0
        if not row["expired_at"] or found:
            size, of_object = batch.of_object(self._archive, self._stream.name, row)
            if not (row["expired_at"] and not size):
                found += of_object
        if header is not None and not self._opens(header):
            reason = "the schema that opens it is missing in the ledger, or was altered"
            found.append(Finding(Kind.ALTERED, Place.LEDGER, reason, self._stream.name, row["epoch"], row["seq"]))
        found += batch.settled(row, self._stream)
        return found, size

    def _again(self, row: Row) -> Row:
        """The row as it is now; the stream's marks too."""
        at = (row["epoch"], row["seq"])
        with self._ledger.database.read() as connection:
            self._stream = need(connection, self._stream.name)
            rows = batch_rows.page(connection, self._stream.id, at, last=at)
        return rows[0] if rows else row

    def _opens(self, header: batch_pb2.BatchHeader) -> bool:
        fingerprint = header.schema_fingerprint
        if fingerprint not in self._schemas:
            content = self._ledger.schemas.schema(self._stream.name, fingerprint)
            try:
                self._schemas[fingerprint] = content is not None and bool(TableSchema.parse(content, fingerprint))
            except WireError:
                self._schemas[fingerprint] = False
        return self._schemas[fingerprint]

    def _end(self, objects: _Objects) -> list[Finding]:
        """The last row against the stream's durable mark, and what the archive has behind it."""
        with self._ledger.database.read() as connection:
            self._stream = stream = need(connection, self._stream.name)
            last = batch_rows.before(connection, stream.id, (1 << 40, 0))
        at = (last["epoch"], last["seq"]) if last is not None else (0, 0)
        mark = f"{stream.epoch}/{stream.durable_seq}"
        found: list[Finding] = []
        if at < stream.durable:
            reason = f"the ledger has no row of it, and the stream is durable up to {mark}"
            seq = at[1] + 1 if at[0] == stream.epoch else 1
            through = max(seq, stream.durable_seq)
            found.append(Finding(Kind.MISSING, Place.LEDGER, reason, stream.name, stream.epoch, seq, through))
        elif at > stream.durable:
            reason = f"the ledger has its row, and says that the stream is durable up to {mark} only"
            found.append(Finding(Kind.ALTERED, Place.LEDGER, reason, stream.name, *at))
        elif last is not None and _chain_of(last) not in (None, stream.durable_chain):
            reason = f"the stream's durable mark {mark} has another chain digest than the batch"
            found.append(Finding(Kind.ALTERED, Place.LEDGER, reason, stream.name, *at))
        if stream.loaded > stream.durable:
            reason = f"the stream's loaded mark {stream.loaded} is beyond its durable mark"
            found.append(Finding(Kind.ALTERED, Place.LEDGER, reason, stream.name))
        return [*found, *objects.before(stream.durable, inclusive=True)]


class _Objects:
    """The archive's objects of the stream, in order beside the rows. One behind the durable mark is on its way: a batch is
    archived before it is recorded, and its agent sends it again if the collector ends between the two."""

    def __init__(self, ledger: Ledger, archive: Archive, stream: StreamRecord) -> None:
        self._stream = stream
        self._ledger = ledger
        self._names = archive.batches(stream.name)
        self._next: At | None = next(self._names, None)

    def skip(self, through: At) -> None:
        while self._next is not None and self._next <= through:
            self._next = next(self._names, None)

    def before(self, at: At, *, inclusive: bool = False) -> Iterator[Finding]:
        """Those before the row at `at` that no row is of."""
        while self._next is not None and (self._next < at or (inclusive and self._next == at)):
            with self._ledger.database.read() as connection:
                known = batch_rows.page(connection, self._stream.id, self._next, last=self._next)
            if not known:  # not one that was recorded since
                reason = "the archive has it, and the ledger no row of it"
                yield Finding(Kind.FOREIGN, Place.ARCHIVE, reason, self._stream.name, *self._next)
            self._next = next(self._names, None)
        if not inclusive and self._next == at:
            self._next = next(self._names, None)


def _header_of(row: Row) -> batch_pb2.BatchHeader | None:
    try:
        return check_header(row["header"])
    except (WireError, TypeError):
        return None


def _chain_of(row: Row) -> bytes | None:
    header = _header_of(row)
    return None if header is None else header.chain
