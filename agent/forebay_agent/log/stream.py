"""One table of a source's log: its stream as the outbox holds it, its shape, and the snapshot that is under way.

A stream goes start -> snapshot -> log. What it cannot follow parks it, durably: the log goes on without it, so that one
table never pins the log, and it has to be taken anew, under the next epoch.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from forebay_agent import errors
from forebay_agent.capture.captured import Checkpoint
from forebay_agent.capture.chunks import KeyedCopy, WholeCopy
from forebay_agent.capture.keys import KeysReading
from forebay_agent.capture.log import LogTable
from forebay_agent.capture.plan import is_selected
from forebay_agent.capture.snapshot import SNAPSHOT
from forebay_agent.capture.source import TableName, TableShape
from forebay_agent.capture.table import START, CapturedTable
from forebay_agent.config.model import TableConfig
from forebay_agent.errors import AgentError
from forebay_agent.outbox import StreamRecord
from forebay_agent.policy import ANY_STREAM, TAKE_ANEW, remedy_of
from forebay_agent.sealing import Sealing
from forebay_wire.key_range import KeyRange
from forebay_wire.stream import StreamName

LOG: Final = "log"
PARKED: Final = "parked"
RANGE: Final = "range"
_KEPT_CHARACTERS: Final = 2_000
_FREEING: Final = (f"forebay-agent snapshot {ANY_STREAM}", f"forebay-agent reset {ANY_STREAM}")
_GUARANTEE: Final = (
    "Sees every committed change in the order of commits, deletes included, from the database's own log."
)
_NO_KEY: Final = (
    " The table has no key: the platform keeps its history only, an interrupted copy begins again, and what changed while a"
    " copy began may stand in it twice."
)
_NO_SNAPSHOT: Final = (
    " Rows that were there before are not copied (snapshot = false): the mirror holds what changed since."
)


@dataclass(slots=True)
class LogStream:
    """captured.shape: as the log told it last. record: as the outbox holds it; the sealer's thread moves it on. checkpoint:
    as everything that was handed to the sealer leads to it. failed: what the sealer's thread met; the stream is parked."""

    name: StreamName
    config: TableConfig
    captured: CapturedTable
    sealing: Sealing
    record: StreamRecord
    checkpoint: Checkpoint
    copy: KeyedCopy | WholeCopy | None = None
    failed: AgentError | None = None
    carried: pa.RecordBatch | None = None  # the last row of a transaction that is not at its end
    carried_shape: TableShape | None = None
    reread: KeysReading | None = None
    disagrees: tuple[str, TableShape] | None = None  # the database describes it otherwise, from this log checkpoint on

    @property
    def table(self) -> TableName:
        return self.captured.shape.table

    @property
    def parked(self) -> bool:
        return self.failed is not None or self.checkpoint.phase == PARKED

    @property
    def copying(self) -> bool:
        return self.checkpoint.phase in (START, SNAPSHOT, RANGE) and not self.parked

    @property
    def log_table(self) -> LogTable:
        return log_table_of(self.captured.shape, self.config)

    @property
    def key_range(self) -> KeyRange | None:
        """The keys that are being taken anew."""
        if self.checkpoint.phase != RANGE:
            return None
        return KeyRange(self.checkpoint.low, self.checkpoint.through)

    def leave_copy(self) -> None:
        """What was read of a snapshot and not handed on is of no more use."""
        self.reread = None
        if self.copy is not None:
            self.copy.cancel()
            self.copy = None


def log_table_of(shape: TableShape, table: TableConfig) -> LogTable:
    """What a reader is told of a table. Columns that are not approved are none that it wants, those added later neither."""
    columns = table.columns
    if table.approved is not None:
        columns = tuple(sorted(name for name in table.approved if is_selected(table, name)))
    return LogTable(shape.table, shape, columns, table.exclude, table.as_text)


def guarantee_of(shape: TableShape, table: TableConfig) -> str:
    """What mode log can and cannot see of a table."""
    return _GUARANTEE + ("" if shape.key else _NO_KEY) + ("" if table.snapshot else _NO_SNAPSHOT)


def parking(checkpoint: Checkpoint, error: AgentError, where: str = "") -> Checkpoint:
    """The checkpoint of a stream that goes no further. where: the place in the log and what stands there, for people.

    It keeps why and what to do. The remedy always ends with taking the table anew: nothing else frees the stream.
    """
    reason, remedy = f"{error} ({where})" if where else str(error), remedy_of(error)
    if not any(command in remedy for command in _FREEING):
        remedy = f"{remedy} Then take the table anew: `{TAKE_ANEW}`."
    told = {"code": error.code, "reason": reason, "remedy": remedy, "sql": error.sql}
    kept = {name: text[:_KEPT_CHARACTERS] for name, text in told.items()}
    return checkpoint.advanced(phase=PARKED, after=None, parked=json.dumps(kept, ensure_ascii=False))


def error_of(checkpoint: Checkpoint) -> AgentError:
    """What parked the stream, as it was kept."""
    kept = json.loads(checkpoint.parked)
    kinds = {
        kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, AgentError)
    }
    kind = kinds.get(kept["code"], AgentError)
    error = kind(f"{kept['reason']}; the log went on without this table", remedy=kept["remedy"])
    error.sql = kept["sql"]
    return error
