"""Relation messages: the columns that a table's changes come with from there on.

    'R', oid, schema, table, replica identity, number of columns, each: flags (1: of the replica identity), name, type's
    oid, type modifier (PostgreSQL manual, "Logical Replication Message Formats")

A message holds what was so where it stands in the log; the catalogue is asked for type names only, which outlive columns.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from forebay_agent.capture.postgresql import carrying
from forebay_agent.capture.postgresql.session import Session
from forebay_agent.capture.source import Column, TableName

_TYPES: Final = """
WITH RECURSIVE resolved AS (
    SELECT asked.number, asked.type, asked.modifier
    FROM unnest(%s::oid[], %s::int[]) WITH ORDINALITY AS asked(type, modifier, number)
    UNION ALL
    SELECT r.number, d.typbasetype, d.typtypmod
    FROM resolved r JOIN pg_type d ON d.oid = r.type AND d.typtype = 'd'
)
SELECT format_type(r.type, r.modifier)
FROM resolved r LEFT JOIN pg_type t ON t.oid = r.type
WHERE t.typtype IS DISTINCT FROM 'd'
ORDER BY r.number
"""
_OF_IDENTITY: Final = 1
_MOST_TYPES: Final = 10_000


@dataclass(frozen=True, slots=True)
class RelationColumn:
    """of_identity: its old value comes with updates of the key and deletes. type, modifier: as pg_attribute has them."""

    name: str
    of_identity: bool
    type: int
    modifier: int


@dataclass(frozen=True, slots=True)
class RelationMessage:
    """identity: `d` default, `i` index, `f` full, `n` nothing."""

    oid: int
    table: TableName
    identity: str
    columns: tuple[RelationColumn, ...]
    message: bytes

    def place(self, name: str) -> int:
        """The number of a column, from 0."""
        return next(number for number, column in enumerate(self.columns) if column.name == name)


def oid_of(message: bytes) -> int:
    """Raises ValueError."""
    if len(message) < 5:
        raise ValueError("a Relation message is cut short")
    return int.from_bytes(message[1:5], "big")


def parse(message: bytes, decode: Callable[[bytes], str]) -> RelationMessage:
    """decode: names come in the connection's encoding. Raises ValueError."""
    try:
        schema, at = _text(message, 5, decode)
        table, at = _text(message, at, decode)
        identity, count = struct.unpack_from("!cH", message, at)
        at += 3
        columns = []
        for _ in range(count):
            flags = message[at]
            name, at = _text(message, at + 1, decode)
            kind, modifier = struct.unpack_from("!Ii", message, at)
            at += 8
            columns.append(RelationColumn(name, bool(flags & _OF_IDENTITY), kind, modifier))
    except (struct.error, IndexError):
        raise ValueError("a Relation message is cut short") from None
    # the server leaves the schema out for pg_catalog, whose tables cannot be published
    return RelationMessage(
        oid_of(message), TableName(schema, table), identity.decode("latin-1"), tuple(columns), message
    )


def _text(message: bytes, at: int, decode: Callable[[bytes], str]) -> tuple[str, int]:
    end = message.find(b"\0", at)
    if end < 0:
        raise ValueError("a Relation message is cut short")
    return decode(message[at:end]), end + 1


class TypeNames:
    """Types by oid and modifier, as origins; domains by their base type."""

    def __init__(self, session: Callable[[], Session]) -> None:
        self._session = session
        self._known: dict[tuple[int, int], str] = {}

    def origins(self, columns: Sequence[RelationColumn]) -> list[str]:
        missing = list(dict.fromkeys(key for c in columns if (key := (c.type, c.modifier)) not in self._known))
        if missing:
            if len(self._known) > _MOST_TYPES:
                self._known.clear()
                missing = list(dict.fromkeys((c.type, c.modifier) for c in columns))
            kinds, modifiers = [kind for kind, _ in missing], [modifier for _, modifier in missing]
            found = self._session().rows(_TYPES, (kinds, modifiers))
            self._known |= dict(zip(missing, (name for (name,) in found), strict=True))
        return [self._known[c.type, c.modifier] for c in columns]


def described(
    columns: Sequence[RelationColumn], origins: Sequence[str], as_text: frozenset[str]
) -> Mapping[str, Column]:
    """Columns as they are carried, by name, in order."""
    return {
        column.name: carrying.describe(column.name, origin, as_text=column.name in as_text)
        for column, origin in zip(columns, origins, strict=True)
    }
