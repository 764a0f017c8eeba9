"""The centre comes back from a backup: what it received after that is in its archive and in the platform, not in its ledger."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from pathlib import Path
from typing import Final

from forebay_collector.demo.processes import DemoFailed
from tests.faults.fault import Fault
from tests.faults.fleet import COLLECTOR

_NEWER: Final = 3
"""so many batches at least come after the backup"""
Marks = dict[str, tuple[int, int]]


class CollectorRestored(Fault):
    """`forebay-collector backup` while it runs; more batches come; it is killed, and `restore` puts the backup back. The ledger
    then knows again all that it had confirmed: no agent notices anything."""

    name = "collector restored from a backup"
    on = (COLLECTOR,)
    by_hand = True

    def inject(self) -> None:
        self._backup = self.fleet.folder / COLLECTOR / "backup"
        self.patiently(self._back_up)
        held = self._marks(self._backup / "ledger.db")
        self.wait(lambda: _newer(held, self._marks(self._ledger)) >= _NEWER, "any batch newer than the backup")
        with self.fleet.looking:  # the ledger is an older one for a moment
            self.member.kill()
            before = self._marks(self._ledger)
            told = self.fleet.collector("restore", str(self._backup), "--reason", "harness: from the backup", "--json")
            after = self._marks(self._ledger)
        if behind := [stream for stream, mark in before.items() if after.get(stream, (0, 0)) < mark]:
            raise DemoFailed(f"restored, and behind what was confirmed: {', '.join(behind)}: {told}")
        rebuilt = sum(each["recorded"] for each in json.loads(told)["streams"])
        self._proof = f"{_newer(held, before)} batches were newer than the backup, {rebuilt} were rebuilt"
        aside = json.loads(told)["aside"]
        if aside:
            shutil.rmtree(aside)

    def struck(self) -> str:
        return self._proof

    def heal(self) -> None:
        self.member.start()

    def _back_up(self) -> None:
        shutil.rmtree(self._backup, ignore_errors=True)
        self.fleet.collector("backup", str(self._backup))

    def _marks(self, ledger: Path) -> Marks:
        query = "SELECT department || '/' || source || '/' || table_name, epoch, durable_seq FROM stream"
        with self.member.disk.reading, _reading(ledger) as connection:
            return {stream: (epoch, seq) for stream, epoch, seq in connection.execute(query)}

    @property
    def _ledger(self) -> Path:
        return self.fleet.data / "ledger.db"


def _newer(held: Marks, marks: Marks) -> int:
    """How many batches `marks` are ahead of `held`; a new epoch counts for one."""
    ahead = 0
    for stream, (epoch, seq) in marks.items():
        before = held.get(stream, (0, 0))
        ahead += seq - before[1] if epoch == before[0] else 1
    return ahead


def _reading(file: Path) -> contextlib.closing[sqlite3.Connection]:
    return contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10))


KINDS: Final = (CollectorRestored,)
