"""The log checkpoint: of which server and slot it is, how far the log was handed on, and what is known of each table.

    {"system": "7711…", "database": 16384, "timeline": 1, "slot": "forebay_tax", "publication": 16390, "lsn": "0/16B3748",
     "tables": {…}}

`lsn` is the end of the last transaction that was handed on (or a place behind it where nothing was missed): the server
sends what was committed at or after it. An LSN is an integer here and `0/16B3748` wherever it is shown.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
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
_DIGEST_BYTES: Final = 8


def lsn_text(lsn: int) -> str:
    """As PostgreSQL writes it."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def lsn_of(text: str) -> int:
    """Raises ValueError when the text is no LSN."""
    high, slash, low = text.partition("/")
    if not slash or not 0 < len(high) <= 8 or not 0 < len(low) <= 8:
        raise ValueError("not an LSN")
    return (int(high, 16) << 32) | int(low, 16)


def digest(parts: Iterable[str]) -> str:
    """Of a list of texts."""
    made = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        made.update(part.encode() + b"\0")
    return made.hexdigest()


def extended(before: str, parts: Sequence[str]) -> int | None:
    """How many of these texts a list had whose digest this is, when the others were added behind it; None: it had others."""
    made = hashlib.blake2b(digest_size=_DIGEST_BYTES)
    for count, part in enumerate(parts):
        if made.copy().hexdigest() == before:
            return count
        made.update(part.encode() + b"\0")
    return len(parts) if made.hexdigest() == before else None


@dataclass(frozen=True, slots=True)
class Known:
    """What was last known of a followed relation; what the log cannot tell is seen by comparing it with the catalogue.

    Digests. files: of its data files' numbers, and how each partition belongs to it. places: of the captured columns as they
    are carried, and of their numbers: another one when a column was dropped and another of its name added. touched: of their
    catalogue rows' versions: another one when one was altered. texts: of what their values' text depends on (names of
    enumerations' values). member: of its place in the publication.

    added, live: how many columns it ever had, and has. since: transactions committed before this LSN are not handed on,
    because the publication may have held only some of their changes. unsure: rows written before this LSN may be from before
    something that was already seen; past it, the table is read anew if any came. Both 0 where they do not matter.
    """

    files: str
    places: str
    touched: str
    texts: str
    member: str
    added: int
    live: int
    since: int = 0
    unsure: int = 0

    def to_json(self, lsn: int) -> list[str | int]:
        """As of a place in the log: what it has passed matters no more."""
        since = self.since if self.since > lsn else 0
        digests = [self.files, self.places, self.touched, self.texts, self.member]
        return [*digests, self.added, self.live, lsn_text(since), lsn_text(self.unsure)]

    @classmethod
    def from_json(cls, fields: object) -> Self:
        """Raises ValueError."""
        if not isinstance(fields, list) or [type(each) for each in fields] != [str] * 5 + [int] * 2 + [str] * 2:
            raise ValueError("not what is known of a table")
        files, places, touched, texts, member, added, live, since, unsure = fields
        return cls(files, places, touched, texts, member, added, live, lsn_of(since), lsn_of(unsure))


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
