"""Resend: what the outbox still holds of a stream is sent again, from where the collector says that it stands.

A batch leaves the outbox once the collector calls it durable, so there is nothing to send again of what came before. The
collector's mark is asked for anew; where it and the outbox do not fit together, the stream is held as at any connection.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from forebay_agent.control.addressing import Workers, find
from forebay_agent.control.reading import Emit
from forebay_agent.outbox import Outbox
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2


class Resending:
    """again: has the uplink ask for a stream's mark, and send from there; whether it is connected."""

    def __init__(self, outbox: Outbox, workers: Workers, again: Callable[[StreamName], bool]) -> None:
        self._outbox = outbox
        self._workers = workers
        self._again = again

    def __call__(self, command: control_pb2.Command, emit: Emit) -> control_pb2.CommandResult:
        """Raises StreamUnknown. `epoch`, `seq`: of the first batch that is sent again; seq 0: there is none."""
        _, lane = find(self._workers, command.resend.stream)
        record = self._outbox.stream(lane.name)
        wanted = (command.resend.epoch or record.epoch, command.resend.from_seq)
        with closing(self._outbox.reader()) as reader:
            held = [(batch.epoch, batch.seq) for batch in reader.waiting(record.id)]
        connected = self._again(lane.name)
        if not held:
            effect = (
                f"{lane.name}: nothing is left to send again: everything up to epoch {record.epoch} seq"
                f" {record.next_seq - 1} is durable at the centre; to bring it once more, take a snapshot"
            )
            return control_pb2.CommandResult(epoch=record.epoch, effect=effect)
        (epoch, seq), count = held[0], len(held)
        effect = f"{lane.name}: {count:,} batches are sent again, from epoch {epoch} seq {seq} on"
        if wanted[1] and held[0] > wanted:
            effect += f"; what comes before is durable at the centre and not here any more (asked: seq {wanted[1]})"
        elif wanted[1] and held[0] < wanted:
            effect += f"; those before seq {wanted[1]} too: the collector takes batches in order"
        if not connected:
            effect += "; the collector is not connected: when it is"
        return control_pb2.CommandResult(epoch=epoch, seq=seq, effect=effect)
