"""What the centre approved: per stream, which columns may leave, each under which masks. Kept in `<state>/approvals.json`.

Nothing is approved as long as the centre has never said anything. What it said last holds over restarts and while it
cannot be reached. A column whose mask is another one now than it was approved with is not approved.

What it says on a disk is written down by a command, beside an agent that runs: that one looks at the file (`look`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

from forebay_agent import journal, kept
from forebay_agent.errors import StateFolderUnusable
from forebay_wire import canary, limits, schema
from forebay_wire.errors import WireError
from forebay_wire.schema import TableSchema
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2

FILE_NAME: Final = "approvals.json"
UNHEARD: Final = "the centre has not said yet what it approves"

Columns = Mapping[str, frozenset[str]]
"""Names of columns -> the masks under which they may leave, each by its kind; empty: unmasked."""


@dataclass(frozen=True, slots=True)
class Approved:
    """heard: the centre has said something. automatic: it approves whatever is proposed. streams: what else it approves.
    made_at_us: when the centre made the answer that brought it on a disk; 0: it came over a line."""

    heard: bool = False
    automatic: bool = False
    revision: int = 0
    streams: Mapping[StreamName, Columns] = field(default_factory=dict)
    made_at_us: int = 0

    def of(self, stream: StreamName) -> Columns | None:
        """What is approved of the stream; None: whatever is proposed."""
        return None if self.automatic else self.streams.get(stream, {})

    def lacking(self, stream: StreamName, columns: Iterable[tuple[str, str]]) -> list[str]:
        """The columns, of these (name, mask), that may not leave."""
        approved = self.of(stream)
        return [] if approved is None else [name for name, mask in columns if mask not in approved.get(name, ())]

    @classmethod
    def from_proto(cls, message: control_pb2.Approvals) -> Self:
        """What cannot be read is not approved."""
        streams: dict[StreamName, Columns] = {}
        for each in message.approvals[: limits.MAX_STREAMS]:
            try:
                name = StreamName.from_proto(each.stream)
            except WireError as error:
                journal.warning("an approval names no stream", reason=error)
                continue
            masks: dict[str, set[str]] = {}
            for column in each.columns:
                masks.setdefault(column.name, set()).add(column.mask)
            streams[name] = {column: frozenset(several) for column, several in masks.items()}
        return cls(True, message.automatic, message.revision, streams)

    @classmethod
    def from_kept(cls, content: Mapping[str, Any]) -> Self:
        streams = {
            StreamName.parse(name): {column: frozenset(masks) for column, masks in columns.items()}
            for name, columns in content["streams"].items()
        }
        made_at_us = int(content.get("made_at_us", 0))
        return cls(True, bool(content["automatic"]), int(content["revision"]), streams, made_at_us)

    def to_kept(self) -> dict[str, Any]:
        streams = {
            str(name): {column: sorted(masks) for column, masks in columns.items()}
            for name, columns in sorted(self.streams.items())
        }
        kept = {"automatic": self.automatic, "revision": self.revision, "streams": streams}
        return kept | ({"made_at_us": self.made_at_us} if self.made_at_us else {})


class Approvals:
    """Any thread may call. current: what is approved now. generation: grows when that changes.

    state: the state folder; None: nothing is kept. Raises StateFolderUnusable when the file cannot be read.
    """

    def __init__(self, state: Path | None) -> None:
        self.current = Approved()
        self.generation = 0
        self.silent = ""
        """why nothing was heard, where more is known than that"""
        self._path = state / FILE_NAME if state is not None else None
        self._lock = threading.Lock()
        self._unkept = False
        self._seen: tuple[int, int, int] | None = None  # the file, as it was read last
        if self._path is not None:
            self._seen = _stamp(self._path)
            self.current = _read(self._path)

    @classmethod
    def everything(cls) -> Self:
        """Whatever is proposed is approved, and nothing is kept."""
        made = cls(None)
        made.current = Approved(True, automatic=True)
        return made

    def take(self, message: control_pb2.Approvals) -> None:
        """What the centre says holds from here on, in whole. On a disk that is full it holds all the same, and is kept as
        soon as that is possible (`keep`)."""
        self._hold(Approved.from_proto(message))

    def bring(self, message: control_pb2.Approvals, made_at_us: int) -> bool:
        """The same of what came on a disk, in an answer that the centre made then; False: what is known is newer."""
        now = replace(Approved.from_proto(message), made_at_us=made_at_us)
        known = self.current
        if made_at_us < known.made_at_us or (not known.made_at_us and now.revision < known.revision):
            return False
        self._hold(now)
        return True

    def look(self) -> None:
        """Takes what another process wrote down since this one looked last. Raises StateFolderUnusable."""
        if self._path is None or self._unkept or (stamp := _stamp(self._path)) in (None, self._seen):
            return
        written = _read(self._path)
        self._seen = stamp
        if written.heard and written != self.current:
            self._hold(written, kept=True)

    def _hold(self, now: Approved, *, kept: bool = False) -> None:
        """kept: it is written down already."""
        with self._lock:
            before, self.current, self.silent = self.current, now, ""
            if (before.heard, before.automatic, before.streams) != (True, now.automatic, now.streams):
                self.generation += 1
                journal.info("approvals", revision=now.revision, automatic=now.automatic, streams=len(now.streams))
            self._unkept = not kept and (self._unkept or before != now)
        self.keep()

    def keep(self) -> None:
        """Writes down what was not yet."""
        with self._lock:
            if not self._unkept or self._path is None:
                return
            try:
                kept.write(self._path, self.current.to_kept())
                self._unkept = False
            except StateFolderUnusable as error:
                journal.warning("approvals cannot be kept for now", reason=error)

    def why_waits(self) -> str:
        """Why nothing is approved at all, in words; empty when the centre has said something."""
        return "" if self.current.heard else self.silent or UNHEARD

    def why_not(self, stream: StreamName, table: TableSchema) -> str:
        """Why batches of this stream under this schema may not leave, in words; empty when they may."""
        if canary.is_canary(stream, table):
            return ""
        current = self.current
        if current.automatic:
            return ""
        lacking = current.lacking(stream, ((each.name, mask_of(each)) for each in table.columns))
        if not lacking:
            return ""
        return self.why_waits() or f"not approved: {listed(lacking)}"


def mask_of(column: Any) -> str:
    """The mask's kind of a field of a TableSchema."""
    mask: bytes = (column.metadata or {}).get(schema.MASK, b"")
    return mask.decode()


def listed(names: Iterable[str], most: int = 20) -> str:
    """Names for people, not too many."""
    shown = list(names)
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Another one when the file was replaced; None: there is none, or it cannot be asked."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _read(path: Path) -> Approved:
    content = kept.read(path, without="nothing is captured until the centre says again what it approves")
    if content is None:
        return Approved()
    try:
        return Approved.from_kept(content)
    except (KeyError, TypeError, ValueError, AttributeError, WireError) as error:
        raise StateFolderUnusable(
            f"{path} does not hold approvals",
            remedy="Remove it: nothing is captured until the centre says again what it approves.",
        ) from error
