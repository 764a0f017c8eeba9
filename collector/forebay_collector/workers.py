"""Workers: threads that repeat a step, and are seen to be alive by the steps they complete.

A worker that ends with an error tells `died` at once; a worker whose step hangs shows by `silent_s`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final

Died = Callable[[str, BaseException], None]
DEAF_AFTER_S: Final = 60.0
"""A step takes less than this, or the worker counts as hanging."""


class Worker:
    """Repeats `step` in a thread of its own until it returns False. `died` is called from that thread."""

    def __init__(self, name: str, step: Callable[[], bool], died: Died) -> None:
        self.name = name
        self._step = step
        self._died = died
        self._beat = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._beat = time.monotonic()
        self._thread.start()

    def join(self, timeout_s: float) -> bool:
        """Whether the thread ended in time."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    @property
    def silent_s(self) -> float:
        """Seconds since the last step was completed."""
        return time.monotonic() - self._beat

    def _run(self) -> None:
        try:
            while self._step():
                self._beat = time.monotonic()
        except BaseException as error:
            self._died(self.name, error)


class Periodic:
    """A worker's step that does something every so many seconds, or again at once while that returns True."""

    def __init__(self, every_s: float, do: Callable[[], bool | None], stopping: threading.Event) -> None:
        self._every_s = every_s
        self._do = do
        self._stopping = stopping
        self._due = 0.0

    def __call__(self) -> bool:
        wait_s = self._due - time.monotonic()
        if wait_s <= 0:
            again = self._do()
            self._due = time.monotonic() + (0 if again else self._every_s)
        else:
            self._stopping.wait(min(1.0, wait_s))
        return not self._stopping.is_set()
