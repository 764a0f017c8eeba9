"""Part: the rows of a table that are compared together, by the first column of its key."""

from __future__ import annotations

from dataclasses import dataclass

from forebay_wire.v1 import control_pb2


@dataclass(frozen=True, slots=True)
class Part:
    """Rows whose first key column is > after and <= through, in the text that `KeyRange` in batch.proto lays down; None:
    unbounded. Both may be given only where that column is a number, a date or a time: text is sorted differently by each
    database.

    rows: where a part is to be read that has no end yet: about so many from `after` on, all those of the last value of the
    first key column; 0: all.
    """

    after: str | None = None
    through: str | None = None
    rows: int = 0

    @classmethod
    def from_proto(cls, message: control_pb2.Part) -> Part:
        after = message.after if message.HasField("after") else None
        return cls(after, message.through if message.HasField("through") else None, message.rows)

    def to_proto(self) -> control_pb2.Part:
        return control_pb2.Part(after=self.after, through=self.through, rows=self.rows)

    @property
    def bounded(self) -> bool:
        return self.after is not None or self.through is not None


WHOLE = Part()
