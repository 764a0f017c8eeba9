"""The threads that carry out what people asked for: verifications and repairs; and what is verified in the background."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from forebay_collector.errors import CollectorError, LedgerUnavailable, VerificationInterrupted
from forebay_collector.ledger import Ledger
from forebay_collector.platform.contract import Platform, PlatformError
from forebay_collector.service import repair, verification
from forebay_collector.verify.verify import Patience
from forebay_wire.stream import StreamName

LOST_AFTER: Final = timedelta(minutes=2)
PATIENCE: Final = Patience(away=timedelta(minutes=5))
"""nobody sits and waits"""

_LOOK_S: Final = 0.5
_LEDGER_PAUSE_S: Final = 2.0
_log = logging.getLogger("forebay.verification")

Step = Callable[[], bool]
"""Does one piece of work; whether there was any."""


class Verifier:
    """Carries out what is asked for, in threads of its own, until `stop`. `on_death` hears of a thread that ended.

    background: steps of a further thread.
    """

    def __init__(
        self,
        ledger: Ledger,
        open_platform: Callable[[], Platform],
        *,
        on_death: Callable[[str, BaseException], None],
        threads: int = 2,
        background: Step | None = None,
    ) -> None:
        self._ledger = ledger
        self._open_platform = open_platform
        self._on_death = on_death
        self._stopping = threading.Event()
        steps: list[Step] = [self.step] * threads
        if background is not None:
            steps.append(background)
        self._threads = [
            threading.Thread(target=self._run, args=(step,), name=f"verify-{number}", daemon=True)
            for number, step in enumerate(steps)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Takes up nothing more. A comparison under way is left to end with the process: it may take an hour, and what
        it lost shows as interrupted."""
        self._stopping.set()

    def step(self) -> bool:
        """Carries out the one that waits for longest; whether there was one. Raises LedgerUnavailable, LedgerDamaged."""
        ledger = self._ledger
        before = ledger.database.clock() - LOST_AFTER // timedelta(microseconds=1)
        lost = VerificationInterrupted("the process that carried it out has ended")
        ledger.verifications.give_up(before, lost.code, str(lost))
        ledger.repairs.give_up(before, lost.code, str(lost))
        if (asked := ledger.verifications.take()) is not None:
            self._do(
                asked.stream, lambda: verification.carry_out(ledger, self._open_platform(), asked, patience=PATIENCE)
            )
        elif (wanted := ledger.repairs.take()) is not None:
            self._do(wanted.stream, lambda: repair.carry_out(ledger, self._open_platform(), wanted, patience=PATIENCE))
        else:
            return False
        return True

    def _do(self, stream: StreamName, work: Callable[[], None]) -> None:
        try:
            work()
        except LedgerUnavailable:
            raise
        except (CollectorError, PlatformError) as error:
            _log.warning("verification failed stream=%s code=%s", stream, error.code)
        except Exception:
            _log.exception("verification failed stream=%s", stream)

    def _run(self, step: Step) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    if not step():
                        self._stopping.wait(_LOOK_S)
                except LedgerUnavailable as error:
                    _log.warning("verification waits for the ledger: %s", error)
                    self._stopping.wait(_LEDGER_PAUSE_S)
        except BaseException as error:
            self._on_death(threading.current_thread().name, error)
