"""Where an agent's time goes: CPU and wall seconds of each stage, taken around the functions that begin it.

Only for benchmarks: the functions are replaced in this process before the agent is made. A stage's seconds are without
those of the stages that it calls, and CPU is that of its thread alone; what Arrow's own threads spend (they compress) is
the process's CPU less the sum, told as a stage of its own.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, Final

from bench.figures import Stage
from forebay_agent import sealing
from forebay_agent.capture.chunks import KeyedCopy
from forebay_agent.capture.log import LogReader
from forebay_agent.capture.source import Source
from forebay_agent.log.opening import Opened, Opening
from forebay_agent.log.pipeline import LogPipeline
from forebay_agent.log.putting import LogSealer
from forebay_agent.outbox import Outbox
from forebay_agent.pipeline import StreamPipeline
from forebay_agent.source_worker import SourceWorker
from forebay_agent.transform import Transform
from forebay_wire import codec
from forebay_wire.digest import DigestAlgorithm
from forebay_wire.stream import StreamName

OTHERS: Final = "Arrow's threads, and all else"
_ON_THE_SEALERS_THREAD: Final = (
    (LogSealer, "put", "seal thread: rest"),
    (StreamPipeline, "_keep", "seal thread: rest"),
    (Transform, "apply", "transform"),
    (sealing, "seal", "seal: header, counts"),
    (codec, "encode", "seal: encode, compress"),
    (DigestAlgorithm, "__call__", "seal: digest"),
    (Outbox, "put_log", "outbox: put"),
    (Outbox, "put", "outbox: put"),
)
_ON_THE_SOURCES_THREAD: Final = (
    (LogPipeline, "step", "source thread: rest, and waiting for the sealer"),
    (StreamPipeline, "step", "source thread: rest, and waiting for the sealer"),
    (KeyedCopy, "begin", "snapshot: chunk"),
    (KeyedCopy, "finish", "snapshot: drop keys that the log told"),
)


class Stages:
    """Any thread may run any stage."""

    def __init__(self) -> None:
        self._spent: dict[str, list[float]] = {}
        self._lock = threading.Lock()
        self._local = threading.local()

    def install(self) -> None:
        """Replaces the functions; once, before the agent is made."""
        for owner, name, stage in (*_ON_THE_SEALERS_THREAD, *_ON_THE_SOURCES_THREAD):
            setattr(owner, name, self.timed(stage, getattr(owner, name)))
        Outbox.delete = self.timed("outbox: delete", Outbox.delete)  # type: ignore[method-assign]
        opening, session = Opening.open, SourceWorker.session
        seen: set[tuple[type, str]] = set()

        def with_session(this: SourceWorker) -> Source:
            source = session(this)
            for name in ("read", "read_chunk"):
                self._replace_once(seen, type(source), name, "snapshot: read, decode", of_iterator=True)
            return source

        def opened(this: Opening, source: Source, paused: frozenset[StreamName] = frozenset()) -> Opened:
            result = opening(this, source, paused)
            reader: LogReader | None = result.reader
            if reader is not None:
                self._replace_once(seen, type(reader), "read", "log: read, decode")
            return result

        SourceWorker.session = with_session  # type: ignore[method-assign, assignment]
        Opening.open = opened  # type: ignore[method-assign, assignment]

    def timed(self, stage: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            with _Span(self, stage):
                return function(*arguments, **named)

        return call

    def timed_iterator(self, stage: str, function: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        def call(*arguments: Any, **named: Any) -> Iterator[Any]:
            iterator = function(*arguments, **named)
            try:
                while True:
                    with _Span(self, stage):
                        item = next(iterator, self)
                    if item is self:
                        return
                    yield item
            finally:
                close = getattr(iterator, "close", None)
                if close is not None:
                    close()

        return call

    def told(self, process_cpu: float) -> dict[str, dict[str, float]]:
        """Stages as JSON; `process_cpu`: seconds of the whole process meanwhile."""
        with self._lock:
            stages = {name: Stage(cpu, wall, int(calls)) for name, (cpu, wall, calls) in self._spent.items()}
        stages[OTHERS] = Stage(process_cpu - sum(stage.cpu for stage in stages.values()), 0.0, 0)
        return {name: asdict(stage) for name, stage in stages.items()}

    def _replace_once(
        self, seen: set[tuple[type, str]], owner: type, name: str, stage: str, *, of_iterator: bool = False
    ) -> None:
        if (owner, name) not in seen and hasattr(owner, name):
            seen.add((owner, name))
            wrap = self.timed_iterator if of_iterator else self.timed
            setattr(owner, name, wrap(stage, getattr(owner, name)))

    def _stack(self) -> list[list[float]]:
        stack: list[list[float]] | None = getattr(self._local, "stack", None)
        if stack is None:
            stack = self._local.stack = []
        return stack

    def _add(self, stage: str, cpu: float, wall: float) -> None:
        with self._lock:
            spent = self._spent.setdefault(stage, [0.0, 0.0, 0.0])
            spent[0] += cpu
            spent[1] += wall
            spent[2] += 1


class _Span:
    """One call. What it takes is counted against the span around it as well, to be taken off there."""

    def __init__(self, stages: Stages, stage: str) -> None:
        self._stages = stages
        self._stage = stage

    def __enter__(self) -> None:
        self._stack = self._stages._stack()
        self._stack.append([0.0, 0.0])
        self._wall, self._cpu = time.perf_counter(), time.thread_time()

    def __exit__(self, *_: object) -> None:
        cpu, wall = time.thread_time() - self._cpu, time.perf_counter() - self._wall
        inner_cpu, inner_wall = self._stack.pop()
        self._stages._add(self._stage, cpu - inner_cpu, wall - inner_wall)
        if self._stack:
            self._stack[-1][0] += cpu
            self._stack[-1][1] += wall
