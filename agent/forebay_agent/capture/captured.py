"""What a capture hands to the pipeline, and the checkpoint that says how far it came."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Protocol, Self

import pyarrow as pa

from forebay_agent.capture.source import Values


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far one stream was captured. Kept in the outbox, in the transaction that keeps the batch; only ever advances.

    It holds key and cursor values as text; columns used as key or cursor are therefore never masked.
    """

    # start, snapshot, then the mode's own: cursor, trigger, log (range: and keys are taken anew; parked)
    phase: str = "start"
    source: str = ""  # Source.identity()
    table: str = ""  # TableShape.identity
    plan: str = ""  # what `after`, `low` and `through` are values of: mode, key, cursor; another plan starts anew
    snapshot: int = 0  # number of the snapshot being or last taken within the epoch
    after: Values | None = None  # snapshot: last key read; cursor: last (cursor, key) read within the window
    # cursor: everything up to here was captured; trigger: last change id captured; range: its begin
    low: str | None = None
    through: str | None = None  # cursor: upper bound of the window being read; range: its end
    rows: int = 0  # rows captured in this epoch
    first_seq: int = 0  # range: what is sealed from here on is newer than what the range was before
    parked: str = ""  # log: code of the trouble that parked it, and its text
    selection: str = ""  # digest of which columns were captured, and under which masks; see `taking_up`
    schema: str = ""  # fingerprint of the schema of the rows sealed last in this epoch, hexadecimal

    def to_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises ValueError when the text is not a checkpoint."""
        fields = json.loads(text)
        if not isinstance(fields, dict) or not set(fields) <= set(cls.__dataclass_fields__):
            raise ValueError("not a checkpoint")
        if fields.get("after") is not None:
            fields["after"] = tuple(fields["after"])
        return cls(**fields)

    def advanced(self, **changes: object) -> Self:
        return replace(self, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Reread:
    """These rows come from a window that is read more than once (equal cursor values, overlap).

    The pipeline drops the rows that were sent before unchanged (by key and row digest after the transform), and
    remembers those that the next window will read again.
    """

    remember: pa.BooleanArray  # per row: will the next window read it again?
    last_of_window: bool  # what was remembered before this window and not read in it is forgotten


@dataclass(frozen=True, slots=True)
class Captured:
    """Rows in source order, bounded in size, with the checkpoint that holds once they are in the outbox.

    rows: the shape's columns and then `forebay_wire.columns.CHANGE_FIELDS`. May be empty: then only the checkpoint
    advances, except that an empty last part of a snapshot is sealed too. beside: keys that were read anew by themselves.
    """

    rows: pa.RecordBatch
    checkpoint: Checkpoint
    ends_transaction: bool = True
    snapshot: int = 0
    last_of_snapshot: bool = False
    reread: Reread | None = None
    beside: bool = False


class Capture(Protocol):
    """One mode over one table: `snapshot.py`, `cursor.py`, `trigger.py`."""

    guarantee: str
    """One English sentence: what this mode can and cannot see."""

    def poll(self, checkpoint: Checkpoint) -> Iterator[Captured]:
        """Everything that is settled at the source after the checkpoint, in bounded pieces; ends when there is nothing
        more to read now. The caller may read ahead by some pieces; each piece's checkpoint is handed back only after it is
        durable. Raises kinds of `forebay_agent.errors`."""
