"""Pauses: what is not captured for now because somebody said so. What is in the outbox is still sent.

A stream stands still while any of these holds: a pause that the centre ordered (of the stream, its source or the agent;
kept in `<state>/pauses.json`, over restarts), `paused = true` in its file or source's file, or a maintenance window.
A resume takes back the one pause of the very scope that it names, never another that somebody ordered for another reason.

What a pause means for the changes made meanwhile, by mode

    cursor, snapshot   seen after it as after any long interval between two polls
    trigger            wait in the change table, in order
    log                all of a source's streams paused: its log waits where it was captured to, and goes on from there
                       (the database must keep it; the hours that it does are watched); only some: the log goes on for the
                       others, and a paused stream is taken anew, under its next epoch, when it is resumed. Nothing of
                       what changed is lost; of changes in between the history holds the outcome.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from forebay_agent import kept
from forebay_agent.config.model import DailyWindow
from forebay_wire.stream import StreamName

FILE_NAME: Final = "pauses.json"
_REASON_CHARACTERS: Final = 500


@dataclass(frozen=True, slots=True, order=True)
class Scope:
    """One stream (as text), one source, or, both empty, the whole agent."""

    source: str = ""
    stream: str = ""

    def covers(self, name: StreamName) -> bool:
        if self.stream:
            return self.stream == str(name)
        return self.source in ("", name.source)

    def __str__(self) -> str:
        return self.stream or (f"source {self.source}" if self.source else "the agent")


@dataclass(frozen=True, slots=True)
class Pause:
    scope: Scope
    reason: str
    at_us: int

    def __str__(self) -> str:
        return f"{self.scope} is paused by the centre{f': {self.reason}' if self.reason else ''}"


class Pauses:
    """Those that the centre ordered. Any thread may call; what a method changed is durable when it returns.

    Raises StateFolderUnusable when the file cannot be read, or written.
    """

    def __init__(self, state: Path) -> None:
        self._path = state / FILE_NAME
        self._lock = threading.Lock()
        content = kept.read(self._path, without="everything that the centre paused is captured again") or {}
        self._pauses = {
            scope: Pause(scope, str(each["reason"]), int(each["at_us"]))
            for each in content.get("pauses", [])
            for scope in (Scope(str(each["source"]), str(each["stream"])),)
        }

    def add(self, scope: Scope, reason: str, at_us: int) -> None:
        """Pauses a scope, or gives its pause another reason."""
        with self._lock:
            self._keep(self._pauses | {scope: Pause(scope, reason[:_REASON_CHARACTERS], at_us)})

    def take_back(self, scope: Scope) -> Pause | None:
        """-> the pause that was there."""
        with self._lock:
            before = self._pauses.get(scope)
            if before is not None:
                self._keep({each: pause for each, pause in self._pauses.items() if each != scope})
        return before

    def all(self) -> list[Pause]:
        """The widest first."""
        return [pause for _, pause in sorted(self._pauses.items())]

    def of(self, name: StreamName) -> Pause | None:
        """The widest pause that the stream is in."""
        return next((pause for pause in self.all() if pause.scope.covers(name)), None)

    @property
    def of_agent(self) -> Pause | None:
        return self._pauses.get(Scope())

    def _keep(self, pauses: dict[Scope, Pause]) -> None:
        told = [
            {"source": scope.source, "stream": scope.stream, "reason": pause.reason, "at_us": pause.at_us}
            for scope, pause in sorted(pauses.items())
        ]
        kept.write(self._path, {"pauses": told})
        self._pauses = pauses


def local_time() -> dt.time:
    """The appliance's, by which daily windows are meant."""
    return dt.datetime.now().astimezone().time()


def why_paused(
    pauses: Pauses, maintenance: Sequence[DailyWindow], name: StreamName, now: Callable[[], dt.time] = local_time
) -> str:
    """Why a stream stands still now, whatever its source's file says, in words; empty when it does not."""
    ordered = pauses.of(name)
    if ordered is not None:
        return str(ordered)
    window = next((each for each in maintenance if each.is_open(now())), None)
    return f"daily maintenance ({window})" if window is not None else ""
