"""What was lost is made again, while agents go on sending: nothing is lost, and nothing stands twice."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable

import pytest

from forebay_collector.demo.departments import Department
from forebay_collector.demo.fleet import Fleet, Site
from forebay_collector.demo.processes import program, run
from tests.end_to_end.conftest import (
    SMALL_ENTERPRISES,
    SMALL_LOW_INCOME,
    agent,
    agent_status,
    assert_equal,
    collector,
)
from tests.end_to_end.marks import begun, loaded, until

SiteOf = Callable[[Department], Site]
pytestmark = pytest.mark.timeout(900)


def further(fleet: Fleet, before: dict[str, tuple[int, int]]) -> bool:
    now = loaded(fleet)
    return bool(now) and all(now.get(name, (0, 0)) > mark for name, mark in before.items())


def assert_custody(fleet: Fleet) -> None:
    verified = collector(fleet, "custody", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr


@pytest.mark.parametrize("lost", [("ledger.db*",), ("ledger.db*", "platform/catalog.db*")], ids=["ledger", "catalogue"])
def test_an_old_backup_restored_under_load_loses_and_doubles_nothing(
    fleet: Fleet, site_of: SiteOf, lost: tuple[str, ...]
) -> None:
    sites = [site_of(SMALL_ENTERPRISES), site_of(SMALL_LOW_INCOME)]
    fleet.start()
    for site in sites:
        site.writer.start()
    until(lambda: begun(fleet))
    backup = fleet.folder / "backup"
    made = collector(fleet, "backup", str(backup))
    assert made.returncode == 0, made.stderr
    at_backup = loaded(fleet)
    until(lambda: further(fleet, at_backup))
    before = loaded(fleet)
    changes = [site.writer.changes for site in sites]
    fleet.collector.kill()
    for pattern in lost:
        for path in fleet.data.glob(pattern):
            path.unlink()
    restored = collector(fleet, "restore", str(backup), "--reason", "the disk failed", "--json")
    assert restored.returncode == 0, restored.stdout + restored.stderr
    told = json.loads(restored.stdout)
    assert told["whole"]
    assert all(one["recorded"] > 0 for one in told["streams"]), told
    fleet.collector.start()
    fleet.collector.wait_for_port(fleet.port)
    until(lambda: further(fleet, before))
    for site, written in zip(sites, changes, strict=True):
        site.writer.stop()
        assert site.writer.changes > written
    assert_equal(fleet, 240)
    assert_custody(fleet)
    assert json.loads(collector(fleet, "streams", "--held", "--json").stdout) == []


def test_an_agent_that_lost_its_state_enrols_again_and_goes_on_without_doubling(fleet: Fleet, site_of: SiteOf) -> None:
    site = site_of(SMALL_LOW_INCOME)
    fleet.start()
    site.writer.start()
    until(lambda: begun(fleet))
    site.agent.kill()
    shutil.rmtree(site.state)
    token = site.home / "again.token"
    who = ["--department", site.department.name, "--agent", site.department.agent]
    run([*fleet.command, "token", *who, "--out", str(token)], fleet.log)
    run([program("forebay-agent"), "--config", str(site.home), "enroll", str(token)], fleet.log)
    site.agent.start()

    def held() -> bool:
        said = agent_status(site).get("streams", [])
        return bool(said) and all(one["code"] == "FB-STATE-LOST" for one in said)

    until(held)
    before = loaded(fleet)
    told = agent(site, "reset", "--lost", "--reason", "the disk was exchanged", "--yes")
    assert told.returncode == 0, told.stderr
    until(lambda: further(fleet, before))
    site.writer.stop()
    assert_equal(fleet, 240)
    assert {mark[0] for mark in loaded(fleet).values()} == {2}
    assert_custody(fleet)
    assert agent(site, "reset", "--lost", "--reason", "again", "--yes").stdout.startswith("no stream")


def test_the_archive_of_what_is_loaded_is_lost_and_the_chain_goes_on(fleet: Fleet, site_of: SiteOf) -> None:
    site = site_of(SMALL_LOW_INCOME)
    fleet.start()
    site.writer.start()
    until(lambda: begun(fleet))
    fleet.collector.stop()
    before = loaded(fleet)
    (mark,) = before.values()
    for path in (fleet.data / "archive").rglob("*.batch"):
        if (int(path.parent.name), int(path.stem)) <= mark:
            path.unlink()
    fleet.collector.start()
    fleet.collector.wait_for_port(fleet.port)
    until(lambda: further(fleet, before))
    site.writer.stop()
    assert_equal(fleet, 240)
    verified = collector(fleet, "custody", "verify", "--json")
    told = json.loads(verified.stdout)
    (name,) = loaded(fleet)
    assert verified.returncode == 1
    assert {(one["kind"], one["place"], one["stream"]) for one in told["findings"]} == {("lost", "archive", name)}
    lost = sorted((one["epoch"], one["seq"]) for one in told["findings"])
    assert lost == [(1, seq) for seq in range(1, lost[-1][1] + 1)]
    assert lost[-1] == mark
