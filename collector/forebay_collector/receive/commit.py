"""Group commit: one thread takes what waits of all agents into archive and ledger, and only then answers.

    archive.write of each -> archive.sync, once -> one ledger transaction -> outcomes

While one group is being synced the next one gathers, so that many small batches share the price of few fsyncs. When
archive or ledger fail, every batch of the group and every one that waits behind it fails with that error: none is
acknowledged, none is kept in half, and the agents send again from their marks.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from forebay_collector.archive import Archive
from forebay_collector.errors import CollectorError, MarkMoved
from forebay_collector.ledger import Arrival, Ledger

MOST_BATCHES: Final = 2_000
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pending:
    """A batch that waits, and where its outcome is told: None when it is durable. since: monotonic seconds."""

    arrival: Arrival
    outcome: asyncio.Future[Exception | None]
    since: float = field(default_factory=time.monotonic)


class Count(Protocol):
    """Hears of every batch once when it comes and once when its outcome is known."""

    def count_received(self, rows: int, size: int) -> None:
        """One came: its rows and bytes."""

    def count_durable(self, size: int, waits_s: Iterable[float]) -> None:
        """These are durable: bytes of all together, seconds that each waited."""

    def count_not_durable(self, batches: int) -> None:
        """So many could not be made durable."""


class Committer:
    """`submit` from the event loop; `step` from one thread. `group_bytes` bounds one group. count: None: nobody counts."""

    def __init__(self, archive: Archive, ledger: Ledger, group_bytes: int, count: Count | None = None) -> None:
        self._count = count
        self._archive = archive
        self._ledger = ledger
        self._group_bytes = group_bytes
        self._waiting: list[Pending] = []
        self._changed = threading.Condition()
        self._stopping = False

    def submit(self, pending: Pending) -> None:
        """What is waiting is bounded by the windows and the memory of `upload.py`."""
        if self._count is not None:
            batch = pending.arrival.batch
            self._count.count_received(batch.fields.rows, batch.size)
        with self._changed:
            self._waiting.append(pending)
            self._changed.notify()

    def stop(self) -> None:
        """`step` returns None once everything that waits was committed."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def step(self, timeout_s: float) -> int | None:
        """Commits one group, waiting for one up to `timeout_s`; -> its batches, None when stopped and nothing waits."""
        with self._changed:
            if not self._waiting and not self._stopping:
                self._changed.wait(timeout_s)
            group = self._take()
            if not group:
                return None if self._stopping else 0
        try:
            left = self._commit([pending.arrival for pending in group])
        except CollectorError as error:
            self._archive.abort()
            with self._changed:
                group += self._waiting
                self._waiting = []
            _log.error("commit failed batches=%d code=%s reason=%s", len(group), error.code, error)
            if self._count is not None:
                self._count.count_not_durable(len(group))
            _tell(group, [error] * len(group))
            return len(group)
        self._note(group, left)
        _tell(group, [_moved(pending.arrival) if id(pending.arrival) in left else None for pending in group])
        return len(group)

    def _note(self, group: Sequence[Pending], left: set[int]) -> None:
        if self._count is None:
            return
        now = time.monotonic()
        durable = [pending for pending in group if id(pending.arrival) not in left]
        size = sum(pending.arrival.batch.size for pending in durable)
        self._count.count_durable(size, [now - pending.since for pending in durable])
        if left:
            self._count.count_not_durable(len(left))

    def _take(self) -> list[Pending]:
        size = 0
        for number, pending in enumerate(self._waiting):
            size += pending.arrival.batch.size
            if number and (size > self._group_bytes or number == MOST_BATCHES):
                group, self._waiting = self._waiting[:number], self._waiting[number:]
                return group
        group, self._waiting = self._waiting, []
        return group

    def _commit(self, arrivals: Sequence[Arrival]) -> set[int]:
        for arrival in arrivals:
            self._archive.write(arrival.batch)
        self._archive.sync()
        return {id(arrival) for arrival in self._ledger.batches.receive(arrivals)}


def _moved(arrival: Arrival) -> MarkMoved:
    batch = arrival.batch
    return MarkMoved(f"{arrival.stream} epoch {batch.epoch} seq {batch.seq} does not attach to the ledger's mark")


def _tell(group: Sequence[Pending], outcomes: Sequence[Exception | None]) -> None:
    """Tells all of them in one turn of their loop."""
    loop = group[0].outcome.get_loop()

    def tell() -> None:
        for pending, outcome in zip(group, outcomes, strict=True):
            pending.outcome.set_result(outcome)

    loop.call_soon_threadsafe(tell)
