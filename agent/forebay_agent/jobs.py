"""Jobs: what other threads ask of the thread that alone uses a source's session, run by it between its rounds."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from forebay_agent.errors import OutboxDamaged, StateFolderUnusable

T = TypeVar("T")


class Jobs:
    """`ask`, `wake` and `close` are called by any thread, the rest by the one that runs the jobs."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._waiting: deque[tuple[Callable[[], Any], Future[Any]]] = deque()
        self.closed = False

    def __bool__(self) -> bool:
        """Whether any job waits."""
        return bool(self._waiting)

    def ask(self, job: Callable[[], T]) -> Future[T]:
        """Runs a job as soon as the round at hand is over; cancelled when there will be none."""
        future: Future[T] = Future()
        with self._condition:
            if self.closed:
                future.cancel()
            else:
                self._waiting.append((job, future))
                self._condition.notify_all()
        return future

    def close(self) -> None:
        """No more jobs, and no more waiting for them."""
        with self._condition:
            self.closed = True
            self._condition.notify_all()

    def wait(self, seconds: float) -> None:
        """Until a job waits, or for so long."""
        with self._condition:
            if not self._waiting and not self.closed:
                self._condition.wait(seconds)

    def run(self) -> None:
        """Runs all that wait. Raises OutboxDamaged, StateFolderUnusable; whatever else goes wrong is the job's result."""
        while self._waiting and not self.closed:
            job, future = self._waiting.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(job())
            except (OutboxDamaged, StateFolderUnusable) as error:
                future.set_exception(error)
                raise
            except Exception as error:
                future.set_exception(error)

    def cancel(self) -> None:
        """Those that were not run."""
        for _, future in self._waiting:
            future.cancel()
