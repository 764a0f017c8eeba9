"""Long work that says in the ledger that it goes on, and how far it is: what is not touched any more lost its process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from forebay_collector.errors import CollectorError

TOUCH_S: Final = 10.0
_log = logging.getLogger("forebay.verification")

Say = Callable[[str], None]


@contextmanager
def touched(touch: Callable[[str], None], say: Say) -> Iterator[Say]:
    """While the block runs, `touch` is told what was said last, every few seconds."""
    told = [""]
    ended = threading.Event()

    def telling(text: str) -> None:
        told[0] = text
        say(text)
        touch(text)

    def touching() -> None:
        while not ended.wait(TOUCH_S):
            try:
                touch(told[0])
            except CollectorError as error:
                _log.warning("what goes on cannot be touched: %s", error)

    thread = threading.Thread(target=touching, name="touch", daemon=True)
    thread.start()
    try:
        yield telling
    finally:
        ended.set()
        thread.join()
