"""StreamName: `department/source/schema.table`, the name under which one table's changes travel."""

from __future__ import annotations

from dataclasses import dataclass

from forebay_wire import limits
from forebay_wire.errors import LimitExceeded, Malformed
from forebay_wire.v1 import batch_pb2


@dataclass(frozen=True, slots=True, order=True)
class StreamName:
    """One table of one source of one department. `table` is `schema.table` as the source's database names it.

    Raises:
        Malformed: a part is empty or holds `/` (department, source) or a control character.
        LimitExceeded: a part is longer than `limits.MAX_NAME_BYTES` (schema and table each).
    """

    department: str
    source: str
    table: str

    def __post_init__(self) -> None:
        for part, value in (("department", self.department), ("source", self.source), ("table", self.table)):
            if not value or any(ord(character) < 32 for character in value):
                raise Malformed(f"stream {part} {value!r}: empty, or holds a control character")
            if part != "table" and "/" in value:
                raise Malformed(f"stream {part} {value!r}: holds '/'")
            if len(value.encode("utf-8", "surrogatepass")) > limits.MAX_NAME_BYTES * (2 if part == "table" else 1):
                raise LimitExceeded(f"stream {part} is longer than {limits.MAX_NAME_BYTES} bytes")

    def __str__(self) -> str:
        return f"{self.department}/{self.source}/{self.table}"

    @property
    def schema(self) -> str:
        """The schema before the first dot of `table`; empty when there is none."""
        return self.table.partition(".")[0] if "." in self.table else ""

    @property
    def name(self) -> str:
        """The table's own name, without its schema."""
        return self.table.partition(".")[2] or self.table

    @classmethod
    def parse(cls, text: str) -> StreamName:
        """`department/source/schema.table` -> StreamName. Raises Malformed when a part is missing."""
        parts = text.split("/", 2)
        if len(parts) != 3:
            raise Malformed(f"stream {text!r}: expected department/source/schema.table")
        return cls(*parts)

    @classmethod
    def from_proto(cls, message: batch_pb2.Stream) -> StreamName:
        return cls(message.department, message.source, message.table)

    def to_proto(self) -> batch_pb2.Stream:
        return batch_pb2.Stream(department=self.department, source=self.source, table=self.table)
