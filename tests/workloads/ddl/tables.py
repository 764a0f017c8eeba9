"""What was done to one table: its columns and the names they bore, and every row image that was committed.

Times are ticks of one counter that all threads share. A column bears a name from the tick before the statement that gave
it to the tick after the one that took it; in between both hold.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.workloads.evidence import Plain

INT: Final = "int"
BIGINT: Final = "bigint"
VARCHAR: Final = "varchar"
TEXT: Final = "text"
DECIMAL: Final = "decimal(12,2)"
WIDE_DECIMAL: Final = "decimal(16,4)"

RETYPES: Final[Mapping[str, tuple[str, ...]]] = {
    INT: (BIGINT, VARCHAR),
    BIGINT: (VARCHAR,),
    VARCHAR: (TEXT,),
    DECIMAL: (WIDE_DECIMAL,),
}

_ticks = itertools.count(1)


def tick() -> int:
    return next(_ticks)


@dataclass(slots=True)
class Naming:
    """One name of a column. until: 0 while it still holds."""

    name: str
    since: int
    until: int = 0

    def held(self, begin: int, end: int) -> bool:
        return self.since <= end and (not self.until or begin <= self.until)


@dataclass(slots=True)
class Column:
    """default: what a row holds that was never given a value. fixed: DDL leaves it alone."""

    kind: str
    namings: list[Naming]
    default: Plain = None
    nullable: bool = True
    fixed: bool = False

    @property
    def name(self) -> str:
        return self.namings[-1].name

    @property
    def gone(self) -> bool:
        return self.namings[-1].until != 0

    def bore(self, name: str, begin: int, end: int) -> bool:
        """Whether it was called so at any time from begin to end."""
        return any(naming.name == name and naming.held(begin, end) for naming in self.namings)


@dataclass(frozen=True, slots=True)
class Write:
    """One committed change of a row. stamp: its number, larger than those before it of the key; 0 for a delete."""

    op: str
    key: int
    stamp: int
    begin: int
    end: int
    values: Mapping[str, Plain]


class Gate:
    """Writers pass; whoever shuts it waits until those inside are out, and keeps the others out."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._shut = False

    def __enter__(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._shut)
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def shut(self) -> None:
        with self._changed:
            self._shut = True
            self._changed.wait_for(lambda: self._inside == 0)

    def open(self) -> None:
        with self._changed:
            self._shut = False
            self._changed.notify_all()


@dataclass(slots=True)
class Table:
    """schema, name: as captured. excluded, only: as its entry says. columns: those that were and those that are.
    writes: key -> what was committed of it, in order."""

    schema: str
    name: str
    excluded: frozenset[str] = frozenset()
    only: frozenset[str] = frozenset()
    columns: list[Column] = field(default_factory=list)
    writes: dict[int, list[Write]] = field(default_factory=dict)
    gate: Gate = field(default_factory=Gate)
    indexes: list[str] = field(default_factory=list)
    _names: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def full_name(self) -> str:
        return f"{self.schema}.{self.name}"

    @property
    def live(self) -> list[Column]:
        """The columns that there are now, key and stamp not among them."""
        return [column for column in self.columns if not column.gone]

    def fresh_name(self, kind: str) -> str:
        return f"{kind.partition('(')[0]}_{next(self._names)}"

    def captures(self, name: str) -> bool:
        return name in self.only if self.only else name not in self.excluded

    def begin(self, columns: Sequence[Column], since: int) -> None:
        """The table was made anew with these columns."""
        self.end_all()
        self.indexes.clear()
        for column in columns:
            column.namings[-1].since = since
        self.columns.extend(columns)

    def end_all(self) -> None:
        now = tick()
        for column in self.live:
            column.namings[-1].until = now

    def called(self, name: str, begin: int, end: int) -> list[Column]:
        """Whoever was called so at that time; two where a statement was just about to change it."""
        return [column for column in self.columns if column.bore(name, begin, end)]


def rename(column: Column, name: str, since: int) -> None:
    """The statement that began at `since` has ended."""
    column.namings[-1].until = tick()
    column.namings.append(Naming(name, since))


def column(name: str, kind: str, *, default: Plain = None, nullable: bool = True, fixed: bool = False) -> Column:
    return Column(kind, [Naming(name, tick())], default, nullable, fixed)
