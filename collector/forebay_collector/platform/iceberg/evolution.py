"""What a new epoch may do to the history's columns: everything, for none of them is lost.

A column whose type cannot become the new one *retires*: it keeps its values and its field id under a name that says so,
`<name>__epoch_<the epoch before>`, and the new one takes the name under an id of its own. A retired column never
takes a value again, so a source column that is called like it takes that name too.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.table import Table

from forebay_collector.platform.contract import OpenedBatch, PlatformMark
from forebay_collector.platform.iceberg import marks
from forebay_collector.platform.iceberg.fields import HISTORY_TAIL, columns_of, history_schema, iceberg_type, promotes


@dataclass(frozen=True, slots=True)
class Evolved:
    """A history's schema (None: there is none yet), the ids of its retired columns, and the names of those that its epoch
    has filled: their types change no more within it."""

    schema: Schema | None = None
    retired: frozenset[int] = frozenset()
    epoch: int = 0
    filled: frozenset[str] = frozenset()

    @classmethod
    def of(cls, history: Table | None, mark: PlatformMark) -> Evolved:
        if history is None:
            return cls()
        retired = frozenset(json.loads(history.properties.get(marks.RETIRED, "[]")))
        return cls(history.schema(), retired, mark.epoch, frozenset(marks.names_of(history.properties, marks.COLUMNS)))

    @property
    def properties(self) -> dict[str, str]:
        """What the history's commit sets beside the schema."""
        return {marks.RETIRED: json.dumps(sorted(self.retired))} if self.retired else {}

    def taking(self, batches: Iterable[OpenedBatch]) -> Evolved:
        """The schema that holds these batches too. Raises PlatformError (permanent) when a type changes within an epoch."""
        now = self
        for batch in batches:
            columns = batch.schema.columns
            filled = now.filled if batch.epoch == now.epoch else frozenset()
            schema, retired = now._room(columns, filled, f"__epoch_{batch.epoch - 1}")
            names = frozenset(column.name for column in columns)
            now = Evolved(history_schema(columns, schema), retired, batch.epoch, filled | names)
        return now

    def _room(
        self, columns: Sequence[pa.Field], filled: frozenset[str], suffix: str
    ) -> tuple[Schema | None, frozenset[int]]:
        """Retires what stands in the way of `columns`."""
        if self.schema is None:
            return None, self.retired
        wanted = {column.name: column for column in columns}
        held = list(columns_of(self.schema))
        taken = {field.name.casefold() for field in (*self.schema.fields, *columns)}
        retired = set(self.retired)
        for place, field in enumerate(held):
            column = wanted.get(field.name)
            if column is None:
                continue
            name = field.name
            if field.field_id not in retired:
                kind = iceberg_type(column)
                if name in filled or promotes(field.field_type, kind) or promotes(kind, field.field_type):
                    continue
                name += suffix
            name = _free(name, taken)
            held[place] = field.model_copy(update={"name": name})
            taken.add(name.casefold())
            retired.add(field.field_id)
        if held == list(columns_of(self.schema)):
            return self.schema, self.retired
        return Schema(*held, *HISTORY_TAIL, schema_id=self.schema.schema_id + 1), frozenset(retired)


def _free(name: str, taken: set[str]) -> str:
    while name.casefold() in taken:
        name += "_"
    return name
