"""An appliance that never has a line: it begins, goes on and does not end, by disk only."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from forebay_agent import asked, identity
from forebay_agent.clock import SystemClock
from forebay_agent.enrollment import Token
from forebay_agent.ferry import enrolling
from forebay_agent.outbox import OutboxReader
from forebay_collector.cli.main import main
from forebay_collector.demo.processes import Daemon, free_port, program
from forebay_collector.errors import LedgerUnavailable
from forebay_collector.founding import init
from forebay_collector.identity import alarms
from forebay_collector.identity.authority import Authority
from forebay_collector.ledger import Ledger
from forebay_collector.ledger.certificates import Ended
from forebay_collector.ledger.tokens import Tokens
from forebay_collector.settings import load_settings
from forebay_wire import ferry
from tests.daemon.isolated import AGENT, PEOPLE, Isolated
from tests.receiving.batches import DEPARTMENT

IN_ITS_LAST_THIRD = timedelta(minutes=20)
"""left of a certificate that is valid from an hour before it was made"""
IN_ITS_SECOND_HALF = timedelta(minutes=50)


@dataclass
class Centre:
    """A collector; `serve` makes it a process that takes batches and loads them."""

    folder: Path
    disks: Iterator[Path]
    daemon: Daemon | None = None
    tokens: Iterator[int] = field(default_factory=itertools.count)

    def command(self, *arguments: str | Path) -> int:
        return main(["--data", str(self.folder), *map(str, arguments)])

    def serve(self) -> None:
        serving = [program("forebay-collector"), "--data", str(self.folder), "serve"]
        self.daemon = Daemon("collector", serving, self.folder / "serve.log")
        self.daemon.start()
        self.daemon.wait_for_port(int(load_settings(self.folder).listen.rpartition(":")[2]), 60)

    @property
    def ledger(self) -> Ledger:
        return Ledger.open(load_settings(self.folder).data.ledger)

    def token(self, agent: str = AGENT) -> Path:
        file = self.folder / f"{next(self.tokens)}.token"
        assert self.command("token", "--department", DEPARTMENT, "--agent", agent, "--out", file) == 0
        return file

    def disk(self) -> Path:
        made = next(self.disks)
        made.mkdir()
        return made


def founded(folder: Path, approve: str = "auto") -> Centre:
    made = init(folder, [f"127.0.0.1:{free_port()}"], approve)
    return Centre(made.folder, (folder.parent / f"{folder.name}-disk-{number}" for number in itertools.count()))


@pytest.fixture
def centre(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Centre]:
    made = founded(tmp_path / "centre", getattr(request, "param", "auto"))
    yield made
    if made.daemon is not None:
        made.daemon.stop()


@pytest.fixture
def appliance(tmp_path: Path) -> Iterator[Isolated]:
    made = Isolated(tmp_path / "appliance")
    yield made
    made.end()


@pytest.fixture
def certificates_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """How long the certificates live that the centre gives from now on."""
    whole = Authority.agent_certificate

    def limited(life: timedelta) -> None:
        monkeypatch.setattr(
            Authority,
            "agent_certificate",
            lambda self, request, agent, of, _=None: whole(self, request, agent, of, life),
        )

    return limited


def enrol(appliance: Isolated, centre: Centre) -> None:
    disk = centre.disk()
    assert appliance.command("enroll", centre.token(), "--export", disk) == 0
    assert centre.command("import", disk) == 0
    assert appliance.command("enroll", "--answer", disk) == 0


def round_trip(appliance: Isolated, centre: Centre) -> Path:
    """Out, to the centre, and back. -> the disk."""
    disk = centre.disk()
    assert appliance.command("outbox", "export", disk) == 0
    assert centre.command("import", disk) == 0
    assert appliance.command("outbox", "acknowledge", disk) == 0
    return disk


def captured(appliance: Isolated) -> int:
    """The last row that was, by its cursor; 0: none was."""
    with closing(OutboxReader(appliance.state)) as reader:
        return max((int(json.loads(each.checkpoint).get("low") or 0) for each in reader.streams()), default=0)


def proposed(appliance: Isolated) -> bool:
    file = appliance.state / "proposals.json"
    return file.exists() and bool(json.loads(file.read_text("utf-8"))["content"].get("complete"))


@pytest.mark.parametrize("centre", ["auto", "manual"], indirect=True)
def test_an_appliance_that_never_has_a_line_loses_and_doubles_nothing(
    centre: Centre,
    appliance: Isolated,
    certificates_of: Callable[[timedelta], None],
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    centre.serve()
    certificates_of(IN_ITS_SECOND_HALF)
    enrol(appliance, centre)
    appliance.insert(1, 50)
    appliance.start()
    appliance.until(lambda: proposed(appliance))
    capsys.readouterr()
    disk = round_trip(appliance, centre)  # nothing but what it proposes
    told = capsys.readouterr().out
    assert ": 0 batches, 0 rows" in told
    assert "1 proposals" in told
    assert "asks for a new certificate" not in told
    if request.node.callspec.params["centre"] == "manual":
        assert "approves columns of 0 tables" in told
        assert captured(appliance) == 0
        assert centre.command("approvals", "approve", str(PEOPLE), "--reason", "agreement 17") == 0
        assert centre.command("import", disk) == 0  # the same file: the answer says what is approved now
        assert appliance.command("outbox", "acknowledge", disk) == 0
        assert "approves columns of 1 tables" in capsys.readouterr().out
    appliance.until(lambda: captured(appliance) == 50)
    round_trip(appliance, centre)
    assert " batches left" in capsys.readouterr().out

    # a certificate in its last third is renewed
    certificates_of(IN_ITS_LAST_THIRD)
    first = identity.load(appliance.state)
    enrol(appliance, centre)
    before = identity.load(appliance.state)
    assert before.serial != first.serial
    certificates_of(timedelta(days=398))
    appliance.insert(51, 50)
    appliance.until(lambda: captured(appliance) == 100)
    capsys.readouterr()
    round_trip(appliance, centre)
    told = capsys.readouterr().out
    assert "asks for a new certificate" in told
    assert "a renewed certificate, good until" in told
    assert identity.load(appliance.state) == before  # until the centre has seen the new one
    appliance.insert(101, 50)
    appliance.until(lambda: captured(appliance) == 150)
    round_trip(appliance, centre)
    told = capsys.readouterr().out
    assert f"the renewed certificate of agent {AGENT} is in force" in told
    assert "the renewed certificate is in force, until" in told
    after = identity.load(appliance.state)
    assert (after.key != before.key, after.life > before.life) == (True, True)
    appliance.insert(151, 50)
    appliance.until(lambda: captured(appliance) == 200)
    round_trip(appliance, centre)

    appliance.end()
    until_loaded(appliance, centre, capsys, 200)
    assert rows_of(centre, capsys, "people") == list(range(1, 201))
    # a snapshot's last row is sent once more by the window that begins there
    assert rows_of(centre, capsys, "people_changes") == sorted([*range(1, 201), 50])
    assert appliance.command("outbox", "--json") == 0
    assert [stream["batches"] for stream in json.loads(capsys.readouterr().out)] == [0]
    agent = centre.ledger.agents.get(AGENT)
    assert agent is not None
    assert agent.last_seen_at == 0  # no line, ever


def rows_of(centre: Centre, capsys: pytest.CaptureFixture[str], table: str) -> list[int]:
    capsys.readouterr()
    assert centre.command("sql", f"select id from {table} order by id", "--format", "json") == 0
    return [row["id"] for row in json.loads(capsys.readouterr().out)]


def until_loaded(appliance: Isolated, centre: Centre, capsys: pytest.CaptureFixture[str], count: int) -> None:
    appliance.until(lambda: len(rows_of(centre, capsys, "people")) == count)


def test_the_request_holds_the_token_and_no_key_and_is_its_owners(
    centre: Centre, appliance: Isolated, capsys: pytest.CaptureFixture[str]
) -> None:
    disk, token = centre.disk(), centre.token()
    assert appliance.command("enroll", token, "--export", disk) == 0
    (request,) = disk.iterdir()
    assert request.stat().st_mode & 0o777 == 0o600
    assert "--answer DIR" in capsys.readouterr().out
    waiting = asked.find(appliance.state, asked.ENROLMENT)
    assert waiting is not None
    content = request.read_bytes()
    assert b"PRIVATE KEY" not in content
    number = waiting.key.private_numbers().private_value.to_bytes(32, "big")
    assert number not in content
    assert (appliance.state / asked.ENROLMENT).stat().st_mode & 0o777 == 0o600
    assert not (appliance.state / identity.FOLDER).exists()


def test_a_request_that_is_imported_twice_is_answered_twice_with_the_same_certificate(
    centre: Centre, appliance: Isolated, capsys: pytest.CaptureFixture[str]
) -> None:
    disk, token = centre.disk(), centre.token()
    assert appliance.command("enroll", token, "--export", disk) == 0
    assert centre.command("import", disk) == 0
    for answer in disk.glob("answer-*"):
        answer.unlink()  # the disk was lost on its way back
    assert appliance.command("enroll", token, "--export", disk) == 0  # made anew: the same key
    assert centre.command("import", disk) == 0
    assert centre.command("import", disk) == 0
    assert len(list(disk.glob("answer-*"))) == 2
    assert appliance.command("enroll", "--answer", disk) == 0
    ledger = centre.ledger
    agent = ledger.agents.get(AGENT)
    assert agent is not None
    assert identity.load(appliance.state).serial == agent.serial
    assert len(ledger.audit.listing(action="enroll")) == 1
    assert ledger.audit.listing(action=alarms.SPENT_TWICE) == []
    capsys.readouterr()
    assert appliance.command("enroll", "--answer", disk) != 0
    assert "it was taken, or nothing was asked" in capsys.readouterr().err


def test_an_import_that_was_interrupted_anywhere_is_simply_made_again(
    centre: Centre, appliance: Isolated, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = centre.disk()
    assert appliance.command("enroll", centre.token(), "--export", disk) == 0
    use = Tokens.use

    def before(*_: object, **__: object) -> None:
        raise LedgerUnavailable

    def after(tokens: Tokens, *about: Any, **more: Any) -> None:
        use(tokens, *about, **more)
        raise LedgerUnavailable

    for cut in (before, after):
        monkeypatch.setattr(Tokens, "use", cut)
        assert centre.command("import", disk) != 0
        assert list(disk.glob("answer-*")) == []
    monkeypatch.setattr(Tokens, "use", use)
    assert centre.command("import", disk) == 0
    assert appliance.command("enroll", "--answer", disk) == 0
    assert len(centre.ledger.audit.listing(action="enroll")) == 1
    assert centre.ledger.audit.listing(action=alarms.SPENT_TWICE) == []


def test_a_token_that_was_spent_is_refused_and_the_appliance_hears_why(
    centre: Centre, appliance: Isolated, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token, disk = centre.token(), centre.disk()
    assert appliance.command("enroll", token, "--export", disk) == 0
    assert centre.command("import", disk) == 0
    other, theirs = Isolated(tmp_path / "other"), centre.disk()
    assert other.command("enroll", token, "--export", theirs) == 0
    capsys.readouterr()
    assert centre.command("import", theirs) == 1
    assert "refused: FB-TOKEN: the token was used before" in capsys.readouterr().out
    assert [entry.who for entry in centre.ledger.audit.listing(action=alarms.SPENT_TWICE)] == [AGENT]
    assert other.command("enroll", "--answer", theirs) == 4
    said = capsys.readouterr().err
    assert "FB-TOKEN: the token was used before" in said
    assert "Ask the centre for a new token" in said
    assert not (other.state / identity.FOLDER).exists()
    assert appliance.command("enroll", "--answer", disk) == 0
    # one that was let in by a new token goes on with the answer to that
    assert other.command("enroll", centre.token("scjg-02"), "--export", theirs) == 0
    assert centre.command("import", theirs) == 1
    assert other.command("enroll", "--answer", theirs) == 0
    assert identity.load(other.state).agent == "scjg-02"


def test_a_token_of_another_centre_or_another_secret_is_refused(
    centre: Centre, appliance: Isolated, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = founded(tmp_path / "elsewhere")
    foreign, disk = elsewhere.token(), centre.disk()
    assert appliance.command("enroll", foreign, "--export", disk) == 0
    assert centre.command("import", disk) == 1
    assert f"enroll-{AGENT}.ferry: was not sealed by an agent of this collector" in capsys.readouterr().out
    assert list(disk.glob("answer-*")) == []
    token = Token.of(centre.token().read_text("utf-8"))
    guessed = Token(
        token.addresses,
        "guessed",
        token.authority,
        token.certificate,
        token.key,
        token.department,
        token.agent,
        token.expires_at,
    )
    enrolling.request(guessed, enrolling.ask(guessed, appliance.state), disk, SystemClock())
    assert centre.command("import", disk) == 1
    assert "refused: FB-TOKEN: the token is not known" in capsys.readouterr().out
    assert len(centre.ledger.audit.listing(action=alarms.ENROL_REFUSED)) == 1


def test_another_centres_answer_is_refused_by_its_name(
    centre: Centre, appliance: Isolated, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere, other = founded(tmp_path / "elsewhere"), Isolated(tmp_path / "other")
    disk, theirs = centre.disk(), elsewhere.disk()
    assert appliance.command("enroll", centre.token(), "--export", disk) == 0
    assert other.command("enroll", elsewhere.token(), "--export", theirs) == 0
    assert centre.command("import", disk) == 0
    assert elsewhere.command("import", theirs) == 0
    capsys.readouterr()
    assert appliance.command("enroll", "--answer", theirs) == 1
    (answer,) = theirs.glob("answer-*")
    assert f"{answer.name}: was not sealed by this agent's centre" in capsys.readouterr().err
    assert not (appliance.state / identity.FOLDER).exists()
    # beside the right one it does no harm
    shutil.copy(answer, disk)
    assert appliance.command("enroll", "--answer", disk) == 0


def test_before_its_last_third_a_certificate_is_not_renewed(
    centre: Centre,
    appliance: Isolated,
    certificates_of: Callable[[timedelta], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    centre.serve()
    certificates_of(IN_ITS_SECOND_HALF)
    enrol(appliance, centre)
    appliance.start()
    appliance.until(lambda: proposed(appliance))
    capsys.readouterr()
    round_trip(appliance, centre)
    assert "certificate" not in capsys.readouterr().out
    assert asked.find(appliance.state, asked.RENEWAL) is None


def test_a_renewal_whose_answers_are_lost_or_come_twice_ends_with_one_that_works(
    centre: Centre,
    appliance: Isolated,
    certificates_of: Callable[[timedelta], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    centre.serve()
    certificates_of(IN_ITS_LAST_THIRD)
    enrol(appliance, centre)
    certificates_of(timedelta(days=398))
    appliance.start()
    appliance.until(lambda: proposed(appliance))
    lost, disk = centre.disk(), centre.disk()
    assert appliance.command("outbox", "export", lost) == 0
    assert centre.command("import", lost) == 0
    assert appliance.command("outbox", "export", disk) == 0
    assert centre.command("import", disk) == 0
    assert centre.command("import", disk) == 0
    assert appliance.command("outbox", "acknowledge", disk) == 0
    following = identity.load_next(appliance.state)
    assert following is not None
    given = [each for each in centre.ledger.certificates.listing(AGENT) if each.ended_by is Ended.NOT]
    assert len(given) == 2  # the one in force, and one renewed
    assert appliance.command("outbox", "acknowledge", lost) == 0
    # the answer that says it is in force is lost too; the old file is still on the disk, and refused
    capsys.readouterr()
    assert appliance.command("outbox", "export", disk) == 0
    assert centre.command("import", disk) == 0
    assert f"the renewed certificate of agent {AGENT} is in force" in capsys.readouterr().out
    for answer in disk.glob("answer-*"):
        answer.unlink()
    assert centre.command("import", disk) == 1
    said = capsys.readouterr().out
    assert "has a newer certificate" in said
    assert "Remove this file" in said
    round_trip(appliance, centre)
    assert identity.load(appliance.state).serial == following.serial
    assert identity.load_next(appliance.state) is None


def test_a_renewed_certificate_that_the_centre_lost_gives_way_to_the_one_before(
    centre: Centre,
    appliance: Isolated,
    certificates_of: Callable[[timedelta], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    centre.serve()
    certificates_of(IN_ITS_LAST_THIRD)
    enrol(appliance, centre)
    before = identity.load(appliance.state)
    certificates_of(timedelta(days=398))
    appliance.start()
    appliance.until(lambda: proposed(appliance))
    round_trip(appliance, centre)
    following = identity.load_next(appliance.state)
    assert following is not None
    # another renewal: what was given and not taken up is ended
    centre.ledger.certificates.renew(AGENT, before.serial, "abc", 2**62)
    disk = centre.disk()
    assert appliance.command("outbox", "export", disk) == 0
    assert centre.command("import", disk) == 1
    capsys.readouterr()
    assert appliance.command("outbox", "acknowledge", disk) == 4
    assert "has a newer certificate" in capsys.readouterr().err
    assert identity.load_next(appliance.state) is None
    round_trip(appliance, centre)  # asks with the one before
    round_trip(appliance, centre)
    after = identity.load(appliance.state)
    assert after.serial not in (before.serial, following.serial)
    assert after.life > before.life


def test_a_revoked_agent_is_refused_and_hears_it(
    centre: Centre,
    appliance: Isolated,
    certificates_of: Callable[[timedelta], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    certificates_of(IN_ITS_LAST_THIRD)
    enrol(appliance, centre)
    appliance.start()
    appliance.until(lambda: proposed(appliance))
    disk = centre.disk()
    assert appliance.command("outbox", "export", disk) == 0
    assert centre.command("agents", "revoke", AGENT, "--reason", "stolen") == 0
    capsys.readouterr()
    assert centre.command("import", disk) == 1
    assert f"refused: FB-IDENTITY: agent {AGENT} was revoked" in capsys.readouterr().out
    assert appliance.command("outbox", "acknowledge", disk) == 4
    assert f"agent {AGENT} was revoked" in capsys.readouterr().err
    assert identity.load_next(appliance.state) is None
    assert centre.ledger.approvals.listing(agent=AGENT) == []
    assert [each.ended_by for each in centre.ledger.certificates.listing(AGENT)] == [Ended.NOT]


def test_a_certificate_that_is_over_is_replaced_by_another_token(
    centre: Centre,
    appliance: Isolated,
    certificates_of: Callable[[timedelta], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    centre.serve()
    certificates_of(timedelta(minutes=-1))
    disk = centre.disk()
    assert appliance.command("enroll", centre.token(), "--export", disk) == 0
    assert centre.command("import", disk) == 0
    capsys.readouterr()
    assert appliance.command("enroll", "--answer", disk) == 4
    assert "expired at" in capsys.readouterr().err
    appliance.start()
    appliance.until(lambda: proposed(appliance))
    assert appliance.command("outbox", "export", disk) == 4
    assert "Enrol again with a new token: `forebay-agent enroll TOKENFILE --export DIR`" in capsys.readouterr().err
    certificates_of(timedelta(days=398))
    enrol(appliance, centre)
    round_trip(appliance, centre)


def test_a_file_of_a_newer_form_says_so(
    centre: Centre, appliance: Isolated, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = centre.disk()
    assert appliance.command("enroll", centre.token(), "--export", disk) == 0
    (request,) = disk.iterdir()
    content = request.read_bytes()
    request.write_bytes(content.replace(b"FERRY %d\n" % ferry.FORM, b"FERRY %d\n" % (ferry.FORM + 1)))
    assert centre.command("import", disk) == 1
    assert f"{request.name}: has form {ferry.FORM + 1}, which a newer version wrote" in capsys.readouterr().out
    request.write_bytes(content)
    assert centre.command("import", disk) == 0
    (answer,) = disk.glob("answer-*")
    whole = answer.read_bytes()
    answer.write_bytes(whole.replace(b"FERRY %d\n" % ferry.FORM, b"FERRY %d\n" % (ferry.FORM + 1)))
    capsys.readouterr()
    assert appliance.command("enroll", "--answer", disk) == 1
    assert f"{answer.name}: has form {ferry.FORM + 1}, which a newer version wrote" in capsys.readouterr().err
