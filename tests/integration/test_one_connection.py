"""Uplink and control of an agent share one connection; what ends it ends it for both, and they meet again on the next."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import psutil
import pytest

from forebay_agent.channel import Channels
from forebay_agent.identity import Identity
from forebay_wire.v1 import control_pb2_grpc
from tests.daemon.agent import PEOPLE, AgentProcess
from tests.daemon.centre import Centre
from tests.daemon.scripted import Script, ScriptedCollector

ADDRESS = "127.0.0.1:1"


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def centre() -> Centre:
    return Centre(heartbeat_ms=200)


@pytest.fixture
def collector(tmp_path: Path, script: Script, centre: Centre) -> Iterator[ScriptedCollector]:
    with ScriptedCollector(tmp_path / "authority", script, centre) as running:
        yield running


@pytest.fixture
def agent(tmp_path: Path, collector: ScriptedCollector) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path / "agent", collector) as made:
        yield made


def connections(agent: AgentProcess, collector: ScriptedCollector) -> int:
    """The process's own, to the collector."""
    assert agent.process is not None
    port = int(collector.address.rpartition(":")[2])
    found = psutil.Process(agent.process.pid).net_connections(kind="tcp")
    return sum(one.status == psutil.CONN_ESTABLISHED and bool(one.raddr) and one.raddr.port == port for one in found)


def both_speak(agent: AgentProcess, centre: Centre, script: Script, first: int) -> None:
    """New rows come, and heartbeats too."""
    agent.insert(first, 5)
    agent.until(lambda: {row["id"] for row in script.rows(PEOPLE)} >= set(range(first, first + 5)))
    beats = len(centre.heartbeats)
    agent.until(lambda: len(centre.heartbeats) > beats)


def test_one_connection_carries_batches_and_heartbeats(
    agent: AgentProcess, centre: Centre, script: Script, collector: ScriptedCollector
) -> None:
    agent.start()
    both_speak(agent, centre, script, 1)
    assert connections(agent, collector) == 1


def test_after_a_cut_line_and_after_an_outage_both_are_back_on_one_connection(
    agent: AgentProcess, centre: Centre, script: Script, collector: ScriptedCollector
) -> None:
    agent.start()
    both_speak(agent, centre, script, 1)
    collector.cut()
    both_speak(agent, centre, script, 10)
    agent.until(lambda: connections(agent, collector) == 1)
    collector.stop()
    time.sleep(0.5)  # tries that fail
    collector.start()
    both_speak(agent, centre, script, 20)
    agent.until(lambda: connections(agent, collector) == 1)


@pytest.fixture
def own(agent: AgentProcess) -> Identity:
    from forebay_agent import identity

    return identity.load(agent.state)


def test_a_channel_is_shared_until_somebody_meets_a_failure_on_it(own: Identity) -> None:
    channels = Channels()
    uplink, control = channels.get(ADDRESS, own), channels.get(ADDRESS, own)
    assert uplink.channel is control.channel
    uplink.close(failed=True)
    again = channels.get(ADDRESS, own)
    assert again.channel is not control.channel
    control.close(failed=False)
    joined = channels.get(ADDRESS, own)
    assert joined.channel is again.channel
    again.close(failed=False)
    joined.close(failed=False)


def test_another_identity_and_another_address_have_a_channel_of_their_own(own: Identity) -> None:
    channels = Channels()
    renewed = dataclasses.replace(own, certificate=own.certificate + b"\n")
    opened = [channels.get(ADDRESS, own), channels.get(ADDRESS, renewed), channels.get("127.0.0.1:2", own)]
    assert len({id(one.channel) for one in opened}) == 3
    for one in opened:
        one.close(failed=False)


def test_a_channel_is_closed_when_the_last_who_has_it_leaves_and_not_before(own: Identity) -> None:
    channels = Channels()
    uplink, control = channels.get(ADDRESS, own), channels.get(ADDRESS, own)
    channel = control.channel
    uplink.close(failed=False)
    uplink.close(failed=False)  # once more is nothing
    call = control_pb2_grpc.ControlServiceStub(channel).Control(iter(()))
    with pytest.raises(grpc.RpcError):  # nobody listens there
        next(call)
    control.close(failed=False)
    with pytest.raises(ValueError, match=r"(?i)closed"):
        control_pb2_grpc.ControlServiceStub(channel).Control(iter(()))
