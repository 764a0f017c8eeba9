"""Lane: one table on its source's thread, and for how long it waits when it cannot go on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from forebay_agent.backoff import Backoff
from forebay_agent.config.model import TableConfig
from forebay_agent.outbox import Outbox
from forebay_agent.pipeline import StreamPipeline
from forebay_wire.stream import StreamName

FIRST_LOOK_SECONDS: Final = 1.0
"""after which a stream that cannot go on as it is has its table described anew: an altered one is then taken anew"""

HELD_SECONDS: Final = 30.0
"""between later looks, at a stream that waits for a person"""

FULL_SECONDS: Final = 5.0
"""at most, between tries to find room in the outbox"""

BACKOFF: Final = (0.5, 30.0)


@dataclass(slots=True)
class Lane:
    """table: as it is configured, less what is not approved of it. due: on the monotonic clock. paused, unapproved: why
    nothing of it is captured, in words; empty when it is."""

    table: TableConfig
    name: StreamName
    due: float = 0.0
    pipeline: StreamPipeline | None = None
    backoff: Backoff = field(default_factory=lambda: Backoff(*BACKOFF))
    held_in_epoch: int = 0  # 0: not held
    paused: str = ""
    unapproved: str = ""

    @property
    def still(self) -> bool:
        """Whether nothing of it is captured for now, though nothing is wrong."""
        return bool(self.paused or self.unapproved)


def freed(lanes: Iterable[Lane], outbox: Outbox) -> list[Lane]:
    """Those that were held and have been reset since: they are held no longer, and due at once."""
    reset = [lane for lane in lanes if lane.held_in_epoch and outbox.stream(lane.name).epoch != lane.held_in_epoch]
    for lane in reset:
        lane.held_in_epoch, lane.due = 0, 0.0
    return reset
