"""A fleet of real processes for one test: agents and a collector over TLS, SQLite sources unless a test says otherwise.

For logs: one centre for all tests, servers of their own whose logs may be cut, and an appliance for each test.
"""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from forebay_collector.demo.departments import ENTERPRISES, LOW_INCOME, Department
from forebay_collector.demo.fleet import Fleet, Site
from forebay_collector.demo.processes import program
from tests.end_to_end.appliance import Appliance, Centre
from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL

SMALL_ENTERPRISES = replace(ENTERPRISES, rows=200)
SMALL_LOW_INCOME = replace(LOW_INCOME, rows=200)

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Centre]:
    made = Centre(tmp_path_factory.mktemp("centre") / "centre")
    yield made
    made.stop()


@pytest.fixture(scope="session")
def own_mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDB]:
    """Its log may be purged and its settings changed."""
    with MariaDB.start(tmp_path_factory.mktemp("own")) as server:
        yield server


@pytest.fixture(scope="session")
def own_postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgreSQL]:
    """Its slots may be dropped."""
    with PostgreSQL.start(tmp_path_factory.mktemp("own"), options=["max_slot_wal_keep_size=1GB"]) as server:
        yield server


@pytest.fixture
def appliance(tmp_path: Path, centre: Centre) -> Iterator[Appliance]:
    made = Appliance(tmp_path / "appliance", centre, next(_numbers))
    yield made
    made.stop()


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path / "fleet")
    yield made
    for site in made.sites:
        if site.writer.is_alive():
            site.writer.stop()
    made.stop()


@pytest.fixture
def site_of(fleet: Fleet) -> Callable[[Department], Site]:
    """Adds a site over a SQLite file, without a canary."""

    def added(department: Department) -> Site:
        site = fleet.add(department, "sqlite", None, 7)
        canary(site, "off")
        return site

    return added


def canary(site: Site, kind: str, every: str = "5m") -> None:
    """What the source's file says of its canary."""
    (file,) = (site.home / "sources.d").glob("*.toml")
    text, _, _ = file.read_text("utf-8").partition("\n[canary]")
    file.write_text(f'{text}\n[canary]\nkind = "{kind}"\nevery = "{every}"\n', "utf-8")


def assert_equal(fleet: Fleet, seconds: float = 40) -> None:
    """Source and platform are equal, row for row, and no change stands twice in a history."""
    differences = fleet.settle(seconds)
    assert [difference.summary() for difference in differences] == ["" for _ in differences]
    assert fleet.doubled() == 0


def agent_status(site: Site) -> dict[str, Any]:
    ended = subprocess.run(
        [program("forebay-agent"), "--config", str(site.home), "status", "--json"],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    # right after its start the agent has not said anything yet
    told: dict[str, Any] = json.loads(ended.stdout) if ended.stdout else {}
    return told


def agent(site: Site, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("forebay-agent"), "--config", str(site.home), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def collector(fleet: Fleet, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*fleet.command, *arguments], capture_output=True, text=True, timeout=90, check=False)
