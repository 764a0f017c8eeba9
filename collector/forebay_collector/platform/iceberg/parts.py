"""A part of a mirror, by the first column of its key, and of a history, by the place of a batch: which files may hold rows
of it, and which rows are of it."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.manifest import DataFile
from pyiceberg.types import NestedField

from forebay_collector.platform.contract import PlatformMark
from forebay_collector.platform.iceberg.fields import PLACE, arrow_type
from forebay_collector.platform.iceberg.keys import bound
from forebay_collector.platform.iceberg.ranges import bound_of, single
from forebay_wire.part import Part


@dataclass(frozen=True, slots=True)
class Inside:
    """Rows whose key is > after and <= through; both of the key's type, None: unbounded."""

    key: NestedField
    after: pa.Scalar | None
    through: pa.Scalar | None

    @classmethod
    def of(cls, part: Part, key: NestedField) -> Inside:
        """Raises PlatformError for a bound that is not of the key's type."""
        kind = arrow_type(key.field_type)
        return cls(key, bound_of(part.after, kind), bound_of(part.through, kind))

    def may_be_in(self, file: DataFile) -> bool:
        """Whether the file's bounds leave room for such rows."""
        lower, upper = bound(file.lower_bounds, self.key), bound(file.upper_bounds, self.key)
        if self.after is not None and upper is not None and upper <= single(self.after):
            return False
        return not (self.through is not None and lower is not None and lower > single(self.through))

    def of_rows(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Those of the rows that are of it."""
        key = rows.column(self.key.name)
        masks = [pc.greater(key, self.after)] if self.after is not None else []
        masks += [pc.less_equal(key, self.through)] if self.through is not None else []
        return rows.filter(masks[0] if len(masks) == 1 else pc.and_(masks[0], masks[1]))


def may_be_after(file: DataFile, mark: PlatformMark) -> bool:
    """Whether a history's file may hold rows of batches after the mark."""
    last = tuple(bound(file.upper_bounds, field) for field in PLACE)
    return None in last or last > (mark.epoch, mark.seq)


def after(rows: pa.RecordBatch, mark: PlatformMark) -> pa.RecordBatch:
    """Those of the rows of a history that are of batches after the mark."""
    epoch, seq = (rows.column(field.name) for field in PLACE)
    same = pc.and_(pc.equal(epoch, mark.epoch), pc.greater(seq, mark.seq))
    return rows.filter(pc.or_(pc.greater(epoch, mark.epoch), same))
