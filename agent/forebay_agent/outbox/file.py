"""The outbox's SQLite file: how it is made, opened and checked, and what its error codes mean.

A new file is made under another name and renamed, so that `outbox.db` is never seen half made: an empty or short file
is damage, not a beginning. Write-ahead log, synchronous=FULL: a commit that returned is on the disk.
"""

from __future__ import annotations

import os
import sqlite3
from importlib import resources
from pathlib import Path
from typing import Final

from forebay_agent.durable import sync_folder
from forebay_agent.errors import AgentError, OutboxDamaged, OutboxFull, StateFolderUnusable
from forebay_agent.outbox.checksums import check_streams
from forebay_agent.outbox.upgrade import downgrade, upgrade

FILE_NAME: Final = "outbox.db"
FORMAT: Final = 3
APPLICATION_ID: Final = 0x46624F78  # "FbOx"
PAGE_BYTES: Final = 16 << 10
BUSY_SECONDS: Final = 15.0
WAL_BYTES: Final = 64 << 20
FAILURES: Final = (sqlite3.Error, UnicodeError)
"""what SQLite raises; the second where the text that describes the tables is none any more"""


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Opens the outbox's file, making it first where there is none, and bringing an older format up to this version's.

    Raises: OutboxDamaged, StateFolderUnusable, OutboxFull.
    """
    try:
        if not path.exists():
            _make(path)
        _check_size(path)
        connection = _connect(path)
    except OSError as error:
        raise of_os_error(error, path) from error
    try:
        connection.execute("PRAGMA synchronous = FULL")
        if _check_version(connection, path) < FORMAT:
            upgrade(connection, FORMAT)
            _refuse_older(_check_version(connection, path), path)
        # some builds of SQLite write zeros over what is deleted: twice the work, and no room for it on a full disk
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("PRAGMA wal_autocheckpoint = 1000")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES}")
    except FAILURES as error:
        connection.close()
        raise of_sqlite_error(error, path) from error
    except AgentError:
        connection.close()
        raise
    return connection


def write_format(path: Path, wanted: int) -> None:
    """Writes the file in an older format, for the `forebay-agent` that knows no newer one. No agent may be running.

    Raises: OutboxDamaged, StateFolderUnusable (also when nothing that is in the file may be lost by it), OutboxFull.
    """
    if not path.exists():
        raise StateFolderUnusable(f"{path}: there is no outbox; the agent has not run with this state folder")
    connection = open_for_writing(path)
    try:
        if not downgrade(connection, wanted):
            raise StateFolderUnusable(
                f"{path}: format {wanted} is not known, or has no place for what is in the file",
                remedy="Stay with this version; or hand everything over first, and start the streams anew with the older one.",
            )
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise of_sqlite_error(error, path) from error
    finally:
        connection.close()


def open_for_reading(path: Path) -> sqlite3.Connection:
    """A connection of its own that cannot write; may be handed from one thread to another.

    Raises: OutboxDamaged, StateFolderUnusable (also when there is no file).
    """
    if not path.exists():
        raise StateFolderUnusable(f"{path}: there is no outbox; the agent has not run with this state folder")
    try:
        _check_size(path)
        connection = _connect(path)
    except OSError as error:
        raise of_os_error(error, path) from error
    try:
        _refuse_older(_check_version(connection, path), path)
        connection.execute("PRAGMA query_only = ON")
    except FAILURES as error:
        connection.close()
        raise of_sqlite_error(error, path) from error
    except AgentError:
        connection.close()
        raise
    return connection


def check_whole(connection: sqlite3.Connection, path: Path) -> None:
    """Reads every page of the file, and what stands in it of streams and logs. Raises OutboxDamaged."""
    try:
        answer: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if answer == "ok":
            check_streams(connection, path)
    except FAILURES as error:
        raise of_sqlite_error(error, path) from error
    if answer != "ok":
        raise OutboxDamaged(f"{path}: the outbox is damaged: {answer.splitlines()[-1]}")


def of_sqlite_error(error: sqlite3.Error | UnicodeError, path: Path) -> AgentError:
    """What an error of SQLite means, by its result code (https://www.sqlite.org/rescode.html)."""
    if isinstance(error, UnicodeError):
        return OutboxDamaged(f"{path}: the outbox is damaged: what describes its tables is no text")
    extended = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    primary = extended & 0xFF
    if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT):
        return OutboxDamaged(f"{path}: the outbox is damaged ({name})")
    if primary == sqlite3.SQLITE_FULL:
        return OutboxFull(f"{path}: no space left on the outbox's disk")
    if primary in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return StateFolderUnusable(f"{path}: the outbox cannot be read or written ({name})")
    if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return AgentError(f"{path}: another process kept the outbox locked for {BUSY_SECONDS:.0f} s")
    return AgentError(f"{path}: {name}: {error}")


def of_os_error(error: OSError, path: Path) -> AgentError:
    return StateFolderUnusable(f"{path}: {error.strerror or error}")


def _connect(path: Path) -> sqlite3.Connection:
    # rw, not rwc: a file that vanished must not come back empty
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )
    except FAILURES as error:
        raise of_sqlite_error(error, path) from error
    # text that is no UTF-8 any more is still read, to be found by its checksum
    connection.text_factory = _text
    return connection


def _text(stored: bytes) -> str:
    return stored.decode("utf-8", "surrogateescape")


def _make(path: Path) -> None:
    left_over = path.with_name(f"{path.name}-wal")
    if left_over.exists():
        raise OutboxDamaged(f"{path} is missing, but {left_over.name} is there: bring the file back, or move both away")
    new = path.with_name(f"{path.name}.new")
    for piece in (new, new.with_name(f"{new.name}-wal"), new.with_name(f"{new.name}-shm")):
        piece.unlink(missing_ok=True)
    new.touch(mode=0o600)
    connection = sqlite3.connect(new, isolation_level=None)
    try:
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        tables = resources.files("forebay_agent.outbox").joinpath("outbox.sql").read_text("utf-8")
        connection.executescript(f"BEGIN;\n{tables}\nPRAGMA user_version = {FORMAT};\nCOMMIT;")
        connection.execute("PRAGMA journal_mode = WAL")
    except FAILURES as error:
        raise of_sqlite_error(error, path) from error
    finally:
        connection.close()
    with new.open("rb") as made:
        os.fsync(made.fileno())
    new.rename(path)
    sync_folder(path.parent)


def _check_size(path: Path) -> None:
    """SQLite would take an empty file for a new one. Any other damage of the header it tells itself.

    The file is never opened but by SQLite: closing it would drop the locks that this process's other connections hold
    on it (POSIX), and the next process to end its connection would delete the log under them, with what is in it.
    """
    if path.stat().st_size < PAGE_BYTES:
        raise OutboxDamaged(f"{path}: the outbox is damaged: shorter than its first page")


def _check_version(connection: sqlite3.Connection, path: Path) -> int:
    """-> the file's format, at most this version's."""
    application: int = connection.execute("PRAGMA application_id").fetchone()[0]
    if application != APPLICATION_ID:
        raise OutboxDamaged(f"{path}: is an SQLite file, but not an outbox")
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > FORMAT:
        raise StateFolderUnusable(
            f"{path}: written by a newer forebay-agent (format {version}; this one knows {FORMAT})",
            remedy="Install the newer forebay-agent again.",
        )
    if version < 1:
        raise OutboxDamaged(f"{path}: format {version} is not known")
    return version


def _refuse_older(version: int, path: Path) -> None:
    if version < FORMAT:
        raise StateFolderUnusable(
            f"{path}: written by an older forebay-agent (format {version}; this one reads {FORMAT})",
            remedy="Start `forebay-agent run` of this version once: it brings the file up to date and keeps what is in it.",
        )
