"""Control's thread: one long-lived call, heartbeats up, commands down and answered. Reconnects with growing pauses.

Commands are carried out on a thread of their own, one after another, so that heartbeats go on meanwhile.
"""

from __future__ import annotations

import queue
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import grpc

from forebay_agent import __version__, identity, journal
from forebay_agent.backoff import Backoff
from forebay_agent.channel import open_channel
from forebay_agent.clock import Clock
from forebay_agent.config.model import CollectorConfig
from forebay_agent.control.commands import Commands
from forebay_agent.diagnosis import explain
from forebay_agent.errors import AgentError, CollectorUnreachable, StateFolderUnusable
from forebay_agent.identity import Identity
from forebay_agent.pulse import Pulses
from forebay_agent.stream_state import Trouble
from forebay_wire import PROTOCOL
from forebay_wire.v1 import control_pb2, control_pb2_grpc

PULSE: Final = "control"
_PULSE_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 1.0
_MOST_WAITING: Final = 64

_Up = control_pb2.ControlRequest


class Control:
    """`run` is the thread's body; `stop` is called by others. beat: makes a heartbeat, but for number and time."""

    def __init__(
        self,
        state_folder: Path,
        config: CollectorConfig,
        commands: Commands,
        beat: Callable[[], control_pb2.Heartbeat],
        pulses: Pulses,
        clock: Clock,
    ) -> None:
        self.trouble: Trouble | None = None
        self._folder = state_folder
        self._config = config
        self._commands = commands
        self._beat = beat
        self._pulses = pulses
        self._clock = clock
        self._stopped = threading.Event()
        self._instance = uuid.uuid4().hex
        self._number = 0

    def run(self) -> None:
        """Talks until stopped. Raises StateFolderUnusable."""
        backoff = Backoff(self._config.backoff_first.total_seconds(), self._config.backoff_most.total_seconds())
        turn = 0
        try:
            while not self._stopped.is_set():
                self._pulses.tick(PULSE, _PULSE_SECONDS)
                welcomed, failure = self._try(turn)
                turn += 1
                if welcomed:
                    backoff.succeeded()
                if failure is not None:
                    self._show(failure)
                    self._stopped.wait(backoff.next())
        finally:
            self._pulses.end(PULSE)

    def stop(self) -> None:
        self._stopped.set()

    def _try(self, turn: int) -> tuple[bool, AgentError | None]:
        """One connection. -> whether the collector welcomed this agent, and why it ended."""
        try:
            own = identity.load(self._folder)
            own.check_dates()
            addresses = self._config.addresses or own.addresses
            if not addresses:
                raise CollectorUnreachable("no address of a collector is known")
        except StateFolderUnusable:
            raise
        except AgentError as error:
            return False, error
        address = addresses[turn % len(addresses)]
        channel = open_channel(address, authority=own.authority, certificate=own.certificate, key=own.key)
        call = _Call(self._commands)
        try:
            return self._talk(control_pb2_grpc.ControlServiceStub(channel), call, own, address)
        finally:
            call.end()
            channel.close()

    def _talk(
        self, stub: control_pb2_grpc.ControlServiceStub, call: _Call, own: Identity, address: str
    ) -> tuple[bool, AgentError | None]:
        call.say(
            _Up(
                hello=control_pb2.AgentHello(
                    agent=own.agent,
                    department=own.department,
                    version=__version__,
                    hostname=socket.gethostname(),
                    instance=self._instance,
                    protocol=PROTOCOL,
                )
            )
        )
        answers = stub.Control(call.requests())
        call.listen(answers)
        interval = self._config.heartbeat.total_seconds()
        due = None
        try:
            while not self._stopped.is_set():
                self._pulses.tick(PULSE, _PULSE_SECONDS)
                failure = call.failure
                if failure is not None:
                    return due is not None, explain(failure, address, own.authority, own)
                welcome = call.welcome
                if welcome is not None and due is None:
                    due = self._clock.monotonic()
                    interval = min(interval, (welcome.heartbeat_interval_ms / 1000) or interval)
                    self.trouble = None
                if due is not None and self._clock.monotonic() >= due:
                    due += interval
                    call.say(_Up(heartbeat=self._heartbeat(own)))
                self._stopped.wait(min(_LOOK_SECONDS, interval / 4))
            return due is not None, None
        finally:
            answers.cancel()

    def _heartbeat(self, own: Identity) -> control_pb2.Heartbeat:
        self._number += 1
        beat = self._beat()
        beat.number = self._number
        beat.sent_at_us = self._clock.now_us()
        beat.certificate_expires_at_us = int(own.expires_at.timestamp() * 1_000_000)
        return beat

    def _show(self, failure: AgentError) -> None:
        trouble = Trouble.of(failure)
        if trouble != self.trouble:
            journal.warning("control waits", code=trouble.code, reason=trouble.reason)
        self.trouble = trouble


class _Call:
    """One call's queue upwards, and the thread that listens and carries commands out."""

    def __init__(self, commands: Commands) -> None:
        self.welcome: control_pb2.Welcome | None = None
        self.failure: grpc.RpcError | None = None
        self._commands = commands
        self._up: queue.Queue[_Up | None] = queue.Queue(_MOST_WAITING)
        self._orders: queue.SimpleQueue[control_pb2.Command | None] = queue.SimpleQueue()
        self._ended = threading.Event()

    def say(self, message: _Up) -> None:
        """Waits while the queue is full; when the call has ended the message is dropped."""
        while not self._ended.is_set():
            try:
                self._up.put(message, timeout=_LOOK_SECONDS)
                return
            except queue.Full:
                continue

    def requests(self) -> Iterator[_Up]:
        while not self._ended.is_set():
            try:
                message = self._up.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                continue
            if message is None:
                return
            yield message

    def listen(self, answers: grpc.CallIterator[control_pb2.ControlResponse]) -> None:
        threading.Thread(target=self._listen, args=(answers,), name="control-answers", daemon=True).start()
        threading.Thread(target=self._obey, name="control-commands", daemon=True).start()

    def end(self) -> None:
        self._ended.set()
        self._orders.put(None)

    def _listen(self, answers: grpc.CallIterator[control_pb2.ControlResponse]) -> None:
        try:
            for answer in answers:
                kind = answer.WhichOneof("kind")
                if kind == "welcome":
                    self.welcome = answer.welcome
                elif kind == "command":
                    self._orders.put(answer.command)
            self.failure = answers  # the collector ended the call; it is a grpc.Call too
        except grpc.RpcError as error:
            self.failure = error

    def _obey(self) -> None:
        while (command := self._orders.get()) is not None:
            for part in self._commands.answers(command):
                self.say(_Up(result=part))
