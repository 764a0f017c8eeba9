"""Live reload: a changed configuration is applied as a whole when it is valid, reported when it is not.

File events (watchdog) only say *look now*; what decides is whether names and contents differ from what was last judged.
So editors may rename, write temporary files and touch as they like, a half-written state lasts no longer than the pause
that a change must settle for, and where events get lost (network file systems, a replaced folder) the slow look finds
the change. The last good configuration stays in force until a valid one takes its place; while one is refused, it is
judged again at the slow pace, since what was wrong may lie elsewhere (a secret file).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver, ObservedWatch

from forebay_agent.config import load
from forebay_agent.config.model import AgentConfig
from forebay_agent.errors import ConfigurationError

QUIET: Final = 0.3
"""Seconds without a further file event after which a change counts as settled."""

LOOK: Final = 10.0
"""Seconds between looks that no file event asked for."""

_LONGEST_SETTLING: Final = 5.0

_EVENTS: Final[list[type[FileSystemEvent]]] = [
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
]


class ConfigurationWatcher(FileSystemEventHandler):
    """Watches one configuration folder. The owner's thread calls `step` in a loop, between `start` and `stop`.

    apply: takes a valid configuration into force; may itself raise ConfigurationError, which counts as refused.
    refused: is told why a configuration is refused, once for each different reason.
    known: hash of the configuration that is in force already; empty: the first step judges what is there.
    """

    def __init__(
        self,
        folder: Path,
        apply: Callable[[AgentConfig], None],
        refused: Callable[[ConfigurationError], None],
        *,
        known: str = "",
        quiet: float = QUIET,
        look: float = LOOK,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._main = load.agent_file(folder)
        self._apply = apply
        self._refused = refused
        self._judged = known
        self._refusal = ""
        self._quiet = quiet
        self._look = look
        self._monotonic = monotonic
        self._looked_at = -look if not known else monotonic()
        self._hint = threading.Event()
        self._hinted_at = 0.0
        self._observer: BaseObserver | None = None
        self._sources: tuple[int, ObservedWatch] | None = None

    def start(self) -> None:
        """Begins to listen to file events."""
        self._observer = Observer()
        self._observer.schedule(self, str(self._main.parent), event_filter=_EVENTS)
        self._listen_to_sources()
        self._observer.start()

    def stop(self) -> None:
        """Stops listening; safe to call again."""
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()
            observer.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def on_any_event(self, event: FileSystemEvent) -> None:
        paths = (str(event.src_path), str(event.dest_path))
        if any(path.endswith(".toml") or Path(path).name == load.SOURCES_FOLDER for path in paths):
            self._hinted_at = self._monotonic()
            self._hint.set()

    def look_now(self) -> None:
        """Ends the wait of a `step`; from any thread."""
        self._hint.set()

    def step(self, wait: float = 0.0) -> bool:
        """Waits up to `wait` seconds for a file event, then judges the configuration if it differs from the last one.

        Returns whether `apply` or `refused` was called.
        """
        hinted = self._hint.wait(wait)
        now = self._monotonic()
        if not hinted and now - self._looked_at < self._look:
            return False
        if hinted:
            self._settle()
        self._looked_at = self._monotonic()
        self._listen_to_sources()
        current = load.hash_of([self._main, *load.source_files(self._main.parent)], self._main.parent)
        if current == self._judged and not self._refusal:
            return False
        return self._judge(current)

    def _settle(self) -> None:
        give_up_at = self._monotonic() + _LONGEST_SETTLING
        while self._hint.is_set() and self._monotonic() < give_up_at:
            self._hint.clear()
            time.sleep(max(0.0, self._hinted_at + self._quiet - self._monotonic()))

    def _judge(self, current: str) -> bool:
        changed = current != self._judged
        self._judged = current
        try:
            self._apply(load.load(self._main))
        except ConfigurationError as error:
            refusal = "\n".join(str(problem) for problem in error.problems)
            news = changed or refusal != self._refusal
            self._refusal = refusal
            if news:
                self._refused(error)
            return news
        self._refusal = ""
        return True

    def _listen_to_sources(self) -> None:
        """`sources.d` may appear, vanish or be replaced: its watch follows the folder that has the name now."""
        if self._observer is None:
            return
        folder = self._main.parent / load.SOURCES_FOLDER
        try:
            inode = folder.stat().st_ino
        except OSError:
            inode = 0
        if self._sources is not None and self._sources[0] != inode:
            self._observer.unschedule(self._sources[1])
            self._sources = None
        if inode and self._sources is None:
            self._sources = (inode, self._observer.schedule(self, str(folder), event_filter=_EVENTS))
