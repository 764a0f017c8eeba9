"""Approvals: what agents would share, and what may leave: decided column by column, each with its mask.

A column that is added later, or whose mask becomes weaker, waits while the rest flows. What was approved and is withdrawn
leaves no more from within seconds on; what the platform has of it stays there.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from forebay_collector.errors import CollectorError, NotKnown, NotPossible
from forebay_collector.ledger import Ledger
from forebay_collector.ledger.proposals import ProposalRecord, State
from forebay_collector.service.actor import Actor, Permission
from forebay_wire.stream import StreamName

ALL: Final = "all"
LONGEST_REASON: Final = 1_000


@dataclass(frozen=True, slots=True)
class ColumnView:
    """A column as it is proposed, and what was decided about it under this mask. decided_at 0: nobody decided."""

    name: str
    origin: str
    type: str
    mask: str
    in_key: bool
    state: State
    decided_by: str
    decided_at: int
    why: str
    approved_masks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProposalView:
    """What an agent would share of one table. Times are microseconds, 0 where there is none.

    state: waiting when any column waits, even if others flow. code, reason: why the agent could not describe the table.
    no_longer: columns that are approved and not proposed any more. closed_by, …: who rejected or withdrew all of it.
    """

    stream: StreamName
    agent: str
    state: State
    columns: tuple[ColumnView, ...]
    no_longer: tuple[str, ...]
    key: tuple[str, ...]
    mode: str
    guarantee: str
    update_cycle: str
    code: str
    reason: str
    first_seen_at: int
    changed_at: int
    gone_at: int
    closed_by: str
    closed_at: int
    closed_why: str

    @property
    def department(self) -> str:
        return self.stream.department

    @property
    def waiting(self) -> tuple[str, ...]:
        """The columns that wait for a decision."""
        return tuple(column.name for column in self.columns if column.state is State.WAITING)

    @property
    def flows(self) -> bool:
        """Whether anything of it may leave."""
        return any(column.state is State.APPROVED for column in self.columns)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one stream: the columns that were decided about, or why it was not done."""

    stream: StreamName
    columns: tuple[str, ...] = ()
    error: CollectorError | None = None


def proposals(
    ledger: Ledger, actor: Actor, state: str = State.WAITING, *, department: str = "", agent: str = ""
) -> list[ProposalView]:
    """By name. state: one of State, or `all`; waiting ones that are not configured any more are not told of.

    Raises NotPermitted.
    """
    actor.require(Permission.SEE, department)
    scope = {department} if department else actor.departments
    found = [_view(record) for record in ledger.approvals.listing(agent=agent, departments=scope)]
    if state == ALL:
        return found
    return [view for view in found if view.state == state and not (view.gone_at and view.state is State.WAITING)]


def proposal(ledger: Ledger, actor: Actor, stream: StreamName) -> ProposalView:
    """Raises NotKnown."""
    return _view(_need(ledger, actor, stream))


def approve(
    ledger: Ledger,
    actor: Actor,
    stream: StreamName,
    columns: Collection[str] = (),
    why: str = "",
    *,
    as_of: int | None = None,
) -> tuple[str, ...]:
    """Lets these columns leave under the masks they are proposed with; none named: all that nobody decided about.

    as_of: `changed_at` of the proposal that was looked at: refused when it is another one now. -> the columns.

    Raises:
        NotPermitted: the actor does not approve for this department.
        NotKnown: there is no such proposal, or no such column in it.
        NotPossible: nothing waits, a key column would stay out, or the proposal changed.
    """
    _may(ledger, actor, stream, why)
    done = ledger.approvals.approve(
        stream, columns, who=actor.name, why=why.strip(), detail={"via": actor.via}, as_of=as_of
    )
    return tuple(done)


def reject(
    ledger: Ledger, actor: Actor, stream: StreamName, columns: Collection[str] = (), why: str = ""
) -> tuple[str, ...]:
    """Says no to these columns; none named: to all that wait, and to the stream when nothing of it is approved.

    A reason is needed: the department reads it. Raises as `approve`; NotPossible when one is approved.
    """
    _may(ledger, actor, stream, why, needs_reason=True)
    return tuple(ledger.approvals.reject(stream, columns, who=actor.name, why=why.strip(), detail={"via": actor.via}))


def withdraw(
    ledger: Ledger, actor: Actor, stream: StreamName, columns: Collection[str] = (), why: str = ""
) -> tuple[str, ...]:
    """Takes an approval back, of these columns or of the whole stream. A reason is needed.

    Raises as `approve`; NotPossible when one is not approved, or is of the key.
    """
    _may(ledger, actor, stream, why, needs_reason=True)
    return tuple(ledger.approvals.withdraw(stream, columns, who=actor.name, why=why.strip(), detail={"via": actor.via}))


def approve_many(ledger: Ledger, actor: Actor, streams: Sequence[StreamName], why: str = "") -> list[Outcome]:
    """`approve` of all that waits, stream by stream: one that cannot be approved stops none of the others.

    Raises NotPermitted before anything is done.
    """
    for stream in streams:
        if actor.sees(stream.department):
            actor.require(Permission.APPROVE, stream.department)
    outcomes = []
    for stream in streams:
        try:
            outcomes.append(Outcome(stream, approve(ledger, actor, stream, why=why)))
        except CollectorError as error:
            outcomes.append(Outcome(stream, error=error))
    return outcomes


def _may(ledger: Ledger, actor: Actor, stream: StreamName, why: str, *, needs_reason: bool = False) -> None:
    actor.require(Permission.APPROVE)
    _need(ledger, actor, stream)
    actor.require(Permission.APPROVE, stream.department)
    if needs_reason and not why.strip():
        raise NotPossible("a reason is needed: the department reads it", remedy="Say why.")
    if len(why) > LONGEST_REASON:
        raise NotPossible(f"the reason is longer than {LONGEST_REASON} characters", remedy="Say it in fewer words.")


def _need(ledger: Ledger, actor: Actor, stream: StreamName) -> ProposalRecord:
    record = ledger.approvals.get(stream) if actor.sees(stream.department) else None
    if record is None:
        raise NotKnown(f"stream {stream} was not proposed", remedy="See `forebay-collector approvals --state all`.")
    return record


def _view(record: ProposalRecord) -> ProposalView:
    closed = record.decided.closed
    approved = record.decided.approved
    columns = []
    for column in record.columns:
        decision = record.decision(column)
        columns.append(
            ColumnView(
                column.name,
                column.origin,
                column.type,
                column.mask,
                column.name in record.key,
                decision.state,
                decision.by,
                decision.at,
                decision.why,
                tuple(sorted(approved.get(column.name, ()))),
            )
        )
    return ProposalView(
        stream=record.stream,
        agent=record.agent,
        state=record.state,
        columns=tuple(columns),
        no_longer=tuple(sorted(approved.keys() - {column.name for column in record.columns})),
        key=record.key,
        mode=record.mode,
        guarantee=record.guarantee,
        update_cycle=record.update_cycle,
        code=record.code,
        reason=record.reason,
        first_seen_at=record.first_seen_at,
        changed_at=record.changed_at,
        gone_at=record.gone_at,
        closed_by=closed.by if closed else "",
        closed_at=closed.at if closed else 0,
        closed_why=closed.why if closed else "",
    )
