"""Certificates over real TLS: whoever comes in with what is not theirs is refused, audited and alarmed."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from forebay_collector.founding import init
from forebay_collector.identity import alarms, handshakes
from forebay_collector.identity.authority import Authority
from forebay_collector.ledger import AuditRecord
from forebay_collector.ledger import refusals as bounded
from forebay_collector.service import identity as service
from forebay_collector.settings import ControlSettings
from forebay_wire.stream import StreamName
from forebay_wire.v1 import upload_pb2
from tests.loading.control import HandAgent
from tests.receiving.batches import DEPARTMENT, chained
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
    signed,
    token_for,
)
from tests.receiving.sender import Credentials, Sender

HEARTBEAT = timedelta(seconds=2)
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def collector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InProcess]:
    monkeypatch.setattr("forebay_collector.identity.admission.RECHECK_S", 0.2)
    settings = init(tmp_path / "data", ["127.0.0.1:0"], "auto")
    with InProcess(replace(settings, control=ControlSettings(heartbeat=HEARTBEAT))) as running:
        yield running


@pytest.fixture
def authority(collector: InProcess) -> Authority:
    return Authority.load(collector.settings.data.identity)


def without_a_call(collector: InProcess, monkeypatch: pytest.MonkeyPatch) -> AuditRecord:
    monkeypatch.setattr(handshakes, "GRACE_S", 0.0)
    collector.pipeline.handshakes.settle()
    return alarm(collector, alarms.NO_CALL)


# what TLS refuses


def test_an_expired_certificate_is_refused_by_tls_and_its_address_is_known(
    collector: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    expired = enrolled(collector.settings, collector.ledger, AGENT, life=timedelta(seconds=-5))
    with Sender(collector.address, expired) as sender:
        assert sender.failure().code() is UNAVAILABLE
    entry = without_a_call(collector, monkeypatch)
    assert (entry.who, entry.subject, entry.detail["peer"]) == ("unknown", "127.0.0.1", "127.0.0.1")


def test_a_certificate_of_another_authority_is_refused_by_tls_and_seen(
    collector: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = enrolled(collector.settings, collector.ledger, AGENT)
    foreign = signed(Authority.create(tmp_path), AGENT, DEPARTMENT, ours)
    with Sender(collector.address, foreign) as sender:
        assert sender.failure().code() is UNAVAILABLE
    assert without_a_call(collector, monkeypatch).detail["peer"] == "127.0.0.1"


def test_connections_that_end_without_a_call_are_counted_and_good_ones_are_not(
    collector: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = [enrolled(collector.settings, collector.ledger, f"a{number}") for number in range(6)]
    with ExitStack() as stack:
        senders = [stack.enter_context(Sender(collector.address, one)) for one in credentials]
        for sender in senders:
            sender.hello()
        monkeypatch.setattr(handshakes, "GRACE_S", 0.0)
        collector.pipeline.handshakes.settle()
        no_alarms(collector)
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", collector.port)):
                time.sleep(0.05)
        comes_in(collector, credentials[0])
        time.sleep(0.05)
        collector.pipeline.handshakes.settle()
        collector.ledger.refusals.settle(everything=True)
    told = [entry for entry in collector.ledger.audit.listing() if entry.action == alarms.NO_CALL]
    assert sum(entry.detail.get("count", 1) for entry in told) == 5


# certificates that were good once


def test_a_certificate_that_expires_ends_its_open_connection(collector: InProcess) -> None:
    credentials = enrolled(collector.settings, collector.ledger, AGENT, life=timedelta(seconds=3))
    with Sender(collector.address, credentials) as sender:
        sender.hello()
        assert sender.failure().code() is UNAUTHENTICATED
    (entry,) = collector.ledger.audit.listing(action=alarms.ENDED)
    assert (entry.subject, "expired" in entry.why) == (AGENT, True)


def test_a_revocation_ends_open_uploads_and_control_within_a_heartbeat_and_what_comes_again_is_an_alarm(
    collector: InProcess,
) -> None:
    credentials = enrolled(collector.settings, collector.ledger, AGENT)
    with Sender(collector.address, credentials) as sender:
        sender.hello()
        agent = HandAgent(collector.address, credentials)
        agent.hello(AGENT)
        began = time.monotonic()
        service.revoke(collector.ledger, OPERATOR, AGENT, "appliance stolen")
        assert sender.failure().code() is UNAUTHENTICATED
        with pytest.raises(grpc.RpcError) as ended:
            agent.next()
        assert ended.value.code() is UNAUTHENTICATED
        assert time.monotonic() - began < HEARTBEAT.total_seconds()
        agent.cut()
    no_alarms(collector)
    assert collector.ledger.audit.listing(action=alarms.ENDED)
    assert refused(collector, credentials) is UNAUTHENTICATED
    entry = alarm(collector, alarms.REVOKED)
    assert (entry.subject, entry.department, entry.detail["peer"]) == (AGENT, DEPARTMENT, "127.0.0.1")


def test_a_token_that_was_not_used_yet_is_no_good_once_its_agent_is_revoked(
    collector: InProcess, authority: Authority
) -> None:
    enrolled(collector.settings, collector.ledger, AGENT)
    token = token_for(collector, authority)
    service.revoke(collector.ledger, OPERATOR, AGENT, "stolen")
    with pytest.raises(grpc.RpcError) as error:
        enroll(collector, token)
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
    alarm(collector, alarms.ENROL_REFUSED)
    enroll(collector, token_for(collector, authority))


# what was never theirs


def test_a_certificate_of_another_department_is_refused(collector: InProcess, authority: Authority) -> None:
    ours = enrolled(collector.settings, collector.ledger, AGENT)
    assert refused(collector, signed(authority, AGENT, "民政局", ours)) is UNAUTHENTICATED
    assert alarm(collector, alarms.WRONG_DEPARTMENT).subject == AGENT


def test_a_stream_of_another_department_is_refused(collector: InProcess) -> None:
    theirs = StreamName("民政局", "救助库", "public.低保")
    with Sender(collector.address, enrolled(collector.settings, collector.ledger, AGENT)) as sender:
        sender.hello()
        sender.schema(theirs)
        sender.send(*chained(1, theirs))
        assert sender.refused().code == upload_pb2.REFUSAL_CODE_NOT_YOURS
        entry = alarm(collector, alarms.WRONG_DEPARTMENT)
    assert (entry.who, entry.subject, entry.detail["code"]) == (AGENT, str(theirs), "NOT_YOURS")
    assert collector.ledger.streams.get(theirs) is None


def test_a_certificate_that_was_signed_and_never_given_is_refused(collector: InProcess, authority: Authority) -> None:
    ours = enrolled(collector.settings, collector.ledger, AGENT)
    assert refused(collector, signed(authority, AGENT, DEPARTMENT, ours)) is UNAUTHENTICATED
    alarm(collector, alarms.UNKNOWN)
    comes_in(collector, ours)


def test_the_certificate_inside_a_token_opens_nothing_but_enrolment(collector: InProcess, authority: Authority) -> None:
    token = token_for(collector, authority)
    bootstrap = Credentials(token.authority.encode(), token.certificate.encode(), token.key.encode())
    assert refused(collector, bootstrap) is UNAUTHENTICATED
    alarm(collector, alarms.BOOTSTRAP)
    for call in (renew, confirm):
        with pytest.raises(grpc.RpcError) as error:
            call(collector, bootstrap)
        assert error.value.code() is UNAUTHENTICATED
    enroll(collector, token)


# tokens


def test_a_replayed_token_is_refused_and_the_agent_goes_on(collector: InProcess, authority: Authority) -> None:
    token = token_for(collector, authority)
    credentials = enroll(collector, token)
    with pytest.raises(grpc.RpcError) as error:
        enroll(collector, token)
    assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
    entry = alarm(collector, alarms.SPENT_TWICE)
    assert entry.subject == AGENT
    assert token.secret not in str(collector.ledger.audit.listing())
    comes_in(collector, credentials)


def test_of_a_stolen_token_that_is_used_twice_the_second_use_is_an_alarm_and_revoking_shuts_the_thief_out(
    collector: InProcess, authority: Authority
) -> None:
    token = token_for(collector, authority)
    thief = enroll(collector, token)
    comes_in(collector, thief)
    with pytest.raises(grpc.RpcError):
        enroll(collector, token)
    assert alarm(collector, alarms.SPENT_TWICE).department == DEPARTMENT
    service.revoke(collector.ledger, OPERATOR, AGENT, "the token was stolen")
    owner = enroll(collector, token_for(collector, authority))
    assert refused(collector, thief) is UNAUTHENTICATED
    comes_in(collector, owner)


def test_of_many_that_use_one_token_at_once_one_gets_in_and_it_is_an_alarm(
    collector: InProcess, authority: Authority
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    token = token_for(collector, authority)

    def one(_: int) -> Credentials | None:
        try:
            return enroll(collector, token)
        except grpc.RpcError:
            return None

    with ThreadPoolExecutor(8) as pool:
        got = [credentials for credentials in pool.map(one, range(8)) if credentials]
    (winner,) = got
    comes_in(collector, winner)
    alarm(collector, alarms.SPENT_TWICE)


# one identity in two places


def test_one_identity_in_two_places_is_an_alarm_and_a_restart_is_none(collector: InProcess) -> None:
    credentials = enrolled(collector.settings, collector.ledger, AGENT)

    def comes(instance: str) -> HandAgent:
        agent = HandAgent(collector.address, credentials)
        agent.hello(AGENT, instance=instance, hostname="appliance")
        return agent

    calls = [comes("first"), comes("second"), comes("second")]
    no_alarms(collector)
    calls.append(comes("first"))
    entry = alarm(collector, alarms.TWO_PLACES)
    assert entry.subject == AGENT
    for call in calls:
        call.cut()


# and the audit is not filled


def test_the_same_refusal_again_and_again_is_one_entry_and_a_count_when_the_minute_is_over(
    collector: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = enrolled(collector.settings, collector.ledger, AGENT)
    service.revoke(collector.ledger, OPERATOR, AGENT, "stolen")

    def attempts(count: int) -> None:
        for _ in range(count):
            with Sender(collector.address, credentials) as sender:
                assert sender.failure().code() is UNAUTHENTICATED

    def entries() -> list[int]:
        return [entry.detail.get("count", 1) for entry in collector.ledger.audit.listing(action=alarms.REVOKED)]

    attempts(6)
    assert entries() == [1]
    _later(collector, monkeypatch, bounded.WINDOW_US + 1)
    collector.ledger.refusals.settle()
    assert entries() == [5, 1]
    attempts(3)
    collector.ledger.refusals.settle()
    assert entries() == [5, 1], "the next minute is not over"
    collector.ledger.refusals.settle(everything=True)
    assert entries() == [3, 5, 1]


def _later(collector: InProcess, monkeypatch: pytest.MonkeyPatch, by_us: int) -> None:
    database: Any = collector.ledger.database
    before: Callable[[], int] = database.clock
    monkeypatch.setattr(database, "clock", lambda: before() + by_us)
