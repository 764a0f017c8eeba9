"""The invariants of the design, looked at over and over while the fleet is struck. The first that does not hold ends the run.

    chain unbroken       each batch of the ledger follows the one before it, gap-free, by its chain digest
    never backwards      durable and loaded marks, and the version of a row in the platform, never fall
    loaded ≤ platform ≤ durable
                         the ledger calls loaded what the platform's own commits hold, and that is durable
    never nowhere        what is not in the outbox (any more) is durable at the centre; what the agent believes is true
    nothing invented     the platform holds no row that no writer ever wrote, none twice, none unmasked
    whole transactions   of a pair of rows that are written together, the mirror of a log shows both or none

A look that meets a disk without power, or a file that is not there, is no look: it is made again a moment later.
"""

from __future__ import annotations

import itertools
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from forebay_collector.demo.processes import DemoFailed
from forebay_wire.digest import GENESIS
from forebay_wire.seal import parse_header
from tests.faults.captured import reading
from tests.faults.departments import Department
from tests.faults.fleet import COLLECTOR, Fleet
from tests.faults.intent import Intent
from tests.faults.lake import Mark, Marks, opened

_PAUSE_S: Final = 0.5
_NO_LOOK: Final = (OSError, sqlite3.Error, ValueError)


class Broken(DemoFailed):
    """An invariant does not hold."""


class Watch(threading.Thread):
    """Looks until stopped. broken: called once, with the first invariant that does not hold."""

    def __init__(self, fleet: Fleet, broken: Callable[[BaseException], None]) -> None:
        super().__init__(name="invariants", daemon=True)
        self.looks = 0
        self.missed = 0
        self._fleet = fleet
        self._broken = broken
        self._enough = threading.Event()
        self._marks: dict[tuple[str, str], Mark] = {}
        self._chains: dict[str, tuple[int, int, bytes]] = {}
        self._versions: dict[tuple[str, int], int] = {}
        self._turn = itertools.cycle(
            [(department, intent) for department in fleet.departments.values() for intent in department.intents]
        )

    def run(self) -> None:
        try:
            while not self._enough.wait(_PAUSE_S):
                self.look()
        except BaseException as error:
            self._broken(error)

    def stop(self) -> None:
        self._enough.set()
        self.join(60)

    def look(self) -> None:
        """One look at everything but mirrors, and at one mirror. Raises Broken."""
        with self._fleet.looking:
            self._look()

    def _look(self) -> None:
        for place, department in self._fleet.departments.items():
            self._look_at_agent(place, department)
        department, intent = next(self._turn)
        self._look_at_platform(department, intent)

    def _look_at_agent(self, place: str, department: Department) -> None:
        """The agent first, then the ledger: what the agent knew then, the ledger has known since."""
        told = self._fleet.status(place)
        waiting = self._attempt(place, lambda: _outbox(self._fleet.state(place)))
        ledger = self._attempt(COLLECTOR, lambda: self._ledger(department))
        if ledger is None:
            return
        for stream, (durable, loaded) in ledger.items():
            if loaded > durable:
                raise Broken(f"{stream}: loaded {loaded} is ahead of durable {durable}")
            self._never_back(stream, "durable", durable)
            self._never_back(stream, "loaded", loaded)
        for stream, each in told.items():
            durable, loaded = ledger.get(stream, ((0, 0), (0, 0)))
            if each["epoch"] == durable[0] and each["durable_seq"] > durable[1]:
                raise Broken(f"{stream}: the agent believes {each['durable_seq']} durable, the ledger has {durable}")
        for stream, (epoch, first) in (waiting or {}).items():
            durable, _ = ledger.get(stream, ((0, 0), (0, 0)))
            if first > 1 and (epoch, first - 1) > durable:
                raise Broken(
                    f"{stream}: batches before {epoch}/{first} are not in the outbox, and durable is {durable}"
                )

    def _ledger(self, department: Department) -> dict[str, tuple[Mark, Mark]]:
        """Stream -> durable and loaded; looks at the chain of what is new."""
        found: dict[str, tuple[Mark, Mark]] = {}
        with reading(self._fleet.data / "ledger.db") as connection:
            rows = connection.execute(
                "SELECT id, source, table_name, epoch, durable_seq, durable_chain, loaded_epoch, loaded_seq"
                " FROM stream WHERE department = ?",
                (department.name,),
            ).fetchall()
            for number, source, name, epoch, seq, chain, loaded_epoch, loaded_seq in rows:
                stream = f"{department.name}/{source}/{name}"
                found[stream] = ((epoch, seq), (loaded_epoch, loaded_seq))
                self._look_at_chain(connection, stream, number, (epoch, seq), chain)
        return found

    def _look_at_chain(
        self, connection: sqlite3.Connection, stream: str, number: int, durable: Mark, chain: bytes
    ) -> None:
        epoch, seq, last = self._chains.get(stream, (0, 0, GENESIS))
        query = "SELECT header FROM batch WHERE stream_id = ? AND (epoch, seq) > (?, ?) ORDER BY epoch, seq"
        for (header,) in connection.execute(query, (number, epoch, seq)):
            fields = parse_header(header)
            follows = fields.seq == seq + 1 if fields.epoch == epoch else fields.epoch > epoch and fields.seq == 1
            if not follows or fields.previous_chain != last:
                raise Broken(f"{stream}: batch {fields.epoch}/{fields.seq} does not follow {epoch}/{seq} in the ledger")
            epoch, seq, last = fields.epoch, fields.seq, fields.chain
        if (epoch, seq) != durable and seq:
            raise Broken(f"{stream}: durable is {durable}, the last batch {epoch}/{seq}")
        if seq and last != chain:
            raise Broken(f"{stream}: the chain at {epoch}/{seq} is not the last batch's")
        self._chains[stream] = (epoch, seq, last)

    def _look_at_platform(self, department: Department, intent: Intent) -> None:
        """The ledger, then the platform, then the ledger: marks between them may only grow."""
        stream = department.stream(intent.table)
        before = self._attempt(COLLECTOR, lambda: self._ledger(department))
        read = self._attempt(COLLECTOR, lambda: self._mirror(department, intent))
        after = self._attempt(COLLECTOR, lambda: self._ledger(department))
        if before is None or read is None or after is None or stream not in before:
            return
        marks, rows = read
        mark = marks.shown
        if not before[stream][1] <= marks.taken <= after[stream][0]:
            raise Broken(
                f"{stream}: the platform has taken {marks.taken}, of which it shows {mark}; the ledger had loaded"
                f" {before[stream][1]} before and has {after[stream][0]} durable after it"
            )
        self._never_back(stream, "platform", mark)
        self.looks += 1
        versions: dict[int, int] = {}
        for row in rows:
            key, version = int(str(row[0])), int(str(row[1]))
            if key in versions:
                raise Broken(f"{stream}: key {key} stands twice in the mirror")
            versions[key] = version
            if not intent.may_hold(key, version):
                raise Broken(f"{stream}: nobody ever wrote version {version} of key {key}")
            if row != _as_lake(intent.table.masked(key, version)):
                raise Broken(f"{stream}: key {key} at version {version} is not what was written")
            if version < self._versions.get((stream, key), 0):
                raise Broken(f"{stream}: key {key} went back to version {version}")
            self._versions[stream, key] = version
        if intent.table.mode == "log":
            for key in {key - key % 2 for key in versions}:
                if versions.get(key) != versions.get(key + 1):
                    raise Broken(f"{stream}: half of a transaction: keys {key}, {key + 1} at {mark}")

    def _mirror(self, department: Department, intent: Intent) -> tuple[Marks, list[tuple[object, ...]]] | None:
        """The marks and the rows, as of one state."""
        with opened(self._fleet.data) as lake:
            shown = lake.marks(department, intent.table).shown
            rows = lake.mirror(department, intent.table)
            marks = lake.marks(department, intent.table)
            return (marks, rows) if marks.shown == shown else None

    def _never_back(self, stream: str, kind: str, mark: Mark) -> None:
        before = self._marks.get((stream, kind), (0, 0))
        if mark < before:
            raise Broken(f"{stream}: the {kind} mark went back from {before} to {mark}")
        self._marks[stream, kind] = mark

    def _attempt(self, place: str, look: Callable[[], Any]) -> Any:
        """None: there was nothing to look at now."""
        with self._fleet.members[place].disk.reading:
            try:
                return look()
            except Broken:
                raise
            except Exception as error:
                if not isinstance(error, _NO_LOOK) and not _is_of_storage(error):
                    raise
                self.missed += 1
                return None


def _is_of_storage(error: BaseException) -> bool:
    """The libraries wrap what the disk says."""
    module = type(error).__module__.partition(".")[0]
    return module in ("sqlalchemy", "pyarrow", "pyiceberg") or isinstance(error.__cause__, OSError)


def _as_lake(row: tuple[object, ...]) -> tuple[object, ...]:
    key, version, mobile, amount, note = row
    return (key, version, mobile, f"{amount:.2f}", note)


def _outbox(state: Path) -> dict[str, Mark]:
    """Stream -> the epoch, and the seq of the first batch that waits; of the next one to come where none does. Streams
    that are held against the collector's mark are passed over: their outbox is another one than the one that sent."""
    with reading(state / "outbox.db") as connection:
        streams = connection.execute(
            "SELECT id, department || '/' || source || '/' || name, epoch, next_seq FROM stream WHERE held_code = ''"
        ).fetchall()
        found: dict[str, Mark] = {}
        for number, name, epoch, next_seq in streams:
            query = "SELECT epoch, seq FROM batch WHERE stream = ? ORDER BY epoch, seq"
            waiting = connection.execute(query, (number,)).fetchall()
            for (one_epoch, one), (other_epoch, other) in itertools.pairwise(waiting):
                if not (other == one + 1 if one_epoch == other_epoch else other == 1):
                    raise Broken(f"{name}: the outbox holds {other_epoch}/{other} right after {one_epoch}/{one}")
            if waiting and waiting[-1] != (epoch, next_seq - 1) and waiting[-1][0] == epoch:
                raise Broken(f"{name}: the outbox ends at {waiting[-1]}, the next batch is {epoch}/{next_seq}")
            found[name] = waiting[0] if waiting else (epoch, next_seq)
    return found
