"""Heartbeats over real TLS: deltas, groups, health over time, canaries, and who is cut off."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from sqlalchemy import event

from forebay_collector.control import connection, recorder
from forebay_collector.ledger import places
from forebay_collector.service import fleet
from forebay_collector.service.stream_standing import Colour
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2, control_pb2_grpc
from tests.integration.controlled import OPS, Controlled, beat, beats, until
from tests.loading.control import HEARTBEAT
from tests.loading.stage import AGENT
from tests.receiving.batches import DEPARTMENT


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Controlled]:
    opened = Controlled(tmp_path / "collector")
    yield opened
    opened.close()


@contextmanager
def locked(control: Controlled) -> Iterator[None]:
    """Meanwhile another process writes into the ledger, and nobody else can."""
    other = sqlite3.connect(control.stage.settings.data.ledger, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("COMMIT")
        other.close()


def test_only_what_changed_is_told_and_the_rest_stays_known(control: Controlled) -> None:
    agent = control.connect()
    beats(agent, beat(1, {"a": "snapshot", "b": "streaming", "c": "streaming"}))
    beats(agent, beat(2, since=1))
    assert control.streams() == {"a": "snapshot", "b": "streaming", "c": "streaming"}
    gone = [StreamName(DEPARTMENT, "db", "main.c").to_proto()]
    beats(agent, beat(3, {"a": "streaming", "d": "starting"}, since=2, gone=gone))
    assert control.streams() == {"a": "streaming", "b": "streaming", "d": "starting"}
    beats(agent, beat(4, {"a": "waiting"}))
    assert control.streams() == {"a": "waiting"}
    assert agent.quiet(0.5)


def test_what_changed_since_an_older_heartbeat_attaches_too(control: Controlled) -> None:
    """The acknowledgement of 2 was on its way when the agent made 3."""
    agent = control.connect()
    beats(agent, beat(1, {"a": "starting"}))
    beats(agent, beat(2, {"b": "starting"}, since=1))
    beats(agent, beat(3, {"a": "streaming", "b": "starting"}, since=1))
    assert control.streams() == {"a": "streaming", "b": "starting"}


@pytest.mark.parametrize("known", [False, True], ids=["nothing is known", "a collector that lost its memory"])
def test_a_heartbeat_whose_base_is_not_known_asks_for_everything(control: Controlled, known: bool) -> None:
    agent = control.connect()
    if known:
        beats(agent, beat(1, {"a": "streaming"}))
        agent.cut()
        agent = control.connect()
    beats(agent, beat(8, {"b": "held"}, since=1))
    assert agent.next().command.WhichOneof("kind") == "report_all"
    assert control.streams() == ({"a": "streaming"} if known else {}), "the streams of a part are not taken for all"
    assert control.view().last_seen_at > 0
    assert control.view().health["disk_free_bytes"] == 1 << 33, "its health is taken"
    beats(agent, beat(9, {"b": "streaming"}))
    beats(agent, beat(10, {"c": "streaming"}, since=9))
    assert control.streams() == {"b": "streaming", "c": "streaming"}


def test_heartbeats_that_come_together_are_one_commit_and_heard_within_a_second(control: Controlled) -> None:
    agents = [control.connect(f"agent-{number:02}") for number in range(30)]
    for agent in agents:
        agent.say(heartbeat=beat(1, {"t": "streaming"}))
    for agent in agents:
        assert agent.next().heartbeat_ack.number == 1
    commits: list[float] = []
    event.listen(control.ledger.database.engine, "commit", lambda _: commits.append(time.monotonic()))
    began = time.monotonic()
    for agent in agents:
        agent.say(heartbeat=beat(2, since=1))
    for agent in agents:
        assert agent.next().heartbeat_ack.number == 2
    took = time.monotonic() - began
    assert took < recorder.EVERY_S + 0.6
    assert 1 <= len([at for at in commits if at <= began + took]) <= 3


def test_a_heartbeat_is_acknowledged_only_when_it_is_on_disk(control: Controlled) -> None:
    agent = control.connect()
    beats(agent, beat(1))
    with locked(control):
        agent.say(heartbeat=beat(2, {"a": "streaming"}, since=1))
        assert agent.quiet(1.5)
        assert control.streams() == {}
    assert agent.next().heartbeat_ack.number == 2
    assert control.streams() == {"a": "streaming"}


def test_an_agent_that_tells_of_another_department_is_refused_and_harms_nobody_else(control: Controlled) -> None:
    wrong, right = control.connect(), control.connect("mzj-01")
    stream = StreamName("民政局", "db", "main.t").to_proto()
    wrong.say(heartbeat=beat(1, streams=[control_pb2.StreamState(stream=stream, state="streaming")]))
    right.say(heartbeat=beat(1, {"a": "streaming"}))
    assert right.next().heartbeat_ack.number == 1
    with pytest.raises(grpc.RpcError) as refused:
        wrong.next()
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert control.streams() == {}
    assert control.streams("mzj-01") == {"a": "streaming"}


def test_numbers_and_texts_that_no_database_takes_are_bounded(control: Controlled) -> None:
    agent = control.connect(instance="i\0", hostname="h\0" * 300)
    most = 2**64 - 1
    hostile = beat(
        1,
        sent_at_us=-(2**63),
        health=control_pb2.Health(cpu_percent=float("nan"), load_1m=float("inf"), memory_total_bytes=most),
        outbox=control_pb2.OutboxState(batches=most, bytes=most, cap_bytes=most),
        canaries=[control_pb2.CanaryState(source="s\0" * 5_000, round_trip_us=most, made_at_us=-(2**63))],
        offer=control_pb2.OfferState(revision=most, outcome="APPLIED", reason="x" * 100_000),
        configuration_refusal="\0" * 10_000,
    )
    beats(agent, hostile)
    view = control.view()
    assert len(view.canaries[0].source) <= 2_000
    assert control.ledger.history.samples(AGENT, 0)[0].outbox_bytes == 2**62


def test_health_over_time_has_the_figures_of_the_heartbeats(control: Controlled) -> None:
    agent = control.connect()
    health = control_pb2.Health(
        cpu_percent=12.34,
        load_1m=1.5,
        memory_total_bytes=1_000,
        memory_available_bytes=250,
        disk_free_bytes=7,
        agent_rss_bytes=9,
    )
    canaries = [control_pb2.CanaryState(source="db", kind="row", made_at_us=5, loaded_at_us=9, round_trip_us=1_500_000)]
    beats(
        agent,
        beat(
            1, {"a": "streaming"}, health=health, outbox=control_pb2.OutboxState(batches=2, bytes=99), canaries=canaries
        ),
    )
    beats(agent, beat(2, since=1))
    samples = fleet.health(control.ledger, OPS, AGENT, 0)
    assert len({sample.at for sample in samples}) == len(samples) <= 2, "one a minute"
    first = samples[0]
    assert first.at % 60_000_000 == 0
    assert (first.cpu_permille, first.load_percent, first.memory_used_permille) == (123, 150, 750)
    assert (first.disk_free, first.agent_rss, first.outbox_batches, first.outbox_bytes) == (7, 9, 2, 99)
    assert (first.round_trip, first.streams_troubled) == (1_500_000, 0)
    assert abs(first.clock_offset) < 5_000_000
    (canary,) = control.view().canaries
    assert (canary.source, canary.round_trip_us) == ("db", 1_500_000)


def test_the_collector_says_how_often_to_beat_and_tells_silence_by_that(control: Controlled) -> None:
    agent = control.connect()
    beats(agent, beat(1, {"a": "streaming"}))
    assert control.view().heartbeat_ms == HEARTBEAT.total_seconds() * 1_000
    assert control.view().state is Colour.GREEN
    agent.cut()
    began = time.monotonic()
    until(lambda: control.view().state is Colour.RED)
    assert time.monotonic() - began < 2 * HEARTBEAT.total_seconds() + 1
    assert control.codes() == {"FB-AGENT-SILENT"}
    agent = control.connect()
    beats(agent, beat(1, {"a": "streaming"}))
    assert control.view().state is Colour.GREEN


def test_a_connection_that_ended_is_known_to_have_ended(control: Controlled) -> None:
    agent = control.connect()
    assert control.view().connected_since > 0
    agent.cut()
    until(lambda: control.view().connected_since == 0)


def test_a_call_that_ends_while_its_hello_is_recorded_leaves_no_agent_connected(control: Controlled) -> None:
    control.connect().cut()
    until(lambda: control.view().connected_since == 0)
    before = control.view().last_seen_at
    hello = control_pb2.AgentHello(agent=AGENT, protocol=1, instance="i")
    channel = control._credentials[AGENT].channel(control.server.address)
    with locked(control):
        call = control_pb2_grpc.ControlServiceStub(channel).Control(
            _then_wait(iter([control_pb2.ControlRequest(hello=hello)]))
        )
        time.sleep(1)
        call.cancel()
        time.sleep(0.5)
    channel.close()
    until(lambda: control.view().last_seen_at > before)
    until(lambda: control.view().connected_since == 0)
    assert control.server.servicer.connections == 0


def test_a_revoked_agent_is_cut_off_within_a_heartbeat(control: Controlled) -> None:
    agent, other = control.connect(), control.connect("mzj-01")
    beats(agent, beat(1))
    control.ledger.agents.revoke(AGENT, who="ops", why="stolen")
    began = time.monotonic()
    with pytest.raises(grpc.RpcError) as refused:
        agent.next(5)
    assert time.monotonic() - began < HEARTBEAT.total_seconds()
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert control.view().state is Colour.REVOKED
    with pytest.raises(grpc.RpcError):
        control.connect()
    beats(other, beat(1))


def test_one_identity_in_two_places_is_an_alarm(control: Controlled) -> None:
    first = control.connect(instance="one", hostname="appliance")
    beats(first, beat(1))
    second = control.connect(instance="two", hostname="laptop")
    beats(second, beat(1))
    with pytest.raises((EOFError, grpc.RpcError)):
        first.next()
    assert control.codes() == set(), "an agent that was moved is no alarm"
    back = control.connect(instance="one", hostname="appliance")
    beats(back, beat(1))
    assert control.codes() == {"FB-IDENTITY-TWO-PLACES"}
    assert control.view().state is Colour.RED
    (entry,) = control.ledger.audit.listing(action=places.ACTION)
    assert [place["hostname"] for place in entry.detail["places"]] == ["appliance", "laptop"]
    assert {place["peer"] for place in entry.detail["places"]} == {"127.0.0.1"}


def test_a_connection_whose_agent_came_in_at_another_collector_ends(control: Controlled) -> None:
    agent = control.connect(instance="here")
    with control.ledger.database.write() as written:
        written.exec_driver_sql("UPDATE agent SET instance = 'elsewhere'")
    with pytest.raises(grpc.RpcError) as ended:
        agent.next(5)
    assert ended.value.code() is grpc.StatusCode.ABORTED


def test_an_agent_that_takes_nothing_holds_up_nobody(control: Controlled, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "SEND_S", 1.0)
    control.connect().cut()
    requests = iter([control_pb2.ControlRequest(hello=control_pb2.AgentHello(agent=AGENT, protocol=1, instance="i"))])
    channel = control._credentials[AGENT].channel(control.server.address)
    hold = control_pb2_grpc.ControlServiceStub(channel).Control(_then_wait(requests))
    try:
        until(lambda: control.view().connected_since > 0)
        other = control.connect("mzj-01")
        large = control_pb2.Command(pause=control_pb2.Pause(reason="x" * 1_000_000))
        numbers = [control.ledger.commands.ask(AGENT, large, "ops", HEARTBEAT * 10) for _ in range(12)]
        control.ledger.commands.ask("mzj-01", control_pb2.Command(reload=control_pb2.Reload()), "ops", HEARTBEAT)
        began = time.monotonic()
        assert other.next().command.WhichOneof("kind") == "reload"
        assert time.monotonic() - began < 3
        until(lambda: "failed" in {control.ledger.commands.get(number).state for number in numbers})  # type: ignore[union-attr]
    finally:
        hold.cancel()
        channel.close()


def _then_wait(requests: Iterator[control_pb2.ControlRequest]) -> Iterator[control_pb2.ControlRequest]:
    yield from requests
    time.sleep(20)
