"""Alerts: what is the matter and who knows of it, what was, maintenance windows, and how people are told."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from forebay_collector.alerts import texts
from forebay_collector.console.answers import Done, Message, Page
from forebay_collector.console.language import Trouble
from forebay_collector.console.pages.batches import instant
from forebay_collector.console.visit import Visit
from forebay_collector.errors import CollectorError, NotPossible
from forebay_collector.service import alerts as service
from forebay_collector.service import notifications
from forebay_collector.service.actor import Permission
from forebay_collector.service.alerts import AlertView

HERE: Final = "/alerts"
PER_PAGE: Final = 30
MOST: Final = 300
"""So many open ones are shown; a filter finds the others."""
_REFUSALS_TOLD: Final = 5
_MOST_HOURS: Final = 24 * 90


def alerts(visit: Visit) -> Page:
    ledger, actor, language = visit.ledger, visit.actor, visit.words.language
    every = service.open_alerts(ledger, actor)
    chosen = [
        one
        for one in every
        if visit.asked("department") in ("", one.department)
        and visit.asked("kind") in ("", one.kind)
        and visit.asked("severity") in ("", one.severity)
    ]
    before = visit.number("before", 0, 0, 1 << 62)
    past = service.history(ledger, actor, closed=True, before=before or None, limit=PER_PAGE + 1)
    agents = visit.agents()
    return Page(
        "alerts.html",
        {
            "total": len(every),
            "critical": sum(one.severity == "critical" for one in every),
            "known": sum(one.acknowledged_at > 0 for one in every),
            "alerts": chosen[:MOST],
            "left": max(0, len(chosen) - MOST),
            "kinds": [(kind, texts.name(kind, language)) for kind in sorted({one.kind for one in every})],
            "severities": [(one, severity(one, language)) for one in ("critical", "warning")],
            "departments": sorted({one.department for one in every if one.department}),
            "operates": any(_may_acknowledge(visit, one) for one in every),
            "may_acknowledge": lambda one: _may_acknowledge(visit, one),
            "told": lambda one: told(one, language),
            "name": lambda kind: texts.name(kind, language),
            "severity": lambda one: severity(one, language),
            "past": past[:PER_PAGE],
            "cursor": past[PER_PAGE - 1].id if len(past) > PER_PAGE else 0,
            "before": before,
            "windows": service.windows(ledger, actor),
            "channels": notifications.channels(ledger, actor, visit.console.settings.alerts),
            "all_agents": [view.name for view in agents if visit.may("operate", view.department)],
            "all_departments": sorted({view.department for view in agents if visit.may("operate", view.department)}),
            "operates_all": actor.departments is None and visit.may("operate"),
            "here": list(visit.query.multi_items()),
            "most_hours": _MOST_HOURS,
        },
        live=not before,
    )


def acknowledge(visit: Visit) -> Done:
    """Somebody knows of what is marked. Each by itself: one that cannot be stops none of the others."""
    visit.actor.require(Permission.OPERATE)
    marked = [int(text) for text in visit.all_said("alert") if text.isdecimal() and len(text) < 19]
    why = visit.why()
    if not marked:
        raise NotPossible("nothing is marked", remedy="Mark the alerts first.")
    messages, done = [], 0
    for number in marked:
        try:
            service.acknowledge(visit.ledger, visit.actor, number, why)
            done += 1
        except CollectorError as error:
            messages.append(Message("bad", visit.words("alerts.number", number=number), visit.words.of_error(error)))
    visit.console.forget()
    said = [Message("good", visit.words.count("alerts.acknowledged", done))] if done else []
    return Done(visit.back(HERE), (*said, *messages[:_REFUSALS_TOLD]))


def open_window(visit: Visit) -> Done:
    scope, hours = visit.said("scope"), visit.said("hours")
    if not hours.isdecimal() or not 0 < int(hours[:6]) <= _MOST_HOURS:
        raise NotPossible(f"a window lasts 1 to {_MOST_HOURS} hours", remedy="Choose another number of hours.")
    name = visit.said(scope) if scope in ("department", "agent") else ""
    service.open_window(
        visit.ledger,
        visit.actor,
        scope,
        name,
        lasts=timedelta(hours=int(hours)),
        why=visit.why(),
        from_at=instant(visit.said("begins")) or None,
    )
    return visit.done(f"{HERE}#windows", "alerts.window_opened")


def close_window(visit: Visit) -> Done:
    number = visit.said("window")
    if not number.isdecimal() or len(number) > 18:
        raise NotPossible("no window is named", remedy="Choose one of the list.")
    service.close_window(visit.ledger, visit.actor, int(number), visit.why())
    return visit.done(f"{HERE}#windows", "alerts.window_closed")


def told(one: AlertView, language: str) -> Trouble:
    """What is said of an alert, in this language."""
    what = texts.name(one.kind, language)
    return Trouble(one.code, what, texts.reason(one.record, language), texts.remedy(one.kind, language))


def severity(name: str, language: str) -> str:
    said: str = texts.words(language)["severity"][name]
    return said


def _may_acknowledge(visit: Visit, one: AlertView) -> bool:
    return not one.acknowledged_at and visit.may("operate", one.department)
