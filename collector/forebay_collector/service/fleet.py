"""The fleet: every agent, how it stands, and how its appliance was over time."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from forebay_collector.errors import NotKnown
from forebay_collector.ledger import AgentRecord, Ledger, StreamRecord
from forebay_collector.ledger.history import HealthSample
from forebay_collector.load.backlog import Backlog, backlogs
from forebay_collector.service.actor import Actor, Permission
from forebay_collector.service.standing import AgentFacts, AgentView, CanaryView, agent_view
from forebay_collector.service.stream_standing import AgentStream, Colour, Why

__all__ = [
    "AgentStream",
    "AgentView",
    "CanaryView",
    "Colour",
    "HealthSample",
    "Why",
    "agent",
    "agents",
    "counts",
    "health",
    "need",
    "views",
]

_AT_A_TIME: Final = 100


def agents(ledger: Ledger, actor: Actor) -> list[AgentView]:
    """Every agent that the actor may see, by department and name. Raises NotPermitted."""
    actor.require(Permission.SEE)
    records = ledger.agents.listing(departments=actor.departments)
    waiting = backlogs(ledger, newest_too=False)
    found: list[AgentView] = []
    for start in range(0, len(records), _AT_A_TIME):  # what is read of a large fleet is not in memory all at once
        some = records[start : start + _AT_A_TIME]
        found += views(ledger, some, {record.name for record in some}, waiting).values()
    return found


def agent(ledger: Ledger, actor: Actor, name: str) -> AgentView:
    """Raises NotKnown, also where it is another department's; NotPermitted."""
    record = need(ledger, actor, name)
    return views(ledger, [record], {name})[name]


def health(ledger: Ledger, actor: Actor, name: str, since_us: int) -> list[HealthSample]:
    """One sample a minute since then, in order of time. Raises NotKnown, NotPermitted."""
    need(ledger, actor, name)
    return ledger.history.samples(name, since_us)


def counts(found: Collection[AgentView]) -> dict[Colour, int]:
    """How many agents stand how; every colour is there."""
    return {colour: sum(view.state is colour for view in found) for colour in Colour}


def need(ledger: Ledger, actor: Actor, name: str, permission: Permission = Permission.SEE) -> AgentRecord:
    """The agent's record. Raises NotKnown, also where the actor does not see its department; NotPermitted."""
    record = ledger.agents.get(name)
    if record is None or not actor.sees(record.department):
        raise NotKnown(f"agent {name} is not in the ledger")
    actor.require(permission, record.department)
    return record


def views(
    ledger: Ledger,
    records: Collection[AgentRecord],
    names: Collection[str],
    waiting: Mapping[int, Backlog] | None = None,
) -> dict[str, AgentView]:
    """How these agents stand now, in the order given. names: theirs. waiting: every stream's, read when it is not given."""
    said = ledger.agents.streams(names)
    canaries = ledger.canaries.listing(names)
    offers = ledger.offers.newest(names)
    received = ledger.streams.listing(agents=names)
    by_agent: dict[str, dict[str, StreamRecord]] = {}
    for stream in received:
        by_agent.setdefault(stream.agent, {})[str(stream.name)] = stream
    if waiting is None:
        waiting = backlogs(ledger, newest_too=False)
    now = ledger.database.clock()
    return {
        record.name: agent_view(
            AgentFacts(
                record,
                said.get(record.name, ()),
                by_agent.get(record.name, {}),
                waiting,
                canaries.get(record.name, ()),
                offers.get(record.name),
            ),
            now,
        )
        for record in records
    }
