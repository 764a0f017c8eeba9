"""Renewal without a line: whatever becomes of the disk, there is a certificate that works."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from forebay_agent import asked, identity
from forebay_collector.ledger.certificates import Ended
from tests.daemon.by_disk import (
    IN_ITS_LAST_THIRD,
    IN_ITS_SECOND_HALF,
    Centre,
    enrol,
    proposed,
    round_trip,
)
from tests.daemon.isolated import AGENT, Isolated


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
