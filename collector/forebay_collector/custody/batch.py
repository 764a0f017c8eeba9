"""One batch: its row in the ledger, its header there, its object in the archive.

The row carries a digest over its columns, the header the chain digest over itself and the payload's digest, the object both
again. So whatever was altered, another says it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from forebay_collector.archive import Archive
from forebay_collector.custody.finding import Finding, Kind, Place
from forebay_collector.errors import ArchiveDamaged, ArchiveMissing
from forebay_collector.ledger import BatchState
from forebay_collector.ledger.batch_rows import Row, is_whole
from forebay_wire.errors import WireError
from forebay_wire.seal import check_header
from forebay_wire.stream import StreamName
from forebay_wire.v1 import batch_pb2

_FROM_HEADER: Final = {
    "epoch": "epoch",
    "seq": "seq",
    "row_count": "rows",
    "first_position": "first_position",
    "last_position": "last_position",
    "first_committed_at": "first_committed_at_us",
    "last_committed_at": "last_committed_at_us",
    "captured_at": "captured_at_us",
}
"""Columns of the row -> fields of the header that say the same."""
_OPS: Final = {"reads": "snapshot_reads", "inserts": "inserts", "updates": "updates", "deletes": "deletes"}


def of_row(stream: StreamName, row: Row) -> tuple[batch_pb2.BatchHeader | None, list[Finding]]:
    """-> the header, if it is whole and of this stream; and what is wrong with row and header."""

    def found(kind: Kind, reason: str) -> Finding:
        return Finding(kind, Place.LEDGER, reason, stream, *at)

    at = (row["epoch"], row["seq"])
    try:
        header = check_header(row["header"])
    except (WireError, TypeError) as error:
        return None, [found(Kind.ALTERED, f"the header in its row: {error}")]
    if StreamName.from_proto(header.stream) != stream:
        reason = f"its row holds the header of {StreamName.from_proto(header.stream)} {header.epoch}/{header.seq}"
        return None, [found(Kind.REORDERED, reason)]
    if is_whole(row):
        if (header.epoch, header.seq) != at:
            return header, [found(Kind.DOUBLED, f"its row holds the header of {header.epoch}/{header.seq}")]
        return header, []
    wrong = [name for name, field in _FROM_HEADER.items() if row[name] != getattr(header, field)]
    wrong += [name for name, field in _OPS.items() if row[name] != getattr(header.ops, field)]
    wrong += [
        name
        for name, said in (("snapshot", header.snapshot_part.snapshot), ("last_of_snapshot", header.snapshot_part.last))
        if row[name] != int(said)
    ]
    if row["state"] not in set(BatchState):
        wrong.append("state")
    which = f"column {', '.join(wrong)}" if wrong else "a column that its header does not tell (or its digest)"
    return header, [found(Kind.ALTERED, f"its row is not what its digest says: {which}")]


def of_object(archive: Archive, stream: StreamName, row: Row) -> tuple[int, list[Finding]]:
    """-> bytes that were read, and what is wrong with the batch's object in the archive.

    Raises ArchiveUnavailable.
    """

    def found(kind: Kind, reason: str) -> list[Finding]:
        return [Finding(kind, Place.ARCHIVE, reason, stream, row["epoch"], row["seq"])]

    try:
        batch = archive.read(stream, row["epoch"], row["seq"])
    except ArchiveMissing as error:
        loaded = row["state"] == BatchState.LOADED
        return 0, found(Kind.LOST if loaded else Kind.MISSING, str(error))
    except ArchiveDamaged as error:
        return 0, found(Kind.REORDERED if error.holds else Kind.ALTERED, str(error))
    if batch.header != row["header"]:
        return batch.size, found(Kind.ALTERED, "the archive holds another batch under its name than its row says")
    if batch.size != row["bytes"]:
        return batch.size, found(Kind.ALTERED, f"it has {batch.size} bytes, its row says {row['bytes']}")
    return batch.size, []


def settled(row: Row, record: Any) -> Iterator[Finding]:
    """Whether the row's state fits the stream's loaded mark. record: the StreamRecord, of the same moment as the row."""
    at = (row["epoch"], row["seq"])
    state, loaded = row["state"], at <= record.loaded
    fits = state in (BatchState.LOADED, BatchState.DISCARDED) if loaded else state != BatchState.LOADED
    if not fits:
        mark = f"{record.loaded[0]}/{record.loaded[1]}"
        reason = f"its row says {state!r}, and the stream is loaded up to {mark}"
        yield Finding(Kind.ALTERED, Place.LEDGER, reason, record.name, *at)
