"""Stands: since when the log of a source goes on while nothing of it is captured.

An agent tells how many bytes of the log are between it and the log's end. A table that is quiet in a busy database has a
position that stands, and that is no trouble; so it counts only while no stream of the source moves, the bytes never become
fewer, and they have grown by more than a little. Kept in memory: after a restart it is found anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from forebay_collector.alerts.agents_now import AgentNow

GROWN: Final = 1 << 20
Source = tuple[str, str]
"""An agent, and `department/source`."""


@dataclass(slots=True)
class _Standing:
    since: int
    first: int
    last: int
    marks: tuple[str, ...]


class Stands:
    def __init__(self) -> None:
        self._known: dict[Source, _Standing] = {}

    def look(self, agents: Iterable[AgentNow], at: int) -> Mapping[Source, int]:
        """Since when each source that stands does, microseconds."""
        now: dict[Source, _Standing] = {}
        for source, behind, marks in _logs(agents):
            before = self._known.get(source)
            if before is None or before.marks != marks or behind < before.last:
                now[source] = _Standing(at, behind, behind, marks)
            else:
                before.last = behind
                now[source] = before
        self._known = now
        return {source: one.since for source, one in now.items() if one.last - one.first >= GROWN}


def _logs(agents: Iterable[AgentNow]) -> Iterator[tuple[Source, int, tuple[str, ...]]]:
    """(source, bytes of its log that are not captured, where its streams are) of each source that reads a log."""
    for agent in agents:
        logs: dict[str, list[tuple[int, str]]] = {}
        for stream in agent.streams:
            if stream.mode == "log" and not stream.paused and stream.state != "held":
                logs.setdefault(stream.source, []).append((stream.bytes_behind, stream.mark))
        for source, told in logs.items():
            yield (agent.name, source), max(behind for behind, _ in told), tuple(mark for _, mark in told)
