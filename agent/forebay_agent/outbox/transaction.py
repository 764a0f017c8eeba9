"""The outbox's one writing connection: one thread at a time, every error of SQLite as one of the agent's.

Plain classes, not generators: a put of a small batch spends as long in Python as in SQLite.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from forebay_agent.errors import AgentError
from forebay_agent.outbox.file import of_sqlite_error


class Alone:
    """`with alone as connection`: no other thread uses the connection. Raises what `of_sqlite_error` makes of SQLite's
    errors; `failed` is told each."""

    def __init__(self, connection: sqlite3.Connection, path: Path, failed: Callable[[AgentError], None]) -> None:
        self.connection = connection
        self._path = path
        self._failed = failed
        self._lock = threading.Lock()

    def __enter__(self) -> sqlite3.Connection:
        self._lock.acquire()
        return self.connection

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._lock.release()
        if isinstance(error, sqlite3.Error):
            raise self.failure(error) from error

    def failure(self, error: sqlite3.Error) -> AgentError:
        """The agent's kind of the error."""
        mapped = of_sqlite_error(error, self._path)
        self._failed(mapped)
        return mapped


class Transaction:
    """`with transaction as connection`: BEGIN IMMEDIATE, then COMMIT, or ROLLBACK after an error. begun: called after the
    BEGIN. undone: called after a ROLLBACK of what was done since."""

    def __init__(self, alone: Alone, begun: Callable[[], None], undone: Callable[[], None]) -> None:
        self._alone = alone
        self._begun = begun
        self._undone = undone

    def __enter__(self) -> sqlite3.Connection:
        connection = self._alone.__enter__()
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._begun()
        except BaseException as error:
            self._leave(error)
            raise
        return connection

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if error is None:
            try:
                self._alone.connection.execute("COMMIT")
            except BaseException as failed:
                self._undone()
                self._leave(failed)
                raise
            self._alone.__exit__(None, None, None)
        else:
            self._undone()
            self._leave(error)

    def _leave(self, error: BaseException) -> None:
        try:
            if self._alone.connection.in_transaction:
                self._alone.connection.execute("ROLLBACK")
        finally:
            self._alone.__exit__(type(error), error, None)
