"""How many bytes the archive holds: added up once from the ledger, then kept by what comes and goes in this process.

The ledger's batches are added up in the background, stream by stream, when somebody first asks, as they stood when the
process opened the ledger: a batch that came or went since then is in the tally.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from sqlalchemy import func, or_, select

from forebay_collector.errors import CollectorError
from forebay_collector.ledger import Ledger, tables
from forebay_collector.metrics.tally import Tally

_MOST_PAUSE_S: Final = 5.0
_log = logging.getLogger("forebay.metrics")


class ArchiveSize:
    """Made before the process receives or removes anything."""

    def __init__(self, ledger: Ledger, tally: Tally) -> None:
        self._ledger = ledger
        self._tally = tally
        self._opened_us = ledger.database.clock()
        self._before: int | None = None
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()

    def bytes(self) -> int | None:
        """None: it is not known yet. One thread at a time asks."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="archive-size", daemon=True)
            self._thread.start()
        if self._before is None:
            return None
        return self._before + self._tally.durable_bytes - self._tally.removed_bytes

    def stop(self) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(10)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._before = self._add_up()
                return
            except CollectorError as error:
                _log.warning("the archive's size waits code=%s reason=%s", error.code, error)
                self._stopped.wait(_MOST_PAUSE_S)

    def _add_up(self) -> int | None:
        batch, total = tables.batch.c, 0
        held = or_(batch.expired_at == 0, batch.expired_at >= self._opened_us)
        for stream in self._ledger.streams.listing():
            began = time.monotonic()
            query = select(func.coalesce(func.sum(batch.bytes), 0)).where(
                batch.stream_id == stream.id, batch.received_at < self._opened_us, held
            )
            with self._ledger.database.read() as connection:
                total += int(connection.execute(query).scalar_one())
            # half of the time at most: others want the disk, too
            if self._stopped.wait(min(_MOST_PAUSE_S, time.monotonic() - began)):
                return None
        return total
