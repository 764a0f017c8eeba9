"""How each stream stands: written by the thread that captures it and the one that sends it, read by status and heartbeat."""

from __future__ import annotations

import shlex
import threading
from dataclasses import dataclass, replace
from typing import Final

from forebay_agent import journal
from forebay_agent.errors import AgentError
from forebay_agent.policy import ANY_STREAM, Reaction, policy_of, remedy_of
from forebay_wire.canary import is_canary_stream
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2

STARTING: Final = "starting"
SNAPSHOT: Final = "snapshot"
STREAMING: Final = "streaming"
WAITING: Final = "waiting"
HELD: Final = "held"


@dataclass(frozen=True, slots=True)
class Trouble:
    """What keeps a stream from going on. held: it waits for a person, else it goes on by itself."""

    code: str
    reason: str
    remedy: str
    held: bool

    @classmethod
    def of(cls, error: AgentError, name: StreamName | None = None) -> Trouble:
        """name: of the stream that it is the trouble of; the commands of the remedy name it then."""
        remedy = remedy_of(error)
        if name is not None:
            remedy = remedy.replace(ANY_STREAM, shlex.quote(str(name)))
        if error.sql:
            remedy = f"{remedy} SQL: {error.sql}"
        return cls(error.code, str(error), remedy, policy_of(error).reaction is not Reaction.RETRY)


@dataclass(frozen=True, slots=True)
class StreamState:
    """One stream. `capturing` and `sending` are its troubles on either side of the outbox; `waits` says what a capture
    that is in no trouble waits for, `paused` why nothing is captured at all. Times in microseconds since 1970, 0: never.
    durable, loaded: (epoch, seq) up to which the collector has the stream, as it said last: of an epoch before this one it may
    be, which the sending thread cannot know.
    log_hours_left: until the database forgets what was not captured, None: it does not, or cannot tell. log_kept: for how
    long it keeps its log, in words."""

    name: StreamName
    mode: str = ""
    guarantee: str = ""
    phase: str = STARTING
    waits: str = ""
    paused: str = ""
    capturing: Trouble | None = None
    sending: Trouble | None = None
    epoch: int = 0
    position: str = ""
    sealed_seq: int = 0
    durable: tuple[int, int] = (0, 0)
    loaded: tuple[int, int] = (0, 0)
    loaded_at_us: int = 0
    rows_captured: int = 0
    last_change_at_us: int = 0
    last_poll_at_us: int = 0
    log_hours_left: float | None = None
    log_bytes_behind: int = 0
    log_kept: str = ""
    columns_waiting: tuple[str, ...] = ()

    @property
    def durable_seq(self) -> int:
        """Of this epoch."""
        return self._of_this_epoch(self.durable)

    @property
    def loaded_seq(self) -> int:
        """Of this epoch."""
        return self._of_this_epoch(self.loaded)

    @property
    def trouble(self) -> Trouble | None:
        """What holds the stream, before what only delays it."""
        troubles = [trouble for trouble in (self.sending, self.capturing) if trouble is not None]
        return next((trouble for trouble in troubles if trouble.held), troubles[0] if troubles else None)

    @property
    def state(self) -> str:
        trouble = self.trouble
        if trouble is not None:
            return HELD if trouble.held else WAITING
        return WAITING if self.paused or self.waits else self.phase

    def _of_this_epoch(self, mark: tuple[int, int]) -> int:
        return mark[1] if self.epoch in (0, mark[0]) else 0

    def to_proto(self) -> control_pb2.StreamState:
        trouble = self.trouble
        return control_pb2.StreamState(
            stream=self.name.to_proto(),
            epoch=self.epoch,
            mode=self.mode,
            guarantee=self.guarantee,
            state=self.state,
            code=trouble.code if trouble else "",
            reason=trouble.reason if trouble else self.paused or self.waits,
            remedy=trouble.remedy if trouble else "",
            position=self.position,
            sealed_seq=self.sealed_seq,
            durable_seq=self.durable_seq,
            loaded_seq=self.loaded_seq,
            rows_captured=self.rows_captured,
            last_change_at_us=self.last_change_at_us,
            last_poll_at_us=self.last_poll_at_us,
            snapshot_done=1.0 if self.phase == STREAMING else 0.0,
            log_hours_left=self.log_hours_left,
            log_bytes_behind=self.log_bytes_behind,
            columns_waiting=self.columns_waiting,
            paused=bool(self.paused),
        )


class Board:
    """Every stream's state by name. Any thread reads and writes; a state itself never changes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._states: dict[StreamName, StreamState] = {}

    def update(self, name: StreamName, **changes: object) -> None:
        """Replaces fields of one stream's state; a stream not heard of before is added."""
        with self._lock:
            state = self._states.get(name) or StreamState(name)
            self._states[name] = replace(state, **changes)  # type: ignore[arg-type]

    def capturing(self, name: StreamName, error: AgentError | None) -> None:
        """Shows, and once tells the journal, what keeps a stream's capture from going on; None: nothing does."""
        trouble = None if error is None else Trouble.of(error, name)
        before = self.of(name).capturing
        if trouble == before:
            return
        self.update(name, capturing=trouble)
        if trouble is not None:
            journal.warning(
                "capture waits", stream=name, code=trouble.code, reason=trouble.reason, remedy=trouble.remedy
            )
        else:
            journal.info("capture goes on", stream=name)

    def of(self, name: StreamName) -> StreamState:
        with self._lock:
            return self._states.get(name) or StreamState(name)

    def remove(self, name: StreamName) -> None:
        """The stream is no longer configured."""
        with self._lock:
            self._states.pop(name, None)

    def all(self) -> list[StreamState]:
        """But for the canaries', which are told by themselves."""
        with self._lock:
            return [self._states[name] for name in sorted(self._states) if not is_canary_stream(name)]
