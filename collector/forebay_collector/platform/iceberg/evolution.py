"""What a new epoch may do to the history's columns: everything, for none of them is lost.

A column whose type cannot become the new one *retires*: it keeps its values and its field id under a name that says so,
`<name>__epoch_<last epoch that filled it>`, and the new one takes the name under an id of its own. A retired column never
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
    """A history's schema (None: there is none yet), and the ids of its retired columns."""

    schema: Schema | None = None
    retired: frozenset[int] = frozenset()

    @classmethod
    def of(cls, history: Table | None) -> Evolved:
        if history is None:
            return cls()
        return cls(history.schema(), frozenset(json.loads(history.properties.get(marks.RETIRED, "[]"))))

    @property
    def properties(self) -> dict[str, str]:
        """What the history's commit sets beside the schema."""
        return {marks.RETIRED: json.dumps(sorted(self.retired))} if self.retired else {}

    def taking(self, mark: PlatformMark, batches: Iterable[OpenedBatch]) -> Evolved:
        """The schema that holds these batches too, of which the history has those up to `mark`.

        Raises PlatformError (permanent) when a type changes within an epoch.
        """
        now = self
        for batch in batches:
            here = PlatformMark(batch.epoch, batch.seq)
            if here <= mark:
                continue
            columns = batch.schema.columns
            schema, retired = now._room(columns, mark.epoch if batch.epoch > mark.epoch else 0)
            now = Evolved(history_schema(columns, schema), retired)
            mark = here
        return now

    def _room(self, columns: Sequence[pa.Field], ended: int) -> tuple[Schema | None, frozenset[int]]:
        """Retires what stands in the way of `columns`; of types, only after an epoch has `ended`."""
        if self.schema is None:
            return None, self.retired
        wanted = {column.name: column for column in columns}
        held = list(columns_of(self.schema))
        taken = {field.name.casefold() for field in (*self.schema.fields, *columns)}
        retired = set(self.retired)
        changed = False
        for place, field in enumerate(held):
            column = wanted.get(field.name)
            if column is None:
                continue
            if field.field_id not in retired:
                kind = iceberg_type(column)
                if not ended or promotes(field.field_type, kind) or promotes(kind, field.field_type):
                    continue
            name = _free(field.name if field.field_id in retired else f"{field.name}__epoch_{ended}", taken)
            held[place] = field.model_copy(update={"name": name})
            taken.add(name.casefold())
            retired.add(field.field_id)
            changed = True
        if not changed:
            return self.schema, self.retired
        return Schema(*held, *HISTORY_TAIL, schema_id=self.schema.schema_id + 1), frozenset(retired)


def _free(name: str, taken: set[str]) -> str:
    while name.casefold() in taken:
        name += "_"
    return name
