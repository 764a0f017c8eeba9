"""Audit: who did what to what, when and why; the whole of it as a file; and whether it still stands as it was written."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import IO, Final, Literal

from starlette.responses import Response, StreamingResponse

from forebay_collector.console.answers import Done, Message, Page
from forebay_collector.console.pages.batches import instant
from forebay_collector.console.visit import Visit
from forebay_collector.service import audit as service
from forebay_collector.service.actor import Permission

HERE: Final = "/audit"
PER_PAGE: Final = 100
_PIECE: Final = 1 << 16
_TYPES: Final[dict[str, str]] = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl; charset=utf-8"}


def listing(visit: Visit) -> Page:
    before = visit.number("before", 0, 0, 1 << 62)
    found = service.listing(
        visit.ledger,
        visit.actor,
        subject=visit.asked("subject"),
        action=visit.asked("action"),
        who=visit.asked("who"),
        department=visit.asked("department"),
        since=instant(visit.asked("since")),
        until=instant(visit.asked("until")) or None,
        before=before or None,
        limit=PER_PAGE + 1,
    )
    return Page(
        "audit.html",
        {
            "entries": found[:PER_PAGE],
            "cursor": found[PER_PAGE - 1].id if len(found) > PER_PAGE else 0,
            "actions": service.actions(visit.ledger, visit.actor),
            "here": list(visit.query.multi_items()),
        },
        live=not before,
    )


def export(visit: Visit) -> Response:
    """All that the page would show on all of its pages, as a file. The export is an entry itself."""
    form: Literal["csv", "jsonl"] = "jsonl" if visit.asked("form") == "jsonl" else "csv"
    # made whole before the first byte goes out: what the ledger refuses is told as a page, not as half a file
    kept = tempfile.TemporaryFile("w+", encoding="utf-8", newline="")  # noqa: SIM115  closed when it is sent
    try:
        since, until = instant(visit.asked("since")), instant(visit.asked("until")) or None
        chosen = {name: visit.asked(name) for name in ("subject", "action", "who", "department")}
        service.export(visit.ledger, visit.actor, kept, form, since=since, until=until, **chosen)
        kept.seek(0)
    except BaseException:
        kept.close()
        raise
    return StreamingResponse(
        _pieces(kept),
        media_type=_TYPES[form],
        headers={"content-disposition": f'attachment; filename="forebay-audit.{form}"'},
    )


def verify(visit: Visit) -> Done:
    """Goes over the whole chain, and says where it breaks first."""
    visit.actor.require(Permission.AUDIT)
    verdict = service.verify(visit.ledger)
    if verdict.ok:
        return visit.done(HERE, "audit.holds", count=f"{verdict.entries:,}")
    text = visit.words("audit.broken", id=verdict.first_bad_id)
    return Done(HERE, (Message("bad", f"{text} {verdict.reason}"),))


def _pieces(kept: IO[str]) -> Iterator[str]:
    with kept:
        while piece := kept.read(_PIECE):
            yield piece
