"""Maintenance windows: when nobody is told of what is the matter with an agent, a department, or anything."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import Field

from forebay_collector.api.operation import Call, Noun
from forebay_collector.api.paging import Part, by_number
from forebay_collector.api.values import (
    Answer,
    Asked,
    AskedMoment,
    Flag,
    Moment,
    Name,
    Number,
    Numbered,
    Page,
    Reasoned,
    Why,
    to_us,
)
from forebay_collector.ledger.maintenance import Scope
from forebay_collector.service import alerts as service
from forebay_collector.service.actor import Permission
from forebay_collector.service.alerts import WindowState, WindowView

NOUN = Noun("maintenance", "Windows in which nobody is told of alerts; they are recorded all the same.")
_ALL = 1_000_000


class Window(Answer):
    """A maintenance window."""

    id: int
    scope: Scope
    name: str = Field(description="Of the department or the agent; empty: everything.")
    department: str
    state: WindowState
    begins_at: Moment = Field(validation_alias="from_at")
    ends_at: Moment = Field(validation_alias="until_at")
    why: str
    opened_by: str
    opened_at: Moment
    closed_by: str
    closed_at: Moment


class Windows(Page[Window]):
    pass


class WindowsAsked(Numbered):
    past: Flag = Field(False, description="Also those that are over.")


class WindowWanted(Asked):
    scope: Scope = Field(strict=False)
    name: Name = Field("", description="Of the department or the agent; empty for all.")
    begins_at: AskedMoment | None = Field(None, description="null: now.")
    lasts_s: Number = Field(ge=1, le=90 * 86_400, description="For how many seconds.")
    why: Why


def windows(call: Call[WindowsAsked, None]) -> Part[WindowView]:
    found = service.windows(call.ledger, call.actor, past=call.query.past, limit=_ALL)
    return by_number(found, call.query, lambda one: one.id)


def open_window(call: Call[None, WindowWanted]) -> WindowView:
    body = call.body
    return service.open_window(
        call.ledger,
        call.actor,
        body.scope,
        body.name,
        lasts=timedelta(seconds=body.lasts_s),
        why=body.why,
        from_at=to_us(body.begins_at) if body.begins_at is not None else None,
    )


def close_window(call: Call[None, Reasoned]) -> Any:
    return service.close_window(call.ledger, call.actor, call.number("window"), call.body.why)


NOUN.get("/maintenance", "windows", "The maintenance windows, newest first", windows, Windows, query=WindowsAsked)
NOUN.post(
    "/maintenance",
    "openWindow",
    "Open a maintenance window",
    open_window,
    Window,
    needs=Permission.OPERATE,
    body=WindowWanted,
    status=201,
)
NOUN.post(
    "/maintenance/{window}/close",
    "closeWindow",
    "End a maintenance window now",
    close_window,
    Window,
    needs=Permission.OPERATE,
    body=Reasoned,
)
