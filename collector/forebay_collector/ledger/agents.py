"""Agents: who may come in, with which certificate, and what each last said of itself and of its streams."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, RowMapping, insert, select, update

from forebay_collector.errors import NotKnown
from forebay_collector.ledger import audit, certificates, tables
from forebay_collector.ledger.database import Database
from forebay_collector.ledger.records import AgentRecord


class Standing(NamedTuple):
    """serial: of its certificate in force. instance: of the process that said hello last."""

    department: str
    serial: str
    revoked_at: int
    instance: str


def put_certificate(
    connection: Connection,
    name: str,
    department: str,
    serial: str,
    expires_at: int,
    at: int,
    *,
    hostname: str,
    version: str,
) -> None:
    """The agent's certificate is now this one; the one before is good for nothing any more."""
    values = {"serial": serial, "expires_at": expires_at, "enrolled_at": at, "revoked_at": 0}
    values |= {"hostname": hostname, "version": version}
    certificates.enrolled(connection, name, serial, expires_at, at)
    known = tables.agent.c.name == name
    if connection.execute(update(tables.agent).where(known).values(**values)).rowcount == 0:
        new = {"name": name, "department": department, "last_seen_at": 0, "instance": "", "health": "{}"}
        new |= {"connected_since": 0, "heartbeat_ms": 0, "two_places_at": 0}
        connection.execute(insert(tables.agent).values(**new, **values))


class Agents:
    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, name: str) -> AgentRecord | None:
        with self._database.read() as connection:
            row = connection.execute(select(tables.agent).where(tables.agent.c.name == name)).mappings().one_or_none()
        return None if row is None else _to_record(row)

    def listing(self, *, department: str = "", departments: Collection[str] | None = None) -> list[AgentRecord]:
        """By department and name. departments: only of these, None: of all."""
        query = select(tables.agent).order_by(tables.agent.c.department, tables.agent.c.name)
        if department:
            query = query.where(tables.agent.c.department == department)
        if departments is not None:
            query = query.where(tables.agent.c.department.in_(departments))
        with self._database.read() as connection:
            return [_to_record(row) for row in connection.execute(query).mappings().all()]

    def streams(self, agents: Collection[str] | None = None) -> dict[str, list[dict[str, Any]]]:
        """What each agent last said of its streams, in the order of their names; None: of all agents."""
        said = tables.agent_stream.c
        query = select(said.agent, said.state).order_by(said.agent, said.stream)
        if agents is not None:
            query = query.where(said.agent.in_(agents))
        found: dict[str, list[dict[str, Any]]] = {}
        with self._database.read() as connection:
            for agent, state in connection.execute(query).all():
                found.setdefault(agent, []).append(json.loads(state))
        return found

    def standing(self) -> dict[str, Standing]:
        """What decides whether a connection that is open may go on, of all agents: much cheaper than their records."""
        agent = tables.agent.c
        query = select(agent.name, agent.department, agent.serial, agent.revoked_at, agent.instance)
        with self._database.read() as connection:
            return {row[0]: Standing(*row[1:]) for row in connection.execute(query)}

    def revoke(self, name: str, *, who: str, why: str, detail: Mapping[str, Any] | None = None) -> None:
        """From now on the agent's certificate is refused, and so are tokens that were made for it. Raises NotKnown."""
        at = self._database.clock()
        with self._database.write() as connection:
            changed = connection.execute(
                update(tables.agent).where(tables.agent.c.name == name).values(revoked_at=at)
            ).rowcount
            if not changed:
                raise NotKnown(f"agent {name} is not in the ledger")
            token = tables.token.c
            unused = (token.agent == name) & (token.used_at == 0) & (token.expires_at > at)
            ended = connection.execute(update(tables.token).where(unused).values(expires_at=at)).rowcount
            noted = {**(detail or {}), **({"tokens": ended} if ended else {})}
            audit.record(connection, at, who, "revoke", name, why, noted)


def _to_record(row: RowMapping) -> AgentRecord:
    return AgentRecord(**{**row, "health": json.loads(row["health"])})
