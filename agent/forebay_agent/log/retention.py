"""How long the database keeps what was not captured yet, asked now and then and shown on the board."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from forebay_agent.capture.log import LogSource
from forebay_agent.clock import Clock
from forebay_agent.stream_state import Board
from forebay_wire.stream import StreamName

_SECONDS: Final = (3.0, 30.0)
"""after the first look, which may not know a rate yet, and after any other"""


class RetentionWatch:
    """source: its session."""

    def __init__(self, source: Callable[[], LogSource], board: Board, clock: Clock) -> None:
        self._source = source
        self._board = board
        self._clock = clock
        self._pauses = iter(_SECONDS)
        self._due_at = float("-inf")

    @property
    def due(self) -> bool:
        return self._clock.monotonic() >= self._due_at

    def anew(self) -> None:
        """Other streams wait on the log now: the next look asks."""
        self._due_at = float("-inf")

    def look(self, checkpoint: str, names: Collection[StreamName]) -> None:
        """checkpoint: where in the log what is durable ends; empty: nowhere. Raises what the database raises."""
        if not checkpoint or not self.due:
            return
        self._due_at = self._clock.monotonic() + next(self._pauses, _SECONDS[-1])
        kept = self._source().retention(checkpoint)
        for name in names:
            self._board.update(
                name, log_hours_left=kept.hours_left, log_bytes_behind=kept.bytes_behind, log_kept=kept.reason
            )
