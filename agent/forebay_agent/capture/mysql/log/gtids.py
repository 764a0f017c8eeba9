"""GTIDs: which transactions were read, as MariaDB and MySQL count them.

MariaDB: one `domain-server-sequence` per domain, the last one read of it (`0-1-42,7-2-9`).
MySQL: intervals of transaction numbers per server uuid, and per tag from 8.4 on (`3e11fa47-…:1-5:7,…`).
"""

from __future__ import annotations

import re
import struct
import uuid
from collections.abc import Iterable
from typing import Final

_MARIADB: Final = re.compile(r"(\d{1,10})-(\d{1,10})-(\d{1,20})")
_INTERVAL: Final = re.compile(r"(\d{1,19})(?:-(\d{1,19}))?")
_TAG: Final = re.compile(r"[a-z_][a-z0-9_]{0,31}")

Domains = dict[int, tuple[int, int]]
"""domain -> (server id, sequence number)"""


def domains(text: str) -> Domains:
    """Takes MariaDB's list apart. Raises ValueError."""
    found: Domains = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        parsed = _MARIADB.fullmatch(part)
        if parsed is None:
            raise ValueError("not a list of MariaDB's GTIDs")
        found[int(parsed[1])] = (int(parsed[2]), int(parsed[3]))
    return found


def domains_text(state: Domains) -> str:
    return ",".join(f"{domain}-{server}-{number}" for domain, (server, number) in sorted(state.items()))


class Executed:
    """MySQL's set of executed transactions. Intervals are kept apart, in order, and include both ends."""

    def __init__(self, text: str = "") -> None:
        """Raises ValueError."""
        self._sources: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            self.add(part)

    def add(self, part: str) -> None:
        """One uuid's intervals. Raises ValueError."""
        source, *rest = part.replace("\n", "").strip().split(":")
        try:
            source = str(uuid.UUID(source))
        except ValueError:
            raise ValueError("not a set of MySQL's GTIDs") from None
        tag = ""
        for word in rest:
            interval = _INTERVAL.fullmatch(word.strip())
            if interval is not None:
                self._join(source, tag, int(interval[1]), int(interval[2] or interval[1]))
            elif _TAG.fullmatch(word.strip().lower()):
                tag = word.strip().lower()
            else:
                raise ValueError("not a set of MySQL's GTIDs")

    def _join(self, source: str, tag: str, low: int, high: int) -> None:
        if not 0 < low <= high:
            raise ValueError("not an interval of MySQL's GTIDs")
        intervals = self._sources.setdefault((source, tag), [])
        if intervals and intervals[-1][0] <= low <= intervals[-1][1] + 1:  # nearly always the next one
            intervals[-1] = (intervals[-1][0], max(high, intervals[-1][1]))
            return
        joined: list[tuple[int, int]] = []
        for begin, end in sorted([*intervals, (low, high)]):
            if joined and begin <= joined[-1][1] + 1:
                joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
            else:
                joined.append((begin, end))
        intervals[:] = joined

    def contains(self, other: Executed) -> bool:
        """Whether everything in the other one is in this one."""
        return all(
            any(low <= begin and end <= high for low, high in self._sources.get(source, ()))
            for source, intervals in other._sources.items()
            for begin, end in intervals
        )

    def lacking(self, other: Executed) -> str:
        """What the other one holds and this one does not, as text."""
        text = Executed()
        for (source, tag), intervals in other._sources.items():
            own = self._sources.get((source, tag), [])
            for begin, end in intervals:
                at = begin
                for low, high in own:
                    if high < at or low > end:
                        continue
                    if at < low:
                        text._join(source, tag, at, low - 1)
                    at = high + 1
                if at <= end:
                    text._join(source, tag, at, end)
        return str(text)

    def encoded(self) -> bytes:
        """As COM_BINLOG_DUMP_GTID takes it (`Gtid_set::encode`). Raises ValueError where there are tags, which that form does
        not know."""
        parts = [struct.pack("<Q", len(self._sources))]
        for (source, tag), intervals in sorted(self._sources.items()):
            if tag:
                raise ValueError("GTIDs with tags are not supported")
            parts.append(uuid.UUID(source).bytes + struct.pack("<Q", len(intervals)))
            parts += [struct.pack("<QQ", low, high + 1) for low, high in intervals]
        return b"".join(parts)

    def __str__(self) -> str:
        texts = []
        for (source, tag), intervals in sorted(self._sources.items()):
            numbers = ":".join(str(low) if low == high else f"{low}-{high}" for low, high in intervals)
            texts.append(f"{source}:{tag}:{numbers}" if tag else f"{source}:{numbers}")
        return ",".join(texts)


def advanced(mariadb: bool, state: str, ended: Iterable[str]) -> str:
    """A state and the transactions that ended since. Raises ValueError."""
    if mariadb:
        reached = domains(state)
        for gtid in ended:
            reached |= domains(gtid)
        return domains_text(reached)
    executed = Executed(state)
    for gtid in ended:
        executed.add(gtid)
    return str(executed)
