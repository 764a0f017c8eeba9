"""Commands to agents: one function for each kind, and how each ended.

Each puts the command down in the ledger, from where the process that holds the agent's connection takes it, and records it
in the audit; the agent's answer, with what it did in words, goes into the audit when it comes. `wait` waits for it.
Whoever changes something says why.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from forebay_collector.errors import AgentUnreachable, CommandFailed, NotKnown, NotPossible
from forebay_collector.ledger import AgentRecord, Ledger
from forebay_collector.ledger.commands import CANCELLED, DONE, FAILED, OPEN, SENT, WAITING, CommandRecord
from forebay_collector.service import fleet
from forebay_collector.service.actor import Actor, Permission
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2

__all__ = ["CANCELLED", "DONE", "FAILED", "OPEN", "SENT", "WAITING", "CommandView", "Scope"]
TAKES: Final = timedelta(minutes=1)
"""How long a command waits for its agent to come, unless it is told otherwise."""
_LOOK_S: Final = 0.1
_WITH_A_FILE: Final = ("collect_diagnostics", "offer")
_NOTHING: Final = control_pb2.CommandResult()


@dataclass(frozen=True, slots=True)
class Scope:
    """What a pause is of: a stream, a source, or neither: the whole agent."""

    source: str = ""
    stream: StreamName | None = None

    def to_proto(self) -> control_pb2.Scope:
        stream = None if self.stream is None else self.stream.to_proto()
        return control_pb2.Scope(source=self.source, stream=stream)


WHOLE: Final = Scope()


@dataclass(frozen=True, slots=True)
class CommandView:
    """A command and what became of it. Times in microseconds, 0: not yet.

    state: waiting, sent, done, failed, cancelled. effect: what it did, in the agent's words. code, reason: why not. epoch,
    seq, rows: what the answer says of the stream. data_bytes: of a file that it asked for, about, as long as it is kept.
    """

    id: str
    agent: str
    department: str
    kind: str
    parameters: dict[str, Any]
    why: str
    asked_by: str
    asked_at: int
    sent_at: int
    ended_at: int
    expires_at: int
    state: str
    code: str
    reason: str
    effect: str
    epoch: int = 0
    seq: int = 0
    rows: int = 0
    data_bytes: int = 0

    @property
    def ended(self) -> bool:
        return self.state not in OPEN


def send(
    ledger: Ledger,
    actor: Actor,
    agent: str,
    command: control_pb2.Command,
    why: str,
    takes: timedelta | None = None,
) -> str:
    """-> the command's id. takes: how long it may wait for the agent to come, `TAKES` when it is not given.

    Raises: NotKnown; NotPermitted; NotPossible: the agent is revoked.
    """
    record = fleet.need(ledger, actor, agent, Permission.OPERATE)
    if record.revoked_at:
        raise NotPossible(f"agent {agent} is revoked", remedy="Enrol it with a new token first.")
    return ledger.commands.ask(agent, command, actor.name, takes or TAKES, why=why, via=actor.via)


def outcome(ledger: Ledger, actor: Actor, id: str) -> CommandView:  # noqa: A002 - the word that everybody uses
    """How a command stands. Raises NotKnown, NotPermitted."""
    record = ledger.commands.get(id)
    agent = ledger.agents.get(record.agent) if record is not None else None
    if record is None or agent is None or not actor.sees(agent.department):
        raise NotKnown(f"command {id} is not in the ledger", remedy="List them with `forebay-collector command list`.")
    return _view(record, agent.department, *ledger.commands.last(id))


def listing(
    ledger: Ledger, actor: Actor, agent: str = "", limit: int = 100, before: tuple[int, str] | None = None
) -> list[CommandView]:
    """Newest first, without what only the answers' parts say. before: `asked_at` and id of the last of the page before.

    Raises NotKnown (there is no such agent), NotPermitted.
    """
    if agent:
        departments = {agent: fleet.need(ledger, actor, agent).department}
    else:
        actor.require(Permission.SEE)
        records = ledger.agents.listing(departments=actor.departments)
        departments = {record.name: record.department for record in records}
    names = None if not agent and actor.departments is None else departments
    return [_view(one, departments.get(one.agent, "")) for one in ledger.commands.listing(names, limit, before)]


def data(ledger: Ledger, actor: Actor, id: str) -> Iterator[bytes]:  # noqa: A002
    """The file that the command asked for, in pieces, in order; nothing once it was tidied away. Raises NotKnown."""
    outcome(ledger, actor, id)
    for _, part in _parts(ledger, id):
        if part.data:
            yield part.data


def wait(
    ledger: Ledger,
    actor: Actor,
    id: str,  # noqa: A002
    takes: timedelta,
    say: Callable[[str], None] = lambda text: None,
) -> CommandView:
    """The command when it has ended.

    Raises:
        AgentUnreachable: the agent does not come for it, which ends it, or went away.
        CommandFailed: the agent says why not, or takes longer than `takes`; the command then goes on.
    """
    until = time.monotonic() + takes.total_seconds()
    while True:
        record = ledger.commands.get(id)
        if record is None:
            raise NotKnown(f"command {id} is not in the ledger")
        late = time.monotonic() > until
        expired = record.state == WAITING and ledger.database.clock() > record.expires_at
        if record.state == WAITING and (expired or late):
            ledger.commands.withdraw(id, "the agent did not come for it in time")
            continue
        if record.state not in OPEN or late:
            break
        say("waiting for the agent to come" if record.state == WAITING else "waiting for the agent's answer")
        time.sleep(_LOOK_S)
    what = f"agent {record.agent}: {record.kind}"
    if record.state == CANCELLED:
        raise AgentUnreachable(f"{what}: the agent is not connected: it did not come for the command")
    if record.code == AgentUnreachable.code:
        raise AgentUnreachable(f"{what}: {record.reason}")
    if record.state == FAILED:
        raise CommandFailed(f"{what}: {record.code}: {record.reason}")
    if record.state == SENT:
        raise CommandFailed(
            f"{what}: no answer within {takes.total_seconds():.0f} s",
            remedy="It goes on at the agent: see `forebay-collector command list`, or wait longer with --timeout.",
        )
    return outcome(ledger, actor, id)


def pause(ledger: Ledger, actor: Actor, agent: str, scope: Scope, why: str) -> str:
    """Nothing in scope is captured until it is resumed; what is in the outbox is still sent. Raises as `send`."""
    _own(ledger, actor, agent, scope.stream)
    return send(
        ledger, actor, agent, control_pb2.Command(pause=control_pb2.Pause(scope=scope.to_proto(), reason=why)), why
    )


def resume(ledger: Ledger, actor: Actor, agent: str, scope: Scope, why: str) -> str:
    """Raises as `send`."""
    _own(ledger, actor, agent, scope.stream)
    return send(ledger, actor, agent, control_pb2.Command(resume=control_pb2.Resume(scope=scope.to_proto())), why)


def snapshot(
    ledger: Ledger,
    actor: Actor,
    stream: StreamName,
    why: str,
    from_key: Sequence[Any] = (),
    to_key: Sequence[Any] = (),
    agent: str = "",
) -> str:
    """Reads the table, or the range of its keys, anew. Keys: one value for each key column, both included. agent: whose it
    is, where nothing was received of it yet. Raises as `send`."""
    keys = {name: _key(value) for name, value in (("from_key", from_key), ("to_key", to_key))}
    message = control_pb2.TakeSnapshot(stream=stream.to_proto(), **keys)
    return send(ledger, actor, _whose(ledger, actor, stream, agent), control_pb2.Command(take_snapshot=message), why)


def resend(
    ledger: Ledger, actor: Actor, stream: StreamName, epoch: int, from_seq: int, why: str, agent: str = ""
) -> str:
    """Sends again, from this seq on, what the outbox still holds. Raises as `send`."""
    message = control_pb2.Resend(stream=stream.to_proto(), epoch=epoch, from_seq=from_seq)
    return send(ledger, actor, _whose(ledger, actor, stream, agent), control_pb2.Command(resend=message), why)


def reload(ledger: Ledger, actor: Actor, agent: str, why: str) -> str:
    """The agent reads its configuration files now. Raises as `send`."""
    return send(ledger, actor, agent, control_pb2.Command(reload=control_pb2.Reload()), why)


def rotate(ledger: Ledger, actor: Actor, agent: str, why: str) -> str:
    """The agent renews its certificate now, with a new key. Raises as `send`."""
    return send(ledger, actor, agent, control_pb2.Command(rotate_certificate=control_pb2.RotateCertificate()), why)


def diagnostics(ledger: Ledger, actor: Actor, agent: str, why: str = "") -> str:
    """The agent answers one redacted archive: see `data`. Raises as `send`."""
    return send(ledger, actor, agent, control_pb2.Command(collect_diagnostics=control_pb2.CollectDiagnostics()), why)


def drain(
    ledger: Ledger, actor: Actor, agent: str, why: str = "", stream: StreamName | None = None, timeout_s: int = 300
) -> str:
    """The agent captures what is committed now and sends all of it. Raises as `send`."""
    _own(ledger, actor, agent, stream)
    message = control_pb2.Drain(timeout_seconds=timeout_s, stream=None if stream is None else stream.to_proto())
    return send(ledger, actor, agent, control_pb2.Command(drain=message), why)


def report(ledger: Ledger, actor: Actor, agent: str, why: str = "") -> str:
    """The agent's next heartbeat tells all of its streams, and its proposals come again. Raises as `send`."""
    return send(ledger, actor, agent, control_pb2.Command(report_all=control_pb2.ReportAll()), why)


def _own(ledger: Ledger, actor: Actor, agent: str, stream: StreamName | None) -> AgentRecord:
    record = fleet.need(ledger, actor, agent)
    if stream is not None and stream.department != record.department:
        raise NotPossible(
            f"stream {stream} is not one of agent {agent}, of department {record.department}",
            remedy="See its streams with `forebay-collector agents show`.",
        )
    return record


def _whose(ledger: Ledger, actor: Actor, stream: StreamName, agent: str) -> str:
    """The agent of a stream. Raises NotKnown, NotPossible."""
    if agent:
        _own(ledger, actor, agent, stream)
        return agent
    record = ledger.streams.get(stream) if actor.sees(stream.department) else None
    if record is None:
        raise NotKnown(f"stream {stream} is not in the ledger", remedy="Name its agent with --agent.")
    return record.agent


def _key(values: Sequence[Any]) -> str:
    return json.dumps(list(values), ensure_ascii=False) if values else ""


def _parts(ledger: Ledger, number: str) -> Iterator[tuple[int, control_pb2.CommandResult]]:
    after = 0
    while parts := ledger.commands.parts(number, after):
        yield from parts
        after = parts[-1][0]


def _view(
    record: CommandRecord, department: str, last: control_pb2.CommandResult = _NOTHING, size: int = 0
) -> CommandView:
    return CommandView(
        id=record.id,
        agent=record.agent,
        department=department,
        kind=record.kind,
        parameters=record.parameters,
        why=record.why,
        asked_by=record.created_by,
        asked_at=record.created_at,
        sent_at=record.sent_at,
        ended_at=record.ended_at,
        expires_at=record.expires_at,
        state=record.state,
        code=record.code,
        reason=record.reason,
        effect=record.effect,
        epoch=last.epoch,
        seq=last.seq,
        rows=last.rows,
        data_bytes=size if record.kind in _WITH_A_FILE else 0,
    )
