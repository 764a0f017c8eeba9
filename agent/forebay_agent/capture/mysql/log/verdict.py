"""What a change of a table's columns means for its stream: nothing, GREW or ALTERED."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from forebay_agent.capture.log import EventKind
from forebay_agent.capture.mysql import types
from forebay_agent.capture.mysql.log.alter import Alteration
from forebay_agent.capture.mysql.types import ColumnType
from forebay_agent.capture.source import Column

_BY_SIZE: Final = (
    ("tinyint", "smallint", "mediumint", "int", "bigint"),
    ("tinytext", "text", "mediumtext", "longtext"),
    ("tinyblob", "blob", "mediumblob", "longblob"),
)
_LONGER: Final = {"varchar", "varbinary", "char"}


def verdict(
    before: Sequence[Column],
    after: Sequence[Column],
    alteration: Alteration | None,
    was_nullable: Mapping[str, bool],
    is_empty: Mapping[str, bool],
) -> EventKind | None:
    """before, after: the captured columns. alteration: what statements did in between; None: no statement was seen.
    was_nullable: of columns before, True where it is not known. is_empty: whether rows that were there before hold NULL in an
    added column, as far as its definition says.
    """
    then = {column.name: column for column in before}
    now = {column.name: column for column in after}
    added = [name for name in now if name not in then]
    if any(name not in now or not same_values(column, now[name]) for name, column in then.items()):
        return EventKind.ALTERED
    if alteration is None:
        return EventKind.ALTERED if added else None
    if alteration.content or any(name.lower() in alteration.gone for name in then):
        return EventKind.ALTERED
    if any(name.lower() in alteration.filled and was_nullable.get(name, True) for name in then):
        return EventKind.ALTERED
    if not added:
        return None
    empty = all(alteration.added.get(name.lower(), False) and is_empty.get(name, False) for name in added)
    return EventKind.GREW if empty else EventKind.ALTERED


def same_values(before: Column, after: Column) -> bool:
    """Whether values written before are the same values in the column as it is now, and carried alike."""
    if (before.arrow, before.carried) != (after.arrow, after.carried):
        return False
    return before.origin == after.origin or _widened(before.origin, after.origin)


def _widened(before: str, after: str) -> bool:
    """Whether only room was added, or the type is written in another way (`int(11)`, `int`)."""
    old, new = ColumnType.parse(before), ColumnType.parse(after)
    if (old.unsigned, old.charset) != (new.unsigned, new.charset) or ("zerofill" in before) != ("zerofill" in after):
        return False
    for sizes in _BY_SIZE:
        if old.base in sizes and new.base in sizes:
            return sizes.index(old.base) <= sizes.index(new.base)
    if old.base != new.base:
        return False
    if old.base in types.LABELS:
        return new.labels[: len(old.labels)] == old.labels
    if old.base in _LONGER:
        return (old.arguments or (1,)) <= (new.arguments or (1,))
    if old.base in ("year", *types.FLOATS):
        return True
    if old.base in types.GEOMETRIES:
        return True
    return old.arguments == new.arguments
