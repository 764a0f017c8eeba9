"""One round: a table is captured in mode log, a workload changes it, differences are planted, found, named and repaired."""

from __future__ import annotations

import json
import random
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from pymysql.constants import CLIENT

from bench import legal_entity
from forebay_collector.demo.processes import DemoFailed
from forebay_wire.stream import StreamName
from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL
from tests.verifying.planting import Planted, plant
from tests.workloads.site import Captured, Site

COLUMNS = ("name", "legal_person", "address", "currency")
TICKS_PER_SECOND = 20
MARIADB = ["--innodb-buffer-pool-size=1536M", "--innodb-log-file-size=512M", "--innodb-io-capacity=4000"]
"""random changes of a large table: with less of each, writers wait for pages to be written"""


class Writer:
    """Changes rows at the source at a rate, in transactions of 1/20 s: updates, and of each ten one delete and one insert.
    `avoided` ids are left alone."""

    def __init__(
        self, connection: Any, table: str, rows: int, rate: int, avoided: set[int], seed: int, *, together: bool
    ) -> None:
        """together: the connection takes many statements in one message."""
        self._together = together
        self._cursor = connection.cursor()
        self._commit = connection.commit
        self._table = table
        self._rows = rows
        self._each = max(1, rate // TICKS_PER_SECOND)
        self._avoided = avoided
        self._draw = random.Random(seed)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="writer")
        self.changes = 0
        self.error: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Raises what the thread met."""
        self.end()
        if self.error is not None:
            raise self.error

    def end(self) -> None:
        """Whether it was started or not; never raises."""
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        due = time.monotonic()
        try:
            while not self._over.is_set():
                self._do([self._change(number) for number in range(self._each)])
                self._commit()
                due = max(due + 1 / TICKS_PER_SECOND, time.monotonic() - 1)
                self._over.wait(max(0.0, due - time.monotonic()))
        except BaseException as error:
            self.error = error

    def _change(self, number: int) -> tuple[str, tuple[object, ...]]:
        """-> a statement and its values."""
        while (chosen := self._draw.randrange(1, self._rows + 1)) in self._avoided:
            pass
        self.changes += 1
        if number % 10 == 8:
            return f"DELETE FROM {self._table} WHERE id = %s", (chosen,)
        if number % 10 == 9:
            new = (self._rows + self.changes, f"新{self.changes}")
            return f"INSERT INTO {self._table} (id, name) VALUES (%s, %s)", new
        values = (f"改{self.changes}", self._draw.randrange(4), chosen)
        return f"UPDATE {self._table} SET name = %s, status = %s WHERE id = %s", values

    def _do(self, changes: list[tuple[str, tuple[object, ...]]]) -> None:
        if not self._together:
            for statement, values in changes:
                self._cursor.execute(statement, values)
            return
        self._cursor.execute(";".join(self._cursor.mogrify(statement, values) for statement, values in changes))
        while self._cursor.nextset():
            pass


def mariadb(folder: Path, rows: int, rate: int, differences: int, seed: int) -> str:
    with MariaDB.start(folder / "mariadb", options=MARIADB) as server:
        server.execute("CREATE DATABASE city")
        file = _rows(folder, rows)
        with server.connect("city", local_infile=True) as connection:
            legal_entity.load_mariadb(connection, file)
        with server.connect("city", autocommit=False, client_flag=CLIENT.MULTI_STATEMENTS) as connection:
            return _round(folder, server, connection, "city", rows, rate, differences, seed)


def postgresql(folder: Path, rows: int, rate: int, differences: int, seed: int) -> str:
    with PostgreSQL.start(folder / "postgresql", options=["max_replication_slots=8", "max_wal_senders=8"]) as server:
        file = _rows(folder, rows)
        with server.connect() as connection:
            legal_entity.load_postgresql(connection, file)
        with server.connect(autocommit=False) as connection:
            return _round(folder, server, connection, "public", rows, rate, differences, seed)


def _rows(folder: Path, rows: int) -> Path:
    file = folder / "rows.csv"
    legal_entity.write_csv(file, rows)
    file.chmod(0o644)
    return file


def _round(
    folder: Path,
    server: MariaDB | PostgreSQL,
    connection: Any,
    schema: str,
    rows: int,
    rate: int,
    differences: int,
    seed: int,
) -> str:
    """-> the line that says how it went. Raises DemoFailed."""
    table = f"{schema}.{legal_entity.TABLE}"
    planted = Planted.of(random.Random(seed), range(1, rows + 1), differences, COLUMNS)
    database = "city" if isinstance(server, MariaDB) else server.database
    site = Site(folder, server, database, [Captured(table)], {})
    together = isinstance(server, MariaDB)
    writer = Writer(connection, table, rows, rate, planted.touched, seed, together=together)
    try:
        site.start()
        site.drain()
        writer.start()
        site.collector.stop()
        plant(site.data / "platform", StreamName.parse(site.stream(table)), planted)
        site.collector.start()
        began, before = time.monotonic(), writer.changes
        found = asked(site, "verify", site.stream(table), expected=1)
        verified = time.monotonic() - began
        _judge(found, planted)
        done = asked(site, "repair", site.stream(table), expected=0)
        repaired = time.monotonic() - began - verified
        if done["sent"] + done["deleted"] != differences or done["left_over"]:
            raise DemoFailed(f"repair: {done}")
        again = asked(site, "verify", site.stream(table), expected=0)
        changes, seconds = writer.changes - before, time.monotonic() - began
        writer.stop()
        rest = asked(site, "verify", site.stream(table), expected=0)
        if rest["source"] != rest["platform"]:
            raise DemoFailed(f"at rest the sides are not equal: {rest}")
    finally:
        writer.end()
        site.stop()
    return (
        f"{differences} differences among {rows} rows found, named and repaired in {verified:.0f} + {repaired:.0f} s; "
        f"{changes / seconds:.0f} changes a second; in flight {found['in_flight']}, {again['in_flight']}"
    )


def asked(site: Site, *arguments: str, expected: int) -> dict[str, Any]:
    """What a command of the collector answers. Raises DemoFailed when it does not exit as expected."""
    command = [*site.collector_command, *arguments, "--json", "--timeout", "10m", "--wait", "10m"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=1_800, check=False)
    if ended.returncode != expected:
        raise DemoFailed(f"{' '.join(arguments)} exited {ended.returncode}: {ended.stdout[-2_000:]}{ended.stderr}")
    told: dict[str, Any] = json.loads(ended.stdout)
    return told


def _judge(found: dict[str, Any], planted: Planted) -> None:
    """All that was planted is found and named, and nothing else. Raises DemoFailed."""
    ids = {kind: {int(key["id"]) for key in found[kind]} for kind in ("missing", "extra", "different")}
    wanted = {"missing": planted.deleted, "extra": planted.added, "different": set(planted.altered)}
    for kind, told in ids.items():
        if told != wanted[kind] or found["counts"][kind] != len(told):
            lacking, invented = sorted(wanted[kind] - told)[:5], sorted(told - wanted[kind])[:5]
            raise DemoFailed(f"{kind}: not found {lacking}, invented {invented}")
    named = zip(found["different"], found["different_columns"], strict=True)
    columns = {int(key["id"]): columns for key, columns in named}
    wrong = {number: told for number, told in columns.items() if told != [planted.altered[number]]}
    if wrong:
        raise DemoFailed(f"other columns are named than were altered: {dict(list(wrong.items())[:5])}")
