"""Seeded `kill -9` rounds over agents, collector and database servers, under a workload; `make test-faults`.

Seven departments (SQLite, MariaDB and PostgreSQL; cursor, DATE cursor, triggers and the databases' logs) are written to
without pause. Every round draws a victim, a moment and how long it stays dead. Every `CHECK_EVERY` rounds and at the end the writers stop, the
fleet settles, and sources and platform are compared independently: a key that is missing, extra or different ends the
run, as does a change that a history holds twice. The seed fixes workload and schedule; it is printed and replays.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from forebay_collector.demo.compare import history_changes_twice
from forebay_collector.demo.database import Server
from forebay_collector.demo.departments import ENTERPRISES, LOW_INCOME, PERMITS, Department
from forebay_collector.demo.fleet import Fleet
from forebay_collector.demo.processes import DemoFailed
from forebay_collector.demo.writer import Writer
from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL

CHECK_EVERY = 20
SETTLE_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Victim:
    """Something that dies by SIGKILL and comes back."""

    name: str
    kill: Callable[[], None]
    start: Callable[[], None]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None, help="replays the run of that seed")
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(10**8) if arguments.seed is None else arguments.seed
    print(f"kill rounds: seed={seed} rounds={arguments.rounds}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="forebay-faults-"))
    try:
        line = _play(folder, random.Random(seed), seed, arguments.rounds)
    except DemoFailed as failure:
        print(f"kept in {folder}; replay with SEED={seed}", file=sys.stderr)
        print(f"kill rounds FAILED: seed={seed} {failure}")
        return 1
    shutil.rmtree(folder, ignore_errors=True)
    print(line)
    return 0


def _play(folder: Path, draw: random.Random, seed: int, rounds: int) -> str:
    began = time.monotonic()
    with ExitStack() as stack:
        mariadb = stack.enter_context(MariaDB.start(folder / "mariadb"))
        postgresql = stack.enter_context(PostgreSQL.start(folder / "postgresql"))
        fleet = Fleet(folder / "fleet")
        stack.callback(fleet.stop)
        _departments(fleet, _server("mariadb", mariadb, folder), _server("postgresql", postgresql, folder), seed)
        fleet.start()
        victims = [
            *(Victim(site.agent.name, site.agent.kill, site.agent.start) for site in fleet.sites),
            *[Victim("collector", fleet.collector.kill, fleet.collector.start)] * 4,
            Victim("mariadb", mariadb.kill, mariadb.restart),
            Victim("postgresql", postgresql.kill, postgresql.restart),
        ]
        struck: Counter[str] = Counter()
        for writer in _writers(fleet):
            writer.start()
        for number in range(1, rounds + 1):
            _strike(draw.choice(victims), draw, fleet, number, struck)
            if number % CHECK_EVERY == 0 or number == rounds:
                for site in fleet.sites:
                    site.writer.stop()
                _compare(fleet, number, began)
                if number < rounds:
                    for site, writer in zip(fleet.sites, _successors(fleet), strict=True):
                        site.writer = writer
                        writer.start()
        changes = sum(site.writer.changes for site in fleet.sites)
        kinds = " ".join(f"{name.replace(' ', '_')}={count}" for name, count in sorted(struck.items()))
    return (
        f"kill rounds ok: seed={seed} rounds={rounds} changes={changes} missing=0 doubled=0 different=0 "
        f"seconds={time.monotonic() - began:.0f}\nstruck: {kinds}"
    )


def _server(dialect: str, server: MariaDB | PostgreSQL, folder: Path) -> Server:
    password = folder / f"{dialect}.password"
    password.touch(0o600)
    password.write_text(server.password, "utf-8")
    return Server(dialect, server.port, server.user, password)


def _departments(fleet: Fleet, mariadb: Server, postgresql: Server, seed: int) -> None:
    def called(department: Department, name: str) -> Department:
        return replace(department, name=f"{department.name}{name}", agent=f"{department.agent}-{name}", rows=500)

    logged = replace(LOW_INCOME, entry='mode = "log"')
    plan: list[tuple[Department, Server | None]] = [
        (called(ENTERPRISES, "m"), mariadb),
        (called(LOW_INCOME, "p"), postgresql),
        (called(PERMITS, "s"), None),
        (called(LOW_INCOME, "s"), None),
        (called(replace(PERMITS, source="sgs2"), "p"), postgresql),
        (called(replace(logged, source="dbkl"), "pl"), postgresql),
        (called(replace(logged, source="dbkl"), "ml"), mariadb),
    ]
    for place, (department, server) in enumerate(plan):
        dialect = server.dialect if server else "sqlite"
        fleet.add(department, dialect, server, seed + place, patient=True)


def _writers(fleet: Fleet) -> list[Writer]:
    return [site.writer for site in fleet.sites]


def _successors(fleet: Fleet) -> list[Writer]:
    """Writers that go on where the stopped ones ended."""
    return [writer.successor() for writer in _writers(fleet)]


def _strike(victim: Victim, draw: random.Random, fleet: Fleet, number: int, struck: Counter[str]) -> None:
    before, dead = draw.uniform(0.2, 2.0), draw.choice((0.0, 0.1, 0.5, 1.5))
    time.sleep(before)
    fleet.check()
    victim.kill()
    time.sleep(dead)
    victim.start()
    struck[victim.name] += 1
    print(f"round {number}: after {before:.2f} s kill -9 {victim.name}, back after {dead:.1f} s", flush=True)


def _compare(fleet: Fleet, number: int, began: float) -> None:
    differences = fleet.settle(SETTLE_SECONDS)
    wrong = [
        f"{site.department.name} {site.department.table}: {difference.summary()}"
        for site, difference in zip(fleet.sites, differences, strict=True)
        if not difference.equal
    ]
    if wrong:
        raise DemoFailed(f"round {number}: {'; '.join(wrong)}")
    doubled = fleet.doubled() + sum(
        history_changes_twice(site.department, fleet.platform)
        for site in fleet.sites
        if site.department.touched is None
    )
    if doubled:
        raise DemoFailed(f"round {number}: histories hold {doubled} changes twice")
    rows = sum(difference.rows for difference in differences)
    print(
        f"round {number}: equal, rows={rows} changes={sum(site.writer.changes for site in fleet.sites)} "
        f"seconds={time.monotonic() - began:.0f}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
