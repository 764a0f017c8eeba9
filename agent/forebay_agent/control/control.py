"""The control thread: hello, heartbeats at their interval, commands."""

from __future__ import annotations

import queue
import socket
import threading
import uuid
from collections.abc import Iterator
from typing import Final, TypeAlias, cast

import grpc

from forebay_agent import __version__, journal
from forebay_agent.approval.approvals import Approvals
from forebay_agent.approval.exchange import Exchange
from forebay_agent.approval.proposals import Proposals
from forebay_agent.backoff import Backoff
from forebay_agent.clock import Clock
from forebay_agent.config.model import CollectorConfig
from forebay_agent.control.beats import Beats
from forebay_agent.control.commands import Commands
from forebay_agent.diagnosis import explain
from forebay_agent.entrance import Coming, Entrance
from forebay_agent.errors import AgentError, CollectorUnreachable, StateFolderUnusable
from forebay_agent.identity import Identity
from forebay_agent.pulse import Pulses
from forebay_wire import PROTOCOL
from forebay_wire.v1 import control_pb2, control_pb2_grpc

PULSE: Final = "control"
WELCOME_SECONDS: Final = 30.0
_PULSE_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 1.0
_ANSWERS_SECONDS: Final = 2.0
_ACKS_MISSED: Final = 4
_NO_LINE_SECONDS: Final = 20.0
"""heartbeats without an acknowledgement after which the collector is taken to hang"""

_Event: TypeAlias = control_pb2.ControlResponse | grpc.RpcError | None


class Control:
    """`run` is the thread's body. beats: makes the heartbeats, without their certificate's expiry."""

    def __init__(
        self,
        entrance: Entrance,
        config: CollectorConfig,
        commands: Commands,
        beats: Beats,
        approvals: Approvals,
        proposals: Proposals,
        pulses: Pulses,
        clock: Clock,
    ) -> None:
        self._approvals = approvals
        self._proposals = proposals
        self._reconnect_at = float("inf")
        self._entrance = entrance
        self._config = config
        self._commands = commands
        self._beats = beats
        self._at_once = threading.Event()
        self._pulses = pulses
        self._clock = clock
        self._stopped = threading.Event()
        self.heard_at_us = 0
        """when the collector last acknowledged a heartbeat; 0: not yet"""
        self.collector_ahead_us = 0
        """by how much its clock was ahead of ours then, but for the time that the answer took"""
        self._instance = uuid.uuid4().hex

    def run(self) -> None:
        """Keeps a connection until stopped, if there is a line. Raises StateFolderUnusable."""
        backoff = Backoff(self._config.backoff_first.total_seconds(), self._config.backoff_most.total_seconds())
        turn = 0
        said = ""
        try:
            while not self._stopped.is_set():
                self._tick()
                if not self._config.line:
                    self._stopped.wait(_NO_LINE_SECONDS)
                    continue
                try:
                    self._reconnect_at = float("inf")
                    self._come_in(turn, backoff)
                except StateFolderUnusable:
                    raise
                except AgentError as error:
                    if str(error) != said:
                        journal.info("control waits", code=error.code, reason=error)
                    said = str(error)
                    self._stopped.wait(backoff.next())
                turn += 1
        finally:
            self._pulses.end(PULSE)

    def stop(self) -> None:
        self._stopped.set()

    def tune(self, config: CollectorConfig) -> None:
        """Another heartbeat, on the connection that there is. From any thread."""
        self._config = config

    def reconnect(self) -> None:
        """Soon ends the connection that there is, once what answers commands had time to go, and makes the next one with the
        identity that is in force then. From any thread."""
        self._reconnect_at = self._clock.monotonic() + _ANSWERS_SECONDS

    def report_all(self) -> None:
        """The next heartbeat goes at once, and tells all streams; all proposals are sent again. From any thread."""
        self._proposals.again()
        self._beats.tell_all()
        self._at_once.set()

    def _come_in(self, turn: int, backoff: Backoff) -> None:
        """One connection to the address whose turn it is. Raises why it could not be, or ended."""
        coming = self._entrance.come()
        try:
            addresses = self._config.addresses or coming.own.addresses
            if not addresses:
                raise CollectorUnreachable("no address of a collector is known")
            self._connect(addresses[turn % len(addresses)], coming, backoff)
        finally:
            coming.over()

    def _connect(self, address: str, coming: Coming, backoff: Backoff) -> None:
        """Until stopped. Raises why it ended before."""
        own = coming.own
        line = self._entrance.channels.get(address, own)
        failed = True
        events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        outgoing: queue.SimpleQueue[control_pb2.ControlRequest | None] = queue.SimpleQueue()
        outgoing.put(control_pb2.ControlRequest(hello=self._hello(own)))
        call = control_pb2_grpc.ControlServiceStub(line.channel).Control(_until_none(outgoing))
        listener = threading.Thread(target=_listen, args=(call, events), name="control-answers", daemon=True)
        listener.start()
        try:
            error = self._talk(events, outgoing, coming, backoff)
            if error is not None:
                raise explain(error, address, own.authority, own)
            failed = False
        finally:
            outgoing.put(None)
            call.cancel()
            listener.join(5)
            line.close(failed=failed)

    def _talk(
        self,
        events: queue.SimpleQueue[_Event],
        outgoing: queue.SimpleQueue[control_pb2.ControlRequest | None],
        coming: Coming,
        backoff: Backoff,
    ) -> grpc.RpcError | None:
        """-> the call's end, None when stopped or when it is to be made anew."""
        asked = float("inf")  # by the collector, seconds between heartbeats at most
        expires = int(coming.own.expires_at.timestamp() * 1_000_000)
        self._beats.begin()
        exchange = Exchange(self._approvals, self._proposals, self._clock)
        due: float | None = None  # no heartbeat before the welcome
        now = began = self._clock.monotonic()
        while not self._stopped.is_set() and now < self._reconnect_at:
            self._tick()
            now = self._clock.monotonic()
            for request in exchange.due():
                outgoing.put(request)
            if due is None and now - began > WELCOME_SECONDS:
                raise CollectorUnreachable(f"the collector has not answered the hello for {WELCOME_SECONDS:.0f} s")
            if due is not None and (now >= due or self._at_once.is_set()):
                self._at_once.clear()
                if self._beats.unanswered >= _ACKS_MISSED:
                    raise CollectorUnreachable(f"the collector has not answered {_ACKS_MISSED} heartbeats")
                beat = self._beats.next()
                beat.certificate_expires_at_us = expires
                outgoing.put(control_pb2.ControlRequest(heartbeat=beat))
                due = now + min(asked, self._config.heartbeat.total_seconds())
            try:
                event = events.get(timeout=_LOOK_SECONDS if due is None else max(0.0, min(_LOOK_SECONDS, due - now)))
            except queue.Empty:
                continue
            if not isinstance(event, control_pb2.ControlResponse):
                return event
            kind = event.WhichOneof("kind")
            if kind == "welcome":
                coming.over()
                backoff.succeeded()
                asked = event.welcome.heartbeat_interval_ms / 1000 or asked
                due = now
                exchange.welcomed(event.welcome.collector_version or "unknown")
                journal.info("control connected", collector=event.welcome.collector_version)
            elif kind == "approvals":
                exchange.take(event.approvals)
            elif kind == "heartbeat_ack":
                self._beats.acknowledged(event.heartbeat_ack.number)
                self.heard_at_us = self._clock.now_us()
                self.collector_ahead_us = event.heartbeat_ack.collector_time_us - self.heard_at_us
            elif kind == "command":
                self._commands.start(event.command, lambda part: outgoing.put(control_pb2.ControlRequest(result=part)))
        return None

    def _hello(self, own: Identity) -> control_pb2.AgentHello:
        return control_pb2.AgentHello(
            agent=own.agent,
            department=own.department,
            version=__version__,
            hostname=socket.gethostname(),
            instance=self._instance,
            protocol=PROTOCOL,
        )

    def _tick(self) -> None:
        self._pulses.tick(PULSE, _PULSE_SECONDS)


def _until_none(
    outgoing: queue.SimpleQueue[control_pb2.ControlRequest | None],
) -> Iterator[control_pb2.ControlRequest]:
    while (request := outgoing.get()) is not None:
        yield request


def _listen(call: grpc.CallIterator[control_pb2.ControlResponse], events: queue.SimpleQueue[_Event]) -> None:
    try:
        for answer in call:
            events.put(answer)
    except grpc.RpcError as error:
        events.put(error)
    else:
        events.put(cast(grpc.RpcError, call))
