"""What the centre has not approved does not leave, end to end: real processes, real TLS, real files."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from forebay_collector.demo.fleet import Fleet, Site
from forebay_wire.stream import StreamName
from tests.end_to_end.conftest import SMALL_ENTERPRISES, assert_equal, canary, collector

STREAM = StreamName(SMALL_ENTERPRISES.name, SMALL_ENTERPRISES.source, f"main.{SMALL_ENTERPRISES.table}")
LATER = ("address", "status")


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path / "fleet", approve="manual")
    yield made
    for site in made.sites:
        if site.writer.is_alive():
            site.writer.stop()
    made.stop()


@pytest.fixture
def site(fleet: Fleet) -> Site:
    added = fleet.add(SMALL_ENTERPRISES, "sqlite", None, 7)
    canary(added, "off")
    return added


def in_json(fleet: Fleet, *arguments: str) -> Any:
    ended = collector(fleet, *arguments, "--json")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def until(true: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    return found


def loaded(fleet: Fleet) -> int:
    """The seq up to which the stream is loaded."""
    streams = [one for one in in_json(fleet, "streams") if one["stream"] == str(STREAM)]
    return int(streams[0]["loaded"].partition("/")[2]) if streams else 0


def columns_in_platform(fleet: Fleet) -> set[str]:
    ended = collector(fleet, "sql", f"select * from {SMALL_ENTERPRISES.table} limit 1", "--format", "json")
    assert ended.returncode == 0, ended.stderr
    rows = json.loads(ended.stdout)
    return set(rows[0]) if rows else set()


def test_nothing_leaves_before_it_is_approved_then_what_is_approved_flows_and_in_the_end_everything_is_equal(
    fleet: Fleet, site: Site
) -> None:
    fleet.start()
    (waits,) = until(lambda: in_json(fleet, "approvals"))
    assert (waits["stream"], waits["flows"]) == (str(STREAM), False)
    masks = {column["name"]: column["mask"] for column in waits["columns"]}
    assert {name: mask for name, mask in masks.items() if mask} == dict(SMALL_ENTERPRISES.masks)
    assert masks.keys() == SMALL_ENTERPRISES.columns.keys()
    site.writer.start()
    time.sleep(5)
    assert in_json(fleet, "batches") == [], "no row was sent"
    assert in_json(fleet, "streams") == []
    archived = [path for path in (fleet.data / "archive").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in archived) == 0

    first = [name for name in masks if name not in LATER]
    approved = collector(fleet, "approvals", "approve", str(STREAM), "--columns", ",".join(first), "--reason", "agreed")
    assert approved.returncode == 0, approved.stderr
    until(lambda: loaded(fleet))
    assert columns_in_platform(fleet) & masks.keys() == set(first)
    (still,) = in_json(fleet, "approvals")
    assert (set(still["waiting"]), still["flows"]) == (set(LATER), True)

    mark = loaded(fleet)
    site.agent.kill()
    site.agent.start()
    until(lambda: loaded(fleet) > mark)
    assert columns_in_platform(fleet) & masks.keys() == set(first), "nor after the agent was killed"

    assert collector(fleet, "approvals", "approve", str(STREAM)).returncode == 0
    until(lambda: columns_in_platform(fleet) >= masks.keys())
    site.writer.stop()
    assert_equal(fleet, 90)


def test_what_is_withdrawn_stops_within_seconds_while_another_stream_goes_on_and_nothing_is_lost(
    fleet: Fleet, site: Site
) -> None:
    fleet.start()
    until(lambda: in_json(fleet, "approvals"))
    assert collector(fleet, "approvals", "approve", str(STREAM)).returncode == 0
    until(lambda: loaded(fleet))
    site.writer.start()
    until(lambda: loaded(fleet) > 1)
    assert collector(fleet, "approvals", "withdraw", str(STREAM), "--reason", "ended").returncode == 0
    time.sleep(5)
    mark = in_json(fleet, "streams")[0]["durable"]
    time.sleep(5)
    assert in_json(fleet, "streams")[0]["durable"] == mark
    refused = [entry for entry in in_json(fleet, "audit") if entry["action"] == "batch refused"]
    assert len(refused) <= 1, "the agent holds to it by itself"
    assert collector(fleet, "approvals", "approve", str(STREAM)).returncode == 0
    until(lambda: in_json(fleet, "streams")[0]["durable"] != mark)
    site.writer.stop()
    assert_equal(fleet, 90)
