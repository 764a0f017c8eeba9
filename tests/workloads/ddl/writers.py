"""Writers: small transactions of inserts, updates of some columns, deletes; some are rolled back, wholly or to a savepoint.

Each key belongs to one writer, so that its changes have an order. Every change carries a stamp of its own, and every
value names the column and the stamp that it was written for. What was committed is noted in the table's `writes`.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import threading
import time
from collections import Counter
from decimal import Decimal
from typing import Any, Final

from tests.workloads.ddl import tables
from tests.workloads.ddl.servers import Dialect, Failures
from tests.workloads.ddl.tables import Column, Table, Write, tick
from tests.workloads.evidence import plain

_stamps = itertools.count(1)
_LARGE: Final = 3_000  # bytes, twice that as text: PostgreSQL keeps it out of the row

Value = int | str | Decimal | None


class Writer:
    """Changes rows whose key is `place` modulo `among`. name: what the table is called now, where it is away."""

    def __init__(self, dialect: Dialect, table: Table, seed: int, place: int, among: int) -> None:
        self.dialect = dialect
        self.table = table
        self.draw = random.Random(seed)
        self.keys: set[int] = set()
        self.committed = 0
        self.refused: Counter[str] = Counter()
        self._next_key = itertools.count(place + among, among)
        self._free: list[int] = []

    def transaction(self, connection: Any, name: str = "") -> None:
        """One transaction. Raises the driver's error when the server refused it; nothing of it counts then."""
        draw = self.draw
        cursor = connection.cursor()
        cursor.execute("BEGIN")
        written: list[Write] = []
        try:
            for _ in range(draw.choice((1, 1, 2, 5))):
                written += self._change(cursor, name)
            if draw.random() < 0.1:
                cursor.execute("SAVEPOINT kept")
                self._change(cursor, name)
                cursor.execute("ROLLBACK TO SAVEPOINT kept")
            if draw.random() < 0.07:
                cursor.execute("ROLLBACK")
                return
            cursor.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(*Failures):
                cursor.execute("ROLLBACK")
            raise
        self._note(written)

    def _note(self, written: list[Write]) -> None:
        for write in written:
            self.table.writes.setdefault(write.key, []).append(write)
            if write.op == "d":
                self.keys.discard(write.key)
                self._free.append(write.key)
            else:
                self.keys.add(write.key)
        self.committed += len(written)

    def _change(self, cursor: Any, name: str) -> list[Write]:
        kind = self.draw.random()
        if kind < 0.45 or not self.keys:
            return self._insert(cursor, name)
        key = self.draw.choice(sorted(self.keys)) if len(self.keys) < 50 else self.draw.choice(tuple(self.keys))
        return self._update(cursor, name, key) if kind < 0.85 else self._delete(cursor, name, key)

    def _insert(self, cursor: Any, name: str) -> list[Write]:
        reuse = bool(self._free) and self.draw.random() < 0.3
        key = self._free.pop(self.draw.randrange(len(self._free))) if reuse else next(self._next_key)
        stamp = next(_stamps)
        given = [c for c in self.table.live if self.draw.random() < 0.9 or not (c.nullable or c.default is not None)]
        values = {column.name: self._value(column, stamp) for column in given}
        quote = self.dialect.quote
        names = ", ".join(quote(each) for each in ("id", "stamp", *values))
        marks = ", ".join(["%s"] * (len(values) + 2))
        query = f"INSERT INTO {self.dialect.place(self.table, name)} ({names}) VALUES ({marks})"
        return self._run(cursor, "c", key, stamp, values, query, [key, stamp, *values.values()])

    def _update(self, cursor: Any, name: str, key: int) -> list[Write]:
        stamp = next(_stamps)
        live = self.table.live
        given = self.draw.sample(live, self.draw.randrange(min(3, len(live)) + 1))
        values = {column.name: self._value(column, stamp) for column in given}
        quote = self.dialect.quote
        settings = ", ".join(f"{quote(each)} = %s" for each in ("stamp", *values))
        query = f"UPDATE {self.dialect.place(self.table, name)} SET {settings} WHERE {quote('id')} = %s"
        return self._run(cursor, "u", key, stamp, values, query, [stamp, *values.values(), key])

    def _delete(self, cursor: Any, name: str, key: int) -> list[Write]:
        query = f"DELETE FROM {self.dialect.place(self.table, name)} WHERE {self.dialect.quote('id')} = %s"
        return self._run(cursor, "d", key, 0, {}, query, [key])

    def _run(
        self, cursor: Any, op: str, key: int, stamp: int, values: dict[str, Value], query: str, given: list[Value]
    ) -> list[Write]:
        begin = tick()
        cursor.execute(query, given)
        if cursor.rowcount == 0:  # the table was emptied
            self.keys.discard(key)
            return []
        return [Write(op, key, stamp, begin, tick(), {name: plain(value) for name, value in values.items()})]

    def _value(self, column: Column, stamp: int) -> Value:
        draw = self.draw
        if column.nullable and draw.random() < 0.1:
            return None
        mark = sum(column.name.encode()) % 64
        if column.kind in (tables.INT, tables.BIGINT):
            return stamp * 64 + mark
        if column.kind == tables.DECIMAL:
            return Decimal(stamp) + Decimal(mark) / 100
        if column.kind == tables.WIDE_DECIMAL:
            return Decimal(stamp) + Decimal(mark * 100 + 7) / 10_000
        text = f"{column.name}的第{stamp}个值"
        if column.kind == tables.TEXT and draw.random() < 0.2:
            text += draw.randbytes(_LARGE).hex()
        return text


class WriterThread(threading.Thread):
    """A writer that goes on until told to stop. `failure`: what it did not expect."""

    def __init__(self, writer: Writer) -> None:
        super().__init__(name=f"writer of {writer.table.name}", daemon=True)
        self.writer = writer
        self.failure: Exception | None = None
        self._enough = threading.Event()

    def run(self) -> None:
        writer = self.writer
        try:
            with contextlib.closing(writer.dialect.connect()) as connection:
                while not self._enough.is_set():
                    with writer.table.gate:
                        try:
                            writer.transaction(connection)
                        except Failures as refused:
                            writer.refused[_code(refused)] += 1
                            pause = 0.05
                        else:
                            pause = writer.draw.uniform(0.002, 0.02)
                    time.sleep(pause)
        except Exception as error:
            self.failure = error

    def stop(self) -> None:
        self._enough.set()
        self.join()
        if self.failure is not None:
            raise self.failure


def _code(error: Exception) -> str:
    return str(getattr(error, "sqlstate", None) or (error.args[0] if error.args else type(error).__name__))
