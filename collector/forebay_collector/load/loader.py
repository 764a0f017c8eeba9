"""The loader's step: the next group of one stream from the archive into the platform, then the ledger, then the agent.

    ledger (which batches) -> archive (their bytes) -> opened rows -> platform.apply -> ledger.mark_loaded -> told

**The platform's own commit carries the mark.** A crash after `apply` and before `mark_loaded` is settled at the next
start: what the platform says that it holds is marked as loaded. Nothing depends on it being settled, though: a platform
passes over batches that it has. A platform that holds **less** than the ledger says (it was restored from an old copy,
or its folder is gone, or it let go of what it did not show yet) is brought up from the archive first, without the
ledger's marks moving back.

A failure is classified by `policy.py`. Tried again: the step returns and the schedule comes back after a growing pause;
the attempts are counted at the batch, in the ledger. Not tried again, or tried often enough: the batch goes into
quarantine and holds its stream, and no other. A group that fails for good, or for the second time, is loaded batch by
batch, so that it is the guilty one that is put into quarantine. Of a transaction that a batch in quarantine is part of,
the platform shows nothing until that batch is replayed or discarded. Of a discarded batch that ends a snapshot the
platform gets what its header says and none of its rows, so that the snapshot does end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from forebay_collector.archive import Archive
from forebay_collector.errors import LedgerDamaged, LedgerRowDamaged, LedgerUnavailable
from forebay_collector.ledger import Ledger, StreamRecord
from forebay_collector.load import group, policy, succession
from forebay_collector.load.group import GroupSize, Waiting
from forebay_collector.load.open import Opener, shell_of
from forebay_collector.load.policy import Kind, LoadPolicy
from forebay_collector.platform.contract import OpenedBatch, Platform, PlatformError, PlatformMark
from forebay_wire.stream import StreamName

_LOG: Final = logging.getLogger("forebay.load")

Told = Callable[[StreamName, int, int], None]
"""Hears of every (stream, epoch, seq) up to which a stream is loaded."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a step came to. loaded: the stream may have more. pause_s: not before so many seconds again."""

    loaded: bool = False
    pause_s: float = 0.0


class Loader:
    """Loads streams; different streams may be loaded by different threads at the same time, one stream by one only."""

    def __init__(
        self,
        ledger: Ledger,
        archive: Archive,
        platform: Platform,
        told: Told,
        *,
        size: GroupSize = GroupSize(),  # noqa: B008  frozen
        policies: Mapping[Kind, LoadPolicy] = policy.POLICIES,
        count: Callable[[int], None] = lambda _: None,
    ) -> None:
        """count: hears how many batches each load of new ones took."""
        self._ledger = ledger
        self._opener = Opener(ledger, archive)
        self._platform = platform
        self._told = told
        self._size = size
        self._policies = policies
        self._count = count

    def settle(self) -> None:
        """Brings the ledger up to what the platform's own commits say, and a platform that lost batches up to the ledger.

        What cannot be brought up now is tried again before the stream's next load. Raises LedgerUnavailable, LedgerDamaged,
        PlatformError.
        """
        for stream in self._ledger.streams.listing():
            mark = self._platform.mark(stream.name)
            if (mark.epoch, mark.seq) > stream.loaded:
                if self._mark(stream.name, mark):
                    _LOG.info(
                        "%s: the platform holds up to %d/%d; the ledger follows", stream.name, mark.epoch, mark.seq
                    )
            else:
                try:
                    self._bring_up(stream)
                except (LedgerUnavailable, LedgerDamaged):
                    raise
                except Exception as error:
                    failure = policy.classify(error)
                    _LOG.error("%s: the platform lost batches: %s: %s", stream.name, failure.code, failure.reason)

    def load_step(self, stream: StreamName) -> bool:
        """Loads the stream's next group, if one is ready; whether something was loaded. Raises as `step`."""
        return self.step(stream).loaded

    def step(self, stream: StreamName) -> Step:
        """As `load_step`. Raises LedgerUnavailable, LedgerDamaged: without the ledger nothing can be decided."""
        record = self._ledger.streams.get(stream)
        if record is None or record.hold is not None:
            return Step()
        try:
            taken, more = group.waiting(self._ledger, record, self._size)
        except LedgerRowDamaged as error:
            return self._failed(stream, error.at, error)
        chosen = group.ready(taken, more, self._ledger.database.clock(), self._size)
        if not chosen:
            return Step()
        if chosen[0].at <= record.loaded:
            how = "it waits, and the stream's loaded mark is beyond it"
            return self._failed(stream, chosen[0].at, succession.altered(stream, chosen[0].at, how))
        try:
            self._bring_up(record)
        except (LedgerUnavailable, LedgerDamaged):
            raise
        except Exception as error:
            return self._failed(stream, chosen[0].at, error)
        if len(chosen) == 1 or chosen[0].attempts > 1:
            return self._one_by_one(record, chosen)
        try:
            self._apply(record, chosen)
        except (LedgerUnavailable, LedgerDamaged):
            raise
        except Exception as error:
            failure = policy.classify(error)
            if self._policies[failure.kind].attempts > 1:
                return self._failed(stream, chosen[0].at, error)
            return self._one_by_one(record, chosen)
        return Step(loaded=True)

    def maintain(self, stream: StreamName) -> bool:
        """The platform's own upkeep of the stream, between loads; whether anything was done. A failure is logged: the
        next load goes on without it."""
        try:
            return self._platform.maintain(stream)
        except Exception as error:
            failure = policy.classify(error)
            _LOG.warning("%s: upkeep of the platform failed: %s: %s", stream, failure.code, failure.reason)
            return False

    def _bring_up(self, stream: StreamRecord) -> None:
        """Loads again what the ledger knows as loaded and the platform does not hold. Raises what a load raises."""
        while (mark := self._platform.mark(stream.name)) < PlatformMark(*stream.loaded):
            chosen = group.lost(self._ledger, stream, mark, self._size)
            if not chosen:
                return  # what it lacks was discarded
            first, last = chosen[0].at, chosen[-1].at
            _LOG.warning("%s: the platform lost %d/%d to %d/%d; loading them again", stream.name, *first, *last)
            self._put(stream, chosen)

    def _one_by_one(self, stream: StreamRecord, chosen: Sequence[Waiting]) -> Step:
        for number, waiting in enumerate(chosen):
            try:
                self._apply(stream, [waiting])
            except (LedgerUnavailable, LedgerDamaged):
                raise
            except Exception as error:
                failed = self._failed(stream.name, waiting.at, error)
                return Step(loaded=number > 0, pause_s=failed.pause_s)
        return Step(loaded=True)

    def _apply(self, stream: StreamRecord, chosen: Sequence[Waiting]) -> None:
        if self._mark(stream.name, self._put(stream, chosen)):
            self._count(len(chosen))

    def _put(self, stream: StreamRecord, chosen: Sequence[Waiting]) -> PlatformMark:
        last = PlatformMark(*chosen[-1].at)
        reached = self._platform.apply(stream.name, self._open(stream, chosen))
        if reached < last:
            raise PlatformError(
                f"{stream.name}: the platform says {reached.epoch}/{reached.seq} after loading {last.epoch}/{last.seq}",
                code="FB-PLATFORM-MARK",
                permanent=False,
            )
        return last

    def _open(self, stream: StreamRecord, chosen: Sequence[Waiting]) -> list[OpenedBatch]:
        """The batches, and between them the empty shells of discarded ones that end a snapshot."""
        mark = self._platform.mark(stream.name)
        way = succession.follow(self._ledger, stream, mark, {waiting.at for waiting in chosen})
        shells = way.given_up
        made: list[OpenedBatch] = []
        for waiting in chosen:
            if waiting.at <= (mark.epoch, mark.seq):
                continue  # the platform has it
            batch = self._opener.open(stream.name, *waiting.at, way.headers[waiting.at])
            while shells and (shells[0].header.epoch, shells[0].header.seq) < waiting.at:
                shell = shells.pop(0)
                if shell.header.epoch == batch.epoch:
                    made.append(shell_of(shell.header, batch.schema, shell.code))
            made.append(batch)
        return made

    def _mark(self, stream: StreamName, mark: PlatformMark) -> bool:
        moved = self._ledger.batches.mark_loaded(stream, mark.epoch, mark.seq)
        if moved:
            self._told(stream, mark.epoch, mark.seq)
        return moved

    def _failed(self, stream: StreamName, at: tuple[int, int], error: Exception) -> Step:
        """Counts the failure at the batch; -> when to try again, unless it went into quarantine."""
        failure = policy.classify(error)
        rule = self._policies[failure.kind]
        epoch, seq = at
        attempts = self._ledger.batches.note_failure(stream, epoch, seq, failure.code, failure.reason)
        known = failure.kind is not Kind.UNKNOWN
        if attempts < rule.attempts:
            pause_s = rule.pause(attempts)
            _LOG.warning(
                "%s %d/%d: attempt %d of %d failed, again in %.1f s: %s: %s",
                *(stream, epoch, seq, attempts, rule.attempts, pause_s, failure.code, failure.reason),
                exc_info=None if known else error,
            )
            return Step(pause_s=pause_s)
        self._ledger.quarantine.put(stream, epoch, seq, failure.code, failure.reason)
        _LOG.error(
            "%s %d/%d: quarantined, the stream is held: %s: %s",
            *(stream, epoch, seq, failure.code, failure.reason),
            exc_info=None if known else error,
        )
        return Step()
