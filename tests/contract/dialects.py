"""How each dialect writes the tables that the contract suite asks all of them for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from forebay_agent.capture import marks
from forebay_agent.capture.source import RowRange, Source, TableShape


@dataclass(frozen=True, slots=True)
class Dialect:
    """Types, an identifier's quotes, a binary literal's form, and a source of the numbers 1 to n."""

    integer: str
    text: str
    decimal: str
    timestamp: str
    date: str
    binary: str
    quote: str
    hexadecimal: str
    numbers: str
    ends_table: str = ""

    def quoted(self, name: str) -> str:
        return self.quote + name.replace(self.quote, self.quote * 2) + self.quote


DIALECTS: Final = {
    "sqlite": Dialect(
        integer="INTEGER",
        text="TEXT",
        decimal="DECIMAL(18,4)",
        timestamp="DATETIME",
        date="DATE",
        binary="BLOB",
        quote='"',
        hexadecimal="x'{}'",
        numbers="(WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {}) SELECT n FROM s) s",
    ),
    "mysql": Dialect(
        integer="BIGINT",
        text="VARCHAR(100) COLLATE utf8mb4_bin",
        decimal="DECIMAL(18,4)",
        timestamp="DATETIME(6)",
        date="DATE",
        binary="VARBINARY(32)",
        quote="`",
        hexadecimal="x'{}'",
        numbers="(SELECT seq AS n FROM seq_1_to_{}) s",
        ends_table=" ENGINE=InnoDB",
    ),
    "postgresql": Dialect(
        integer="BIGINT",
        text="TEXT",
        decimal="NUMERIC(18,4)",
        timestamp="TIMESTAMP(6)",
        date="DATE",
        binary="BYTEA",
        quote='"',
        hexadecimal="'\\x{}'::bytea",
        numbers="generate_series(1, {}) AS s(n)",
    ),
}


def rows_of(source: Source, shape: TableShape, rows: RowRange) -> list[tuple[object, ...]]:
    """Every row of a range as Python values."""
    return [
        tuple(row.values())
        for batch in source.read(shape, rows)
        for row in batch.select(shape_names(shape)).to_pylist()
    ]


def shape_names(shape: TableShape) -> list[str]:
    return [column.name for column in shape.columns]


def pages(source: Source, shape: TableShape, order: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
    """Reads page by page, each after the last row of the one before, as a resumed snapshot does."""
    after = None
    while True:
        batches = [
            batch for batch in source.read(shape, RowRange(tuple(order), after=after, limit=size)) if batch.num_rows
        ]
        if not batches:
            return
        page = pa.concat_batches(batches)
        assert page.num_rows <= size
        yield page
        after = marks.to_texts(page, order, -1)


def select_in(query: str) -> str:
    """What a shown query selects: the SELECT itself, or the one that a COPY … TO STDOUT sends."""
    return re.sub(r"\ACOPY \((.*)\) TO STDOUT.*\Z", r"\1", query, flags=re.DOTALL)
