"""The platform as anyone reads it: plain pyiceberg, nothing of Forebay's own."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table as IcebergTable

from forebay_wire.stream import StreamName
from tests.faults.departments import Department
from tests.faults.intent import COLUMNS, Row, Table

_THROUGH: Final = "forebay.through"
_AHEAD: Final = "forebay.ahead"
Mark = tuple[int, int]
"""epoch, seq"""


@dataclass(frozen=True, slots=True)
class Marks:
    """What a mirror's own commits say; (0, 0) where there is none. shown: how far what readers see goes. taken: how far what
    the platform has goes; further than `shown` while it holds back what is not whole yet."""

    shown: Mark = (0, 0)
    taken: Mark = (0, 0)


@dataclass(frozen=True, slots=True)
class Change:
    """One row of a history. row: `COLUMNS`."""

    epoch: int
    seq: int
    number: int
    op: str
    row: Row


class Lake:
    def __init__(self, data: Path) -> None:
        platform = data / "platform"
        self._catalog = SqlCatalog(
            "forebay", uri=f"sqlite:///{platform / 'catalog.db'}", warehouse=str(platform / "warehouse")
        )

    def close(self) -> None:
        self._catalog.engine.dispose()

    def marks(self, department: Department, table: Table) -> Marks:
        return self.marks_of(StreamName(department.name, department.source, f"{department.schema}.{table.name}"))

    def marks_of(self, stream: StreamName) -> Marks:
        found = self._found(stream.department, stream.source, *stream.table.split("."))
        if found is None:
            return Marks()
        shown = _mark(found, _THROUGH, stream)
        return Marks(shown, max(shown, _mark(found, _AHEAD, stream)))

    def mirror(self, department: Department, table: Table) -> list[Row]:
        found = self._table(department, table, "")
        if found is None:
            return []
        arrow = found.scan(selected_fields=COLUMNS).to_arrow()
        return [shaped(row) for row in zip(*(arrow.column(name).to_pylist() for name in COLUMNS), strict=True)]

    def history(self, department: Department, table: Table) -> list[Change]:
        """In the order in which the mirror took them."""
        found = self._table(department, table, "_changes")
        if found is None:
            return []
        heads = ("_epoch", "_seq", "_row", "_op")
        arrow = found.scan(selected_fields=(*heads, *COLUMNS)).to_arrow()
        columns = [arrow.column(name).to_pylist() for name in (*heads, *COLUMNS)]
        changes = [
            Change(epoch, seq, number, op, shaped(row)) for epoch, seq, number, op, *row in zip(*columns, strict=True)
        ]
        return sorted(changes, key=lambda change: (change.epoch, change.seq, change.number))

    def _table(self, department: Department, table: Table, suffix: str) -> IcebergTable | None:
        return self._found(department.name, department.source, department.schema, table.name + suffix)

    def _found(self, *name: str) -> IcebergTable | None:
        with contextlib.suppress(NoSuchTableError):
            return self._catalog.load_table(name)
        return None


def _mark(table: IcebergTable, name: str, stream: StreamName) -> Mark:
    mark = json.loads(table.properties.get(name, "{}")).get(str(stream))
    return (int(mark["epoch"]), int(mark["seq"])) if mark else (0, 0)


def shaped(row: Sequence[object]) -> Row:
    """One form for a value, whichever way it came: amounts as text with two places."""
    key, version, mobile, amount, note = row
    return (key, version, mobile, None if amount is None else f"{float(str(amount)):.2f}", note)


@contextlib.contextmanager
def opened(data: Path) -> Iterator[Lake]:
    lake = Lake(data)
    try:
        yield lake
    finally:
        lake.close()
