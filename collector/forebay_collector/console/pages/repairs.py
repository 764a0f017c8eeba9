"""Repairs: asking for them or for what they would do, watching them go on, and reading what became of them; and how far the
verification in the background is."""

from __future__ import annotations

from typing import Final

from forebay_collector.console.answers import Done, Page
from forebay_collector.console.pages.verification import KEYS, PER_PAGE, key_text
from forebay_collector.console.visit import Visit, stream_named
from forebay_collector.service import repair as service
from forebay_collector.service import verification
from forebay_wire.canary import is_canary_stream

HERE: Final = "/repairs"
MOST_COVERED: Final = 500
"""streams of the background's page; those that differ or were not covered for longest come first"""


def runs(visit: Visit) -> Page:
    before = visit.number("before", 0, 0, 1 << 62)
    name = visit.asked("stream")
    found = service.runs(
        visit.ledger,
        visit.actor,
        stream=stream_named(name) if name else None,
        limit=PER_PAGE + 1,
        before=before or None,
    )
    cursor = found[PER_PAGE - 1].id if len(found) > PER_PAGE else 0
    here = list(visit.query.multi_items())
    return Page("repairs.html", {"runs": found[:PER_PAGE], "cursor": cursor, "here": here}, live=not before)


def run(visit: Visit) -> Page:
    found = service.result(visit.ledger, visit.actor, int(visit.named("number")))
    return Page("repair.html", {"run": found, "most": KEYS, "key_text": key_text})


def start(visit: Visit) -> Done:
    stream, dry_run = stream_named(visit.said("stream")), visit.said("action") == "plan"
    (made,) = service.start(visit.ledger, visit.actor, [stream], visit.said("why"), dry_run=dry_run)
    return visit.done(f"{HERE}/{made}", "repair.planning" if dry_run else "repair.started")


def coverage(visit: Visit) -> Page:
    found = [row for row in verification.coverage(visit.ledger, visit.actor) if not is_canary_stream(row.stream)]
    found.sort(key=lambda row: (not row.differing, not row.code, row.covered_at, str(row.stream)))
    settings = visit.console.settings.verify
    told = {"covered": found[:MOST_COVERED], "more": max(0, len(found) - MOST_COVERED), "settings": settings}
    return Page("coverage.html", told)
