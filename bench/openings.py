"""Counts which files of a folder are opened for reading, whoever opens them, as the kernel tells it (inotify)."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from watchdog.events import FileOpenedEvent, FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer

_TOLD_SECONDS: Final = 1.0
"""what was opened last is told a moment later"""


class Openings(FileSystemEventHandler):
    """While it is entered; `files` are the paths, each as often as it was opened."""

    def __init__(self, folder: Path) -> None:
        self.files: list[Path] = []
        self._observer = Observer()
        self._observer.schedule(self, str(folder), recursive=True, event_filter=[FileOpenedEvent])

    def __enter__(self) -> Self:
        self._observer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        time.sleep(_TOLD_SECONDS)
        self._observer.stop()
        self._observer.join()

    def on_opened(self, event: FileSystemEvent) -> None:
        if not event.is_directory:
            self.files.append(Path(str(event.src_path)))

    def data(self, table: str) -> int:
        """Of these, files that hold rows of the table's mirror or history. Canaries have tables of their own, whose upkeep
        may fall into any time."""
        folders = {table, f"{table}_changes"}
        return sum(path.suffix == ".parquet" and not folders.isdisjoint(path.parts) for path in self.files)


def rest(folder: Path, table: str, seconds: float, at_most: float) -> None:
    """Returns when no file of the table's rows was opened for so long. Raises TimeoutError."""
    until = time.monotonic() + at_most
    while True:
        with Openings(folder) as seen:
            time.sleep(seconds)
        if not seen.data(table):
            return
        if time.monotonic() > until:
            raise TimeoutError(f"{folder}: files of {table} are still being opened after {at_most:.0f} s")
