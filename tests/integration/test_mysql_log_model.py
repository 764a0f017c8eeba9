"""A mirror that is kept by MariaDB's log alone is the table, whatever is written, defined and interrupted meanwhile."""

from __future__ import annotations

import contextlib
import math
import os
import random
import signal
import threading
import time
from typing import Any

import pymysql
import pytest

from forebay_agent.capture.log import EventKind, LogPiece, LogRows
from forebay_agent.capture.source import RowRange, TableShape
from forebay_agent.errors import AgentError, SourceUnreachable
from tests.contract.sources.mysql import MySQLHarness
from tests.integration.log_of_mysql import SECONDS, Log

_EXTRA = ("e1", "e2", "e3")


class _Writer:
    """Random work of one seed, in sessions of its own."""

    def __init__(self, harness: MySQLHarness, seed: int) -> None:
        self.random = random.Random(seed)
        self.harness = harness
        self.xids = 0
        self.steps = 0
        self.connect()

    def connect(self) -> None:
        self.connection = self.harness.server.connect(self.harness.database, autocommit=False)
        self.execute("SET SESSION innodb_lock_wait_timeout = 1, lock_wait_timeout = 1")

    def execute(self, statement: str) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(statement)

    def work(self, deadline: float, *, defines: bool) -> None:
        while time.monotonic() < deadline:
            try:
                self.step(defines=defines)
                self.steps += 1
            except pymysql.MySQLError:
                self.recover()
        with contextlib.suppress(pymysql.MySQLError):
            self.execute("COMMIT")
        self.connection.close()

    def recover(self) -> None:
        """Ends what the session was in. A prepared transaction outlives a crash of the server, with its locks."""
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up:
            if not self.connection.open:
                time.sleep(0.1)
                with contextlib.suppress(pymysql.MySQLError):
                    self.connect()
                continue
            for statement in (f"XA END {self.xid}", f"XA ROLLBACK {self.xid}", "ROLLBACK"):
                with contextlib.suppress(pymysql.MySQLError):
                    self.execute(statement)
            prepared = self.prepared()
            for xid in prepared:  # of a session that is gone: only one with autocommit may end it
                with contextlib.suppress(pymysql.MySQLError):
                    self.harness.server.execute(f"XA ROLLBACK {xid}")
            if self.connection.open and not prepared:
                return

    def prepared(self) -> list[str]:
        """This writer's, as statements name them."""
        with contextlib.suppress(pymysql.MySQLError), self.connection.cursor() as cursor:
            cursor.execute("XA RECOVER")
            names = [bytes(row[-1]).decode() for row in cursor.fetchall()]
            return [f"'{name}'" for name in names if name.startswith(f"{id(self)}-")]
        return []

    def step(self, *, defines: bool) -> None:
        pick = self.random.random()
        if defines and pick < 0.25:
            self.execute(self.definition())
            time.sleep(0.03)
        elif pick < 0.30:
            self.xids += 1
            for statement in ("START", "", "", "END", "PREPARE", self.random.choice(("COMMIT", "ROLLBACK"))):
                self.execute(f"XA {statement} {self.xid}" if statement else self.change())
        else:
            for _ in range(self.random.randint(1, 5)):
                self.execute(self.change())
                if self.random.random() < 0.1:
                    self.execute("SAVEPOINT s")
                    self.execute(self.change())
                    self.execute("ROLLBACK TO s")
            self.execute(self.random.choice(("COMMIT", "COMMIT", "COMMIT", "ROLLBACK")))

    @property
    def xid(self) -> str:
        return f"'{id(self)}-{self.xids}'"

    def change(self) -> str:
        number = self.random.randint(1, 300)
        if self.random.random() < 0.01:
            return f"INSERT IGNORE INTO t (id, a) SELECT seq, 'bulk' FROM seq_{1000 + number}_to_{1400 + number}"
        return self.random.choice(
            (
                f"INSERT INTO t (id, a, b) VALUES ({number}, 'v{self.random.random()}', {number})",
                f"REPLACE INTO t (id, a) VALUES ({number}, '企业{number}')",
                f"UPDATE t SET a = 'w{self.random.random()}', b = b + 1 WHERE id BETWEEN {number} AND {number + 5}",
                f"UPDATE IGNORE t SET id = id + 7 WHERE id = {number}",
                f"DELETE FROM t WHERE id = {number}",
                f"DELETE FROM t WHERE id > 1000 AND id % 5 = {number % 5}",
            )
        )

    def definition(self) -> str:
        extra = self.random.choice(_EXTRA)
        return self.random.choice(
            (
                f"ALTER TABLE t ADD COLUMN {extra} int",
                f"ALTER TABLE t ADD COLUMN {extra} varchar(9) NOT NULL DEFAULT 'd' FIRST",
                f"ALTER TABLE t DROP COLUMN {extra}",
                f"ALTER TABLE t CHANGE {extra} {self.random.choice(_EXTRA)} varchar(30)",
                "ALTER TABLE t MODIFY a varchar(70) CHARACTER SET gbk",
                "ALTER TABLE t MODIFY a text",
                "ALTER TABLE t ADD INDEX i (b)",
                "ALTER TABLE t DROP INDEX i",
                "TRUNCATE TABLE t",
                "OPTIMIZE TABLE t",
                "FLUSH TABLES",
            )
        )


class _Mirror:
    """The table by its key, as far as whole transactions were read."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.rows: dict[int, dict[str, Any]] = {}
        self.shape: TableShape = log.followed()[0].shape
        self.fresh = False  # a snapshot is in it
        self.told: set[int] | None = None  # keys that the log told of while a chunk waits
        self.lost: list[str] = []  # why, each time
        self.waiting: list[LogPiece] = []
        self.parked: str | None = None  # lost; taken anew once the log has passed this

    def take(self, piece: LogPiece) -> None:
        self.waiting.append(piece)
        if piece.open:
            return
        for each in self.waiting:
            for part in each.parts:
                if isinstance(part, LogRows):
                    self.apply(part)
                elif part.kind is EventKind.LOST:
                    self.lost.append(f"{part.error}: {part.reason}")
                    self.parked = self.log.source.log_end()
                elif part.kind is EventKind.TRUNCATED:
                    self.rows, self.fresh, self.told = {}, True, None
                else:
                    assert part.shape is not None
                    if part.kind is EventKind.ALTERED:
                        self.anew(part.shape)
                    self.shape, self.told = part.shape, None
        self.waiting = []
        if self.parked is not None and self.log.reader.reached(self.parked):
            self.parked = None
            self.anew(self.log.followed()[0].shape)
            self.log.follow()

    def anew(self, shape: TableShape) -> None:
        self.rows, self.fresh, self.told, self.shape = {}, False, None, shape

    def apply(self, part: LogRows) -> None:
        for row in part.rows.to_pylist():
            values = {name: value for name, value in row.items() if not name.startswith("_")}
            self.rows.pop(values["id"], None)
            if row["_op"] != "d":
                self.rows[values["id"]] = values
            if self.told is not None:
                self.told.add(values["id"])

    def interrupted(self) -> None:
        self.waiting, self.told = [], None

    def snapshot(self) -> None:
        """All of the table in one chunk, less what the log tells of until it has passed what the chunk saw."""
        if self.waiting or self.parked is not None:
            return
        shape = self.shape
        rows: dict[int, dict[str, Any]] = {}
        try:
            for batch in self.log.source.read_chunk(shape, RowRange(("id",)), self.log.reader):
                rows |= {row["id"]: row for row in batch.to_pylist()}
            target = self.log.source.log_end()
        except SourceUnreachable:
            raise
        except AgentError:
            return  # it was defined anew meanwhile; the log will say how
        self.told = set()
        deadline = time.monotonic() + SECONDS
        while self.told is not None and not (self.log.reader.reached(target) and not self.waiting):
            assert time.monotonic() < deadline
            piece = self.log.read(0.01)
            if piece is not None:
                self.take(piece)
        if self.told is not None and self.shape == shape:
            self.rows |= {key: row for key, row in rows.items() if key not in self.told}
            self.fresh = True
        self.told = None


class _Server:
    """What the test sets on it, and its crashes: MariaDB's own under such definitions, or ours."""

    def __init__(self, harness: MySQLHarness, metadata: str) -> None:
        self.server = harness.server
        self.metadata = metadata
        self.crashes = 0
        self.set()

    def set(self) -> None:
        self.server.execute(f"SET GLOBAL binlog_row_metadata = {self.metadata}", "SET GLOBAL lock_wait_timeout = 5")

    def crash(self) -> None:
        os.kill(self.server.pid, signal.SIGKILL)

    def revive(self) -> bool:
        """Whether it had crashed, and runs again."""
        deadline = time.monotonic() + 5  # its lines end before it does
        while not (told := self.server.ended_by_itself()):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        print("MariaDB ended:", told)
        self.server.restart()
        self.set()
        self.crashes += 1
        return True


def _follow_meanwhile(
    log: Log, mirror: _Mirror, threads: list[threading.Thread], chance: random.Random, server: _Server, crash_at: float
) -> int:
    """Until the writers have ended; the server is killed once, at `crash_at` of this process's clock. Returns how often
    reading began again from the checkpoint."""
    restarts, begins_anew = 0, False
    while any(thread.is_alive() for thread in threads) or begins_anew:
        try:
            if time.monotonic() > crash_at:
                crash_at = math.inf
                server.crash()
            if begins_anew:
                mirror.interrupted()
                log.again()
                restarts, begins_anew = restarts + 1, False
            if not mirror.fresh:
                mirror.snapshot()
            piece = log.read(0.02)
            if piece is not None:
                mirror.take(piece)
            # a busy machine reads few pieces: the first time comes early even so
            begins_anew = chance.random() < (0.02 if restarts else 0.3) and not mirror.told and mirror.parked is None
        except SourceUnreachable:
            if not server.revive():
                raise
            begins_anew = True
    return restarts


def _follow_to_the_end(log: Log, mirror: _Mirror, harness: MySQLHarness) -> None:
    give_up = time.monotonic() + SECONDS
    while True:
        target = log.source.log_end()
        while not log.reader.reached(target) or mirror.waiting:
            piece = log.read(0.05)
            if piece is not None:
                mirror.take(piece)
            assert time.monotonic() < give_up
        if mirror.parked is not None:
            harness.execute("UPDATE t SET b = 0 LIMIT 1")
        elif mirror.fresh:
            return
        mirror.snapshot()


@pytest.mark.parametrize(
    ("seed", "metadata", "crashes"),
    [(1, "FULL", 0), (2, "NO_LOG", 0), (3, "FULL", 0), (4, "FULL", 1), (5, "NO_LOG", 1)],
)
def test_a_mirror_kept_by_the_log_is_the_table(
    mysql_harness: MySQLHarness, seed: int, metadata: str, crashes: int
) -> None:
    mysql_harness.execute("CREATE TABLE t (id int PRIMARY KEY, a varchar(60), b bigint)")
    server = _Server(mysql_harness, metadata)
    began = time.monotonic()
    writers = [_Writer(mysql_harness, seed * 10 + number) for number in range(3)]
    threads = [
        threading.Thread(target=writer.work, args=(began + 8 + 4 * crashes,), kwargs={"defines": number == 0})
        for number, writer in enumerate(writers)
    ]
    try:
        with Log(mysql_harness, rows_at_once=200) as log:
            mirror = _Mirror(log)
            for thread in threads:
                thread.start()
            crash_at = began + 4 if crashes else math.inf
            restarts = _follow_meanwhile(log, mirror, threads, random.Random(seed), server, crash_at)
            _follow_to_the_end(log, mirror, mysql_harness)
            names = [column.name for column in mirror.shape.columns]
            assert names == [column.name for column in log.followed()[0].shape.columns]
            told = mysql_harness.rows(f"SELECT {', '.join(f'`{name}`' for name in names)} FROM t ORDER BY id")
            mine = [tuple(mirror.rows[key].get(name) for name in names) for key in sorted(mirror.rows)]
            steps = [writer.steps for writer in writers]
            print(f"{seed=} {steps=} rows={len(mine)} pieces={len(log.pieces)} {restarts=} lost={len(mirror.lost)}")
            assert mine == told
            assert restarts > crashes
            assert server.crashes >= crashes
            assert metadata == "NO_LOG" or not mirror.lost, mirror.lost
    finally:
        for thread in threads:
            thread.join()
        mysql_harness.server.execute("SET GLOBAL binlog_row_metadata = FULL", "SET GLOBAL lock_wait_timeout = 86400")
