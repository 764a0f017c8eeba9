"""The independent comparison: the source by its own SQL, the platform by plain pyiceberg, row for row.

Nothing of Forebay is used here: not its readers, not its masks, not its digests.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError

from forebay_collector.demo.database import Database
from forebay_collector.demo.departments import Department

Row = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """How source and platform differ in one table; equal when all but `rows` are empty."""

    rows: int
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    different: tuple[str, ...]

    @property
    def equal(self) -> bool:
        return not (self.missing or self.extra or self.different)

    def summary(self) -> str:
        """Counts, and the first keys of each kind."""
        kinds = (("missing", self.missing), ("extra", self.extra), ("different", self.different))
        return ", ".join(f"{what} {len(keys)} ({', '.join(keys[:3])}…)" for what, keys in kinds if keys)


def compare(department: Department, database: Database, platform: Path) -> Difference:
    """Reads both sides whole. A key that the mirror holds twice is in `extra`."""
    source = _source_rows(department, database)
    mirror: dict[object, Row] = {}
    doubled: list[str] = []
    for row in _platform_rows(department, platform):
        if row[0] in mirror:
            doubled.append(str(row[0]))
        mirror[row[0]] = row
    return Difference(
        rows=len(source),
        missing=tuple(str(key) for key in source if key not in mirror),
        extra=(*doubled, *(str(key) for key in mirror if key not in source)),
        different=tuple(str(key) for key, row in source.items() if key in mirror and mirror[key] != row),
    )


def history_twice(department: Department, platform: Path) -> int:
    """How many changes the history holds more than once: by the place that each was given when it was sealed."""
    table = _table(department, platform, "_changes")
    if table is None:
        return 0
    places = table.scan(selected_fields=("_epoch", "_seq", "_row")).to_arrow().to_pylist()
    return len(places) - len({tuple(place.values()) for place in places})


def history_changes_twice(department: Department, platform: Path) -> int:
    """How many changes of a change table or a log the history holds more than once.

    A position may be a whole transaction's, which may change a row twice, to different values.
    """
    table = _table(department, platform, "_changes")
    if table is None:
        return 0
    fields = ("_epoch", "_position", "_op", *department.columns)
    rows = table.scan(selected_fields=fields).to_arrow().to_pylist()
    changes = [tuple(row[name] for name in fields) for row in rows if row["_op"] != "r"]
    return len(changes) - len(set(changes))


def _source_rows(department: Department, database: Database) -> dict[object, Row]:
    with contextlib.closing(database.connect()) as connection:
        cursor = connection.cursor()
        cursor.execute(f"SELECT {', '.join(map(database.quote, department.columns))} FROM {department.table}")
        rows = cursor.fetchall()
    names = list(department.columns)
    shaped = (
        tuple(_masked(department.masks.get(name), _plain(value)) for name, value in zip(names, row, strict=True))
        for row in rows
    )
    return {row[0]: row for row in shaped}


def _platform_rows(department: Department, platform: Path) -> list[Row]:
    table = _table(department, platform, "")
    if table is None:
        return []
    rows = table.scan(selected_fields=tuple(department.columns)).to_arrow().to_pylist()
    return [tuple(_plain(row[name]) for name in department.columns) for row in rows]


def _table(department: Department, platform: Path, suffix: str):  # type: ignore[no-untyped-def]  # pyiceberg ships no types
    catalog = SqlCatalog("forebay", uri=f"sqlite:///{platform / 'catalog.db'}", warehouse=str(platform / "warehouse"))
    try:
        with contextlib.suppress(NoSuchNamespaceError):
            for namespace in catalog.list_namespaces((department.name, department.source)):
                with contextlib.suppress(NoSuchTableError):
                    return catalog.load_table((*namespace, department.table + suffix))
    finally:
        catalog.engine.dispose()
    return None


def _plain(value: object) -> object:
    """One form for a value, whichever way it came: numbers and times as text without trailing zeros."""
    if isinstance(value, Decimal):
        return _number(str(value))
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S.%f}"
    if isinstance(value, date):
        return f"{value:%Y-%m-%d}"
    if isinstance(value, int | float):
        return _number(repr(value))
    if isinstance(value, str) and value.replace(".", "", 1).isdigit() and len(value) < 16 and "." in value:
        return _number(value)
    return value


def _number(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


def _masked(kind: str | None, value: object) -> object:
    if kind is None or not isinstance(value, str):
        return value
    if kind == "citizen_id":
        return value[:6] + "*" * 8 + value[-4:]
    if kind == "mobile":
        return value[:3] + "****" + value[-4:]
    return value[: 2 if value[:2] in ("欧阳", "上官", "司徒") else 1] + "*"
