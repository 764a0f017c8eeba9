"""Messages are sent in order, again until they arrive but not for ever, and a restart loses none."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from forebay_collector.alerts.sender import ATTEMPTS, LONGEST_PAUSE, Sender
from forebay_collector.alerts.settings import AlertSettings, WebhookSettings, WecomSettings
from forebay_collector.errors import LedgerUnavailable, NotKnown, NotPermitted, NotSent
from forebay_collector.ledger import Ledger, notifications
from forebay_collector.ledger.notifications import FAILED, SENDING, SENT, WAITING
from forebay_collector.service import notifications as service
from forebay_collector.service.actor import Actor, Role
from tests.alerting.fleet import AGENT, Clock, Watched
from tests.alerting.hooks import OK, HookServer

ROOT = Actor.local("root")
MINUTE = timedelta(minutes=1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server() -> Iterator[HookServer]:
    with HookServer() as running:
        yield running


@pytest.fixture
def watched(tmp_path: Path, clock: Clock, server: HookServer) -> Iterator[Watched]:
    """An agent has fallen silent and come back: two messages wait."""
    ledger = Ledger.open(tmp_path / "ledger.db", clock)
    made = Watched(ledger, clock, AlertSettings(webhook=WebhookSettings(url=f"{server.address}/x")))
    made.enrol()
    made.rounds(MINUTE)
    made.silent.add(AGENT)
    made.rounds(2 * MINUTE)
    made.silent.clear()
    made.rounds(4 * MINUTE)
    yield made
    ledger.close()


@pytest.fixture
def sender(watched: Watched, tmp_path: Path) -> Iterator[Sender]:
    made = Sender(watched.ledger, "webhook", watched.settings, tmp_path, lambda: True)
    yield made
    made.close()


def states(watched: Watched) -> list[str]:
    return [note.state for note in watched.ledger.notifications.listing()[::-1]]


def said(server: HookServer) -> list[tuple[int, str]]:
    return [(one["id"], one["what"]) for one in (json.loads(posted.body) for posted in server.posted)]


def test_messages_arrive_in_order_and_each_once(watched: Watched, sender: Sender, server: HookServer) -> None:
    for _ in range(5):
        sender.step()
    assert said(server) == [(1, "opened"), (2, "resolved")]
    assert states(watched) == [SENT, SENT]
    assert json.loads(server.posted[1].body)["alerts"][0]["closed_at"] is not None


def test_what_does_not_arrive_is_sent_again_after_growing_pauses_and_the_next_waits_for_it(
    watched: Watched, sender: Sender, server: HookServer, clock: Clock
) -> None:
    server.answer = lambda _: (503, b"", {})
    sender.step()
    for pause in (10, 20, 40):
        clock.passes(timedelta(seconds=pause - 1))
        sender.step()
        before = len(server.posted)
        clock.passes(timedelta(seconds=2))
        sender.step()
        assert len(server.posted) == before + 1
    assert said(server) == [(1, "opened")] * 4
    assert states(watched) == [WAITING, WAITING]
    (told,) = service.channels(watched.ledger, ROOT, watched.settings)
    assert (told.state, told.outcome, told.attempts, told.waiting, told.last_sent_at) == (WAITING, "HTTP 503", 4, 2, 0)
    server.answer = lambda _: OK
    clock.passes(LONGEST_PAUSE)
    sender.step()
    sender.step()
    assert said(server)[4:] == [(1, "opened"), (2, "resolved")]
    assert states(watched) == [SENT, SENT]


def test_after_many_attempts_a_message_is_given_up_and_the_next_has_its_turn(
    watched: Watched, sender: Sender, server: HookServer, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    server.answer = lambda posted: (500, b"", {}) if b'"what": "opened"' in posted.body else OK
    with caplog.at_level(logging.ERROR):
        for _ in range(ATTEMPTS):
            sender.step()
            clock.passes(LONGEST_PAUSE + MINUTE)
    assert len(server.posted) == ATTEMPTS
    assert "given_up=True" in caplog.text
    sender.step()
    assert states(watched) == [FAILED, SENT]


def test_a_process_that_is_killed_while_it_sends_loses_nothing_and_the_receiver_can_tell_what_came_twice(
    watched: Watched, sender: Sender, server: HookServer, tmp_path: Path
) -> None:
    processes: list[subprocess.Popen[bytes]] = []

    def kill_before_the_answer(_: object) -> Any:
        processes[0].kill()
        processes[0].wait()
        return OK

    server.answer = kill_before_the_answer
    command = [sys.executable, "-m", "tests.alerting.sending_process", str(tmp_path / "ledger.db"), str(tmp_path)]
    # the one who is killed has no clock of this test: what is due here is due there
    processes.append(subprocess.Popen([*command, watched.settings.webhook.url], cwd=Path(__file__).parents[2]))
    assert processes[0].wait(60) == -9
    assert states(watched) == [SENDING, WAITING]
    server.answer = lambda _: OK
    sender.step()
    sender.step()
    assert said(server) == [(1, "opened"), (1, "opened"), (2, "resolved")]
    assert [posted.headers["forebay-notification"] for posted in server.posted] == ["1", "1", "2"]
    assert states(watched) == [SENT, SENT]


def test_a_collector_that_logs_everything_logs_no_address_and_no_key(
    watched: Watched, server: HookServer, tmp_path: Path
) -> None:
    url = f"{server.address}/send?key=693a91f6-7xxx-4bc4"
    command = [sys.executable, "-m", "tests.alerting.sending_process", str(tmp_path / "ledger.db"), str(tmp_path), url]
    ended = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60, check=True
    )
    assert server.posted[0].path == "/send?key=693a91f6-7xxx-4bc4"
    assert "notification sent channel=webhook" in ended.stderr
    for hidden in ("693a91f6", "/send", server.address):
        assert hidden not in ended.stderr + ended.stdout


def test_what_was_sent_and_could_not_be_noted_is_noted_later_and_not_sent_again(
    watched: Watched, sender: Sender, server: HookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_ledger(*_: object, **__: object) -> None:
        raise LedgerUnavailable

    with monkeypatch.context() as patched:
        patched.setattr(watched.ledger.notifications, "end", no_ledger)
        sender.step()
        sender.step()
    assert states(watched) == [SENDING, WAITING]
    sender.step()
    sender.step()
    assert said(server) == [(1, "opened"), (2, "resolved")]
    assert states(watched) == [SENT, SENT]


def test_a_process_that_does_not_watch_sends_nothing(watched: Watched, server: HookServer, tmp_path: Path) -> None:
    Sender(watched.ledger, "webhook", watched.settings, tmp_path, lambda: False).step()
    assert server.posted == []


def test_a_file_that_is_missing_hinders_one_channel_until_it_is_there(
    watched: Watched, server: HookServer, tmp_path: Path, clock: Clock
) -> None:
    settings = AlertSettings(wecom=WecomSettings(robot="wecom.robot"))
    sender = Sender(watched.ledger, "wecom", settings, tmp_path, lambda: True)
    with watched.ledger.database.write() as connection:
        notifications.put(connection, "wecom", notifications.OPENED, "agent_silent", [1], clock())
    sender.step()
    (told,) = service.channels(watched.ledger, ROOT, settings)
    assert told.outcome == "alerts.wecom.robot: wecom.robot: No such file or directory"
    (tmp_path / "wecom.robot").write_text(f"{server.address}/send?key=0123456789")
    clock.passes(MINUTE)
    sender.step()
    (told,) = service.channels(watched.ledger, ROOT, settings)
    assert (told.state, told.outcome) == (SENT, "errcode 0: ok")
    sender.close()


def test_a_channel_is_tried_by_whoever_operates_everything_and_the_audit_says_so(
    watched: Watched, server: HookServer, tmp_path: Path
) -> None:
    def tried(actor: Actor = ROOT, name: str = "webhook") -> str:
        return service.test(watched.ledger, actor, name, watched.settings, tmp_path)

    assert tried() == "HTTP 200"
    assert json.loads(server.posted[0].body)["what"] == "test"
    server.answer = lambda _: (403, b"", {})
    with pytest.raises(NotSent, match="HTTP 403"):
        tried()
    (told,) = service.channels(watched.ledger, ROOT, watched.settings)
    assert (told.state, told.outcome) == (FAILED, "HTTP 403")
    scoped = Actor("sj", frozenset({Role.OPERATOR}), frozenset({"市监局"}))
    for actor, name, error in (
        (Actor("seer", frozenset({Role.VIEWER})), "webhook", NotPermitted),
        (scoped, "webhook", NotPermitted),
        (ROOT, "mail", NotKnown),
    ):
        with pytest.raises(error):
            tried(actor, name)
    assert len(watched.ledger.audit.listing(action=service.TESTED)) == 2
    # what is tried is nobody's turn
    assert states(watched)[:2] == [WAITING, WAITING]


def test_whoever_sees_one_department_sees_the_channels_that_tell_of_it(watched: Watched) -> None:
    settings = AlertSettings(
        webhook=WebhookSettings(url="https://a.example", departments=("市监局", "民政局")),
        wecom=WecomSettings(robot="x", departments=("公安局",)),
    )
    scoped = Actor("sj", frozenset({Role.OPERATOR}), frozenset({"市监局"}))
    (seen,) = service.channels(watched.ledger, scoped, settings)
    assert (seen.name, seen.departments) == ("webhook", ("市监局",))
    assert [one.name for one in service.channels(watched.ledger, ROOT, settings)] == ["webhook", "wecom"]
