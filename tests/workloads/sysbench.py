"""`sysbench` on MariaDB while its tables are copied and followed; three `kill -9` of the agent.

`oltp_read_write` works on two tables; at the same time `oltp_delete` and `oltp_insert` work on two others, and
`oltp_insert` on one without a key. What sysbench does to a row is known: it adds 1 to k, or writes a new c, or deletes
the row and inserts it anew. So every image of a row must follow from the one before it by one of these.
"""

from __future__ import annotations

import random
import re
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from forebay_collector.demo.processes import DemoFailed
from tests.servers.mariadb import MariaDB
from tests.workloads import evidence, histories, strikes
from tests.workloads.evidence import Change
from tests.workloads.site import Captured, Site

COLUMNS = ("id", "k", "c", "pad")


@dataclass(frozen=True, slots=True)
class Part:
    """One sysbench script on the tables sbtest1… of a database of its own or shared with another part."""

    script: str
    database: str
    tables: int
    threads: int
    options: tuple[str, ...] = ()
    size: int = 50_000


PARTS = (
    Part("oltp_read_write", "sb_mixed", tables=2, threads=4),
    Part("oltp_delete", "sb_ends", tables=2, threads=1, options=("--rate=300",)),
    Part("oltp_insert", "sb_ends", tables=2, threads=1, options=("--rate=300",)),
    Part("oltp_insert", "sb_keyless", tables=1, threads=2, options=("--secondary=on", "--rate=200"), size=5_000),
)
KEYED = ("sb_mixed.sbtest1", "sb_mixed.sbtest2", "sb_ends.sbtest1", "sb_ends.sbtest2")
KEYLESS = "sb_keyless.sbtest1"


def run(folder: Path, seed: int, seconds: float, mode: str = "log") -> str:
    """-> the line that says how it went. Raises DemoFailed."""
    draw = random.Random(seed)
    with MariaDB.start(folder / "mariadb") as server:
        for part in PARTS:
            server.execute(f"CREATE DATABASE IF NOT EXISTS {part.database}")
        for part in (PARTS[0], PARTS[1], PARTS[3]):
            _program(server, part, "prepare")
        settings = {"max_rows_per_second": int(4 * 50_000 / (seconds / 3))} if mode == "log" else {}
        site = Site(folder, server, "", [Captured(name) for name in (*KEYED, KEYLESS)], settings, mode=mode)
        loads = [Load(server, part, seed + place, seconds) for place, part in enumerate(PARTS)]
        for load in loads:
            load.start()

        def check() -> None:
            for load in loads:
                load.check()

        try:
            time.sleep(min(3.0, seconds * 0.1))
            site.start()
            struck = strikes.play(site, draw, seconds, check)
            for load in loads:
                load.enough.set()
            for load in loads:
                load.finish()
            for name in KEYED:
                site.verify(name)
            site.drain()
            site.agent.stop()
            return _judge(site, server, sum(load.transactions for load in loads), struck)
        finally:
            for load in loads:
                load.enough.set()
                load.join()
            site.stop()


class Load(threading.Thread):
    """One part for the time, and again for as long as `enough` is not set. transactions: as sysbench counts them."""

    def __init__(self, server: MariaDB, part: Part, seed: int, seconds: float) -> None:
        super().__init__(name=part.script, daemon=True)
        self.server = server
        self.part = part
        self.seed = seed
        self.seconds = seconds
        self.transactions = 0
        self.failure: Exception | None = None
        self.enough = threading.Event()

    def run(self) -> None:
        seconds = self.seconds
        try:
            while True:
                arguments = [f"--time={max(1, round(seconds))}", f"--rand-seed={self.seed}"]
                printed = _program(self.server, self.part, "run", *arguments)
                self.transactions += int(re.findall(r"transactions:\s+(\d+)", printed)[0])
                if self.enough.is_set():
                    return
                self.seed, seconds = self.seed + 100, 3.0
        except Exception as error:
            self.failure = error

    def check(self) -> None:
        if self.failure is not None:
            raise DemoFailed(f"sysbench {self.part.script}: {self.failure}")

    def finish(self) -> None:
        self.enough.set()
        self.join()
        self.check()


def _program(server: MariaDB, part: Part, what: str, *arguments: str) -> str:
    command = [
        "sysbench",
        part.script,
        "--db-driver=mysql",
        f"--mysql-host={server.host}",
        f"--mysql-port={server.port}",
        f"--mysql-user={server.user}",
        f"--mysql-password={server.password}",
        f"--mysql-db={part.database}",
        f"--tables={part.tables}",
        f"--table-size={part.size}",
        f"--threads={part.threads}",
        *part.options,
        *arguments,
        what,
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise DemoFailed(f"{part.script} {what} exited {ended.returncode}: {ended.stdout[-500:]}{ended.stderr[-500:]}")
    return ended.stdout


def _judge(site: Site, server: MariaDB, transactions: int, struck: Counter[str]) -> str:
    rows = images = 0
    wrong = []
    for table in KEYED:
        source = evidence.source_rows(server, table, COLUMNS)
        found = evidence.difference(source, evidence.mirror_rows(site.data, table, COLUMNS))
        rows += found.rows
        if not found.equal:
            wrong.append(f"{table}: {found.told()}")
        changes = evidence.history(site.data, table)
        if {change.epoch for change in changes} != {1}:
            raise DemoFailed(f"{table}: a kill -9 led to a new epoch")
        histories.refuse_doubled(table, changes, "id")
        images += histories.chain(table, changes, "id", _follows)
        if sorted(histories.replayed(changes, "id", COLUMNS)) != sorted(source):
            wrong.append(f"{table}: its history does not lead to the source's rows")
    keyless = evidence.source_rows(server, KEYLESS, COLUMNS)
    histories.keyless(KEYLESS, evidence.history(site.data, KEYLESS), COLUMNS, keyless, PARTS[3].threads)
    rows += len(keyless)
    if wrong:
        raise DemoFailed("; ".join(wrong))
    return (
        f"sysbench ok: transactions={transactions} rows={rows} images={images} kills={sum(struck.values())} "
        f"(snapshot={struck['snapshot']} streaming={struck['streaming']}) missing=0 extra=0 different=0"
    )


def _follows(last: Change | None, change: Change) -> bool:
    now = change.values
    if last is None:
        return change.op in ("c", "u", "d")
    before = last.values
    if change.op == "c":
        return last.op == "d"
    if last.op == "d":
        return False
    if change.op == "d":
        return now == before
    same_c, step = now["c"] == before["c"], int(now["k"] or 0) - int(before["k"] or 0)
    return now["pad"] == before["pad"] and ((step == 1 and same_c) or (step == 0 and not same_c))
