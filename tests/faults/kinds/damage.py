"""Files that are damaged where they lie: an archived batch at the centre, a page of an agent's outbox.

Both stop what they concern, by design, and name the file; the remedies are what the program says.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path
from typing import Any, Final

from forebay_collector.archive.names import batch_file
from forebay_wire.stream import StreamName
from tests.faults.captured import captured_until
from tests.faults.fault import AGENTS, REMEDY_SECONDS, Fault
from tests.faults.fleet import COLLECTOR
from tests.faults.lake import opened

_TABLES: Final = ("stream", "batch", "log")


class ArchiveDamaged(Fault):
    """One bit of an archived batch that is not loaded yet is another one. The loader finds it, and holds the stream. The
    remedy: restore the file from a copy, and replay."""

    name = "object of the archive damaged"
    on = (COLLECTOR,)
    proof_s = REMEDY_SECONDS

    def inject(self) -> None:
        self.wait(self._damaged, "a batch between archive and platform")
        self.member.start()

    def struck(self) -> str:
        (held,) = self._asked(
            "SELECT held_code FROM stream WHERE department = ? AND source = ? AND table_name = ?",
            (self._stream.department, self._stream.source, self._stream.table),
        )
        return f"{self._stream} held with {held[0]}" if held[0] == "FB-ARCHIVE-DAMAGED" else ""

    def heal(self) -> None:
        self.wait(self.struck, "held with FB-ARCHIVE-DAMAGED")
        self._file.write_bytes(self._whole)
        self.fleet.collector("replay", str(self._stream), "--reason", "harness: the file is restored")

    def _damaged(self) -> bool:
        """Stops the collector only where that looks worth it: one that is stopped over and over receives nothing."""
        with self.member.disk.reading:
            if not self._waiting():
                return False
        self.member.kill()
        with self.member.disk.reading:
            if not (waiting := self._waiting()):
                self.member.start()
                return False
            department, source, name, epoch, seq = self.draw.choice(waiting)
            self._stream = StreamName(department, source, name)
            self._file = self.fleet.data / "archive" / batch_file(self._stream, epoch, seq)
            self._whole = self._file.read_bytes()
            content = bytearray(self._whole)
            content[self.draw.randrange(len(content))] ^= 1 << self.draw.randrange(8)
            self._file.write_bytes(content)
        return True

    def _waiting(self) -> list[tuple[Any, ...]]:
        """Department, source, table, epoch and seq of what is neither loaded nor in the platform."""
        durable = self._asked(
            "SELECT department, source, table_name, b.epoch, b.seq FROM batch b JOIN stream s ON s.id = b.stream_id"
            " WHERE b.state = 'durable' AND source || '' IN (?, ?, ?) ORDER BY b.epoch, b.seq",
            tuple(department.source for department in self.fleet.departments.values()),
        )
        return [each for each in durable if not self._is_in_platform(*each)]

    def _is_in_platform(self, department: str, source: str, name: str, epoch: int, seq: int) -> bool:
        """It was loaded, and the collector killed before it noted that: nobody reads the file again."""
        with opened(self.fleet.data) as lake:
            return lake.marks_of(StreamName(department, source, name)).taken >= (epoch, seq)

    def _asked(self, query: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        file = self.fleet.data / "ledger.db"
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=10)) as connection:
            return connection.execute(query, values).fetchall()


class OutboxDamaged(Fault):
    """A page of the outbox is overwritten. The agent ends and names the file. The remedy: keep it, move it away, start, and
    reset the streams."""

    name = "outbox page damaged"
    on = AGENTS
    by_hand = True

    def inject(self) -> None:
        self.member.kill()
        self.captured = self.patiently(lambda: captured_until(self.fleet, self.place, outbox=False))
        with self.member.disk.reading:
            self._overwrite(self._state / "outbox.db")
        self.member.start()

    def struck(self) -> str:
        told = [line for line in self.member.told_since_kill().splitlines() if "the outbox is damaged" in line]
        return told[0].strip() if told else ""

    def heal(self) -> None:
        self.wait(self.struck, "ended for the damage")
        self.member.kill()
        kept = self.fleet.folder / self.place / "kept"
        kept.mkdir(exist_ok=True)
        with self.member.disk.reading:  # a reader of the harness would leave a log beside the file that is gone
            for piece in sorted(self._state.glob("outbox.db*")):
                shutil.move(piece, kept / piece.name)
        self.member.start()
        for table in self.department.tables:
            state = self.wait(
                lambda table=table: (each := self.state(table)).get("code") == "FB-STATE-LOST" and each,  # type: ignore[misc]
                f"{table.name} held with FB-STATE-LOST",
            )
            self.obey(state)
        for table in self.department.tables:
            self.wait(
                lambda table=table: self.state(table).get("state") == "streaming",  # type: ignore[misc]
                f"{table.name} taken anew",
            )

    def _overwrite(self, file: Path) -> None:
        with contextlib.closing(sqlite3.connect(file, timeout=10)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            (size,) = connection.execute("PRAGMA page_size").fetchone()
            query = "SELECT rootpage FROM sqlite_master WHERE type = 'table' AND name = ?"
            (page,) = connection.execute(query, (self.draw.choice(_TABLES),)).fetchone()
        with file.open("r+b") as opened:
            opened.seek((page - 1) * size)
            opened.write(self.draw.randbytes(size))

    @property
    def _state(self) -> Path:
        return self.fleet.state(self.place)


KINDS: Final = (ArchiveDamaged, OutboxDamaged)
