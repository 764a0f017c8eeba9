"""What the centre may ask of this agent, and how it is answered. Every answer ends in one part with `done`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Final

from forebay_agent import comparison, journal
from forebay_agent.errors import AgentError
from forebay_agent.outbox import Outbox
from forebay_agent.source_worker import SourceWorker
from forebay_agent.stream_state import HELD, Board
from forebay_wire.errors import WireError
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2

KEYS_IN_A_PART: Final = 10_000
DRAIN_SECONDS: Final = 300
_LOOK_SECONDS: Final = 0.05
_READING_SECONDS: Final = 24 * 3600.0


class CommandRefused(AgentError):
    """This agent cannot do what was asked."""

    code = "FB-COMMAND"


class Commands:
    """Carries commands out. `workers`: the sources' threads as they are now."""

    def __init__(self, workers: Callable[[], Mapping[str, SourceWorker]], outbox: Outbox, board: Board) -> None:
        self._workers = workers
        self._outbox = outbox
        self._board = board

    def answers(self, command: control_pb2.Command) -> Iterator[control_pb2.CommandResult]:
        """The parts of the answer; whatever goes wrong becomes the last one."""
        kind = command.WhichOneof("kind")
        journal.info("command", kind=kind, id=command.command_id)
        try:
            if kind == "drain":
                parts = self._drain(command.drain.timeout_seconds or DRAIN_SECONDS)
            elif kind == "source_digest":
                parts = self._digest(StreamName.from_proto(command.source_digest.stream))
            elif kind == "source_keys":
                stream = StreamName.from_proto(command.source_keys.stream)
                parts = self._keys(stream, frozenset(command.source_keys.buckets))
            else:
                raise CommandRefused(f"command {kind} is not known to this version")
            for part in parts:
                part.command_id = command.command_id
                yield part
        except WireError as error:
            yield self._failed(command, error.code, str(error))
        except AgentError as error:
            yield self._failed(command, error.code, str(error))
        except Exception as error:
            yield self._failed(command, AgentError.code, str(journal.unexpected(error)))

    def _failed(self, command: control_pb2.Command, code: str, reason: str) -> control_pb2.CommandResult:
        journal.warning("command failed", id=command.command_id, code=code, reason=reason)
        return control_pb2.CommandResult(command_id=command.command_id, done=True, code=code, reason=reason)

    def _drain(self, seconds: int) -> Iterator[control_pb2.CommandResult]:
        """Captures what is committed now and waits until all of it that can go is durable."""
        until = time.monotonic() + seconds
        jobs = [worker.ask(lambda worker=worker: worker.catch_up(until)) for worker in self._workers().values()]  # type: ignore[misc]
        for job in jobs:
            job.result(max(until - time.monotonic(), 0.1))
        targets = {state.name: self._outbox.stream(state.name).last for state in self._board.all()}
        while True:
            late = [name for name, target in targets.items() if not self._is_durable(name, target)]
            if not late:
                yield control_pb2.CommandResult(done=True)
                return
            if time.monotonic() > until:
                raise CommandRefused(f"after {seconds} s not everything is durable: {', '.join(map(str, late[:5]))}")
            time.sleep(_LOOK_SECONDS)

    def _is_durable(self, name: StreamName, target: tuple[int, int]) -> bool:
        state = self._board.of(name)
        return target[1] == 0 or state.state == HELD or (state.epoch, state.durable_seq) >= target

    def _digest(self, name: StreamName) -> Iterator[control_pb2.CommandResult]:
        worker = self._worker(name)

        def read() -> control_pb2.CommandResult:
            record = self._outbox.stream(name)
            total = comparison.table_digest(worker.session(), worker.lanes[name].table)
            return control_pb2.CommandResult(
                done=True,
                epoch=record.epoch,
                seq=record.next_seq - 1,
                rows=total.count,
                buckets=[
                    control_pb2.BucketDigest(bucket=number, rows=rows, digest=digest) for number, rows, digest in total
                ],
            )

        yield worker.ask(read).result(_READING_SECONDS)

    def _keys(self, name: StreamName, buckets: frozenset[int]) -> Iterator[control_pb2.CommandResult]:
        worker = self._worker(name)

        def read() -> list[control_pb2.CommandResult]:
            record = self._outbox.stream(name)
            keys = comparison.keys_of_buckets(worker.session(), worker.lanes[name].table, buckets)
            parts = []
            while some := list(islice(keys, KEYS_IN_A_PART)):
                told = [control_pb2.KeyDigest(key=key, digest=digest) for key, digest in some]
                parts.append(control_pb2.CommandResult(epoch=record.epoch, seq=record.next_seq - 1, keys=told))
            parts.append(control_pb2.CommandResult(done=True, epoch=record.epoch, seq=record.next_seq - 1))
            return parts

        yield from worker.ask(read).result(_READING_SECONDS)

    def _worker(self, name: StreamName) -> SourceWorker:
        for worker in self._workers().values():
            if name in worker.lanes:
                return worker
        raise CommandRefused(f"{name} is not captured here")
