"""The ledger's database: its engine, its transactions and what its errors mean.

SQLite by default, in WAL mode with synchronous=FULL: readers never wait, and a commit that returned is on disk. Writers
of this process queue at one lock and begin at once with the write lock of the file, so that a transaction never fails
half-way for want of it; other processes (the command line) wait up to `BUSY_MS`.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DatabaseError, SQLAlchemyError

from forebay_collector.errors import CollectorError, LedgerDamaged, LedgerUnavailable

BUSY_MS: Final = 30_000
# SQLite's readers see one state as it is
_READING: Final = {"postgresql": {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}}
_DAMAGED: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def now_us() -> int:
    """The clock that the ledger uses unless it is given another: microseconds since 1970, UTC."""
    return time.time_ns() // 1_000


class Database:
    """One engine and its write lock. `clock` gives microseconds UTC."""

    def __init__(self, url: URL, clock: Callable[[], int] = now_us) -> None:
        self.clock = clock
        self.url = url
        self.engine = _engine(url)
        self._writing = threading.Lock()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection whose queries see one state. Raises LedgerUnavailable, LedgerDamaged."""
        try:
            with self.engine.connect() as plain:
                yield plain.execution_options(**_READING.get(plain.dialect.name, {}))
        except (SQLAlchemyError, UnicodeDecodeError) as error:
            raise self._named(error) from error

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction: committed and on disk when the block ends, undone when it raises.

        Raises LedgerUnavailable, LedgerDamaged.
        """
        try:
            with self._writing, self.engine.connect() as plain:
                connection = plain.execution_options(forebay_writes=True)
                with connection.begin():
                    yield connection
        except (SQLAlchemyError, UnicodeDecodeError) as error:
            raise self._named(error) from error

    def check(self) -> None:
        """Looks at the whole file: an index that does not say what its table says, too. A server looks after its own.

        Raises LedgerUnavailable, LedgerDamaged.
        """
        if self.engine.dialect.name != "sqlite":
            return
        with self.read() as connection:
            said = connection.exec_driver_sql("PRAGMA integrity_check(1)").scalar_one()
        if said != "ok":
            raise LedgerDamaged(f"ledger {self.url.database}: damaged: {said}")

    def close(self) -> None:
        self.engine.dispose()

    def _named(self, error: SQLAlchemyError | UnicodeDecodeError) -> CollectorError:
        place = self.url.database or self.url.render_as_string(hide_password=True)
        if isinstance(error, UnicodeDecodeError):  # what SQLite says repeats a damaged name of the schema
            return LedgerDamaged(f"ledger {place}: damaged (a text is not UTF-8)")
        if isinstance(error, DatabaseError) and isinstance(error.orig, sqlite3.Error):
            number = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
            name = getattr(error.orig, "sqlite_errorname", type(error.orig).__name__)
            if number in _DAMAGED:
                return LedgerDamaged(f"ledger {place}: damaged ({name})")
            return LedgerUnavailable(f"ledger {place}: {name}: {error.orig}")
        return LedgerUnavailable(f"ledger {place}: {type(error).__name__}")


def _engine(url: URL) -> Engine:
    # the connection used last is used next: each that is used keeps a cache of its own
    engine = create_engine(url, pool_size=8, max_overflow=-1, pool_use_lifo=True, hide_parameters=True)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says, not where sqlite3 guesses
    for setting in (
        f"busy_timeout={BUSY_MS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "cache_size=-4000",
    ):
        connection.execute(f"PRAGMA {setting}").close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("forebay_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
