"""Renewal of the agent's certificate, at a real collector: whatever happens, one that works is there."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from forebay_agent import identity
from forebay_agent.config.model import CollectorConfig
from forebay_agent.entrance import Entrance
from forebay_agent.errors import AgentError, CertificateRefused, CollectorUnreachable
from forebay_agent.identity import Identity
from forebay_agent.pulse import Pulses
from forebay_agent.renewal import Renewal
from forebay_collector.founding import init
from forebay_collector.identity.names import serial_text
from forebay_wire.v1 import enroll_pb2
from tests.receiving.batches import DEPARTMENT
from tests.receiving.collector import InProcess, enrolled
from tests.receiving.sender import Credentials, Sender

AGENT = "scjg-01"


@dataclass
class Site:
    """An enrolled agent's state folder, and the collector that it is enrolled at."""

    state: Path
    collector: InProcess
    reconnected: int = 0

    def renewal(self, **more: Any) -> Renewal:
        return Renewal(self.state, CollectorConfig(), Entrance(self.state), Pulses(lambda: 0.0), self._renewed, **more)

    def _renewed(self) -> None:
        self.reconnected += 1

    @property
    def own(self) -> Identity:
        return identity.load(self.state)

    def enrol(self, life: timedelta = timedelta(days=398)) -> None:
        given = enrolled(self.collector.settings, self.collector.ledger, AGENT, life=life)
        identity.prepare(self.state, given.key)
        identity.finish(
            self.state,
            agent=AGENT,
            department=DEPARTMENT,
            addresses=(self.collector.address,),
            certificate=given.certificate,
            authority=given.authority,
        )


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with InProcess(init(tmp_path / "data", ["127.0.0.1:0"], "auto")) as running:
        made = Site(tmp_path / "state", running)
        made.enrol()
        yield made


def serial_of(own: Identity) -> str:
    return serial_text(x509.load_pem_x509_certificate(own.certificate))


def code_of(renewing: Renewal) -> str:
    trouble = renewing.state.trouble
    return trouble.code if trouble else ""


def is_let_in(own: Identity) -> bool:
    with Sender(own.addresses[0], Credentials(own.authority, own.certificate, own.key)) as sender:
        try:
            sender.hello()
        except (grpc.RpcError, AssertionError):
            return False
        return True


def belong_together(own: Identity) -> bool:
    key = serialization.load_pem_private_key(own.key, None)
    return x509.load_pem_x509_certificate(own.certificate).public_key() == key.public_key()


def test_a_new_key_takes_the_place_of_the_old_one_which_is_then_refused(site: Site) -> None:
    before = site.own
    said = site.renewal().rotate()
    after = site.own
    assert "renewed by a new key" in said
    assert (after.agent, after.department, after.addresses) == (before.agent, before.department, before.addresses)
    assert after.key != before.key
    assert belong_together(after)
    assert is_let_in(after)
    assert not is_let_in(before)
    assert site.reconnected == 1
    assert sorted(path.name for path in site.state.iterdir() if path.is_dir()) == ["identity"]
    assert (after.folder / identity.KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert [entry.subject for entry in site.collector.ledger.audit.listing(action="confirm")] == [AGENT]


def test_it_is_renewed_from_a_third_of_its_life_left(site: Site) -> None:
    before = site.own
    assert before.life == timedelta(days=398, hours=1)
    early = before.expires_at - before.life / 3 - timedelta(minutes=1)
    renewing = site.renewal(now=lambda: early)
    renewing.step()
    assert site.own == before
    assert renewing.state.expires_at_us == int(before.expires_at.timestamp() * 1e6)
    site.renewal(now=lambda: early + timedelta(minutes=2)).step()
    assert site.own != before


def test_the_old_one_stays_in_force_until_the_new_one_is_confirmed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    before, renewing = site.own, site.renewal()
    refuse_to(monkeypatch, "Confirm")
    with pytest.raises(CollectorUnreachable):
        renewing.rotate()
    assert site.own == before
    assert is_let_in(before)
    following = identity.load_next(site.state)
    assert following is not None
    assert code_of(renewing) == "FB-COLLECTOR-UNREACHABLE"
    monkeypatch.undo()
    renewing.step()  # goes on with the one that it has
    assert serial_of(site.own) == serial_of(following)
    assert code_of(renewing) == ""
    assert site.reconnected == 1


def test_a_lost_answer_to_confirm_leaves_one_that_works(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    before, renewing = site.own, site.renewal()
    refuse_to(monkeypatch, "Confirm", after=True)
    with pytest.raises(CollectorUnreachable):
        renewing.rotate()
    monkeypatch.undo()
    assert site.own == before
    assert not is_let_in(before), "the collector took the new one"
    site.renewal().step()
    assert is_let_in(site.own)


def test_while_it_is_not_settled_which_one_is_in_force_nobody_comes_in(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_to(monkeypatch, "Confirm", after=True)
    with pytest.raises(CollectorUnreachable):
        site.renewal().rotate()
    monkeypatch.undo()
    entrance = Entrance(site.state)  # the agent was killed and starts again
    with pytest.raises(CollectorUnreachable, match="confirmed by a collector first"):
        entrance.come()
    renewing = site.renewal()
    renewing.step()
    coming = entrance.come()
    assert is_let_in(coming.own)
    coming.over()
    coming.over()


def test_a_renewal_waits_until_who_is_on_the_way_in_has_come_in(site: Site) -> None:
    renewing = site.renewal()
    coming = renewing._entrance.come()
    thread = threading.Thread(target=renewing.rotate)
    thread.start()
    until(lambda: identity.load_next(site.state) is not None)
    time.sleep(0.3)
    assert is_let_in(coming.own), "its certificate ended while it was on its way in"
    with pytest.raises(CollectorUnreachable):
        renewing._entrance.come()
    coming.over()
    thread.join(20)
    assert is_let_in(renewing._entrance.come().own)


def test_what_cannot_be_reached_is_not_taken_for_a_refusal(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another server answers under the collector's address, with a certificate of its own."""
    refuse_to(monkeypatch, "Confirm", after=True)
    with pytest.raises(CollectorUnreachable):
        site.renewal().rotate()
    monkeypatch.undo()
    following = identity.load_next(site.state)
    with InProcess(init(site.state.parent / "another", ["127.0.0.1:0"], "auto")) as another:
        renewing = site.renewal()
        renewing.config = CollectorConfig(addresses=(another.address,))
        with pytest.raises(AgentError):
            renewing.step()
    assert identity.load_next(site.state) == following
    site.renewal().step()
    assert is_let_in(site.own)


def test_one_that_was_kept_and_is_good_for_nothing_any_more_is_replaced(site: Site) -> None:
    before = site.own
    other = Identity(AGENT, DEPARTMENT, before.addresses, before.key, before.certificate, before.authority, site.state)
    identity.keep_next(site.state, other, key=before.key, certificate=before.certificate, authority=before.authority)
    site.enrol()  # the one kept is of before this enrolment
    identity.keep_next(site.state, other, key=before.key, certificate=before.certificate, authority=before.authority)
    site.renewal().step()
    assert is_let_in(site.own)
    assert serial_of(site.own) != serial_of(before)


def test_a_refusal_is_told_and_the_identity_is_left_as_it_is(site: Site) -> None:
    before, renewing = site.own, site.renewal()
    site.collector.ledger.agents.revoke(AGENT, who="ops", why="lost")
    with pytest.raises(CertificateRefused):
        renewing.rotate()
    assert code_of(renewing) == "FB-CERTIFICATE"
    assert site.own == before


def test_a_certificate_for_another_key_or_name_is_not_taken(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    before, renewing = site.own, site.renewal()
    for certificate in (before.certificate, b"nonsense"):
        answer = enroll_pb2.RenewResponse(certificate=certificate, authority=before.authority)
        monkeypatch.setattr(renewing, "_call", lambda by, ask, answer=answer: answer)
        with pytest.raises(CertificateRefused):
            renewing.rotate()
        assert identity.load_next(site.state) is None
    assert site.own == before


def test_an_expired_one_cannot_be_renewed_and_says_to_enrol(site: Site) -> None:
    site.enrol(life=timedelta(seconds=-5))
    renewing = site.renewal()
    with pytest.raises(CertificateRefused, match="expired"):
        renewing.step()
    assert renewing.state.trouble is not None
    assert "enroll" in renewing.state.trouble.remedy


def test_a_new_enrolment_overtakes_a_renewal(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_to(monkeypatch, "Confirm")
    with pytest.raises(CollectorUnreachable):
        site.renewal().rotate()
    monkeypatch.undo()
    site.enrol()
    assert identity.load_next(site.state) is None
    assert is_let_in(site.own)


def test_kill_9_before_any_line_of_a_renewal_leaves_one_that_works(site: Site) -> None:
    command = [sys.executable, "-m", "tests.daemon.renewing_process", str(site.state)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        kills, line = 0, 1
        while True:
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            told = process.stdout.readline().strip()
            site.renewal().step()  # what the next start of the agent does
            own = site.own
            assert belong_together(own), f"killed before line {line}"
            assert is_let_in(own), f"killed before line {line}"
            assert identity.load_next(site.state) is None
            if told == "done":
                break
            assert told == "killed"
            kills, line = kills + 1, line + (1 if line < 60 else 3)
        process.stdin.close()
    assert kills > 60
    assert is_let_in(site.own)


def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "did not come to hold"
        time.sleep(0.02)


def refuse_to(monkeypatch: pytest.MonkeyPatch, method: str, *, after: bool = False) -> None:
    """The call fails as when the collector went away: before it was made, or after (its answer is lost)."""
    call = Renewal._call

    def failing(self: Renewal, by: Identity, ask: Callable[[Any], Any]) -> Any:
        names: list[str] = []

        class Asked:
            def __getattr__(self, name: str) -> Any:
                names.append(name)
                return lambda *_, **__: None

        ask(Asked())
        if names != [method]:
            return call(self, by, ask)
        if after:
            call(self, by, ask)
        raise CollectorUnreachable("it went away")

    monkeypatch.setattr(Renewal, "_call", failing)


def test_the_thread_tries_again_by_itself(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forebay_agent.renewal._BACKOFF", (0.05, 0.1))
    site.enrol(life=timedelta(minutes=10))
    before = site.own
    failures = [3]
    call = Renewal._call

    def sometimes(self: Renewal, by: Identity, ask: Callable[[Any], Any]) -> Any:
        if failures[0]:
            failures[0] -= 1
            raise CollectorUnreachable("not yet")
        return call(self, by, ask)

    monkeypatch.setattr(Renewal, "_call", sometimes)
    renewing = site.renewal()
    thread = threading.Thread(target=renewing.run)
    thread.start()
    until(lambda: site.own != before)
    renewing.stop()
    thread.join(40)
    assert failures == [0]
    assert is_let_in(site.own)
