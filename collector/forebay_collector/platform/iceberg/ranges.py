"""The end of a ranged snapshot: which rows of the mirror the source no longer has.

They are those whose first key column lies within the bounds and that were last told of before (epoch, first_seq): what
the snapshot named, and what changed since, stands at a later seq. So nothing of the snapshot has to be remembered.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.conversions import from_bytes
from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile
from pyiceberg.types import IntegerType, LongType, NestedField

from forebay_collector.platform.contract import RANGE_REFUSED, OpenedBatch, PlatformError
from forebay_collector.platform.iceberg import reading
from forebay_collector.platform.iceberg.datafile import extremes
from forebay_collector.platform.iceberg.fields import EPOCH_ID, MIRROR_TAIL, SEQ_ID, arrow_type
from forebay_collector.platform.iceberg.fold import Folded
from forebay_collector.platform.iceberg.keys import bound, one_chunk
from forebay_wire.stream import StreamName

_AGE = tuple(field for field in MIRROR_TAIL if field.field_id in (EPOCH_ID, SEQ_ID))


@dataclass(frozen=True, slots=True)
class Unnamed:
    """Rows of a range that leave. key: the first key column; bounds of its type, None: unbounded."""

    key: NestedField
    at_least: pa.Scalar | None
    through: pa.Scalar | None
    epoch: int
    first_seq: int

    @classmethod
    def of(cls, batch: OpenedBatch, key: NestedField) -> Unnamed:
        """What the batch, the last of its ranged snapshot, makes leave. Raises as `check`."""
        assert batch.key_range is not None
        kind = arrow_type(key.field_type)
        least, most = (bound_of(text, kind) for text in (batch.key_range.at_least, batch.key_range.through))
        return cls(key, least, most, batch.epoch, batch.first_seq)

    def may_hold(self, file: DataFile) -> bool:
        """Whether the file may hold such rows."""
        if (_least(file, EPOCH_ID), _least(file, SEQ_ID)) >= (self.epoch, self.first_seq):
            return False
        lower, upper = bound(file.lower_bounds, self.key), bound(file.upper_bounds, self.key)
        if self.at_least is not None and upper is not None and upper < single(self.at_least):
            return False
        return not (self.through is not None and lower is not None and lower > single(self.through))

    def find(self, io: FileIO, file: DataFile, key_column: pa.Array) -> pa.Array:
        """Their positions in the file (int64, sorted), deleted ones included. `key_column`: of all its physical rows."""
        positions = pc.indices_nonzero(self._inside(key_column)).cast(pa.int64())
        if not len(positions):
            return positions
        epochs, seqs = (one_chunk(column).take(positions) for column in reading.columns(io, file, _AGE).columns)
        return positions.filter(self._older(epochs, seqs))

    def without(self, folded: Folded) -> Folded:
        """The load's own rows less those that leave: they came before the range's snapshot began."""
        rows = folded.upserts
        epochs, seqs = (one_chunk(rows.column(field.name)) for field in _AGE)
        gone = pc.and_(self._inside(one_chunk(rows.column(self.key.name))), self._older(epochs, seqs))
        if not pc.any(gone, min_count=0).as_py():
            return folded
        stays = pc.invert(gone)
        kept = {name: mask.filter(stays) for name, mask in folded.kept.items()}
        return replace(folded, upserts=rows.filter(stays), identity=False, kept=kept)

    def _inside(self, keys: pa.Array) -> pa.Array:
        """Which keys lie within the bounds. A key without a value lies within no bound, and so in an unbounded range only."""
        inside = pa.repeat(pa.scalar(True), len(keys))
        if self.at_least is not None:
            inside = pc.and_(inside, pc.greater_equal(keys, self.at_least))
        if self.through is not None:
            inside = pc.and_(inside, pc.less_equal(keys, self.through))
        return pc.fill_null(inside, False)

    def _older(self, epochs: pa.Array, seqs: pa.Array) -> pa.Array:
        same = pc.and_(pc.equal(epochs, self.epoch), pc.less(seqs, self.first_seq))
        return pc.or_(pc.less(epochs, self.epoch), same)


def check(stream: StreamName, batch: OpenedBatch) -> None:
    """Raises PlatformError (permanent) for a range by a key that has none, or a bound that is not of the key's type."""
    if batch.key_range is None:
        return
    first = batch.schema.key[0] if batch.schema.key else ""
    kind = batch.schema.arrow.field(first).type if first else pa.null()
    if not _ranged(kind):
        raise PlatformError(
            f"{stream}: a snapshot of a key range, but the first key column "
            + (f"{first!r} is {kind}" if first else "is none")
            + "; ranges are of integers, decimals, dates and timestamps",
            code=RANGE_REFUSED,
            permanent=True,
        )
    for text in (batch.key_range.at_least, batch.key_range.through):
        bound_of(text, kind)


def _ranged(kind: pa.DataType) -> bool:
    of = pa.types
    return bool(of.is_integer(kind) or of.is_decimal(kind) or of.is_date32(kind) or of.is_timestamp(kind))


def bound_of(text: str | None, kind: pa.DataType) -> pa.Scalar | None:
    """A bound of a range of keys, in the key's type. Raises PlatformError when it is none of it."""
    if text is None:
        return None
    try:
        if pa.types.is_timestamp(kind):
            # in UTC where the column has a zone; a text without one is read as such
            return pa.scalar(text).cast(pa.timestamp("us")).cast(pa.int64()).cast(kind)
        return pa.scalar(text).cast(kind)
    except pa.ArrowInvalid as error:
        raise PlatformError(
            f"a bound of a key range is not of the key's type {kind}: {text[:60]!r}",
            code=RANGE_REFUSED,
            permanent=True,
        ) from error


def single(scalar: pa.Scalar) -> Any:
    """As Iceberg's bounds have it: dates as days, timestamps as microseconds."""
    return extremes(pa.repeat(scalar, 1))[0]


def _least(file: DataFile, field_id: int) -> int:
    held = (file.lower_bounds or {}).get(field_id)
    kind = IntegerType() if field_id == EPOCH_ID else LongType()
    return 0 if held is None else int(from_bytes(kind, held))
