"""KeyRange: the part of a table that a ranged snapshot names, by the first column of its key."""

from __future__ import annotations

from dataclasses import dataclass

from forebay_wire import limits
from forebay_wire.errors import LimitExceeded, Malformed
from forebay_wire.v1 import batch_pb2


@dataclass(frozen=True, slots=True)
class KeyRange:
    """Bounds, both included, in the text that `KeyRange` in batch.proto lays down; None: unbounded.

    Raises LimitExceeded when a bound is longer than `limits.MAX_BOUND_BYTES`.
    """

    at_least: str | None = None
    through: str | None = None

    def __post_init__(self) -> None:
        for bound in (self.at_least, self.through):
            if bound is not None and len(bound.encode("utf-8", "surrogatepass")) > limits.MAX_BOUND_BYTES:
                raise LimitExceeded(f"a bound of a key range is longer than {limits.MAX_BOUND_BYTES} bytes")

    @classmethod
    def from_proto(cls, message: batch_pb2.KeyRange) -> KeyRange:
        """Raises LimitExceeded; Malformed for a bound that is given and said not to be."""
        if (message.at_least and not message.has_at_least) or (message.through and not message.has_through):
            raise Malformed("header: a key range holds a bound that it says it does not have")
        return cls(message.at_least if message.has_at_least else None, message.through if message.has_through else None)

    def to_proto(self) -> batch_pb2.KeyRange:
        return batch_pb2.KeyRange(
            at_least=self.at_least or "",
            has_at_least=self.at_least is not None,
            through=self.through or "",
            has_through=self.through is not None,
        )
