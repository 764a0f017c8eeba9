"""Room: whether another batch may be put into the outbox."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from forebay_agent.errors import OutboxFull


def free_disk(folder: Path) -> int:
    """Bytes that the agent's user may still write on the folder's disk."""
    return shutil.disk_usage(folder).free


@dataclass(frozen=True, slots=True)
class Room:
    """cap: bytes of batches at most. reserve: bytes that stay free on the disk."""

    folder: Path
    cap: int
    reserve: int
    free: Callable[[Path], int] = free_disk

    def check(self, held: int, more: int) -> None:
        """Raises OutboxFull when `more` bytes beside the `held` ones would pass the cap or touch the reserve. A batch
        larger than the cap is let in alone, so that a small cap slows the stream but never stops it for good."""
        if held and held + more > self.cap:
            raise OutboxFull(f"the outbox holds {held:,} bytes of at most {self.cap:,}: capture waits")
        free = self.free(self.folder)
        if free - more < self.reserve:
            raise OutboxFull(
                f"{self.folder}: {free:,} bytes free on the disk, {self.reserve:,} stay free: capture waits"
            )
