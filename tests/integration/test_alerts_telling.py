"""What people are told: once, together, again when nobody acts, not in maintenance, and nothing is lost by a restart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import event

from forebay_collector.alerts.engine import Engine
from forebay_collector.alerts.settings import AlertSettings, MailSettings, WebhookSettings
from forebay_collector.ledger import Ledger
from forebay_collector.service import alerts as service
from forebay_collector.service.actor import Actor
from tests.alerting.fleet import AGENT, DEPARTMENT, HOOK, STREAM, Clock, Watched

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
ROOT = Actor.local("root")
OPENED = ("opened", "agent_silent", 1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watched(tmp_path: Path, clock: Clock) -> Iterator[Watched]:
    ledger = Ledger.open(tmp_path / "ledger.db", clock)
    made = Watched(ledger, clock)
    made.enrol()
    made.rounds(MINUTE)
    yield made
    ledger.close()


def fall_silent(watched: Watched, *agents: str) -> None:
    watched.silent.update(agents or (AGENT,))
    watched.rounds(2 * MINUTE)


def recover(watched: Watched) -> None:
    watched.silent.clear()
    watched.rounds(4 * MINUTE)


def test_one_message_when_it_begins_and_one_when_it_is_over(watched: Watched) -> None:
    fall_silent(watched)
    assert watched.told() == [OPENED]
    watched.rounds(HOUR)
    assert watched.told() == [OPENED]
    recover(watched)
    assert watched.told() == [OPENED, ("resolved", "agent_silent", 1)]
    watched.rounds(HOUR)
    assert len(watched.told()) == 2


def test_a_network_cut_of_three_hundred_agents_is_one_message(watched: Watched) -> None:
    agents = [f"a{number:03}" for number in range(300)]
    watched.enrol(*agents)
    watched.rounds(timedelta(seconds=20))
    # they do not fall silent in the same round
    for first in range(0, 300, 100):
        watched.silent.update(agents[first : first + 100])
        watched.rounds(timedelta(seconds=10))
    watched.rounds(2 * MINUTE)
    assert watched.told() == [("opened", "agent_silent", 300)]
    assert len(watched.open()) == 300
    recover(watched)
    assert watched.told()[1:] == [("resolved", "agent_silent", 300)]


def test_what_comes_and_goes_is_told_once(watched: Watched) -> None:
    fall_silent(watched)
    for _ in range(5):
        watched.silent.clear()
        watched.rounds(MINUTE)
        watched.silent.add(AGENT)
        watched.rounds(2 * MINUTE)
    assert watched.told() == [OPENED]
    assert len(service.history(watched.ledger, ROOT)) == 1


def test_what_is_over_before_anybody_was_told_is_recorded_and_not_told(watched: Watched) -> None:
    watched.restart(replace(HOOK, group=10 * MINUTE))
    fall_silent(watched)
    recover(watched)
    watched.rounds(20 * MINUTE)
    assert watched.told() == []
    assert len(service.history(watched.ledger, ROOT, closed=True)) == 1


def test_what_nobody_acknowledged_is_told_again_after_some_hours_and_all_of_it_at_once(watched: Watched) -> None:
    watched.enrol("scjg-02")
    watched.rounds(MINUTE)
    fall_silent(watched)
    watched.rounds(10 * MINUTE)
    fall_silent(watched, "scjg-02")
    assert watched.told() == [OPENED, OPENED]
    watched.rounds(4 * HOUR)
    watched.rounds(20 * MINUTE)
    assert watched.told()[2:] == [("reminder", "agent_silent", 2)]
    for one in service.open_alerts(watched.ledger, ROOT):
        service.acknowledge(watched.ledger, ROOT, one.id, "the street is dug up")
    watched.rounds(9 * HOUR)
    assert len(watched.told()) == 3
    recover(watched)
    assert watched.told()[3:] == [("resolved", "agent_silent", 2)]


def test_without_reminders_nothing_is_told_again(watched: Watched) -> None:
    watched.restart(replace(HOOK, remind=timedelta(0)))
    watched.rounds(MINUTE)
    fall_silent(watched)
    watched.rounds(24 * HOUR)
    assert watched.told() == [OPENED]


def test_what_becomes_worse_is_told_once_more(watched: Watched) -> None:
    watched.say(health={"outbox": {"bytes": 90, "cap_bytes": 100}})
    watched.rounds(5 * MINUTE)
    watched.say(health={"outbox": {"bytes": 100, "cap_bytes": 100, "full": True}})
    watched.rounds(2 * MINUTE)
    # and better and worse again: not a message each
    watched.say(health={"outbox": {"bytes": 90, "cap_bytes": 100, "full": False}})
    watched.rounds(2 * MINUTE)
    watched.say(health={"outbox": {"bytes": 100, "cap_bytes": 100, "full": True}})
    watched.rounds(2 * MINUTE)
    assert watched.told() == [("opened", "outbox_filling", 1), ("worse", "outbox_filling", 1)]


@pytest.mark.parametrize(("scope", "name"), [("all", ""), ("department", DEPARTMENT), ("agent", AGENT)])
def test_a_maintenance_window_silences_messages_and_not_the_record(watched: Watched, scope: str, name: str) -> None:
    service.open_window(watched.ledger, ROOT, scope, name, lasts=30 * MINUTE, why="the switch is exchanged")
    fall_silent(watched)
    (found,) = service.open_alerts(watched.ledger, ROOT)
    assert found.silenced
    watched.rounds(20 * MINUTE)
    assert watched.told() == []
    # what is still so when the window ends is told
    watched.rounds(15 * MINUTE)
    assert watched.told() == [OPENED]


def test_what_began_and_ended_in_maintenance_is_never_told_and_what_was_told_before_ends_when_the_window_does(
    watched: Watched,
) -> None:
    watched.enrol("scjg-02")
    watched.rounds(MINUTE)
    fall_silent(watched)
    window = service.open_window(watched.ledger, ROOT, "all", lasts=HOUR, why="x")
    fall_silent(watched, "scjg-02")
    recover(watched)
    watched.rounds(5 * MINUTE)
    assert watched.told() == [OPENED]
    service.close_window(watched.ledger, ROOT, window.id, "done early")
    watched.rounds(MINUTE)
    assert watched.told() == [OPENED, ("resolved", "agent_silent", 1)]


def test_a_window_of_another_agent_silences_nothing(watched: Watched) -> None:
    watched.enrol("scjg-02")
    watched.rounds(MINUTE)
    service.open_window(watched.ledger, ROOT, "agent", "scjg-02", lasts=HOUR, why="x")
    fall_silent(watched)
    assert watched.told() == [OPENED]


def test_each_channel_is_told_what_it_wants(watched: Watched) -> None:
    hook = WebhookSettings(url="https://hook.example/x", least="critical")
    mail = MailSettings(server="mail.example:25", departments=("民政局",))
    watched.enrol("mzj-01", department="民政局")
    watched.restart(AlertSettings(webhook=hook, mail=mail))
    watched.rounds(MINUTE)
    for agent in (AGENT, "mzj-01"):
        watched.say(agent, health={"outbox": {"bytes": 90, "cap_bytes": 100}})
    watched.rounds(5 * MINUTE)
    fall_silent(watched, AGENT, "mzj-01")
    watched.rounds(MINUTE)
    notes = [(one.channel, one.kind, len(alerts_of(watched, one.id))) for one in watched.ledger.notifications.listing()]
    assert sorted(notes) == [("mail", "agent_silent", 1), ("mail", "outbox_filling", 1), ("webhook", "agent_silent", 2)]


def test_what_an_agent_said_last_stays_while_it_is_silent(watched: Watched) -> None:
    watched.say(streams={STREAM: {"log_hours_left": 5.0}})
    watched.rounds(4 * MINUTE)
    assert watched.kinds() == {"log_loss_near"}
    fall_silent(watched)
    watched.rounds(10 * MINUTE)
    assert watched.kinds() == {"log_loss_near", "agent_silent"}
    # and of one that was not heard of since the collector came back, nothing new is believed
    watched.restart()
    watched.silent.add(AGENT)
    watched.rounds(timedelta(seconds=30))
    assert watched.kinds() == {"log_loss_near", "agent_silent"}
    watched.say(streams={STREAM: {"log_hours_left": 90.0}})
    recover(watched)
    assert watched.kinds() == set()


def test_a_collector_that_was_away_does_not_take_its_agents_for_silent(watched: Watched) -> None:
    watched.engine.stop()
    watched.clock.passes(2 * HOUR)
    watched.silent.add(AGENT)
    watched.engine = Engine(watched.ledger, watched.settings)
    watched.rounds(timedelta(seconds=50))
    assert watched.open() == {}
    watched.rounds(MINUTE)
    assert watched.kinds() == {"agent_silent"}


def test_a_collector_that_was_suspended_does_not_take_its_agents_for_silent(watched: Watched, clock: Clock) -> None:
    fall_silent(watched)
    watched.enrol("scjg-02")
    watched.rounds(MINUTE)
    clock.passes(timedelta(minutes=3))
    # it looks before anybody could come in
    watched.engine.look()
    assert set(watched.open()) == {("agent_silent", AGENT)}
    watched.rounds(4 * MINUTE)
    assert set(watched.open()) == {("agent_silent", AGENT)}
    assert watched.told() == [OPENED]


def test_of_two_processes_one_watches_and_the_other_goes_on_without_telling_twice(
    watched: Watched, clock: Clock
) -> None:
    other = Engine(watched.ledger, watched.settings)
    assert watched.engine.works()
    assert not other.works()
    fall_silent(watched)
    assert watched.told() == [OPENED]
    # the first one dies
    clock.passes(timedelta(seconds=31))
    assert other.works()
    assert not watched.engine.works()
    watched.engine = other
    watched.rounds(10 * MINUTE)
    assert watched.told() == [OPENED]
    recover(watched)
    assert watched.told() == [OPENED, ("resolved", "agent_silent", 1)]


def test_a_crash_while_messages_are_made_makes_none_twice_and_loses_none(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    from forebay_collector.ledger import alerts

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(alerts, "told", crash)
        with pytest.raises(KeyboardInterrupt):
            fall_silent(watched)
    assert watched.told() == []
    watched.restart()
    watched.rounds(2 * MINUTE)
    assert watched.told() == [OPENED]


def test_a_channel_that_is_switched_on_later_is_told_what_is_open(watched: Watched) -> None:
    watched.restart(AlertSettings())
    watched.rounds(MINUTE)
    fall_silent(watched)
    watched.rounds(HOUR)
    assert watched.told() == []
    watched.restart(HOOK)
    watched.silent.add(AGENT)
    watched.rounds(2 * MINUTE)
    assert watched.told() == [OPENED]


def test_a_quiet_round_writes_nothing_and_asks_a_number_of_questions_that_does_not_grow(watched: Watched) -> None:
    def questions() -> list[str]:
        asked: list[str] = []
        watched.clock.passes(timedelta(seconds=1))

        def note(_c: object, _cursor: object, statement: str, *_more: object) -> None:
            asked.append(statement)

        event.listen(watched.ledger.database.engine, "before_cursor_execute", note)
        try:
            watched.engine.look()
        finally:
            event.remove(watched.ledger.database.engine, "before_cursor_execute", note)
        return [one for one in asked if not one.startswith("BEGIN")]

    watched.rounds(timedelta(seconds=10))
    few = questions()
    for number in range(60):
        watched.enrol(f"b{number}")
        watched.say(f"b{number}", streams={replace(STREAM, table=f"t.{n}_{number}"): {} for n in range(3)})
    watched.engine.look()
    many = questions()
    assert len(many) == len(few) <= 16
    assert not [one for one in many if one.startswith(("INSERT", "UPDATE", "DELETE"))]


def alerts_of(watched: Watched, note: int) -> list[int]:
    return [
        one.id
        for one in watched.ledger.alerts.listing()
        if note in [each.id for each in watched.ledger.notifications.listing(alert_id=one.id)]
    ]
