"""Composes the SELECT of a range of rows, with parameters to run it or with literals to show it.

Text in columns of NUMERIC affinity compares as SQLite stores it: what reads as a number is bound as a number.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from forebay_agent.capture.overlap import lowered
from forebay_agent.capture.source import Column, RowRange, TableShape
from forebay_agent.capture.sqlite.layout import Affinity, Layout, quoted

Value = int | float | str | bytes
Bind = Callable[[Value], str]

_SHOWN_BYTES: Final = "'x''' || lower(hex({})) || ''''"
_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}")
_REAL: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
_COLLATIONS: Final = frozenset({"BINARY", "NOCASE", "RTRIM"})


@dataclass(frozen=True, slots=True)
class Statement:
    sql: str
    parameters: tuple[Value, ...]


def select(shape: TableShape, layout: Layout, rows: RowRange) -> Statement:
    parameters: list[Value] = []

    def bind(value: Value) -> str:
        parameters.append(value)
        return "?"

    return Statement(_compose(shape, layout, rows, bind), tuple(parameters))


def shown(shape: TableShape, layout: Layout, rows: RowRange) -> str:
    return _compose(shape, layout, rows, literal)


def highest(shape: TableShape, layout: Layout, column: str) -> str:
    """The greatest value of a column, carried as the column is."""
    return (
        f"SELECT {_expression(shape.column(column), layout)} FROM {_table(shape)} WHERE {quoted(column)} IS NOT NULL "
        f"ORDER BY {_ordered(shape.column(column), layout)} DESC LIMIT 1"
    )


def literal(value: Value) -> str:
    if isinstance(value, bytes):
        return f"x'{value.hex()}'"
    if isinstance(value, str):
        if "\0" in value:
            return f"CAST(x'{value.encode().hex()}' AS TEXT)"
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return "9e999" if value > 0 else "-9e999"
    return repr(value)


def bound(text: str, affinity: Affinity) -> Value:
    """The value that `marks.to_texts` wrote as `text`. Raises ValueError when the text is no such value."""
    if affinity is Affinity.INTEGER:
        return int(text)
    if affinity is Affinity.REAL:
        return float(text)
    if affinity is Affinity.NUMERIC:
        if _INTEGER.fullmatch(text) and -(1 << 63) <= int(text) < 1 << 63:
            return int(text)
        if _REAL.fullmatch(text):
            return float(text)
    return bytes.fromhex(text) if affinity is Affinity.BLOB else text


def takes_every_class(column: Column, layout: Layout) -> bool:
    """Is this column carried as text because `as_text` asks for it?"""
    return column.carried == "text" and layout.affinities[column.name] not in (Affinity.NUMERIC, Affinity.NONE)


def ordered_as_text(column: Column, layout: Layout) -> bool:
    """Is the column ordered by the text that it is carried as, since its values may be of every class?"""
    return takes_every_class(column, layout) or layout.affinities[column.name] is Affinity.NONE


def _compose(shape: TableShape, layout: Layout, rows: RowRange, bind: Bind) -> str:
    columns = ", ".join(_expression(column, layout) for column in shape.columns)
    sql = [f"SELECT {columns} FROM {_table(shape)}"]
    conditions = _conditions(shape, layout, rows, bind)
    if conditions:
        sql.append("WHERE " + " AND ".join(conditions))
    if rows.order:
        sql.append("ORDER BY " + ", ".join(_ordered(shape.column(name), layout) for name in rows.order))
    if rows.limit:
        sql.append(f"LIMIT {int(rows.limit)}")
    return " ".join(sql)


def _conditions(shape: TableShape, layout: Layout, rows: RowRange, bind: Bind) -> list[str]:
    conditions = []
    first = rows.order[0] if rows.order else ""

    def value(name: str, text: str) -> str:
        column = shape.column(name)
        return bind(text if ordered_as_text(column, layout) else bound(text, layout.affinities[name]))

    def ordered(name: str) -> str:
        return _ordered(shape.column(name), layout)

    if rows.at_least is not None:
        low = lowered(rows.at_least, shape.column(first).arrow, rows.overlap)
        conditions.append(f"{ordered(first)} >= {value(first, low)}")
    if rows.through is not None:
        conditions.append(f"{ordered(first)} <= {value(first, rows.through)}")
    if rows.after is not None:
        if len(rows.order) > 1:  # what an index can use even where it cannot use the row value
            conditions.append(f"{ordered(first)} >= {value(first, rows.after[0])}")
        left = ", ".join(ordered(name) for name in rows.order)
        right = ", ".join(value(name, text) for name, text in zip(rows.order, rows.after, strict=True))
        conditions.append(f"({left}) > ({right})")
    if len(rows.order) == 1 and rows.among:
        conditions.append(f"{ordered(first)} IN ({', '.join(value(first, key[0]) for key in rows.among)})")
    elif rows.among:
        alternatives = (
            " AND ".join(f"{ordered(name)} = {value(name, text)}" for name, text in zip(rows.order, key, strict=True))
            for key in rows.among
        )
        conditions.append(f"({' OR '.join(alternatives)})")
    return conditions


def _table(shape: TableShape) -> str:
    return f"main.{quoted(shape.table.name)}"


def _expression(column: Column, layout: Layout) -> str:
    name = quoted(column.name)
    if not takes_every_class(column, layout):
        return name
    # text as its bytes, so that it need not be valid; bytes as text that shows them
    return (
        f"CASE typeof({name}) WHEN 'text' THEN CAST({name} AS BLOB) "
        f"WHEN 'blob' THEN {_SHOWN_BYTES.format(name)} ELSE {name} END"
    )


def _ordered(column: Column, layout: Layout) -> str:
    """The column as it is ordered and compared: total, and the same in every statement."""
    name = quoted(column.name)
    if ordered_as_text(column, layout):
        return f"CASE typeof({name}) WHEN 'blob' THEN {_SHOWN_BYTES.format(name)} ELSE CAST({name} AS TEXT) END COLLATE BINARY"
    if layout.affinities[column.name] not in (Affinity.TEXT, Affinity.NUMERIC) or not layout.collates:
        return name
    collation = layout.collations.get(column.name, "BINARY").upper()
    return f"{name} COLLATE {collation if collation in _COLLATIONS else 'BINARY'}"
