"""Space: what the outbox's file and SQLite's log beside it take on the disk, and what a put may add to them."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final

from forebay_agent.errors import OutboxDamaged, OutboxFull
from forebay_agent.outbox.file import PAGE_BYTES, WAL_BYTES
from forebay_agent.outbox.room import Room

_VACUUM_FROM_PAGES: Final = 8_192  # 128 MiB free within the file: give some back to the disk
_VACUUM_PAGES: Final = 512
_FAR_BYTES: Final = 16 * WAL_BYTES
"""with this much more free than must stay, no exact look is needed: what the log still owes the file is far less"""


class Space:
    """Used under the outbox's lock. Methods raise sqlite3.Error."""

    def __init__(self, connection: sqlite3.Connection, path: Path, room: Room) -> None:
        self.room = room
        self._connection = connection
        self._path = str(path)
        self._log_path = path.with_name(f"{path.name}-wal")
        self._written = 0

    def ample(self, more: int) -> bool:
        """Whether the disk has room for a put of `more` bytes many times over. Needs no lock. Raises OutboxDamaged when the
        file is gone."""
        self._file_bytes()
        return self.room.spare() > 2 * more + _FAR_BYTES

    def check_disk(self, more: int) -> None:
        """Raises OutboxFull when the disk has no room for a put of `more` bytes."""
        try:
            self.room.check_disk(self._growth(more, self._file_bytes()))
        except OutboxFull:  # a log that was carried over to the file is room again
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            self.room.check_disk(self._growth(more, self._file_bytes()))

    def log_may_be_long(self, written: int) -> bool:
        """After a put of `written` bytes: whether it is time to look at the log. Needs no lock."""
        self._written += written
        return self._written >= WAL_BYTES // 8

    def bound_log(self) -> None:
        """Readers can keep SQLite from starting its log over; from WAL_BYTES on we wait for them instead."""
        self._written = 0
        if self._log_path.exists() and self._log_path.stat().st_size > WAL_BYTES:
            self._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()

    def give_back(self) -> None:
        """After deletions: gives some of a file with much free space back to the disk."""
        if self._connection.execute("PRAGMA freelist_count").fetchone()[0] > _VACUUM_FROM_PAGES:
            self._connection.execute(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})").fetchall()

    def _growth(self, more: int, size: int) -> int:
        """Bytes by which log and file may grow when `more` bytes are put and all of the log is carried over."""
        pages: int = self._connection.execute("PRAGMA page_count").fetchone()[0]
        free: int = self._connection.execute("PRAGMA freelist_count").fetchone()[0]
        return more + max(0, pages * PAGE_BYTES - size) + max(0, more - free * PAGE_BYTES)

    def _file_bytes(self) -> int:
        try:
            return os.stat(self._path).st_size  # noqa: PTH116 - at every put, and a Path costs more than the call
        except FileNotFoundError:
            raise OutboxDamaged(f"{self._path}: the outbox vanished while the agent was running") from None
