"""The centre comes back from a backup: what it received after that is in its archive and in the platform, not in its ledger."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path
from typing import Final

from tests.faults.fault import Fault
from tests.faults.fleet import COLLECTOR
from tests.faults.intent import Table

_CAPTURE_LAG_S: Final = 20.0
_NEWER: Final = 3
"""so many batches at least come after the backup"""
Marks = dict[str, tuple[int, int]]


class CollectorRestored(Fault):
    """The ledger is copied while the collector runs (SQLite's own backup), and takes the ledger's place when more batches
    have come. Where an agent then knows more than the ledger, its stream is held with FB-COLLECTOR-BEHIND. The remedy: start
    the stream anew."""

    name = "collector restored from a backup"
    on = (COLLECTOR,)
    cuts_history = _CAPTURE_LAG_S
    by_hand = True

    def inject(self) -> None:
        self._backup = self.fleet.folder / COLLECTOR / "backup.db"
        self._backup.unlink(missing_ok=True)
        self.patiently(self._copy)
        self.wait(lambda: self._newer(self._marks(self._ledger)) >= _NEWER, "any batch newer than the backup")
        self.fleet.looking.acquire()  # until agents and ledger fit together again, they do not
        try:
            self._restore()
        except BaseException:
            self.fleet.looking.release()
            raise

    def _restore(self) -> None:
        self.member.kill()
        self._proof = f"{self._newer(self._marks(self._ledger))} batches were newer than the ledger's copy"
        for piece in self._ledger.parent.glob("ledger.db*"):
            piece.unlink()
        shutil.copy2(self._backup, self._ledger)
        self._restored = self._marks(self._backup)
        self.fleet.ledgers += 1
        self.member.start()

    def struck(self) -> str:
        return self._proof

    def heal(self) -> None:
        try:
            for department, table in self.fleet.places:
                self.wait(
                    lambda place=department.place, table=table: self._goes_on(place, table),  # type: ignore[misc]
                    f"{table.name} going on",
                )
        finally:
            self.fleet.looking.release()

    def _goes_on(self, place: str, table: Table) -> bool:
        """Whether the stream has gone on from the older ledger; what the remedy asks is done on the way."""
        stream = self.fleet.departments[place].stream(table)
        state = self.fleet.status(place).get(stream, {})
        if state.get("code") == "FB-COLLECTOR-BEHIND":
            self.obey(state, place)
            return False
        if state.get("state") != "streaming":
            return False
        mark = self._marks(self._ledger).get(stream, (0, 0))
        return self._restored.get(stream, (0, 0)) < mark >= (state["epoch"], state["durable_seq"])

    def _copy(self) -> None:
        with (
            self.member.disk.reading,
            _reading(self._ledger) as source,
            contextlib.closing(sqlite3.connect(self._backup)) as target,
        ):
            source.backup(target)

    def _newer(self, marks: Marks) -> int:
        """How many batches these marks are ahead of the backup; an epoch counts for one."""
        held = self._marks(self._backup)
        ahead = 0
        for stream, (epoch, seq) in marks.items():
            before = held.get(stream, (0, 0))
            ahead += seq - before[1] if epoch == before[0] else 1
        return ahead

    def _marks(self, ledger: Path) -> Marks:
        query = "SELECT department || '/' || source || '/' || table_name, epoch, durable_seq FROM stream"
        with self.member.disk.reading, _reading(ledger) as connection:
            return {stream: (epoch, seq) for stream, epoch, seq in connection.execute(query)}

    @property
    def _ledger(self) -> Path:
        return self.fleet.data / "ledger.db"


def _reading(file: Path) -> contextlib.closing[sqlite3.Connection]:
    return contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10))


KINDS: Final = (CollectorRestored,)
