"""Control over real TLS: who may come in, what the ledger learns, and commands that cross from another process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from forebay_collector.control import ask, service
from forebay_collector.control.ask import Asking
from forebay_collector.errors import AgentUnreachable, CommandFailed
from forebay_collector.identity import admission
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2
from tests.loading.control import ControlServer, HandAgent
from tests.loading.stage import AGENT, Stage
from tests.receiving.batches import DEPARTMENT
from tests.receiving.collector import enrolled

DRAIN = control_pb2.Command(drain=control_pb2.Drain(timeout_seconds=5))


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    opened = Stage(tmp_path / "collector")
    yield opened
    opened.close()


@pytest.fixture
def server(stage: Stage) -> Iterator[ControlServer]:
    with ControlServer(stage.settings, stage.ledger) as running:
        yield running


@pytest.fixture
def connect(stage: Stage, server: ControlServer) -> Iterator[Callable[..., HandAgent]]:
    made: list[HandAgent] = []

    def connecting(agent: str = AGENT, *, enrol: bool = True, life: timedelta = timedelta(days=1)) -> HandAgent:
        if enrol:
            connecting.credentials = enrolled(stage.settings, stage.ledger, agent, DEPARTMENT, life)  # type: ignore[attr-defined]
        made.append(HandAgent(server.address, connecting.credentials))  # type: ignore[attr-defined]
        return made[-1]

    yield connecting
    for one in made:
        one.cut()


def asking(stage: Stage, agent: str = AGENT, takes: timedelta = timedelta(seconds=20)) -> Asking:
    return Asking(stage.ledger.commands, agent, "ops", lambda: int(time.time() * 1e6), takes=takes)


def beat(number: int, **more: Any) -> control_pb2.Heartbeat:
    return control_pb2.Heartbeat(
        number=number,
        sent_at_us=int(time.time() * 1e6),
        health=control_pb2.Health(cpu_percent=3.5, disk_free_bytes=1 << 33),
        outbox=control_pb2.OutboxState(batches=2, bytes=1024),
        streams=[
            control_pb2.StreamState(
                stream=StreamName(DEPARTMENT, "db", "main.t").to_proto(), epoch=1, mode="cursor", state="streaming"
            )
        ],
        **more,
    )


def state_of(stage: Stage, number: str) -> str:
    record = stage.ledger.commands.get(number)
    assert record is not None
    return record.state


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_hello_and_heartbeats_stand_in_the_ledger_and_are_acknowledged(
    stage: Stage, connect: Callable[..., HandAgent]
) -> None:
    agent = connect()
    welcome = agent.hello(AGENT, version="9.9")
    assert welcome.heartbeat_interval_ms == 1_500
    assert abs(welcome.collector_time_us / 1e6 - time.time()) < 5
    agent.say(heartbeat=beat(7, configuration_refusal="x.toml: tabel: no such setting"))
    assert agent.next().heartbeat_ack.number == 7
    record = stage.ledger.agents.get(AGENT)
    assert record is not None
    assert (record.version, record.hostname) == ("9.9", "appliance")
    assert record.health["disk_free_bytes"] == 1 << 33
    assert record.health["outbox"]["batches"] == 2
    assert record.health["configuration_refusal"] == "x.toml: tabel: no such setting"
    assert abs(record.health["clock_offset_us"]) < 5_000_000
    (stream,) = stage.ledger.agents.streams()[AGENT]
    assert (stream["stream"], stream["mode"], stream["state"]) == (f"{DEPARTMENT}/db/main.t", "cursor", "streaming")
    assert time.time() - record.last_seen_at / 1e6 < 5


def test_an_answer_in_parts_crosses_to_whoever_asked(stage: Stage, connect: Callable[..., HandAgent]) -> None:
    agent = connect()
    agent.hello(AGENT)
    answer = asking(stage)(DRAIN)
    results: list[control_pb2.CommandResult] = []

    def serve() -> None:
        command = agent.next().command
        assert command.drain.timeout_seconds == 5
        for rows in range(40):
            agent.say(result=control_pb2.CommandResult(command_id=command.command_id, rows=rows))
        agent.say(result=control_pb2.CommandResult(command_id=command.command_id, done=True, rows=99))

    thread = threading.Thread(target=serve)
    thread.start()
    results += answer
    thread.join()
    assert [part.rows for part in results] == [*range(40), 99]
    assert stage.ledger.commands.parts(results[0].command_id, 0) == [], "the parts are gone once they are read"


def test_a_command_is_delivered_once_and_quickly(stage: Stage, connect: Callable[..., HandAgent]) -> None:
    agent = connect()
    agent.hello(AGENT)
    began = time.monotonic()
    stage.ledger.commands.ask(AGENT, DRAIN, "ops", timedelta(seconds=10))
    assert agent.next().WhichOneof("kind") == "command"
    assert time.monotonic() - began < 2
    assert agent.quiet(1)


def test_what_the_agent_cannot_do_comes_back_with_its_reason(stage: Stage, connect: Callable[..., HandAgent]) -> None:
    agent = connect()
    agent.hello(AGENT)
    commands = stage.ledger.commands
    number = commands.ask(AGENT, DRAIN, "ops", timedelta(seconds=10))
    assert agent.next().command.command_id == number
    failed = control_pb2.CommandResult(command_id=number, done=True, code="FB-SOURCE-UNREACHABLE", reason="no route")
    agent.say(result=failed)
    until(lambda: state_of(stage, number) == "failed")
    state = stage.ledger.commands.get(number)
    assert state is not None
    assert (state.code, state.reason) == ("FB-SOURCE-UNREACHABLE", "no route")


def test_an_agent_that_is_not_there_is_unreachable_and_the_command_is_not_left_behind(
    stage: Stage, connect: Callable[..., HandAgent], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask, "PICKED_UP_WITHIN", timedelta(milliseconds=400))
    connect().hello(AGENT)
    with pytest.raises(AgentUnreachable, match="not connected"):
        list(asking(stage, "mzj-01")(DRAIN))
    late = connect("mzj-01")
    late.hello("mzj-01")
    assert late.quiet(1), "what nobody waits for any more is not sent"


def test_an_agent_that_goes_away_fails_what_it_was_sent(stage: Stage, connect: Callable[..., HandAgent]) -> None:
    agent = connect()
    agent.hello(AGENT)
    answer = asking(stage)(DRAIN)

    def take_and_go() -> None:
        agent.next()
        agent.cut()

    thread = threading.Thread(target=take_and_go)
    thread.start()
    with pytest.raises(AgentUnreachable, match="connection ended"):
        list(answer)
    thread.join()


def test_a_silent_answer_ends_when_its_time_is_over(stage: Stage, connect: Callable[..., HandAgent]) -> None:
    connect().hello(AGENT)
    with pytest.raises(CommandFailed, match="longer than"):
        list(asking(stage, takes=timedelta(seconds=1))(DRAIN))


def test_an_answer_beyond_the_limit_fails_the_command(
    stage: Stage, connect: Callable[..., HandAgent], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "ANSWER_BYTES", 1_000)
    agent = connect()
    agent.hello(AGENT)
    commands = stage.ledger.commands
    number = commands.ask(AGENT, DRAIN, "ops", timedelta(seconds=10))
    agent.next()
    for _ in range(3):
        agent.say(result=control_pb2.CommandResult(command_id=number, reason="x" * 600))
    until(lambda: state_of(stage, number) == "failed")
    state = commands.get(number)
    assert state is not None
    assert "longer" in state.reason


def test_nobody_answers_another_agents_command(stage: Stage, connect: Callable[..., HandAgent]) -> None:
    agent = connect()
    agent.hello(AGENT)
    commands = stage.ledger.commands
    number = commands.ask(AGENT, DRAIN, "ops", timedelta(seconds=10))
    agent.next()
    other = connect("mzj-01")
    other.hello("mzj-01")
    other.say(result=control_pb2.CommandResult(command_id=number, done=True, rows=666))
    other.say(heartbeat=beat(1))
    other.next()
    assert state_of(stage, number) == "sent"
    assert commands.parts(number, 0) == []


def test_of_two_connections_the_newer_gets_the_commands(stage: Stage, connect: Callable[..., HandAgent]) -> None:
    old = connect()
    old.hello(AGENT)
    new = connect(enrol=False)
    new.hello(AGENT)
    with pytest.raises((EOFError, grpc.RpcError)):
        old.next()
    old.cut()
    stage.ledger.commands.ask(AGENT, DRAIN, "ops", timedelta(seconds=10))
    assert new.next().WhichOneof("kind") == "command"


@pytest.mark.parametrize("wrong", ["another agent's hello", "protocol", "no hello", "expired", "revoked", "replaced"])
def test_who_may_not_come_in_is_refused(stage: Stage, server: ControlServer, wrong: str) -> None:
    life = timedelta(seconds=-1) if wrong == "expired" else timedelta(days=1)
    credentials = enrolled(stage.settings, stage.ledger, AGENT, life=life)
    if wrong == "revoked":
        stage.ledger.agents.revoke(AGENT, who="ops", why="x")
    if wrong == "replaced":
        enrolled(stage.settings, stage.ledger, AGENT)
    agent = HandAgent(server.address, credentials)
    if wrong == "no hello":
        agent.say(heartbeat=beat(1))
    name = "mzj-01" if wrong == "another agent's hello" else AGENT
    with pytest.raises(grpc.RpcError) as refused:
        agent.hello(name, protocol=99 if wrong == "protocol" else 1)
    agent.cut()
    expected = grpc.StatusCode.UNAVAILABLE if wrong == "expired" else grpc.StatusCode.UNAUTHENTICATED
    assert refused.value.code() is expected
    record = stage.ledger.agents.get(AGENT)
    assert record is not None
    assert record.last_seen_at == 0


def test_a_revoked_agent_is_cut_off_within_seconds(
    stage: Stage, connect: Callable[..., HandAgent], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert admission.RECHECK_S <= 10
    agent = connect()
    agent.hello(AGENT)
    stage.ledger.agents.revoke(AGENT, who="ops", why="stolen")
    with pytest.raises(grpc.RpcError) as refused:
        agent.next(5)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_answers_that_nobody_fetches_are_tidied_away(stage: Stage) -> None:
    commands = stage.ledger.commands
    number = commands.ask(AGENT, DRAIN, "ops", timedelta(milliseconds=1))
    time.sleep(0.01)
    commands.tidy()
    assert state_of(stage, number) == "cancelled"
    answered = commands.ask(AGENT, DRAIN, "ops", timedelta(seconds=9))
    commands.take([AGENT])
    assert commands.answer(AGENT, control_pb2.CommandResult(command_id=answered, done=True))
    commands.tidy()
    assert len(commands.parts(answered, 0)) == 1
    commands.tidy(older=timedelta(0))
    assert commands.parts(answered, 0) == []
