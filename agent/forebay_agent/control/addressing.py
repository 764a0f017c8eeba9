"""Which streams of this agent a command speaks of."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeAlias

from forebay_agent.errors import StreamUnknown
from forebay_agent.lane import Lane
from forebay_agent.pauses import Scope
from forebay_agent.source_worker import SourceWorker
from forebay_wire.errors import WireError
from forebay_wire.stream import StreamName
from forebay_wire.v1 import batch_pb2, control_pb2

Workers: TypeAlias = Callable[[], Collection[SourceWorker]]
"""The sources' threads as they are now."""


def name_of(stream: batch_pb2.Stream) -> StreamName:
    """Raises StreamUnknown when it is no name."""
    try:
        return StreamName.from_proto(stream)
    except WireError as error:
        raise StreamUnknown(f"the command names no stream: {error}") from None


def find(workers: Workers, stream: batch_pb2.Stream) -> tuple[SourceWorker, Lane]:
    """Raises StreamUnknown when no source of this agent has it."""
    name = name_of(stream)
    for worker in workers():
        lane = worker.lanes.get(name)
        if lane is not None:
            return worker, lane
    raise StreamUnknown(f"{name}: is not configured at this agent")


def scope_of(scope: control_pb2.Scope) -> Scope:
    """Raises StreamUnknown when it names a stream that is none."""
    if scope.HasField("stream"):
        return Scope(scope.stream.source, str(name_of(scope.stream)))
    return Scope(scope.source)


def in_scope(workers: Workers, scope: Scope) -> list[tuple[SourceWorker, list[Lane]]]:
    """The lanes that a scope covers, by source. Raises StreamUnknown when it names what is not configured."""
    found = []
    for worker in workers():
        lanes = [lane for name, lane in worker.lanes.items() if scope.covers(name)]
        if lanes:
            found.append((worker, lanes))
    if not found and scope != Scope():
        raise StreamUnknown(f"{scope}: is not configured at this agent")
    return found
