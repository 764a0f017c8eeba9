"""The independent reading: the source through its own driver, the platform through plain pyiceberg, and what differs.

A row is a tuple of plain values, the same whichever way it came: numbers without trailing zeros, times as text.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table

from tests.servers.mariadb import MariaDB
from tests.servers.postgresql import PostgreSQL
from tests.workloads.site import DEPARTMENT, SOURCE

Plain = str | int | None
Row = tuple[Plain, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """One row of a history. values: the table's columns by name, retired ones too."""

    epoch: int
    op: str
    position: str
    absent: frozenset[str]
    values: Mapping[str, Plain]


@dataclass(frozen=True, slots=True)
class Difference:
    """How mirror and source differ: keys."""

    rows: int
    missing: list[Plain]
    extra: list[Plain]
    different: list[Plain]

    @property
    def equal(self) -> bool:
        return not (self.missing or self.extra or self.different)

    def __str__(self) -> str:
        kinds = (("missing", self.missing), ("extra", self.extra), ("different", self.different))
        return f"rows={self.rows} " + " ".join(f"{kind}={len(keys)}" for kind, keys in kinds)

    def told(self) -> str:
        """With the first keys of each kind."""
        return f"{self} missing {self.missing[:3]} extra {self.extra[:3]} different {self.different[:3]}"


def columns(server: MariaDB | PostgreSQL, table: str, database: str = "") -> list[str]:
    """The table's columns in order; none when there is no such table."""
    schema, _, name = table.rpartition(".")
    query = "SELECT column_name FROM information_schema.columns WHERE table_schema = '{}' AND table_name = '{}'"
    rows = server.execute(f"{query.format(schema, name)} ORDER BY ordinal_position", database=database)
    return [str(row[0]) for row in rows]


def source_rows(server: MariaDB | PostgreSQL, table: str, names: Sequence[str], database: str = "") -> list[Row]:
    """The table as it is now."""
    mark = "`" if isinstance(server, MariaDB) else '"'
    place = ".".join(f"{mark}{part}{mark}" for part in table.split("."))
    selected = ", ".join(f"{mark}{name}{mark}" for name in names)
    rows = server.execute(f"SELECT {selected} FROM {place}", database=database)
    return [tuple(plain(value) for value in row) for row in rows]


def mirror_columns(data: Path, table: str) -> list[str]:
    """The mirror's columns; none when there is no mirror."""
    with _platform_table(data, table, "") as found:
        return [field.name for field in found.schema().fields] if found is not None else []


def mirror_rows(data: Path, table: str, names: Sequence[str]) -> list[Row]:
    """The mirror as it is now; a column that it has not is NULL."""
    with _platform_table(data, table, "") as found:
        if found is None:
            return []
        held = {field.name for field in found.schema().fields}
        arrow = found.scan(selected_fields=tuple(name for name in names if name in held)).to_arrow()
    return _tuples(arrow, names)


def history(data: Path, table: str) -> list[Change]:
    """Every change in the order in which the mirror took them."""
    with _platform_table(data, table, "_changes") as found:
        if found is None:
            return []
        arrow = found.scan().to_arrow()
    arrow = arrow.sort_by([("_epoch", "ascending"), ("_seq", "ascending"), ("_row", "ascending")])
    own = [name for name in arrow.column_names if not name.startswith("_")]
    heads = zip(*(arrow.column(name).to_pylist() for name in ("_epoch", "_op", "_position", "_absent")), strict=True)
    return [
        Change(int(epoch), op, position, frozenset(absent or ()), dict(zip(own, row, strict=True)))
        for (epoch, op, position, absent), row in zip(heads, _tuples(arrow, own), strict=True)
    ]


def difference(source: Sequence[Row], mirror: Sequence[Row]) -> Difference:
    """Both with the key first. A key that the mirror holds twice is extra."""
    wanted = {row[0]: row for row in source}
    held = {row[0]: row for row in mirror}
    twice = [key for key, count in Counter(row[0] for row in mirror).items() if count > 1]
    return Difference(
        rows=len(source),
        missing=[key for key in wanted if key not in held],
        extra=[*twice, *(key for key in held if key not in wanted)],
        different=[key for key, row in wanted.items() if key in held and held[key] != row],
    )


def plain(value: object) -> Plain:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool | int):
        return int(value)
    if isinstance(value, Decimal):
        text = format(value, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    if isinstance(value, datetime):
        moment = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        return f"{moment:%Y-%m-%d %H:%M:%S.%f}"
    if isinstance(value, date):
        return f"{value:%Y-%m-%d}"
    if isinstance(value, bytes):
        return value.hex()
    return repr(value)


def _tuples(arrow: pa.Table, names: Iterable[str]) -> list[Row]:
    nothing = [None] * arrow.num_rows
    held = set(arrow.column_names)
    lists = [[plain(value) for value in arrow.column(name).to_pylist()] if name in held else nothing for name in names]
    return list(zip(*lists, strict=True))


@contextlib.contextmanager
def _platform_table(data: Path, table: str, suffix: str) -> Iterator[Table | None]:
    platform = data / "platform"
    catalog = SqlCatalog("forebay", uri=f"sqlite:///{platform / 'catalog.db'}", warehouse=str(platform / "warehouse"))
    schema, _, name = table.rpartition(".")
    try:
        found = None
        with contextlib.suppress(NoSuchTableError):
            found = catalog.load_table((DEPARTMENT, SOURCE, schema, name + suffix))
        yield found
    finally:
        catalog.engine.dispose()
