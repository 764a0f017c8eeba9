"""What the agent says of itself: to the collector in heartbeats, to people on the appliance in `<state>/status.json`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from google.protobuf.json_format import MessageToDict

from forebay_agent import durable, journal
from forebay_agent.clock import Clock
from forebay_agent.config.kept_offer import Outcome
from forebay_agent.health import Health
from forebay_agent.identity import Identity
from forebay_agent.outbox import Outbox
from forebay_agent.outbox.records import OutboxState
from forebay_agent.outbox.sealed import Sealed
from forebay_agent.renewal import RenewalState
from forebay_agent.stream_state import Board, StreamState, Trouble
from forebay_agent.uplink import UplinkState
from forebay_wire.v1 import control_pb2

STATUS_FILE: Final = "status.json"

_AGAIN_SECONDS: Final = 10.0
_READINGS: Final[dict[str, Any]] = {
    "last_poll_at_us": 0,
    "log_bytes_behind": 0,
    "log_hours_left": None,
    "log_kept": "",
}


@dataclass(frozen=True, slots=True)
class Situation:
    """How the process stands. refusal: why the newest files are not in force. offered: the revision of the offer that is,
    0: none. paused: why the whole agent is paused, in words. heard_at_us: when the collector last acknowledged a heartbeat,
    0: not yet. collector_ahead_us: by how much its clock was ahead of ours then. late: the loops that did not keep their
    promise."""

    configuration_hash: str
    refusal: str
    offered: int
    newest_offer: Outcome
    paused: str
    uplink: UplinkState
    renewal: RenewalState
    canaries: tuple[control_pb2.CanaryState, ...]
    heard_at_us: int = 0
    collector_ahead_us: int = 0
    late: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at everything, for metrics. sealed: since the process started."""

    own: Identity
    situation: Situation
    outbox: OutboxState
    sealed: Sealed
    streams: list[StreamState]


class Report:
    """Any thread may call. situation: as it is now."""

    def __init__(
        self,
        own: Identity,
        state: Path,
        outbox: Outbox,
        board: Board,
        clock: Clock,
        situation: Callable[[], Situation],
    ) -> None:
        self._own = own
        self._state = state
        self._outbox = outbox
        self._board = board
        self._clock = clock
        self._situation = situation
        self._probe = Health(state)
        self._started_us = clock.now_us()
        self._written: tuple[object, float] | None = None

    def frame(self) -> control_pb2.Heartbeat:
        """A heartbeat without its number and streams."""
        now = self._situation()
        return control_pb2.Heartbeat(
            sent_at_us=self._clock.now_us(),
            health=self._probe.measure(),
            outbox=self._outbox_state(),
            configuration_hash=now.configuration_hash,
            configuration_refusal=now.refusal,
            offer_revision=now.offered,
            offer=_offer(now.newest_offer),
            paused=bool(now.paused),
            renewal_refusal=_told(now.renewal.trouble),
            canaries=now.canaries,
        )

    def states(self) -> list[StreamState]:
        """Every stream; one whose batches wait for the sending hours says so."""
        waits = self._situation().uplink.waits
        return [
            replace(state, waits=state.waits or waits) if waits and state.sealed_seq > state.durable_seq else state
            for state in self._board.all()
        ]

    def look(self) -> Seen:
        """Everything as it is now, without asking the appliance for its health."""
        return Seen(self._own, self._situation(), self._outbox.state(), self._outbox.sealed.so_far, self.states())

    def headline(self) -> str:
        """One line for systemd."""
        states = [state.state for state in self._board.all()]
        told = ", ".join(f"{states.count(name)} {name}" for name in sorted(set(states)))
        outbox = self._outbox.state()
        uplink = self._situation().uplink
        connected = "connected" if uplink.connected else "not connected" if uplink.line else "reached by disk"
        return f"{told or 'no streams'}; outbox {outbox.batches} batches; collector {connected}"

    def status(self) -> dict[str, Any]:
        """What `status.json` holds."""
        now = self._situation()
        uplink, trouble, offer = now.uplink, now.uplink.trouble, now.newest_offer
        refusal = now.renewal.trouble
        return {
            "pid": os.getpid(),
            "written_at_us": self._clock.now_us(),
            "started_at_us": self._started_us,
            "agent": self._own.agent,
            "department": self._own.department,
            "configuration_hash": now.configuration_hash,
            "configuration_refusal": now.refusal,
            "paused": now.paused,
            "offer": {
                "in_force": now.offered,
                "newest": offer.revision,
                "outcome": offer.outcome,
                "reason": offer.reason,
                "decided_at_us": offer.decided_at_us,
            },
            "uplink": {
                "line": uplink.line,
                "connected": uplink.connected,
                "address": uplink.address,
                "since_us": uplink.since_us,
                "code": trouble.code if trouble else "",
                "reason": trouble.reason if trouble else _how(uplink),
                "remedy": trouble.remedy if trouble else "",
            },
            "certificate": {
                "expires_at_us": now.renewal.expires_at_us,
                "code": refusal.code if refusal else "",
                "reason": refusal.reason if refusal else "",
                "remedy": refusal.remedy if refusal else "",
            },
            "clock": {"heard_at_us": now.heard_at_us, "collector_ahead_us": now.collector_ahead_us},
            "canaries": [plain(canary) for canary in now.canaries],
            "outbox": plain(self._outbox_state()),
            "streams": [
                {
                    **plain(state.to_proto()),
                    "stream": str(state.name),
                    "log_hours_left": state.log_hours_left,
                    "log_kept": state.log_kept,
                }
                for state in self.states()
            ],
        }

    def write(self, *, at_once: bool = False) -> None:
        """Writes `status.json` when more than a reading of it changed, and every `_AGAIN_SECONDS`: the disk of an appliance
        is often flash, which every write wears. at_once: in any case."""
        told, now = self._happened(), self._clock.monotonic()
        if self._written is not None and not at_once:
            before, at = self._written
            if told == before and now - at < _AGAIN_SECONDS:
                return
        try:
            content = json.dumps(self.status(), ensure_ascii=False).encode()
            durable.write(self._state / STATUS_FILE, content, mode=0o644, synced=False)
            self._written = told, now
        except OSError as error:
            journal.warning("status cannot be written", reason=error.strerror or type(error).__name__)

    def _happened(self) -> object:
        """What equals itself from one time to the next when nothing happened: everything less what moves all the same."""
        situation, outbox = self._situation(), self._outbox.state()
        return (
            replace(situation, heard_at_us=int(situation.heard_at_us > 0), collector_ahead_us=0),
            replace(outbox, disk_free_bytes=0),
            [replace(state, **_READINGS) for state in self.states()],
        )

    def _outbox_state(self) -> control_pb2.OutboxState:
        state = self._outbox.state()
        return control_pb2.OutboxState(
            batches=state.batches,
            bytes=state.bytes,
            cap_bytes=state.cap_bytes,
            disk_free_bytes=state.disk_free_bytes,
            full=state.full,
        )


def plain(message: Any) -> dict[str, Any]:
    """A message's fields with their defaults; numbers as numbers."""
    told = MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return {name: int(value) if isinstance(value, str) and value.isdigit() else value for name, value in told.items()}


def _how(uplink: UplinkState) -> str:
    """Why nothing is sent, where nothing is wrong."""
    if not uplink.line:
        return "there is no line: what waits is carried on a disk"
    return uplink.waits if uplink.connected else "connecting"


def _told(trouble: Trouble | None) -> str:
    return f"{trouble.code}: {trouble.reason}" if trouble is not None else ""


def _offer(newest: Outcome) -> control_pb2.OfferState | None:
    if not newest.outcome:
        return None
    return control_pb2.OfferState(
        revision=newest.revision, outcome=newest.outcome, reason=newest.reason, decided_at_us=newest.decided_at_us
    )
