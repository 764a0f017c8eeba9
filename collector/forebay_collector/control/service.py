"""ControlService: one long-lived stream per agent. Hello and heartbeats go into the ledger; commands come out of it.

    agent  -> hello          -> ledger: the agent came in; what it was sent before is failed (its answer is lost)
    agent  <- Welcome, Approvals
    agent  -> heartbeat      -> ledger, with those of all other agents (`recorder.py`): health, streams that changed
    agent  <- HeartbeatAck      after that
    agent  <- ReportAll         when what the heartbeat builds on is not known here
    agent  -> proposals      -> ledger (`approving.py`)
    agent  <- Approvals
    ledger -> commands, offers, approvals (`delivery.py`) -> agent
    agent  -> result, in parts -> ledger: the parts, and the end with its effect

What one agent sends is handled in order, one message at a time, so that a fast agent waits for the ledger and not the
other way round. Of two connections of one agent the newer counts; when the older place comes back, that is an alarm
(`ledger/places.py`).
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from functools import partial
from typing import Any, Final

import grpc

from forebay_collector import __version__
from forebay_collector.control import heartbeat
from forebay_collector.control.approving import Approving
from forebay_collector.control.connection import ENDED, Connection, Context, of_agent
from forebay_collector.control.delivery import Delivery
from forebay_collector.control.recorder import Recorder
from forebay_collector.errors import AgentUnreachable, CollectorError, CommandFailed, IdentityRefused
from forebay_collector.identity.admission import RECHECK_S, admit, host_of_peer, identity_of, refuse
from forebay_collector.ledger import Ledger
from forebay_collector.ledger.heartbeats import Beat, Hello, Leaving
from forebay_collector.ledger.history import minute
from forebay_collector.ledger.places import Place
from forebay_collector.settings import ControlSettings
from forebay_wire import PROTOCOL
from forebay_wire.v1 import control_pb2, control_pb2_grpc

ANSWER_BYTES: Final = 512 << 20
"""What one command's answer may take; more fails the command."""
LOST: Final = "its connection ended before it answered"
_TEXT: Final = 256
_LOG: Final = logging.getLogger(__name__)


class ControlServicer(control_pb2_grpc.ControlServiceServicer):
    """Add it to the server, run `deliver` beside it, and `stop` it when the server has stopped."""

    def __init__(self, ledger: Ledger, approving: Approving, settings: ControlSettings) -> None:
        self._ledger = ledger
        self._approving = approving
        self._heartbeat_ms = int(settings.heartbeat.total_seconds() * 1_000)
        self._connections: dict[str, Connection] = {}
        self._recorder = Recorder(ledger)
        self._ending: set[asyncio.Task[None]] = set()
        # a revocation acts within a heartbeat, and within seconds
        recheck_s = min(RECHECK_S, settings.heartbeat.total_seconds() / 2)
        self._delivery = Delivery(ledger, self._connections, approving, history=settings.history, recheck_s=recheck_s)

    @property
    def connections(self) -> int:
        return len(self._connections)

    async def Control(  # type: ignore[override] # noqa: N802 - gRPC's name; reads and writes by its context
        self, _requests: Any, context: Context
    ) -> None:
        # what the ledger says of the agent is not kept: it is long, and the call may last for months
        await admit(context, self._ledger)
        connection = Connection(context, identity_of(context))
        try:
            if not await self._come_in(connection, host_of_peer(context)):
                return
            await self._welcome(connection)
            while (request := await connection.read()) is not None:
                await self._take(connection, request)
        except CollectorError as error:
            await refuse(context, error, self._ledger)
        except ENDED as ended:
            _LOG.debug("call ended agent=%s reason=%s", connection.agent, type(ended).__name__)
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the agent does not take what is sent to it")
        finally:
            self._leave(connection)

    async def deliver(self) -> None:
        """Runs until it is cancelled: what comes out of the ledger, for the agents that are connected here."""
        await self._delivery.run()

    async def stop(self) -> None:
        """Writes what is not yet in the ledger. Never raises."""
        await self._recorder.close()

    async def _come_in(self, connection: Connection, peer: str) -> bool:
        """The first message, checked and in the ledger; False: there was none. Raises IdentityRefused, the ledger's errors."""
        first = await connection.read()
        if first is None:
            return False
        if first.WhichOneof("kind") != "hello":
            raise IdentityRefused("the first message is not a hello")
        hello = first.hello
        of_agent(connection.agent, hello, PROTOCOL)
        connection.instance = heartbeat.text(hello.instance)[:_TEXT]
        connection.since = self._now()
        place = Place(connection.agent, connection.instance, heartbeat.text(hello.hostname)[:_TEXT], peer[:_TEXT])
        entry = Hello(place, heartbeat.text(hello.version)[:_TEXT], self._heartbeat_ms, connection.since)
        await self._recorder.record(lambda: entry)
        self._enter(connection, hello)
        return True

    def _enter(self, connection: Connection, hello: control_pb2.AgentHello) -> None:
        before = self._connections.get(connection.agent)
        self._connections[connection.agent] = connection
        if before is not None:
            ending = asyncio.create_task(before.replace())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
        _LOG.info("agent connected agent=%s version=%s hostname=%s", connection.agent, hello.version, hello.hostname)

    async def _welcome(self, connection: Connection) -> None:
        welcome = control_pb2.Welcome(
            collector_version=__version__, collector_time_us=self._now(), heartbeat_interval_ms=self._heartbeat_ms
        )
        await connection.send(control_pb2.ControlResponse(welcome=welcome))
        await self._tell_approvals(connection)

    async def _take(self, connection: Connection, request: control_pb2.ControlRequest) -> None:
        match request.WhichOneof("kind"):
            case "heartbeat":
                await self._beat(connection, request.heartbeat)
            case "result":
                await asyncio.to_thread(self._result, connection, request.result)
            case "proposals":
                await asyncio.to_thread(self._propose, connection, request.proposals)
                await self._tell_approvals(connection)

    async def _beat(self, connection: Connection, beat: control_pb2.Heartbeat) -> None:
        at = self._now()
        takes = connection.attaches(beat)
        samples = minute(at) != connection.sampled
        canaries = hash(tuple(canary.SerializeToString(deterministic=True) for canary in beat.canaries))
        news = canaries != connection.canaries
        await self._recorder.record(partial(self._entry, connection, beat, at, takes, samples, news))
        connection.canaries = canaries
        if samples:
            connection.sampled = minute(at)
        connection.offer_known = (beat.offer.revision, beat.offer.outcome)
        if takes:
            connection.taken(beat)
        ack = control_pb2.HeartbeatAck(number=beat.number, collector_time_us=self._now())
        await connection.send(control_pb2.ControlResponse(heartbeat_ack=ack))
        if not takes:
            _LOG.info(
                "a heartbeat builds on one that is not known here agent=%s since=%d", connection.agent, beat.since
            )
            everything = control_pb2.Command(command_id=uuid.uuid4().hex, report_all=control_pb2.ReportAll())
            await connection.send(control_pb2.ControlResponse(command=everything))

    def _entry(
        self, connection: Connection, beat: control_pb2.Heartbeat, at: int, takes: bool, samples: bool, canaries: bool
    ) -> Beat:
        who, known = connection.identity, connection.offer_known
        return heartbeat.beat(
            who.agent, who.department, beat, at, takes=takes, sample=samples, offer_known=known, canaries=canaries
        )

    def _result(self, connection: Connection, part: control_pb2.CommandResult) -> None:
        size = connection.answered.get(part.command_id, 0) + part.ByteSize()
        connection.answered[part.command_id] = size
        if size > ANSWER_BYTES:
            reason = f"the answer is longer than {ANSWER_BYTES} bytes"
            self._ledger.commands.fail(connection.agent, CommandFailed.code, reason, part.command_id)
        elif not self._ledger.commands.answer(connection.agent, part):
            _LOG.info("answer to a command that nobody waits for agent=%s", connection.agent)
        if part.done or part.code:
            connection.answered.pop(part.command_id, None)

    def _propose(self, connection: Connection, proposals: control_pb2.Proposals) -> None:
        agent = self._ledger.agents.get(connection.agent)
        if agent is not None:
            self._approving.proposed(agent, proposals)

    async def _tell_approvals(self, connection: Connection) -> None:
        approvals = await asyncio.to_thread(self._approving.answer, connection.agent)
        connection.approved = approvals.revision
        await connection.send(control_pb2.ControlResponse(approvals=approvals))

    def _leave(self, connection: Connection) -> None:
        """Also of one whose hello was on its way into the ledger: nothing stays there as connected that is not."""
        if self._connections.get(connection.agent) is connection:
            del self._connections[connection.agent]
            _LOG.info("agent disconnected agent=%s", connection.agent)
        if connection.since:
            self._recorder.note(Leaving(connection.agent, connection.since, AgentUnreachable.code, LOST))

    def _now(self) -> int:
        return self._ledger.database.clock()
