"""The centre's end of control: ControlService as a test wants it. It approves whatever is proposed unless told otherwise."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from forebay_wire.v1 import control_pb2, control_pb2_grpc

Request = control_pb2.ControlRequest
Response = control_pb2.ControlResponse


@dataclass
class Answer:
    """What came back of one command. parts: all of them; last: the one that ends it."""

    parts: list[control_pb2.CommandResult]

    @property
    def last(self) -> control_pb2.CommandResult:
        return self.parts[-1]

    @property
    def data(self) -> bytes:
        return b"".join(part.data for part in self.parts)


@dataclass
class Centre(control_pb2_grpc.ControlServiceServicer):
    """heartbeat_ms: what the welcome asks for. acknowledges: whether heartbeats are. approvals: what is said after the hello;
    None: nothing. heartbeats, proposals, hellos: what came, in order."""

    heartbeat_ms: int = 1_000
    acknowledges: bool = True
    approvals: control_pb2.Approvals | None = field(
        default_factory=lambda: control_pb2.Approvals(automatic=True, revision=1)
    )
    hellos: list[control_pb2.AgentHello] = field(default_factory=list)
    heartbeats: list[control_pb2.Heartbeat] = field(default_factory=list)
    proposals: list[control_pb2.Proposals] = field(default_factory=list)
    calls: list[Any] = field(default_factory=list)
    _down: queue.Queue[Response | None] | None = None
    _waiting: dict[str, queue.Queue[control_pb2.CommandResult]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def Control(self, request_iterator: Iterator[Request], context: Any) -> Iterator[Response]:
        down: queue.Queue[Response | None] = queue.Queue()
        self.calls.append(context)
        context.add_callback(lambda: down.put(None))
        threading.Thread(target=self._listen, args=(request_iterator, down), daemon=True).start()
        while (response := down.get()) is not None:
            yield response

    def _listen(self, requests: Iterator[Request], down: queue.Queue[Response | None]) -> None:
        try:
            for request in requests:
                self._take(request, down)
        except Exception:  # the call ended
            down.put(None)

    def _take(self, request: Request, down: queue.Queue[Response | None]) -> None:
        kind = request.WhichOneof("kind")
        if kind == "hello":
            self.hellos.append(request.hello)
            down.put(Response(welcome=control_pb2.Welcome(heartbeat_interval_ms=self.heartbeat_ms)))
            if self.approvals is not None:
                down.put(Response(approvals=self.approvals))
            self._down = down
        elif kind == "heartbeat":
            self.heartbeats.append(request.heartbeat)
            if self.acknowledges:
                down.put(Response(heartbeat_ack=control_pb2.HeartbeatAck(number=request.heartbeat.number)))
        elif kind == "result":
            waiting = self._waiting.get(request.result.command_id)
            if waiting is not None:
                waiting.put(request.result)
        elif kind == "proposals":
            self.proposals.append(request.proposals)

    def approve(self, approvals: control_pb2.Approvals) -> None:
        """Says it to who is connected, and to whoever comes."""
        self.approvals = approvals
        if self._down is not None:
            self._down.put(Response(approvals=approvals))

    def ask(self, timeout: float = 60, **kind: Any) -> Answer:
        """Sends one command to the agent that is connected, or comes soon, and waits for all of its answer."""
        until = time.monotonic() + timeout
        while self._down is None:
            assert time.monotonic() < until, "no agent has connected"
            time.sleep(0.02)
        number = f"c{next(self._numbers)}"
        parts: queue.Queue[control_pb2.CommandResult] = queue.Queue()
        self._waiting[number] = parts
        self._down.put(Response(command=control_pb2.Command(command_id=number, **kind)))
        answer = Answer([])
        while not answer.parts or not answer.last.done:
            answer.parts.append(parts.get(timeout=max(0.1, until - time.monotonic())))
        return answer

    def until(
        self, holds: Callable[[control_pb2.Heartbeat], bool], seconds: float = 20, *, after: int = -1
    ) -> control_pb2.Heartbeat:
        """The next heartbeat of which it holds; after: so many had come when what it tells of was begun."""
        seen, deadline = len(self.heartbeats) if after < 0 else after, time.monotonic() + seconds
        while True:
            for beat in self.heartbeats[seen:]:
                seen += 1
                if holds(beat):
                    return beat
            assert time.monotonic() < deadline, f"no such heartbeat among {self.heartbeats[-3:]}"
            time.sleep(0.02)

    def cut(self) -> None:
        """Ends the connection."""
        calls, self.calls, self._down = self.calls, [], None
        for call in calls:
            call.cancel()
