"""The alerts of the made-up city: what the engine finds in it, who knows of what, what was, and how people were told."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Final

from forebay_collector.alerts.conditions import conditions
from forebay_collector.alerts.kinds import AGENT_SILENT, CANARY_LATE, POSITION_STALLED, Kind
from forebay_collector.alerts.reading import Reading
from forebay_collector.alerts.settings import (
    AlertSettings,
    DingtalkSettings,
    MailSettings,
    WebhookSettings,
    WecomSettings,
)
from forebay_collector.alerts.watch import Watch
from forebay_collector.ledger import Ledger, alerts, notifications
from forebay_collector.ledger.alerts import Condition
from forebay_collector.ledger.notifications import FAILED, OPENED, SENT, WAITING
from forebay_collector.service import alerts as service
from forebay_collector.service.actor import Actor
from tests.browser.city_data import DAY, HOUR, MINUTE, NOW, SECOND, Clock

CHANNELS: Final = AlertSettings(
    webhook=WebhookSettings(url="https://ops.city.example/forebay"),
    dingtalk=DingtalkSettings(robot="dingtalk.robot"),
    wecom=WecomSettings(robot="wecom.robot", departments=("民政局",), least="critical"),
    mail=MailSettings(server="mail.city.example:587"),
)
_PAST: Final[tuple[tuple[int, int, Kind, str, str, dict[str, str]], ...]] = (
    (3 * DAY, 25 * MINUTE, AGENT_SILENT, "gaj-03", "公安局", {}),
    (2 * DAY, 90 * MINUTE, POSITION_STALLED, "税务局/swj/public.taxpayer", "税务局", {"case": "late"}),
    (30 * HOUR, 12 * MINUTE, CANARY_LATE, "教育局/jyj", "教育局", {}),
    (26 * HOUR, 6 * MINUTE, AGENT_SILENT, "jyj-02", "教育局", {}),
    (9 * HOUR, 40 * MINUTE, AGENT_SILENT, "wjw-04", "卫健委", {}),
)
"""How long ago, for how long, what, of what, whose."""


def fill(ledger: Ledger, clock: Clock, ops: Actor) -> None:
    """The clock is left at `NOW`."""
    _past(ledger, clock)
    _present(ledger, clock)
    _people(ledger, clock, ops)
    clock.now = NOW


def _past(ledger: Ledger, clock: Clock) -> None:
    for ago, lasted, kind, subject, department, detail in _PAST:
        clock.now = NOW - ago
        agent = subject if kind is AGENT_SILENT else f"{subject.split('/')[1]}-01"
        said = {"since": clock.now - MINUTE, **detail}
        with ledger.database.write() as connection:
            found = Condition(kind.name, subject, department, agent, kind.severity, kind.code, said)
            alerts.put(connection, [found], clock.now)
            (made,) = alerts.open_now(connection)
            if lasted > 30 * MINUTE:
                alerts.acknowledge(connection, made.id, "li.ops", "机房断电，已报修", clock.now + 8 * MINUTE)
            alerts.close(connection, [made.id], clock.now + lasted)


def _present(ledger: Ledger, clock: Clock) -> None:
    """As the engine would have found it in the last twenty minutes."""
    reading = Reading(ledger, CHANNELS.stalled, CHANNELS.identity)
    watch = Watch(ledger, CHANNELS.clear)
    for minutes in range(21, -1, -3):
        clock.now = NOW - minutes * MINUTE
        facts = replace(reading.facts(), at=clock.now)
        watch.look(conditions(facts, CHANNELS, NOW - DAY, {}), clock.now)


def _people(ledger: Ledger, clock: Clock, ops: Actor) -> None:
    """Some know of it, some is in maintenance; and people were told, by most of the ways."""
    clock.now = NOW - 12 * MINUTE
    found = {one.subject: one for one in service.open_alerts(ledger, ops)}
    service.acknowledge(ledger, ops, found["交通局/jtj/public.licence"].id, "平台同事正在处理")
    service.open_window(ledger, ops, "agent", found_agent(found, "住建局"), lasts=timedelta(hours=6), why="更换硬盘")
    service.open_window(
        ledger, ops, "department", "水利局", lasts=timedelta(hours=8), why="机房割接", from_at=NOW + 11 * HOUR
    )
    with ledger.database.write() as connection:
        alerts.told(connection, list(alerts.open_now(connection)), NOW - 11 * MINUTE)
    outcomes = {
        "webhook": (SENT, "HTTP 200", 1, 11),
        "dingtalk": (SENT, "errcode 0: ok", 1, 11),
        "mail": (WAITING, "Connection refused", 3, 1),
        "wecom": (FAILED, "errcode 93000: invalid webhook url", 12, 95),
    }
    for channel, (state, outcome, attempts, ago) in outcomes.items():
        clock.now = NOW - ago * MINUTE - SECOND
        with ledger.database.write() as connection:
            note = notifications.put(connection, channel, OPENED, "agent_silent", [], clock.now)
        for _ in range(attempts):
            ledger.notifications.take(channel)
        clock.now += SECOND
        ledger.notifications.end(note, state, outcome)


def found_agent(found: dict[str, service.AlertView], department: str) -> str:
    """An agent of this department that has an alert; any when there is none."""
    theirs = [one.agent for one in found.values() if one.department == department and one.agent]
    return theirs[0] if theirs else next(one.agent for one in found.values() if one.agent)
