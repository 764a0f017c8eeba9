"""Asking an agent for something from another process than the one that holds its connection, through the ledger."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Final

from forebay_collector.errors import AgentUnreachable, CommandFailed, NotKnown
from forebay_collector.ledger.commands import CANCELLED, DONE, FAILED, WAITING, Commands
from forebay_wire.v1 import control_pb2

PICKED_UP_WITHIN: Final = timedelta(seconds=10)
SILENT_AFTER: Final = timedelta(seconds=90)
_POLL_S: Final = 0.1


class Asking:
    """Asks one agent. `last_seen` gives the microseconds UTC at which the collector last heard of it."""

    def __init__(
        self, commands: Commands, agent: str, who: str, last_seen: Callable[[], int], *, takes: timedelta
    ) -> None:
        self._commands = commands
        self._agent = agent
        self._who = who
        self._last_seen = last_seen
        self._takes = takes

    def __call__(self, what: control_pb2.Command) -> Iterator[control_pb2.CommandResult]:
        """The parts of the answer, in order, as they come.

        Raises:
            AgentUnreachable: the agent does not take the command, or has fallen silent.
            CommandFailed: the agent says why not, or takes longer than `takes`.
        """
        number = self._commands.ask(self._agent, what, self._who, PICKED_UP_WITHIN)
        try:
            yield from self._answer(number, what.WhichOneof("kind") or "command")
        finally:
            self._commands.forget(number)

    def _answer(self, number: str, kind: str) -> Iterator[control_pb2.CommandResult]:
        began = time.monotonic()
        after = 0
        while True:
            state = self._commands.get(number)
            if state is None:
                raise NotKnown(f"command {number} is not in the ledger")
            for place, part in self._commands.parts(number, after):
                after = place
                if not part.code:
                    yield part
                    if part.done:
                        return
            self._check(state.state, state.code, state.reason, kind, time.monotonic() - began)
            if state.state != DONE:
                time.sleep(_POLL_S)

    def _check(self, state: str, code: str, reason: str, kind: str, waited: float) -> None:
        if state == FAILED:
            if code == AgentUnreachable.code:
                raise AgentUnreachable(f"agent {self._agent}: {reason}")
            raise CommandFailed(f"agent {self._agent}: {kind}: {code}: {reason}")
        if state == CANCELLED or (state == WAITING and waited > PICKED_UP_WITHIN.total_seconds()):
            raise AgentUnreachable(
                f"agent {self._agent} is not connected: it did not take the command {kind} within"
                f" {PICKED_UP_WITHIN.total_seconds():.0f} s"
            )
        silent_s = time.time() - self._last_seen() / 1_000_000
        if state != DONE and silent_s > SILENT_AFTER.total_seconds() and waited > PICKED_UP_WITHIN.total_seconds():
            raise AgentUnreachable(f"agent {self._agent} has been silent for {silent_s:.0f} s")
        if waited > self._takes.total_seconds():
            raise CommandFailed(
                f"agent {self._agent}: {kind} took longer than {self._takes.total_seconds():.0f} s",
                remedy="Ask again with a longer --timeout.",
            )
