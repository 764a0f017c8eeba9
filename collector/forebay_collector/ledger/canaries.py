"""Canaries: the last one of each source of each agent. Its way to `loaded` and back shows that everything is alive."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from sqlalchemy import Connection, bindparam, delete, insert, select

from forebay_collector.ledger import tables
from forebay_collector.ledger.database import Database

_CANARY: Final = tables.canary.c
_DELETE: Final = delete(tables.canary).where(
    _CANARY.agent == bindparam("of_agent"), _CANARY.source == bindparam("of_source")
)


@dataclass(frozen=True, slots=True)
class CanaryRecord:
    """As the agent tells it. kind: row, message or read. round_trip: microseconds, of the last one that was loaded; code
    and reason say why there is none."""

    agent: str
    source: str
    kind: str
    made_at: int
    loaded_at: int
    round_trip: int
    code: str
    reason: str


def put(connection: Connection, records: Sequence[CanaryRecord]) -> None:
    """Each in place of the one before of its source."""
    if records:
        connection.execute(_DELETE, [{"of_agent": one.agent, "of_source": one.source} for one in records])
        connection.execute(insert(tables.canary), [asdict(one) for one in records])


def clear(connection: Connection, agents: Collection[str]) -> None:
    connection.execute(delete(tables.canary).where(_CANARY.agent.in_(agents)))


class Canaries:
    def __init__(self, database: Database) -> None:
        self._database = database

    def listing(self, agents: Collection[str] | None = None) -> dict[str, list[CanaryRecord]]:
        """By agent, in the order of the sources; None: of all agents."""
        query = select(tables.canary).order_by(_CANARY.agent, _CANARY.source)
        if agents is not None:
            query = query.where(_CANARY.agent.in_(agents))
        found: dict[str, list[CanaryRecord]] = {}
        with self._database.read() as connection:
            for row in connection.execute(query).mappings():
                found.setdefault(row["agent"], []).append(CanaryRecord(**row))
        return found
