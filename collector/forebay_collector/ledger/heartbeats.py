"""Heartbeats: what agents said of themselves within one moment, written for all of them in one transaction.

A thousand agents that beat every 15 s are 67 beats a second; written one by one they would be 67 syncs of the disk. Each
beat names only the streams whose state changed, and only those rows are written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from forebay_collector.ledger import canaries, commands, history, offers, places, tables
from forebay_collector.ledger.canaries import CanaryRecord
from forebay_collector.ledger.database import Database
from forebay_collector.ledger.history import HealthSample
from forebay_collector.ledger.offers import OfferTold
from forebay_collector.ledger.places import Place

_AGENT: Final = tables.agent.c
_SAID: Final = tables.agent_stream.c
_BEAT: Final = (
    update(tables.agent)
    .where(_AGENT.name == bindparam("of_agent"))
    .values(last_seen_at=bindparam("at"), health=bindparam("said"))
)
_DELETE: Final = delete(tables.agent_stream).where(
    _SAID.agent == bindparam("of_agent"), _SAID.stream == bindparam("of_stream")
)


@dataclass(frozen=True, slots=True)
class Hello:
    """An agent came in. at: microseconds, also what its connection is known by."""

    place: Place
    version: str
    heartbeat_ms: int
    at: int


@dataclass(frozen=True, slots=True)
class Leaving:
    """The connection that began with the hello of this moment has ended. reason: why its commands stay unanswered."""

    agent: str
    since: int
    code: str
    reason: str


class StreamSaid(NamedTuple):
    """What an agent says of one stream: the code of its trouble, empty when all is well, and StreamState as JSON."""

    code: str
    state: str


@dataclass(frozen=True, slots=True)
class Beat:
    """One heartbeat. health: JSON. streams: by name; whole: there are no others.

    told: what it says of its newest offer; None: nothing new. opening: it is the first of its connection.
    """

    agent: str
    at: int
    health: str
    streams: Mapping[str, StreamSaid]
    gone: Collection[str]
    whole: bool
    canaries: Sequence[CanaryRecord]
    sample: HealthSample | None
    told: OfferTold | None
    opening: bool


class Heartbeats:
    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, group: Iterable[Hello | Leaving | Beat]) -> list[str]:
        """Writes all of it, in order; -> alarms: identities in two places, in words. Raises the ledger's errors."""
        group = list(group)
        beats = [one for one in group if isinstance(one, Beat)]
        with self._database.write() as connection:
            _beats(connection, beats)
            _streams(connection, beats)
            _samples(connection, [beat.sample for beat in beats if beat.sample is not None])
            at = self._database.clock()
            alarms = []
            for one in group:
                if isinstance(one, Hello):
                    alarms.append(_hello(connection, one))
                elif isinstance(one, Leaving):
                    _leave(connection, one, at)
            for beat in beats:
                if beat.told is not None:
                    offers.told(connection, at, [beat.told])
                    if beat.opening:
                        offers.recall(connection, beat.agent, beat.told.revision)
        return [alarm for alarm in alarms if alarm]


def _beats(connection: Connection, beats: Sequence[Beat]) -> None:
    if beats:
        connection.execute(_BEAT, [{"of_agent": beat.agent, "at": beat.at, "said": beat.health} for beat in beats])
    whole = [beat.agent for beat in beats if beat.whole]
    if whole:
        canaries.clear(connection, whole)
    canaries.put(connection, list({(one.agent, one.source): one for beat in beats for one in beat.canaries}.values()))


def _streams(connection: Connection, beats: Sequence[Beat]) -> None:
    """Each agent's beats are folded first, so that a row is written once."""
    states: dict[str, dict[str, dict[str, Any] | None]] = {}
    whole = set()
    for beat in beats:
        of_agent = states.setdefault(beat.agent, {})
        if beat.whole:
            whole.add(beat.agent)
            of_agent.clear()
        of_agent.update(dict.fromkeys(beat.gone))
        for stream, said in beat.streams.items():
            of_agent[stream] = {"agent": beat.agent, "stream": stream, "reported_at": beat.at, **said._asdict()}
    if whole:
        connection.execute(delete(tables.agent_stream).where(_SAID.agent.in_(whole)))
    old = [
        {"of_agent": agent, "of_stream": stream}
        for agent, of_agent in states.items()
        for stream in of_agent
        if agent not in whole
    ]
    if old:
        connection.execute(_DELETE, old)
    rows = [row for of_agent in states.values() for row in of_agent.values() if row is not None]
    if rows:
        connection.execute(insert(tables.agent_stream), rows)


def _samples(connection: Connection, samples: Sequence[HealthSample]) -> None:
    """streams_troubled is counted here: a heartbeat names only the streams that changed."""
    if not samples:
        return
    troubled = (_SAID.code != "") & _SAID.agent.in_([sample.agent for sample in samples])
    query = select(_SAID.agent, func.count()).where(troubled).group_by(_SAID.agent)
    found: dict[str, int] = {row[0]: row[1] for row in connection.execute(query)}
    history.put(connection, [replace(one, streams_troubled=found.get(one.agent, 0)) for one in samples])


def _hello(connection: Connection, hello: Hello) -> str:
    place = hello.place
    commands.lost(
        connection, hello.at, [place.agent], "FB-AGENT-UNREACHABLE", "its connection ended before it answered"
    )
    alarm = places.arrived(connection, place, hello.at)
    connection.execute(
        update(tables.agent)
        .where(_AGENT.name == place.agent)
        .values(
            version=hello.version,
            hostname=place.hostname,
            instance=place.instance,
            last_seen_at=hello.at,
            connected_since=hello.at,
            heartbeat_ms=hello.heartbeat_ms,
        )
    )
    return alarm


def _leave(connection: Connection, leaving: Leaving, at: int) -> None:
    """Nothing happens when the agent has come in again meanwhile."""
    this = (_AGENT.name == leaving.agent) & (_AGENT.connected_since == leaving.since)
    if connection.execute(update(tables.agent).where(this).values(connected_since=0)).rowcount:
        commands.lost(connection, at, [leaving.agent], leaving.code, leaving.reason)
