"""Every file that goes between an appliance and its centre on a disk: with any byte altered nothing of it is taken."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from sqlalchemy import update

from forebay_agent import asked, identity
from forebay_agent.approval.approvals import Approvals
from forebay_agent.approval.proposals import Proposal, Proposals
from forebay_agent.clock import SystemClock
from forebay_agent.config.model import OutboxConfig, TableConfig
from forebay_agent.enrollment import Token, new_key
from forebay_agent.errors import AgentError, CertificateRefused, FerryUnusable, SourceUnreachable
from forebay_agent.ferry import acknowledge, enrolling, export, renewing
from forebay_agent.ferry.seal import opened, signing
from forebay_agent.outbox import Outbox
from forebay_collector.cli.main import main
from forebay_collector.errors import CollectorError
from forebay_collector.ferry.seal import check_sealed_by_agent
from forebay_collector.founding import init
from forebay_collector.identity.authority import Authority, pem
from forebay_collector.ledger import Ledger, tables
from forebay_collector.settings import load_settings
from forebay_wire import ferry
from forebay_wire.errors import WireError
from forebay_wire.v1 import enroll_pb2, ferry_pb2, upload_pb2
from tests.daemon.isolated import AGENT, PEOPLE
from tests.receiving.batches import DEPARTMENT

# An altered certificate may be merely odd to the library, which warns then; the seal's signature is what refuses it.
pytestmark = pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
REFUSED = (CollectorError, AgentError, WireError)


@dataclass
class Site:
    """Centre and appliance; what is carried is made by their functions and commands."""

    data: Path
    state: Path
    disk: Path
    authority: Authority

    def command(self, *arguments: str | Path) -> int:
        return main(["--data", str(self.data), *map(str, arguments)])

    @property
    def ledger(self) -> Ledger:
        return Ledger.open(load_settings(self.data).data.ledger)

    def asks(self) -> tuple[Token, Path]:
        """The request to enrol."""
        file = self.data / "token"
        assert self.command("token", "--department", DEPARTMENT, "--agent", AGENT, "--out", file) == 0
        token = Token.of(file.read_text("utf-8"))
        return token, enrolling.request(token, enrolling.ask(token, self.state), self.disk, SystemClock())

    def exports(self) -> Path:
        """Proposals, and the request to renew."""
        own = identity.load(self.state)
        proposals = Proposals(self.state)
        proposals.expect([PEOPLE])
        proposals.put(Proposal.failed(PEOPLE, TableConfig("people"), SourceUnreachable("it is off")))
        proposals.keep()
        renewing.prepare(self.state, own, datetime.now(UTC))
        Outbox.open(self.state, OutboxConfig(free_disk=0)).close()
        files, _ = export(self.state, own, self.disk, SystemClock())
        (file,) = files
        assert (file.proposals, file.renews) == (1, True)
        return file.path

    def answer(self) -> Path:
        """What the import left, taken from the disk."""
        assert self.command("import", self.disk, "--wait", "1s") in (0, 1)  # nobody takes batches here
        (found,) = self.disk.glob("answer-*")
        return found.rename(self.disk.with_name(f"{len(list(self.disk.parent.iterdir()))}-{found.name}"))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    settings = init(tmp_path / "centre", ["127.0.0.1:0"], "auto")
    whole = Authority.agent_certificate
    left = timedelta(minutes=20)  # of a certificate that is valid from an hour before: its last third
    monkeypatch.setattr(
        Authority, "agent_certificate", lambda self, request, agent, of, _=None: whole(self, request, agent, of, left)
    )
    disk = tmp_path / "disk"
    disk.mkdir()
    return Site(settings.folder, tmp_path / "state", disk, Authority.load(settings.data.identity))


def altered(whole: bytes) -> Iterator[bytes]:
    """The form, the head, the seal, and places drawn by lot between: a bit of each. And cut short, and with more behind."""
    noise = random.Random(20261128)
    seal = len(whole) - 900
    for place in [*range(90), *noise.sample(range(90, seal), min(150, seal - 90)), *range(seal, len(whole))]:
        content = bytearray(whole)
        content[place] ^= 1 << noise.randrange(8)
        yield bytes(content)
    yield from (whole[:size] for size in (0, 10, len(whole) // 2, len(whole) - 1))
    yield whole + b"\0"


def all_refused(path: Path, check: Callable[[Path], object]) -> None:
    whole = path.read_bytes()
    check(path)
    for content in altered(whole):
        path.write_bytes(content)
        with pytest.raises(REFUSED, match=re.escape(path.name)):
            check(path)
    path.write_bytes(whole)


def test_every_file_is_refused_as_a_whole_when_a_byte_was_altered(site: Site) -> None:
    _, request = site.asks()
    all_refused(request, lambda path: check_sealed_by_agent(path, site.authority.certificate))
    waiting = asked.find(site.state, asked.ENROLMENT)
    assert waiting is not None
    authority = waiting.about["authority"].encode()
    enrolled = site.answer()
    all_refused(enrolled, lambda path: opened(path, AGENT, authority))
    request.unlink()
    enrolled.rename(site.disk / "answer-1.ferry")
    enrolling.take(site.state, site.disk)
    exported = site.exports()
    all_refused(exported, lambda path: check_sealed_by_agent(path, site.authority.certificate))
    (site.disk / "answer-1.ferry").unlink()
    all_refused(site.answer(), lambda path: opened(path, AGENT, authority))


def test_nothing_is_taken_from_what_was_altered_by_either_command(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    _, request = site.asks()
    whole = request.read_bytes()
    request.write_bytes(whole.replace(b"forebay", b"foreboy") if b"forebay" in whole else whole[:-1] + b"\0")
    assert site.command("import", site.disk) == 1
    assert f"{request.name}: refused: FB-FERRY-REFUSED: {request.name}: " in capsys.readouterr().out
    assert list(site.disk.glob("answer-*")) == []
    assert (site.ledger.agents.get(AGENT), [each.used_at for each in site.ledger.tokens.listing()]) == (None, [0])
    request.write_bytes(whole)
    answer = site.answer()
    content = bytearray(answer.read_bytes())
    content[len(content) // 2] ^= 1
    request.unlink()
    (site.disk / "answer-1.ferry").write_bytes(content)
    with pytest.raises(FerryUnusable, match=r"answer-1\.ferry"):
        enrolling.take(site.state, site.disk)
    assert not (site.state / identity.FOLDER).exists()
    # the appliance's own record of what it asked is no place to forge one in either
    assert asked.find(site.state, asked.ENROLMENT) is not None


def sealed_by(key: bytes, certificate: bytes, path: Path, *records: ferry_pb2.FerryRecord, agent: str = AGENT) -> Path:
    writer = ferry.FerryWriter(path, ferry_pb2.FerryHead(agent=agent, department=DEPARTMENT, made_at_us=1))
    for record in records:
        writer.add(record)
    writer.seal(certificate, signing(key))
    return path


def enrolled(site: Site) -> identity.Identity:
    site.asks()
    site.answer().rename(site.disk / "answer-1.ferry")
    own = enrolling.take(site.state, site.disk)
    for path in site.disk.iterdir():
        path.unlink()
    return own


def test_an_agent_cannot_answer_in_the_centres_place(site: Site) -> None:
    own = enrolled(site)
    renewal = ferry_pb2.FerryRecord(renewed=enroll_pb2.RenewResponse(certificate=own.certificate))
    forged = sealed_by(own.key, own.certificate, site.disk / "answer-2.ferry", renewal)
    with (
        closing(Outbox.open(site.state, OutboxConfig(free_disk=0))) as outbox,
        pytest.raises(FerryUnusable, match="was not sealed by this agent's centre"),
    ):
        acknowledge(forged, site.state, own, outbox)


def test_a_tokens_certificate_brings_nothing_but_an_enrolment(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    token, request = site.asks()
    request.unlink()
    batches = ferry_pb2.FerryRecord(up=upload_pb2.UploadRequest(hello=upload_pb2.UploadHello()))
    sealed_by(token.key.encode(), token.certificate.encode(), site.disk / "a.ferry", batches)
    assert site.command("import", site.disk) == 1
    assert "sealed with a token's certificate, and asks for nothing" in capsys.readouterr().out
    assert site.ledger.agents.get(AGENT) is None


def test_a_certificate_for_another_key_is_not_taken(site: Site) -> None:
    own = enrolled(site)
    renewing.prepare(site.state, own, datetime.now(UTC))
    other = new_key()
    subject = x509.load_pem_x509_certificate(own.certificate).subject
    given = site.authority._client(subject, other.public_key(), own.expires_at)
    with pytest.raises(CertificateRefused, match="another key or agent"):
        list(renewing.take(enroll_pb2.RenewResponse(certificate=pem(given)), site.state))
    assert identity.load_next(site.state) is None


def test_what_is_longer_than_an_answer_can_be_is_not_read(site: Site) -> None:
    own = enrolled(site)
    long = site.disk / "answer-long.ferry"
    with long.open("wb") as out:
        out.truncate(ferry.HELD_BYTES + 1)
    with pytest.raises(FerryUnusable, match=r"answer-long\.ferry: has more than"):
        opened(long, AGENT, own.authority)
    record = site.disk / "answer-record.ferry"
    record.write_bytes(b"FOREBAY FERRY 2\n\xff\xff\xff\xff")
    with pytest.raises(FerryUnusable, match=r"answer-record\.ferry: a record of 4294967295 bytes"):
        opened(record, AGENT, own.authority)


def test_approvals_of_an_older_answer_do_not_come_back(site: Site) -> None:
    own = enrolled(site)
    site.exports()
    older = site.answer()
    for path in site.disk.iterdir():
        path.unlink()
    settings = load_settings(site.data).data.settings
    settings.write_text(settings.read_text("utf-8").replace('mode = "auto"', 'mode = "manual"'), "utf-8")
    site.exports()
    newer = site.answer()
    with closing(Outbox.open(site.state, OutboxConfig(free_disk=0))) as outbox:
        acknowledge(older, site.state, own, outbox)
        assert Approvals(site.state).current.automatic
        acknowledge(newer, site.state, own, outbox)
        assert not Approvals(site.state).current.automatic
        taken = acknowledge(older, site.state, own, outbox)
    assert "what it says of approvals is older than what is known: it changes nothing" in taken.said
    assert not Approvals(site.state).current.automatic


def test_what_a_disk_proposes_is_not_taken_while_the_agent_says_it_over_a_line(site: Site) -> None:
    enrolled(site)
    site.exports()
    now = site.ledger.database.clock()

    def heard(last_seen_at: int) -> None:
        values = {"connected_since": 1, "heartbeat_ms": 5_000, "last_seen_at": last_seen_at}
        with site.ledger.database.write() as connection:
            connection.execute(update(tables.agent).values(**values))

    heard(now + 60_000_000)
    site.answer()
    assert site.ledger.approvals.listing(agent=AGENT) == []
    heard(now - 60_000_000)  # left so by a collector that was killed
    site.answer()
    assert [each.stream for each in site.ledger.approvals.listing(agent=AGENT)] == [PEOPLE]
