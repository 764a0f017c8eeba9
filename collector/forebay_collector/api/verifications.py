"""Verifications: asking for comparisons of source and platform, how far they are, and what they found."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from forebay_collector.api.operation import Call, Noun, stream_named
from forebay_collector.api.paging import Part, before_number, cut
from forebay_collector.api.values import Answer, Asked, Moment, Numbered, Page, Reason, Stream, StreamText
from forebay_collector.ledger.verifications import VerificationRecord, VerificationState
from forebay_collector.service import verification as service
from forebay_collector.service.actor import Permission

NOUN = Noun("verifications", "Comparisons of a source and the platform.")


class Verification(Answer):
    """A comparison of one stream."""

    id: int
    stream: Stream
    state: VerificationState
    asked_by: str
    via: str
    why: str
    asked_at: Moment
    started_at: Moment
    ended_at: Moment
    progress: str
    code: str
    reason: str
    remedy: str
    result: dict[str, Any] = Field(
        description="What it found: equal, position, rows, and the keys that are missing, extra or different; "
        "nothing until it has ended."
    )


class Verifications(Page[Verification]):
    pass


class Started(Answer):
    """In the order that was asked in."""

    items: list[Verification]


class VerificationsAsked(Numbered):
    stream: StreamText | None = Field(None, description="Only of this stream.")


class VerificationWanted(Asked):
    streams: list[StreamText] = Field(min_length=1, max_length=1_000)
    why: Reason = ""


def runs(call: Call[VerificationsAsked, None]) -> Part[VerificationRecord]:
    asked = call.query
    stream = stream_named(asked.stream) if asked.stream else None
    found = service.runs(call.ledger, call.actor, stream=stream, limit=asked.limit + 1, before=before_number(asked))
    return cut(found, asked, lambda run: str(run.id))


def run(call: Call[None, None]) -> VerificationRecord:
    return service.result(call.ledger, call.actor, call.number("verification"))


def start(call: Call[None, VerificationWanted]) -> dict[str, Any]:
    chosen = list(dict.fromkeys(stream_named(name) for name in call.body.streams))
    made = service.start(call.ledger, call.actor, chosen, call.body.why)
    return {"items": [service.result(call.ledger, call.actor, number) for number in made]}


NOUN.get(
    "/verifications", "verifications", "The comparisons, newest first", runs, Verifications, query=VerificationsAsked
)
NOUN.get(
    "/verifications/{verification}", "verification", "One comparison, with the keys that differ", run, Verification
)
NOUN.post(
    "/verifications",
    "verify",
    "Compare streams with the platform",
    start,
    Started,
    needs=Permission.OPERATE,
    body=VerificationWanted,
    status=202,
    about="Ask for each by its number to see how far it is.",
)
