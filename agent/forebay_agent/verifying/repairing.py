"""Repair: keys that differ are read anew, and sent beside the changes that go on. A job on the source's thread.

A stream in mode log: `log/rereading.py`. In the other modes whoever asks has had the stream polled to its end, so that
nothing older follows what is sent now; a change that its mode tells of later is captured after it, and the last one wins.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from forebay_agent.capture.keys import KEYS_AT_ONCE, KeysReading, Reread, values_of
from forebay_agent.capture.plan import describe
from forebay_agent.capture.snapshot import SNAPSHOT
from forebay_agent.capture.source import RowRange
from forebay_agent.capture.table import START, CapturedTable
from forebay_agent.errors import CommandUnfit, KeyMissing
from forebay_agent.lane import Lane
from forebay_agent.log.rereading import reread
from forebay_agent.log.stream import LOG
from forebay_agent.outbox import Outbox
from forebay_agent.pipeline import checkpoint_of
from forebay_agent.source_worker import SourceWorker


def repair(worker: SourceWorker, lane: Lane, outbox: Outbox, keys: Sequence[bytes], cause: str, until: float) -> Reread:
    """keys: canonical bytes. until: on the monotonic clock. Raises CommandUnfit while the table is being copied, KeyMissing,
    and what reading raises."""

    def going_on() -> bool:
        worker.tick()
        return not worker.stopping and time.monotonic() < until

    if lane.table.mode == LOG:
        assert worker.log is not None
        return reread(worker.log, lane.name, keys, cause, going_on)
    if checkpoint_of(outbox.stream(lane.name)).phase in (START, SNAPSHOT):
        raise CommandUnfit(f"{lane.name}: its snapshot is under way", remedy="Repair it when its snapshot is complete.")
    return _polled(worker, lane, keys, cause, going_on)


def _polled(
    worker: SourceWorker, lane: Lane, keys: Sequence[bytes], cause: str, going_on: Callable[[], bool]
) -> Reread:
    pipeline, source = worker.opened(lane), worker.session()
    shape = describe(source, lane.table)
    if not shape.key:
        raise KeyMissing(f"{lane.name} has no key: its rows cannot be read one by one")
    table = CapturedTable(source, shape, lambda: shape, lane.table, worker.config.batch_rows, time.monotonic)
    done = Reread()
    for start in range(0, len(keys), KEYS_AT_ONCE):
        some = keys[start : start + KEYS_AT_ONCE]
        pieces = source.read(shape, RowRange(shape.key, among=values_of(shape, some)))
        rows, more = KeysReading.of(table, some, pieces).rows(cause)
        pipeline.send(rows)
        done += more
        if not going_on():
            raise CommandUnfit(f"{lane.name}: the agent stops, or it took too long", remedy="Repair it again.")
    return done
