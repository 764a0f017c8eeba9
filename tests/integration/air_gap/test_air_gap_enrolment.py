"""Enrolment without a line: one token gives one certificate, whatever becomes of the disk."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from forebay_agent import asked, identity
from forebay_agent.clock import SystemClock
from forebay_agent.enrollment import Token
from forebay_agent.errors import StateFolderUnusable
from forebay_agent.ferry import enrolling
from forebay_collector.errors import LedgerUnavailable
from forebay_collector.identity import alarms
from forebay_collector.ledger.tokens import Tokens
from forebay_wire import ferry
from tests.daemon.by_disk import (
    Centre,
    founded,
)
from tests.daemon.isolated import AGENT, Isolated


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


@pytest.mark.parametrize(
    "content", ['{"about": {}}', '{"key": "no key", "about": {}}'], ids=["no key", "a damaged key"]
)
def test_a_damaged_key_that_waits_for_its_answer_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / asked.ENROLMENT).write_text(content)
    with pytest.raises(StateFolderUnusable, match=asked.ENROLMENT) as raised:
        asked.find(tmp_path, asked.ENROLMENT)
    assert raised.value.remedy
