"""ControlService: one long-lived stream per agent. Hello and heartbeats go into the ledger; commands come out of it.

    agent  -> hello                       -> ledger: agent came in; what it was sent before is failed (its answer is lost)
    agent  <- Welcome
    agent  -> heartbeat                   -> ledger: health and state of its streams
    agent  <- HeartbeatAck
    ledger -> `deliver`, 4 times a second -> agent: commands that wait for a connected agent
    agent  -> result, in parts            -> ledger: the parts, and the end

Every blocking call runs in a thread; what one agent sends is handled in order, one message at a time, so that a fast
agent waits for the ledger and not the other way round. Of two connections of one agent the newer counts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import grpc

from forebay_collector import __version__
from forebay_collector.control import heartbeat
from forebay_collector.errors import AgentUnreachable, CollectorError, CommandFailed, IdentityRefused, LedgerUnavailable
from forebay_collector.identity.admission import RECHECK_S, admit, find_agent, identity_of, refuse
from forebay_collector.ledger import Ledger
from forebay_collector.ledger.heartbeats import Hello
from forebay_collector.ledger.places import Place
from forebay_wire import PROTOCOL
from forebay_wire.v1 import control_pb2, control_pb2_grpc

_LOG: Final = logging.getLogger(__name__)
DELIVER_EVERY_S: Final = 0.25
HEARTBEAT_MS: Final = 15_000
ANSWER_BYTES: Final = 512 << 20
"""What one command's answer may take; more fails the command."""
_QUEUE: Final = 64
_TIDY_EVERY_S: Final = 600.0
_TEXT: Final = 256

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


@dataclass(eq=False, slots=True)
class _Connection:
    """One agent's stream: what is to be sent down (None: the end), and how much of each answer came up."""

    agent: str
    down: asyncio.Queue[control_pb2.ControlResponse | None] = field(default_factory=lambda: asyncio.Queue(_QUEUE))
    answered: dict[str, int] = field(default_factory=dict)
    ended: bool = False

    def end(self) -> None:
        """Nothing more will come up or go down, except what is in the queue already."""
        self.ended = True
        with suppress(asyncio.QueueFull):
            self.down.put_nowait(None)


class ControlServicer(control_pb2_grpc.ControlServiceServicer):
    """Add it to the server, and run `deliver` beside it."""

    def __init__(self, ledger: Ledger, *, heartbeat_ms: int = HEARTBEAT_MS) -> None:
        self._ledger = ledger
        self._commands = ledger.commands
        self._heartbeat_ms = heartbeat_ms
        self._connections: dict[str, _Connection] = {}

    async def Control(  # noqa: N802 - gRPC's name
        self, request_iterator: AsyncIterator[control_pb2.ControlRequest], context: Context
    ) -> AsyncIterator[control_pb2.ControlResponse]:
        agent = (await admit(context, self._ledger)).name
        try:
            hello = await self._hello(request_iterator, agent)
        except CollectorError as error:
            await refuse(context, error)
        connection = _Connection(agent)
        before = self._connections.get(agent)
        self._connections[agent] = connection
        if before is not None:
            before.end()
        _LOG.info("agent connected agent=%s version=%s hostname=%s", agent, hello.version, hello.hostname)
        up = asyncio.create_task(self._up(connection, request_iterator, context))
        try:
            yield control_pb2.ControlResponse(
                welcome=control_pb2.Welcome(
                    collector_version=__version__,
                    collector_time_us=self._now(),
                    heartbeat_interval_ms=self._heartbeat_ms,
                )
            )
            while (message := await self._next(connection, context)) is not None:
                yield message
            if connection.ended and up.done():
                await up
        except CollectorError as error:
            await refuse(context, error)
        finally:
            up.cancel()
            await self._leave(connection)

    async def deliver(self) -> None:
        """Runs until it is cancelled: hands commands to the agents that are connected here."""
        tidied = 0.0
        while True:
            try:
                now = asyncio.get_running_loop().time()
                if not tidied or now - tidied > _TIDY_EVERY_S:
                    await asyncio.to_thread(self._commands.tidy)
                    tidied = now
                await self.deliver_step()
            except LedgerUnavailable as error:
                _LOG.warning("commands wait for the ledger: %s", error)
            await asyncio.sleep(DELIVER_EVERY_S)

    async def deliver_step(self) -> int:
        """Hands over the commands that wait now; -> how many. Raises LedgerUnavailable, LedgerDamaged."""
        agents = list(self._connections)
        if not agents or not await asyncio.to_thread(self._commands.waiting, agents):
            return 0
        taken = await asyncio.to_thread(self._commands.take, agents)
        for agent, command in taken:
            connection = self._connections.get(agent)
            try:
                if connection is None:
                    raise asyncio.QueueFull
                connection.down.put_nowait(control_pb2.ControlResponse(command=command))
            except asyncio.QueueFull:
                reason = "its connection ended" if connection is None else "it does not take what is sent to it"
                await asyncio.to_thread(self._commands.fail, agent, AgentUnreachable.code, reason, command.command_id)
        return len(taken)

    async def _hello(self, requests: AsyncIterator[control_pb2.ControlRequest], agent: str) -> control_pb2.AgentHello:
        """The first message, checked and in the ledger. Raises IdentityRefused, LedgerUnavailable, LedgerDamaged."""
        first = await anext(aiter(requests), None)
        if first is None or first.WhichOneof("kind") != "hello":
            raise IdentityRefused("the first message is not a hello")
        hello = first.hello
        if hello.agent != agent:
            raise IdentityRefused(f"the hello is not that of agent {agent}, whose certificate it came with")
        if hello.protocol != PROTOCOL:
            raise IdentityRefused(
                f"agent {agent} speaks protocol {hello.protocol}, this collector {PROTOCOL}: install matching versions"
            )
        await asyncio.to_thread(self._arrive, agent, hello)
        return hello

    def _arrive(self, agent: str, hello: control_pb2.AgentHello) -> None:
        place = Place(agent, hello.instance[:_TEXT], hello.hostname[:_TEXT], "")
        self._ledger.heartbeats.write([Hello(place, hello.version[:_TEXT], self._heartbeat_ms, self._now())])

    async def _next(self, connection: _Connection, context: Context) -> control_pb2.ControlResponse | None:
        """What is to be sent next. While there is nothing, looks whether the agent may still be here."""
        while not (connection.ended and connection.down.empty()):
            try:
                return await asyncio.wait_for(connection.down.get(), RECHECK_S)
            except TimeoutError:
                await asyncio.to_thread(find_agent, self._ledger, identity_of(context))
        return None

    async def _up(
        self, connection: _Connection, requests: AsyncIterator[control_pb2.ControlRequest], context: Context
    ) -> None:
        try:
            async for request in requests:
                kind = request.WhichOneof("kind")
                if kind == "heartbeat":
                    await asyncio.to_thread(find_agent, self._ledger, identity_of(context))
                    await asyncio.to_thread(self._beat, connection.agent, request.heartbeat)
                    ack = control_pb2.HeartbeatAck(number=request.heartbeat.number, collector_time_us=self._now())
                    await connection.down.put(control_pb2.ControlResponse(heartbeat_ack=ack))
                elif kind == "result":
                    await asyncio.to_thread(self._result, connection, request.result)
        finally:
            connection.end()

    def _beat(self, agent: str, beat: control_pb2.Heartbeat) -> None:
        record = self._ledger.agents.get(agent)
        assert record is not None
        now = self._now()
        self._ledger.heartbeats.write(
            [heartbeat.beat(agent, record.department, beat, now, takes=True, sample=True, offer_known=None)]
        )

    def _result(self, connection: _Connection, part: control_pb2.CommandResult) -> None:
        size = connection.answered.get(part.command_id, 0) + part.ByteSize()
        connection.answered[part.command_id] = size
        if size > ANSWER_BYTES:
            reason = f"the answer is longer than {ANSWER_BYTES} bytes"
            self._commands.fail(connection.agent, CommandFailed.code, reason, part.command_id)
        elif not self._commands.answer(connection.agent, part):
            _LOG.info("answer to a command that nobody waits for agent=%s", connection.agent)
        if part.done or part.code:
            connection.answered.pop(part.command_id, None)

    async def _leave(self, connection: _Connection) -> None:
        if self._connections.get(connection.agent) is not connection:
            return
        del self._connections[connection.agent]
        _LOG.info("agent disconnected agent=%s", connection.agent)
        with suppress(CollectorError):
            await asyncio.to_thread(
                self._commands.fail, connection.agent, AgentUnreachable.code, "its connection ended before it answered"
            )

    def _now(self) -> int:
        return self._ledger.database.clock()
