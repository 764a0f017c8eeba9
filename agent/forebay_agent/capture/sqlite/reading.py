"""Reads a range of rows in short statements.

An open SELECT holds a read lock: in rollback-journal mode no writer can commit meanwhile, in WAL mode the log cannot be
cut. So where an index gives the order, each batch is a statement of its own that goes on after the last row, and nothing
is held while the reader is busy elsewhere. Where SQLite must sort (or there is no order) one statement stays open.

Rows come in groups of at most `GROUP_ROWS`, fewer where rows are wide, which bounds what is held as Python objects, and
are handed on as batches of about `BATCH_BYTES`.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Final

import pyarrow as pa

from forebay_agent.capture import marks
from forebay_agent.capture.source import RowRange, TableShape
from forebay_agent.capture.sqlite.layout import Layout
from forebay_agent.capture.sqlite.session import Session
from forebay_agent.capture.sqlite.statements import Statement, select
from forebay_agent.capture.sqlite.values import Transposer
from forebay_agent.errors import KeyMissing, SourceError

GROUP_ROWS: Final = 512
GROUP_BYTES: Final = 1 << 20
_FIRST_GROUP_ROWS: Final = 16
BATCH_BYTES: Final = 8 << 20
BATCH_ROWS: Final = 16_384
_SORTS: Final = "USE TEMP B-TREE FOR ORDER BY"


class Reading:
    """One range of one table. encoding: what the bytes of text are."""

    def __init__(self, session: Session, shape: TableShape, layout: Layout, rows: RowRange, encoding: str) -> None:
        self._session = session
        self._shape = shape
        self._layout = layout
        self._rows = rows
        self._encoding = encoding
        self._transposer = Transposer(shape, layout, encoding, rows.order)
        self._group_rows = _FIRST_GROUP_ROWS

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Raises ValueUnrepresentable, KeyMissing (NULL in an order column), StatementTimeout, SourceError."""
        rows = self._rows
        if not self._resumes():
            with contextlib.closing(self.answer(select(self._shape, self._layout, rows))) as groups:
                while (batch := _gathered(groups)) is not None:
                    yield batch
            return
        left = rows.limit
        while True:
            limit = min(BATCH_ROWS, left) if left else BATCH_ROWS
            statement = select(self._shape, self._layout, replace(rows, limit=limit))
            with contextlib.closing(self.answer(statement)) as groups:
                batch = _gathered(groups)
            if batch is None:
                return
            yield batch
            left -= batch.num_rows
            if batch.num_rows == self._rows.limit or left == 0:
                return
            if batch.num_rows < limit and batch.nbytes < BATCH_BYTES:
                return
            try:
                rows = replace(rows, after=marks.to_texts(batch, rows.order, -1))
            except ValueError as error:
                raise KeyMissing(f"{self._shape.table}: {error}") from None

    def _resumes(self) -> bool:
        """Can a statement go on after the last row of another, without sorting the table again for it?"""
        rows = self._rows
        if not rows.order:
            return False
        is_bounded = rows.after is not None or rows.at_least is not None or rows.through is not None
        for place, name in enumerate(rows.order):
            if name not in self._layout.never_null and not (place == 0 and is_bounded):
                return False
        statement = select(self._shape, self._layout, rows)
        plan = self._session.rows("plan", f"EXPLAIN QUERY PLAN {statement.sql}", statement.parameters)
        return not any(step[3].startswith(_SORTS) for step in plan)

    def answer(self, statement: Statement) -> Generator[pa.RecordBatch, None, None]:
        doing = f"read {self._shape.table}"
        with self._session.classified(doing):
            cursor = self._session.connection.execute(statement.sql, statement.parameters)
        given = 0
        try:
            while True:
                try:
                    with self._session.classified(doing):
                        rows = cursor.fetchmany(self._group_rows)
                except (sqlite3.Error, UnicodeDecodeError) as error:
                    self._find_undecodable(statement, given)
                    raise SourceError(f"{self._session.path}: {doing}: {error.__class__.__name__}") from None
                if not rows:
                    return
                given += len(rows)
                group = self._transposer.batch(rows)
                fitting = GROUP_BYTES * len(rows) // max(group.nbytes, 1)
                self._group_rows = max(1, min(GROUP_ROWS, 4 * self._group_rows, fitting))
                yield group
        finally:
            cursor.close()

    def _find_undecodable(self, statement: Statement, given: int) -> None:
        """Runs the statement again with text as bytes. Raises ValueUnrepresentable for the first that is not text."""
        connection = self._session.connection
        factory, connection.text_factory = connection.text_factory, bytes
        cursor = connection.cursor()
        try:
            with self._session.classified(f"read {self._shape.table}"):
                cursor.execute(statement.sql, statement.parameters)
                for number, row in enumerate(cursor):
                    if number < given:
                        continue
                    for column, value in zip(self._shape.columns, row, strict=True):
                        if not pa.types.is_string(column.arrow) or not isinstance(value, bytes):
                            continue
                        try:
                            value.decode(self._encoding)
                        except UnicodeDecodeError:
                            what = f"text that is not valid {self._encoding}"
                            raise self._transposer.unrepresentable(row, column.name, what) from None
        finally:
            cursor.close()
            connection.text_factory = factory


def _gathered(groups: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
    """The next groups as one batch of about `BATCH_BYTES`; None at the end."""
    taken: list[pa.RecordBatch] = []
    count = size = 0
    for group in groups:
        taken.append(group)
        count, size = count + group.num_rows, size + group.nbytes
        if size >= BATCH_BYTES or count >= BATCH_ROWS:
            break
    return pa.concat_batches(taken) if taken else None
