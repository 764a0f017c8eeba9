"""Text that the server sends as it is, decoded; and the error for a value that cannot be carried, which names its row by key."""

from __future__ import annotations

import pyarrow as pa

from forebay_agent.capture import marks
from forebay_agent.capture.postgresql.charset import Undecodable, check_utf8
from forebay_agent.capture.postgresql.session import Session
from forebay_agent.capture.source import TableShape
from forebay_agent.errors import ValueUnrepresentable


class UndecodableColumn(Undecodable):
    """As Undecodable; `column` is the column's name."""

    def __init__(self, row: int, column: str) -> None:
        super().__init__(row)
        self.column = column


def decoded(session: Session, columns: list[pa.Array], schema: pa.Schema, compared: frozenset[str]) -> list[pa.Array]:
    """The columns with the schema's types. Where the session has a character set, text comes as binary (or as strings that
    nobody checked). compared: columns whose text must lead back to their bytes. Raises UndecodableColumn."""
    charset = session.charset
    if charset is None and not session.unchecked:
        return columns
    arrays = list(columns)
    for number, field in enumerate(schema):
        if not pa.types.is_string(field.type):
            continue
        try:
            if charset is None:
                check_utf8(arrays[number])
            elif pa.types.is_binary(arrays[number].type):
                arrays[number] = charset.decode_column(arrays[number], reversible=field.name in compared)
        except Undecodable as error:
            raise UndecodableColumn(error.row, field.name) from None
    return arrays


def undecodable(shape: TableShape, batch: pa.RecordBatch, row: int, column: str) -> ValueUnrepresentable:
    return ValueUnrepresentable(
        f"{shape.table}: {place(shape, batch, row)}: column {column} holds bytes that are not of its character set",
        remedy="Correct the value, or set `charset` in the source's file to what the text really is.",
    )


def unrepresentable(shape: TableShape, batch: pa.RecordBatch, row: int, number: int) -> ValueUnrepresentable:
    column = shape.columns[number]
    return ValueUnrepresentable(
        f"{shape.table}: {place(shape, batch, row)}: column {column.name} ({column.origin}) holds a value that "
        f"{column.arrow} cannot hold",
        remedy=f'Carry the column as text: add "{column.name}" to `as_text` and reset the stream, or correct the value.',
    )


def place(shape: TableShape, batch: pa.RecordBatch, row: int) -> str:
    """Names a row by its key, which is never masked."""
    try:
        values = marks.to_texts(batch, shape.key, row)
    except (KeyError, ValueError):  # the key is not among the columns, or is itself what does not fit
        values = ()
    if not values:
        return f"row {row} of a batch"
    return ", ".join(f"{name} = {value}" for name, value in zip(shape.key, values, strict=True))
