"""Recorder: what all agents say goes into the ledger together, in one transaction about twice a second.

Whoever comes first after a quiet time waits next to nothing; while a fleet beats, commits are as far apart as `EVERY_S`, and
everyone who came meanwhile joins. Each waits for the one commit of all, and acknowledges only after it. There is no task
while there is nothing to record.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from forebay_collector.errors import CollectorError
from forebay_collector.ledger import Ledger
from forebay_collector.ledger.heartbeats import Beat, Hello, Leaving

EVERY_S: Final = 0.4
"""How far apart commits are at least; with the commit, an agent hears within about half a second."""
_FIRST_S: Final = 0.02
_LOG: Final = logging.getLogger(__name__)

Entry: TypeAlias = Hello | Leaving | Beat


@dataclass(slots=True)
class _Waiting:
    """make: gives the entry, in the writing thread. error: why it is not in the ledger."""

    make: Callable[[], Entry]
    written: asyncio.Future[None]
    error: Exception | None = None
    entry: Entry | None = None


class Recorder:
    def __init__(self, ledger: Ledger, every_s: float = EVERY_S) -> None:
        self._ledger = ledger
        self._every_s = every_s
        self._begun = 0.0  # the newest commit
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None

    async def record(self, make: Callable[[], Entry]) -> None:
        """Returns when the entry is on disk. make: runs in another thread; what it raises is raised here.

        Raises LedgerUnavailable, LedgerDamaged: it is not.
        """
        await self._put(make)

    def note(self, entry: Entry) -> None:
        """As `record`, and nobody waits for it."""
        self._put(lambda: entry).add_done_callback(_told)

    async def close(self) -> None:
        """Writes what waits."""
        while self._writing is not None:
            await asyncio.wait([self._writing])

    def _put(self, make: Callable[[], Entry]) -> asyncio.Future[None]:
        waiting = _Waiting(make, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        return waiting.written

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            await asyncio.sleep(max(_FIRST_S, self._begun + self._every_s - loop.time()))
            self._begun = loop.time()
            group, self._waiting = self._waiting, []
            await asyncio.to_thread(self._commit, group)
            for one in group:
                if one.written.done():  # whoever waited has gone
                    continue
                if one.error is None:
                    one.written.set_result(None)
                else:
                    one.written.set_exception(one.error)
        self._writing = None

    def _commit(self, group: list[_Waiting]) -> None:
        """In another thread. Never raises: each entry has its error."""
        for one in group:
            try:
                one.entry = one.make()
            except Exception as error:
                one.error = error
        made = [one for one in group if one.entry is not None]
        try:
            self._store(made)
        except CollectorError as error:
            for one in made:
                one.error = error
        except Exception:
            # one of them is what the database does not take: the others shall not suffer for it
            _LOG.exception("a group of %d heartbeats cannot be written: they are written one by one", len(made))
            for one in made:
                try:
                    self._store([one])
                except Exception as error:
                    one.error = error

    def _store(self, made: list[_Waiting]) -> None:
        entries = [one.entry for one in made if one.entry is not None]
        for alarm in self._ledger.heartbeats.write(entries) if entries else ():
            _LOG.error("identity in two places: %s", alarm)


def _told(written: asyncio.Future[None]) -> None:
    if not written.cancelled() and (error := written.exception()) is not None:
        _LOG.warning("not recorded: %s", error)
