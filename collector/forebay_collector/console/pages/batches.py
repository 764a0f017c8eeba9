"""Batches: what came in and what became of it; and one batch's whole custody."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from forebay_collector.console.answers import Page
from forebay_collector.console.pages.streams import named
from forebay_collector.console.visit import Visit, stream_named
from forebay_collector.ledger import BatchState
from forebay_collector.ledger.batches import Place
from forebay_collector.service import batches as service

PER_PAGE: Final = 100
_ARCHIVE_S: Final = 60.0


def listing(visit: Visit) -> Page:
    state, name = visit.asked("state"), visit.asked("stream")
    before = _place(visit.asked("before"))
    found = service.batches(
        visit.ledger,
        visit.actor,
        stream=stream_named(name) if name else None,
        agent=visit.asked("agent"),
        department=visit.asked("department"),
        state=BatchState(state) if state in set(BatchState) else None,
        since=instant(visit.asked("since")),
        until=instant(visit.asked("until")),
        limit=PER_PAGE + 1,
        before=before,
    )
    more = found[PER_PAGE - 1] if len(found) > PER_PAGE else None
    return Page(
        "batches.html",
        {
            "batches": found[:PER_PAGE],
            "cursor": ".".join(map(str, service.place(more))) if more else "",
            "states": list(BatchState),
            "state": state,
            "here": list(visit.query.multi_items()),
        },
        live=before is None,
    )


def batch(visit: Visit) -> Page:
    stream, epoch, seq = named(visit), int(visit.named("epoch")), int(visit.named("seq"))
    custody = service.custody(visit.ledger, visit.actor, stream, epoch, seq)
    archived = visit.recent(
        "archived",
        lambda: service.in_archive(visit.ledger, visit.console.archive, visit.actor, stream, epoch, seq),
        seconds=_ARCHIVE_S,
        more=(stream, epoch, seq, custody.batch.expired_at),
    )
    return Page("batch.html", {"custody": custody, "batch": custody.batch, "seal": custody.seal, "archived": archived})


def instant(text: str) -> int:
    """A moment as a browser's field writes it, in the time zone of this machine, as microseconds; 0 for none."""
    try:
        return int(datetime.fromisoformat(text).astimezone().timestamp() * 1_000_000) if text else 0
    except (ValueError, OverflowError, OSError):
        return 0


def _place(text: str) -> Place | None:
    """Where the page before ended; None for a text that says no place."""
    parts = text.split(".")
    if len(parts) != 4 or not all(part.isdecimal() and len(part) < 19 for part in parts):
        return None
    received_at, stream_id, epoch, seq = map(int, parts)
    return received_at, stream_id, epoch, seq
