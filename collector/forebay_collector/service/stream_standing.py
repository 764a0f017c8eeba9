"""How one stream stands: what its agent last told of it, and how it stands here, in one colour word with its why. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

from forebay_collector.ledger import StreamRecord
from forebay_collector.load.backlog import Backlog
from forebay_collector.load.policy import remedy_of_hold

SECOND_US: Final = 1_000_000
LATE_AFTER_US: Final = 300 * SECOND_US
LOG_HOURS: Final = 24.0


class Colour(StrEnum):
    GREEN = "green"
    YELLOW = "yellow"
    RED = "red"
    GREY = "grey"
    REVOKED = "revoked"


class Why(NamedTuple):
    """A code that never changes, what is the matter, and what to do about it."""

    code: str
    reason: str
    remedy: str


@dataclass(frozen=True, slots=True)
class AgentStream:
    """One stream as its agent last told and as it stands here. Times in microseconds, 0: none; marks are (epoch, seq).

    colour: green, yellow, red or grey. state: held, held at agent, paused, late, loading, or what the agent says
    (starting, snapshot, streaming, waiting). lag_s: age of the oldest change that is received and not loaded.
    """

    name: str
    colour: Colour
    state: str
    code: str
    reason: str
    remedy: str
    mode: str
    guarantee: str
    position: str
    epoch: int
    sealed_seq: int
    durable: tuple[int, int]
    loaded: tuple[int, int]
    behind: int
    lag_s: float
    rows_captured: int
    last_change_at: int
    last_poll_at: int
    snapshot_done: float
    log_hours_left: float | None
    log_bytes_behind: int
    columns_waiting: tuple[str, ...]

    @property
    def outbox_batches(self) -> int:
        """Batches that are sealed and not durable."""
        return max(0, self.sealed_seq - self.durable[1]) if self.durable[0] == self.epoch else self.sealed_seq


def stream_view(
    name: str, said: Mapping[str, Any], record: StreamRecord | None, backlogs: Mapping[int, Backlog], now_us: int
) -> AgentStream:
    """said: what the agent told; record: what was received of it; backlogs: what waits to be loaded, by the record's id."""
    backlog = backlogs.get(record.id, Backlog()) if record is not None else Backlog()
    lag_s = max(0.0, (now_us - backlog.oldest_us) / SECOND_US) if backlog.oldest_us else 0.0
    waits = tuple(said.get("columns_waiting", ()))
    colour, state, why = _stand(said, record, lag_s, waits)
    if colour is Colour.GREEN and backlog.batches and state == "streaming":
        state = "loading"
    return AgentStream(
        name=name,
        colour=colour,
        state=state,
        code=why.code,
        reason=why.reason,
        remedy=why.remedy,
        mode=str(said.get("mode", "")),
        guarantee=str(said.get("guarantee", "")),
        position=str(said.get("position", "")),
        epoch=int(said.get("epoch", 0)) or (record.epoch if record is not None else 0),
        sealed_seq=int(said.get("sealed_seq", 0)),
        durable=record.durable if record is not None else (0, 0),
        loaded=record.loaded if record is not None else (0, 0),
        behind=backlog.batches,
        lag_s=lag_s,
        rows_captured=int(said.get("rows_captured", 0)),
        last_change_at=int(said.get("last_change_at_us", 0)),
        last_poll_at=int(said.get("last_poll_at_us", 0)),
        snapshot_done=float(said.get("snapshot_done", 0.0)),
        log_hours_left=said.get("log_hours_left"),
        log_bytes_behind=int(said.get("log_bytes_behind", 0)),
        columns_waiting=waits,
    )


def _stand(
    said: Mapping[str, Any], record: StreamRecord | None, lag_s: float, waits: tuple[str, ...]
) -> tuple[Colour, str, Why]:
    """Colour, state and why of one stream; the worst first."""
    state = str(said.get("state", ""))
    own = Why(str(said.get("code", "")), str(said.get("reason", "")), str(said.get("remedy", "")))
    hours = said.get("log_hours_left")
    if record is not None and record.hold is not None:
        hold = record.hold
        why = Why(hold.code, f"batch {hold.epoch}/{hold.seq}: {hold.reason}", remedy_of_hold(hold.code))
        return Colour.RED, "held", why
    if state == "held":
        return Colour.RED, "held at agent", own
    if not said:
        why = Why("", "its agent does not tell of it any more", "Nothing, when it was taken out of the configuration.")
        return Colour.GREY, "not told of", why
    if said.get("paused"):
        return Colour.GREY, "paused", own
    if hours is not None and hours < LOG_HOURS:
        reason = f"the source's log is kept for {hours:.1f} h more than what is captured"
        return Colour.YELLOW, state, Why("FB-LOG-HOURS", reason, "Let capture catch up, or keep the log for longer.")
    if own.code:
        return Colour.YELLOW, state, own
    if waits:
        reason = f"columns wait for approval: {', '.join(waits)}"
        return Colour.YELLOW, state, Why("FB-COLUMNS-WAIT", reason, "Approve them, or reject them.")
    if lag_s * SECOND_US > LATE_AFTER_US:
        reason = f"what was received {lag_s:.0f} s ago is not loaded"
        return Colour.YELLOW, "late", Why("FB-STREAM-LATE", reason, "See that `serve` loads, and what its log says.")
    return Colour.GREEN, state, own
