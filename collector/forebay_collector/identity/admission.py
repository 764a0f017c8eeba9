"""Admission: which agent makes a call. The certificate says who; the ledger says whether it still may.

TLS has checked by then that the certificate is our authority's and had not expired when the connection was made. Every
refusal is in the log and in the audit, under the actions of `alarms.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from typing import Any, Final, NoReturn, Protocol, TypeAlias

import grpc
from cryptography import x509

from forebay_collector.errors import CollectorError, IdentityRefused
from forebay_collector.identity import alarms
from forebay_collector.identity.handshakes import address_of
from forebay_collector.identity.names import UNREADABLE, Identity
from forebay_collector.ledger import AgentRecord, Ledger
from forebay_collector.ledger.agents import Standing
from forebay_collector.ledger.certificates import Ended

RECHECK_S: Final = 5.0
"""How soon a revocation ends a connection that is open."""
_log = logging.getLogger(__name__)

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
_OF_CERTIFICATES: Final = (alarms.REVOKED, alarms.REPLACED, alarms.EXPIRED)


def identity_of(context: Context) -> Identity:
    """Who the client certificate of a call names. Raises IdentityRefused."""
    certificates = context.auth_context().get("x509_pem_cert")
    if not certificates:
        raise IdentityRefused("no client certificate", action=alarms.UNKNOWN)
    try:
        return Identity.of(x509.load_pem_x509_certificate(next(iter(certificates))))
    except UNREADABLE:
        raise IdentityRefused("client certificate cannot be read", action=alarms.UNKNOWN) from None


def host_of_peer(context: Context) -> str:
    """The other end's address, without its port."""
    address = address_of(context.peer())
    return address[0] if address is not None else ""


def find_agent(ledger: Ledger, identity: Identity) -> AgentRecord:
    """The agent, when this certificate is its current one. Raises IdentityRefused; the ledger's errors."""
    if identity.enrolment:
        raise IdentityRefused("a bootstrap certificate may enrol only", action=alarms.BOOTSTRAP)
    if identity.expires_at <= ledger.database.clock():
        raise IdentityRefused(f"the certificate of agent {identity.agent} has expired", action=alarms.EXPIRED)
    agent = ledger.agents.get(identity.agent)
    if agent is None:
        raise IdentityRefused(f"agent {identity.agent} is not known", action=alarms.UNKNOWN)
    if agent.department != identity.department:
        raise IdentityRefused(
            f"agent {agent.name} is not of department {identity.department}", action=alarms.WRONG_DEPARTMENT
        )
    if agent.revoked_at:
        raise IdentityRefused(f"agent {agent.name} was revoked", action=alarms.REVOKED)
    if agent.serial != identity.serial:
        raise _of_another_certificate(ledger, agent, identity)
    return agent


def _of_another_certificate(ledger: Ledger, agent: AgentRecord, identity: Identity) -> IdentityRefused:
    certificate = ledger.certificates.get(identity.serial)
    if certificate is None or certificate.agent != agent.name:
        return IdentityRefused(f"this certificate was never given to agent {agent.name}", action=alarms.UNKNOWN)
    if certificate.ended_by is Ended.NOT:
        return IdentityRefused(
            f"the renewed certificate of agent {agent.name} is not confirmed: it is good for nothing else yet",
            action=alarms.UNCONFIRMED,
        )
    return IdentityRefused(
        f"agent {agent.name} has a newer certificate: this one is no longer its own", action=alarms.REPLACED
    )


async def admit(context: Context, ledger: Ledger) -> AgentRecord:
    """The agent that makes the call; a call that may not go on is ended with UNAUTHENTICATED (or UNAVAILABLE)."""
    try:
        return await asyncio.to_thread(find_agent, ledger, identity_of(context))
    except CollectorError as error:
        await refuse(context, error, ledger)


class Call(Protocol):
    """An open call: whose it is, and how it is ended."""

    @property
    def identity(self) -> Identity: ...

    async def refuse(self, error: CollectorError, ledger: Ledger) -> None:
        """Ends the call. Never raises."""


async def end_refused(calls: Collection[Call], ledger: Ledger) -> dict[str, Standing]:
    """Ends those open calls whose agents may not go on: revoked, given another certificate, or the certificate is over. One
    query for all of them; -> what it said, by agent. Raises LedgerUnavailable, LedgerDamaged."""
    if not calls:
        return {}
    known = await asyncio.to_thread(ledger.agents.standing)
    now = ledger.database.clock()
    for call in list(calls):
        who, agent = call.identity, known.get(call.identity.agent)
        same = agent is not None and (agent.department, agent.serial) == (who.department, who.serial)
        if agent is None or not same or agent.revoked_at or who.expires_at <= now:
            try:
                await asyncio.to_thread(find_agent, ledger, who)
            except IdentityRefused as error:
                await call.refuse(error, ledger)
    return known


async def refuse(
    context: Context, error: CollectorError, ledger: Ledger | None = None, *, admitted: bool = False
) -> NoReturn:
    """Ends the call with the error's code and message, and says so in the log and in the audit.

    admitted: the call was let in before. That its certificate is refused now is no alarm: it was good when it came.
    """
    refused = isinstance(error, IdentityRefused)
    _log.warning("call refused peer=%s code=%s reason=%s", context.peer(), error.code, error)
    if isinstance(error, IdentityRefused) and ledger is not None:
        action = alarms.ENDED if admitted and error.action in _OF_CERTIFICATES else error.action
        await asyncio.to_thread(note_call_refused, context, error, action, ledger)
    status = grpc.StatusCode.UNAUTHENTICATED if refused else grpc.StatusCode.UNAVAILABLE
    await context.abort(status, f"{error.code}: {error}")
    raise AssertionError("abort returned")


def note_call_refused(context: Context, error: CollectorError, action: str, ledger: Ledger) -> None:
    """Records a refusal of whoever makes the call, bounded in how often."""
    why, peer = str(error), host_of_peer(context)
    try:
        identity = identity_of(context)
    except IdentityRefused:
        ledger.refusals.note("unknown", action, "unknown", why, {"code": error.code}, peer=peer, same=why)
        return
    note_refusal(identity, error, action, ledger, peer)


def note_refusal(identity: Identity, error: CollectorError, action: str, ledger: Ledger, peer: str) -> None:
    """Records a refusal of who came in under this certificate, bounded in how often. peer: from where."""
    why = str(error)
    detail = {"department": identity.department, "serial": identity.serial, "code": error.code}
    ledger.refusals.note(identity.agent, action, identity.agent, why, detail, peer=peer, same=why)
