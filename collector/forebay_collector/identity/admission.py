"""Admission: which agent makes a call. The certificate says who; the ledger says whether it still may.

TLS has checked by then that the certificate is our authority's and has not expired.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final, NoReturn

import grpc
from cryptography import x509

from forebay_collector.errors import CollectorError, IdentityRefused
from forebay_collector.identity.names import Identity
from forebay_collector.ledger import AgentRecord, Ledger

RECHECK_S: Final = 5.0
"""How soon a revocation ends a connection that is open."""
_log = logging.getLogger(__name__)


def identity_of(context: grpc.aio.ServicerContext[Any, Any]) -> Identity:
    """Who the client certificate of a call names. Raises IdentityRefused."""
    certificates = context.auth_context().get("x509_pem_cert")
    if not certificates:
        raise IdentityRefused("no client certificate")
    try:
        return Identity.of(x509.load_pem_x509_certificate(next(iter(certificates))))
    except ValueError:
        raise IdentityRefused("client certificate cannot be read") from None


def find_agent(ledger: Ledger, identity: Identity) -> AgentRecord:
    """The agent, when this certificate is its current one. Raises IdentityRefused; the ledger's errors."""
    if identity.enrolment:
        raise IdentityRefused("a bootstrap certificate may enrol only")
    agent = ledger.agents.get(identity.agent)
    if agent is None or agent.department != identity.department:
        raise IdentityRefused(f"agent {identity.agent} of {identity.department} is not known")
    if agent.revoked_at:
        raise IdentityRefused(f"agent {agent.name} was revoked")
    if agent.serial != identity.serial:
        raise IdentityRefused(f"agent {agent.name} has enrolled again: this certificate is no longer its own")
    return agent


async def admit(context: grpc.aio.ServicerContext[Any, Any], ledger: Ledger) -> AgentRecord:
    """The agent that makes the call; a call that may not go on is ended with UNAUTHENTICATED (or UNAVAILABLE)."""
    try:
        return await asyncio.to_thread(find_agent, ledger, identity_of(context))
    except CollectorError as error:
        await refuse(context, error)


async def keep_admitted(context: grpc.aio.ServicerContext[Any, Any], ledger: Ledger) -> NoReturn:
    """Runs beside an open call and ends it when its agent is revoked or has enrolled again."""
    while True:
        await asyncio.sleep(RECHECK_S)
        try:
            await asyncio.to_thread(find_agent, ledger, identity_of(context))
        except CollectorError as error:
            await refuse(context, error)


async def refuse(context: grpc.aio.ServicerContext[Any, Any], error: CollectorError) -> NoReturn:
    """Ends the call with the error's code and message, and says so in the log."""
    refused = isinstance(error, IdentityRefused)
    _log.warning("call refused peer=%s code=%s reason=%s", context.peer(), error.code, error)
    status = grpc.StatusCode.UNAUTHENTICATED if refused else grpc.StatusCode.UNAVAILABLE
    await context.abort(status, f"{error.code}: {error}")
    raise AssertionError("abort returned")
