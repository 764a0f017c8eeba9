"""Batches: what came in and what became of it, and one batch's whole custody."""

from __future__ import annotations

from typing import Any, Final

from pydantic import Field

from forebay_collector.api.operation import Call, Noun, stream_named
from forebay_collector.api.paging import Part, cut
from forebay_collector.api.streams import PATH
from forebay_collector.api.values import (
    Answer,
    AskedMoment,
    Mark,
    Moment,
    Name,
    Page,
    Paged,
    Stream,
    StreamText,
    to_us,
)
from forebay_collector.ledger import BatchRecord, BatchState
from forebay_collector.ledger.batches import Place
from forebay_collector.service import batches as service
from forebay_collector.service.batches import Archived, Custody
from forebay_collector.service.streams import need
from forebay_wire.stream import StreamName

NOUN = Noun("batches", "Consecutive changes of one stream, sealed once, and what became of them.")
_CURSOR: Final = r"^([0-9]{1,18}(\.[0-9]{1,18}){3})?$"


class Batch(Answer):
    """What the ledger knows of a batch."""

    stream: Stream
    agent: str
    epoch: int
    seq: int
    state: BatchState
    code: str
    reason: str
    attempts: int = Field(description="How often loading it failed.")
    rows: int
    reads: int
    inserts: int
    updates: int
    deletes: int
    bytes: int = Field(description="Header and payload, as archived.")
    first_position: str
    last_position: str
    first_committed_at: Moment
    last_committed_at: Moment
    captured_at: Moment
    received_at: Moment
    loaded_at: Moment
    expired_at: Moment = Field(description="When retention removed it from the archive.")
    snapshot: int = Field(description="0: it is not part of a snapshot.")
    last_of_snapshot: bool


class Batches(Page[Batch]):
    pass


class _Chosen(Paged):
    state: BatchState | None = Field(None, description="Only those that stand so.")
    since: AskedMoment | None = Field(None, description="Only what was received then, or later.")
    until: AskedMoment | None = Field(None, description="Only what was received before.")
    cursor: str = Field("", pattern=_CURSOR, description="`next` of the page before; without it the first page.")


class BatchesAsked(_Chosen):
    stream: StreamText | None = Field(None, description="Only of this stream.")
    agent: Name = Field("", description="Only of this agent.")
    department: Name = Field("", description="Only of this department.")


class OfStreamAsked(_Chosen):
    pass


class Seal(Answer):
    """What the agent sealed into the header. Digests are lower-case hexadecimal."""

    digest_algorithm: str
    payload_digest: str
    previous_chain: str
    chain: str
    schema_fingerprint: str
    columns: int = Field(description="Of the table; 0: the ledger lacks the schema.")
    codec: str
    dictionary_id: str
    raw_bytes: int
    payload_bytes: int
    header_bytes: int
    ends_transaction: bool
    key_range: str = Field(description="Of a snapshot of a part of the table.")


class InArchive(Answer):
    """Whether the archive holds the bytes that the agent sealed; read and checked just now."""

    state: Archived
    code: str
    reason: str
    remedy: str


class Deed(Answer):
    """What was done about a batch, as the audit has it."""

    id: int
    at: Moment
    who: str
    action: str
    why: str


class CustodyOf(Answer):
    """The whole way of one batch, from the agent's seal to the platform, with what proves each step."""

    batch: Batch
    seal: Seal
    attached: bool | None = Field(description="Whether the batch before has the chain digest that this one continues.")
    before: Mark | None = Field(description="The batch before it in the ledger.")
    after: Mark | None = Field(description="The batch after it in the ledger.")
    remedy: str
    deeds: list[Deed] = Field(description="Newest first.")
    archive: InArchive


def batches(call: Call[BatchesAsked, None]) -> Part[BatchRecord]:
    asked = call.query
    stream = stream_named(asked.stream) if asked.stream else None
    return _listed(call, asked, stream=stream, agent=asked.agent, department=asked.department)


def of_stream(call: Call[OfStreamAsked, None]) -> Part[BatchRecord]:
    return _listed(call, call.query, stream=need(call.ledger, call.actor, call.stream).name)


def _listed(
    call: Call[Any, None], asked: _Chosen, *, stream: StreamName | None, agent: str = "", department: str = ""
) -> Part[BatchRecord]:
    found = service.batches(
        call.ledger,
        call.actor,
        stream=stream,
        agent=agent,
        department=department,
        state=asked.state,
        since=to_us(asked.since),
        until=to_us(asked.until),
        limit=asked.limit + 1,
        before=_place(asked.cursor),
    )
    return cut(found, asked, lambda batch: ".".join(map(str, service.place(batch))))


def custody(call: Call[None, None]) -> dict[str, Any]:
    stream, epoch, seq = call.stream, call.number("epoch"), call.number("seq")
    found: Custody = service.custody(call.ledger, call.actor, stream, epoch, seq)
    named = {name: getattr(found, name) for name in ("batch", "seal", "attached", "remedy", "deeds")}
    marks = {
        name: None if place is None else {"epoch": place[0], "seq": place[1]}
        for name, place in (("before", found.before), ("after", found.after))
    }
    archived = service.in_archive(call.ledger, call.works.archive, call.actor, stream, epoch, seq)
    return named | marks | {"archive": archived}


def _place(cursor: str) -> Place | None:
    if not cursor:
        return None
    received_at, stream_id, epoch, seq = map(int, cursor.split("."))
    return received_at, stream_id, epoch, seq


NOUN.get("/batches", "batches", "The batches, newest first", batches, Batches, query=BatchesAsked)
NOUN.get(
    f"{PATH}/batches", "streamBatches", "One stream's batches, newest first", of_stream, Batches, query=OfStreamAsked
)
NOUN.get(f"{PATH}/batches/{{epoch}}/{{seq}}", "batch", "One batch's whole custody", custody, CustodyOf)
