"""Batches as people see them: which came in and what became of them, and one batch's whole custody.

Custody is the way of one batch from the agent's seal to the platform, with what proves each step: the digests in its
header, the chain to its neighbours, the bytes in the archive, and who decided what about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from forebay_collector.archive import Archive
from forebay_collector.errors import ArchiveDamaged, ArchiveMissing, CollectorError, NotKnown
from forebay_collector.ledger import AuditRecord, BatchRecord, BatchState, Ledger
from forebay_collector.ledger.batches import Place
from forebay_collector.load.policy import remedy_of_hold
from forebay_collector.policy import remedy_of
from forebay_collector.service.actor import Actor, Permission
from forebay_collector.service.streams import need
from forebay_wire.schema import TableSchema
from forebay_wire.seal import parse_header
from forebay_wire.stream import StreamName
from forebay_wire.v1 import batch_pb2

MOST: Final = 1_000_000
_CODECS: Final = {
    batch_pb2.CODEC_ARROW_ZSTD: "arrow+zstd",
    batch_pb2.CODEC_FRAME_ZSTD: "zstd",
    batch_pb2.CODEC_FRAME_ZSTD_DICTIONARY: "zstd+dictionary",
}
_DIGESTS: Final = {batch_pb2.DIGEST_ALGORITHM_SM3: "SM3", batch_pb2.DIGEST_ALGORITHM_SHA256: "SHA-256"}


class Archived(StrEnum):
    """Whether the archive holds the bytes that the agent sealed."""

    WHOLE = "whole"  # read just now, its digests are right
    EXPIRED = "expired"  # retention removed it
    MISSING = "missing"
    DAMAGED = "damaged"
    UNREADABLE = "unreadable"  # the archive cannot say now


@dataclass(frozen=True, slots=True)
class InArchive:
    """code, reason and remedy say what is wrong; empty when nothing is."""

    state: Archived
    code: str = ""
    reason: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Seal:
    """What the agent sealed into the header. Digests are lower-case hexadecimal; sizes in bytes."""

    digest_algorithm: str
    payload_digest: str
    previous_chain: str
    chain: str
    schema_fingerprint: str
    columns: int  # of the table; 0: the ledger lacks the schema
    codec: str
    dictionary_id: str
    raw_bytes: int
    payload_bytes: int
    header_bytes: int
    ends_transaction: bool
    key_range: str  # of a snapshot of a part of the table


@dataclass(frozen=True, slots=True)
class Custody:
    """attached: whether the batch before has the very chain digest that this one continues; None: there is none before.

    before, after: (epoch, seq) of its neighbours in the ledger. deeds: what was done about it, newest first.
    """

    batch: BatchRecord
    seal: Seal
    attached: bool | None
    before: tuple[int, int] | None
    after: tuple[int, int] | None
    remedy: str
    deeds: tuple[AuditRecord, ...]


def batches(
    ledger: Ledger,
    actor: Actor,
    *,
    stream: StreamName | None = None,
    agent: str = "",
    department: str = "",
    state: BatchState | None = None,
    since: int = 0,
    until: int = 0,
    limit: int = 100,
    before: Place | None = None,
) -> list[BatchRecord]:
    """Newest first, at most `limit`; `before`: the `place` of the last of the page before. Canaries are told of only where
    their stream is named. Raises NotPermitted."""
    actor.require(Permission.SEE, stream.department if stream else department)
    return ledger.batches.listing(
        stream=stream,
        agent=agent,
        department=department,
        departments=actor.departments,
        canaries=stream is not None,
        state=state,
        since=since,
        until=until,
        limit=min(limit, MOST),
        before=before,
    )


def place(batch: BatchRecord) -> Place:
    """Where the batch stands in a listing."""
    return batch.received_at, batch.stream_id, batch.epoch, batch.seq


def batch(ledger: Ledger, actor: Actor, stream: StreamName, epoch: int, seq: int) -> BatchRecord:
    """Raises NotKnown, also where it is another department's; NotPermitted."""
    need(ledger, actor, stream)
    found = ledger.batches.get(stream, epoch, seq)
    if found is None:
        raise NotKnown(f"batch {stream} {epoch}/{seq} is not in the ledger")
    return found


def custody(ledger: Ledger, actor: Actor, stream: StreamName, epoch: int, seq: int) -> Custody:
    """What the ledger knows of one batch. Raises as `batch`."""
    found = batch(ledger, actor, stream, epoch, seq)
    header = ledger.batches.header(stream, epoch, seq)
    assert header is not None
    neighbours = ledger.batches.neighbours(found)
    fields = parse_header(header)
    attached = None
    if neighbours.before is not None:
        earlier = ledger.batches.header(stream, *neighbours.before)
        attached = earlier is not None and parse_header(earlier).chain == fields.previous_chain
    return Custody(
        found,
        _seal(ledger, stream, header, fields),
        attached,
        neighbours.before,
        neighbours.after,
        remedy_of_hold(found.code) if found.state is BatchState.QUARANTINED else "",
        tuple(ledger.audit.listing(subject=f"{stream} {epoch}/{seq}")),
    )


def in_archive(ledger: Ledger, archive: Archive, actor: Actor, stream: StreamName, epoch: int, seq: int) -> InArchive:
    """Reads the batch's bytes and checks their digests. Raises as `batch`."""
    if batch(ledger, actor, stream, epoch, seq).expired_at:
        return InArchive(Archived.EXPIRED)
    try:
        archive.read(stream, epoch, seq)
    except CollectorError as error:
        state = Archived.UNREADABLE
        if isinstance(error, ArchiveMissing):
            state = Archived.MISSING
        elif isinstance(error, ArchiveDamaged):
            state = Archived.DAMAGED
        return InArchive(state, error.code, str(error), remedy_of(error))
    return InArchive(Archived.WHOLE)


def _seal(ledger: Ledger, stream: StreamName, header: bytes, fields: batch_pb2.BatchHeader) -> Seal:
    content = ledger.schemas.schema(stream, fields.schema_fingerprint)
    columns = len(TableSchema.parse(content, fields.schema_fingerprint).columns) if content else 0
    part = fields.snapshot_part
    key_range = ""
    if part.HasField("range"):
        least = part.range.at_least if part.range.has_at_least else "…"
        through = part.range.through if part.range.has_through else "…"
        key_range = f"{least} – {through}"
    return Seal(
        digest_algorithm=_DIGESTS.get(fields.digest_algorithm, "?"),
        payload_digest=fields.payload_digest.hex(),
        previous_chain=fields.previous_chain.hex(),
        chain=fields.chain.hex(),
        schema_fingerprint=fields.schema_fingerprint.hex(),
        columns=columns,
        codec=_CODECS.get(fields.codec, "?"),
        dictionary_id=fields.dictionary_id,
        raw_bytes=fields.raw_bytes,
        payload_bytes=fields.payload_bytes,
        header_bytes=len(header),
        ends_transaction=fields.ends_transaction,
        key_range=key_range,
    )
