"""One agent's control call, as small as it can be: a collector holds a thousand of them that say nothing most of the time.

It has no task and no queue of its own: the call's handler reads, whoever has something to say writes. Of the agent it
keeps only what the next message is judged by.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any, Final, TypeAlias

import grpc

from forebay_collector.errors import CollectorError, IdentityRefused
from forebay_collector.identity.admission import refuse
from forebay_collector.identity.names import Identity
from forebay_collector.ledger import Ledger
from forebay_wire import limits
from forebay_wire.v1 import control_pb2

SEND_S: Final = 10.0
"""How long an agent may take to take a message; then it is stuck."""
_LOG: Final = logging.getLogger(__name__)

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
ENDED: Final = (grpc.aio.BaseError, asyncio.InvalidStateError)
"""what gRPC raises in whoever ends a call, or writes to one that has ended"""


class Connection:
    """`since`: the moment of its hello, microseconds; with the agent's name that is what the ledger knows it by."""

    __slots__ = (
        "_base",
        "_context",
        "_streams",
        "_writing",
        "answered",
        "approved",
        "canaries",
        "identity",
        "instance",
        "offer_known",
        "sampled",
        "since",
    )

    def __init__(self, context: Context, identity: Identity) -> None:
        self._context = context
        self._writing = asyncio.Lock()
        self._base = 0
        self._streams = 0
        self.identity = identity
        self.instance = ""
        self.since = 0
        self.sampled = 0
        """the minute of the newest sample of its health"""
        self.offer_known: tuple[int, str] | None = None
        """what it said last of its newest offer; None: nothing yet"""
        self.canaries = 0
        """what it said last of its canaries, hashed"""
        self.approved = -1
        """the revision of the approvals that it was told last"""
        self.answered: dict[str, int] = {}
        """bytes of each command's answer so far"""

    @property
    def agent(self) -> str:
        return self.identity.agent

    async def read(self) -> control_pb2.ControlRequest | None:
        """The agent's next message; None: it has sent its last."""
        message = await self._context.read()
        return message if isinstance(message, control_pb2.ControlRequest) else None

    async def send(self, message: control_pb2.ControlResponse) -> None:
        """Raises TimeoutError when the agent does not take it; what gRPC raises once the call has ended."""
        async with asyncio.timeout(SEND_S), self._writing:
            await self._context.write(message)

    async def refuse(self, error: CollectorError, ledger: Ledger, *, admitted: bool = True) -> None:
        """Ends the call from outside its handler, with the error's code and message. Never raises."""
        with suppress(*ENDED):
            await refuse(self._context, error, ledger, admitted=admitted)

    async def replace(self) -> None:
        """Ends the call because the agent came in again. Never raises."""
        _LOG.info("agent came in again, its older connection ends agent=%s", self.agent)
        with suppress(*ENDED):
            await self._context.abort(grpc.StatusCode.ABORTED, "a newer connection of this agent came in")

    # which heartbeats attach

    def attaches(self, beat: control_pb2.Heartbeat) -> bool:
        """Whether what the heartbeat says of streams can be taken: it tells all of them, or what changed since one that was
        taken on this connection. What an agent adds without ever telling all of them is bounded too."""
        if beat.since == 0:
            return True
        few = self._streams + len(beat.streams) <= limits.MAX_STREAMS
        return 0 < beat.since <= self._base and few

    def taken(self, beat: control_pb2.Heartbeat) -> None:
        """The heartbeat attached, and is in the ledger."""
        self._base = beat.number
        self._streams = len(beat.streams) if beat.since == 0 else self._streams + len(beat.streams)

    def __repr__(self) -> str:
        return f"<control of {self.agent} since {self.since}>"


def of_agent(agent: str, hello: control_pb2.AgentHello, protocol: int) -> None:
    """Checks a hello against the certificate it came with. Raises IdentityRefused."""
    if hello.agent != agent:
        raise IdentityRefused(f"the hello is not that of agent {agent}, whose certificate it came with")
    if hello.protocol != protocol:
        raise IdentityRefused(
            f"agent {agent} speaks protocol {hello.protocol}, this collector {protocol}: install matching versions"
        )
