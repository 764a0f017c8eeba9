"""The fleet: every agent at a glance, by department, with what is wrong first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from forebay_collector.console.answers import Page
from forebay_collector.console.visit import Visit
from forebay_collector.service import fleet as service
from forebay_collector.service.fleet import AgentView, Colour

WORST_SHOWN: Final = 12
DENSE_FROM: Final = 150
PER_PAGE: Final = 200
_TROUBLED: Final = (Colour.RED, Colour.YELLOW)


@dataclass(frozen=True, slots=True)
class DepartmentView:
    """A department's agents, in the order asked for. worst: colour of the one that is worst off."""

    name: str
    agents: list[AgentView]
    worst: int
    counts: dict[Colour, int]


@dataclass(frozen=True, slots=True)
class Totals:
    """What the chosen agents come to. lag_s: of the stream that is furthest behind."""

    streams: int
    held: int
    waiting_batches: int
    lag_s: float


_SORTS: Final[dict[str, Callable[[AgentView], Any]]] = {
    "trouble": lambda view: (view.trouble, view.department, view.name),
    "name": lambda view: (view.department, view.name),
    "lag": lambda view: (-lag_s(view), view.trouble, view.name),
    "outbox": lambda view: (-outbox_share(view), view.trouble, view.name),
    "seen": lambda view: (view.last_seen_at, view.name),
}


def fleet(visit: Visit) -> Page:
    everyone = visit.agents()
    states = [state for state in visit.asked("state").split(",") if state in set(Colour)]
    department, text = visit.asked("department"), visit.asked("q").casefold()
    sort = visit.asked("sort", "trouble")
    sort = sort if sort in _SORTS else "trouble"
    scope = [view for view in everyone if _matches(view, department, text)]
    chosen = sorted((view for view in scope if not states or view.state in states), key=_SORTS[sort])
    as_list = visit.asked("view") == "list"
    place = visit.number("from", 0, 0, 1_000_000)
    return Page(
        "fleet.html",
        {
            "totals": _totals(scope),
            "counts": service.counts(scope),
            "colours": list(Colour),
            "states": states,
            "department": department,
            "departments": sorted({view.department for view in everyone}),
            "sort": sort,
            "sorts": list(_SORTS),
            "as_list": as_list,
            "shown": chosen[place : place + PER_PAGE] if as_list else [],
            "after": place + PER_PAGE if as_list and len(chosen) > place + PER_PAGE else 0,
            "groups": [] if as_list else _groups(chosen, sort),
            "worst": [] if states or as_list else [view for view in chosen if view.state in _TROUBLED][:WORST_SHOWN],
            "troubled": sum(view.state in _TROUBLED for view in chosen),
            "dense": len(chosen) >= DENSE_FROM,
            "total": len(chosen),
            "here": list(visit.query.multi_items()),
            "lag_s": lag_s,
            "outbox_share": outbox_share,
            "held": held,
        },
    )


def lag_s(view: AgentView) -> float:
    """Of the agent's stream that is furthest behind."""
    return max((stream.lag_s for stream in view.streams), default=0.0)


def outbox_share(view: AgentView) -> float:
    """How full its outbox is, 0 to 1."""
    cap = float(view.outbox.get("cap_bytes", 0) or 0)
    return float(view.outbox.get("bytes", 0)) / cap if cap else 0.0


def held(view: AgentView) -> int:
    """How many of its streams are held."""
    return sum(stream.colour is Colour.RED for stream in view.streams)


def _matches(view: AgentView, department: str, text: str) -> bool:
    if department and view.department != department:
        return False
    return not text or any(text in part.casefold() for part in (view.name, view.department, view.hostname))


def _totals(views: list[AgentView]) -> Totals:
    streams = [stream for view in views for stream in view.streams]
    return Totals(
        streams=len(streams),
        held=sum(stream.colour is Colour.RED for stream in streams),
        waiting_batches=sum(stream.behind for stream in streams),
        lag_s=max((stream.lag_s for stream in streams), default=0.0),
    )


def _groups(views: list[AgentView], sort: str) -> list[DepartmentView]:
    """By department; sorted by trouble, the departments that are worst off come first."""
    by_name: dict[str, list[AgentView]] = {}
    for view in views:
        by_name.setdefault(view.department, []).append(view)
    found = [
        DepartmentView(name, agents, min(view.trouble for view in agents), service.counts(agents))
        for name, agents in by_name.items()
    ]
    if sort == "trouble":
        found.sort(key=lambda group: (group.worst, -sum(group.counts[colour] for colour in _TROUBLED), group.name))
    return found
