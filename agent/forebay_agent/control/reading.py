"""Digests of a table as it is at its source, through the same transform as its stream (`forebay_wire.canonical`).

Runs as a job on the source's thread. After the table was read its stream is polled to its end, so that everything read
is sealed at or below the seq that the answer names, save what the capture still waits for at the source.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from typing import Final

import pyarrow as pa

from forebay_agent.capture.plan import describe
from forebay_agent.capture.source import RowRange
from forebay_agent.capture.table import CapturedTable
from forebay_agent.errors import AgentError, KeyMissing, NotApproved
from forebay_agent.lane import Lane
from forebay_agent.outbox import Outbox
from forebay_agent.source_worker import SourceWorker
from forebay_agent.transform import Transform
from forebay_wire.canonical import TableDigest, bucket, canonical_rows, digests, key_text, select
from forebay_wire.columns import Op
from forebay_wire.v1 import control_pb2

MOST_KEYS: Final = 10_000
_POLL_SECONDS: Final = 60.0

Emit = Callable[[control_pb2.CommandResult], None]


def source_digest(worker: SourceWorker, lane: Lane, outbox: Outbox) -> control_pb2.CommandResult:
    """Answers rows and digest of every bucket. Raises what reading the table raises."""
    table = TableDigest()
    for keys, _, rows in _pieces(worker, lane):
        table.add(keys, rows)
    answer = _ending(worker, lane, outbox)
    answer.rows = table.count
    answer.effect = f"{lane.name}: read at its source, {table.count:,} rows"
    answer.buckets.extend(
        control_pb2.BucketDigest(bucket=number, rows=rows, digest=digest) for number, rows, digest in table
    )
    return answer


def source_keys(
    worker: SourceWorker, lane: Lane, outbox: Outbox, buckets: Collection[int], emit: Emit
) -> control_pb2.CommandResult:
    """Answers every key of these buckets with its row's digest, at most MOST_KEYS in one message."""
    wanted = frozenset(buckets)
    part = control_pb2.CommandResult()
    count = 0
    for keys, key_columns, rows in _pieces(worker, lane):
        chosen = [number for number, key in enumerate(keys) if bucket(key) in wanted]
        if not chosen:
            continue
        places = pa.array(chosen, pa.int64())
        for text, number in zip(key_text([column.take(places) for column in key_columns]), chosen, strict=True):
            part.keys.append(control_pb2.KeyDigest(key=text, digest=rows[number]))
            count += 1
            if len(part.keys) == MOST_KEYS:
                emit(part)
                part = control_pb2.CommandResult()
    answer = _ending(worker, lane, outbox)
    answer.rows = count
    answer.keys.extend(part.keys)
    answer.effect = f"{lane.name}: read at its source, {count:,} keys told"
    return answer


def _pieces(worker: SourceWorker, lane: Lane) -> Iterator[tuple[list[bytes], list[pa.Array], list[bytes]]]:
    """The table in pieces: key digests, key columns, row digests. Raises NotApproved: digests tell of rows, too."""
    if lane.unapproved:
        raise NotApproved(f"{lane.name} is not read: {lane.unapproved}")
    source = worker.session()
    shape = describe(source, lane.table)
    table = CapturedTable(source, shape, lambda: shape, lane.table, worker.config.batch_rows, time.monotonic)
    transform = Transform(shape, lane.table)
    schema = transform.schema
    if not schema.key:
        raise KeyMissing(f"{lane.name} has no key: its rows cannot be compared one by one")
    columns = [field.name for field in schema.columns]
    for piece, _ in table.pieces(RowRange(order=schema.key)):
        worker.tick()
        if worker.stopping:
            raise AgentError("the source's thread is stopping")
        if not piece.num_rows:
            continue
        rows = transform.apply(table.finished(piece, Op.READ.value, ""))
        key_columns = select(rows, schema.key)
        yield digests(canonical_rows(key_columns)), key_columns, digests(canonical_rows(select(rows, columns)))


def _ending(worker: SourceWorker, lane: Lane, outbox: Outbox) -> control_pb2.CommandResult:
    worker.poll_through(lane, time.monotonic() + _POLL_SECONDS)
    record = outbox.stream(lane.name)
    return control_pb2.CommandResult(epoch=record.epoch, seq=record.next_seq - 1)
