"""Commands to agents: whoever asks and whoever holds the agent's connection may be different processes.

    waiting -> sent -> done            answered; the parts hold the answer, `effect` says what it did
                    -> failed          the agent said why, or its connection ended
    waiting or sent -> cancelled       whoever asked went away, or nobody took it in time

A command that nobody took before `expires_at` is never sent. The parts of an answer are deleted by whoever asked once
they are read, and by `tidy` when nobody does. That it was asked for and how it ended both stand in the audit. Keys of rows
among the parameters never do, and leave the ledger when the command ends.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, cast

from google.protobuf import json_format
from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    and_,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from forebay_collector.ledger import audit
from forebay_collector.ledger.database import Database
from forebay_collector.ledger.tables import command, command_part
from forebay_wire.v1 import control_pb2

WAITING: Final = "waiting"
SENT: Final = "sent"
DONE: Final = "done"
FAILED: Final = "failed"
CANCELLED: Final = "cancelled"
OPEN: Final = (WAITING, SENT)
COLLECTOR: Final = "collector"
"""Who did it in the audit, when the collector did it by itself."""
LONGEST_TEXT: Final = 2_000
_US: Final = timedelta(microseconds=1)
# written into the statement, not bound: a partial index is used only for literals
_OPEN: Final[ColumnElement[bool]] = literal_column("command.state IN ('waiting', 'sent')", Boolean)
_UNTOLD: Final = ("fromKey", "toKey", "buckets")


@dataclass(frozen=True, slots=True)
class CommandRecord:
    """`code` and `reason` say why it failed, `effect` what it did. Times in microseconds, 0: not yet."""

    id: str
    agent: str
    kind: str
    parameters: dict[str, Any]
    created_by: str
    created_at: int
    expires_at: int
    state: str
    code: str
    reason: str
    ended_at: int
    why: str
    effect: str
    sent_at: int


def put(
    connection: Connection,
    at: int,
    agent: str,
    what: control_pb2.Command,
    *,
    who: str,
    takes: timedelta,
    why: str = "",
    via: str = "",
) -> str:
    """Puts a command down for the agent, and in the audit; -> its id. It is not sent any more once `takes` is over."""
    number = uuid.uuid4().hex
    kind = what.WhichOneof("kind") or ""
    connection.execute(
        insert(command).values(
            id=number,
            agent=agent,
            kind=kind,
            parameters=json_format.MessageToJson(what, indent=None, ensure_ascii=False),
            created_by=who,
            created_at=at,
            expires_at=at + takes // _US,
            state=WAITING,
            code="",
            reason="",
            ended_at=0,
            why=why,
            effect="",
            sent_at=0,
        )
    )
    detail = {"id": number, "kind": kind, "parameters": told(json_format.MessageToDict(what))}
    audit.record(connection, at, who, "command", agent, why, detail | ({"via": via} if via else {}))
    return number


def told(parameters: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a command without what may be a row's value."""
    inner: dict[str, Any] = next(iter(parameters.values()), {})
    return {name: "…" if name in _UNTOLD else value for name, value in inner.items()}


def lost(connection: Connection, at: int, agents: Collection[str], code: str, reason: str) -> None:
    """Fails what these agents were sent and have not answered."""
    if agents:
        _end(connection, at, _OPEN & command.c.agent.in_(agents) & (command.c.state == SENT), FAILED, code, reason)


class Commands:
    """The commands in one ledger. Every method raises LedgerUnavailable, LedgerDamaged."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def ask(
        self, agent: str, what: control_pb2.Command, who: str, takes: timedelta, *, why: str = "", via: str = ""
    ) -> str:
        """As `put`, in a transaction of its own."""
        with self._database.write() as connection:
            return put(connection, self._database.clock(), agent, what, who=who, takes=takes, why=why, via=via)

    def get(self, number: str) -> CommandRecord | None:
        with self._database.read() as connection:
            row = connection.execute(select(command).where(command.c.id == number)).mappings().one_or_none()
        return None if row is None else _to_record(row)

    def listing(
        self, agents: Collection[str] | None, limit: int = 100, before: tuple[int, str] | None = None
    ) -> list[CommandRecord]:
        """Newest first; None: of all agents. before: (created_at, id) of the last of the page before."""
        query = select(command).order_by(command.c.created_at.desc(), command.c.id).limit(limit)
        if before is not None:
            at, number = before
            query = query.where(or_(command.c.created_at < at, and_(command.c.created_at == at, command.c.id > number)))
        if agents is not None:
            query = query.where(command.c.agent.in_(agents))
        with self._database.read() as connection:
            return [_to_record(row) for row in connection.execute(query).mappings()]

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

    def last(self, number: str) -> tuple[control_pb2.CommandResult, int]:
        """The last part of the answer so far, an empty one where there is none, and the bytes of all parts."""
        of_it = command_part.c.command_id == number
        newest = select(command_part.c.content).where(of_it).order_by(command_part.c.part.desc()).limit(1)
        with self._database.read() as connection:
            content: bytes | None = connection.execute(newest).scalar_one_or_none()
            size: int = connection.execute(
                select(func.coalesce(func.sum(func.length(command_part.c.content)), 0)).where(of_it)
            ).scalar_one()
        return control_pb2.CommandResult.FromString(content or b""), size

    def data(self, number: str, most: int) -> bytes:
        """The file that the answer holds, empty when it is longer than `most`."""
        pieces, after, size = [], 0, 0
        while found := self.parts(number, after):
            after = found[-1][0]
            pieces += [part.data for _, part in found]
            size += sum(len(part.data) for _, part in found)
            if size > most:
                return b""
        return b"".join(pieces)

    def forget(self, number: str) -> None:
        """Whoever asked needs no more of it: an open command is cancelled, the parts are deleted."""
        with self._database.write() as connection:
            chosen = (command.c.id == number) & command.c.state.in_(OPEN)
            _end(connection, self._database.clock(), chosen, CANCELLED, "", "whoever asked went away")
            connection.execute(delete(command_part).where(command_part.c.command_id == number))

    def withdraw(self, number: str, reason: str) -> bool:
        """Cancels a command that nobody took yet; whether it was so."""
        with self._database.write() as connection:
            chosen = (command.c.id == number) & (command.c.state == WAITING)
            return _end(connection, self._database.clock(), chosen, CANCELLED, "", reason) > 0

    def waiting(self) -> set[str]:
        """The agents that a command waits for. Only reads."""
        now = self._database.clock()
        query = select(command.c.agent).where(_OPEN, command.c.state == WAITING, command.c.expires_at > now)
        with self._database.read() as connection:
            return set(connection.execute(query).scalars())

    def take(self, agents: Collection[str]) -> list[tuple[str, control_pb2.Command]]:
        """(agent, command) of what waits for these agents, now marked as sent."""
        now = self._database.clock()
        chosen = _OPEN & (command.c.state == WAITING) & (command.c.expires_at > now) & command.c.agent.in_(agents)
        with self._database.write() as connection:
            rows = connection.execute(
                update(command)
                .where(chosen)
                .values(state=SENT, sent_at=now)
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
                chosen = command.c.id == part.command_id
                at = self._database.clock()
                _end(connection, at, chosen, state, part.code, part.reason, part.effect, who=agent)
        return True

    def fail(self, agent: str, code: str, reason: str, number: str | None = None) -> None:
        """Fails what the agent was sent and has not answered. `number`: just this command."""
        chosen = _OPEN & (command.c.agent == agent) & (command.c.state == SENT)
        if number is not None:
            chosen &= command.c.id == number
        with self._database.write() as connection:
            _end(connection, self._database.clock(), chosen, FAILED, code, reason)

    def expire(self) -> None:
        """Ends what nobody took in time. Only reads while there is none."""
        late = _OPEN & (command.c.state == WAITING) & (command.c.expires_at < self._database.clock())
        with self._database.read() as connection:
            if connection.execute(select(command.c.id).where(late).limit(1)).first() is None:
                return
        with self._database.write() as connection:
            _end(connection, self._database.clock(), late, CANCELLED, "", "the agent did not come for it in time")

    def tidy(self, older: timedelta = timedelta(days=1), kept: timedelta = timedelta(days=90)) -> None:
        """Deletes the parts of answers that nobody fetched for so long, and what was asked for longer ago than `kept`."""
        self.expire()
        now = self._database.clock()
        with self._database.write() as connection:
            asked = select(command.c.id).where(command.c.created_at < now - older // _US)
            connection.execute(delete(command_part).where(command_part.c.command_id.in_(asked)))
            ended = command.c.state.not_in(OPEN) & (command.c.created_at < now - kept // _US)
            connection.execute(delete(command).where(ended))


def _end(
    connection: Connection,
    at: int,
    chosen: ColumnElement[bool],
    state: str,
    code: str,
    reason: str,
    effect: str = "",
    *,
    who: str = COLLECTOR,
) -> int:
    """Ends the chosen commands, and says so in the audit; -> how many."""
    code, reason, effect = code[:64], reason[:LONGEST_TEXT], effect[:LONGEST_TEXT]
    rows: Sequence[Any] = connection.execute(
        select(command.c.id, command.c.agent, command.c.kind, command.c.parameters).where(chosen)
    ).all()
    for row in rows:
        parameters = json.loads(row.parameters)
        kept = json.dumps({name: told(parameters) for name in parameters}, ensure_ascii=False)
        connection.execute(
            update(command)
            .where(command.c.id == row.id)
            .values(state=state, code=code, reason=reason, effect=effect, ended_at=at, parameters=kept)
        )
        detail = {"id": row.id, "kind": row.kind, "code": code} | ({"effect": effect} if code and effect else {})
        audit.record(connection, at, who, f"command {state}", row.agent, reason if code else effect or reason, detail)
    return len(rows)


def _to_record(row: Any) -> CommandRecord:
    return CommandRecord(**{**row, "parameters": told(json.loads(row["parameters"]))})
