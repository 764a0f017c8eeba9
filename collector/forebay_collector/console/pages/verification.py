"""Verification: asking for comparisons, watching them go on, and reading what they found."""

from __future__ import annotations

from typing import Final

from forebay_collector.console.answers import Done, Page
from forebay_collector.console.visit import Visit, stream_named
from forebay_collector.errors import NotPossible
from forebay_collector.service import verification as service

HERE: Final = "/verification"
PER_PAGE: Final = 50
KEYS: Final = 500
FEW: Final = 100
"""Up to so many streams stand in the form one by one; of more, one is named, or a department."""


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
    operable = [view.name for view in visit.streams() if visit.may("operate", view.name.department)]
    return Page(
        "verification.html",
        {
            "runs": found[:PER_PAGE],
            "cursor": found[PER_PAGE - 1].id if len(found) > PER_PAGE else 0,
            "streams": operable,
            "few": len(operable) <= FEW,
            "departments": sorted({name.department for name in operable}),
            "stream": name,
            "here": list(visit.query.multi_items()),
        },
        live=not before,
    )


def run(visit: Visit) -> Page:
    found = service.result(visit.ledger, visit.actor, int(visit.named("number")))
    return Page("run.html", {"run": found, "result": found.result, "most": KEYS, "key_text": key_text})


def start(visit: Visit) -> Done:
    names = [stream_named(name) for name in visit.all_said("stream") if name.strip()]
    if department := visit.said("department"):
        names += [
            view.name for view in visit.streams() if view.name.department == department and view.name not in names
        ]
    if not names:
        raise NotPossible("no stream is marked", remedy="Mark the streams first.")
    made = service.start(visit.ledger, visit.actor, names, visit.said("why"))
    to = f"{HERE}/{made[0]}" if len(made) == 1 else HERE
    visit.console.forget()
    return visit.done(to, "verification.started", count=len(made))


def key_text(key: object) -> str:
    """A key that differs, as one line."""
    if isinstance(key, dict):
        return ", ".join(f"{name}={'NULL' if value is None else value}" for name, value in key.items())
    return str(key)
