"""The log checkpoint: of which server and slot it is, how far the log was handed on, and what is known of each table.

    {"system": "7711…", "database": 16384, "timeline": 1, "slot": "forebay_tax", "publication": 16390, "lsn": "0/16B3748",
     "tables": {…}}

`lsn` is the end of the last transaction that was handed on (or a place behind it where nothing was missed): the server
sends what was committed at or after it. An LSN is an integer here and `0/16B3748` wherever it is shown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Self

_FIELDS: Final = {
    "system": str,
    "database": int,
    "timeline": int,
    "slot": str,
    "publication": int,
    "lsn": str,
    "tables": dict,
}


def lsn_text(lsn: int) -> str:
    """As PostgreSQL writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def lsn_of(text: str) -> int:
    """Raises ValueError when the text is no LSN."""
    high, slash, low = text.partition("/")
    if not slash or not 0 < len(high) <= 8 or not 0 < len(low) <= 8:
        raise ValueError("not an LSN")
    return (int(high, 16) << 32) | int(low, 16)


@dataclass(frozen=True, slots=True)
class Known:
    """What was last known of a followed relation; what the log cannot tell is seen by comparing it with the catalogue.

    files: digest of its data files' numbers: another one when it was rewritten. places: digest of the captured columns
    as they are carried, and of their numbers: another one when a column was dropped and another of its name added. touched: digest of their catalogue rows'
    versions: another one when one was altered. since: transactions committed before this LSN are not handed on, because
    the publication may have held only some of their changes. unsure: rows written before this LSN may be from before a
    rewrite that was already seen; past it, the table is read anew if any came. Both 0 where they do not matter.
    """

    files: str
    places: str
    touched: str
    since: int = 0
    unsure: int = 0

    def to_json(self, lsn: int) -> list[str]:
        """As of a place in the log: what it has passed matters no more."""
        since = self.since if self.since > lsn else 0
        return [self.files, self.places, self.touched, lsn_text(since), lsn_text(self.unsure)]

    @classmethod
    def from_json(cls, fields: object) -> Self:
        """Raises ValueError."""
        if not isinstance(fields, list) or len(fields) != 5 or not all(isinstance(each, str) for each in fields):
            raise ValueError("not what is known of a table")
        return cls(fields[0], fields[1], fields[2], lsn_of(fields[3]), lsn_of(fields[4]))


@dataclass(frozen=True, slots=True)
class LogCheckpoint:
    """publication: its oid. tables: by relation oid."""

    system: str
    database: int
    timeline: int
    slot: str
    publication: int
    lsn: int
    tables: Mapping[int, Known] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(
            {
                "system": self.system,
                "database": self.database,
                "timeline": self.timeline,
                "slot": self.slot,
                "publication": self.publication,
                "lsn": lsn_text(self.lsn),
                "tables": {str(oid): known.to_json(self.lsn) for oid, known in self.tables.items()},
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises ValueError when the text is no log checkpoint of PostgreSQL."""
        fields = json.loads(text)
        if not isinstance(fields, dict) or any(type(fields.get(name)) is not kind for name, kind in _FIELDS.items()):
            raise ValueError("not a log checkpoint of PostgreSQL")
        tables = {int(oid): Known.from_json(known) for oid, known in fields["tables"].items()}
        return cls(
            fields["system"],
            fields["database"],
            fields["timeline"],
            fields["slot"],
            fields["publication"],
            lsn_of(fields["lsn"]),
            tables,
        )
