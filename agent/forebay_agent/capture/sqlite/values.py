"""Makes Arrow columns of SQLite's rows: transposed first, then one call per column, no loop over values where every value
of a column has the class that its type promises."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import pyarrow as pa

from forebay_agent.capture.source import TableShape
from forebay_agent.capture.sqlite.layout import Affinity, Layout
from forebay_agent.capture.sqlite.statements import ordered_as_text, takes_every_class
from forebay_agent.errors import ValueUnrepresentable

_NONE: Final = type(None)
_CLASSES: Final = {int: "an integer", float: "a real", str: "text", bytes: "a blob"}
_EXACT_IN_DOUBLE: Final = 1 << 53

Converter = Callable[[Sequence[Any]], pa.Array]


class Unfit(Exception):
    """One value does not fit: `row` counts within the rows converted; `what` describes it without showing it."""

    def __init__(self, row: int, what: str) -> None:
        super().__init__(what)
        self.row = row
        self.what = what


class Transposer:
    """Rows of one statement to record batches of `shape`."""

    def __init__(self, shape: TableShape, layout: Layout, encoding: str, order: tuple[str, ...]) -> None:
        self._shape = shape
        self._names = [column.name for column in shape.columns]
        self._key = [self._names.index(name) for name in shape.key if name in self._names]
        self._converters: list[Converter] = []
        for column in shape.columns:
            affinity = layout.affinities[column.name]
            if takes_every_class(column, layout):
                converter: Converter = _every_class(encoding)
            else:
                converter = _CONVERTERS[affinity]
            if column.name in order and ordered_as_text(column, layout):
                converter = _without_reals(converter)
            self._converters.append(converter)

    def batch(self, rows: Sequence[tuple[Any, ...]]) -> pa.RecordBatch:
        """Raises ValueUnrepresentable naming table, key and column."""
        arrays = []
        for name, values, convert in zip(self._names, zip(*rows, strict=True), self._converters, strict=True):
            try:
                arrays.append(convert(values))
            except Unfit as error:
                raise self.unrepresentable(rows[error.row], name, error.what) from None
        return pa.RecordBatch.from_arrays(arrays, names=self._names)

    def unrepresentable(self, row: tuple[Any, ...], name: str, what: str) -> ValueUnrepresentable:
        key = ", ".join(f"{self._names[place]}={row[place]!r}" for place in self._key) or "no key"
        declared = self._shape.column(name).origin or "no type"
        return ValueUnrepresentable(f"{self._shape.table} ({key}): column {name}, declared {declared}, holds {what}")


def _first_of(values: Sequence[Any], kinds: tuple[type, ...]) -> Unfit:
    """The first value that is none of these kinds and not NULL."""
    row = next(row for row, value in enumerate(values) if type(value) not in (*kinds, _NONE))
    return Unfit(row, _CLASSES[type(values[row])])


def _only(kind: type, arrow: pa.DataType) -> Converter:
    allowed = {kind, _NONE}

    def convert(values: Sequence[Any]) -> pa.Array:
        if not set(map(type, values)) <= allowed:
            raise _first_of(values, (kind,))
        return pa.array(values, arrow)

    return convert


def _reals(values: Sequence[Any]) -> pa.Array:
    kinds = set(map(type, values))
    if kinds <= {float, _NONE}:
        return pa.array(values, pa.float64())
    if not kinds <= {float, int, _NONE}:
        raise _first_of(values, (float, int))
    for row, value in enumerate(values):
        if type(value) is int and abs(value) > _EXACT_IN_DOUBLE:
            raise Unfit(row, "an integer that no double holds exactly")
    return pa.array([None if value is None else float(value) for value in values], pa.float64())


def _texts(values: Sequence[Any]) -> pa.Array:
    kinds = set(map(type, values))
    kinds.discard(_NONE)
    if kinds <= {str}:
        return pa.array(values, pa.string())
    if kinds == {int}:
        return pa.array(values, pa.int64()).cast(pa.string())
    if bytes in kinds:
        raise _first_of(values, (str, int, float))
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def _every_class(encoding: str) -> Converter:
    """For the expression that `statements` selects `as_text` columns by: text comes as bytes, bytes as text."""

    def text(value: Any) -> str | None:
        if isinstance(value, bytes):
            try:
                return value.decode(encoding)
            except UnicodeDecodeError:
                return f"x'{value.hex()}'"
        return None if value is None else str(value)

    def convert(values: Sequence[Any]) -> pa.Array:
        return pa.array([text(value) for value in values], pa.string())

    return convert


def _without_reals(convert: Converter) -> Converter:
    def checked(values: Sequence[Any]) -> pa.Array:
        if float in set(map(type, values)):
            row = next(row for row, value in enumerate(values) if type(value) is float)
            raise Unfit(row, "a real, which has no one text to order keys by")
        return convert(values)

    return checked


_CONVERTERS: Final[dict[Affinity, Converter]] = {
    Affinity.INTEGER: _only(int, pa.int64()),
    Affinity.REAL: _reals,
    Affinity.TEXT: _only(str, pa.string()),
    Affinity.BLOB: _only(bytes, pa.binary()),
    Affinity.NUMERIC: _texts,
    Affinity.NONE: _texts,
}
