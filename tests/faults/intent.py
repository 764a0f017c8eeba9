"""What the writers meant: every row that they wrote is known by its key and version, and can be worked out again.

A row is a function of table, key and version, so that the record of all that was ever committed is small and whole. Rows
are written in pairs (keys 2n and 2n+1, same version, one transaction): a reader that sees one half saw half of a
transaction. Versions of a key only grow, over deletes too.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

COLUMNS = ("id", "version", "mobile", "amount", "note")
"""what is compared; `stamp`, the cursor's column, is the writer's own"""

Row = tuple[object, ...]
DELETED = 0


@dataclass(frozen=True, slots=True)
class Table:
    """place: whose database it is in. mode: how it is captured."""

    place: str
    name: str
    mode: str

    @property
    def deletes(self) -> bool:
        return self.mode != "cursor"

    def row(self, key: int, version: int) -> Row:
        """As the source holds it: `COLUMNS`."""
        drawn = hashlib.blake2b(f"{self.name}/{key}/{version}".encode(), digest_size=8).digest()
        number = int.from_bytes(drawn)
        note = f"第{version}版 {drawn.hex()} " + "企业登记事项变更。" * (number % 12)
        return (
            key,
            version,
            f"13{number % 10**9:09d}",
            Decimal(number % 10**9) / 100,
            None if number % 7 == 0 else note,
        )

    def masked(self, key: int, version: int) -> Row:
        """As the platform holds it."""
        number, at, mobile, amount, note = self.row(key, version)
        text = str(mobile)
        return (number, at, f"{text[:3]}****{text[-4:]}", amount, note)


@dataclass(frozen=True, slots=True)
class Version:
    """One committed state of a key. at: when the writer heard of it (seconds of the harness's clock)."""

    key: int
    version: int
    at: float


class Intent:
    """Of one table. Writers record before they try (`meant`), and what came of it (`committed`)."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self._lock = threading.Lock()
        self._meant: dict[int, int] = {}
        self._held: dict[int, int] = {}
        self._log: list[Version] = []
        self._never: set[tuple[int, int]] = set()

    def next_version(self, key: int) -> int:
        with self._lock:
            return self._meant.get(key, 0) + 1

    def meant(self, versions: Mapping[int, int]) -> None:
        """From now on the platform may hold these versions; nobody knows yet whether it will."""
        with self._lock:
            self._meant.update(versions)

    def committed(self, versions: Mapping[int, int], at: float, *, deleted: bool) -> None:
        with self._lock:
            for key, version in versions.items():
                if deleted:
                    self._held.pop(key, None)
                else:
                    self._held[key] = version
                    self._log.append(Version(key, version, at))

    def rolled_back(self, versions: Mapping[int, int], *, deleted: bool) -> None:
        """These never were."""
        with self._lock:
            if not deleted:
                self._never.update(versions.items())

    def may_hold(self, key: int, version: int) -> bool:
        """Whether the platform may ever show it."""
        with self._lock:
            return 0 < version <= self._meant.get(key, 0) and (key, version) not in self._never

    @property
    def held(self) -> dict[int, int]:
        """Key -> version, as it is now."""
        with self._lock:
            return dict(self._held)

    @property
    def keys(self) -> list[int]:
        """The even keys that are there."""
        with self._lock:
            return [key for key in self._held if key % 2 == 0]

    @property
    def log(self) -> list[Version]:
        """Every version that was committed."""
        with self._lock:
            return list(self._log)

    def rows(self, *, masked: bool) -> dict[int, Row]:
        of = self.table.masked if masked else self.table.row
        return {key: of(key, version) for key, version in self.held.items()}


def pair(key: int, version: int) -> dict[int, int]:
    return {key: version, key + 1: version}


def merged(pairs: Iterable[Mapping[int, int]]) -> dict[int, int]:
    together: dict[int, int] = {}
    for each in pairs:
        together.update(each)
    return together
