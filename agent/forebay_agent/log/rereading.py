"""Single keys of a stream in mode log, read anew beside the log (see `capture/keys.py`), as chunks of a snapshot are.

The keys are read from a snapshot of the database that holds everything the log has told so far; then the log goes on until
it has passed all that this could have seen. What it tells of a key meanwhile is newer: that key is left to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from forebay_agent.capture.keys import KEYS_AT_ONCE, KeysReading, Reread, values_of
from forebay_agent.capture.source import RowRange
from forebay_agent.errors import AgentError, CommandTimeout, CommandUnfit
from forebay_agent.log.putting import Rows
from forebay_agent.log.stream import LOG, LogStream
from forebay_wire.stream import StreamName

if TYPE_CHECKING:
    from forebay_agent.log.pipeline import LogPipeline


def reread(
    pipeline: LogPipeline, name: StreamName, keys: Sequence[bytes], cause: str, going_on: Callable[[], bool]
) -> Reread:
    """Returns when all of them are in the outbox. going_on: whether there is time left. On the source's thread.

    Raises CommandUnfit, CommandTimeout, AgentError when the table was defined otherwise meanwhile, and as `step`.
    """
    done = Reread()
    for start in range(0, len(keys), KEYS_AT_ONCE):
        done += _some(pipeline, name, keys[start : start + KEYS_AT_ONCE], cause, going_on)
    return done


def _some(
    pipeline: LogPipeline, name: StreamName, keys: Sequence[bytes], cause: str, going_on: Callable[[], bool]
) -> Reread:
    stream = _followed(pipeline, name, going_on)
    shape = stream.captured.shape
    if not shape.key:
        raise CommandUnfit(
            f"{name} has no key: its rows cannot be read one by one", remedy="Take the whole table anew."
        )
    rows = RowRange(shape.key, among=values_of(shape, keys))
    reading = KeysReading.of(stream.captured, keys, pipeline.source.read_chunk(shape, rows, pipeline.reader))
    target = pipeline.source.log_end()
    stream.reread = reading
    try:
        while not pipeline.reached(target):
            _go_on(pipeline, name, going_on)
            if stream.reread is not reading:
                raise AgentError(
                    f"{name}: what it is captured as changed while its keys were read", remedy="Repair it again."
                )
        sent, done = reading.rows(cause)
    finally:
        stream.reread = None
    if sent.num_rows:
        work = pipeline.work()
        work.add(stream, Rows(shape, sent))
        pipeline.hand(work)
    pipeline.handed_over()
    return done


def _followed(pipeline: LogPipeline, name: StreamName, going_on: Callable[[], bool]) -> LogStream:
    """The stream, once the log is listened to and at the end of a transaction."""
    while not pipeline.listening or pipeline.open:
        _go_on(pipeline, name, going_on)
    stream = next((each for each in pipeline.streams.values() if each.name == name), None)
    if stream is None or stream.parked or stream.checkpoint.phase != LOG:
        raise CommandUnfit(
            f"{name}: the log is not followed for it now, or its snapshot is under way",
            remedy="See `forebay-agent status`; repair it when its snapshot is complete.",
        )
    return stream


def _go_on(pipeline: LogPipeline, name: StreamName, going_on: Callable[[], bool]) -> None:
    if not going_on():
        raise CommandTimeout(f"{name}: the log was not read far enough in time; what was not repaired stays as it was")
    pipeline.step()
