"""Permission: whether a batch may leave under what the centre approves now, by the columns and masks of its schema.

Capture holds to the same approvals; this is for what was sealed before they changed. Such a batch stays where it is, and
its stream with it, until it is approved again or the stream is reset.
"""

from __future__ import annotations

from forebay_agent.approval.approvals import Approvals
from forebay_agent.errors import OutboxDamaged
from forebay_agent.outbox import OutboxReader
from forebay_wire.errors import WireError
from forebay_wire.schema import TableSchema
from forebay_wire.stream import StreamName


class Permission:
    """Any thread may ask, each with a reader of its own."""

    def __init__(self, approvals: Approvals) -> None:
        self._approvals = approvals
        self._schemas: dict[bytes, TableSchema] = {}

    @property
    def generation(self) -> int:
        """Grows when other batches may leave than before."""
        return self._approvals.generation

    def why_not(self, stream: StreamName, fingerprint: bytes, reader: OutboxReader) -> str:
        """In words; empty when it may. Raises OutboxDamaged when the outbox does not hold its schema."""
        if self._approvals.current.automatic:
            return ""
        if fingerprint not in self._schemas:
            serialized = reader.schema(fingerprint)
            if serialized is None:
                raise OutboxDamaged(f"{stream}: the outbox lacks a schema of batches that wait")
            try:
                self._schemas[fingerprint] = TableSchema.parse(serialized, fingerprint)
            except WireError as error:
                raise OutboxDamaged(f"{stream}: the outbox holds a schema that cannot be read") from error
        return self._approvals.why_not(stream, self._schemas[fingerprint])
