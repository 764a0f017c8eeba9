"""What the process tells of itself, as of one look."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from forebay_collector.ledger import Ledger, chain
from forebay_collector.metrics.archive_size import ArchiveSize
from forebay_collector.metrics.tally import Tally
from forebay_collector.workers import Worker

_DIGEST_BYTES = 6


@dataclass(frozen=True, slots=True)
class ProcessFigures:
    """silent_s: of the thread that was silent for longest. audit_digest: its first 6 bytes, big-endian, which a number of
    Prometheus holds exactly."""

    version: str
    roles: str
    connections: int
    silent_s: float | None
    tally: Tally
    archive_bytes: int | None
    disk_free: int
    disk_size: int
    audit_entries: int
    audit_digest: int


class Process:
    """connections: how many agents upload now."""

    def __init__(
        self,
        ledger: Ledger,
        folder: Path,
        tally: Tally,
        *,
        version: str,
        roles: str,
        workers: Sequence[Worker],
        connections: Callable[[], int],
    ) -> None:
        self._ledger = ledger
        self._folder = folder
        self._tally = tally
        self._version, self._roles = version, roles
        self._workers = workers
        self._connections = connections
        self._archive = ArchiveSize(ledger, tally)

    def look(self) -> ProcessFigures:
        """Raises LedgerUnavailable, LedgerDamaged."""
        with self._ledger.database.read() as connection:
            head = chain.head(connection)
        disk = shutil.disk_usage(self._folder)
        return ProcessFigures(
            version=self._version,
            roles=self._roles,
            connections=self._connections(),
            silent_s=max((worker.silent_s for worker in self._workers), default=None),
            tally=self._tally,
            archive_bytes=self._archive.bytes(),
            disk_free=disk.free,
            disk_size=disk.total,
            audit_entries=head.entries,
            audit_digest=int.from_bytes(head.digest[:_DIGEST_BYTES], "big"),
        )

    def stop(self) -> None:
        self._archive.stop()
