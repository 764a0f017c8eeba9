"""The workload: each department's rows are inserted, updated and (where it does so) deleted, in small transactions."""

from __future__ import annotations

import contextlib
import threading
import time
from datetime import UTC, date, datetime
from typing import Any, Final

from forebay_collector.demo.database import Database
from forebay_collector.demo.departments import Department
from forebay_collector.demo.people import People

BUSY: Final = (0.005, 0.05)
CALM: Final = (0.5, 3.0)


class Writer(threading.Thread):
    """Changes one department's table until told to stop. `changes` counts rows changed in committed transactions."""

    def __init__(
        self,
        department: Department,
        database: Database,
        seed: int,
        *,
        patient: bool = False,
        pause_s: tuple[float, float] = BUSY,
    ) -> None:
        """`patient`: a database that goes away is waited for, and what it then holds is what counts.

        pause_s: between two transactions, from … to.
        """
        super().__init__(name=f"writer {department.name}", daemon=True)
        self.patient = patient
        self.pause_s = pause_s
        self.department = department
        self.database = database
        self.people = People(seed)
        self.keys: list[object] = []
        self.changes = 0
        self.failure: Exception | None = None
        self._number = 0
        self._stop_now = threading.Event()

    def fill(self) -> None:
        """The rows that are there before any agent looks."""
        with (
            contextlib.closing(self.database.connect()) as connection,
            self.database.transaction(connection) as cursor,
        ):
            rows = [self._row(old=True) for _ in range(self.department.rows)]
            self._insert(cursor, rows)

    def successor(self, pause_s: tuple[float, float] | None = None) -> Writer:
        """A writer, not yet started, that goes on where this one ended; at its pace, or with these pauses."""
        pause_s = pause_s or self.pause_s
        writer = Writer(self.department, self.database, 0, patient=self.patient, pause_s=pause_s)
        writer.people, writer.changes, writer._number = self.people, self.changes, self._number
        return writer

    def stop(self) -> None:
        self._stop_now.set()
        self.join()
        if self.failure is not None:
            raise self.failure

    def run(self) -> None:
        while not self._stop_now.is_set():
            try:
                with contextlib.closing(self.database.connect()) as connection:
                    self.keys = self._present(connection)
                    while not self._stop_now.is_set():
                        self._transaction(connection)
                        self._stop_now.wait(self.people.random.uniform(*self.pause_s))
            except Exception as error:
                if not self.patient:
                    self.failure = error
                    return
                time.sleep(0.2)

    def _present(self, connection: Any) -> list[object]:
        """The keys that the table holds: after a lost connection nobody knows whether the last commit took place."""
        cursor = connection.cursor()
        cursor.execute(f"SELECT {self.database.quote(self.department.key)} FROM {self.department.table}")
        return [row[0] for row in cursor.fetchall()]

    def _transaction(self, connection: Any) -> None:
        draw = self.people.random
        added: list[object] = []
        removed: set[object] = set()
        updated: set[object] = set()
        changed = 0
        with self.database.transaction(connection) as cursor:
            for _ in range(draw.choice((1, 1, 1, 5, 20))):
                kind = draw.random()
                present = [key for key in draw.sample(self.keys, min(3, len(self.keys))) if key not in removed]
                if kind < 0.4 or not present:
                    row = self._row()
                    self._insert(cursor, [row])
                    added.append(row[0])
                elif kind < 0.8 or not self.department.deletes:
                    self._update(cursor, present[0], again=present[0] in updated)
                    updated.add(present[0])
                else:
                    self._remove(cursor, present[0])
                    removed.add(present[0])
                changed += 1
        self.keys = [key for key in self.keys if key not in removed] + added if removed else self.keys + added
        self.changes += changed

    def _insert(self, cursor: Any, rows: list[tuple[object, ...]]) -> None:
        names = ", ".join(self.database.quote(name) for name in self.department.columns)
        marks = ", ".join([self.database.marker] * len(self.department.columns))
        cursor.executemany(f"INSERT INTO {self.department.table} ({names}) VALUES ({marks})", rows)

    def _update(self, cursor: Any, key: object, *, again: bool) -> None:
        """again: within the transaction, whose changes may all have one position: only its values tell such a change from one
        that came twice, so all of them change."""
        row = dict(zip(self.department.columns, self._row(), strict=True))
        mark = self.database.marker
        changing = [
            name
            for name in list(row)[2:]
            if again or name == self.department.touched or self.people.random.random() < 0.4
        ]
        changing = changing or list(row)[2:3]
        cursor.execute(
            f"UPDATE {self.department.table} SET {', '.join(f'{self.database.quote(name)} = {mark}' for name in changing)} "
            f"WHERE {self.database.quote(self.department.key)} = {mark}",
            [*(row[name] for name in changing), key],
        )

    def _remove(self, cursor: Any, key: object) -> None:
        mark = self.database.marker
        where = f"{self.database.quote(self.department.key)} = {mark}"
        cursor.execute(f"DELETE FROM {self.department.table} WHERE {where}", [key])

    def _row(self, *, old: bool = False) -> tuple[object, ...]:
        """A new row; `old`: one of before today."""
        people, draw = self.people, self.people.random
        self._number += 1
        long_ago = people.day(date(2001, 1, 1), 9_000)
        if self.department.table == "enterprise":
            moment = datetime(2024, 1, 1) if old else datetime.now(UTC).replace(tzinfo=None)  # noqa: DTZ001
            touched = f"{moment:%Y-%m-%d %H:%M:%S.%f}"
            return (
                self._number,
                people.uscc(),
                people.company(),
                people.name(),
                people.amount(10**9),
                f"{long_ago:%Y-%m-%d}",
                draw.choice(("存续", "注销", "吊销")),
                None if draw.random() < 0.1 else people.address(),
                touched,
            )
        if self.department.table == "low_income":
            return (
                f"DB{self._number:08d}",
                people.name(),
                people.citizen_id(),
                None if draw.random() < 0.2 else people.mobile(),
                draw.randrange(1, 8),
                people.amount(2_000),
                draw.choice(("桥圩镇", "石卡镇", "木圭镇", "大安镇")),
            )
        return (
            # not ascending, so that a later row of the same day may have a lower key
            f"贵审批许〔{draw.randrange(2019, 2027)}〕{draw.randrange(10**6):06d}-{self._number}号",
            f"{people.company()}经营许可",
            draw.choice(("普通", "特许", "认可", "核准", "登记")),
            people.company(),
            people.uscc(),
            people.name(),
            f"{long_ago:%Y-%m-%d}",
            "贵港市行政审批局",
            draw.choice(("1", "2")),
            f"{people.day(date(2024, 1, 1), 600):%Y-%m-%d}" if old else f"{datetime.now(UTC):%Y-%m-%d}",
        )
