"""An agent that is away for a moment, since it restarts or the collector did: it is asked again from the beginning of what it
was asked. All that a comparison asks for only reads, and a repair that is asked for again does the same once more."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

from forebay_collector.errors import AgentUnreachable

T = TypeVar("T")

_AGAIN_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Away:
    """at_most: so long is an agent waited for that cannot be reached. say: is told while it is waited for."""

    at_most: timedelta = timedelta(0)
    say: Callable[[str], None] = lambda _: None

    def asked(self, work: Callable[[], T]) -> T:
        """What `work` gives, which is begun again while the agent is away. Raises AgentUnreachable, and what `work` raises."""
        began = time.monotonic()
        while True:
            try:
                return work()
            except AgentUnreachable:
                if time.monotonic() - began > self.at_most.total_seconds():
                    raise
                self.say("waiting for the agent")
                time.sleep(_AGAIN_S)
