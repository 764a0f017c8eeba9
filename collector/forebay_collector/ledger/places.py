"""Places: from which process and host an agent's identity came in. It shall be one at a time.

A process of an agent makes up its `instance` when it starts and never takes an earlier one again. So an instance, or a
host, that says hello again after another one did is still alive: two places use one identity. An agent that restarts, or
moves, is no alarm; whoever copies its key is one as soon as the agent comes back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import Connection, delete, insert, select, update

from forebay_collector.ledger import audit, tables

ACTION: Final = "identity in two places"
SAID_AGAIN_AFTER: Final = timedelta(minutes=10)
"""An alarm that goes on is recorded once in so long."""
KEPT: Final = timedelta(days=30)
_US: Final = timedelta(microseconds=1)
_PLACE: Final = tables.agent_place.c


@dataclass(frozen=True, slots=True)
class Place:
    """Where a hello came from. peer: the address of the connection's other end, without its port."""

    agent: str
    instance: str
    hostname: str
    peer: str

    def __str__(self) -> str:
        return f"{self.hostname or 'an unnamed host'} at {self.peer or 'an unknown address'}"


def arrived(connection: Connection, place: Place, at: int) -> str:
    """Notes a hello; -> what is wrong with it, empty when nothing is. Records the alarm in the audit."""
    of_agent = _PLACE.agent == place.agent
    known = [
        Place(row.agent, row.instance, row.hostname, row.peer)
        for row in connection.execute(
            select(tables.agent_place).where(of_agent).order_by(_PLACE.last_seen_at.desc())
        ).all()
    ]
    here = (place.instance, place.hostname)
    if here in [(one.instance, one.hostname) for one in known]:
        this = of_agent & (_PLACE.instance == place.instance) & (_PLACE.hostname == place.hostname)
        connection.execute(update(tables.agent_place).where(this).values(last_seen_at=at, peer=place.peer))
    else:
        values = {"agent": place.agent, "instance": place.instance, "hostname": place.hostname, "peer": place.peer}
        connection.execute(insert(tables.agent_place).values(**values, first_seen_at=at, last_seen_at=at))
        return ""
    if here == (known[0].instance, known[0].hostname):
        return ""
    return _alarm(connection, place, known[0], at)


def forget(connection: Connection, at: int) -> None:
    """Deletes the places that nobody came from for long."""
    connection.execute(delete(tables.agent_place).where(_PLACE.last_seen_at < at - KEPT // _US))


def _alarm(connection: Connection, back: Place, other: Place, at: int) -> str:
    name = tables.agent.c.name == back.agent
    said_at: int = connection.execute(select(tables.agent.c.two_places_at).where(name)).scalar_one()
    connection.execute(update(tables.agent).where(name).values(two_places_at=at))
    reason = f"{back} came in again after {other} had taken its place"
    if at - said_at > SAID_AGAIN_AFTER // _US:
        places = [{"instance": one.instance, "hostname": one.hostname, "peer": one.peer} for one in (back, other)]
        audit.record(connection, at, back.agent, ACTION, back.agent, reason, {"places": places})
    return reason
