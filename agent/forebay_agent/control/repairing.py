"""RepairKeys: keys that differ are read anew and sent, those that are gone as deletes."""

from __future__ import annotations

import time
from functools import partial
from typing import Final

from forebay_agent.control.addressing import Workers, find
from forebay_agent.control.draining import capture_through, polling
from forebay_agent.control.reading import Emit
from forebay_agent.errors import NotApproved, StreamPaused
from forebay_agent.log.stream import LOG
from forebay_agent.outbox import Outbox
from forebay_agent.stream_state import Board
from forebay_agent.verifying.repairing import repair
from forebay_wire.v1 import control_pb2

SECONDS: Final = 300.0


class Repairing:
    def __init__(self, outbox: Outbox, board: Board, workers: Workers) -> None:
        self._outbox = outbox
        self._board = board
        self._workers = workers

    def __call__(self, command: control_pb2.Command, emit: Emit) -> control_pb2.CommandResult:
        """Raises StreamUnknown, StreamPaused, NotApproved, CommandTimeout, and as `verifying.repairing.repair`."""
        asked = command.repair_keys
        worker, lane = find(self._workers, asked.stream)
        if lane.paused:
            raise StreamPaused(f"{lane.name} is not read: {lane.paused}")
        if lane.unapproved:
            raise NotApproved(f"{lane.name} is not read: {lane.unapproved}")
        until = time.monotonic() + SECONDS
        if lane.table.mode != LOG:
            capture_through([polling(worker, lane, until)], self._board, until)
        again = partial(repair, worker, lane, self._outbox, list(asked.keys), asked.cause, until)
        done = worker.ask(again).result()
        record = self._outbox.stream(lane.name)
        effect = (
            f"{lane.name}: {done.sent:,} rows read anew and sent, {done.gone:,} sent as deleted"
            f", {done.passed:,} left to changes that are newer"
        )
        return control_pb2.CommandResult(
            effect=effect, epoch=record.epoch, seq=record.next_seq - 1, rows=done.sent, deleted=done.gone
        )
