"""Streams: all of them with their marks and lag; one of them with its history, its schemas, and some of its rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from markupsafe import Markup

from forebay_collector.console.answers import Page
from forebay_collector.console.charts import Line, lines
from forebay_collector.console.rendering import count, local, span
from forebay_collector.console.visit import Visit
from forebay_collector.errors import NotKnown
from forebay_collector.service import approvals, batches, verification
from forebay_collector.service import streams as service
from forebay_collector.service.streams import StreamView
from forebay_wire.errors import WireError
from forebay_wire.stream import StreamName

RANGES: Final = {"1h": 3_600, "6h": 21_600, "1d": 86_400, "7d": 604_800}
PER_PAGE: Final = 200
_BATCHES: Final = 15
_CHARTS_S: Final = 10.0
_SORTS: Final[dict[str, Callable[[StreamView], Any]]] = {
    "name": lambda view: view.name,
    "lag": lambda view: (-view.lag_s, view.name),
    "behind": lambda view: (-view.behind, view.name),
    "quiet": lambda view: (-(view.quiet_s or 0.0), view.name),
}


def listing(visit: Visit) -> Page:
    department, text = visit.asked("department"), visit.asked("q").casefold()
    sort = visit.asked("sort", "name")
    sort = sort if sort in _SORTS else "name"
    place = visit.number("from", 0, 0, 1_000_000)
    every = visit.streams()
    only_held = visit.asked("held") == "yes"
    chosen = sorted(
        (
            view
            for view in every
            if (not department or view.name.department == department)
            and (not text or text in str(view.name).casefold() or text in view.agent.casefold())
            and (not only_held or view.held)
        ),
        key=_SORTS[sort],
    )
    return Page(
        "streams.html",
        {
            "streams": chosen[place : place + PER_PAGE],
            "total": len(chosen),
            "after": place + PER_PAGE if len(chosen) > place + PER_PAGE else 0,
            "departments": sorted({view.name.department for view in every}),
            "department": department,
            "only_held": only_held,
            "sort": sort,
            "sorts": list(_SORTS),
            "here": list(visit.query.multi_items()),
        },
    )


def stream(visit: Visit) -> Page:
    name = named(visit)
    reach = visit.asked("range", "6h")
    reach = reach if reach in RANGES else "6h"
    view = service.stream(visit.ledger, visit.actor, name)
    return Page(
        "stream.html",
        {
            "stream": view,
            "charts": visit.recent(
                "stream charts",
                lambda: _charts(visit, name, reach),
                seconds=_CHARTS_S,
                more=(name, reach, visit.words.language),
            ),
            "range": reach,
            "ranges": list(RANGES),
            "batches": batches.batches(visit.ledger, visit.actor, stream=name, limit=_BATCHES),
            "schemas": service.schemas(visit.ledger, visit.actor, name),
            "runs": verification.runs(visit.ledger, visit.actor, stream=name, limit=3),
            "proposal": _proposal(visit, name),
        },
    )


def sample(visit: Visit) -> Page:
    """Some rows. Each look is an entry in the audit, so the page does not update itself."""
    name = named(visit)
    rows = service.sample(visit.ledger, visit.console.open_platform, visit.actor, name)
    schema = next(iter(service.schemas(visit.ledger, visit.actor, name)), None)
    columns = {column.name: column for column in schema.columns} if schema else {}
    return Page("sample.html", {"name": name, "sample": rows, "columns": columns}, live=False)


def named(visit: Visit) -> StreamName:
    """The stream that the address names. Raises NotKnown."""
    try:
        return StreamName(visit.named("department"), visit.named("source"), visit.named("table"))
    except WireError:
        raise NotKnown("that is not a stream's name") from None


def _proposal(visit: Visit, name: StreamName) -> approvals.ProposalView | None:
    try:
        return approvals.proposal(visit.ledger, visit.actor, name)
    except NotKnown:
        return None


def _charts(visit: Visit, name: StreamName, reach: str) -> list[tuple[str, str, Markup]]:
    now = visit.ledger.database.clock()
    found = service.history(visit.ledger, visit.actor, name, since_us=now - RANGES[reach] * 1_000_000)
    places = [local(one.at)[5:16] if RANGES[reach] > 86_400 else local(one.at)[11:16] for one in found]
    words = visit.words
    made = []
    for key, values, shown, top, bars in (
        ("chart.rows", [float(one.rows) for one in found], count, 10.0, True),
        (
            "chart.lag",
            [one.lag_s if one.batches else None for one in found],
            lambda value: span(words, value),
            5.0,
            False,
        ),
    ):
        known = [value for value in values if value is not None] or [0.0]
        told = shown(sum(known)) if bars else shown(max(known))
        label = words("chart.label", title=words(key), newest=shown(known[-1]), most=shown(max(known)))
        drawn = lines(places, [Line(words(key), values)], label=label, shown=shown, least_top=top, bars=bars)
        made.append((words(key), words("chart.sum" if bars else "chart.most", value=told), drawn))
    return made
