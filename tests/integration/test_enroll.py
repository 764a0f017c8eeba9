"""Enrolment and admission over real TLS: one token, one certificate, and who is let in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from forebay_collector.founding import init
from forebay_collector.identity.authority import Authority, key_pem, new_key
from forebay_collector.identity.names import Identity
from forebay_collector.identity.token import Token, make_token
from forebay_wire.v1 import control_pb2, control_pb2_grpc, enroll_pb2, enroll_pb2_grpc
from tests.receiving.batches import DEPARTMENT, STREAM, chained
from tests.receiving.collector import InProcess, enrolled
from tests.receiving.sender import Credentials, Sender


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[InProcess]:
    with InProcess(init(tmp_path / "data", ["127.0.0.1:0"], "auto")) as running:
        yield running


def token_for(collector: InProcess, agent: str = "scjg-01", life: timedelta = timedelta(hours=1)) -> Token:
    authority = Authority.load(collector.settings.data.identity)
    return make_token(
        collector.ledger,
        authority,
        agent=agent,
        department=DEPARTMENT,
        addresses=[collector.address],
        who="root",
        life=life,
    )


def bootstrap(token: Token) -> Credentials:
    return Credentials(token.authority.encode(), token.certificate.encode(), token.key.encode())


def enroll(collector: InProcess, credentials: Credentials, secret: str) -> tuple[Any, Credentials]:
    key = new_key()
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "root")]))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.DER)
    )
    with credentials.channel(collector.address) as channel:
        response = enroll_pb2_grpc.EnrollServiceStub(channel).Enroll(
            enroll_pb2.EnrollRequest(secret=secret, signing_request=request, hostname="appliance", version="1"),
            timeout=10,
        )
    return response, Credentials(response.authority, response.certificate, key_pem(key))


def refusal(collector: InProcess, credentials: Credentials, secret: str) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as refused:
        enroll(collector, credentials, secret)
    assert secret not in str(refused.value)
    code: grpc.StatusCode = refused.value.code()
    return code


def test_a_token_becomes_a_certificate_that_uploads(collector: InProcess) -> None:
    token = token_for(collector)
    response, credentials = enroll(collector, bootstrap(token), token.secret)
    assert (response.agent, response.department) == ("scjg-01", DEPARTMENT)
    identity = Identity.of(x509.load_pem_x509_certificate(response.certificate))
    assert (identity.agent, identity.department, identity.enrolment) == ("scjg-01", DEPARTMENT, False)
    agent = collector.ledger.agents.get("scjg-01")
    assert agent is not None
    assert (agent.serial, agent.hostname) == (identity.serial, "appliance")
    with Sender(collector.address, credentials) as sender:
        sender.hello()
        sender.schema()
        sender.send(*chained(2))
        sender.durable(2)
    assert collector.ledger.audit.listing(action="enroll")[0].subject == "scjg-01"


def test_a_token_is_good_once_and_the_second_use_is_audited(collector: InProcess) -> None:
    token = token_for(collector)
    _, first = enroll(collector, bootstrap(token), token.secret)
    assert refusal(collector, bootstrap(token), token.secret) is grpc.StatusCode.PERMISSION_DENIED
    entries = collector.ledger.audit.listing(action="token used twice")
    assert [entry.subject for entry in entries] == ["scjg-01"]
    assert token.secret not in str(entries)
    with Sender(collector.address, first) as sender:
        sender.hello()  # the certificate that the token gave is still good


def test_a_secret_that_was_guessed_or_is_anothers_is_refused(collector: InProcess) -> None:
    mine, other = token_for(collector), token_for(collector, "scjg-02")
    assert refusal(collector, bootstrap(mine), "guessed") is grpc.StatusCode.PERMISSION_DENIED
    assert refusal(collector, bootstrap(mine), other.secret) is grpc.StatusCode.PERMISSION_DENIED
    assert len(collector.ledger.audit.listing(action="enroll refused")) == 2
    enroll(collector, bootstrap(other), other.secret)


def test_an_expired_token_does_not_even_connect(collector: InProcess) -> None:
    token = token_for(collector, life=timedelta(seconds=-1))
    assert refusal(collector, bootstrap(token), token.secret) is grpc.StatusCode.UNAVAILABLE


def test_a_bootstrap_certificate_is_good_for_enrolment_only(collector: InProcess) -> None:
    credentials = bootstrap(token_for(collector))
    with Sender(collector.address, credentials) as sender:
        assert sender.failure().code() is grpc.StatusCode.UNAUTHENTICATED
    hello = control_pb2.ControlRequest(hello=control_pb2.AgentHello(agent="scjg-01", protocol=1))
    with credentials.channel(collector.address) as channel:
        answers = control_pb2_grpc.ControlServiceStub(channel).Control(iter([hello]))
        with pytest.raises(grpc.RpcError) as refused:
            next(answers)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_an_expired_certificate_does_not_connect(collector: InProcess) -> None:
    credentials = enrolled(collector.settings, collector.ledger, life=timedelta(seconds=-5))
    with Sender(collector.address, credentials) as sender:
        assert sender.failure().code() is grpc.StatusCode.UNAVAILABLE


def test_a_certificate_of_another_authority_does_not_connect(collector: InProcess, tmp_path: Path) -> None:
    ours = enrolled(collector.settings, collector.ledger)
    foreign = Authority.create(tmp_path)
    certificate, key = foreign.bootstrap_certificate("scjg-01", DEPARTMENT, datetime.now(UTC) + timedelta(days=1))
    credentials = Credentials(ours.authority, certificate.public_bytes(serialization.Encoding.PEM), key_pem(key))
    with Sender(collector.address, credentials) as sender:
        assert sender.failure().code() is grpc.StatusCode.UNAVAILABLE


def test_no_client_certificate_no_connection(collector: InProcess) -> None:
    authority = enrolled(collector.settings, collector.ledger).authority
    options = [("grpc.ssl_target_name_override", "forebay-collector"), ("grpc.use_local_subchannel_pool", 1)]
    credentials = grpc.ssl_channel_credentials(authority)
    with grpc.secure_channel(collector.address, credentials, options=options) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            enroll_pb2_grpc.EnrollServiceStub(channel).Enroll(enroll_pb2.EnrollRequest(), timeout=5)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_revoked_agent_is_refused_and_an_open_connection_ends(
    collector: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forebay_collector.identity.admission.RECHECK_S", 0.1)
    credentials = enrolled(collector.settings, collector.ledger)
    with Sender(collector.address, credentials) as sender:
        sender.hello()
        collector.ledger.agents.revoke("scjg-01", who="root", why="appliance stolen")
        assert sender.failure().code() is grpc.StatusCode.UNAUTHENTICATED
    with Sender(collector.address, credentials) as again:
        assert again.failure().code() is grpc.StatusCode.UNAUTHENTICATED


def test_enrolling_again_ends_the_certificate_before(collector: InProcess) -> None:
    old = enrolled(collector.settings, collector.ledger)
    token = token_for(collector)
    _, new = enroll(collector, bootstrap(token), token.secret)
    with Sender(collector.address, old) as sender:
        assert sender.failure().code() is grpc.StatusCode.UNAUTHENTICATED
    with Sender(collector.address, new) as sender:
        assert [mark.stream for mark in sender.hello().marks] == [STREAM.to_proto()]


def test_a_renewed_server_certificate_is_shown_without_a_restart(tmp_path: Path) -> None:
    """The collector starts with a certificate that is nearly over; the next connection is shown a new one."""
    import ssl

    from forebay_collector.identity.server import load_server_certificate

    with InProcess(init(tmp_path / "data", ["127.0.0.1:0"], "auto")) as collector:
        before = ssl.get_server_certificate(("127.0.0.1", collector.port))
        soon = datetime.now(UTC) + timedelta(days=1)
        current = collector.credentials._current
        collector.credentials._current = type(current)(current.key, current.chain, soon)
        credentials = enrolled(collector.settings, collector.ledger)
        with Sender(collector.address, credentials) as sender:
            sender.hello()
        after = ssl.get_server_certificate(("127.0.0.1", collector.port))
        assert after != before
        held = load_server_certificate(collector.settings.data.identity)
        assert x509.load_pem_x509_certificate(after.encode()).not_valid_after_utc == held.expires
