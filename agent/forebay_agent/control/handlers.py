"""The handlers of commands that change something, by the command's kind."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import Future
from typing import Protocol

from forebay_agent.clock import Clock
from forebay_agent.config.model import AgentConfig
from forebay_agent.control.commands import Handler
from forebay_agent.control.diagnostics import Diagnostics
from forebay_agent.control.offering import Offering, Office
from forebay_agent.control.pausing import Pausing
from forebay_agent.control.reading import Emit
from forebay_agent.control.repairing import Repairing
from forebay_agent.control.resending import Resending
from forebay_agent.control.retaking import Retaking
from forebay_agent.outbox import Outbox
from forebay_agent.pauses import Pauses
from forebay_agent.report import Report
from forebay_agent.source_worker import SourceWorker
from forebay_agent.stream_state import Board
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2


class Agent(Office, Protocol):
    """The supervisor, as commands see it. Any thread may call."""

    @property
    def config(self) -> AgentConfig:
        """As in force."""

    @property
    def pauses(self) -> Pauses: ...

    @property
    def report(self) -> Report: ...

    def workers(self) -> Collection[SourceWorker]:
        """The sources' threads as they are now."""

    def reload(self) -> Future[str]:
        """Reads the files now. -> the hash of what is in force. Raises ConfigurationError when they are refused."""

    def again(self, name: StreamName) -> bool:
        """Sends what the outbox holds of a stream again; whether the collector is connected."""

    def rotate(self) -> str:
        """Renews the certificate now. -> what was done, in words. Raises why it could not be."""

    def report_all(self) -> None:
        """The next heartbeat goes at once and tells everything."""


def handlers(agent: Agent, outbox: Outbox, board: Board, clock: Clock) -> Mapping[str, Handler]:
    pausing = Pausing(agent.pauses, agent.workers, outbox, clock.now_us)

    def reload(command: control_pb2.Command, emit: Emit) -> control_pb2.CommandResult:
        """Raises ConfigurationError with all that is wrong; then the configuration before stays in force."""
        hashed = agent.reload().result()
        sources = agent.config.sources
        tables = sum(len(source.tables) for source in sources)
        effect = (
            f"the files were read: configuration {hashed[:12]} is in force, {len(sources)} sources, {tables} tables"
        )
        return control_pb2.CommandResult(effect=effect)

    def report_all(command: control_pb2.Command, emit: Emit) -> control_pb2.CommandResult:
        agent.report_all()
        return control_pb2.CommandResult(effect="the next heartbeat goes at once and tells all streams")

    def rotate(command: control_pb2.Command, emit: Emit) -> control_pb2.CommandResult:
        """Raises CertificateRefused, CollectorUnreachable; the certificate before then stays in force."""
        return control_pb2.CommandResult(effect=agent.rotate())

    return {
        "rotate_certificate": rotate,
        "pause": pausing.pause,
        "resume": pausing.resume,
        "take_snapshot": Retaking(outbox, agent.workers),
        "repair_keys": Repairing(outbox, board, agent.workers),
        "resend": Resending(outbox, agent.workers, agent.again),
        "reload": reload,
        "offer": Offering(agent, outbox, agent.workers),
        "collect_diagnostics": Diagnostics(agent, outbox),
        "report_all": report_all,
    }
