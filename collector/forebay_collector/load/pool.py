"""The loader's threads: thin loops around `Loader.step` and `Loader.maintain`, few and bounded.

A thread that ends by itself calls `on_death` with the error; whoever runs the pool ends the process with that reason.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from forebay_collector.errors import LedgerUnavailable
from forebay_collector.ledger import Ledger
from forebay_collector.load.loader import Loader
from forebay_collector.load.schedule import Schedule

_LOG: Final = logging.getLogger("forebay.load")
_LOOK_S: Final = 0.1
_LEDGER_PAUSE_S: Final = 2.0
THREADS: Final = 2


class LoaderPool:
    """Loads whatever waits, until `stop`. `on_death` is called at most once per thread, from that thread."""

    def __init__(
        self,
        loader: Loader,
        ledger: Ledger,
        *,
        on_death: Callable[[str, BaseException], None],
        threads: int = THREADS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loader = loader
        self._ledger = ledger
        self._on_death = on_death
        self._schedule = Schedule(clock)
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name=f"load-{number}", daemon=True) for number in range(threads)
        ]

    def start(self) -> None:
        """Settles by the platform's marks, then loads. Raises what `Loader.settle` raises."""
        self._loader.settle()
        self._schedule.know(stream.name for stream in self._ledger.streams.listing())
        for thread in self._threads:
            thread.start()

    def stop(self, timeout_s: float = 60.0) -> bool:
        """Lets the steps under way end; whether they did in time."""
        self._stopping.set()
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    if not self._turn():
                        self._stopping.wait(_LOOK_S)
                except LedgerUnavailable as error:
                    _LOG.warning("loading waits for the ledger: %s", error)
                    self._stopping.wait(_LEDGER_PAUSE_S)
        except BaseException as error:
            self._on_death(threading.current_thread().name, error)

    def _turn(self) -> bool:
        """One step of loading, or one of upkeep where nothing waits; whether there may be more to do at once."""
        stream = self._schedule.take(self._ledger.streams.waiting())
        worked = False
        if stream is not None:
            loaded, pause_s = False, _LEDGER_PAUSE_S
            try:
                step = self._loader.step(stream)
                loaded, pause_s = step.loaded, step.pause_s
            finally:
                self._schedule.done(stream, loaded=loaded, pause_s=pause_s)
            worked = loaded
        return self._upkeep(idle=not worked) or worked

    def _upkeep(self, idle: bool) -> bool:
        stream = self._schedule.take_for_upkeep(idle)
        if stream is None:
            return False
        again = False
        try:
            again = self._loader.maintain(stream)
        finally:
            self._schedule.upkept(stream, again=again)
        return again
