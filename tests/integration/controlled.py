"""A control service over real TLS, its ledger, and agents driven by hand."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from forebay_collector.service import fleet
from forebay_collector.service.actor import Actor
from forebay_collector.service.standing import AgentView
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2
from tests.loading.control import ControlServer, HandAgent
from tests.loading.stage import AGENT, Stage
from tests.receiving.batches import DEPARTMENT
from tests.receiving.collector import enrolled
from tests.receiving.sender import Credentials

OPS = Actor.local("李四")
TABLE = StreamName(DEPARTMENT, "db", "main.t")


class Controlled:
    """Opens everything; `close` closes it, agents first."""

    def __init__(self, folder: Path) -> None:
        self.stage = Stage(folder)
        self.ledger = self.stage.ledger
        self.server = ControlServer(self.stage.settings, self.ledger)
        self.server.__enter__()
        self._agents: list[HandAgent] = []
        self._credentials: dict[str, Credentials] = {}

    def connect(self, name: str = AGENT, department: str = DEPARTMENT, **hello: Any) -> HandAgent:
        """An agent that said hello. It is enrolled the first time."""
        if name not in self._credentials:
            life = timedelta(days=1)
            self._credentials[name] = enrolled(self.stage.settings, self.ledger, name, department, life)
        agent = HandAgent(self.server.address, self._credentials[name])
        self._agents.append(agent)
        agent.hello(name, **hello)
        return agent

    def view(self, name: str = AGENT) -> AgentView:
        return fleet.agent(self.ledger, OPS, name)

    def codes(self, name: str = AGENT) -> set[str]:
        return {why.code for why in self.view(name).why}

    def streams(self, name: str = AGENT) -> dict[str, str]:
        """name of the table -> state, as the agent is known to have said."""
        said = self.ledger.agents.streams([name]).get(name, [])
        return {state["stream"].partition("main.")[2]: state["state"] for state in said}

    def close(self) -> None:
        for agent in self._agents:
            agent.cut()
        self.server.__exit__()
        self.stage.close()


def beat(number: int, tables: dict[str, str] | None = None, **more: Any) -> control_pb2.Heartbeat:
    """A heartbeat of a healthy appliance. tables: name -> state."""
    plain: dict[str, Any] = {
        "sent_at_us": int(time.time() * 1e6),
        "health": control_pb2.Health(cpu_percent=3.5, disk_free_bytes=1 << 33, memory_total_bytes=1 << 30),
        "streams": [
            control_pb2.StreamState(
                stream=StreamName(DEPARTMENT, "db", f"main.{table}").to_proto(), epoch=1, mode="log", state=state
            )
            for table, state in (tables or {}).items()
        ],
    }
    return control_pb2.Heartbeat(number=number, **{**plain, **more})


def beats(agent: HandAgent, heartbeat: control_pb2.Heartbeat) -> None:
    """Sends it, and waits until it is acknowledged."""
    agent.say(heartbeat=heartbeat)
    assert agent.next().heartbeat_ack.number == heartbeat.number


def answers(agent: HandAgent, kind: str, effect: str = "", code: str = "", reason: str = "") -> control_pb2.Command:
    """Waits for a command of the kind, answers it, and gives it."""
    response = agent.next()
    command = response.command
    assert command.WhichOneof("kind") == kind, response
    number = command.command_id
    agent.say(result=control_pb2.CommandResult(command_id=number, done=True, effect=effect, code=code, reason=reason))
    return command


def until(true: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
