"""Audit: who did what to what, when and why; all of it as a file; and whether it still stands as it was written."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import IO, Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field
from starlette.responses import Response, StreamingResponse

from forebay_collector.api.operation import Call, Noun
from forebay_collector.api.paging import Part, before_number, cut
from forebay_collector.api.values import Answer, Asked, AskedMoment, Moment, Name, Numbered, Page, to_us
from forebay_collector.ledger import AuditRecord
from forebay_collector.service import audit as service
from forebay_collector.service.actor import Permission

NOUN = Noun("audit", "Who did what, when and why; every entry chained to the one before.")
_PIECE: Final = 1 << 16
_TYPES: Final = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl; charset=utf-8"}
Hex = Annotated[str, BeforeValidator(lambda value: value.hex() if isinstance(value, bytes) else value)]


class Entry(Answer):
    """One entry. digest: of itself and of `previous`, that of the entry before it; lower-case hexadecimal."""

    id: int
    at: Moment
    who: str
    action: str
    subject: str
    department: str = Field(description="Whose matter it is; empty: nobody's in particular.")
    why: str
    detail: dict[str, Any]
    previous: Hex
    digest: Hex


class Entries(Page[Entry]):
    pass


class EntriesAsked(Numbered):
    subject: Name = Field("", description="Only about this.")
    action: Name = Field("", description="Only of this kind: see `/audit/actions`.")
    who: Name = Field("", description="Only by this account.")
    department: Name = Field("", description="Only of this department.")
    since: AskedMoment | None = Field(None, description="Only from then on.")
    until: AskedMoment | None = Field(None, description="Only from before.")


class ExportAsked(Asked):
    form: Literal["csv", "jsonl"] = Field("jsonl", description="One line an entry, newest first.")
    subject: Name = ""
    action: Name = ""
    who: Name = ""
    department: Name = ""
    since: AskedMoment | None = None
    until: AskedMoment | None = None


class Actions(Answer):
    """The actions that occur."""

    items: list[str]


class Verdict(Answer):
    """Whether the chain of all entries holds."""

    ok: bool
    entries: int
    first_bad_id: int = Field(description="The first entry that was altered, is missing or foreign; 0: none is.")
    reason: str = Field(description="How that shows; when it holds, what could not be compared.")


def entries(call: Call[EntriesAsked, None]) -> Part[AuditRecord]:
    asked = call.query
    found = service.listing(
        call.ledger,
        call.actor,
        subject=asked.subject,
        action=asked.action,
        who=asked.who,
        department=asked.department,
        since=to_us(asked.since),
        until=to_us(asked.until) if asked.until else None,
        before=before_number(asked),
        limit=asked.limit + 1,
    )
    return cut(found, asked, lambda entry: str(entry.id))


def actions(call: Call[None, None]) -> dict[str, Any]:
    return {"items": service.actions(call.ledger, call.actor)}


def export(call: Call[ExportAsked, None]) -> Response:
    """Made whole before the first byte goes out: what the ledger refuses is told as a problem, not as half a file."""
    asked = call.query
    kept = tempfile.TemporaryFile("w+", encoding="utf-8", newline="")  # noqa: SIM115  closed when it is sent
    try:
        service.export(
            call.ledger,
            call.actor,
            kept,
            asked.form,
            since=to_us(asked.since),
            until=to_us(asked.until) if asked.until else None,
            subject=asked.subject,
            action=asked.action,
            who=asked.who,
            department=asked.department,
        )
        kept.seek(0)
    except BaseException:
        kept.close()
        raise
    return StreamingResponse(_pieces(kept), media_type=_TYPES[asked.form])


def verify(call: Call[None, None]) -> service.AuditVerdict:
    call.actor.require(Permission.AUDIT)
    return service.verify(call.ledger)


def _pieces(kept: IO[str]) -> Iterator[str]:
    with kept:
        while piece := kept.read(_PIECE):
            yield piece


NOUN.get("/audit", "audit", "The entries, newest first", entries, Entries, query=EntriesAsked, needs=Permission.AUDIT)
NOUN.get("/audit/actions", "auditActions", "The actions that occur", actions, Actions, needs=Permission.AUDIT)
NOUN.get(
    "/audit/export",
    "exportAudit",
    "All entries that are so, as a file",
    export,
    needs=Permission.AUDIT,
    query=ExportAsked,
    files=["application/jsonl", "text/csv"],
    about="The export is an entry itself.",
)
NOUN.post("/audit/verify", "verifyAudit", "Go over the whole chain", verify, Verdict, needs=Permission.AUDIT)
