"""Stands: since when the log of a source goes on while nothing of it is captured.

An agent tells how many bytes of the log are between it and the log's end. A table that is quiet in a busy database has a
position that stands, and that is no trouble; so it counts only while no stream of the source moves, the bytes never become
fewer, and they have grown by more than a little. Kept in memory: after a restart it is found anew.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from forebay_collector.alerts.conditions import sources
from forebay_collector.service.fleet import AgentView

GROWN: Final = 1 << 20


@dataclass(slots=True)
class _Standing:
    since: int
    first: int
    last: int
    positions: tuple[str, ...]


class Stands:
    def __init__(self) -> None:
        self._known: dict[tuple[str, str], _Standing] = {}

    def look(self, views: Iterable[AgentView], at: int) -> dict[tuple[str, str], int]:
        """By agent and source: since when it stands, microseconds."""
        now: dict[tuple[str, str], _Standing] = {}
        for agent, source, behind, positions in sources(views):
            before = self._known.get((agent, source))
            if before is None or before.positions != positions or behind < before.last:
                now[agent, source] = _Standing(at, behind, behind, positions)
            else:
                before.last = behind
                now[agent, source] = before
        self._known = now
        return {key: one.since for key, one in now.items() if one.last - one.first >= GROWN}
