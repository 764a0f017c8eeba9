"""Quarantine: what is held and why, and deciding about it: replay or discard, one or many at once."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from forebay_collector.api.batches import Batch
from forebay_collector.api.operation import Call, Noun, stream_named
from forebay_collector.api.outcomes import Outcome, Outcomes, told
from forebay_collector.api.paging import Part, by_text
from forebay_collector.api.values import Answer, Asked, Moment, Name, Number, Page, Paged, Stream, StreamText, Why
from forebay_collector.errors import NotPossible
from forebay_collector.service import quarantine as service
from forebay_collector.service.actor import Permission
from forebay_collector.service.quarantine import HeldView
from forebay_wire.stream import StreamName

NOUN = Noun("quarantine", "Batches that the platform refuses, and the streams that they hold.")


class Held(Answer):
    """A stream that is held, the batch that holds it, and what waits behind it (the batch included)."""

    stream: Stream
    code: str
    reason: str
    remedy: str
    held_at: Moment
    batches_waiting: int
    rows_waiting: int
    batch: Batch


class Quarantine(Page[Held]):
    pass


class HeldAsked(Paged):
    department: Name = Field("", description="Only of this department.")
    code: Name = Field("", description="Only what is held for this reason.")


class HeldBatch(Asked):
    """A stream, and the batch that one saw hold it: what is done is refused when another one holds it by now."""

    stream: StreamText
    epoch: Number = Field(ge=1, le=(1 << 31) - 1)
    seq: Number = Field(ge=1, le=(1 << 63) - 1)


class Decision(Asked):
    """Which batches, and why."""

    batches: list[HeldBatch] = Field(min_length=1, max_length=1_000)
    why: Why


class HeldOutcome(Outcome):
    batch: Batch | None = Field(description="As it is now.")


class HeldOutcomes(Outcomes[HeldOutcome]):
    pass


def held(call: Call[HeldAsked, None]) -> Part[HeldView]:
    asked = call.query
    found = service.held(call.ledger, call.actor)
    chosen = (
        one
        for one in found
        if (not asked.department or one.stream.department == asked.department)
        and (not asked.code or one.code == asked.code)
    )
    return by_text(chosen, asked, lambda one: str(one.stream))


def replay(call: Call[None, Decision]) -> dict[str, Any]:
    chosen = _chosen(call.body)
    return told(service.replay(call.ledger, call.actor, list(chosen), call.body.why, only=chosen), "batch")


def discard(call: Call[None, Decision]) -> dict[str, Any]:
    chosen = _chosen(call.body)
    return told(service.discard(call.ledger, call.actor, list(chosen), call.body.why, only=chosen), "batch")


def _chosen(body: Decision) -> dict[StreamName, tuple[int, int]]:
    """Raises NotPossible, NotKnown."""
    chosen: dict[StreamName, tuple[int, int]] = {}
    for one in body.batches:
        name = stream_named(one.stream)
        if name in chosen:
            raise NotPossible(f"stream {name} is named twice", remedy="One batch holds a stream: name just that one.")
        chosen[name] = (one.epoch, one.seq)
    return chosen


NOUN.get("/quarantine", "quarantine", "What is held, by stream", held, Quarantine, query=HeldAsked)
NOUN.post(
    "/quarantine/replay",
    "replay",
    "Load held batches again",
    replay,
    HeldOutcomes,
    needs=Permission.OPERATE,
    body=Decision,
)
NOUN.post(
    "/quarantine/discard",
    "discard",
    "Give held batches up",
    discard,
    HeldOutcomes,
    needs=Permission.OPERATE,
    body=Decision,
    about="What is discarded never reaches the platform; its stream goes on behind it.",
)
