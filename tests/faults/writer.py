"""The workload: random small transactions on the tables of one department, each recorded in the intent."""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from tests.faults.clock import CLOCK
from tests.faults.departments import Department
from tests.faults.intent import COLUMNS, Intent, merged, pair

PAIRS: Final = 150
"""where a table's size settles"""
_PAUSE_S: Final = (0.02, 0.2)


@dataclass(slots=True)
class _Part:
    """What one transaction does to one table."""

    intent: Intent
    versions: dict[int, int]
    kind: str

    @property
    def deleted(self) -> bool:
        return self.kind == "delete"


class Writer(threading.Thread):
    """Patient: a database that is away is waited for, and what it then says of the last transaction is what counts."""

    def __init__(self, department: Department, seed: int) -> None:
        super().__init__(name=f"writer of {department.place}", daemon=True)
        self.transactions = 0
        self.failure: BaseException | None = None
        self._department = department
        self._draw = random.Random(seed)
        self._enough = threading.Event()
        self._between = threading.Lock()
        self._stamps = itertools.count(1)
        self._open: list[_Part] = []

    def fill(self) -> None:
        """The rows that are there before any agent looks."""
        with contextlib.closing(self._department.connect()) as connection:
            for intent in self._department.intents:
                keys = range(0, 2 * PAIRS, 2)
                self._transaction(connection, [_Part(intent, merged(pair(key, 1) for key in keys), "insert")])

    def run(self) -> None:
        try:
            while not self._enough.is_set():
                with (
                    contextlib.suppress(*self._department.failures),
                    contextlib.closing(self._department.connect()) as connection,
                ):
                    self._settle(connection)
                    while not self._enough.is_set():
                        with self._between:
                            self._transaction(connection, self._drawn())
                        self._enough.wait(self._draw.uniform(*_PAUSE_S))
                self._enough.wait(0.1)
            self._settle_last()
        except BaseException as error:
            self.failure = error

    def stop(self) -> None:
        """Ends it and waits until it is known what the last transaction came to. Raises what ended it before."""
        self._enough.set()
        deadline = CLOCK.now + 120
        while self.is_alive() and CLOCK.now < deadline:
            self.join(1)
        if self.failure is not None:
            raise self.failure
        assert not self.is_alive(), f"{self.name} does not end"

    @contextlib.contextmanager
    def resting(self) -> Any:
        """Nothing is written meanwhile."""
        with self._between:
            yield

    def _settle_last(self) -> None:
        deadline = CLOCK.now + 60
        while self._open:
            try:
                with contextlib.closing(self._department.connect()) as connection:
                    self._settle(connection)
            except self._department.failures:
                if CLOCK.now > deadline:
                    raise
                time.sleep(0.2)

    def _drawn(self) -> list[_Part]:
        """What the next transaction does: one table or both."""
        intents = list(self._department.intents)
        if self._draw.random() < 0.7:
            intents = [self._draw.choice(intents)]
        return [self._part(intent) for intent in intents]

    def _part(self, intent: Intent) -> _Part:
        keys, count = intent.keys, self._draw.choice((1, 1, 1, 1, 3, 20))
        grows = 0.25 if len(keys) < PAIRS else 0.05
        kind = self._draw.random()
        if kind < grows or not keys:
            begin = self._draw.randrange(8 * PAIRS) * 2
            held = set(keys)
            chosen = [key for key in range(begin, begin + 2 * count, 2) if key not in held]
            if chosen:
                return _Part(intent, self._versions(intent, chosen), "insert")
        chosen = self._draw.sample(sorted(keys), min(count, len(keys)))
        if kind > 0.85 and intent.table.deletes:
            return _Part(intent, self._versions(intent, chosen), "delete")
        return _Part(intent, self._versions(intent, chosen), "update")

    def _versions(self, intent: Intent, keys: list[int]) -> dict[int, int]:
        return merged(pair(key, intent.next_version(key)) for key in keys)

    def _transaction(self, connection: Any, parts: list[_Part]) -> None:
        for part in parts:
            part.intent.meant(part.versions)
        self._open = parts
        cursor = connection.cursor()
        cursor.execute(self._department.begin)
        for part in parts:
            self._write(cursor, part)
        cursor.execute("COMMIT")
        self._over(parts, committed=True)
        self.transactions += 1

    def _write(self, cursor: Any, part: _Part) -> None:
        table, mark = part.intent.table, self._department.marker
        name = self._department.sql_name(table)
        if part.kind == "delete":
            cursor.executemany(f"DELETE FROM {name} WHERE id = {mark}", [(key,) for key in part.versions])
            return
        rows = [
            (*self._department.plain(table.row(key, version)), next(self._stamps))
            for key, version in part.versions.items()
        ]
        columns = (*COLUMNS, "stamp")
        if part.kind == "insert":
            cursor.executemany(
                f"INSERT INTO {name} ({', '.join(columns)}) VALUES ({', '.join([mark] * len(columns))})", rows
            )
            return
        changing = ", ".join(f"{column} = {mark}" for column in columns[1:])
        cursor.executemany(f"UPDATE {name} SET {changing} WHERE id = {mark}", [(*row[1:], row[0]) for row in rows])

    def _settle(self, connection: Any) -> None:
        """Nobody knows whether the last commit before a lost connection took place: the table says it."""
        if not self._open:
            return
        held = self._held(connection, self._open[0])
        wanted = self._open[0].versions
        committed = held == ({} if self._open[0].deleted else wanted)
        self._over(self._open, committed=committed)

    def _held(self, connection: Any, part: _Part) -> Mapping[int, int]:
        cursor = connection.cursor()
        keys = ", ".join(str(key) for key in part.versions)
        cursor.execute(f"SELECT id, version FROM {self._department.sql_name(part.intent.table)} WHERE id IN ({keys})")
        return {int(key): int(version) for key, version in cursor.fetchall()}

    def _over(self, parts: list[_Part], *, committed: bool) -> None:
        at = CLOCK.now
        for part in parts:
            if committed:
                part.intent.committed(part.versions, at, deleted=part.deleted)
            else:
                part.intent.rolled_back(part.versions, deleted=part.deleted)
        self._open = []
