"""Enrolment: a one-time token and a signing request in, the agent's certificate out; and its renewal.

`Enrolment` decides, whichever way it is asked: `EnrollServicer` takes what comes over a line, `forebay_collector.ferry` what
comes on a disk.

The names in the certificate come from the token. Spending the token and recording the certificate's serial are one
transaction of the ledger, so that a token never gives two certificates. Every refusal is audited.

    Renew, with the certificate in force     -> a certificate for a new key; it is good for Confirm and nothing else
    Confirm, with the new one                -> the new one is in force, the old one is refused
    Renew again before Confirm               -> the certificate that was given before is good for nothing
    Confirm, with the one in force           -> nothing changes: the answer to the first Confirm was lost
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Final

import grpc

from forebay_collector.errors import CollectorError, IdentityRefused, TokenRefused
from forebay_collector.identity import alarms
from forebay_collector.identity.admission import Context, admit, find_agent, identity_of, note_call_refused, refuse
from forebay_collector.identity.authority import AGENT_LIFE, Authority, pem
from forebay_collector.identity.names import Identity, expires_at_us, serial_text
from forebay_collector.identity.token import hash_secret
from forebay_collector.ledger import AgentRecord, Ledger
from forebay_wire.v1 import enroll_pb2, enroll_pb2_grpc

ENROLMENT: Final = "enrolment"
RENEWAL: Final = "renewal"
_MAX_REQUEST_BYTES = 16 << 10
_log = logging.getLogger(__name__)


class EnrollServicer(enroll_pb2_grpc.EnrollServiceServicer):
    def __init__(self, ledger: Ledger, authority: Authority) -> None:
        self._ledger = ledger
        self._enrolment = Enrolment(ledger, authority)

    async def Enroll(  # noqa: N802 - gRPC's name
        self, request: enroll_pb2.EnrollRequest, context: Context
    ) -> enroll_pb2.EnrollResponse:
        try:
            return await asyncio.to_thread(self._enrolment.spend, request, identity_of(context))
        except TokenRefused as error:
            _log.warning("enrolment refused peer=%s code=%s reason=%s", context.peer(), error.code, error)
            await asyncio.to_thread(note_call_refused, context, error, error.action, self._ledger)
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"{error.code}: {error}")
            raise AssertionError("abort returned") from None
        except CollectorError as error:
            await refuse(context, error, self._ledger)

    async def Renew(  # noqa: N802 - gRPC's name
        self, request: enroll_pb2.RenewRequest, context: Context
    ) -> enroll_pb2.RenewResponse:
        agent = await admit(context, self._ledger)
        try:
            return await asyncio.to_thread(self._enrolment.renew, request, agent)
        except CollectorError as error:
            await refuse(context, error, self._ledger)

    async def Confirm(  # noqa: N802 - gRPC's name
        self, request: enroll_pb2.ConfirmRequest, context: Context
    ) -> enroll_pb2.ConfirmResponse:
        try:
            await asyncio.to_thread(self._enrolment.confirm, identity_of(context))
        except CollectorError as error:
            await refuse(context, error, self._ledger)
        return enroll_pb2.ConfirmResponse()


class Enrolment:
    """Blocks on the ledger: call it from a thread. Raises LedgerUnavailable, LedgerDamaged, and what each method names.

    keep: is given each certificate (PEM) with its agent's name and `ENROLMENT` or `RENEWAL`, before the ledger knows it.
    """

    def __init__(
        self,
        ledger: Ledger,
        authority: Authority,
        life: timedelta = AGENT_LIFE,
        keep: Callable[[str, str, bytes], None] = lambda _agent, _how, _certificate: None,
    ) -> None:
        self._ledger = ledger
        self._authority = authority
        self._life = life
        self._keep = keep

    def renew(self, request: enroll_pb2.RenewRequest, agent: AgentRecord) -> enroll_pb2.RenewResponse:
        """A certificate for a new key of the agent, which came in with the one in force. Raises IdentityRefused."""
        if len(request.signing_request) > _MAX_REQUEST_BYTES:
            raise IdentityRefused("certificate signing request is too long")
        certificate = self._authority.agent_certificate(
            request.signing_request, agent.name, agent.department, self._life
        )
        self._keep(agent.name, RENEWAL, pem(certificate))
        self._ledger.certificates.renew(agent.name, agent.serial, serial_text(certificate), expires_at_us(certificate))
        _log.info("certificate renewed agent=%s department=%s", agent.name, agent.department)
        return enroll_pb2.RenewResponse(certificate=pem(certificate), authority=pem(self._authority.certificate))

    def confirm(self, identity: Identity) -> None:
        """Its certificate is in force from here on, if it is one that a renewal gave. Raises IdentityRefused."""
        try:
            find_agent(self._ledger, identity)
        except IdentityRefused as error:
            if error.action != alarms.UNCONFIRMED:
                raise
            self._ledger.certificates.confirm(identity.agent, identity.serial)
            _log.info("renewed certificate in force agent=%s", identity.agent)

    def spend(self, request: enroll_pb2.EnrollRequest, identity: Identity) -> enroll_pb2.EnrollResponse:
        """identity: of the token's bootstrap certificate, with which the request came. Raises TokenRefused, IdentityRefused."""
        if len(request.signing_request) > _MAX_REQUEST_BYTES:
            raise IdentityRefused("certificate signing request is too long")
        hashed = hash_secret(request.secret)
        token = self._ledger.tokens.find(hashed)
        if token is None or not hmac.compare_digest(token.secret_sha256, hashed):
            raise TokenRefused("the token is not known")
        if (token.agent, token.department) != (identity.agent, identity.department):
            raise TokenRefused("the token is not for the agent that its certificate names")
        if token.used_at:
            raise TokenRefused("the token was used before", action=alarms.SPENT_TWICE)
        certificate = self._authority.agent_certificate(
            request.signing_request, token.agent, token.department, self._life
        )
        self._keep(token.agent, ENROLMENT, pem(certificate))
        self._ledger.tokens.use(
            hashed,
            serial=serial_text(certificate),
            expires_at=expires_at_us(certificate),
            hostname=request.hostname[:256],
            version=request.version[:64],
        )
        _log.info("agent enrolled agent=%s department=%s", token.agent, token.department)
        return enroll_pb2.EnrollResponse(
            agent=token.agent,
            department=token.department,
            certificate=pem(certificate),
            authority=pem(self._authority.certificate),
        )
