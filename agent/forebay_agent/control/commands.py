"""What each command does. Every command runs in a thread of its own; what reads a source runs as a job of that source."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import CancelledError, wait
from contextlib import closing
from functools import partial
from typing import Final

from forebay_agent import journal
from forebay_agent.control import reading
from forebay_agent.control.reading import Emit
from forebay_agent.errors import AgentError, CommandTimeout, StreamUnknown
from forebay_agent.lane import Lane
from forebay_agent.outbox import Outbox
from forebay_agent.source_worker import SourceWorker
from forebay_agent.stream_state import Board
from forebay_wire.errors import WireError
from forebay_wire.stream import StreamName
from forebay_wire.v1 import batch_pb2, control_pb2

_DRAIN_SECONDS: Final = 300
_LOOK_SECONDS: Final = 0.05


class Commands:
    """workers: the sources' threads as they are now."""

    def __init__(self, outbox: Outbox, board: Board, workers: Callable[[], Collection[SourceWorker]]) -> None:
        self._outbox = outbox
        self._board = board
        self._workers = workers

    def start(self, command: control_pb2.Command, emit: Emit) -> None:
        """Begins a command; `emit` is called, from another thread, with its answer's parts."""
        threading.Thread(target=self.execute, args=(command, emit), name="command", daemon=True).start()

    def execute(self, command: control_pb2.Command, emit: Emit) -> None:
        """Carries a command out to its end. Never raises: what goes wrong is the answer."""
        kind = command.WhichOneof("kind")
        journal.info("command", kind=kind, command=command.command_id)
        try:
            if kind == "drain":
                only = self._find(command.drain.stream) if command.drain.HasField("stream") else None
                self._drain(command.drain.timeout_seconds or _DRAIN_SECONDS, only)
                emit(control_pb2.CommandResult(command_id=command.command_id, done=True))
            elif kind == "source_digest":
                worker, lane = self._find(command.source_digest.stream)
                job = partial(reading.source_digest, worker, lane, self._outbox, command.command_id, emit)
                worker.ask(job).result()
            elif kind == "source_keys":
                worker, lane = self._find(command.source_keys.stream)
                buckets = tuple(command.source_keys.buckets)
                job = partial(reading.source_keys, worker, lane, self._outbox, command.command_id, buckets, emit)
                worker.ask(job).result()
            else:
                raise AgentError("this agent does not know the command", remedy="Install a newer forebay-agent.")
        except AgentError as error:
            self._answer_error(command, error, emit)
        except CancelledError:
            self._answer_error(command, AgentError("the source's thread ended before it came to this"), emit)
        except Exception as error:
            self._answer_error(command, journal.unexpected(error), emit)

    def _answer_error(self, command: control_pb2.Command, error: AgentError, emit: Emit) -> None:
        journal.warning("command failed", command=command.command_id, code=error.code, reason=error)
        emit(control_pb2.CommandResult(command_id=command.command_id, done=True, code=error.code, reason=str(error)))

    def _find(self, stream: batch_pb2.Stream) -> tuple[SourceWorker, Lane]:
        try:
            name = StreamName.from_proto(stream)
        except WireError as error:
            raise StreamUnknown(f"the command names no stream: {error}") from None
        for worker in self._workers():
            lane = worker.lanes.get(name)
            if lane is not None:
                return worker, lane
        raise StreamUnknown(f"{name}: is not configured at this agent")

    def _drain(self, seconds: float, only: tuple[SourceWorker, Lane] | None) -> None:
        """Captures what is committed now, of all streams or of one, and waits until all of it is durable.

        Raises: CommandTimeout; AgentError naming the streams that are in trouble, when all the others are drained.
        """
        until = time.monotonic() + seconds
        if only is None:
            workers = list(self._workers())
            jobs = [worker.ask(partial(worker.drain, until)) for worker in workers]
            names = {name for worker in workers for name in worker.lanes}
        else:
            worker, lane = only
            jobs = [worker.ask(partial(worker.poll_through, lane, until))]
            names = {lane.name}
        _, unfinished = wait(jobs, timeout=seconds)
        if unfinished:
            raise CommandTimeout(f"the sources were not read to their end within {seconds} s")
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
        troubles = [state for state in self._board.all() if state.name in names and state.trouble is not None]
        if troubles:
            told = "; ".join(f"{state.name}: {state.trouble.reason}" for state in troubles if state.trouble)
            raise AgentError(f"streams in trouble: {told}")

    def _held(self, name: StreamName) -> bool:
        sending = self._board.of(name).sending
        return sending is not None and sending.held
