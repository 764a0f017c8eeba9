"""Tokens: what may enrol an agent, once. Only the SHA-256 of a token's secret is kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy import insert, select, update

from forebay_collector.errors import NotPossible, TokenRefused
from forebay_collector.ledger import audit, tables
from forebay_collector.ledger.agents import put_certificate
from forebay_collector.ledger.database import Database
from forebay_collector.ledger.records import TokenRecord

SPENT_TWICE: Final = "token used twice"
"""The refusal of a token that was spent, in the audit."""


class Tokens:
    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        secret_sha256: bytes,
        *,
        agent: str,
        department: str,
        expires_at: int,
        who: str,
        why: str = "",
        detail: Mapping[str, Any] | None = None,
    ) -> None:
        """Raises NotPossible when the agent's name is already another department's."""
        at = self._database.clock()
        with self._database.write() as connection:
            query = select(tables.agent.c.department).where(tables.agent.c.name == agent)
            theirs: str | None = connection.execute(query).scalar_one_or_none()
            if theirs is not None and theirs != department:
                raise NotPossible(
                    f"agent {agent} belongs to department {theirs}, not {department}",
                    remedy="Choose another name for the agent.",
                )
            values = {"department": department, "agent": agent, "created_at": at, "created_by": who}
            connection.execute(
                insert(tables.token).values(secret_sha256=secret_sha256, **values, expires_at=expires_at, used_at=0)
            )
            noted = {**(detail or {}), "department": department}
            audit.record(connection, at, who, "token", agent, why, noted)

    def listing(self, *, departments: Collection[str] | None = None, usable: bool = False) -> list[TokenRecord]:
        """Newest first. usable: only those with which an agent can still enrol."""
        token = tables.token.c
        query = select(tables.token).order_by(token.created_at.desc())
        if departments is not None:
            query = query.where(token.department.in_(list(departments)))
        if usable:
            query = query.where(token.used_at == 0, token.expires_at > self._database.clock())
        with self._database.read() as connection:
            return [TokenRecord(**row) for row in connection.execute(query).mappings()]

    def find(self, secret_sha256: bytes) -> TokenRecord | None:
        query = select(tables.token).where(tables.token.c.secret_sha256 == secret_sha256)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else TokenRecord(**row)

    def use(self, secret_sha256: bytes, *, serial: str, expires_at: int, hostname: str, version: str) -> None:
        """Spends the token and gives its agent the certificate with this serial, in one transaction.

        Raises TokenRefused when it is not known, was used or has expired.
        """
        at = self._database.clock()
        token = tables.token.c
        with self._database.write() as connection:
            spent = connection.execute(
                update(tables.token)
                .where(token.secret_sha256 == secret_sha256, token.used_at == 0, token.expires_at > at)
                .values(used_at=at)
                .returning(token.agent, token.department)
            ).one_or_none()
            if spent is None:
                query = select(token.used_at).where(token.secret_sha256 == secret_sha256)
                if connection.execute(query).scalar_one_or_none():
                    raise TokenRefused("the token was used before", action=SPENT_TWICE)
                raise TokenRefused
            agent, department = spent
            put_certificate(connection, agent, department, serial, expires_at, at, hostname=hostname, version=version)
            audit.record(connection, at, agent, "enroll", agent, detail={"department": department, "serial": serial})
