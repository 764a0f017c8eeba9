"""An appliance that never has a line: it begins, goes on and does not end, by disk only."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from forebay_agent import identity
from tests.daemon.by_disk import (
    IN_ITS_LAST_THIRD,
    IN_ITS_SECOND_HALF,
    Centre,
    captured,
    enrol,
    proposed,
    round_trip,
)
from tests.daemon.isolated import AGENT, PEOPLE, Isolated


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
