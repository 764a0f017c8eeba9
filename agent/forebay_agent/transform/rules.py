"""A rule: what happens to one column between the database and the sealed batch.

Rules are pure, see whole columns, and say before any row is read what they make of the column, so that a stream's schema
is known from its configuration. A new kind of rule (clean, validate, classify) is a class with these two methods and a
line in `rules_of`, in the order in which rules of one column act.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from forebay_agent.capture.source import TableShape
from forebay_agent.config.model import TableConfig
from forebay_agent.errors import ColumnMissing, TableMisconfigured
from forebay_agent.transform.masks import MASKS
from forebay_wire import schema


class Rule(Protocol):
    """One rule for one column."""

    @property
    def column(self) -> str: ...

    def field(self, before: pa.Field) -> pa.Field:
        """The column as the rule leaves it: type and metadata (`forebay_wire.schema.column`)."""

    def apply(self, values: pa.Array) -> pa.Array:
        """The column's values, as many as came in, of `field`'s type. May raise pyarrow's errors: the transform keeps
        their text, which can hold values, from every message."""


@dataclass(frozen=True, slots=True)
class MaskRule:
    """Masks a column; it becomes text."""

    column: str
    kind: str

    def field(self, before: pa.Field) -> pa.Field:
        metadata = before.metadata
        return schema.column(
            self.column,
            pa.string(),
            metadata[schema.ORIGIN].decode(),
            carried=metadata[schema.CARRIED].decode(),
            mask=self.kind,
        )

    def apply(self, values: pa.Array) -> pa.Array:
        return MASKS[self.kind](values if pa.types.is_string(values.type) else values.cast(pa.string()))


def rules_of(shape: TableShape, table: TableConfig) -> tuple[Rule, ...]:
    """The rules that a table's entry asks for.

    Raises:
        ColumnMissing: a rule names a column that is not read.
        TableMisconfigured: a mask on a key or cursor column, or on binary values.
    """
    return tuple(_mask_rule(shape, table, mask.column, mask.kind) for mask in table.masks)


def _mask_rule(shape: TableShape, table: TableConfig, name: str, kind: str) -> MaskRule:
    key = f"{table.entry}.masks.{name}"
    try:
        column = shape.column(name)
    except KeyError:
        raise ColumnMissing(f"{shape.table} is read without a column {name!r}", file=table.file, key=key) from None
    if name in shape.key or name == table.cursor:
        raise TableMisconfigured(
            f"column {name!r} of {shape.table} is in its {'key' if name in shape.key else 'cursor'}: "
            "its values stand in checkpoints and positions, so it cannot be masked",
            file=table.file,
            key=key,
            remedy="Name other unique columns with `key = [...]` or another cursor, or do not mask this one.",
        )
    if pa.types.is_binary(column.arrow) or pa.types.is_large_binary(column.arrow):
        raise TableMisconfigured(
            f"column {name!r} of {shape.table} is binary ({column.origin}): a mask reads text",
            file=table.file,
            key=key,
            remedy="Leave the column out with `exclude`.",
        )
    return MaskRule(name, kind)
