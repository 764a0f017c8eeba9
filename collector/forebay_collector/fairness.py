"""Fairness between the threads of one process: an acknowledgement does not wait for a load.

Receiving, committing, loading and the console share one interpreter. Two things of Python's would make who is quick wait for
who is slow, and are set here; with a hundred agents and a busy loader they made the 99th percentile of acknowledgements 376 ms,
without them it is 144 ms (`make bench-fleet`).

    the turn        a thread that computes gives way after 5 ms, and a commit comes back for its turn dozens of times: 0.5 ms
    the collector   a full look for garbage holds all threads up while it goes through every object there is: what is there
                    when the process has started stays anyway, and is not looked at again
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from typing import Final

TURN_S: Final = 0.0005
_YOUNG: Final = 2_000
"""objects made before the young ones are looked at; the older ones are looked at so much more seldom"""
_LATER: Final = 5


def share_turns() -> None:
    """Once, as the process begins."""
    sys.setswitchinterval(TURN_S)


def let_others_go_first() -> None:
    """Once, in a process that only loads: agents and people wait for an answer, the platform does not. The units forbid it,
    and forebay-collector@load sets it itself."""
    with suppress(PermissionError):
        os.nice(_LATER)


def keep_what_is_there() -> None:
    """Once, when everything was opened and started."""
    gc.set_threshold(_YOUNG, 10, 20)
    gc.collect()
    gc.freeze()
