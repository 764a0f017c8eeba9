"""What a Relation message, or the catalogue behind it, means for a followed table: nothing, GREW, ALTERED or LOST.

The message says which columns come from here on; the catalogue says (as of now, which may be later) whether older rows
were rewritten. Where the two do not agree, because more was altered meanwhile, it cannot be told and counts as ALTERED.

Not taken for a change: VACUUM FULL, CLUSTER (new files, no column touched), a default or a statistics target (a column
touched, no new files), varchar(10) -> varchar(20) (touched, no new files, carried alike).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from forebay_agent.capture.log import EventKind, LogTable
from forebay_agent.capture.postgresql.carrying import TEXT, bare
from forebay_agent.capture.postgresql.log.checkpoint import Known
from forebay_agent.capture.postgresql.log.layout import Layout
from forebay_agent.capture.source import Column, TableShape


@dataclass(frozen=True, slots=True)
class Judgement:
    """kind: None when the table's stream goes on as it is. shape: what follows has it."""

    kind: EventKind | None
    shape: TableShape
    reason: str = ""


def judge(
    table: LogTable, shape: TableShape, told: Mapping[str, Column], layout: Layout | None, known: Known
) -> Judgement:
    """shape: what the stream carries now. told: all columns of the Relation message, as they would be carried.
    layout: None when the relation is gone by now."""
    now = TableShape(
        shape.table, tuple(column for name, column in told.items() if table.wants(name)), shape.key, shape.identity
    )
    gone = [name for name in shape.key if name not in told]
    if gone:
        return Judgement(EventKind.LOST, now, f"key column {', '.join(gone)} is gone")
    before = [column.name for column in shape.columns]
    names = [column.name for column in now.columns]
    if names[: len(before)] != before:
        return Judgement(EventKind.ALTERED, now, f"its columns were ({_listed(before)}), are ({_listed(names)})")
    seen = layout.known(shape.columns) if layout is not None else None
    for one, other in zip(shape.columns, now.columns, strict=False):
        if not _same(one, other, touched=seen is None or seen.touched != known.touched):
            return Judgement(EventKind.ALTERED, now, f"column {one.name} was {one.origin}, is {other.origin}")
    added = names[len(before) :]
    if layout is None or seen is None:
        return Judgement(EventKind.ALTERED if added else None, now if added else shape, "columns were added")
    if seen.places != known.places:
        return Judgement(EventKind.ALTERED, now, "a column is another one than it was, or carried otherwise")
    rewritten = seen.files != known.files
    if rewritten and seen.touched != known.touched:
        return Judgement(EventKind.ALTERED, now, "a column was altered and its rows rewritten")
    if not added:
        return Judgement(None, shape)
    if rewritten or not _hold_null(layout, added):
        return Judgement(EventKind.ALTERED, now, f"columns were added, filled in older rows: {_listed(added)}")
    return Judgement(EventKind.GREW, now, f"columns were added: {_listed(added)}")


def _same(one: Column, other: Column, *, touched: bool) -> bool:
    """Whether older rows hold what they held, if they were not rewritten."""
    if one.arrow != other.arrow or one.carried != other.carried:
        return False
    if one.origin == other.origin or not touched:
        return True
    return one.carried != TEXT or bare(one.origin) == bare(other.origin)


def _hold_null(layout: Layout, added: list[str]) -> bool:
    columns = {column.name: column for column in layout.columns}
    return all(name in columns and not columns[name].filled and not columns[name].generated for name in added)


def _listed(names: list[str]) -> str:
    text = ", ".join(names)
    return text if len(text) <= 500 else text[:499] + "…"
