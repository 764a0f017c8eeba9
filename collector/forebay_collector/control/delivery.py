"""Delivery: what comes out of the ledger for the agents that are connected here, and who of them may stay.

commands      4 times a second   waiting -> sent
approvals     once a second      to whom they changed
roll-outs     once a second      offers are carried as commands, trials judged
admission     every RECHECK_S    one query for all connections: a revoked agent's ends
upkeep        every half minute  what nobody took expires, old answers, samples and places are deleted; memory goes back
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

from forebay_collector.control.approving import Approving
from forebay_collector.control.connection import ENDED, Connection
from forebay_collector.control.rollout import Rollouts
from forebay_collector.errors import AgentUnreachable, CollectorError, LedgerUnavailable
from forebay_collector.identity.admission import RECHECK_S, end_refused
from forebay_collector.ledger import Ledger, places
from forebay_collector.memory import give_back
from forebay_wire.v1 import control_pb2

COMMANDS_S: Final = 0.25
NEWS_S: Final = 1.0
UPKEEP_S: Final = 30.0
_TIDY_EVERY: Final = 20
"""runs of the upkeep"""
_MOST_SENDING: Final = 64
"""messages that one agent may be about to take"""
_US: Final = timedelta(microseconds=1)
_LOG: Final = logging.getLogger(__name__)


class Delivery:
    """connections: by the agent's name, as they are now."""

    def __init__(
        self,
        ledger: Ledger,
        connections: Mapping[str, Connection],
        approving: Approving,
        *,
        history: timedelta,
        recheck_s: float = RECHECK_S,
    ) -> None:
        self._ledger = ledger
        self._connections = connections
        self._approving = approving
        self._rollouts = Rollouts(ledger)
        self._history = history
        self._recheck_s = recheck_s
        self._sending: set[asyncio.Task[None]] = set()
        self._busy: dict[Connection, int] = {}
        self._upkeeps = 0

    async def run(self) -> None:
        """Until it is cancelled, or something has no name: then it raises that."""
        steps: Iterable[tuple[float, Callable[[], Awaitable[Any]]]] = (
            (COMMANDS_S, self.commands),
            (NEWS_S, self.approvals),
            (NEWS_S, self.rollouts),
            (self._recheck_s, self.admission),
            (UPKEEP_S, self.upkeep),
        )
        try:
            async with asyncio.TaskGroup() as group:
                for every_s, step in steps:
                    group.create_task(_repeat(every_s, step))
        except BaseExceptionGroup as died:
            raise died.exceptions[0] from died

    async def commands(self) -> int:
        """Hands over the commands that wait now; -> how many. Raises LedgerUnavailable, LedgerDamaged."""
        if not self._connections:
            return 0
        waiting = await asyncio.to_thread(self._ledger.commands.waiting)
        here = waiting & self._connections.keys()
        if not here:
            return 0
        taken = await asyncio.to_thread(self._ledger.commands.take, here)
        for agent, command in taken:
            connection = self._connections.get(agent)
            if connection is None:
                await self._failed(agent, command, "its connection ended")
            elif self._busy.get(connection, 0) >= _MOST_SENDING:
                await self._failed(agent, command, "it does not take what is sent to it")
            else:
                self._start(connection, self._hand_over(connection, command))
        return len(taken)

    async def approvals(self) -> None:
        """Tells agents what may leave, when that changed. Raises LedgerUnavailable, LedgerDamaged."""
        told = {agent: one.approved for agent, one in self._connections.items() if one.approved >= 0}
        if not told:
            return
        for agent, approvals in (await asyncio.to_thread(self._approving.changed, told)).items():
            connection = self._connections.get(agent)
            if connection is not None and self._busy.get(connection, 0) < _MOST_SENDING:
                connection.approved = approvals.revision
                self._start(connection, self._tell(connection, control_pb2.ControlResponse(approvals=approvals)))

    async def rollouts(self) -> None:
        """Raises LedgerUnavailable, LedgerDamaged."""
        await asyncio.to_thread(self._rollouts.step, frozenset(self._connections))

    async def admission(self) -> None:
        """Ends the connections of agents that may not go on, or that came in again elsewhere."""
        known = await end_refused(self._connections.values(), self._ledger)
        for connection in list(self._connections.values()):
            agent = known.get(connection.agent)
            if agent is not None and agent.instance != connection.instance:
                await connection.replace()

    async def upkeep(self) -> None:
        """Raises LedgerUnavailable, LedgerDamaged."""
        await asyncio.to_thread(self._ledger.commands.expire)
        await asyncio.to_thread(give_back)
        if self._upkeeps % _TIDY_EVERY == 0:
            await asyncio.to_thread(self._tidy)
        self._upkeeps += 1

    def _tidy(self) -> None:
        self._ledger.commands.tidy()
        now = self._ledger.database.clock()
        self._ledger.history.expire(now - self._history // _US)
        with self._ledger.database.write() as connection:
            places.forget(connection, now)

    def _start(self, connection: Connection, sending: Any) -> None:
        """Sends beside the others: one agent that does not take its messages holds up nobody."""
        self._busy[connection] = self._busy.get(connection, 0) + 1
        task = asyncio.create_task(sending)
        self._sending.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._sending.discard(task)
            self._busy[connection] -= 1
            if not self._busy[connection]:
                del self._busy[connection]

        task.add_done_callback(done)

    async def _hand_over(self, connection: Connection, command: control_pb2.Command) -> None:
        if not await self._tell(connection, control_pb2.ControlResponse(command=command)):
            await self._failed(connection.agent, command, "it does not take what is sent to it")

    async def _tell(self, connection: Connection, message: control_pb2.ControlResponse) -> bool:
        try:
            await connection.send(message)
        except (TimeoutError, *ENDED) as error:
            _LOG.info("not sent agent=%s reason=%s", connection.agent, type(error).__name__)
            return False
        return True

    async def _failed(self, agent: str, command: control_pb2.Command, reason: str) -> None:
        try:
            await asyncio.to_thread(
                self._ledger.commands.fail, agent, AgentUnreachable.code, reason, command.command_id
            )
        except CollectorError as error:
            _LOG.warning("the end of a command is not recorded agent=%s reason=%s", agent, error)


async def _repeat(every_s: float, step: Callable[[], Awaitable[Any]]) -> None:
    while True:
        try:
            await step()
        except LedgerUnavailable as error:
            _LOG.warning("%s waits for the ledger: %s", getattr(step, "__name__", "step"), error)
        await asyncio.sleep(every_s)
