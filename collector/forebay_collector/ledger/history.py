"""History of the agents' health: one compact sample a minute of each, kept for a time and then deleted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from sqlalchemy import Connection, bindparam, delete, insert, select

from forebay_collector.ledger import tables
from forebay_collector.ledger.database import Database

SAMPLE_EVERY_US: Final = 60_000_000
_AGENTS_AT_ONCE: Final = 50
_SAMPLE: Final = tables.health_sample.c
_DELETE: Final = delete(tables.health_sample).where(
    _SAMPLE.agent == bindparam("of_agent"), _SAMPLE.at == bindparam("of_at")
)


@dataclass(frozen=True, slots=True)
class HealthSample:
    """How an agent was at the first heartbeat of a minute. at: that minute's begin, microseconds.

    load_percent: 100 is one runnable process. clock_offset, round_trip (of the slowest canary): microseconds. Sizes in
    bytes. streams_troubled: how many had a code.
    """

    agent: str
    at: int
    cpu_permille: int
    load_percent: int
    memory_used_permille: int
    disk_free: int
    agent_rss: int
    outbox_batches: int
    outbox_bytes: int
    clock_offset: int
    streams_troubled: int
    round_trip: int


def minute(at: int) -> int:
    return at - at % SAMPLE_EVERY_US


def put(connection: Connection, samples: Sequence[HealthSample]) -> None:
    """A sample of a minute that there is one of already takes its place."""
    if samples:
        connection.execute(_DELETE, [{"of_agent": one.agent, "of_at": one.at} for one in samples])
        connection.execute(insert(tables.health_sample), [asdict(one) for one in samples])


class History:
    def __init__(self, database: Database) -> None:
        self._database = database

    def samples(self, agent: str, since: int, until: int | None = None) -> list[HealthSample]:
        """In order of time; since, until: microseconds, both included."""
        query = select(tables.health_sample).where(_SAMPLE.agent == agent, _SAMPLE.at >= since).order_by(_SAMPLE.at)
        if until is not None:
            query = query.where(_SAMPLE.at <= until)
        with self._database.read() as connection:
            return [HealthSample(*row) for row in connection.execute(query)]

    def expire(self, before: int) -> int:
        """Deletes the samples of before; -> how many. Some agents at a time, so that no other writer waits for long."""
        with self._database.read() as connection:
            agents = list(connection.execute(select(tables.agent.c.name)).scalars())
        gone = 0
        for first in range(0, len(agents), _AGENTS_AT_ONCE):
            some = agents[first : first + _AGENTS_AT_ONCE]
            with self._database.write() as connection:
                old = _SAMPLE.agent.in_(some) & (_SAMPLE.at < before)
                gone += connection.execute(delete(tables.health_sample).where(old)).rowcount
        return gone
