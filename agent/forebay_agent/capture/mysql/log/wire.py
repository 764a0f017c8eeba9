"""How a column travels in row events: whether a TABLE_MAP's column is the one that we know, and what becomes of its bytes.

A column that is known (from `information_schema`) is only ever read as that if the event says nothing else of it: type, length,
digits, and, where the server tells them, sign, character set and labels. What the event says in full
(`binlog_row_metadata = FULL`) makes a column of its own; three MariaDB types (uuid, inet6, inet4) look like binary there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from forebay_agent.capture.mysql import charset as declared
from forebay_agent.capture.mysql import types
from forebay_agent.capture.mysql.log import table_map as tm
from forebay_agent.capture.mysql.log.charsets import Charsets
from forebay_agent.capture.mysql.log.table_map import MappedColumn
from forebay_agent.capture.mysql.types import ColumnType
from forebay_agent.capture.source import Column
from forebay_agent.errors import TableMisconfigured
from forebay_agent.kernel import binlog_table as kernel
from forebay_agent.kernel.binlog_table import WireColumn

_INTEGERS: Final = {
    "tinyint": tm.TINY,
    "smallint": tm.SHORT,
    "mediumint": tm.INT24,
    "int": tm.LONG,
    "bigint": tm.LONGLONG,
}
_MOMENTS: Final = {
    "datetime": (tm.DATETIME2, tm.DATETIME),
    "timestamp": (tm.TIMESTAMP2, tm.TIMESTAMP),
    "time": (tm.TIME2, tm.TIME),
}
_SIZES: Final = ("tiny", "", "medium", "long")
OLD_MOMENTS: Final = {tm.TIMESTAMP, tm.DATETIME, tm.TIME}
"""MariaDB's form before 10.1 (mysql56_temporal_format = OFF): with a fraction they are longer, which the log does not tell"""
_BLOBS: Final = {f"{size}{kind}": 1 + place for kind in ("text", "blob") for place, size in enumerate(_SIZES)}
_STORED: Final = {"uuid": 16, "inet6": 16, "inet4": 4}
_AS_BINARY: Final = {16, 4}
_STORED_TARGETS: Final = {"uuid": kernel.UUID, "inet6": kernel.INET6, "inet4": kernel.INET4}
_COMPRESSED: Final = " /*M!100301 COMPRESSED*/"
_UTF8_LENGTHS: Final = (3, 4)

_TARGETS: Final[dict[pa.DataType, int]] = {
    pa.bool_(): kernel.BOOL,
    pa.int32(): kernel.INT32,
    pa.int64(): kernel.INT64,
    pa.float32(): kernel.FLOAT,
    pa.float64(): kernel.DOUBLE,
    pa.date32(): kernel.DATE,
    pa.timestamp("us"): kernel.TIMESTAMP,
    pa.timestamp("us", "UTC"): kernel.TIMESTAMP,
}


@dataclass(frozen=True, slots=True)
class PlannedColumn:
    """column: what is carried. wire: what the kernel does. raw: the type of what the kernel gives. rest: what is done to that,
    None: nothing."""

    column: Column
    wire: WireColumn
    raw: pa.DataType
    encoding: str = ""  # `utf-8`: to be checked; else the name of a character set, a codec, or a form
    form: str = ""  # charset, codec, float, json, hex or nothing
    compressed: bool = False


def fits(origin: str, mapped: MappedColumn, charsets: Charsets) -> bool:
    """Whether an event's column can be the one with this origin."""
    kind = ColumnType.parse(origin)
    base = kind.base
    if base in _INTEGERS:
        return mapped.kind == _INTEGERS[base] and mapped.unsigned in (None, kind.unsigned)
    if base in _MOMENTS:
        now, before = _MOMENTS[base]
        digits = kind.arguments[0] if kind.arguments else 0
        return (mapped.kind == now and mapped.metadata[0] == digits) or (mapped.kind == before and not digits)
    if base in types.LABELS:
        return _fits_labels(kind, mapped, charsets)
    if base in _BLOBS:
        size = mapped.kind in (tm.BLOB, tm.BLOB_COMPRESSED) and mapped.metadata[0] == _BLOBS[base]
        return size and _fits_charset(kind, mapped, charsets)
    if base in ("char", "varchar", "binary", "varbinary"):
        return _fits_length(kind, mapped, charsets) and _fits_charset(kind, mapped, charsets)
    return _fits_other(kind, mapped)


def _fits_other(kind: ColumnType, mapped: MappedColumn) -> bool:
    base = kind.base
    if base == "decimal":
        digits = (*kind.arguments, 10, 0)[:2] if len(kind.arguments) != 1 else (kind.arguments[0], 0)
        return mapped.kind == tm.DECIMAL and mapped.metadata == bytes(digits)
    if base == "bit":
        bits = kind.arguments[0] if kind.arguments else 1
        return mapped.kind == tm.BIT and mapped.metadata == bytes((bits % 8, bits // 8))
    if base in _STORED:
        return mapped.kind == tm.STRING and mapped.length == _STORED[base]
    if base in types.GEOMETRIES:
        return mapped.kind == tm.GEOMETRY
    if base == "vector":
        return mapped.kind == tm.VECTOR
    return mapped.kind in {
        "float": (tm.FLOAT,),
        "double": (tm.DOUBLE,),
        "year": (tm.YEAR,),
        "date": (tm.DATE, tm.NEWDATE),
        "json": (tm.JSON,),
    }.get(base, ())


def _fits_labels(kind: ColumnType, mapped: MappedColumn, charsets: Charsets) -> bool:
    if mapped.kind != (tm.ENUM if kind.base == "enum" else tm.SET):
        return False
    if mapped.labels is None:
        size = (1 if len(kind.labels) < 256 else 2) if kind.base == "enum" else _set_bytes(len(kind.labels))
        return mapped.length == size
    return _fits_charset(kind, mapped, charsets) and kind.labels == _labels(mapped, charsets)


def _set_bytes(members: int) -> int:
    size = (members + 7) // 8
    return 8 if size > 4 else size


def _labels(mapped: MappedColumn, charsets: Charsets) -> tuple[str, ...]:
    named = charsets.named(charsets.name_of(mapped.collation) if mapped.collation else "")
    try:
        return tuple(named.text(label) for label in mapped.labels or ())
    except UnicodeError:
        return ()


def _fits_length(kind: ColumnType, mapped: MappedColumn, charsets: Charsets) -> bool:
    short = kind.base in ("char", "binary")
    if mapped.kind != tm.STRING if short else mapped.kind not in (tm.VARCHAR, tm.VARCHAR_COMPRESSED):
        return False
    characters = kind.arguments[0] if kind.arguments else 1
    length = mapped.length - (mapped.kind == tm.VARCHAR_COMPRESSED)
    if kind.base in ("binary", "varbinary"):
        return length == characters
    lengths = (charsets.longest(kind.charset),) if kind.charset else _UTF8_LENGTHS
    return length in {characters * each for each in lengths}


def _fits_charset(kind: ColumnType, mapped: MappedColumn, charsets: Charsets) -> bool:
    if mapped.collation is None:
        return True
    name = charsets.name_of(mapped.collation)
    if kind.base in types.BINARIES:
        return name == "binary"
    return name == kind.charset if kind.charset else name in types.UTF8


def is_ambiguous(mapped: MappedColumn) -> bool:
    """Whether the event's column may be a uuid or an address as well as a binary, or a moment of unknown length."""
    if mapped.kind in OLD_MOMENTS:
        return True
    return mapped.kind == tm.STRING and mapped.length in _AS_BINARY and mapped.collation in (None, tm.BINARY)


def origin_of(mapped: MappedColumn, charsets: Charsets) -> str | None:
    """The origin that a fully described column has; None when it is none that is known here."""
    unsigned = " unsigned" if mapped.unsigned else ""
    for base, code in _INTEGERS.items():
        if mapped.kind == code:
            return base + unsigned
    for base, (now, before) in _MOMENTS.items():
        if mapped.kind in (now, before):
            digits = mapped.metadata[0] if mapped.kind == now else 0
            return f"{base}({digits})" if digits else base
    if mapped.kind == tm.DECIMAL:
        return f"decimal({mapped.metadata[0]},{mapped.metadata[1]}){unsigned}"
    if mapped.kind == tm.BIT:
        return f"bit({mapped.metadata[1] * 8 + mapped.metadata[0]})"
    if mapped.kind == tm.GEOMETRY:
        return mapped.geometry or "geometry"
    if mapped.kind in tm.TEXTS or mapped.kind in tm.LABELED:
        return _origin_of_text(mapped, charsets)
    return {
        tm.FLOAT: f"float{unsigned}",
        tm.DOUBLE: f"double{unsigned}",
        tm.YEAR: "year(4)",
        tm.DATE: "date",
        tm.NEWDATE: "date",
        tm.JSON: "json",
    }.get(mapped.kind)


def _origin_of_text(mapped: MappedColumn, charsets: Charsets) -> str | None:
    if mapped.collation is None:
        return None
    name = charsets.name_of(mapped.collation)
    binary = name == "binary"
    if mapped.kind in tm.LABELED:
        quoted = ",".join("'" + label.replace("'", "''") + "'" for label in _escaped(_labels(mapped, charsets)))
        text = f"{'enum' if mapped.kind == tm.ENUM else 'set'}({quoted})"
    elif mapped.kind in (tm.BLOB, tm.BLOB_COMPRESSED):
        if not 1 <= mapped.metadata[0] <= len(_SIZES):
            return None
        text = _SIZES[mapped.metadata[0] - 1] + ("blob" if binary else "text")
    else:
        length = mapped.length - (mapped.kind == tm.VARCHAR_COMPRESSED)
        text = "binary" if binary else "char"
        text = (text if mapped.kind == tm.STRING else f"var{text}") + f"({length // charsets.longest(name)})"
    if mapped.kind in (tm.BLOB_COMPRESSED, tm.VARCHAR_COMPRESSED):
        text += _COMPRESSED
    return types.origin_of(text, None if binary else name)


def _escaped(labels: tuple[str, ...]) -> tuple[str, ...]:
    """As information_schema writes labels, for `ColumnType.parse` to read."""
    return tuple(label.replace("\\", "\\\\").replace("\0", "\\0").replace("\n", "\\n") for label in labels)


def planned(column: Column, mapped: MappedColumn, *, key: bool, charsets: Charsets, codec: str) -> PlannedColumn:
    """What becomes of a column's bytes. Raises TableMisconfigured when the log does not hold it in a form that is known."""
    kind = ColumnType.parse(column.origin)
    text = pa.types.is_string(column.arrow)
    wire = WireColumn(mapped.wire, mapped.metadata, kernel.TEXT, unsigned=kind.unsigned, key=key)
    if kind.base in types.LABELS:
        labels = _label_bytes(kind, mapped, charsets, codec)
        return PlannedColumn(column, wire._replace(labels=labels), pa.string())
    if kind.base in {*types.STRINGS, *types.BINARIES}:
        return _planned_bytes(column, kind, mapped, wire, charsets, codec)
    if kind.base in _STORED_TARGETS:
        return PlannedColumn(column, wire._replace(target=_STORED_TARGETS[kind.base]), pa.string())
    if kind.base in types.FLOATS and text:
        return PlannedColumn(column, wire._replace(target=kernel.DOUBLE), pa.float64(), form="float")
    if text:
        if kind.base not in {*types.INTEGERS, *types.DATES, "decimal", "year", "bit", "time"}:
            raise _unknown(column, "in a form that is not known here", f'exclude = ["{column.name}"]')
        return PlannedColumn(column, wire._replace(zerofill=_zeros(column.origin, kind)), pa.string())
    if pa.types.is_decimal(column.arrow):
        wire = wire._replace(target=kernel.DECIMAL, precision=column.arrow.precision, scale=column.arrow.scale)
    else:
        wire = wire._replace(target=_TARGETS[column.arrow])
    return PlannedColumn(column, wire, column.arrow)


def refuse_untold(name: str, origin: str, mapped: MappedColumn) -> None:
    """Raises TableMisconfigured for a moment whose length the log does not tell."""
    arguments = ColumnType.parse(origin).arguments
    if mapped.kind in OLD_MOMENTS and arguments and arguments[0]:
        column = Column(name, origin, pa.string())
        raise _unknown(column, "in a form of before MariaDB 10.1 whose length it does not tell", "ALTER TABLE … FORCE")


def skipped(mapped: MappedColumn, *, key: bool) -> WireColumn:
    """A column that is not captured."""
    return WireColumn(mapped.wire, mapped.metadata, kernel.SKIPPED, key=key)


def _planned_bytes(
    column: Column, kind: ColumnType, mapped: MappedColumn, wire: WireColumn, charsets: Charsets, codec: str
) -> PlannedColumn:
    wire = wire._replace(target=kernel.BYTES, padded=kind.base == "binary")
    compressed = mapped.kind in (tm.BLOB_COMPRESSED, tm.VARCHAR_COMPRESSED)
    if kind.base in types.BINARIES:
        if pa.types.is_string(column.arrow):
            if compressed:
                return PlannedColumn(column, wire, pa.binary(), form="hex", compressed=True)
            return PlannedColumn(column, wire._replace(target=kernel.HEX), pa.string())
        return PlannedColumn(column, wire, pa.binary(), compressed=compressed)
    if mapped.kind == tm.JSON:
        return PlannedColumn(column, wire, pa.binary(), form="json")
    if declared.overrides(codec, kind):
        return PlannedColumn(column, wire, pa.binary(), codec, "codec", compressed)
    charsets.named(kind.charset)  # asks the server now, not in the middle of a piece
    return PlannedColumn(column, wire, pa.binary(), kind.charset, "charset", compressed)


def _label_bytes(kind: ColumnType, mapped: MappedColumn, charsets: Charsets, codec: str) -> tuple[bytes, ...]:
    """Labels in UTF-8; where the declared character set lies, decoded as `codec` from the bytes that are stored."""
    if not declared.overrides(codec, kind):
        return tuple(label.encode() for label in kind.labels)
    named = charsets.named(kind.charset)
    raw = mapped.labels or tuple(named.encode(label) for label in kind.labels)
    decoded = declared.decode(pa.array(raw, pa.binary()), codec, reversible=False)
    return tuple(label.encode() for label in decoded.to_pylist())


def _zeros(origin: str, kind: ColumnType) -> int:
    """To how many characters a ZEROFILL column's text is filled."""
    if "zerofill" not in origin.lower() or not kind.arguments:
        return 0
    scale = kind.arguments[1] if len(kind.arguments) > 1 else 0
    return kind.arguments[0] + (1 if kind.base == "decimal" and scale else 0)


def _unknown(column: Column, how: str, remedy: str) -> TableMisconfigured:
    return TableMisconfigured(
        f"the log holds column {column.name} ({column.origin}) {how}",
        key="columns",
        remedy=f"`{remedy}`, or capture the table in mode trigger.",
    )
