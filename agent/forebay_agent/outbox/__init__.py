"""The agent's durable queue of sealed batches, and how far each stream was captured.

Constraints
    A batch and the checkpoint that it leads to are kept in one transaction, on the disk when `put` returns. A batch leaves
    only when the collector calls it durable, or by an audited reset. Nobody overtakes: `put` compares the stream's epoch,
    seq and chain with those that the batch was sealed for. A damaged file stops the agent; it is never read as "empty".
    What log capture read of a transaction that has not ended is kept hidden (`open_part.py`): sent whole or read again.

Format
    One SQLite file, `<state>/outbox.db` (tables: `outbox.sql`; pragmas, version and error codes: `file.py`).

Operation
    `store.Outbox` writes (one connection, one lock). `reader.OutboxReader` reads on its own connection, beside writers.
    Space of deleted batches is used again, and given back to the disk once there is much of it.
"""

from forebay_agent.outbox.reader import OutboxReader
from forebay_agent.outbox.records import (
    START,
    Hold,
    LogRecord,
    NewEpoch,
    OutboxState,
    Reset,
    SeenChanges,
    StreamPut,
    StreamRecord,
    Superseded,
    WaitingBatch,
)
from forebay_agent.outbox.requests import RangeRequest
from forebay_agent.outbox.store import Outbox

__all__ = [
    "START",
    "Hold",
    "LogRecord",
    "NewEpoch",
    "Outbox",
    "OutboxReader",
    "OutboxState",
    "RangeRequest",
    "Reset",
    "SeenChanges",
    "StreamPut",
    "StreamRecord",
    "Superseded",
    "WaitingBatch",
]
