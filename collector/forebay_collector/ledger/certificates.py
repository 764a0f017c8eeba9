"""Certificates: every one that was given to an agent, and what ended it. `agent.serial` says which one is in force.

enrolment                      -> in force, and whatever the agent had before is ended
renew                          -> given: ended_at is 0 and it is not in force; what was given and not taken up is ended
confirm                        -> in force, and the one before is ended
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import Connection, RowMapping, insert, select, update

from forebay_collector.errors import IdentityRefused
from forebay_collector.ledger import audit, tables
from forebay_collector.ledger.database import Database


class Ended(StrEnum):
    """What ended a certificate."""

    NOT = ""
    ENROLMENT = "enrolment"
    RENEWAL = "renewal"
    NOT_TAKEN_UP = "not taken up"


@dataclass(frozen=True, slots=True)
class CertificateRecord:
    """`ended_at` 0: it is in force, or it was given by a renewal that is not confirmed."""

    serial: str
    agent: str
    issued_at: int
    expires_at: int
    ended_at: int
    ended_by: Ended


_CERTIFICATE: Final = tables.certificate.c


def enrolled(connection: Connection, agent: str, serial: str, expires_at: int, at: int) -> None:
    """The agent enrolled: nothing that it had before is good any more."""
    _end(connection, agent, Ended.ENROLMENT, at)
    _give(connection, agent, serial, expires_at, at)


class Certificates:
    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, serial: str) -> CertificateRecord | None:
        query = select(tables.certificate).where(_CERTIFICATE.serial == serial)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else _to_record(row)

    def listing(self, agent: str) -> list[CertificateRecord]:
        """Every one that the agent was given, the newest first."""
        query = select(tables.certificate).where(_CERTIFICATE.agent == agent).order_by(_CERTIFICATE.issued_at.desc())
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all()
        return [_to_record(row) for row in rows]

    def renew(self, agent: str, present: str, serial: str, expires_at: int) -> None:
        """Gives the agent, which came in with `present`, a certificate that is good once it is confirmed.

        Raises IdentityRefused when `present` is not in force any more.
        """
        at = self._database.clock()
        with self._database.write() as connection:
            if _in_force(connection, agent) != present:
                raise IdentityRefused(f"agent {agent}: this certificate is no longer its own")
            _end(connection, agent, Ended.NOT_TAKEN_UP, at, but=present)
            _give(connection, agent, serial, expires_at, at)
            detail = {"serial": serial, "present": present, "expires_at": expires_at}
            audit.record(connection, at, agent, "renew", agent, detail=detail)

    def confirm(self, agent: str, serial: str) -> bool:
        """Puts a renewal's certificate in force; False when it is already.

        Raises IdentityRefused when it was not given to the agent, or is ended.
        """
        at = self._database.clock()
        with self._database.write() as connection:
            before = _in_force(connection, agent)
            if before == serial:
                return False
            given = (_CERTIFICATE.serial == serial) & (_CERTIFICATE.agent == agent) & (_CERTIFICATE.ended_at == 0)
            expires_at = connection.execute(select(_CERTIFICATE.expires_at).where(given)).scalar_one_or_none()
            if before is None or expires_at is None:
                raise IdentityRefused(f"agent {agent}: this certificate is no longer its own")
            _end(connection, agent, Ended.RENEWAL, at, but=serial)
            known = tables.agent.c.name == agent
            connection.execute(update(tables.agent).where(known).values(serial=serial, expires_at=expires_at))
            audit.record(connection, at, agent, "confirm", agent, detail={"serial": serial, "before": before})
            return True


def _to_record(row: RowMapping) -> CertificateRecord:
    return CertificateRecord(**{**row, "ended_by": Ended(row["ended_by"])})


def _in_force(connection: Connection, agent: str) -> str | None:
    """The serial with which the agent may come in; None when it is not known or revoked. Others that would change it wait."""
    query = select(tables.agent.c.serial).where(tables.agent.c.name == agent, tables.agent.c.revoked_at == 0)
    serial: str | None = connection.execute(query.with_for_update()).scalar_one_or_none()
    return serial


def _give(connection: Connection, agent: str, serial: str, expires_at: int, at: int) -> None:
    values = {"serial": serial, "agent": agent, "issued_at": at, "expires_at": expires_at}
    connection.execute(insert(tables.certificate).values(**values, ended_at=0, ended_by=Ended.NOT))


def _end(connection: Connection, agent: str, ended_by: Ended, at: int, but: str = "") -> None:
    open_ones = (_CERTIFICATE.agent == agent) & (_CERTIFICATE.ended_at == 0) & (_CERTIFICATE.serial != but)
    connection.execute(update(tables.certificate).where(open_ones).values(ended_at=at, ended_by=ended_by))
