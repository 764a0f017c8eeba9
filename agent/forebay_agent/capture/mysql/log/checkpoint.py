"""Log checkpoints: where a reader goes on, as text that outlives processes.

    {"v": 1, "server": identity, "flavor": "mariadb" | "mysql", "gtid": "0-1-42", "file": "binlog.000003", "offset": 4711,
     "created": 1795491610, "from": {"gtid": …, "file": …, "offset": …, "created": …}}

`file` and `offset` are the end of the last transaction that was handed on, `gtid` all that were. `created`: when the server
began the file, which tells a log that was begun anew (RESET MASTER) from the one before; 0: not known. `from`: where the oldest
transaction begins that was prepared (XA) but neither committed nor rolled back: its rows have to be read again.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Final

from forebay_agent.errors import LogUnreadable

MARIADB: Final = "mariadb"
MYSQL: Final = "mysql"
_NUMBER: Final = re.compile(r"\.(\d{1,10})\Z")
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Place:
    """One offset of one file of a log, and the transactions that stand before it."""

    file: str
    offset: int
    gtid: str = ""
    created: int = 0

    @property
    def order(self) -> tuple[int, int]:
        """What places of one log compare by. Raises ValueError."""
        return number_of(self.file), self.offset

    def __str__(self) -> str:
        return shown(self.gtid, self.file, self.offset)


@dataclass(frozen=True, slots=True)
class LogCheckpoint:
    """See the module. prepared: `from`."""

    server: str
    flavor: str
    place: Place
    prepared: Place | None = None

    @classmethod
    def parse(cls, text: str) -> LogCheckpoint:
        """Raises LogUnreadable: a checkpoint that is damaged is never taken for another one."""
        try:
            fields = json.loads(text)
            if fields["v"] != _VERSION or fields["flavor"] not in (MARIADB, MYSQL):
                raise ValueError
            prepared = fields.get("from")
            return cls(
                str(fields["server"]), fields["flavor"], _place(fields), None if prepared is None else _place(prepared)
            )
        except (ValueError, KeyError, TypeError):
            raise LogUnreadable(
                "the log checkpoint of this source is none that this version of the agent can read",
                remedy="Go back to the version of the agent that wrote it, or take the tables anew: "
                "`forebay-agent snapshot STREAM --reason …`.",
            ) from None

    def text(self) -> str:
        fields: dict[str, object] = {"v": _VERSION, "server": self.server, "flavor": self.flavor, **_fields(self.place)}
        if self.prepared is not None:
            fields["from"] = _fields(self.prepared)
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))

    @property
    def start(self) -> Place:
        """Where reading begins."""
        return self.place if self.prepared is None else self.prepared

    def at(self, place: Place, prepared: Place | None) -> LogCheckpoint:
        """The checkpoint of the same log, moved."""
        return replace(self, place=place, prepared=prepared)


def number_of(file: str) -> int:
    """The number that a log's files are counted by. Raises ValueError."""
    found = _NUMBER.search(file)
    if found is None:
        raise ValueError(f"{file!r} is no name of a binary log's file")
    return int(found[1])


def shown(gtid: str, file: str, offset: int) -> str:
    """A position for people, as the kernel writes it into each row."""
    return f"{gtid}@{file}:{offset}" if gtid else f"{file}:{offset}"


def _place(fields: dict[str, object]) -> Place:
    file, offset, gtid, created = fields["file"], fields["offset"], fields["gtid"], fields["created"]
    if not (isinstance(file, str) and isinstance(offset, int) and isinstance(gtid, str) and isinstance(created, int)):
        raise ValueError("no place in a log")
    number_of(file)
    return Place(file, offset, gtid, created)


def _fields(place: Place) -> dict[str, object]:
    return {"gtid": place.gtid, "file": place.file, "offset": place.offset, "created": place.created}
