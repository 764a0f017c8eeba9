"""The SQL of reading: identifiers, literals, and the SELECT of a range."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from forebay_agent.capture.overlap import lowered
from forebay_agent.capture.postgresql import carrying
from forebay_agent.capture.postgresql.carrying import cast_needed, literal_type
from forebay_agent.capture.source import Column, RowRange, TableName, TableShape

_INTEGER_BOUNDS: Final = {pa.int32(): (-(2**31), 2**31 - 1), pa.int64(): (-(2**63), 2**63 - 1)}


def identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def qualified(table: TableName) -> str:
    return ".".join(identifier(part) for part in (table.schema, table.name) if part)


def quoted(text: str) -> str:
    """A string literal; sessions have `standard_conforming_strings` on. Raises ValueError for a NUL character."""
    if "\0" in text:
        raise ValueError("PostgreSQL text holds no NUL character")
    return "'" + text.replace("'", "''") + "'"


def literal(column: Column, text: str) -> str:
    """A value of the column, given as text (`marks`), with a cast to the column's type."""
    if pa.types.is_binary(column.arrow):
        text = "\\x" + text
    elif pa.types.is_timestamp(column.arrow) and column.arrow.tz:
        text += "+00"
    elif column.arrow in _INTEGER_BOUNDS:
        lowest, highest = _INTEGER_BOUNDS[column.arrow]
        text = str(min(max(int(text), lowest), highest))
    return f"{quoted(text)}::{literal_type(column.origin)}"


def expression(column: Column) -> str:
    """The column in a SELECT list, as it is carried."""
    if carrying.bare(column.origin) == "xml":
        # a cast keeps the XML declaration, which what clients are shown, and what the log tells, leaves out
        return f"CASE WHEN {identifier(column.name)} IS NOT NULL THEN format('%s', {identifier(column.name)}) END"
    return identifier(column.name) + ("::text" if cast_needed(column) else "")


def select(shape: TableShape, rows: RowRange) -> str:
    """The SELECT of a range. Columns are qualified wherever the output column of the same name could be meant instead."""
    columns = ", ".join(expression(column) for column in shape.columns)
    statement = f"SELECT {columns} FROM {qualified(shape.table)} AS t"
    conditions = _conditions(shape, rows)
    if conditions:
        statement += " WHERE " + " AND ".join(conditions)
    if rows.order:
        statement += " ORDER BY " + ", ".join(f"t.{identifier(name)}" for name in rows.order)
    if rows.limit:
        statement += f" LIMIT {rows.limit:d}"
    return statement


def select_highest(shape: TableShape, column: str) -> str:
    """The greatest value of a column, as one row, which an index gives at once; no row where all are NULL."""
    name = f"t.{identifier(column)}"
    value = expression(shape.column(column))
    return f"SELECT {value} FROM {qualified(shape.table)} AS t WHERE {name} IS NOT NULL ORDER BY {name} DESC LIMIT 1"


def copy(select_statement: str) -> str:
    return f"COPY ({select_statement}) TO STDOUT (FORMAT BINARY)"


def _conditions(shape: TableShape, rows: RowRange) -> list[str]:
    """The row comparison is one condition on an index over the same columns."""
    conditions = []
    if rows.after is not None:
        names = rows.order[: len(rows.after)]
        left = ", ".join(f"t.{identifier(name)}" for name in names)
        right = ", ".join(literal(shape.column(name), text) for name, text in zip(names, rows.after, strict=True))
        conditions.append(f"({left}) > ({right})" if len(names) > 1 else f"{left} > {right}")
    if rows.among:
        conditions.append(_among(shape, rows))
    if rows.at_least is None and rows.through is None:
        return conditions
    first = shape.column(rows.order[0])
    name = f"t.{identifier(first.name)}"
    if rows.at_least is not None:
        conditions.append(f"{name} >= {literal(first, lowered(rows.at_least, first.arrow, rows.overlap))}")
    if rows.through is not None:
        conditions.append(f"{name} <= {literal(first, rows.through)}")
    return conditions


def _among(shape: TableShape, rows: RowRange) -> str:
    """`(a, b) IN ((x, y), …)`"""
    columns = [shape.column(name) for name in rows.order]
    left = ", ".join(f"t.{identifier(column.name)}" for column in columns)
    keys = (", ".join(literal(column, text) for column, text in zip(columns, key, strict=True)) for key in rows.among)
    return f"({left}) IN ({', '.join(f'({key})' for key in keys)})"
