"""Connections to a SQLite file: read-only for capture, writing for triggers; every failure as a kind of ours.

A read-only session opens with `mode=ro` and `PRAGMA query_only`, so that neither a mistake nor a crash of ours can change
the department's file. Failures are told apart by SQLite's result codes (https://www.sqlite.org/rescode.html).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from forebay_agent.config.model import SourceConfig
from forebay_agent.errors import (
    AgentError,
    ConfigurationError,
    PrivilegeMissing,
    SourceDenied,
    SourceError,
    SourceUnreachable,
    StatementTimeout,
)

BUSY_MILLISECONDS: Final = 5_000
_STEPS_BETWEEN_CLOCKS: Final = 20_000
"""virtual machine instructions between two looks at the clock: about a millisecond"""

_KINDS: Final[dict[int, type[AgentError]]] = {
    sqlite3.SQLITE_PERM: PrivilegeMissing,
    sqlite3.SQLITE_READONLY: PrivilegeMissing,
    sqlite3.SQLITE_AUTH: PrivilegeMissing,
    sqlite3.SQLITE_INTERRUPT: StatementTimeout,
    sqlite3.SQLITE_CANTOPEN: SourceUnreachable,
    sqlite3.SQLITE_IOERR: SourceUnreachable,
}


class Session:
    """One connection. Every statement may run for `timeout` seconds between two rows that are asked for."""

    def __init__(self, config: SourceConfig, *, writes: bool = False) -> None:
        """Raises SourceUnreachable, SourceDenied, SourceError, ConfigurationError (no path)."""
        if config.path is None:
            raise ConfigurationError("a SQLite source needs the path of its file", file=config.file, key="path")
        self.path = config.path
        self._timeout = config.statement_timeout.total_seconds()
        self._deadline = float("inf")
        _check_file(self.path)
        with self.classified("open"):
            self.connection = sqlite3.connect(
                f"file:{quote(str(self.path))}?mode={'rw' if writes else 'ro'}",
                uri=True,
                timeout=BUSY_MILLISECONDS / 1000,
                isolation_level=None,
                check_same_thread=False,
            )
        try:
            with self.classified("open"):
                if not writes:
                    self.connection.execute("PRAGMA query_only = ON")
                self.connection.execute("SELECT count(*) FROM main.sqlite_master").fetchone()
                self.encoding: str = self.connection.execute("PRAGMA encoding").fetchone()[0].lower()
                self.journal: str = self.connection.execute("PRAGMA journal_mode").fetchone()[0].lower()
        except AgentError:
            self.connection.close()
            raise
        self.connection.set_progress_handler(self._overdue, _STEPS_BETWEEN_CLOCKS)

    def _overdue(self) -> bool:
        return time.monotonic() > self._deadline

    @contextlib.contextmanager
    def classified(self, doing: str) -> Iterator[None]:
        """SQLite's own errors within are raised as kinds of ours; the clock of the statement timeout starts."""
        self._deadline = time.monotonic() + self._timeout
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", None)
            if code is None:  # the module's own, not SQLite's
                raise
            kind = _KINDS.get(code & 0xFF, SourceError)
            raise kind(f"{self.path}: {doing}: {error.sqlite_errorname}: {error}") from error
        finally:
            self._deadline = float("inf")

    def rows(self, doing: str, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a short answer."""
        with self.classified(doing):
            return self.connection.execute(statement, parameters).fetchall()

    @contextlib.contextmanager
    def transaction(self, doing: str) -> Iterator[sqlite3.Connection]:
        """A transaction that may write; rolled back when anything within fails."""
        with self.classified(doing):
            self.connection.execute("BEGIN IMMEDIATE")
            try:
                yield self.connection
                self.connection.execute("COMMIT")
            except BaseException:
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            self.connection.close()


def _check_file(path: Path) -> None:
    """What SQLite would only call "unable to open".

    The file is never opened here: closing any descriptor of it would drop the POSIX locks of every other connection of
    this process (https://www.sqlite.org/howtocorrupt.html, section 2.2).
    """
    try:
        path.stat()
    except OSError as error:
        raise SourceUnreachable(
            f"{path}: {error.strerror}", remedy="Correct the path of the source, or mount the disk that it is on."
        ) from None
    if path.is_dir():
        raise SourceUnreachable(f"{path}: is a folder", remedy="Correct the path of the source: it names a folder.")
    if not os.access(path, os.R_OK):
        raise SourceDenied(
            f"{path}: the agent's user may not read the file",
            remedy="Give the agent's user read access to the file and its folder.",
        )


def file_identity(path: Path) -> str:
    """File system id and inode: stays when the machine starts again, as a device number may not. Raises
    SourceUnreachable."""
    try:
        return f"{os.statvfs(path).f_fsid:x}:{path.stat().st_ino:x}"
    except OSError as error:
        raise SourceUnreachable(f"{path}: {error.strerror}") from None
