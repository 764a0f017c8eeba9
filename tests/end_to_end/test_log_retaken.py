"""`forebay-agent snapshot` beside the log: a table, or a range of its keys, is read anew while its rows change.

On MariaDB rows are changed behind the log's back (`sql_log_bin = 0`), so that what a new copy brings can be told apart
from what the log brings: a reader sees all of the copy or nothing of it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from tests.end_to_end.appliance import Appliance, Rows, Table
from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL

ROWS = 10_000
SLOW = {"max_rows_per_second": 2_500}
"""so that a copy of the table takes some seconds and several chunks"""
LOW, HIGH = 2_001, 9_000


class Writer(threading.Thread):
    """Changes rows with odd keys, and inserts and deletes rows behind the others, until it is stopped."""

    def __init__(self, table: Table) -> None:
        super().__init__(daemon=True)
        self.table = table
        self.changes = 0
        self._enough = threading.Event()

    def run(self) -> None:
        with (
            contextlib.closing(self.table.server.connect(self.table.database))
            if isinstance(self.table.server, MariaDB)
            else self.table.server.connect(dbname=self.table.database) as connection
        ):
            cursor = connection.cursor()
            while not self._enough.wait(0.01):
                number, name = self.changes, self.table.name
                cursor.execute(f"UPDATE {name} SET v = {number} WHERE id = {number * 38 % ROWS + 1}")
                cursor.execute(f"INSERT INTO {name} VALUES ({2 * ROWS + number}, {number})")
                cursor.execute(f"DELETE FROM {name} WHERE id = {2 * ROWS + number - 5}")
                self.changes += 1

    def __enter__(self) -> Writer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self.join()


class Reader(threading.Thread):
    """Reads the mirror over and over. seen: what `look` made of each reading, without repetitions."""

    def __init__(self, appliance: Appliance, table: Table, look: Callable[[Rows], Any]) -> None:
        super().__init__(daemon=True)
        self.seen: list[Any] = []
        self.failure: Exception | None = None
        self._appliance = appliance
        self._table = table
        self._look = look
        self._enough = threading.Event()

    def run(self) -> None:
        try:
            while not self._enough.wait(0.05):
                found = self._look(self._appliance.mirror(self._table))
                if found not in self.seen:
                    self.seen.append(found)
        except Exception as error:
            self.failure = error

    def __enter__(self) -> Reader:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._enough.set()
        self.join()
        assert self.failure is None, repr(self.failure)


@contextlib.contextmanager
def captured(appliance: Appliance, table: Table) -> Iterator[None]:
    """The table is captured, and from then on copied slowly."""
    appliance.capture(table)
    appliance.start()
    appliance.until_equal(table)
    appliance.capture(table, settings=SLOW)
    appliance.until(lambda: "configuration applied" in appliance.agent.log.read_text("utf-8"), "applied")
    yield
    appliance.agent.check()


def in_mariadb(server: MariaDB, name: str) -> Table:
    server.execute(f"CREATE DATABASE {name}")
    table = Table(server, name, name, name)
    table.execute(
        f"CREATE TABLE {name} (id int PRIMARY KEY, v int)", f"INSERT INTO {name} SELECT seq, 0 FROM seq_1_to_{ROWS}"
    )
    return table


def changed_unseen(table: Table) -> None:
    """Every row with an even key changes, some come and some go, and the log tells of none of it."""
    table.execute(
        "SET sql_log_bin = 0",
        f"UPDATE {table.name} SET v = -1 WHERE id % 2 = 0",
        f"DELETE FROM {table.name} WHERE id % 1000 = 500",
        f"INSERT INTO {table.name} SELECT -seq, -1 FROM seq_1_to_50",
    )


def killed_within_its_copy(appliance: Appliance, table: Table, phase: str) -> dict[str, Any]:
    """`kill -9` of the agent in the midst of the copy. -> how far it had come, as the outbox holds it."""

    def within() -> bool:
        checkpoint = appliance.checkpoint(table)
        return checkpoint["phase"] == phase and checkpoint["after"] is not None

    appliance.until(within, "within the copy")
    appliance.agent.kill()
    checkpoint = appliance.checkpoint(table)
    assert checkpoint["phase"] == phase, "the copy was over before the kill"
    return checkpoint


def copied(appliance: Appliance, table: Table, epoch: int, after: str) -> tuple[int, int]:
    """(rows, different keys) that snapshots brought into the history since a batch."""
    query = (
        f"SELECT count(*) AS n, count(DISTINCT id) AS d FROM {table.name}_changes "
        f"WHERE _op = 'r' AND _epoch = {epoch} AND {after}"
    )
    (row,) = appliance.centre.sql(query)
    return row["n"], row["d"]


def test_a_table_taken_anew_shows_at_once_and_a_kill_costs_no_chunk_twice(
    appliance: Appliance, own_mariadb: MariaDB
) -> None:
    table = in_mariadb(own_mariadb, "retaken")
    even = [key for key in range(2, ROWS + 1, 2) if key % 1000 != 500]

    def look(mirror: Rows) -> Any:
        """The unlogged: values of even keys, how many rows went, how many came."""
        return (
            frozenset(mirror.get(key) for key in even),
            sum(key in mirror for key in range(500, ROWS, 1000)),
            sum(key < 0 for key in mirror),
        )

    with captured(appliance, table), Writer(table) as writer:
        changed_unseen(table)
        with Reader(appliance, table, look) as reader:
            appliance.run("snapshot", appliance.stream(table), "--reason", "it may have been changed unseen")
            killed_within_its_copy(appliance, table, "snapshot")
            appliance.start()
            appliance.until(lambda: appliance.checkpoint(table)["phase"] == "log", "copied")
            appliance.until(lambda: len(reader.seen) > 1, "shown")
            time.sleep(0.5)
    assert reader.seen == [(frozenset({0}), 10, 0), (frozenset({-1}), 0, 50)]
    assert writer.changes > 100
    appliance.assert_equal(table)
    rows, keys = copied(appliance, table, 2, "true")
    assert rows == keys > ROWS // 2


def test_a_range_taken_anew_shows_at_once_and_replaces_nothing_else(appliance: Appliance, own_mariadb: MariaDB) -> None:
    table = in_mariadb(own_mariadb, "ranged")
    even = [key for key in range(2, ROWS + 1, 2) if key % 1000 != 500]
    inside, outside = [k for k in even if LOW <= k <= HIGH], [k for k in even if not LOW <= k <= HIGH]

    def look(mirror: Rows) -> Any:
        return (
            frozenset(mirror.get(key) for key in inside),
            sum(key in mirror for key in range(LOW // 1000 * 1000 + 500, HIGH, 1000)),
            frozenset(mirror.get(key) for key in outside),
            sum(key < 0 for key in mirror),
        )

    with captured(appliance, table), Writer(table) as writer:
        changed_unseen(table)
        last = appliance.centre.sql(f"SELECT max(_seq) AS seq FROM {table.name}_changes")[0]["seq"]
        with Reader(appliance, table, look) as reader:
            keys = ("--from", str(LOW), "--through", str(HIGH))
            appliance.run("snapshot", appliance.stream(table), *keys, "--reason", "rows differ")
            killed_within_its_copy(appliance, table, "range")
            appliance.start()
            appliance.until(lambda: appliance.checkpoint(table)["phase"] == "log", "copied")
            appliance.until(lambda: len(reader.seen) > 1, "shown")
            time.sleep(0.5)
    untouched = frozenset({0}), 0
    assert reader.seen == [(frozenset({0}), 7, *untouched), (frozenset({-1}), 0, *untouched)]
    assert writer.changes > 100
    appliance.until(lambda: same_but_for(appliance, table, outside), "equal in the range, and as it was elsewhere")
    assert appliance.status(table)["epoch"] == 1
    rows, distinct = copied(appliance, table, 1, f"_seq > {last}")
    assert rows == distinct > (HIGH - LOW) // 2


def same_but_for(appliance: Appliance, table: Table, outside: list[int]) -> bool:
    """Whether the mirror is the source, but for what was changed unseen outside the range."""
    source, mirror = table.rows(), appliance.mirror(table)
    unseen = {key for key in source if key < 0} | set(outside) | {500, 1500, 9500}
    return {key: v for key, v in mirror.items() if key not in unseen} == {
        key: v for key, v in source.items() if key not in unseen
    }


def test_on_postgresql_too_a_kill_within_a_new_copy_costs_no_chunk_twice(
    appliance: Appliance, own_postgresql: PostgreSQL
) -> None:
    own_postgresql.create_database("retaken")
    table = Table(own_postgresql, "retaken", "wal_retaken", "parcels")
    table.execute(
        "CREATE TABLE parcels (id int PRIMARY KEY, v int)",
        f"INSERT INTO parcels SELECT n, 0 FROM generate_series(1, {ROWS}) n",
    )

    def look(mirror: Rows) -> Any:
        return sum(1 <= key <= ROWS for key in mirror)

    with captured(appliance, table), Writer(table) as writer, Reader(appliance, table, look) as reader:
        appliance.run("snapshot", appliance.stream(table), "--reason", "to be sure")
        killed_within_its_copy(appliance, table, "snapshot")
        appliance.start()
        appliance.until(lambda: appliance.checkpoint(table)["phase"] == "log", "copied")
        appliance.until(lambda: appliance.stand(table).get("loaded_seq", 0) > 0, "shown")
    assert reader.seen == [ROWS]
    assert writer.changes > 100
    appliance.assert_equal(table)
    rows, keys = copied(appliance, table, 2, "true")
    assert rows == keys > ROWS // 2
