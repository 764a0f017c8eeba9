"""Drain: what is committed at the sources now is captured, and all of it durable at the centre."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from contextlib import closing
from typing import Final, TypeAlias

from forebay_agent.control.addressing import Workers, find
from forebay_agent.control.reading import Emit
from forebay_agent.errors import AgentError, CommandTimeout, NotApproved, StreamPaused
from forebay_agent.lane import Lane
from forebay_agent.outbox import Outbox
from forebay_agent.polled import Awaited, Polled
from forebay_agent.source_worker import SourceWorker
from forebay_agent.stream_state import Board
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2

SECONDS: Final = 300
_LOOK_SECONDS: Final = 0.05

Poll: TypeAlias = Callable[[], Future[dict[StreamName, Polled]]]
"""Has tables of one source polled by its thread."""


def polling(worker: SourceWorker, lane: Lane, until: float) -> Poll:
    return lambda: worker.ask(lambda: {lane.name: worker.poll_through(lane, until)})


def _draining(worker: SourceWorker, until: float) -> Poll:
    return lambda: worker.ask(lambda: worker.drain(until))


def capture_through(polls: Sequence[Poll], board: Board, until: float) -> None:
    """Returns when everything that is committed now is captured, of tables that are in no trouble. Raises CommandTimeout, and
    CancelledError when a source's thread ends."""
    awaited = [(poll, Awaited()) for poll in polls]
    while awaited:
        jobs = [poll() for poll, _ in awaited]
        _, unfinished = wait(jobs, timeout=max(0.0, until - time.monotonic()))
        if unfinished:
            raise CommandTimeout("the sources were not read to their end in time")
        told: list[Mapping[StreamName, Polled]] = [job.result() for job in jobs]
        left = [tables.left(polled) for (_, tables), polled in zip(awaited, told, strict=True)]
        awaited = [each for each, names in zip(awaited, left, strict=True) if names]
        if not awaited:
            return
        if time.monotonic() > until:
            names = [name for of_source in left for name in of_source]
            raise CommandTimeout(f"not read to their end in time: {'; '.join(_why(board, name) for name in names)}")
        time.sleep(_LOOK_SECONDS)


def _why(board: Board, name: StreamName) -> str:
    waits = board.of(name).waits
    return f"{name} ({waits})" if waits else str(name)


class Draining:
    """Of all that the agent captures, or of one stream."""

    def __init__(self, outbox: Outbox, board: Board, workers: Workers) -> None:
        self._outbox = outbox
        self._board = board
        self._workers = workers

    def __call__(self, command: control_pb2.Command, emit: Emit) -> control_pb2.CommandResult:
        """Raises: CommandTimeout; AgentError naming the streams that are in trouble, StreamPaused those that are paused, when
        all the others are drained."""
        drain = command.drain
        seconds = drain.timeout_seconds or SECONDS
        until = time.monotonic() + seconds
        if drain.HasField("stream"):
            worker, lane = find(self._workers, drain.stream)
            polls = [polling(worker, lane, until)]
            names = {lane.name}
        else:
            workers = list(self._workers())
            polls = [_draining(worker, until) for worker in workers]
            names = {name for worker in workers for name in worker.lanes}
        capture_through(polls, self._board, until)
        self._sent(names, until, seconds)
        self._refuse_undrained(names)
        return control_pb2.CommandResult(
            effect=f"everything that was committed is durable at the centre ({len(names)} streams)"
        )

    def _sent(self, names: set[StreamName], until: float, seconds: int) -> None:
        """Waits until what is in the outbox now is durable."""
        with closing(self._outbox.reader()) as reader:
            aims = {record.id: (record.name, record.last) for record in reader.streams() if record.name in names}
            while aims:
                for number, (name, aim) in list(aims.items()):
                    first = reader.waiting(number, limit=1)
                    if not first or (first[0].epoch, first[0].seq) > aim or self._held(name):
                        del aims[number]
                if not aims:
                    break
                if time.monotonic() > until:
                    waits = ", ".join(str(name) for name, _ in aims.values())
                    raise CommandTimeout(f"not durable within {seconds} s: {waits}")
                time.sleep(_LOOK_SECONDS)

    def _refuse_undrained(self, names: set[StreamName]) -> None:
        states = [state for state in self._board.all() if state.name in names]
        troubles = [(state.name, state.trouble) for state in states if state.trouble is not None]
        if troubles:
            told = "; ".join(f"{name}: {trouble.reason}" for name, trouble in troubles)
            raise AgentError(f"streams in trouble: {told}")
        paused = [state for state in states if state.paused]
        if paused:
            raise StreamPaused(
                f"not captured, for they are paused: {'; '.join(f'{state.name} ({state.paused})' for state in paused)}"
            )

    def _held(self, name: StreamName) -> bool:
        """Whether what waits goes on only when a person did something."""
        sending = self._board.of(name).sending
        return sending is not None and (sending.held or sending.code == NotApproved.code)
