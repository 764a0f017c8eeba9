"""SQL: identifiers, select lists, literals and ranges.

A key or cursor value is compared as its column is sorted: text under the column's own collation, enum and set by number,
bytes as bytes. All literals read the same whatever the sql_mode and wherever the statement is shown and tried again.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from forebay_agent.capture.mysql import charset, types
from forebay_agent.capture.mysql.types import ColumnType
from forebay_agent.capture.overlap import lowered
from forebay_agent.capture.source import Column, RowRange, TableName, TableShape, Values
from forebay_agent.errors import ValueUnrepresentable

_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?([eE][-+]?\d+)?")
_MOMENT: Final = re.compile(r"[-0-9:. ]+")
_NUMERIC: Final = {*types.INTEGERS, *types.FLOATS, "decimal", "year", "bit"}
# character sets that the server turns into UTF-8 without loss
_LOSSLESS: Final = {"", "latin1", "ucs2", "utf16", "utf16le", "utf32"}
_UNDECODABLE: Final = "X'FF'"


def name(identifier: str) -> str:
    """A quoted identifier."""
    return f"`{identifier.replace('`', '``')}`"


def qualified(table: TableName) -> str:
    return ".".join(name(part) for part in (table.schema, table.name) if part)


def text(value: str) -> str:
    """A text literal. Backslashes and control characters mean different things in different modes: those go as bytes."""
    if "\\" in value or any(ord(character) < 32 for character in value):
        return f"_utf8mb4 X'{value.encode().hex()}'"
    return f"'{value.replace(chr(39), chr(39) * 2)}'"


def selected(column: Column, codec: str) -> str:
    """The expression that gives a column's exact value in the text protocol."""
    kind = ColumnType.parse(column.origin)
    quoted = name(column.name)
    if kind.base == "float" or (kind.base == "double" and kind.arguments):
        return f"{quoted} * 1e0"  # as it is, a float is shown with 6 digits
    if kind.base == "bit":
        return f"CAST({quoted} AS UNSIGNED)"
    if kind.base in types.BINARIES and pa.types.is_string(column.arrow):
        return f"LOWER(HEX({quoted}))"
    if kind.base in types.STRINGS:
        if charset.overrides(codec, kind):
            return f"CAST({quoted} AS BINARY)"
        if kind.charset not in _LOSSLESS:
            return _lossless(quoted, kind.charset)
    return quoted


def _lossless(quoted: str, declared: str) -> str:
    """Text that the server can only partly turn into Unicode (it writes `?`): such values become a byte that no UTF-8 has."""
    unicode = f"CONVERT({quoted} USING utf8mb4)"
    back = f"CONVERT({unicode} USING {declared})"
    return f"IF(CAST({back} AS BINARY) <=> CAST({quoted} AS BINARY), CAST({unicode} AS BINARY), {_UNDECODABLE})"


def lossy(column: Column, codec: str) -> str | None:
    """A condition that finds values which `selected` cannot give; None where there are none to be found."""
    kind = ColumnType.parse(column.origin)
    if kind.base not in types.STRINGS or charset.overrides(codec, kind) or kind.charset in _LOSSLESS:
        return None
    return f"{_lossless(name(column.name), kind.charset)} = {_UNDECODABLE}"


def literal(column: Column, value: str, codec: str) -> str:
    """A value of `marks.to_texts` as the column's own literal. Raises ValueUnrepresentable when it is none of the column's."""
    kind = ColumnType.parse(column.origin)
    if kind.base in _NUMERIC:
        if _NUMBER.fullmatch(value):
            return value if kind.base not in types.FLOATS or "e" in value.lower() else f"{value}e0"
    elif kind.base in {*types.DATES, "time"}:
        if _MOMENT.fullmatch(value):
            return f"'{value}'"
    elif kind.base in types.LABELS:
        return str(_label_number(kind, value))
    elif kind.base in types.BINARIES:
        if re.fullmatch(r"(?:[0-9a-f]{2})*", value):
            return f"X'{value}'"
    elif charset.overrides(codec, kind):
        return f"_{kind.charset} X'{charset.encode(value, codec).hex()}'"
    else:
        return text(value)
    raise ValueUnrepresentable(f"column {column.name} ({column.origin}): a key or cursor value is none of this type")


def _label_number(kind: ColumnType, value: str) -> int:
    """Enum labels count from 1, the empty error value is 0; a set is the sum of its members' bits."""
    if kind.base == "enum":
        return kind.labels.index(value) + 1 if value in kind.labels else 0
    return sum(1 << kind.labels.index(member) for member in value.split(",") if member in kind.labels)


def query(shape: TableShape, rows: RowRange, codec: str) -> str:
    """The statement that reads a range."""
    select_list = ", ".join(selected(column, codec) for column in shape.columns)
    statement = f"SELECT {select_list} FROM {qualified(shape.table)}"
    conditions = list(_conditions(shape, rows, codec))
    if conditions:
        statement += f" WHERE {' AND '.join(conditions)}"
    if rows.order:
        statement += f" ORDER BY {', '.join(name(part) for part in rows.order)}"
    return f"{statement} LIMIT {rows.limit}" if rows.limit else statement


def _conditions(shape: TableShape, rows: RowRange, codec: str) -> list[str]:
    columns = [shape.column(part) for part in rows.order]
    conditions = []
    if rows.at_least is not None:
        low = _lowered(columns[0], rows)
        conditions.append(f"{name(columns[0].name)} >= {literal(columns[0], low, codec)}")
    if rows.through is not None:
        conditions.append(f"{name(columns[0].name)} <= {literal(columns[0], rows.through, codec)}")
    if rows.after is not None:
        values = [literal(column, value, codec) for column, value in zip(columns, rows.after, strict=True)]
        if len(values) > 1:
            # says nothing new, but gives the optimizer the index range
            conditions.append(f"{name(columns[0].name)} >= {values[0]}")
        conditions.append(_greater([name(column.name) for column in columns], values))
    if rows.among:
        conditions.append(_among(columns, rows.among, codec))
    return conditions


def _among(columns: Sequence[Column], keys: Sequence[Values], codec: str) -> str:
    """`a IN (x, …)`, or `((a = x AND b = y) OR …)`: both are looked up by an index."""
    if len(columns) == 1:
        return f"{name(columns[0].name)} IN ({', '.join(literal(columns[0], key[0], codec) for key in keys)})"
    alternatives = (
        " AND ".join(
            f"{name(column.name)} = {literal(column, value, codec)}" for column, value in zip(columns, key, strict=True)
        )
        for key in keys
    )
    return f"({' OR '.join(f'({each})' for each in alternatives)})"


def _greater(names: Sequence[str], values: Sequence[str]) -> str:
    """`(a > x OR (a = x AND (b > y OR …)))`"""
    if len(names) == 1:
        return f"{names[0]} > {values[0]}"
    return f"({names[0]} > {values[0]} OR ({names[0]} = {values[0]} AND {_greater(names[1:], values[1:])}))"


def _lowered(column: Column, rows: RowRange) -> str:
    value = rows.at_least or ""
    try:
        return lowered(value, column.arrow, rows.overlap)
    except ValueError:  # a zero date, carried as text: nothing is lower
        return value
