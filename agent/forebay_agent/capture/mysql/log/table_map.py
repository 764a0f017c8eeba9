"""TABLE_MAP events: which columns the row events that follow have, and what the server says of them.

    6 table id | 2 flags | 1 + n + 1 schema | 1 + n + 1 table | lenenc columns | 1 byte of type each
    | lenenc + metadata | (columns + 7) / 8 NULL bits | optional: (1 type, lenenc length, value) …

Optional metadata (`binlog_row_metadata`): MINIMAL holds signedness, charsets and geometry types, FULL the names, labels, keys
and visibility besides. Values count columns of their kind only: signedness those of numbers (YEAR too, which is always
unsigned; should a server leave it out, its bits tell), charsets those of text (on MariaDB of geometry too).
Sources: "Table_map_event" of MySQL, `Table_map_log_event::Optional_metadata_type` of MariaDB.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from forebay_agent.kernel.binlog_table import metadata_size

TINY, SHORT, LONG, FLOAT, DOUBLE, TIMESTAMP, LONGLONG, INT24 = 1, 2, 3, 4, 5, 7, 8, 9
DATE, TIME, DATETIME, YEAR, NEWDATE, VARCHAR, BIT, TIMESTAMP2, DATETIME2, TIME2 = 10, 11, 12, 13, 14, 15, 16, 17, 18, 19
BLOB_COMPRESSED, VARCHAR_COMPRESSED, VECTOR, JSON, DECIMAL, ENUM, SET = 140, 141, 242, 245, 246, 247, 248
TINY_BLOB, MEDIUM_BLOB, LONG_BLOB, BLOB, VAR_STRING, STRING, GEOMETRY = 249, 250, 251, 252, 253, 254, 255

NUMBERS: Final = {TINY, SHORT, INT24, LONG, LONGLONG, FLOAT, DOUBLE, DECIMAL, YEAR}
LABELED: Final = {ENUM, SET}
TEXTS: Final = {
    VARCHAR,
    VAR_STRING,
    STRING,
    TINY_BLOB,
    MEDIUM_BLOB,
    LONG_BLOB,
    BLOB,
    BLOB_COMPRESSED,
    VARCHAR_COMPRESSED,
}
BINARY: Final = 63
"""the collation of columns that hold bytes"""

_MOST_COLUMNS: Final = 4096
_SIGNEDNESS, _DEFAULT_CHARSET, _COLUMN_CHARSET, _NAMES, _SET_LABELS, _ENUM_LABELS = 1, 2, 3, 4, 5, 6
_GEOMETRY_TYPES, _PRIMARY_KEY, _PRIMARY_KEY_PREFIXES, _LABEL_DEFAULT_CHARSET, _LABEL_CHARSET, _VISIBILITY = range(7, 13)
GEOMETRIES: Final = (
    "geometry",
    "point",
    "linestring",
    "polygon",
    "multipoint",
    "multilinestring",
    "multipolygon",
    "geometrycollection",
)


@dataclass(frozen=True, slots=True)
class MappedColumn:
    """One column as a TABLE_MAP has it. kind: its type, taken out of STRING's metadata where it stands there. wire: the type
    byte. None and empty: the server did not say. collation: of text, enum and set. labels: in the column's character set."""

    number: int
    wire: int
    metadata: bytes
    kind: int
    nullable: bool
    name: str | None = None
    unsigned: bool | None = None
    collation: int | None = None
    labels: tuple[bytes, ...] | None = None
    geometry: str | None = None
    visible: bool = True

    @property
    def length(self) -> int:
        """Bytes of a CHAR, BINARY, VARCHAR or VARBINARY at most; bytes of an enum or set."""
        if self.wire == STRING:
            if self.kind in LABELED:
                return self.metadata[1]
            return self.metadata[1] | ((self.metadata[0] & 0x30) ^ 0x30) << 4
        return int.from_bytes(self.metadata, "little")


@dataclass(frozen=True, slots=True)
class TableMap:
    """full: it names its columns (`binlog_row_metadata = FULL`). key: numbers of the primary key's columns, None when not
    said."""

    table_id: int
    schema: str
    table: str
    columns: tuple[MappedColumn, ...]
    full: bool
    key: tuple[int, ...] | None = None


@dataclass(slots=True)
class _Optional:
    """Optional metadata, by number of the column."""

    unsigned: dict[int, bool] = field(default_factory=dict)
    collations: dict[int, int] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    labels: dict[int, tuple[bytes, ...]] = field(default_factory=dict)
    geometries: dict[int, str] = field(default_factory=dict)
    key: list[int] | None = None
    hidden: set[int] = field(default_factory=set)


class _Bytes:
    """Reads an event's body from front to back; ValueError where it ends too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self.at

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise ValueError(f"a table's description ends at byte {len(self._data)}, {count - self.left} too early")
        self.at += count
        return self._data[self.at - count : self.at]

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "little")

    def packed(self) -> int:
        """A length-encoded integer."""
        first = self.number(1)
        if first < 251:
            return first
        if first in (251, 255):
            raise ValueError("a table's description holds a malformed length")
        return self.number({252: 2, 253: 3, 254: 8}[first])

    def text(self) -> str:
        """A length byte, a name, and a zero byte."""
        name = self.take(self.number(1)).decode()
        self.take(1)
        return name


@lru_cache(maxsize=256)
def parse(body: bytes, *, mariadb: bool) -> TableMap:
    """A TABLE_MAP's body. Raises ValueError."""
    data = _Bytes(body)
    table_id = data.number(6)
    data.take(2)
    schema, table = data.text(), data.text()
    count = data.packed()
    if not 0 < count <= _MOST_COLUMNS:
        raise ValueError(f"{schema}.{table} has {count} columns; 1 to {_MOST_COLUMNS} are possible")
    wires = data.take(count)
    metadata = _Bytes(data.take(data.packed()))
    columns = []
    for wire in wires:
        size = metadata_size(wire)
        columns.append((wire, metadata.take(size)))
    if metadata.left:
        raise ValueError(f"{schema}.{table}: {metadata.left} bytes follow the columns' metadata")
    nullable = data.take((count + 7) // 8)
    kinds = [_kind(wire, own) for wire, own in columns]
    told = _optional(data, kinds, mariadb=mariadb)
    if told.names and len(told.names) != count:
        raise ValueError(f"{schema}.{table}: {len(told.names)} names for {count} columns")
    return TableMap(
        table_id,
        schema,
        table,
        tuple(
            MappedColumn(
                number,
                wire,
                own,
                kinds[number],
                bool(nullable[number >> 3] >> (number & 7) & 1),
                told.names[number] if told.names else None,
                told.unsigned.get(number),
                told.collations.get(number),
                told.labels.get(number),
                told.geometries.get(number),
                number not in told.hidden,
            )
            for number, (wire, own) in enumerate(columns)
        ),
        full=bool(told.names),
        key=None if told.key is None else tuple(told.key),
    )


def name_of(body: bytes) -> tuple[str, str]:
    """Schema and table, and nothing else. Raises ValueError."""
    data = _Bytes(body)
    data.take(8)
    return data.text(), data.text()


def _kind(wire: int, metadata: bytes) -> int:
    """ENUM and SET travel as STRING, with their own type in the metadata."""
    if wire == STRING and metadata[0] in LABELED:
        return metadata[0]
    return wire


def _optional(data: _Bytes, kinds: list[int], *, mariadb: bool) -> _Optional:
    told = _Optional()
    texts = [number for number, kind in enumerate(kinds) if kind in TEXTS or (mariadb and kind == GEOMETRY)]
    labeled = [number for number, kind in enumerate(kinds) if kind in LABELED]
    while data.left:
        kind = data.number(1)
        value = _Bytes(data.take(data.packed()))
        if kind in (_DEFAULT_CHARSET, _LABEL_DEFAULT_CHARSET):
            told.collations |= _defaulted(value, texts if kind == _DEFAULT_CHARSET else labeled)
        elif kind in (_COLUMN_CHARSET, _LABEL_CHARSET):
            told.collations |= dict(zip(texts if kind == _COLUMN_CHARSET else labeled, _all(value), strict=True))
        elif kind in (_SET_LABELS, _ENUM_LABELS):
            own = [number for number in labeled if kinds[number] == (SET if kind == _SET_LABELS else ENUM)]
            told.labels |= dict(zip(own, _labels(value), strict=True))
        else:
            _one_of(told, kind, value, kinds)
    return told


def _one_of(told: _Optional, kind: int, value: _Bytes, kinds: list[int]) -> None:
    """Others, of servers to come, say nothing that rows are read by."""
    if kind == _SIGNEDNESS:
        told.unsigned = _signedness(value, kinds)
    elif kind == _NAMES:
        while value.left:
            told.names.append(value.take(value.packed()).decode())
    elif kind == _GEOMETRY_TYPES:
        geometries = [number for number, each in enumerate(kinds) if each == GEOMETRY]
        told.geometries = {
            number: GEOMETRIES[code] if code < len(GEOMETRIES) else GEOMETRIES[0]
            for number, code in zip(geometries, _all(value), strict=True)
        }
    elif kind in (_PRIMARY_KEY, _PRIMARY_KEY_PREFIXES):
        told.key = _key(value, len(kinds), prefixes=kind == _PRIMARY_KEY_PREFIXES)
    elif kind == _VISIBILITY:
        told.hidden = {number for number, visible in enumerate(_bits(value, len(kinds))) if not visible}


def _bits(value: _Bytes, count: int) -> list[bool]:
    """One bit per column, the first one highest."""
    data = value.take((count + 7) // 8)
    return [bool(data[number >> 3] << (number & 7) & 0x80) for number in range(count)]


def _signedness(value: _Bytes, kinds: list[int]) -> dict[int, bool]:
    numbers = [number for number, kind in enumerate(kinds) if kind in NUMBERS]
    without = [number for number in numbers if kinds[number] != YEAR]
    if value.left == (len(numbers) + 7) // 8:
        begin = value.at
        unsigned = dict(zip(numbers, _bits(value, len(numbers)), strict=True))
        if all(unsigned[number] for number in numbers if kinds[number] == YEAR):
            return unsigned
        value.at = begin
    return dict(zip(without, _bits(value, len(without)), strict=True))


def _all(value: _Bytes) -> list[int]:
    found = []
    while value.left:
        found.append(value.packed())
    return found


def _defaulted(value: _Bytes, columns: list[int]) -> dict[int, int]:
    """A collation for all columns, and pairs of (place among them, collation) for the others."""
    found = dict.fromkeys(columns, value.packed())
    while value.left:
        place = value.packed()
        if place >= len(columns):
            raise ValueError(f"a collation for column {place} of {len(columns)}")
        found[columns[place]] = value.packed()
    return found


def _labels(value: _Bytes) -> Iterator[tuple[bytes, ...]]:
    while value.left:
        yield tuple(value.take(value.packed()) for _ in range(value.packed()))


def _key(value: _Bytes, count: int, *, prefixes: bool) -> list[int]:
    key = []
    while value.left:
        key.append(value.packed())
        if prefixes:
            value.packed()
    if any(number >= count for number in key):
        raise ValueError("a key's column is none of the table's")
    return key
