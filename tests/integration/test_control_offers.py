"""Offers over real TLS: in stages, stopped at the first refusal, and given again to an agent that lost them."""

from __future__ import annotations

import json
import queue
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from forebay_collector.cli import main
from forebay_collector.errors import NotKnown, NotPermitted, NotPossible
from forebay_collector.service import configuration
from forebay_collector.service.actor import Actor, Role
from forebay_wire.v1 import control_pb2
from tests.integration.controlled import OPS, Controlled, answers, beat, beats, until
from tests.loading.control import HandAgent
from tests.loading.stage import AGENT
from tests.receiving.batches import DEPARTMENT

B, C = "scjg-02", "scjg-03"
TRIAL = timedelta(seconds=2)
SETTINGS: dict[str, Any] = {"collector.bandwidth": "1MiB/s", "source.db.poll_interval": "30s"}


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Controlled]:
    opened = Controlled(tmp_path / "collector")
    yield opened
    opened.close()


def offer(control: Controlled, *agents: str, staged: bool = True, settings: dict[str, Any] = SETTINGS) -> int:
    return configuration.offer(control.ledger, OPS, agents, settings, "by night", staged, TRIAL)


def standing(control: Controlled, number: int) -> tuple[str, dict[str, str]]:
    view = configuration.rollout(control.ledger, OPS, number)
    return view.state, {one.agent: one.state for one in view.offers}


def told(revision: int, outcome: str = "APPLIED", reason: str = "") -> dict[str, Any]:
    """What a heartbeat says of an offer."""
    state = control_pb2.OfferState(revision=revision, outcome=outcome, reason=reason)
    return {"offer": state, "offer_revision": revision if outcome == "APPLIED" else 0}


class Beating:
    """An agent's heartbeats, one after the other, every so often until it is well known to be healthy."""

    def __init__(self, agent: HandAgent) -> None:
        self.agent = agent
        self.number = 0

    def __call__(self, **more: Any) -> None:
        self.number += 1
        beats(self.agent, beat(self.number, {"t": "streaming"}, **more))


def kept_well(first: Beating, second: HandAgent) -> control_pb2.Command:
    """The first agent beats, until the second is sent a command."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        first(**told(1))
        try:
            return second.next(0.3).command
        except queue.Empty:
            continue
    raise AssertionError("it was sent nothing")


def test_one_agent_tries_it_and_the_rest_get_it_when_that_one_stayed_healthy(control: Controlled) -> None:
    first, second, third = (Beating(control.connect(name)) for name in (AGENT, B, C))
    for one in (first, second, third):
        one()
    number = offer(control, AGENT, B, C)
    command = answers(first.agent, "offer", effect="2 settings are in force")
    assert (command.offer.revision, json.loads(command.offer.settings)) == (1, SETTINGS)
    first(**told(1))
    until(lambda: standing(control, number)[1][AGENT] == "applied")
    applied = time.monotonic()
    command = kept_well(first, second.agent)
    assert time.monotonic() - applied >= TRIAL.total_seconds() - 0.1, "the rest waits for the trial"
    result = control_pb2.CommandResult(command_id=command.command_id, done=True)
    second.agent.say(result=result)
    assert answers(third.agent, "offer").offer.revision == command.offer.revision == 1
    until(lambda: standing(control, number) == ("done", dict.fromkeys((AGENT, B, C), "applied")))
    assert [entry.who for entry in control.ledger.audit.listing(action="offer")] == [OPS.name] * 3
    assert {entry.who for entry in control.ledger.audit.listing(action="offer applied")} == {AGENT, B, C}
    view = configuration.effective(control.ledger, OPS, AGENT)
    assert (view.revision, view.settings) == (1, SETTINGS)


def test_the_configuration_in_force_comes_with_the_answer_and_is_kept(control: Controlled) -> None:
    beating = Beating(control.connect())
    agent = beating.agent
    number = offer(control, AGENT)
    command = agent.next().command
    beating(**told(1))
    assert standing(control, number)[1] == {AGENT: "applied"}, "the heartbeat comes before the answer"
    told_so = json.dumps({"collector": {"bandwidth": "1MiB/s"}, "sources": ["登记库"]}, ensure_ascii=False).encode()
    for piece in (told_so[:20], told_so[20:]):
        agent.say(result=control_pb2.CommandResult(command_id=command.command_id, data=piece))
    agent.say(result=control_pb2.CommandResult(command_id=command.command_id, done=True, effect="in force"))
    until(lambda: configuration.effective(control.ledger, OPS, AGENT).configuration)
    view = configuration.effective(control.ledger, OPS, AGENT)
    assert view.configuration == {"collector": {"bandwidth": "1MiB/s"}, "sources": ["登记库"]}


def test_a_refusal_stops_it_and_the_rest_never_get_it(control: Controlled) -> None:
    first, second = Beating(control.connect()), control.connect(B)
    first()
    number = offer(control, AGENT, B)
    reason = "source.db.poll_interval: 1s is less than the file's 5s: it would widen. Offer 5s or more."
    answers(first.agent, "offer", code="FB-OFFER-REFUSED", reason=reason)
    first(**told(1, "FAILED", reason))
    until(lambda: standing(control, number) == ("stopped", {AGENT: "failed", B: "cancelled"}))
    assert second.quiet(1.5)
    assert reason in configuration.rollout(control.ledger, OPS, number).reason
    assert control.codes() == {"FB-OFFER-FAILED"}
    assert configuration.effective(control.ledger, OPS, AGENT).settings == {}
    assert control.ledger.audit.listing(action="roll-out stopped")[0].who == "collector"


def test_a_trial_waits_while_something_is_the_matter_that_was_not_before(control: Controlled) -> None:
    """The clock was wrong before: that is no reason to wait. That the configuration is refused came with the offer."""
    first, second = Beating(control.connect()), control.connect(B)
    late = int((time.time() - 60) * 1e6)
    first(sent_at_us=late)
    number = offer(control, AGENT, B)
    answers(first.agent, "offer")
    until(lambda: standing(control, number)[1][AGENT] == "applied")
    for _ in range(4):
        first(sent_at_us=late, configuration_refusal="a.toml: no", **told(1))
        assert second.quiet(0.8)
    waiting = configuration.rollout(control.ledger, OPS, number)
    assert (waiting.state, "FB-CONFIG-REFUSED" in waiting.reason) == ("trial", True)
    well = time.monotonic()
    while standing(control, number)[0] == "trial":
        first(sent_at_us=late, **told(1))
        time.sleep(0.3)
        assert time.monotonic() - well < 8
    assert time.monotonic() - well >= TRIAL.total_seconds() - 0.1, "its time begins again"
    answers(second, "offer")


def test_a_trial_that_falls_silent_lets_nobody_else_have_it(control: Controlled) -> None:
    first, second = Beating(control.connect()), control.connect(B)
    first()
    number = offer(control, AGENT, B)
    answers(first.agent, "offer")
    first(**told(1))
    first.agent.cut()
    assert second.quiet(TRIAL.total_seconds() + 3)
    view = configuration.rollout(control.ledger, OPS, number)
    assert (view.state, "FB-AGENT-SILENT" in view.reason) == ("trial", True)


def test_an_offer_finds_its_agent_when_it_comes_and_again_when_its_answer_was_lost(control: Controlled) -> None:
    control.connect().cut()
    number = offer(control, AGENT)
    agent = control.connect()
    assert agent.next().command.offer.revision == 1
    agent.cut()
    again = Beating(control.connect())
    assert again.agent.next().command.offer.revision == 1
    again(**told(1))
    until(lambda: standing(control, number) == ("done", {AGENT: "applied"}))


def test_an_agent_that_forgot_its_offer_is_given_it_again(control: Controlled) -> None:
    agent = Beating(control.connect())
    agent()
    number = offer(control, AGENT)
    answers(agent.agent, "offer")
    agent(**told(1))
    until(lambda: standing(control, number)[0] == "done")
    agent.agent.cut()
    fresh = Beating(control.connect())
    fresh()
    command = answers(fresh.agent, "offer")
    assert (command.offer.revision, json.loads(command.offer.settings)) == (1, SETTINGS)
    agent = Beating(control.connect())
    agent(**told(1))
    assert agent.agent.quiet(1.5), "what it has is not sent again"


def test_at_once_is_at_once_and_a_newer_offer_takes_the_place_of_an_open_one(control: Controlled) -> None:
    first, second = control.connect(), control.connect(B)
    number = offer(control, AGENT, B, staged=False)
    answers(first, "offer")
    assert second.next().command.offer.revision == 1
    newer = offer(control, B, settings={"collector.bandwidth": "2MiB/s"})
    assert answers(second, "offer").offer.revision == 2
    until(lambda: standing(control, newer)[0] == "done")
    until(lambda: standing(control, number) == ("done", {AGENT: "applied", B: "superseded"}))


def test_a_cancelled_roll_out_goes_no_further(control: Controlled) -> None:
    first, second = control.connect(), control.connect(B)
    number = offer(control, AGENT, B)
    answers(first, "offer")
    until(lambda: standing(control, number)[1][AGENT] == "applied")
    view = configuration.cancel(control.ledger, OPS, number, "mistyped")
    assert (view.state, view.reason) == ("cancelled", "mistyped")
    assert second.quiet(1.5)
    with pytest.raises(NotPossible):
        configuration.cancel(control.ledger, OPS, number, "again")


def test_a_trial_whose_agent_is_revoked_goes_on_with_the_next(control: Controlled) -> None:
    control.connect()
    second = control.connect(B)
    number = offer(control, AGENT, B)
    control.ledger.agents.revoke(AGENT, who="ops", why="stolen")
    answers(second, "offer")
    until(lambda: standing(control, number) == ("done", {AGENT: "cancelled", B: "applied"}))


def test_who_may_not_offers_nothing(control: Controlled) -> None:
    control.connect()
    control.connect("mzj-01", "民政局")
    viewer = Actor("看客", frozenset({Role.VIEWER}))
    theirs = Actor("民政", frozenset({Role.OPERATOR}), frozenset({"民政局"}))
    with pytest.raises(NotPermitted):
        configuration.offer(control.ledger, viewer, [AGENT], SETTINGS, "x")
    with pytest.raises(NotKnown):
        configuration.offer(control.ledger, theirs, ["mzj-01", AGENT], SETTINGS, "x")
    assert configuration.rollouts(control.ledger, OPS) == []
    number = offer(control, AGENT, "mzj-01")
    (seen,) = configuration.rollouts(control.ledger, theirs)
    assert [one.agent for one in seen.offers] == ["mzj-01"]
    mine = offer(control, AGENT)
    with pytest.raises(NotKnown):
        configuration.rollout(control.ledger, theirs, mine)
    with pytest.raises(NotKnown):
        configuration.effective(control.ledger, theirs, AGENT)
    assert number < mine


@pytest.mark.parametrize("settings", [{"a": float("nan")}, {"": 1}, {"a": object()}, {"a": "x" * 70_000}])
def test_what_is_no_setting_is_not_offered(control: Controlled, settings: dict[str, Any]) -> None:
    control.connect()
    with pytest.raises(NotPossible):
        configuration.offer(control.ledger, OPS, [AGENT], settings, "x")
    with pytest.raises(NotPossible):
        configuration.offer(control.ledger, OPS, [], SETTINGS, "x")


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(control: Controlled, capsys: pytest.CaptureFixture[str]) -> Run:
    def running(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["--data", str(control.stage.settings.folder), *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return running


def test_the_command_line_offers_and_tells_what_became_of_it(control: Controlled, run: Run, tmp_path: Path) -> None:
    agent = control.connect()
    settings = ["--set", "collector.bandwidth=1MiB/s", "--set", "collector.window=3", "--set", "source.db.paused=true"]
    code, out, _ = run("offer", "make", AGENT, *settings, "--reason", "by night", "--json")
    assert code == 0
    assert json.loads(out)["settings"] == {
        "collector.bandwidth": "1MiB/s",
        "collector.window": 3,
        "source.db.paused": True,
    }
    answers(agent, "offer", effect="in force")
    code, out, _ = run("offer", "status", "1", "--wait", "10s")
    assert (code, out.splitlines()[0]) == (0, "roll-out 1: done")
    path = tmp_path / "night.json"
    path.write_text(json.dumps(SETTINGS))
    assert run("offer", "make", "--all", "--file", str(path), "--at-once", "--reason", "x")[0] == 0
    answers(agent, "offer", code="FB-OFFER-REFUSED", reason="it would widen")
    code, out, _ = run("offer", "status", "2", "--wait", "10s")
    assert code == 1
    assert "it would widen" in out
    assert [row["state"] for row in json.loads(run("offer", "list", "--json")[1])] == ["stopped", "done"]
    assert run("offer", "make", AGENT, "--clear", "--reason", "x")[0] == 0
    assert json.loads(answers(agent, "offer").offer.settings) == {}
    code, _, err = run("offer", "cancel", "1", "--reason", "x")
    assert code == 5
    assert "ended already" in err
    assert run("offer", "status", "99")[0] == 1
    path.write_text("[1]")
    assert run("offer", "make", AGENT, "--file", str(path), "--reason", "x")[0] == 5


def test_the_command_line_shows_one_agent_whole(control: Controlled, run: Run) -> None:
    agent = Beating(control.connect())
    canary = control_pb2.CanaryState(source="db", kind="row", made_at_us=5, loaded_at_us=9, round_trip_us=1_500_000)
    agent(canaries=[canary], configuration_hash="abc123")
    offer(control, AGENT)
    answers(agent.agent, "offer")
    agent(canaries=[canary], configuration_hash="abc123", **told(1))
    code, out, _ = run("agents", "show", AGENT)
    assert code == 0
    assert "abc123" in out
    assert f"{DEPARTMENT}/db/main.t" in out
    assert "1.5 s" in out
    shown = json.loads(run("agents", "show", AGENT, "--json")[1])
    assert (shown["state"], shown["offer_in_force"], shown["settings_offered"]) == ("green", 1, SETTINGS)
    assert shown["stream_states"][0]["colour"] == "green"
    assert run("agents", "show", "nobody")[0] == 1
