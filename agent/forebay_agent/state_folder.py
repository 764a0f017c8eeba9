"""The state folder: one agent at a time uses it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from forebay_agent.errors import StateFolderUnusable

LOCK_FILE: Final = "agent.lock"


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """Makes the state folder and locks it for this process."""
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(state / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StateFolderUnusable(f"{state} cannot be written: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise StateFolderUnusable(
            f"another agent runs on {state}", remedy="Stop it, or give this agent a state folder of its own."
        ) from None
    try:
        yield
    finally:
        os.close(descriptor)
