"""The alerts page over HTTP: what is shown to whom, acknowledging, maintenance windows, channels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from forebay_collector.alerts.settings import AlertSettings, WebhookSettings, WecomSettings
from forebay_collector.ledger import alerts, notifications
from forebay_collector.ledger.alerts import Condition
from forebay_collector.service import alerts as service
from tests.consoling.console import Served
from tests.consoling.people import ROOT, Person, account
from tests.integration.console.conftest import HELD, OTHER
from tests.loading.stage import AGENT, Stage
from tests.receiving.batches import DEPARTMENT

HOOK = "https://hook.example/path-with-a-key"
SILENT = Condition(
    "agent_silent", AGENT, DEPARTMENT, AGENT, "critical", "FB-AGENT-SILENT", {"since": 1_790_000_000_000_000}
)
OTHERS = replace(SILENT, subject="mzj-01", agent="mzj-01", department=OTHER.department)
EVIL = "<img src=x onerror=alert(1)>"
REFUSED = Condition(
    "quarantine_not_empty",
    str(HELD),
    DEPARTMENT,
    AGENT,
    "critical",
    "FB-QUARANTINE",
    {"epoch": 1, "seq": 2, "said": f"because {EVIL}", "trouble": "FB-X"},
)


@pytest.fixture
def served(stage: Stage) -> Iterator[Served]:
    for name, roles, departments in (
        ("ops", ["operator"], None),
        ("seer", ["viewer"], None),
        ("mz", ["operator"], [OTHER.department]),
    ):
        account(stage.ledger, name, roles, departments)
    channels = AlertSettings(webhook=WebhookSettings(url=HOOK), wecom=WecomSettings(robot="wecom.robot"))
    console = replace(stage.settings.console, listen="127.0.0.1:0")
    with Served(stage, replace(stage.settings, console=console, alerts=channels)) as running:
        yield running


def put(stage: Stage, *found: Condition) -> list[int]:
    with stage.ledger.database.write() as connection:
        alerts.put(connection, found, stage.ledger.database.clock())
        return [one.id for one in alerts.open_now(connection)]


def test_an_alert_is_read_acknowledged_with_others_and_stays_until_it_is_over(stage: Stage, served: Served) -> None:
    numbers = put(stage, SILENT, OTHERS, REFUSED)
    with Person(served.address) as person:
        person.enter(served.ledger, "ops")
        html = person.get("/alerts").text
        for text in ("Agent silent", "no heartbeat since 2026-09-2", "FB-AGENT-SILENT", f'href="/agents/{AGENT}"'):
            assert text in html
        assert '<b class="number bad">3</b>' in html
        assert EVIL not in html
        assert "because &lt;img" in html
        told = person.follow(person.post("/alerts", {"why": "x"})).text
        assert "nothing is marked" in told
        chosen: dict[str, str | list[str]] = {"alert": [str(number) for number in (*numbers[:2], 999)], "why": "dug up"}
        told = person.follow(person.post("/alerts", chosen)).text
        assert "2 alerts are acknowledged" in told
        assert "Alert 999 was not acknowledged" in told
        assert told.count("dug up") == 2
        served.clock.ahead_us += 1
        with stage.ledger.database.write() as connection:
            alerts.close(connection, numbers, stage.ledger.database.clock())
        html = person.get("/alerts").text
        assert "Nothing is the matter." in html
        assert html.count("dug up") == 2
    assert [entry.subject for entry in stage.ledger.audit.listing(action=service.ACKNOWLEDGED)] == ["mzj-01", AGENT]


def test_in_chinese_everything_is_chinese(stage: Stage, served: Served) -> None:
    put(stage, SILENT)
    with Person(served.address, "zh-CN") as person:
        person.enter(served.ledger, "ops")
        html = person.get("/alerts").text
    for text in ("前置机失联", "自 2026-09-2", "起没有心跳", "到设备上确认", "严重", "维护窗口", "企业微信"):
        assert text in html
    assert "no heartbeat" not in html


def test_filters_choose_and_the_history_goes_on(stage: Stage, served: Served) -> None:
    put(stage, SILENT, REFUSED, OTHERS)
    for number in range(40):
        made = put(stage, replace(SILENT, subject=f"gone-{number:02}"))
        with stage.ledger.database.write() as connection:
            alerts.close(connection, made[-1:], stage.ledger.database.clock())
    with Person(served.address) as person:
        person.enter(served.ledger, "seer")
        html = person.get(f"/alerts?kind=agent_silent&department={DEPARTMENT}").text
        assert "because" not in html
        assert "mzj-01" not in html
        assert "gone-39" in html
        assert "gone-02" not in html
        more = re.search(r'href="(\?[^"]*before=\d+[^"]*)"', html)
        assert more is not None
        html = person.get("/alerts" + more[1].replace("&amp;", "&")).text
        assert "gone-02" in html
        assert "gone-39" not in html


def test_a_window_is_opened_and_ended_on_the_page(stage: Stage, served: Served) -> None:
    put(stage, SILENT)
    with Person(served.address) as person:
        person.enter(served.ledger, "ops")
        person.get("/alerts")
        form: dict[str, str | list[str]] = {"scope": "agent", "agent": AGENT, "hours": "2", "why": "new disk"}
        assert "lasts 1 to" in person.follow(person.post("/alerts/windows", {**form, "hours": "0"})).text
        assert "no reason" in person.follow(person.post("/alerts/windows", {**form, "why": " "})).text
        assert person.post("/alerts/windows", {**form, "agent": "nobody"}).status_code == 404
        html = person.follow(person.post("/alerts/windows", form)).text
        assert "The maintenance window is set." in html
        assert "in maintenance: not told" in html
        (window,) = service.windows(stage.ledger, ROOT)
        assert (window.name, window.why) == (AGENT, "new disk")
        ended = person.post("/alerts/windows/close", {"window": str(window.id), "why": "done"})
        html = person.follow(ended).text
        assert "The maintenance window has ended." in html
        assert "None is open or planned." in html


def test_of_other_departments_nothing_is_shown_and_nothing_can_be_done(stage: Stage, served: Served) -> None:
    mine, theirs = put(stage, OTHERS, SILENT)
    service.open_window(stage.ledger, ROOT, "agent", AGENT, lasts=service.LONGEST, why="new disk")
    with Person(served.address) as person:
        person.enter(served.ledger, "mz")
        html = person.get("/alerts").text
        assert "mzj-01" in html
        assert AGENT not in html
        assert DEPARTMENT not in html
        assert '<option value="all">' not in html
        told = person.follow(person.post("/alerts", {"alert": [str(mine), str(theirs)], "why": "x"})).text
        assert "1 alert is acknowledged" in told
        assert f"alert {theirs} is not in the ledger" in told
        every: dict[str, str | list[str]] = {"scope": "all", "hours": "1", "why": "x"}
        assert person.post("/alerts/windows", every).status_code == 403


def test_a_viewer_sees_and_does_nothing(stage: Stage, served: Served) -> None:
    (number,) = put(stage, SILENT)
    with Person(served.address) as person:
        person.enter(served.ledger, "seer")
        html = person.get("/alerts").text
        assert 'name="alert"' not in html
        assert 'action="/alerts/windows' not in html
        assert person.post("/alerts", {"alert": str(number), "why": "x"}).status_code == 403


def test_how_each_channel_went_last_is_shown_without_where_it_leads(stage: Stage, served: Served) -> None:
    with stage.ledger.database.write() as connection:
        note = notifications.put(connection, "webhook", "opened", "agent_silent", [], stage.ledger.database.clock())
    stage.ledger.notifications.end(note, "waiting", "HTTP 503")
    with Person(served.address) as person:
        person.enter(served.ledger, "seer")
        html = person.get("/alerts").text
    for text in ("HTTP 503", "not arrived, tried again", "1 to be sent", "nothing to tell yet"):
        assert text in html
    assert "hook.example" not in html
    assert "wecom.robot" not in html


def test_an_open_page_sees_an_alert_come(stage: Stage, served: Served) -> None:
    with Person(served.address) as person:
        person.enter(served.ledger, "ops")
        shown = re.search(r'data-shown="(\w+)"', person.get("/alerts").text)
        assert shown is not None
        address = f"/alerts?_live={shown[1]}"
        with person.http.stream("GET", address, headers={"accept": "text/event-stream"}) as events:
            lines: Any = events.iter_lines()
            assert next(lines) == "retry: 3000"
            put(stage, SILENT)
            data = next(line for line in lines if line.startswith("data: {") and '"alerts"' in line)
    assert "Agent silent" in data
