"""Heartbeats that tell only what changed: streams that differ from what the collector acknowledged last, and those gone.

The collector has the streams of every heartbeat that it acknowledged. A heartbeat names, in `since`, the acknowledged one
that it builds on; 0: it tells all of them, as the first of a connection does, and one after ReportAll. What only says that
time went on (when a table was last looked at, how much log lies behind) counts as a change once it moved by much, so that
an idle agent's heartbeat has next to nothing in it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from forebay_agent.stream_state import StreamState
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2

POLLED_US: Final = 600_000_000
"""a look at a table is worth telling when the one told before is so old"""

_KEPT: Final = 8
"""heartbeats on the wire whose streams are remembered; one that is answered later than that tells nothing"""

States = Mapping[StreamName, StreamState]


class Beats:
    """frame: a heartbeat without its number and streams. states: every stream as it is now.

    Used by the control thread, but for `tell_all`.
    """

    def __init__(self, frame: Callable[[], control_pb2.Heartbeat], states: Callable[[], Sequence[StreamState]]) -> None:
        self._frame = frame
        self._states = states
        self._number = 0
        self._acknowledged = 0
        self._known: States = {}
        self._sent: dict[int, States] = {}
        self._lock = threading.Lock()
        self._all = True

    def begin(self) -> None:
        """A connection begins: its collector knows nothing yet."""
        self._number = self._acknowledged = 0
        self._known, self._sent = {}, {}

    def tell_all(self) -> None:
        """The next heartbeat tells all streams; from any thread."""
        with self._lock:
            self._all = True

    @property
    def unanswered(self) -> int:
        """Heartbeats since the last acknowledged one."""
        return self._number - self._acknowledged

    def next(self) -> control_pb2.Heartbeat:
        with self._lock:
            tells_all, self._all = self._all or not self._acknowledged, False
        now = {state.name: state for state in self._states()}
        known: States = {} if tells_all else self._known
        self._number += 1
        beat = self._frame()
        beat.number = self._number
        beat.since = 0 if tells_all else self._acknowledged
        told = {name: state for name, state in now.items() if not _same(known.get(name), state)}
        beat.streams.extend(state.to_proto() for state in told.values())
        beat.gone.extend(name.to_proto() for name in known if name not in now)
        self._sent[self._number] = {**{name: known[name] for name in known if name in now}, **told}
        for number in [number for number in self._sent if number <= self._number - _KEPT]:
            del self._sent[number]
        return beat

    def acknowledged(self, number: int) -> None:
        """The collector has this heartbeat."""
        if number in self._sent and number > self._acknowledged:
            self._acknowledged, self._known = number, self._sent[number]
            self._sent = {later: states for later, states in self._sent.items() if later > number}


def _same(told: StreamState | None, now: StreamState) -> bool:
    if told is None:
        return False
    if now.last_poll_at_us - told.last_poll_at_us >= POLLED_US:
        return False
    return _coarse(told) == _coarse(now)


def _coarse(state: StreamState) -> StreamState:
    hours = state.log_hours_left
    return replace(
        state,
        last_poll_at_us=0,
        log_hours_left=None if hours is None else float(f"{hours:.1e}"),
        log_bytes_behind=max(0, state.log_bytes_behind >> 20).bit_length(),
    )
