"""Pause and Resume: kept before they are answered, and answered when they are in force."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import wait
from typing import Final

from forebay_agent.control.addressing import Workers, in_scope, scope_of
from forebay_agent.control.reading import Emit
from forebay_agent.errors import StreamUnknown
from forebay_agent.lane import Lane
from forebay_agent.log.stream import LOG
from forebay_agent.outbox import Outbox
from forebay_agent.pauses import Pauses
from forebay_agent.source_worker import SourceWorker
from forebay_wire.v1 import control_pb2

FORCE_SECONDS: Final = 30.0
"""for a source's thread to come to it; it may be in the middle of a statement"""

Covered = list[tuple[SourceWorker, list[Lane]]]


class Pausing:
    def __init__(self, pauses: Pauses, workers: Workers, outbox: Outbox, now_us: Callable[[], int]) -> None:
        self._pauses = pauses
        self._workers = workers
        self._outbox = outbox
        self._now_us = now_us

    def pause(self, command: control_pb2.Command, emit: Emit) -> control_pb2.CommandResult:
        """Raises StreamUnknown when the scope is not configured, StateFolderUnusable when it cannot be kept."""
        scope = scope_of(command.pause.scope)
        covered = in_scope(self._workers, scope)
        self._pauses.add(scope, command.pause.reason, self._now_us())
        busy = _in_force(covered)
        waiting = self._outbox.state().batches
        effect = [
            f"{scope} is paused, over restarts too: nothing of it is captured until it is resumed",
            f"{waiting:,} batches are in the outbox and are still sent",
            *(f"source {name} reads a statement to its end first" for name in busy),
            *_meanwhile(covered),
        ]
        return control_pb2.CommandResult(effect="; ".join(effect))

    def resume(self, command: control_pb2.Command, emit: Emit) -> control_pb2.CommandResult:
        """Raises StreamUnknown when the scope is neither configured nor paused, StateFolderUnusable."""
        scope = scope_of(command.resume.scope)
        before = self._pauses.take_back(scope)
        try:
            covered = in_scope(self._workers, scope)
        except StreamUnknown:
            if before is None:
                raise
            return control_pb2.CommandResult(effect=f"{scope} is not paused any more; it is not configured")
        busy = _in_force(covered)
        still = [lane for _, lanes in covered for lane in lanes if lane.paused]
        told = [
            f"{scope} is resumed" if before is not None else f"{scope} was not paused by itself: nothing was changed"
        ]
        if before is not None and len(still) < sum(len(lanes) for _, lanes in covered):
            told.append("capture goes on where it was; tables in mode log that the log went on without are taken anew")
        told += [f"source {name} comes to it when its statement ends" for name in busy]
        reasons = dict.fromkeys(lane.paused for lane in still)
        told += [f"{sum(lane.paused == why for lane in still)} of its streams stay paused: {why}" for why in reasons]
        return control_pb2.CommandResult(effect="; ".join(told))


def _in_force(covered: Covered) -> list[str]:
    """Has every source's thread heed what is paused now. -> names of sources that have not come to it yet."""
    jobs = {worker.ask(worker.heed_restraints): worker.config.name for worker, _ in covered}
    _, unfinished = wait(jobs, timeout=FORCE_SECONDS)
    return sorted(jobs[job] for job in unfinished)


def _meanwhile(covered: Covered) -> list[str]:
    """What becomes of changes that are made during the pause."""
    told = []
    for worker, lanes in covered:
        logged = [lane for lane in lanes if lane.table.mode == LOG]
        others = [
            lane for lane in worker.lanes.values() if lane.table.mode == LOG and lane not in logged and not lane.still
        ]
        if logged and others:
            names = ", ".join(lane.table.name for lane in logged)
            told.append(
                f"the log of source {worker.config.name} goes on for its other tables: {names} will be taken anew, under"
                " the next epoch, so that nothing that changed is lost"
            )
        elif logged:
            told.append(
                f"the log of source {worker.config.name} waits where it was captured to: the database must keep it"
            )
        if any(lane.table.mode == "trigger" for lane in lanes):
            told.append(f"change tables of source {worker.config.name} grow meanwhile")
    return told
