"""Alerts: what is the matter and what was, knowing of it; and how people are told."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from forebay_collector.alerts.kinds import KINDS, Severity
from forebay_collector.api.operation import Call, Noun
from forebay_collector.api.paging import Part, before_number, by_number, cut
from forebay_collector.api.values import Answer, Flag, Moment, Name, Numbered, Page, Reasoned
from forebay_collector.service import alerts as service
from forebay_collector.service import notifications
from forebay_collector.service.actor import Permission
from forebay_collector.service.alerts import AlertView

NOUN = Noun("alerts", "What is the matter with the fleet, who knows of it, and how people are told.")


class Alert(Answer):
    """Something that is or was the matter. name, reason, remedy: in English."""

    id: int
    kind: str = Field(description=f"One of {', '.join(KINDS)}.")
    subject: str = Field(description="What with: an agent, a source, a stream.")
    department: str = Field(description="Whose; empty: nobody's in particular.")
    agent: str
    severity: Severity
    code: str
    name: str
    reason: str
    remedy: str
    opened_at: Moment
    last_seen_at: Moment
    closed_at: Moment
    acknowledged_at: Moment
    acknowledged_by: str
    acknowledged_why: str
    notified_at: Moment
    silenced: bool = Field(description="Whether a maintenance window holds messages back.")


class Alerts(Page[Alert]):
    pass


class AlertsAsked(Numbered):
    department: Name = Field("", description="Only of this department.")
    kind: Name = Field("", description="Only of this kind.")
    severity: Literal["", "warning", "critical"] = Field("", description="Only as severe as this.")


class HistoryAsked(Numbered):
    department: Name = Field("", description="Only of this department.")
    kind: Name = Field("", description="Only of this kind.")
    subject: Name = Field("", description="Only of this agent, source or stream.")
    closed: Flag | None = Field(None, description="true: only those that are over; false: only those that are not.")


class Channel(Answer):
    """A way by which people are told, and how that went last."""

    name: str
    state: str = Field(description="untried, sent, sending, waiting (not arrived so far), failed (given up)")
    last_at: Moment
    last_sent_at: Moment
    outcome: str
    attempts: int
    waiting: int
    language: str
    least: str
    departments: list[str] = Field(description="Only of these it tells; empty: of all.")


class Channels(Answer):
    items: list[Channel]


def open_alerts(call: Call[AlertsAsked, None]) -> Part[AlertView]:
    asked = call.query
    found = service.open_alerts(
        call.ledger, call.actor, department=asked.department, kind=asked.kind, severity=asked.severity
    )
    return by_number(found, asked, lambda one: one.id)


def history(call: Call[HistoryAsked, None]) -> Part[AlertView]:
    asked = call.query
    found = service.history(
        call.ledger,
        call.actor,
        department=asked.department,
        kind=asked.kind,
        subject=asked.subject,
        closed=asked.closed,
        before=before_number(asked),
        limit=asked.limit + 1,
    )
    return cut(found, asked, lambda one: str(one.id))


def alert(call: Call[None, None]) -> AlertView:
    return service.alert(call.ledger, call.actor, call.number("alert"))


def acknowledge(call: Call[None, Reasoned]) -> AlertView:
    return service.acknowledge(call.ledger, call.actor, call.number("alert"), call.body.why)


def channels(call: Call[None, None]) -> dict[str, Any]:
    return {"items": notifications.channels(call.ledger, call.actor, call.works.settings.alerts)}


NOUN.get("/alerts", "alerts", "What is the matter now, newest first", open_alerts, Alerts, query=AlertsAsked)
NOUN.get("/alerts/history", "alertHistory", "Every alert, newest first", history, Alerts, query=HistoryAsked)
NOUN.get("/alerts/channels", "alertChannels", "How people are told, and how that went last", channels, Channels)
NOUN.get("/alerts/{alert}", "alert", "One alert", alert, Alert)
NOUN.post(
    "/alerts/{alert}/acknowledge",
    "acknowledgeAlert",
    "Say that one knows of it: nobody is reminded any more",
    acknowledge,
    Alert,
    needs=Permission.OPERATE,
    body=Reasoned,
)
