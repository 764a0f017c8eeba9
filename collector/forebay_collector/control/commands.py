"""Commands to agents, in the ledger: whoever asks and whoever holds the agent's connection are different processes.

    waiting -> sent -> done            answered; the parts hold the answer
                    -> failed          the agent said why, or its connection ended
    waiting or sent -> cancelled       whoever asked went away

A command that nobody took before `expires_at` is never sent. The parts of an answer are deleted by whoever asked once
they are read, and by `tidy` when nobody does.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, cast

from google.protobuf import json_format
from sqlalchemy import ColumnElement, delete, func, insert, select, update

from forebay_collector.ledger.database import Database
from forebay_collector.ledger.tables import command, command_part
from forebay_wire.v1 import control_pb2

WAITING: Final = "waiting"
SENT: Final = "sent"
DONE: Final = "done"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
_OPEN: Final = (WAITING, SENT)


@dataclass(frozen=True, slots=True)
class CommandState:
    """`code` and `reason` say why it failed."""

    state: str
    code: str
    reason: str


class Commands:
    """The commands in one ledger. Every method raises LedgerUnavailable, LedgerDamaged."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ask(self, agent: str, what: control_pb2.Command, who: str, takes: timedelta) -> str:
        """Puts a command down for the agent; -> its id. It is not sent any more once `takes` is over."""
        number = uuid.uuid4().hex
        now = self._database.clock()
        with self._database.write() as connection:
            connection.execute(
                insert(command).values(
                    id=number,
                    agent=agent,
                    kind=what.WhichOneof("kind") or "",
                    parameters=json_format.MessageToJson(what, indent=None, ensure_ascii=False),
                    created_by=who,
                    created_at=now,
                    expires_at=now + takes // timedelta(microseconds=1),
                    state=WAITING,
                    code="",
                    reason="",
                    ended_at=0,
                )
            )
        return number

    def state(self, number: str) -> CommandState:
        with self._database.read() as connection:
            row = connection.execute(
                select(command.c.state, command.c.code, command.c.reason).where(command.c.id == number)
            ).one()
        return CommandState(row.state, row.code, row.reason)

    def parts(self, number: str, after: int) -> list[tuple[int, control_pb2.CommandResult]]:
        """The parts of the answer numbered above `after`, at most 16 of them, in order."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(command_part.c.part, command_part.c.content)
                .where(command_part.c.command_id == number, command_part.c.part > after)
                .order_by(command_part.c.part)
                .limit(16)
            ).all()
        return [(row.part, control_pb2.CommandResult.FromString(row.content)) for row in rows]

    def forget(self, number: str) -> None:
        """Whoever asked needs no more of it: an open command is cancelled, the parts are deleted."""
        with self._database.write() as connection:
            connection.execute(
                update(command)
                .where(command.c.id == number, command.c.state.in_(_OPEN))
                .values(state=CANCELLED, ended_at=self._database.clock())
            )
            connection.execute(delete(command_part).where(command_part.c.command_id == number))

    def waiting(self, agents: Collection[str]) -> bool:
        """Whether `take` would give something. Only reads."""
        with self._database.read() as connection:
            return connection.execute(select(command.c.id).where(self._takeable(agents)).limit(1)).first() is not None

    def take(self, agents: Collection[str]) -> list[tuple[str, control_pb2.Command]]:
        """(agent, command) of what waits for these agents, now marked as sent."""
        with self._database.write() as connection:
            rows = connection.execute(
                update(command)
                .where(self._takeable(agents))
                .values(state=SENT)
                .returning(command.c.id, command.c.agent, command.c.parameters, command.c.created_at)
            ).all()
        taken = []
        for row in sorted(rows, key=lambda row: cast(int, row.created_at)):
            message = json_format.Parse(row.parameters, control_pb2.Command())
            message.command_id = row.id
            taken.append((row.agent, message))
        return taken

    def answer(self, agent: str, part: control_pb2.CommandResult) -> bool:
        """Keeps one part of an answer; whether it belongs to a command that this agent was sent and nobody ended."""
        with self._database.write() as connection:
            known = connection.execute(
                select(command.c.id).where(
                    command.c.id == part.command_id, command.c.agent == agent, command.c.state == SENT
                )
            ).first()
            if known is None:
                return False
            last = connection.execute(
                select(func.coalesce(func.max(command_part.c.part), 0)).where(
                    command_part.c.command_id == part.command_id
                )
            ).scalar_one()
            connection.execute(
                insert(command_part).values(command_id=part.command_id, part=last + 1, content=part.SerializeToString())
            )
            if part.done or part.code:
                state = FAILED if part.code else DONE
                connection.execute(
                    update(command)
                    .where(command.c.id == part.command_id)
                    .values(state=state, code=part.code, reason=part.reason, ended_at=self._database.clock())
                )
        return True

    def fail(self, agent: str, code: str, reason: str, number: str | None = None) -> None:
        """Fails what the agent was sent and has not answered: its connection ended. `number`: just this command."""
        chosen = [command.c.agent == agent, command.c.state == SENT]
        if number is not None:
            chosen.append(command.c.id == number)
        with self._database.write() as connection:
            connection.execute(
                update(command)
                .where(*chosen)
                .values(state=FAILED, code=code, reason=reason, ended_at=self._database.clock())
            )

    def tidy(self, older: timedelta = timedelta(days=1)) -> None:
        """Deletes the parts of answers that nobody fetched for so long, and expires what nobody took."""
        now = self._database.clock()
        with self._database.write() as connection:
            connection.execute(
                update(command)
                .where(command.c.state == WAITING, command.c.expires_at < now)
                .values(state=CANCELLED, ended_at=now)
            )
            ended = select(command.c.id).where(command.c.created_at < now - older // timedelta(microseconds=1))
            connection.execute(delete(command_part).where(command_part.c.command_id.in_(ended)))

    def _takeable(self, agents: Collection[str]) -> ColumnElement[bool]:
        return (
            (command.c.state == WAITING)
            & (command.c.expires_at > self._database.clock())
            & command.c.agent.in_(list(agents))
        )
