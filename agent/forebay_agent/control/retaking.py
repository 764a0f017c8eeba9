"""TakeSnapshot: a table, or a range of its keys, is read anew while its changes go on; as `forebay-agent snapshot` does."""

from __future__ import annotations

import json
from functools import partial
from typing import Final

import pyarrow as pa

from forebay_agent.capture import marks
from forebay_agent.capture.plan import describe
from forebay_agent.capture.source import TableShape
from forebay_agent.control.addressing import Workers, find
from forebay_agent.control.reading import Emit
from forebay_agent.errors import CommandTimeout, CommandUnfit, KeyMissing
from forebay_agent.lane import Lane
from forebay_agent.log.stream import LOG
from forebay_agent.outbox import Outbox
from forebay_agent.source_worker import SourceWorker
from forebay_wire.errors import LimitExceeded
from forebay_wire.key_range import KeyRange
from forebay_wire.v1 import control_pb2

WHO: Final = "the centre"
DESCRIBE_SECONDS: Final = 60.0


class Retaking:
    def __init__(self, outbox: Outbox, workers: Workers) -> None:
        self._outbox = outbox
        self._workers = workers

    def __call__(self, command: control_pb2.Command, emit: Emit) -> control_pb2.CommandResult:
        """Raises: StreamUnknown; CommandUnfit for a range that the stream cannot take; what describing the table raises."""
        asked = command.take_snapshot
        worker, lane = find(self._workers, asked.stream)
        why = f"command {command.command_id}"
        waits = f"; it begins when the stream is not paused any more ({lane.paused})" if lane.paused else ""
        record = self._outbox.stream(lane.name)
        if not (asked.from_key or asked.to_key):
            record = self._outbox.reset(lane.name, who=WHO, why=why)
            worker.ask(partial(_at_once, lane))
            effect = f"{lane.name}: epoch {record.epoch} begins with a new snapshot of the whole table{waits}"
            return control_pb2.CommandResult(effect=effect, epoch=record.epoch)
        if lane.table.mode != LOG:
            raise CommandUnfit(f"{lane.name}: only a stream in mode log can take a range of its keys anew")
        bounds = _bounds(_described(worker, lane), asked.from_key, asked.to_key)
        self._outbox.request_range(lane.name, bounds, who=WHO, why=why)
        low, high = bounds.at_least or "the first", bounds.through or "the last"
        effect = (
            f"{lane.name}: rows whose first key column lies from {low} through {high} are read anew and replaced{waits}"
        )
        return control_pb2.CommandResult(effect=effect, epoch=record.epoch)


def _at_once(lane: Lane) -> None:
    lane.due = 0.0


def _described(worker: SourceWorker, lane: Lane) -> TableShape:
    """On the source's thread."""
    try:
        return worker.ask(lambda: describe(worker.session(), lane.table)).result(DESCRIBE_SECONDS)
    except TimeoutError:
        raise CommandTimeout(f"source {worker.config.name} was busy for {DESCRIBE_SECONDS:.0f} s") from None


def _bounds(shape: TableShape, from_key: str, to_key: str) -> KeyRange:
    """Raises CommandUnfit, KeyMissing."""
    if not shape.key:
        raise KeyMissing(f"{shape.table} has no key: it has no ranges of keys")
    column = shape.column(shape.key[0])
    kind = column.arrow
    ordered = (pa.types.is_integer, pa.types.is_decimal, pa.types.is_date, pa.types.is_timestamp)
    if not any(fits(kind) for fits in ordered):
        raise CommandUnfit(
            f"{shape.table}: the first key column {column.name} is {column.origin}: ranges are of numbers, dates and times",
            remedy="Take the whole table anew.",
        )
    low, high = (_bound(column.name, kind, text) for text in (from_key, to_key))
    if low is not None and high is not None and low.as_py() > high.as_py():
        raise CommandUnfit("the range ends before it begins", remedy="Put the lower key first.")
    try:
        return KeyRange(*(None if bound is None else _text(bound) for bound in (low, high)))
    except LimitExceeded as error:
        raise CommandUnfit(str(error), remedy="Give shorter values.") from None


def _bound(name: str, kind: pa.DataType, text: str) -> pa.Scalar | None:
    """Of a JSON list of key values the first, in the column's type; None for the open end."""
    if not text:
        return None
    remedy = f'Give a JSON list of the key\'s values, the first one for {name} ({kind}): [1000] or ["2025-01-31"].'
    try:
        values = json.loads(text)
        if not isinstance(values, list) or not values:
            raise ValueError("not a list")
        first = values[0]
        if isinstance(first, bool) or not isinstance(first, int | str):
            raise ValueError("neither number nor text")
        return pa.scalar(str(first)).cast(kind)
    except (ValueError, pa.ArrowException, RecursionError):
        raise CommandUnfit("a bound of the range cannot be read", remedy=remedy) from None


def _text(bound: pa.Scalar) -> str:
    rows = pa.RecordBatch.from_arrays([pa.array([bound.as_py()], bound.type)], names=["bound"])
    return marks.to_texts(rows, ("bound",), 0)[0]
