"""Repairs: asking for what differs to be sent again, how far that is, and what became of it."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from forebay_collector.api.operation import Call, Noun, stream_named
from forebay_collector.api.paging import Part, before_number, cut
from forebay_collector.api.values import Answer, Asked, Moment, Numbered, Page, Reason, Stream, StreamText
from forebay_collector.ledger.repairs import RepairRecord, RepairState
from forebay_collector.service import repair as service
from forebay_collector.service.actor import Permission

NOUN = Noun("repairs", "Keys that differ, read anew at the source and sent again.")


class Repair(Answer):
    """A repair of one stream."""

    id: int
    stream: Stream
    state: RepairState
    dry_run: bool
    asked_by: str
    via: str
    why: str
    asked_at: Moment
    ended_at: Moment
    progress: str
    missing: int
    extra: int
    different: int
    sent: int = Field(description="Rows that were sent as they are at the source.")
    deleted: int = Field(description="Keys that were sent as deleted.")
    left_over: int = Field(description="Keys that differ still.")
    keys: dict[str, Any] = Field(description="The first keys that were missing, extra or different.")
    code: str
    reason: str
    remedy: str


class Repairs(Page[Repair]):
    pass


class RepairsStarted(Answer):
    """In the order that was asked in."""

    items: list[Repair]


class RepairsAsked(Numbered):
    stream: StreamText | None = Field(None, description="Only of this stream.")


class RepairWanted(Asked):
    streams: list[StreamText] = Field(min_length=1, max_length=1_000)
    dry_run: bool = Field(False, description="Say what would be repaired, and change nothing.")
    why: Reason = ""


def runs(call: Call[RepairsAsked, None]) -> Part[RepairRecord]:
    asked = call.query
    stream = stream_named(asked.stream) if asked.stream else None
    found = service.runs(call.ledger, call.actor, stream=stream, limit=asked.limit + 1, before=before_number(asked))
    return cut(found, asked, lambda run: str(run.id))


def run(call: Call[None, None]) -> RepairRecord:
    return service.result(call.ledger, call.actor, call.number("repair"))


def start(call: Call[None, RepairWanted]) -> dict[str, Any]:
    chosen = list(dict.fromkeys(stream_named(name) for name in call.body.streams))
    made = service.start(call.ledger, call.actor, chosen, call.body.why, dry_run=call.body.dry_run)
    return {"items": [service.result(call.ledger, call.actor, number) for number in made]}


NOUN.get("/repairs", "repairs", "The repairs, newest first", runs, Repairs, query=RepairsAsked)
NOUN.get("/repairs/{repair}", "repair", "One repair, with what became of it", run, Repair)
NOUN.post(
    "/repairs",
    "repairStreams",
    "Send again what differs",
    start,
    RepairsStarted,
    needs=Permission.OPERATE,
    body=RepairWanted,
    status=202,
    about="Ask for each by its number to see how far it is.",
)
