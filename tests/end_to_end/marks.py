"""How far a fleet's streams are, read from the ledger beside the collector; and waiting for it."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable

from forebay_collector.demo.fleet import Fleet
from forebay_collector.settings import DataFolder


def until(what: Callable[[], bool], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it never came to be so"
        time.sleep(0.2)


def loaded(fleet: Fleet) -> dict[str, tuple[int, int]]:
    """(epoch, seq) up to which each stream is loaded."""
    query = "SELECT department || '/' || source || '/' || table_name, loaded_epoch, loaded_seq FROM stream"
    with contextlib.closing(sqlite3.connect(DataFolder(fleet.data).ledger, timeout=30)) as connection:
        return {name: (epoch, seq) for name, epoch, seq in connection.execute(query)}


def begun(fleet: Fleet) -> bool:
    """Whether each site's stream has rows in the platform."""
    marks = loaded(fleet)
    return len(marks) == len(fleet.sites) and all(mark > (0, 0) for mark in marks.values())
