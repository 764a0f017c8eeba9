"""Offers: settings that the centre offers to agents, in roll-outs.

A roll-out offers the same settings to some agents. Staged, the first of them is the trial:

    roll-out  trial -> rest -> done          every agent applied it (or has a newer offer)
                    -> stopped               an agent failed; who has not got it does not get it
                    -> cancelled             a person ended it

    offer     waiting -> released -> sent -> applied
                                          -> failed        the agent refused it; its reason says what
              applied -> failed                            its files changed, and it does not fit them any more
              waiting, released, sent     -> superseded    the agent got a newer offer
              waiting, released           -> cancelled     the roll-out ended first

`revision` grows with each offer to an agent. An offer takes the place of the agent's offer before it as a whole: it
never adds to it. What the agent says of an offer counts, in a heartbeat as in the answer to the command.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Boolean, ColumnElement, Connection, RowMapping, func, insert, literal_column, select, update

from forebay_collector.ledger import audit, tables
from forebay_collector.ledger.commands import COLLECTOR
from forebay_collector.ledger.database import Database

TRIAL: Final = "trial"
REST: Final = "rest"
DONE: Final = "done"
STOPPED: Final = "stopped"
CANCELLED: Final = "cancelled"
WAITING: Final = "waiting"
RELEASED: Final = "released"
SENT: Final = "sent"
APPLIED: Final = "applied"
FAILED: Final = "failed"
SUPERSEDED: Final = "superseded"
UNSENT: Final = (WAITING, RELEASED)
OPEN: Final = (WAITING, RELEASED, SENT)
_OUTCOMES: Final = {"APPLIED": APPLIED, "FAILED": FAILED}
_OFFER: Final = tables.offer.c
_ROLLOUT: Final = tables.rollout.c
# written into the statements, not bound: a partial index is used only for literals
_UNDER_WAY: Final[ColumnElement[bool]] = literal_column("(offer.state = 'released' OR offer.command_id <> '')", Boolean)
_NOT_ENDED: Final[ColumnElement[bool]] = literal_column("rollout.ended_at = 0", Boolean)


@dataclass(frozen=True, slots=True)
class OfferRecord:
    """command_id: of the command that carries it, until that has ended. troubles: codes that the agent had when its offer was
    released; only of the first of a roll-out. configuration: what
    was in force when it applied the offer, JSON, empty where it did not say."""

    agent: str
    revision: int
    rollout_id: int
    is_first: bool
    state: str
    reason: str
    troubles: tuple[str, ...]
    command_id: str
    sent_at: int
    decided_at: int
    configuration: str


@dataclass(frozen=True, slots=True)
class RolloutRecord:
    """trial: microseconds that the first agent must stay healthy, 0: not staged. healthy_since: since when it is."""

    id: int
    settings: Mapping[str, Any]
    created_by: str
    created_at: int
    why: str
    trial: int
    state: str
    reason: str
    healthy_since: int
    ended_at: int


@dataclass(frozen=True, slots=True)
class OfferTold:
    """What an agent says of the newest offer that it was given; outcome: APPLIED, FAILED or empty."""

    agent: str
    revision: int
    outcome: str
    reason: str


def make(
    connection: Connection,
    at: int,
    agents: Mapping[str, int],
    settings: Mapping[str, Any],
    *,
    who: str,
    why: str,
    trial: int,
) -> int:
    """A new roll-out; -> its id. agents: name -> the highest revision that the agent says it was given; the first is the
    trial when `trial` is above 0, else all get it at once."""
    rollout_id: int = connection.execute(
        insert(tables.rollout)
        .values(
            settings=json.dumps(settings, ensure_ascii=False, sort_keys=True),
            created_by=who,
            created_at=at,
            why=why,
            trial=trial,
            state=TRIAL if trial else REST,
            reason="",
            healthy_since=0,
            ended_at=0,
        )
        .returning(_ROLLOUT.id)
    ).scalar_one()
    for number, (agent, told) in enumerate(agents.items()):
        of_agent = _OFFER.agent == agent
        last: int = connection.execute(select(func.coalesce(func.max(_OFFER.revision), 0)).where(of_agent)).scalar_one()
        _settle(connection, of_agent & _OFFER.state.in_(OPEN), SUPERSEDED, at, f"roll-out {rollout_id} took its place")
        connection.execute(
            insert(tables.offer).values(
                agent=agent,
                revision=max(last, told) + 1,
                rollout_id=rollout_id,
                is_first=int(number == 0 and trial > 0),
                state=WAITING if trial else RELEASED,
                reason="",
                troubles="[]",
                command_id="",
                sent_at=0,
                decided_at=0,
                configuration="",
            )
        )
    return rollout_id


def told(connection: Connection, at: int, said: Collection[OfferTold]) -> None:
    """What agents say of their offers, taken down when it is news."""
    for one in said:
        state = _OUTCOMES.get(one.outcome)
        if state is None:
            continue
        this = (_OFFER.agent == one.agent) & (_OFFER.revision == one.revision)
        news = _OFFER.state.in_((RELEASED, SENT, APPLIED, FAILED)) & (_OFFER.state != state)
        _decide(connection, this & news, state, at, one.reason)


def recall(connection: Connection, agent: str, revision: int) -> None:
    """The agent says that `revision` is the newest offer that it was given: what it was given after that is lost, and the
    newest of what it had in force is sent again."""
    mine = (_OFFER.agent == agent) & _OFFER.state.in_((SENT, APPLIED))
    newest = connection.execute(select(func.max(_OFFER.revision)).where(mine)).scalar_one()
    if newest is not None and newest > revision:
        this = (_OFFER.agent == agent) & (_OFFER.revision == newest)
        connection.execute(update(tables.offer).where(this).values(state=RELEASED, command_id=""))


def release_first(connection: Connection, rollout_id: int, agent: str, troubles: Sequence[str]) -> None:
    """The trial begins with this agent."""
    this = (_OFFER.rollout_id == rollout_id) & (_OFFER.agent == agent) & (_OFFER.state == WAITING)
    connection.execute(
        update(tables.offer).where(this).values(state=RELEASED, is_first=1, troubles=json.dumps(list(troubles)))
    )


def release_rest(connection: Connection, at: int, rollout_id: int) -> None:
    """The trial is passed: all others get the offer."""
    this = (_ROLLOUT.id == rollout_id) & (_ROLLOUT.state == TRIAL)
    if connection.execute(update(tables.rollout).where(this).values(state=REST, reason="")).rowcount:
        waiting = (_OFFER.rollout_id == rollout_id) & (_OFFER.state == WAITING)
        connection.execute(update(tables.offer).where(waiting).values(state=RELEASED))
        audit.record(connection, at, COLLECTOR, "roll-out", f"roll-out {rollout_id}", "the trial is passed")


def note(connection: Connection, rollout_id: int, reason: str, healthy_since: int) -> None:
    """Why the trial waits, and since when its agent is healthy."""
    connection.execute(
        update(tables.rollout).where(_ROLLOUT.id == rollout_id).values(reason=reason, healthy_since=healthy_since)
    )


def end(connection: Connection, at: int, rollout_id: int, state: str, reason: str, who: str, via: str = "") -> bool:
    """Ends a roll-out that is open; whether it was."""
    this = (_ROLLOUT.id == rollout_id) & (_ROLLOUT.ended_at == 0)
    ended = {"state": state, "reason": reason, "ended_at": at}
    if not connection.execute(update(tables.rollout).where(this).values(**ended)).rowcount:
        return False
    unsent = (_OFFER.rollout_id == rollout_id) & _OFFER.state.in_(UNSENT)
    _settle(connection, unsent, CANCELLED, at, f"the roll-out is {state}")
    detail = {"state": state} | ({"via": via} if via else {})
    audit.record(connection, at, who, f"roll-out {state}", f"roll-out {rollout_id}", reason, detail)
    return True


def taken(connection: Connection, at: int, record: OfferRecord) -> bool:
    """The offer is about to be sent; whether it is still released."""
    this = (_OFFER.agent == record.agent) & (_OFFER.revision == record.revision) & (_OFFER.state == RELEASED)
    return connection.execute(update(tables.offer).where(this).values(state=SENT, sent_at=at)).rowcount == 1


def sent(connection: Connection, record: OfferRecord, command_id: str) -> None:
    """The command that carries it."""
    this = (_OFFER.agent == record.agent) & (_OFFER.revision == record.revision)
    connection.execute(update(tables.offer).where(this).values(command_id=command_id))


def leave_out(connection: Connection, at: int, record: OfferRecord, reason: str) -> None:
    """The agent does not get it, and the roll-out goes on without."""
    this = (_OFFER.agent == record.agent) & (_OFFER.revision == record.revision) & _OFFER.state.in_(OPEN)
    _settle(connection, this, CANCELLED, at, reason)


def answered(
    connection: Connection, at: int, record: OfferRecord, state: str, reason: str, configuration: str = ""
) -> None:
    """The command that carried the offer has ended. state: APPLIED, FAILED, or RELEASED when it did not get there; a
    heartbeat may have said so before."""
    this = (_OFFER.agent == record.agent) & (_OFFER.revision == record.revision)
    values = {"command_id": ""} | ({"configuration": configuration} if configuration else {})
    connection.execute(update(tables.offer).where(this).values(**values))
    if state == RELEASED:
        connection.execute(update(tables.offer).where(this, _OFFER.state == SENT).values(state=RELEASED))
    else:
        _decide(connection, this & (_OFFER.state == SENT), state, at, reason)


class Offers:
    def __init__(self, database: Database) -> None:
        self._database = database

    def rollouts(self, *, only_open: bool = False, limit: int = 100, before: int | None = None) -> list[RolloutRecord]:
        """Newest first; before: only those with a smaller id."""
        query = select(tables.rollout).order_by(_ROLLOUT.id.desc()).limit(limit)
        if before is not None:
            query = query.where(_ROLLOUT.id < before)
        if only_open:
            query = query.where(_NOT_ENDED)
        with self._database.read() as connection:
            return [_to_rollout(row) for row in connection.execute(query).mappings()]

    def rollout(self, rollout_id: int) -> RolloutRecord | None:
        query = select(tables.rollout).where(_ROLLOUT.id == rollout_id)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else _to_rollout(row)

    def of_rollouts(self, rollouts: Collection[int]) -> list[OfferRecord]:
        """The offers of these roll-outs: the first, then by the agent's name."""
        query = select(tables.offer).where(_OFFER.rollout_id.in_(rollouts))
        return self._listing(query.order_by(_OFFER.rollout_id, _OFFER.is_first.desc(), _OFFER.agent))

    def open(self) -> list[OfferRecord]:
        """What is released to agents, and what was sent by a command that has not been followed to its end."""
        return self._listing(select(tables.offer).where(_UNDER_WAY))

    def newest(self, agents: Collection[str] | None = None) -> dict[str, OfferRecord]:
        """The newest offer of each agent that a person did not end before it was sent."""
        kept = _OFFER.state != CANCELLED
        last = select(_OFFER.agent, func.max(_OFFER.revision).label("revision")).where(kept).group_by(_OFFER.agent)
        if agents is not None:
            last = last.where(_OFFER.agent.in_(agents))
        newest = last.subquery()
        query = select(tables.offer).join(
            newest, (_OFFER.agent == newest.c.agent) & (_OFFER.revision == newest.c.revision)
        )
        return {record.agent: record for record in self._listing(query)}

    def of_agent(self, agent: str) -> list[OfferRecord]:
        """Newest first."""
        return self._listing(select(tables.offer).where(_OFFER.agent == agent).order_by(_OFFER.revision.desc()))

    def _listing(self, query: Any) -> list[OfferRecord]:
        with self._database.read() as connection:
            return [_to_offer(row) for row in connection.execute(query).mappings()]


def _decide(connection: Connection, chosen: Any, state: str, at: int, reason: str) -> None:
    """The agent's word on an offer, and in the audit."""
    rows = connection.execute(
        update(tables.offer)
        .where(chosen)
        .values(state=state, reason=reason[:2_000], decided_at=at)
        .returning(_OFFER.agent, _OFFER.revision, _OFFER.rollout_id)
    ).all()
    for row in rows:
        detail = {"revision": row.revision, "rollout": row.rollout_id}
        audit.record(connection, at, row.agent, f"offer {state}", row.agent, reason[:2_000], detail)


def _settle(connection: Connection, chosen: Any, state: str, at: int, reason: str) -> None:
    connection.execute(update(tables.offer).where(chosen).values(state=state, reason=reason, decided_at=at))


def _to_offer(row: RowMapping) -> OfferRecord:
    more = {"is_first": bool(row["is_first"]), "troubles": tuple(json.loads(row["troubles"]))}
    return OfferRecord(**{**row, **more})


def _to_rollout(row: RowMapping) -> RolloutRecord:
    return RolloutRecord(**{**row, "settings": json.loads(row["settings"])})
