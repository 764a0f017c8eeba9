"""Certificates of completeness: what they say is what the ledger has, and no byte of them changes unseen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from forebay_collector.cli import main
from forebay_collector.completeness import document
from forebay_collector.completeness.daily import Daily
from forebay_collector.completeness.days import Day
from forebay_collector.completeness.document import canonical
from forebay_collector.completeness.settings import CertificateSettings
from forebay_collector.completeness.signer import KEY_FILE, signer_of
from forebay_collector.errors import CertificateNotValid, NotKnown, NotPossible
from forebay_collector.founding import init
from forebay_collector.ledger import now_us, verifications
from forebay_collector.ledger.verifications import VerificationState
from forebay_collector.service import completeness
from forebay_collector.service.actor import Actor, Role
from forebay_wire.stream import StreamName
from tests.loading.stage import Stage
from tests.receiving.batches import DEPARTMENT, STREAM, chained

OTHER = StreamName("民政局", "低保库", "public.低保对象")
SOMEONE = Actor.local("王敏")
ZONE = "+08:00"


class Clock:
    """The real clock, put ahead."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> int:
        return now_us() + self.ahead // timedelta(microseconds=1)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stage(tmp_path: Path, clock: Clock) -> Iterator[Stage]:
    opened = Stage(tmp_path / "collector")
    opened.ledger.database.clock = clock
    yield opened
    opened.close()


def load_all(stage: Stage) -> None:
    for stream in (STREAM, OTHER):
        while stage.loader().load_step(stream):
            pass


def compare(stage: Stage, state: VerificationState, missing: int = 0) -> None:
    """A comparison of STREAM that ended now."""
    record = stage.ledger.streams.get(STREAM)
    assert record is not None
    at = stage.ledger.database.clock()
    told = {"rows": 18, "digest": "ab"}
    result = {"source": told, "platform": told, "counts": {"missing": missing, "extra": 0, "different": 0}}
    with stage.ledger.database.write() as connection:
        number = verifications.ask(connection, record.id, asked_by="王敏", via="cli", why="", at=at, taken=True)
        verifications.end(connection, number, state, at, result=result)


def made(stage: Stage, department: str = DEPARTMENT) -> bytes:
    today = Day.at(stage.ledger.database.clock(), ZONE).name
    number = completeness.make(stage.ledger, stage.settings, SOMEONE, department, today)
    return completeness.show(stage.ledger, SOMEONE, number)[1]


def said(content: bytes) -> dict[str, Any]:
    return dict(completeness.statement_of(content))


def keys(stage: Stage) -> tuple[bytes, bytes]:
    """The public key of who signs, and the authority's certificate."""
    identity = stage.settings.data.identity
    return signer_of(identity).public_key, (identity / "authority.pem").read_bytes()


def test_it_says_what_the_ledger_has_of_the_day(stage: Stage) -> None:
    stage.receive(chained(6))
    stage.receive(chained(2, OTHER))
    load_all(stage)
    compare(stage, VerificationState.EQUAL)
    statement = said(made(stage))
    assert (statement["department"], statement["number"], statement["previous_sha256"]) == (DEPARTMENT, 1, "")
    (table,) = statement["tables"]
    last = chained(6)[-1]
    assert (table["source"], table["table"], table["reasons"]) == (STREAM.source, STREAM.table, [])
    through = table["through"]
    assert (through["epoch"], through["seq"], through["chain"]) == (1, 6, last.chain.hex())
    assert through["position"] == last.fields.last_position
    assert (table["received"]["batches"], table["received"]["rows"], table["received"]["inserts"]) == (6, 18, 18)
    assert table["received"]["loaded_batches"] == 6
    assert table["received"]["loaded_late_us"] >= table["received"]["received_late_us"] > 0
    assert table["waiting"] == {"batches": 0, "rows": 0}
    assert table["verified"]["source"] == table["verified"]["platform"] == {"rows": 18, "digest": "ab"}
    assert statement["totals"]["complete"] == statement["totals"]["tables"] == 1


def test_what_waits_what_differs_and_what_was_never_compared_is_not_called_complete(stage: Stage) -> None:
    stage.receive(chained(2))
    assert said(made(stage))["tables"][0]["reasons"] == ["waiting", "not_compared"]
    load_all(stage)
    compare(stage, VerificationState.DIFFERENT, missing=3)
    table = said(made(stage))["tables"][0]
    assert table["reasons"] == ["different"]
    assert (table["verified"]["missing"], table["differences"]) == (3, {"comparisons": 1, "different": 1})


def test_a_comparison_grows_too_old(stage: Stage, clock: Clock) -> None:
    stage.receive(chained(2))
    load_all(stage)
    compare(stage, VerificationState.EQUAL)
    clock.ahead = 2 * stage.settings.verify.cover + timedelta(hours=1)
    assert said(made(stage))["tables"][0]["reasons"] == ["not_compared"]


def test_it_verifies_by_the_key_and_by_the_authority_and_by_no_other(stage: Stage, tmp_path: Path) -> None:
    stage.receive(chained(1))
    content = made(stage)
    for trusted in keys(stage):
        assert document.verify(content, trusted).statement == said(content)
    other = init(tmp_path / "other", ["127.0.0.1:7443"]).data.identity
    for trusted in (signer_of(other).public_key, (other / "authority.pem").read_bytes(), b"", b"nonsense"):
        with pytest.raises(CertificateNotValid):
            document.verify(content, trusted)


def test_a_certificate_for_something_else_of_the_same_authority_signs_none(stage: Stage) -> None:
    stage.receive(chained(1))
    content, signer = made(stage), signer_of(stage.settings.data.identity)
    stranger = signer_of(init(stage.settings.folder.parent / "other", ["127.0.0.1:7443"]).data.identity)
    forged = document.sign(said(content), stranger.key, signer.certificate)
    for trusted in keys(stage):
        with pytest.raises(CertificateNotValid):
            document.verify(forged, trusted)


def test_any_one_byte_changed_added_or_taken_away_is_found(stage: Stage) -> None:
    stage.receive(chained(1))
    content = made(stage)
    for trusted in keys(stage):
        document.verify(content, trusted)
        for place in range(len(content)):
            for changed in {content[place] ^ 1, content[place] ^ 0x20, ord(" "), ord("0")} - {content[place]}:
                altered = content[:place] + bytes([changed]) + content[place + 1 :]
                with pytest.raises(CertificateNotValid):
                    document.verify(altered, trusted)
            for altered in (content[:place] + content[place + 1 :], content[:place] + b" " + content[place:]):
                with pytest.raises(CertificateNotValid):
                    document.verify(altered, trusted)
        for altered in (b"", content[:-1], content + b"\n", content * 2, b"\xef\xbb\xbf" + content):
            with pytest.raises(CertificateNotValid):
                document.verify(altered, trusted)


def test_another_form_of_the_same_values_is_not_what_was_signed(stage: Stage) -> None:
    stage.receive(chained(1))
    content = made(stage)
    whole = json.loads(content)
    forms = [json.dumps(whole).encode(), json.dumps(whole, ensure_ascii=False, indent=1).encode() + b"\n"]
    twice = content.replace(b'{"algorithm"', b'{"algorithm":"Ed25519","algorithm"', 1)
    deep = content.replace(b'"tables":[', b'"tables":' + b"[" * 100_000, 1)
    for altered in (*forms, twice, deep, canonical({**whole, "more": 1}) + b"\n"):
        with pytest.raises(CertificateNotValid):
            document.verify(altered, keys(stage)[0])
    with pytest.raises(TypeError):
        canonical({"half": 0.5})


def test_each_names_the_one_before_it_and_is_in_the_audit(stage: Stage) -> None:
    stage.receive(chained(1))
    first, second = made(stage), made(stage)
    digest = document.digest(first)
    assert (said(second)["number"], said(second)["previous_sha256"]) == (2, digest)
    noted = [one.detail["sha256"] for one in stage.ledger.audit.listing(action="certificate issued")]
    assert noted == [document.digest(second), digest]


def test_the_day_that_is_over_is_certified_once_and_days_that_were_missed_follow(stage: Stage, clock: Clock) -> None:
    stage.receive(chained(1))
    stage.receive(chained(1, OTHER))
    settings = CertificateSettings()
    daily = Daily(stage.ledger, stage.settings.data.identity, settings, timedelta(days=7))
    today = Day.at(clock(), ZONE)

    def days() -> list[tuple[str, str]]:
        listed = completeness.listing(stage.ledger, SOMEONE)
        return sorted((one.department, one.day) for one in listed)

    clock.ahead = timedelta(microseconds=today.until_us - clock()) + settings.wait - timedelta(minutes=1)
    daily.step()
    assert days() == []  # nothing had come by the end of the day before
    clock.ahead += timedelta(minutes=2)
    for _ in range(3):
        daily.step()
    assert days() == sorted((name, today.name) for name in (DEPARTMENT, OTHER.department))
    clock.ahead += timedelta(days=3)
    daily.step()
    assert len(days()) == 8
    off = Daily(stage.ledger, stage.settings.data.identity, CertificateSettings(daily=False), timedelta(days=7))
    clock.ahead += timedelta(days=1)
    off.step()
    assert len(days()) == 8


def test_the_key_outlives_the_process_and_stays_private(stage: Stage) -> None:
    identity = stage.settings.data.identity
    public = signer_of(identity).public_key
    assert signer_of(identity).public_key == public
    assert (identity / KEY_FILE).stat().st_mode & 0o077 == 0


def test_another_departments_are_not_there_and_none_is_made_without_the_right(stage: Stage) -> None:
    stage.receive(chained(1))
    made(stage)
    theirs = Actor("other", frozenset({Role.OPERATOR}), frozenset({OTHER.department}))
    assert completeness.listing(stage.ledger, theirs) == []
    with pytest.raises(NotKnown):
        completeness.show(stage.ledger, theirs, 1)
    with pytest.raises(NotKnown):
        completeness.make(stage.ledger, stage.settings, SOMEONE, "税务局")
    with pytest.raises(NotPossible):
        completeness.make(stage.ledger, stage.settings, SOMEONE, DEPARTMENT, "2026-02-30")
    with pytest.raises(NotPossible):
        completeness.make(stage.ledger, stage.settings, SOMEONE, DEPARTMENT, "2999-01-01")


def test_the_command_line_makes_lists_shows_and_checks_offline(
    stage: Stage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.receive(chained(2))
    load_all(stage)

    def run(*arguments: str, data: Path = stage.settings.folder) -> tuple[int, str]:
        capsys.readouterr()
        code = main(["--data", str(data), "certificate", *arguments])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    today = Day.at(now_us(), ZONE).name
    assert run("make", "--day", today)[0] == 0
    code, told = run("list", "--json")
    (listed,) = json.loads(told)
    assert (code, listed["day"], listed["complete"], listed["rows"]) == (0, today, False, 6)
    assert "not_compared" in run("show", str(listed["id"]))[1]
    file, key, nowhere = tmp_path / "day.json", tmp_path / "completeness.pub", tmp_path / "nowhere"
    assert run("show", str(listed["id"]), "--out", str(file))[0] == 0
    assert run("key", "--out", str(key))[0] == 0
    code, told = run("verify", str(file), "--key", str(key), data=nowhere)
    assert (code, told.splitlines()[-1].startswith("valid: ")) == (0, True)
    assert run("verify", str(file))[0] == 0
    assert run("verify", str(file), data=nowhere)[0] == 3
    file.write_bytes(file.read_bytes().replace(b'"rows":6', b'"rows":7', 1))
    code, told = run("verify", str(file), "--key", str(key), data=nowhere)
    assert (code, "FB-COMPLETENESS" in told) == (1, True)
