"""Pauses: what they cover, that they outlive the process, and that one resume takes back one pause."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from forebay_agent.config.model import DailyWindow
from forebay_agent.errors import StateFolderUnusable
from forebay_agent.pauses import FILE_NAME, Pauses, Scope, why_paused
from forebay_wire.stream import StreamName

PEOPLE = StreamName("dept", "civil", "people")
HOUSES = StreamName("dept", "civil", "houses")
FIRMS = StreamName("dept", "market", "firms")


def covered(pauses: Pauses) -> list[StreamName]:
    return [name for name in (PEOPLE, HOUSES, FIRMS) if pauses.of(name) is not None]


def test_a_scope_covers_one_stream_one_source_or_all(tmp_path: Path) -> None:
    for scope, expected in (
        (Scope("civil", str(PEOPLE)), [PEOPLE]),
        (Scope("civil"), [PEOPLE, HOUSES]),
        (Scope(), [PEOPLE, HOUSES, FIRMS]),
    ):
        pauses = Pauses(tmp_path)
        pauses.add(scope, "why", 1)
        assert covered(pauses) == expected
        assert (pauses.of_agent is not None) == (scope == Scope())
        assert pauses.take_back(scope) is not None
        assert covered(Pauses(tmp_path)) == []


def test_a_pause_outlives_the_process_with_its_reason(tmp_path: Path) -> None:
    Pauses(tmp_path).add(Scope("civil"), "年度结账", 7)
    again = Pauses(tmp_path)
    assert [str(pause) for pause in again.all()] == ["source civil is paused by the centre: 年度结账"]
    assert again.all()[0].at_us == 7


def test_a_resume_takes_back_that_pause_and_no_other(tmp_path: Path) -> None:
    pauses = Pauses(tmp_path)
    pauses.add(Scope("civil", str(PEOPLE)), "one", 1)
    pauses.add(Scope(), "two", 2)
    assert pauses.take_back(Scope()) is not None
    assert covered(pauses) == covered(Pauses(tmp_path)) == [PEOPLE]
    assert pauses.take_back(Scope("civil")) is None
    assert covered(pauses) == [PEOPLE]


def test_damage_is_never_no_pause(tmp_path: Path) -> None:
    Pauses(tmp_path).add(Scope(), "why", 1)
    (tmp_path / FILE_NAME).write_text((tmp_path / FILE_NAME).read_text().replace("why", "way"))
    with pytest.raises(StateFolderUnusable) as caught:
        Pauses(tmp_path)
    assert "is captured again" in caught.value.remedy


def test_maintenance_stands_beside_what_was_ordered(tmp_path: Path) -> None:
    pauses = Pauses(tmp_path)
    night = (DailyWindow(dt.time(22), dt.time(6)),)
    assert why_paused(pauses, night, PEOPLE, lambda: dt.time(12)) == ""
    assert why_paused(pauses, night, PEOPLE, lambda: dt.time(23)) == "daily maintenance (22:00-06:00)"
    pauses.add(Scope(), "", 1)
    assert why_paused(pauses, night, PEOPLE, lambda: dt.time(12)) == "the agent is paused by the centre"
