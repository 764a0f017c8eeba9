"""Identities as a test has them: tokens, certificates that were given, renewed or never given, and what became of them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from forebay_collector.identity.authority import Authority, key_pem, new_key, pem
from forebay_collector.identity.names import subject
from forebay_collector.identity.token import Token, make_token
from forebay_collector.ledger import AuditRecord
from forebay_collector.service import identity as service
from forebay_collector.service.actor import Actor
from forebay_wire.v1 import enroll_pb2, enroll_pb2_grpc
from tests.loading.control import HandAgent
from tests.receiving.batches import DEPARTMENT
from tests.receiving.collector import InProcess
from tests.receiving.sender import Credentials, Sender

AGENT = "scjg-01"
OPERATOR = Actor.local("li")
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED


def alarm(collector: InProcess, action: str, seconds: float = 10) -> AuditRecord:
    """The one entry with this action; the service derives an alarm from it."""
    deadline = time.monotonic() + seconds
    while not (entries := collector.ledger.audit.listing(action=action)):
        assert time.monotonic() < deadline, [entry.action for entry in collector.ledger.audit.listing()]
        time.sleep(0.02)
    (entry,) = entries
    derived = [view for view in service.alarms(collector.ledger, OPERATOR, 0) if view.id == entry.id]
    assert [(view.action, bool(view.meaning), bool(view.remedy)) for view in derived] == [(action, True, True)]
    return entry


def no_alarms(collector: InProcess) -> None:
    assert service.alarms(collector.ledger, OPERATOR, 0) == []


def refused(collector: InProcess, credentials: Credentials) -> grpc.StatusCode:
    """Both services refuse the certificate, with the same code."""
    with Sender(collector.address, credentials) as sender:
        upload: grpc.StatusCode = sender.failure().code()
    agent = HandAgent(collector.address, credentials)
    with pytest.raises(grpc.RpcError) as control:
        agent.hello(AGENT)
    agent.cut()
    assert control.value.code() is upload
    return upload


def signing_request() -> tuple[bytes, bytes]:
    """A PKCS#10 request and its key, PEM."""
    key = new_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "anybody")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.DER), key_pem(key)


def renew(collector: InProcess, credentials: Credentials) -> Credentials:
    request, key = signing_request()
    with credentials.channel(collector.address) as channel:
        response = enroll_pb2_grpc.EnrollServiceStub(channel).Renew(
            enroll_pb2.RenewRequest(signing_request=request), timeout=10
        )
    return Credentials(response.authority, response.certificate, key)


def confirm(collector: InProcess, credentials: Credentials) -> None:
    with credentials.channel(collector.address) as channel:
        enroll_pb2_grpc.EnrollServiceStub(channel).Confirm(enroll_pb2.ConfirmRequest(), timeout=10)


def enroll(collector: InProcess, token: Token) -> Credentials:
    request, key = signing_request()
    bootstrap = Credentials(token.authority.encode(), token.certificate.encode(), token.key.encode())
    with bootstrap.channel(collector.address) as channel:
        response = enroll_pb2_grpc.EnrollServiceStub(channel).Enroll(
            enroll_pb2.EnrollRequest(secret=token.secret, signing_request=request), timeout=10
        )
    return Credentials(response.authority, response.certificate, key)


def token_for(collector: InProcess, authority: Authority, agent: str = AGENT) -> Token:
    return make_token(
        collector.ledger, authority, agent=agent, department=DEPARTMENT, addresses=[collector.address], who="root"
    )


def signed(authority: Authority, agent: str, department: str, ours: Credentials) -> Credentials:
    """A certificate of this authority that no ledger knows."""
    key = new_key()
    certificate = authority._client(subject(agent, department), key.public_key(), datetime.now(UTC) + timedelta(days=1))
    return Credentials(ours.authority, pem(certificate), key_pem(key))


def comes_in(collector: InProcess, credentials: Credentials) -> None:
    with Sender(collector.address, credentials) as sender:
        sender.hello()
