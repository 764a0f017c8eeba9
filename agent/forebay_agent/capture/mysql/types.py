"""Types: a column's type as the database names it, and what its values are carried as.

    tinyint … int, year                int32            unsigned int, bigint, bit(2…63)    int64
    bigint unsigned, bit(64)           decimal(20, 0)   decimal(p ≤ 38, s)                 decimal(p, s)
    float, double                      float, double    bit(1)                             bool
    date                               date32           datetime / timestamp               timestamp[us] / [us, UTC]
    char … text, enum, set, json       string           binary … blob, geometry, vector    binary
    decimal(p > 38), time (beyond 24 h, negative), uuid, inet4, inet6, types not known here: string, as the database's text

An `origin` is `COLUMN_TYPE` of information_schema, and ` character set …` after it where that is not UTF-8.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import pyarrow as pa

from forebay_agent.capture.source import Column

INTEGERS: Final = {"tinyint", "smallint", "mediumint", "int", "bigint"}
FLOATS: Final = {"float", "double"}
DATES: Final = {"date", "datetime", "timestamp"}
LABELS: Final = {"enum", "set"}
STRINGS: Final = {"char", "varchar", "tinytext", "text", "mediumtext", "longtext", "json", *LABELS}
GEOMETRIES: Final = {
    "geometry",
    "point",
    "linestring",
    "polygon",
    "multipoint",
    "multilinestring",
    "multipolygon",
    "geometrycollection",
    "geomcollection",
}
BINARIES: Final = {"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob", "vector", *GEOMETRIES}
UTF8: Final = {"utf8mb4", "utf8mb3", "utf8"}
DECIMAL_DIGITS: Final = 38

_CHARACTER_SET: Final = " character set "
_LABEL: Final = re.compile(r"'((?:[^']|'')*)'")
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES: Final = {"0": "\0", "n": "\n", "r": "\r", "Z": "\x1a"}


@dataclass(frozen=True, slots=True)
class ColumnType:
    """A column's type taken apart. charset: empty for what is not text, and for text in UTF-8."""

    base: str
    arguments: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()
    unsigned: bool = False
    charset: str = ""

    @classmethod
    def parse(cls, origin: str) -> ColumnType:
        """Reads an origin."""
        return _parse(origin)

    def carried(self) -> tuple[pa.DataType, str]:
        """What values are carried as: Arrow type, and `exact` or `text`."""
        kind = self._exact()
        return (pa.string(), "text") if kind is None else (kind, "exact")

    def _exact(self) -> pa.DataType | None:
        if self.base in INTEGERS:
            return self._integer()
        if self.base == "bit":
            bits = self.arguments[0] if self.arguments else 1
            return pa.bool_() if bits == 1 else pa.int64() if bits < 64 else pa.decimal128(20, 0)
        if self.base == "decimal":
            precision, scale = (*self.arguments, 10, 0)[:2] if len(self.arguments) != 1 else (self.arguments[0], 0)
            return pa.decimal128(precision, scale) if precision <= DECIMAL_DIGITS else None
        if self.base in STRINGS:
            return pa.string()
        if self.base in BINARIES:
            return pa.binary()
        return {
            "year": pa.int32(),
            "float": pa.float32(),
            "double": pa.float64(),
            "date": pa.date32(),
            "datetime": pa.timestamp("us"),
            "timestamp": pa.timestamp("us", "UTC"),
        }.get(self.base)

    def _integer(self) -> pa.DataType:
        if self.base == "bigint":
            return pa.decimal128(20, 0) if self.unsigned else pa.int64()
        return pa.int64() if self.base == "int" and self.unsigned else pa.int32()


@lru_cache(maxsize=4096)
def _parse(origin: str) -> ColumnType:
    head, marker, charset = origin.rpartition(_CHARACTER_SET)
    described = head if marker else origin
    base = re.split(r"[ (]", described, maxsplit=1)[0].lower()
    if base in LABELS:
        labels = tuple(_plain(label) for label in _LABEL.findall(described))
        return ColumnType(base, labels=labels, charset=charset if marker else "")
    inside = re.match(r"\w+\(([\d, ]+)\)", described)
    arguments = tuple(int(part) for part in inside[1].split(",")) if inside else ()
    unsigned = " unsigned" in described.lower()
    return ColumnType(base, arguments, unsigned=unsigned, charset=charset if marker else "")


def _plain(label: str) -> str:
    """A label as information_schema writes it, without its escapes."""
    return _ESCAPED.sub(lambda found: _ESCAPES.get(found[1], found[1]), label.replace("''", "'"))


def origin_of(column_type: str, charset: str | None) -> str:
    """What `Column.origin` says of a column with this COLUMN_TYPE and CHARACTER_SET_NAME."""
    return column_type if charset is None or charset in UTF8 else f"{column_type}{_CHARACTER_SET}{charset}"


def column_of(name: str, origin: str, *, as_text: bool) -> Column:
    """A column as it is carried."""
    kind, carried = ColumnType.parse(origin).carried()
    return Column(name, origin, pa.string(), "text") if as_text else Column(name, origin, kind, carried)
