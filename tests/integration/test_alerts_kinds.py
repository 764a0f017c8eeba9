"""Each kind of alert opens when it is so and closes when it is over, on what a real ledger holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from forebay_collector.alerts import texts
from forebay_collector.alerts.kinds import IDENTITY
from forebay_collector.identity import alarms
from forebay_collector.ledger import Arrival, Ledger, verifications
from forebay_collector.ledger.proposals import Column, Decided, ProposalRecord
from forebay_collector.ledger.verifications import VerificationState
from forebay_collector.service import alerts as service
from forebay_collector.service import approvals, identity, quarantine, verification
from forebay_collector.service.actor import Actor
from tests.alerting.fleet import AGENT, DEPARTMENT, SECOND, STREAM, Clock, Watched
from tests.receiving.batches import chained
from tests.servers.postgresql import PostgreSQL

MINUTE = timedelta(minutes=1)
ROOT = Actor.local("root")
SOURCE = f"{DEPARTMENT}/djk"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def watched(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[Watched]:
    where: Path | str = tmp_path / "ledger.db"
    if request.param == "postgresql":
        server: PostgreSQL = request.getfixturevalue("postgresql")
        name = f"kinds_{tmp_path.name.lower().replace('-', '_')}"[:60]
        server.create_database(name)
        url = make_url("postgresql+psycopg://").set(
            username=server.user, password=server.password, host=server.host, port=server.port, database=name
        )
        where = url.render_as_string(hide_password=False)
    ledger = Ledger.open(where, clock)
    made = Watched(ledger, clock)
    made.enrol()
    yield made
    ledger.close()


def receive(watched: Watched, count: int) -> None:
    assert watched.ledger.batches.receive([Arrival(AGENT, STREAM, one) for one in chained(count, STREAM)]) == []


def reason(watched: Watched, kind: str) -> str:
    (found,) = service.open_alerts(watched.ledger, ROOT, kind=kind)
    return found.reason


def closes(watched: Watched, kind: str) -> None:
    """It is well again: not over at once, over a little later."""
    watched.rounds(MINUTE)
    assert kind in watched.kinds()
    watched.rounds(2 * MINUTE)
    assert kind not in watched.kinds()
    assert service.history(watched.ledger, ROOT, kind=kind, closed=True)


def test_nothing_is_the_matter_with_a_fleet_that_is_well(watched: Watched) -> None:
    outbox = {"bytes": 10, "cap_bytes": 100, "full": False}
    at = watched.clock.now
    watched.say(
        health={"outbox": outbox, "clock_offset_us": 300_000},
        streams={STREAM: {"mode": "log", "log_hours_left": 90.0, "log_bytes_behind": 4_096, "position": "1"}},
        canary=(at, at + SECOND),
    )
    receive(watched, 3)
    watched.ledger.batches.mark_loaded(STREAM, 1, 3)
    watched.rounds(timedelta(minutes=20))
    assert watched.open() == {}
    assert watched.told() == []


def test_an_agent_that_is_silent(watched: Watched) -> None:
    watched.rounds(MINUTE)
    watched.silent.add(AGENT)
    watched.rounds(timedelta(seconds=50))
    assert watched.kinds() == set()
    watched.rounds(timedelta(seconds=20))
    assert set(watched.open()) == {("agent_silent", AGENT)}
    assert reason(watched, "agent_silent").startswith("no heartbeat since 2")
    watched.silent.clear()
    closes(watched, "agent_silent")


def test_an_agent_that_beats_seldom_is_silent_after_two_of_its_own_intervals(watched: Watched) -> None:
    with watched.ledger.database.write() as connection:
        connection.exec_driver_sql("UPDATE agent SET heartbeat_ms = 300000")
    watched.rounds(MINUTE)
    watched.silent.add(AGENT)
    watched.rounds(9 * MINUTE)
    assert watched.kinds() == set()
    watched.rounds(2 * MINUTE)
    assert watched.kinds() == {"agent_silent"}


def test_a_revoked_agent_is_not_missed(watched: Watched) -> None:
    watched.silent.add(AGENT)
    watched.rounds(2 * MINUTE)
    assert watched.kinds() == {"agent_silent"}
    identity.revoke(watched.ledger, ROOT, AGENT, "retired")
    watched.rounds(3 * MINUTE)
    assert watched.kinds() == set()


def test_an_outbox_that_fills_and_is_full(watched: Watched) -> None:
    watched.say(health={"outbox": {"bytes": 81, "cap_bytes": 100}})
    watched.rounds(2 * MINUTE)
    assert reason(watched, "outbox_filling") == "81 % of its outbox is used"
    watched.say(health={"outbox": {"bytes": 100, "cap_bytes": 100, "full": True}})
    watched.rounds(MINUTE)
    (found,) = service.open_alerts(watched.ledger, ROOT)
    assert (found.severity, found.reason) == ("critical", "its outbox is full: capture waits")
    watched.say(health={"outbox": {"bytes": 70, "cap_bytes": 100}})
    closes(watched, "outbox_filling")


def test_a_database_that_soon_forgets_its_log(watched: Watched) -> None:
    other = replace(STREAM, table="public.permit")
    watched.say(streams={STREAM: {"log_hours_left": 23.5}, other: {"log_hours_left": 22.0}})
    watched.rounds(4 * MINUTE)
    assert list(watched.open()) == [("log_loss_near", SOURCE)]
    assert "for 22.0 h more" in reason(watched, "log_loss_near")
    watched.say(streams={STREAM: {"log_hours_left": 48.0}, other: {"log_hours_left": 48.0}})
    closes(watched, "log_loss_near")


def test_a_certificate_that_ends(watched: Watched) -> None:
    watched.enrol(lasts_days=13)
    watched.rounds(MINUTE)
    (found,) = service.open_alerts(watched.ledger, ROOT)
    assert (found.kind, found.severity) == ("certificate_expiring", "warning")
    watched.clock.passes(timedelta(days=11))
    watched.rounds(2 * MINUTE)
    (found,) = service.open_alerts(watched.ledger, ROOT, kind="certificate_expiring")
    assert found.severity == "critical"
    watched.enrol(lasts_days=300)
    closes(watched, "certificate_expiring")


def test_a_batch_that_the_platform_refuses(watched: Watched) -> None:
    receive(watched, 2)
    watched.ledger.quarantine.put(STREAM, 1, 1, "FB-PLATFORM-TYPE", "text cannot become a number")
    watched.rounds(timedelta(seconds=10))
    assert list(watched.open()) == [("quarantine_not_empty", str(STREAM))]
    assert reason(watched, "quarantine_not_empty") == (
        "batch 1/1 is refused: text cannot become a number (FB-PLATFORM-TYPE)"
    )
    quarantine.discard(watched.ledger, ROOT, [STREAM], "test rows")
    watched.ledger.batches.mark_loaded(STREAM, 1, 2)
    closes(watched, "quarantine_not_empty")


def test_what_was_received_and_is_not_loaded(watched: Watched) -> None:
    watched.say(streams={STREAM: {}})
    receive(watched, 2)
    watched.rounds(2 * MINUTE)
    assert list(watched.open()) == [("position_stalled", str(STREAM))]
    watched.ledger.batches.mark_loaded(STREAM, 1, 2)
    closes(watched, "position_stalled")


def test_a_stream_that_waits_at_its_agent_and_one_that_is_held_there(watched: Watched) -> None:
    waits = {"state": "waiting", "code": "FB-SOURCE-UNREACHABLE", "reason": "connection refused"}
    watched.say(streams={STREAM: waits})
    watched.rounds(9 * MINUTE)
    assert watched.kinds() == set()
    watched.rounds(2 * MINUTE)
    assert reason(watched, "position_stalled") == "connection refused (FB-SOURCE-UNREACHABLE)"
    watched.say(streams={STREAM: {"state": "held", "code": "FB-TABLE-CHANGED", "reason": "another key"}})
    watched.rounds(2 * MINUTE)
    (found,) = service.open_alerts(watched.ledger, ROOT)
    assert (found.severity, found.reason) == ("critical", "another key (FB-TABLE-CHANGED)")
    watched.say(streams={STREAM: {}})
    closes(watched, "position_stalled")


@pytest.mark.parametrize("code", ["FB-NOT-APPROVED", "FB-PAUSED"])
def test_what_waits_for_people_on_purpose_is_no_alert(watched: Watched, code: str) -> None:
    watched.say(streams={STREAM: {"state": "waiting", "code": code, "reason": "x", "paused": code == "FB-PAUSED"}})
    watched.rounds(timedelta(minutes=15))
    assert watched.open() == {}


def test_a_log_that_goes_on_while_nothing_of_it_is_captured(watched: Watched) -> None:
    def told(behind: int, position: str) -> None:
        watched.say(streams={STREAM: {"mode": "log", "position": position, "log_bytes_behind": behind}})

    # a quiet table in a busy database: it is never caught up, and never falls behind for long
    for minute in range(15):
        told(3 << 20 if minute % 2 else 1 << 20, "7")
        watched.rounds(MINUTE)
    assert watched.kinds() == set()
    for minute in range(12):
        told((1 << 20) + (minute << 20), "7")
        watched.rounds(MINUTE)
    assert list(watched.open()) == [("position_stalled", SOURCE)]
    told(1 << 20, "8")
    closes(watched, "position_stalled")


def test_a_clock_that_is_off(watched: Watched) -> None:
    watched.say(health={"clock_offset_us": -6 * SECOND})
    watched.rounds(timedelta(minutes=2, seconds=20))
    assert reason(watched, "clock_offset") == "its clock is 6.0 s off"
    watched.say(health={"clock_offset_us": SECOND})
    closes(watched, "clock_offset")


def test_a_canary_that_does_not_come_back_as_the_agents_own_clock_has_it(watched: Watched) -> None:
    ahead = 3_600 * SECOND
    watched.say(health={"clock_offset_us": ahead}, canary=(watched.clock.now + ahead, 0))
    watched.rounds(timedelta(minutes=4))
    assert "canary_late" not in watched.kinds()
    watched.rounds(timedelta(minutes=2))
    assert ("canary_late", SOURCE) in watched.open()
    watched.say(canary=(watched.clock.now + ahead, watched.clock.now + ahead + SECOND))
    closes(watched, "canary_late")


def test_a_verification_that_differs_until_one_finds_all_equal(watched: Watched) -> None:
    receive(watched, 1)
    watched.ledger.batches.mark_loaded(STREAM, 1, 1)

    def verified(state: VerificationState, **found: Any) -> None:
        (number,) = verification.start(watched.ledger, ROOT, [STREAM])
        watched.ledger.verifications.take(number)
        with watched.ledger.database.write() as connection:
            verifications.end(connection, number, state, watched.clock.now, result=found)

    verified(VerificationState.DIFFERENT, missing=[{"id": 1}, {"id": 2}], extra=[], different=[{"id": 3}])
    watched.rounds(timedelta(seconds=80))
    assert reason(watched, "verify_differs").endswith("2 keys missing, 0 too many, 1 different")
    verified(VerificationState.FAILED)
    watched.rounds(4 * MINUTE)
    assert watched.kinds() == {"verify_differs"}
    verified(VerificationState.EQUAL)
    watched.rounds(4 * MINUTE)
    assert watched.kinds() == set()


def test_a_table_that_is_not_updated_as_often_as_its_department_said(watched: Watched) -> None:
    for label, table in (("每日", "public.daily"), ("实时", "public.live"), ("now and then", "public.other")):
        columns = (Column("id", "int", "int64", ""),)
        name = replace(STREAM, table=table)
        proposal = ProposalRecord(
            name,
            AGENT,
            columns,
            ("id",),
            "cursor",
            "",
            label,
            "",
            "",
            watched.clock.now,
            watched.clock.now,
            0,
            Decided(),
        )
        watched.ledger.approvals.propose(AGENT, [proposal], complete=False, automatic=False)
        approvals.approve(watched.ledger, ROOT, name)
    daily = replace(STREAM, table="public.daily")
    watched.clock.passes(timedelta(hours=35))
    watched.rounds(timedelta(minutes=15))
    assert "update_overdue" not in watched.kinds()
    watched.clock.passes(timedelta(hours=1))
    watched.rounds(timedelta(minutes=15))
    assert [subject for kind, subject in watched.open() if kind == "update_overdue"] == [str(daily)]
    assert "updated 每日" in reason(watched, "update_overdue")
    batches = chained(1, daily)
    assert watched.ledger.batches.receive([Arrival(AGENT, daily, one) for one in batches]) == []
    watched.ledger.batches.mark_loaded(daily, 1, 1)
    watched.rounds(4 * MINUTE)
    assert "update_overdue" not in watched.kinds()


@pytest.mark.parametrize("action", sorted(IDENTITY))
def test_an_alarm_of_identity(watched: Watched, action: str) -> None:
    times = 5 if action == alarms.NO_CALL else 1
    detail = {"peer": "10.9.8.7", "count": times}
    watched.rounds(MINUTE)
    watched.ledger.audit.add(AGENT, action, AGENT, "somebody came in", detail)
    watched.rounds(timedelta(seconds=10))
    (found,) = service.open_alerts(watched.ledger, ROOT)
    kind = IDENTITY[action]
    assert (found.kind, found.code, found.department, found.agent) == (kind.name, kind.code, DEPARTMENT, AGENT)
    assert (found.severity == "critical") == alarms.ALARMS[action].urgent
    watched.restart()
    watched.rounds(timedelta(minutes=55))
    assert watched.kinds() == {kind.name}
    watched.rounds(timedelta(minutes=10))
    assert watched.kinds() == set()


def test_a_probe_is_no_alarm(watched: Watched) -> None:
    watched.ledger.audit.add("unknown", alarms.NO_CALL, "10.0.0.9", "a probe", {"peer": "10.0.0.9", "department": ""})
    watched.rounds(2 * MINUTE)
    assert watched.open() == {}


def test_the_audits_other_entries_are_read_past_and_old_alarms_are_none(watched: Watched) -> None:
    watched.ledger.audit.add(AGENT, alarms.REVOKED, AGENT, "long ago", {})
    watched.clock.passes(timedelta(hours=2))
    for number in range(20):
        watched.ledger.audit.add("root", "log in", str(number))
    watched.rounds(MINUTE)
    assert watched.open() == {}
    watched.ledger.audit.add(AGENT, alarms.REVOKED, AGENT, "now", {})
    watched.rounds(MINUTE)
    assert watched.kinds() == {"revoked_certificate_used"}


def test_every_alert_says_what_it_is_why_and_what_to_do_in_both_languages(watched: Watched) -> None:
    watched.silent.add(AGENT)
    watched.rounds(2 * MINUTE)
    (record,) = watched.open().values()
    assert texts.name(record.kind, "zh-CN") == "前置机失联"
    assert texts.reason(record, "zh-CN").startswith("自 2")
    assert texts.reason(record, "zh-CN").endswith("起没有心跳")
    assert "forebay-agent check" in texts.remedy(record.kind, "zh-CN")
