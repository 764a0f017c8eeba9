"""One run of DDL under load on one server: writers, changes of tables, kills of the agent, held streams taken anew."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from pathlib import Path

from forebay_collector.demo.processes import DemoFailed
from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL
from tests.workloads.ddl import judge
from tests.workloads.ddl.servers import Dialect
from tests.workloads.ddl.statements import Changing, first_columns
from tests.workloads.ddl.tables import TEXT, Column, Table, column
from tests.workloads.ddl.writers import Writer, WriterThread
from tests.workloads.site import Captured, Site

WRITERS = 2  # per table; one more changes rows of tables that are away
FIRST_TRANSACTIONS = 150
HELD_SECONDS = 2.0
SETTLE_SECONDS = 240


def postgresql(folder: Path, seed: int, seconds: float) -> str:
    with PostgreSQL.start(folder / "postgresql") as server:
        server.create_database("work")
        return _Run(folder, Dialect(server, "work"), "public", seed, seconds, "postgresql").play()


def mariadb_full(folder: Path, seed: int, seconds: float) -> str:
    return _mariadb(folder, seed, seconds, "FULL")


def mariadb_plain(folder: Path, seed: int, seconds: float) -> str:
    return _mariadb(folder, seed, seconds, "NO_LOG")


def _mariadb(folder: Path, seed: int, seconds: float, metadata: str) -> str:
    with MariaDB.start(folder / "mariadb", options=[f"--binlog-row-metadata={metadata}"]) as server:
        server.execute("CREATE DATABASE work")
        return _Run(folder, Dialect(server, "work"), "work", seed, seconds, f"mariadb metadata={metadata}").play()


class Operator:
    """Does what the remedy of a held stream says, once it has stood for a while. codes: what held how often."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.codes: Counter[str] = Counter()
        self._since: dict[str, float] = {}

    def look(self) -> None:
        now = time.monotonic()
        for table, stream in self.site.status().items():
            if stream["state"] != "held":
                self._since.pop(table, None)
                continue
            if not stream["remedy"]:
                raise DemoFailed(f"{table} is held without a remedy: {stream['code']} {stream['reason']}")
            if now - self._since.setdefault(table, now) > HELD_SECONDS:
                self.codes[stream["code"]] += 1
                self.site.reset(table, f"held: {stream['code']}")
                self._since[table] = now + 3  # until the agent has told that it took it up


class _Run:
    def __init__(self, folder: Path, dialect: Dialect, schema: str, seed: int, seconds: float, title: str) -> None:
        self.folder = folder
        self.dialect = dialect
        self.seed = seed
        self.seconds = seconds
        self.title = title
        self.draw = random.Random(seed)
        self.tables = [
            Table(schema, "plain_one"),
            Table(schema, "plain_two"),
            Table(schema, "hiding", excluded=frozenset({"internal"})),
            Table(schema, "naming", only=frozenset({"id", "stamp", "count", "note"})),
        ]
        self.writers = {
            table.name: [Writer(dialect, table, seed + place * 10 + w, w, WRITERS + 1) for w in range(WRITERS + 1)]
            for place, table in enumerate(self.tables)
        }
        self.changing = Changing(dialect, {name: own[-1] for name, own in self.writers.items()}, seed)
        self.kills = 0
        self._enough = threading.Event()
        self._failure: Exception | None = None

    def play(self) -> str:
        self._make()
        site = Site(self.folder, self.dialect.server, self.dialect.database, self._entries(), {})
        threads = [WriterThread(each) for own in self.writers.values() for each in own[:-1]]
        changer = threading.Thread(target=self._change, name="ddl", daemon=True)
        operator = Operator(site)
        try:
            for thread in threads:
                thread.start()
            site.start()
            changer.start()
            self._stir(site, operator)
            self._enough.set()
            changer.join()
            if self._failure is not None:
                raise self._failure
            for thread in threads:
                thread.stop()
            self._settle(site, operator)
            for table in self.tables:
                site.verify(table.full_name)
            return self._verdict(site, operator)
        finally:
            self._enough.set()
            for thread in threads:
                thread.stop()
            site.stop()

    def _make(self) -> None:
        with contextlib.closing(self.dialect.connect()) as connection:
            for table in self.tables:
                columns: list[Column] = first_columns()
                if table.excluded:
                    columns.append(column("internal", TEXT, fixed=True))
                connection.cursor().execute(self.dialect.create(table, columns))
                table.begin(columns, 0)
                for writer in self.writers[table.name]:
                    for _ in range(FIRST_TRANSACTIONS):
                        writer.transaction(connection)

    def _entries(self) -> list[Captured]:
        def listed(names: frozenset[str]) -> str:
            return ", ".join(f'"{name}"' for name in sorted(names))

        return [
            Captured(
                table.full_name,
                f"columns = [{listed(table.only)}]"
                if table.only
                else f"exclude = [{listed(table.excluded)}]"
                if table.excluded
                else "",
            )
            for table in self.tables
        ]

    def _change(self) -> None:
        """The thread that changes tables."""
        try:
            with contextlib.closing(self.dialect.connect()) as connection:
                while not self._enough.wait(self.draw.choice((0.0, 0.1, 0.3, 0.6))):
                    self.changing.one(connection, self.changing.draw.choice(self.tables))
        except Exception as error:
            self._failure = error

    def _stir(self, site: Site, operator: Operator) -> None:
        """Kills the agent now and then, for the time."""
        draw = random.Random(self.seed + 1)
        end = time.monotonic() + self.seconds
        strike_at = time.monotonic() + draw.uniform(2, 6)
        while time.monotonic() < end:
            site.check()
            operator.look()
            if self._failure is not None:
                return
            if time.monotonic() >= strike_at:
                site.agent.kill()
                time.sleep(draw.choice((0.0, 0.2, 1.0)))
                site.agent.start()
                self.kills += 1
                strike_at = time.monotonic() + draw.uniform(3, 12)
            time.sleep(0.2)

    def _settle(self, site: Site, operator: Operator) -> None:
        """Until nothing is held and mirror and source are equal; what then differs is told by `_verdict`."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            site.check()
            operator.look()
            streams = site.status()
            quiet = len(streams) == len(self.tables) and all(
                each["state"] == "streaming" and each["loaded_seq"] == each["sealed_seq"] for each in streams.values()
            )
            if quiet and not any(judge.mirror_differs(site, self.dialect, table)[1] for table in self.tables):
                return
            time.sleep(1)
        told = [judge.mirror_differs(site, self.dialect, table)[1] for table in self.tables]
        raise DemoFailed(f"not equal after {SETTLE_SECONDS} s: {[each for each in told if each]}; {site.summary()}")

    def _verdict(self, site: Site, operator: Operator) -> str:
        rows = 0
        for table in self.tables:
            count, differs = judge.mirror_differs(site, self.dialect, table)
            rows += count
            if differs:
                raise DemoFailed(f"after verify called them equal: {differs}")
        verdicts = [judge.judge(site, table) for table in self.tables]
        judge.refuse(verdicts)
        changes = sum(writer.committed for own in self.writers.values() for writer in own)
        kinds = " ".join(f"{name}={count}" for name, count in sorted(self.changing.done.items()))
        held = " ".join(f"{code}={count}" for code, count in sorted(operator.codes.items())) or "none"
        print(f"  statements: {kinds}\n  held and taken anew: {held}", flush=True)
        return (
            f"ddl {self.title} ok: statements={self.changing.done.total()} changes={changes} rows={rows} "
            f"images={sum(each.images for each in verdicts)} epochs={sum(each.epochs for each in verdicts)} "
            f"held={operator.codes.total()} kills={self.kills} wrong=0 missing=0 extra=0 different=0"
        )
