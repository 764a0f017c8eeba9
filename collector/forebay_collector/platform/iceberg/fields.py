"""Arrow columns as Iceberg fields: types, field ids, and which schema changes are additive.

Both tables of a stream share one space of field ids. Ids below `FIRST_COLUMN_ID` are Forebay's own columns, the same in
every table; the table's columns follow, numbered by the history, and the mirror takes the history's numbers. So a data
file of the history can serve in the mirror too (see `datafile.py`), where the columns that only the history has are
ids that the mirror does not know, which every Iceberg reader skips.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import pyarrow as pa
from pyiceberg.schema import Schema, make_compatible_name
from pyiceberg.types import (
    BinaryType,
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IcebergType,
    IntegerType,
    ListType,
    LongType,
    NestedField,
    StringType,
    TimestampType,
    TimestamptzType,
)

from forebay_collector.platform.contract import PlatformError
from forebay_wire.columns import ABSENT, COMMITTED_AT, OP, POSITION
from forebay_wire.schema import ORIGIN

EPOCH: Final = "_epoch"
SEQ: Final = "_seq"
ROW: Final = "_row"

_OP_FIELD: Final = NestedField(1, OP, StringType(), required=True)
_POSITION_FIELD: Final = NestedField(2, POSITION, StringType(), required=True)
_COMMITTED_AT_FIELD: Final = NestedField(3, COMMITTED_AT, TimestamptzType(), required=False)
_ABSENT_FIELD: Final = NestedField(4, ABSENT, ListType(5, StringType(), element_required=True), required=False)
_EPOCH_FIELD: Final = NestedField(6, EPOCH, IntegerType(), required=True)
_SEQ_FIELD: Final = NestedField(7, SEQ, LongType(), required=True)
_ROW_FIELD: Final = NestedField(8, ROW, IntegerType(), required=True)
PLACE: Final = (_EPOCH_FIELD, _SEQ_FIELD)
EPOCH_ID: Final = _EPOCH_FIELD.field_id
SEQ_ID: Final = _SEQ_FIELD.field_id

HISTORY_TAIL: Final = (
    _OP_FIELD,
    _POSITION_FIELD,
    _COMMITTED_AT_FIELD,
    _ABSENT_FIELD,
    _EPOCH_FIELD,
    _SEQ_FIELD,
    _ROW_FIELD,
)
MIRROR_TAIL: Final = (_POSITION_FIELD, _COMMITTED_AT_FIELD, _EPOCH_FIELD, _SEQ_FIELD)
FIRST_COLUMN_ID: Final = 11
FIELD_ID: Final = b"PARQUET:field_id"

_ICEBERG: Final[dict[pa.DataType, IcebergType]] = {
    pa.bool_(): BooleanType(),
    pa.int32(): IntegerType(),
    pa.int64(): LongType(),
    pa.float32(): FloatType(),
    pa.float64(): DoubleType(),
    pa.date32(): DateType(),
    pa.timestamp("us"): TimestampType(),
    pa.timestamp("us", tz="UTC"): TimestamptzType(),
    pa.string(): StringType(),
    pa.binary(): BinaryType(),
}
_ARROW: Final[dict[IcebergType, pa.DataType]] = {iceberg: arrow for arrow, iceberg in _ICEBERG.items()}
_WIDER: Final = {(IntegerType(), LongType()), (FloatType(), DoubleType())}


def iceberg_type(column: pa.Field) -> IcebergType:
    """The column's Iceberg type. Raises PlatformError (permanent) for a type that the platform does not carry."""
    found = _ICEBERG.get(column.type)
    if found is not None:
        return found
    if pa.types.is_decimal128(column.type) and 0 <= column.type.scale <= column.type.precision:
        return DecimalType(column.type.precision, column.type.scale)
    raise PlatformError(
        f"column {column.name!r}: the platform does not carry Arrow type {column.type}",
        code="FB-PLATFORM-TYPE",
        permanent=True,
    )


def arrow_type(kind: IcebergType) -> pa.DataType:
    """The Arrow type that values of the Iceberg type have here. Raises PlatformError for a foreign type."""
    found = _ARROW.get(kind)
    if found is not None:
        return found
    if isinstance(kind, DecimalType):
        return pa.decimal128(kind.precision, kind.scale)
    if isinstance(kind, ListType):
        element = pa.field("element", arrow_type(kind.element_type), nullable=not kind.element_required)
        return pa.list_(element)
    raise PlatformError(f"a column of Iceberg type {kind} is not Forebay's", code="FB-PLATFORM-TYPE", permanent=True)


def columns_of(schema: Schema) -> tuple[NestedField, ...]:
    """The table's own columns of a history or a mirror."""
    return tuple(field for field in schema.fields if field.field_id >= FIRST_COLUMN_ID)


def arrow_schema(fields: Sequence[NestedField]) -> pa.Schema:
    """The fields by their Iceberg names."""
    return pa.schema([pa.field(field.name, arrow_type(field.field_type), not field.required) for field in fields])


def file_schema(fields: Sequence[NestedField]) -> pa.Schema:
    """The fields as a Parquet file holds them: names that Avro allows (as other writers do), and field ids."""
    taken: set[str] = set()
    columns = []
    for field in fields:
        name = make_compatible_name(field.name)
        if name.casefold() in taken:
            name = f"{name}_{field.field_id}"
        taken.add(name.casefold())
        columns.append(pa.field(name, _file_type(field), not field.required, {FIELD_ID: str(field.field_id)}))
    return pa.schema(columns)


def _file_type(field: NestedField) -> pa.DataType:
    kind = field.field_type
    if not isinstance(kind, ListType):
        return arrow_type(kind)
    metadata = {FIELD_ID: str(kind.element_id)}
    return pa.list_(pa.field("element", arrow_type(kind.element_type), not kind.element_required, metadata))


def history_schema(columns: Sequence[pa.Field], current: Schema | None = None) -> Schema:
    """The history's schema that holds `columns` and everything that `current` holds.

    Returns `current` itself when nothing changes. New columns come after the old ones, before Forebay's own.

    Raises:
        PlatformError: permanent; a column's type cannot become the new one. The message names column and both types.
    """
    held = {field.name: field for field in columns_of(current)} if current else {}
    number = max((field.field_id for field in held.values()), default=FIRST_COLUMN_ID - 1)
    changed = current is None
    for column in columns:
        wanted = iceberg_type(column)
        before = held.get(column.name)
        if before is None:
            number += 1
            held[column.name] = NestedField(number, column.name, wanted, required=False, doc=_origin(column))
            changed = True
        elif before.field_type != wanted and promotes(before.field_type, wanted):
            held[column.name] = NestedField(before.field_id, column.name, wanted, required=False, doc=_origin(column))
            changed = True
        elif before.field_type != wanted and not promotes(wanted, before.field_type):
            raise PlatformError(
                f"column {column.name!r} cannot change from {_told(before)} to {wanted} ({_origin(column)})",
                code="FB-PLATFORM-SCHEMA",
                permanent=True,
            )
    if not changed and current is not None:
        return current
    number = current.schema_id + 1 if current else 0
    return Schema(*held.values(), *HISTORY_TAIL, schema_id=number)


def mirror_schema(history: Schema, names: Iterable[str], current: Schema | None = None) -> Schema:
    """The mirror's schema: the named columns of the history under the same ids, after those that `current` holds.

    Returns `current` itself when nothing changes.
    """
    held = {field.name: field for field in columns_of(history)}
    of_id = {field.field_id: field for field in held.values()}
    before = [of_id[field.field_id] for field in columns_of(current)] if current is not None else []
    added = [held[name] for name in dict.fromkeys(names) if held[name] not in before]
    fields = (*before, *added, *MIRROR_TAIL)
    if current is not None and current.fields == fields:
        return current
    return Schema(*fields, schema_id=current.schema_id + 1 if current else 0)


def promotes(narrow: IcebergType, wide: IcebergType) -> bool:
    """Whether Iceberg can read values of `narrow` as `wide`."""
    if isinstance(narrow, DecimalType) and isinstance(wide, DecimalType):
        return narrow.scale == wide.scale and narrow.precision <= wide.precision
    return narrow == wide or (narrow, wide) in _WIDER


def _origin(column: pa.Field) -> str:
    return str((column.metadata or {}).get(ORIGIN, b"").decode())


def _told(field: NestedField) -> str:
    return f"{field.field_type} ({field.doc})" if field.doc else str(field.field_type)
