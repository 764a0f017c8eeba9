"""Agents: who may come in, with which certificate, and what each last said of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select, update

from forebay_collector.errors import NotKnown
from forebay_collector.ledger import audit, certificates, tables
from forebay_collector.ledger.database import Database
from forebay_collector.ledger.records import AgentRecord


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
        connection.execute(insert(tables.agent).values(**new, streams="[]", **values))


class Agents:
    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, name: str) -> AgentRecord | None:
        with self._database.read() as connection:
            row = connection.execute(select(tables.agent).where(tables.agent.c.name == name)).mappings().one_or_none()
        return None if row is None else _to_record(row)

    def listing(self, *, department: str = "") -> list[AgentRecord]:
        """By department and name."""
        query = select(tables.agent).order_by(tables.agent.c.department, tables.agent.c.name)
        if department:
            query = query.where(tables.agent.c.department == department)
        with self._database.read() as connection:
            return [_to_record(row) for row in connection.execute(query).mappings()]

    def hello(self, name: str, *, version: str, hostname: str, instance: str) -> None:
        """The agent came in."""
        self._update(name, version=version, hostname=hostname, instance=instance)

    def seen(self, name: str, *, health: Mapping[str, Any], streams: Sequence[Mapping[str, Any]]) -> None:
        """The agent's heartbeat; both are JSON."""
        self._update(
            name,
            health=json.dumps(health, ensure_ascii=False),
            streams=json.dumps(streams, ensure_ascii=False),
        )

    def revoke(self, name: str, *, who: str, why: str) -> None:
        """From now on the agent's certificate is refused. Raises NotKnown."""
        at = self._database.clock()
        with self._database.write() as connection:
            changed = connection.execute(
                update(tables.agent).where(tables.agent.c.name == name).values(revoked_at=at)
            ).rowcount
            if not changed:
                raise NotKnown(f"agent {name} is not in the ledger")
            audit.record(connection, at, who, "revoke", name, why)

    def _update(self, name: str, **values: str) -> None:
        changed = update(tables.agent).where(tables.agent.c.name == name)
        with self._database.write() as connection:
            connection.execute(changed.values(last_seen_at=self._database.clock(), **values))


def _to_record(row: RowMapping) -> AgentRecord:
    return AgentRecord(**{**row, "health": json.loads(row["health"]), "streams": json.loads(row["streams"])})
