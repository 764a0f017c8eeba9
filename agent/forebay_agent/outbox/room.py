"""Room: whether another batch may be put into the outbox.

A batch is written to SQLite's log and later, from there, to the file, which grows unless it has free pages within. Some
room must stay even then, since deleting what the collector took writes to the log as well: a disk that is full to the
last byte could never be emptied.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from forebay_agent.errors import OutboxFull

DELETING_BYTES: Final = 256 << 10
"""what stays free in any case, to delete with"""


def free_disk(folder: Path) -> int:
    """Bytes that the agent's user may still write on the folder's disk."""
    told = os.statvfs(folder)
    return told.f_bavail * told.f_frsize


@dataclass(frozen=True, slots=True)
class Room:
    """cap: bytes of batches at most. reserve: bytes that stay free on the disk."""

    folder: Path
    cap: int
    reserve: int
    free: Callable[[Path], int] = free_disk

    def check_cap(self, held: int, more: int) -> None:
        """Raises OutboxFull when `more` bytes beside the `held` ones would pass the cap. A batch larger than the cap is let
        in alone, so that a small cap slows the stream but never stops it for good."""
        if held and held + more > self.cap:
            raise OutboxFull(f"the outbox holds {held:,} bytes of at most {self.cap:,}: capture waits")

    def check_disk(self, more: int) -> None:
        """Raises OutboxFull when files that grow by `more` bytes would touch the reserve."""
        spare = self.spare()
        if spare < more:
            stays = self._stays
            raise OutboxFull(
                f"{self.folder}: {spare + stays:,} bytes free on the disk, {stays:,} stay free: capture waits"
            )

    def spare(self) -> int:
        """Bytes that may be written before the reserve is touched; negative: it is."""
        return self.free(self.folder) - self._stays

    @property
    def _stays(self) -> int:
        return max(self.reserve, DELETING_BYTES)
