"""Check: digests of batches, large ones in threads, so that hashing never holds up the event loop."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from forebay_collector.receive.refusal import Refusal
from forebay_wire.errors import WireError
from forebay_wire.seal import SealedBatch, check_digests

_AT_ONCE: Final = 16 << 10
"""Payload up to which hashing here (some 50 µs) is cheaper than handing it to a thread."""


class DigestChecks:
    def __init__(self, threads: int = max(2, os.cpu_count() or 2)) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="digest")

    def start(self, batch: SealedBatch) -> asyncio.Future[Refusal | None]:
        """The outcome, now or later: None when the bytes are those that were sealed."""
        loop = asyncio.get_running_loop()
        if len(batch.payload) > _AT_ONCE:
            return loop.run_in_executor(self._threads, check, batch)
        outcome: asyncio.Future[Refusal | None] = loop.create_future()
        outcome.set_result(check(batch))
        return outcome

    def close(self) -> None:
        self._threads.shutdown(cancel_futures=True)


def check(batch: SealedBatch) -> Refusal | None:
    try:
        check_digests(batch)
    except WireError as error:
        return Refusal.of(error)
    return None
