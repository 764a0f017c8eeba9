"""`pgbench`, TPC-B with four clients, while its four tables are copied and followed; three `kill -9` of the agent.

Every transaction changes one account, one teller and one branch by an amount, and writes a line into pgbench_history,
which has no key. So each image of a balance differs from the one before it by one line's amount, and the amounts of
the lines that the log told are, one by one, the differences that it told.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from forebay_collector.demo.processes import DemoFailed
from tests.servers.postgresql import PostgreSQL, binary
from tests.workloads import evidence, histories, strikes
from tests.workloads.evidence import Change, Plain
from tests.workloads.site import Captured, Site

SCALE = 3
CLIENTS = 4
KEYED = {"public.pgbench_accounts": "aid", "public.pgbench_branches": "bid", "public.pgbench_tellers": "tid"}
LINES = "public.pgbench_history"
_BALANCE = {
    "public.pgbench_accounts": "abalance",
    "public.pgbench_branches": "bbalance",
    "public.pgbench_tellers": "tbalance",
}


def run(folder: Path, seed: int, seconds: float, mode: str = "log") -> str:
    """-> the line that says how it went. Raises DemoFailed."""
    draw = random.Random(seed)
    with PostgreSQL.start(folder / "postgresql") as server:
        server.create_database("bench")
        _program(server, "-i", "-q", "-s", str(SCALE))
        server.execute(f"ALTER TABLE {LINES} REPLICA IDENTITY FULL", database="bench")
        tables = [Captured(name) for name in (*KEYED, LINES)]
        # the copy takes about a third of the time, so that it is met by a kill and by the load
        settings = {"max_rows_per_second": int(SCALE * 100_000 / (seconds / 3))} if mode == "log" else {}
        site = Site(folder, server, "bench", tables, settings, mode=mode)
        load = Load(server, seed, seconds)
        load.start()
        try:
            time.sleep(min(3.0, seconds * 0.1))
            site.start()
            struck = strikes.play(site, draw, seconds, load.check)
            load.finish()
            for name in KEYED:
                site.verify(name)
            site.drain()
            site.agent.stop()
            return _judge(site, server, load.transactions, struck)
        finally:
            load.finish()
            site.stop()


@dataclass(slots=True)
class Told:
    """What a table's history tells. steps: key, by how much the balance changed, and where, of each change that has one
    before it; first: keys whose first change has none."""

    steps: list[tuple[Plain, int, int]] = field(default_factory=list)
    first: set[Plain] = field(default_factory=set)


class Load(threading.Thread):
    """`pgbench` for the time, and again for as long as `finish` is not called. transactions: as it counts them."""

    def __init__(self, server: PostgreSQL, seed: int, seconds: float) -> None:
        super().__init__(name="pgbench", daemon=True)
        self.server = server
        self.seed = seed
        self.seconds = seconds
        self.transactions = 0
        self.failure: Exception | None = None
        self._enough = threading.Event()

    def run(self) -> None:
        seconds = self.seconds
        try:
            while True:
                arguments = ["-n", "-c", str(CLIENTS), "-j", "2", "-T", str(max(1, round(seconds)))]
                printed = _program(self.server, *arguments, f"--random-seed={self.seed}")
                self.transactions += int(re.findall(r"transactions actually processed: (\d+)", printed)[0])
                if self._enough.is_set():
                    return
                self.seed, seconds = self.seed + 1, 3.0
        except Exception as error:
            self.failure = error

    def check(self) -> None:
        if self.failure is not None:
            raise DemoFailed(f"pgbench: {self.failure}")

    def finish(self) -> None:
        self._enough.set()
        self.join()
        self.check()


def _program(server: PostgreSQL, *arguments: str) -> str:
    command = [binary("pgbench"), "-h", server.host, "-p", str(server.port), "-U", server.user, *arguments, "bench"]
    environment = {**os.environ, "PGPASSWORD": server.password}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def _judge(site: Site, server: PostgreSQL, transactions: int, struck: Counter[str]) -> str:
    lines = evidence.source_rows(server, LINES, _names(server, LINES), "bench")
    if len(lines) != transactions:
        raise DemoFailed(f"pgbench counts {transactions} transactions, its own history has {len(lines)} lines")
    rows, wrong = 0, []
    told: dict[str, Told] = {}
    for table, key in KEYED.items():
        names = [key, *(name for name in _names(server, table) if name != key)]
        source = evidence.source_rows(server, table, names, "bench")
        found = evidence.difference(source, evidence.mirror_rows(site.data, table, names))
        rows += found.rows
        if not found.equal:
            wrong.append(f"{table}: {found.told()}")
        changes = evidence.history(site.data, table)
        _refuse_new_epoch(table, changes)
        histories.refuse_doubled(table, changes, key)
        if sorted(histories.replayed(changes, key, names)) != sorted(source):
            wrong.append(f"{table}: its history does not lead to the source's rows")
        told[table] = _told(table, changes, key)
    names = _names(server, LINES)
    changes = evidence.history(site.data, LINES)
    _refuse_new_epoch(LINES, changes)
    histories.keyless(LINES, changes, names, lines, CLIENTS)
    followed = [change for change in changes if change.op == "c"]
    for table, key in KEYED.items():
        _refuse_other_amounts(table, key, told[table], followed)
    if wrong:
        raise DemoFailed("; ".join(wrong))
    counted = site.count(f"SELECT count(DISTINCT (aid, tid, bid, delta, mtime)) FROM {LINES.partition('.')[2]}_changes")
    if counted != len(set(lines)):
        raise DemoFailed(f"`sql` counts {counted} different lines, the source has {len(set(lines))}")
    return (
        f"pgbench ok: transactions={transactions} rows={rows + len(lines)} followed={len(followed)} "
        f"kills={sum(struck.values())} (snapshot={struck['snapshot']} streaming={struck['streaming']}) "
        "missing=0 extra=0 different=0"
    )


def _names(server: PostgreSQL, table: str) -> list[str]:
    return evidence.columns(server, table, "bench")


def _refuse_new_epoch(table: str, changes: list[Change]) -> None:
    if {change.epoch for change in changes} != {1}:
        raise DemoFailed(f"{table}: a kill -9 led to a new epoch")


def _told(table: str, changes: list[Change], key: str) -> Told:
    balance = _BALANCE[table]
    told = Told()

    def follows(last: Change | None, change: Change) -> bool:
        number = change.values[key]
        if last is None:
            told.first.add(number)
        else:
            step = int(change.values[balance] or 0) - int(last.values[balance] or 0)
            told.steps.append((number, step, _lsn(change)))
        return change.op == "u"

    histories.chain(table, changes, key, follows)
    return told


def _refuse_other_amounts(table: str, key: str, told: Told, lines: list[Change]) -> None:
    """Each step is one line's amount; the lines left over are those of changes that had none before them.

    Tables enter the publication one after the other. Where the lines came later, steps before them have no line; a
    transaction that was in flight when this table entered has a line and no step.
    """
    began = min((_lsn(line) for line in lines), default=1 << 64)
    amounts = Counter((line.values[key], int(line.values["delta"] or 0)) for line in lines)
    steps = Counter((number, step) for number, step, place in told.steps)
    later = Counter((number, step) for number, step, place in told.steps if place >= began)
    if foreign := later - amounts:
        raise DemoFailed(f"{table}: {foreign.total()} steps are no transaction's amount: {list(foreign)[:3]}")
    left = Counter(number for number, _ in (amounts - steps).elements())
    if (wrong := left - Counter(told.first)).total() > CLIENTS:
        raise DemoFailed(f"{table}: changes that were committed are missing: keys {list(wrong)[:3]}")


def _lsn(change: Change) -> int:
    high, low = change.position.split("/")
    return (int(high, 16) << 32) + int(low, 16)
