"""Restraints: what keeps a source's tables from being captured though nothing is wrong with them. They are paused, or the
centre has not approved them, or not all of their columns. Used on the source's thread.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from forebay_agent import journal
from forebay_agent.approval.approvals import listed
from forebay_agent.approval.gate import Gate, Passage
from forebay_agent.capture.source import Source
from forebay_agent.clock import Clock
from forebay_agent.config.model import SourceConfig
from forebay_agent.errors import NotApproved
from forebay_agent.lane import Lane
from forebay_agent.stream_state import Board, Trouble
from forebay_wire.stream import StreamName

_PAUSES_SECONDS: Final = 0.5


class Restraints:
    """paused: why a stream is not captured now, in words, whatever its configuration says."""

    def __init__(
        self,
        config: SourceConfig,
        lanes: Collection[Lane],
        gate: Gate,
        board: Board,
        clock: Clock,
        paused: Callable[[StreamName], str],
    ) -> None:
        self._config = config
        self._lanes = lanes
        self._gate = gate
        self._board = board
        self._clock = clock
        self._paused = paused
        self._heeded_at = float("-inf")
        for lane in lanes:
            self._pass(lane, gate.passages[lane.name])

    @property
    def changed(self) -> bool:
        """Whether what is being captured may have to stop: look anew."""
        return self._gate.changed

    @property
    def due(self) -> bool:
        return self._gate.due or self._clock.monotonic() - self._heeded_at >= _PAUSES_SECONDS

    def stop(self, lane: Lane) -> bool:
        """Whether the table's capture ends at the piece that it is at."""
        return self._gate.changed or bool(self._why_paused(lane))

    def heed(self, session: Callable[[], Source]) -> None:
        """What is restrained now stands still, what is not any more goes on. Raises SourceUnreachable, SourceDenied."""
        self._heeded_at = self._clock.monotonic()
        for lane in self._lanes:
            self._pause(lane, self._why_paused(lane))
        if self._gate.due:
            try:
                self._gate.look(session)
            finally:
                for lane in self._lanes:
                    self._pass(lane, self._gate.passages[lane.name])

    def _pause(self, lane: Lane, why: str) -> None:
        if why == lane.paused:
            return
        journal.info("capture pauses" if why else "capture resumes", stream=lane.name, reason=why)
        lane.paused, lane.due = why, 0.0
        if why:
            lane.pipeline = None
            self._board.update(lane.name, paused=why, waits="")
            if not lane.unapproved:
                self._board.update(lane.name, capturing=None)
        else:
            self._board.update(lane.name, paused="")

    def _pass(self, lane: Lane, passage: Passage) -> None:
        if self._board.of(lane.name).columns_waiting != passage.waiting:
            journal.info("columns wait for approval", stream=lane.name, columns=listed(passage.waiting) or "none")
            self._board.update(lane.name, columns_waiting=passage.waiting)
        if passage.table is None:
            if lane.unapproved != passage.reason:
                lane.unapproved, lane.pipeline = passage.reason, None
                trouble = Trouble.of(NotApproved(passage.reason))
                journal.info("capture waits", stream=lane.name, code=trouble.code, reason=trouble.reason)
                self._board.update(lane.name, capturing=trouble, waits="")
            return
        if lane.unapproved:
            lane.unapproved, lane.due = "", 0.0
            journal.info("approved", stream=lane.name)
            self._board.update(lane.name, capturing=None)
        if lane.table != passage.table:
            lane.table, lane.pipeline, lane.due = passage.table, None, 0.0

    def _why_paused(self, lane: Lane) -> str:
        if self._config.paused:
            return f"source {self._config.name} is paused by its configuration"
        return "the table is paused by its configuration" if lane.table.paused else self._paused(lane.name)
