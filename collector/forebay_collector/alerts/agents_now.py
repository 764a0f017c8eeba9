"""How the agents are now, as far as alerts need it: read every few seconds, of thousands of streams, without reading again
what did not change. A stream's state is parsed when its agent has told of it anew; `service.fleet` would parse all of them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, select

from forebay_collector.ledger import Ledger, tables

_MANY: Final = 300
"""More agents that told of something than this are read with all the others."""


@dataclass(frozen=True, slots=True)
class StreamNow:
    """What an agent last said of a stream. hours_left: None where the source does not forget. mark: changes when it moves."""

    name: str
    state: str
    code: str
    reason: str
    paused: bool
    mode: str
    hours_left: float | None
    bytes_behind: int
    mark: str

    @property
    def source(self) -> str:
        """`department/source`"""
        return self.name.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class AgentNow:
    """Times in microseconds. canaries: source -> (made at, loaded at) of those that are under way."""

    name: str
    department: str
    revoked_at: int
    last_seen_at: int
    heartbeat_ms: int
    expires_at: int
    outbox: Mapping[str, Any]
    clock_offset_us: int
    paused: bool
    streams: tuple[StreamNow, ...]
    canaries: Mapping[str, tuple[int, int]]


@dataclass(slots=True)
class AgentsNow:
    """Reads them, in one state of the ledger. Not for several threads."""

    ledger: Ledger
    _told: dict[tuple[str, str], tuple[int, StreamNow]] = field(default_factory=dict)

    def read(self) -> tuple[AgentNow, ...]:
        """By name. Raises the ledger's errors."""
        agent, canary = tables.agent.c, tables.canary.c
        query = select(
            agent.name,
            agent.department,
            agent.revoked_at,
            agent.last_seen_at,
            agent.heartbeat_ms,
            agent.expires_at,
            agent.health,
        ).order_by(agent.name)
        under_way = select(canary.agent, canary.source, canary.made_at, canary.loaded_at)
        canaries: dict[str, dict[str, tuple[int, int]]] = {}
        with self.ledger.database.read() as connection:
            agents = connection.execute(query).all()
            streams = self._streams(connection)
            for name, source, made, loaded in connection.execute(under_way.where(canary.made_at > canary.loaded_at)):
                canaries.setdefault(name, {})[source] = made, loaded
        found = []
        for name, department, revoked_at, last_seen_at, heartbeat_ms, expires_at, said in agents:
            health = json.loads(said)
            found.append(
                AgentNow(
                    name=name,
                    department=department,
                    revoked_at=revoked_at,
                    last_seen_at=last_seen_at,
                    heartbeat_ms=heartbeat_ms,
                    expires_at=expires_at,
                    outbox=health.get("outbox") or {},
                    clock_offset_us=int(health.get("clock_offset_us", 0)),
                    paused=bool(health.get("paused")),
                    streams=tuple(streams.get(name, ())),
                    canaries=canaries.get(name, {}),
                )
            )
        return tuple(found)

    def _streams(self, connection: Connection) -> Mapping[str, list[StreamNow]]:
        said = tables.agent_stream.c
        query = select(said.agent, said.stream, said.reported_at).order_by(said.agent, said.stream)
        when = connection.execute(query).all()
        changed = {
            agent for agent, stream, at in when if (known := self._told.get((agent, stream))) is None or known[0] != at
        }
        self._read_anew(connection, changed)
        found: dict[str, list[StreamNow]] = {}
        kept = {}
        for agent, stream, _ in when:
            known = self._told[agent, stream]
            kept[agent, stream] = known
            found.setdefault(agent, []).append(known[1])
        self._told = kept
        return found

    def _read_anew(self, connection: Connection, agents: Collection[str]) -> None:
        if not agents:
            return
        said = tables.agent_stream.c
        query = select(said.agent, said.stream, said.reported_at, said.state)
        if len(agents) <= _MANY:
            query = query.where(said.agent.in_(sorted(agents)))
        for agent, stream, at, state in connection.execute(query):
            known = self._told.get((agent, stream))
            if known is None or known[0] != at:
                self._told[agent, stream] = at, _stream(stream, json.loads(state))


def _stream(name: str, said: Mapping[str, Any]) -> StreamNow:
    hours = said.get("log_hours_left")
    return StreamNow(
        name=name,
        state=str(said.get("state", "")),
        code=str(said.get("code", "")),
        reason=str(said.get("reason", "")),
        paused=bool(said.get("paused")),
        mode=str(said.get("mode", "")),
        hours_left=None if hours is None else float(hours),
        bytes_behind=int(said.get("log_bytes_behind", 0)),
        mark=f"{said.get('position', '')} {said.get('epoch', 0)}/{said.get('sealed_seq', 0)}",
    )
