"""Renewal: one certificate is in force, and a copy of one that is not any more is an alarm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from cryptography import x509

from forebay_collector.founding import init
from forebay_collector.identity import alarms
from forebay_collector.identity.authority import Authority
from forebay_collector.identity.names import Identity
from forebay_collector.service import identity as service
from forebay_wire.v1 import enroll_pb2, enroll_pb2_grpc
from tests.receiving.collector import InProcess, enrolled
from tests.receiving.identities import (
    AGENT,
    OPERATOR,
    UNAUTHENTICATED,
    alarm,
    comes_in,
    confirm,
    enroll,
    no_alarms,
    refused,
    renew,
    token_for,
)
from tests.receiving.sender import Sender


@pytest.fixture
def collector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InProcess]:
    monkeypatch.setattr("forebay_collector.identity.admission.RECHECK_S", 0.2)
    with InProcess(init(tmp_path / "data", ["127.0.0.1:0"], "auto")) as running:
        yield running


@pytest.fixture
def authority(collector: InProcess) -> Authority:
    return Authority.load(collector.settings.data.identity)


def test_a_renewed_certificate_is_good_once_it_is_confirmed_and_from_then_on_the_old_one_is_refused(
    collector: InProcess,
) -> None:
    old = enrolled(collector.settings, collector.ledger, AGENT)
    with Sender(collector.address, old) as uploading:
        uploading.hello()
        new = renew(collector, old)
        serial = Identity.of(x509.load_pem_x509_certificate(new.certificate)).serial
        comes_in(collector, old)
        assert refused(collector, new) is UNAUTHENTICATED, "before it is confirmed it opens nothing else"
        no_alarms(collector)
        confirm(collector, new)
        assert uploading.failure().code() is UNAUTHENTICATED
    no_alarms(collector)
    agent = collector.ledger.agents.get(AGENT)
    assert agent is not None
    assert agent.serial == serial
    comes_in(collector, new)
    confirm(collector, new)  # its answer may have been lost
    no_alarms(collector)
    assert refused(collector, old) is UNAUTHENTICATED
    alarm(collector, alarms.REPLACED)
    for call in (renew, confirm):
        with pytest.raises(grpc.RpcError) as error:
            call(collector, old)
        assert error.value.code() is UNAUTHENTICATED
    assert [entry.action for entry in collector.ledger.audit.listing(subject=AGENT) if entry.who == AGENT][::-1][
        :3
    ] == [
        "renew",
        alarms.UNCONFIRMED,
        "confirm",
    ]
    ended = {one.serial: one.ended_by for one in service.certificates(collector.ledger, OPERATOR, AGENT)}
    assert sorted(ended.values()) == ["", "renewal"]
    assert ended[serial] == ""


def test_a_renewal_whose_answer_was_lost_is_done_again_and_the_lost_certificate_is_good_for_nothing(
    collector: InProcess,
) -> None:
    old = enrolled(collector.settings, collector.ledger, AGENT)
    lost = renew(collector, old)
    new = renew(collector, old)
    with pytest.raises(grpc.RpcError):
        confirm(collector, lost)
    alarm(collector, alarms.REPLACED)
    comes_in(collector, old)
    confirm(collector, new)
    comes_in(collector, new)


def test_a_certificate_that_was_renewed_and_not_confirmed_is_ended_by_a_new_enrolment_and_by_revocation(
    collector: InProcess, authority: Authority
) -> None:
    first = renew(collector, enrolled(collector.settings, collector.ledger, AGENT))
    own = enroll(collector, token_for(collector, authority))
    with pytest.raises(grpc.RpcError):
        confirm(collector, first)
    second = renew(collector, own)
    service.revoke(collector.ledger, OPERATOR, AGENT, "stolen")
    with pytest.raises(grpc.RpcError):
        confirm(collector, second)
    alarm(collector, alarms.REVOKED)


def test_a_signing_request_that_is_none_renews_nothing(collector: InProcess) -> None:
    own = enrolled(collector.settings, collector.ledger, AGENT)
    with own.channel(collector.address) as channel:
        stub = enroll_pb2_grpc.EnrollServiceStub(channel)
        for request in (b"", b"nothing", b"x" * (20 << 10)):
            with pytest.raises(grpc.RpcError) as error:
                stub.Renew(enroll_pb2.RenewRequest(signing_request=request), timeout=10)
            assert error.value.code() is UNAUTHENTICATED
    comes_in(collector, own)
    assert len(collector.ledger.certificates.listing(AGENT)) == 1
