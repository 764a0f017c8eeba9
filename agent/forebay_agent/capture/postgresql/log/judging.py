"""What a Relation message, or the catalogue behind it, means for a followed table: nothing, GREW, ALTERED or LOST.

The message says which columns come from here on; the catalogue says (as of now, which may be later) whether older rows
were rewritten. Where only the catalogue says that something happened, it is known to have happened once the log has come
to where it was said (`Judgement.doubtful`). Where the message says so too, rows may come that are from before something
else that the catalogue says already (`Judgement.sure`).

Not taken for a change: VACUUM FULL, CLUSTER (new files, no column touched), a default or a statistics target (a column
touched, no new files), varchar(10) -> varchar(20) (touched, no new files, carried alike), an added value of an enumeration,
a partition that was made as such.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from forebay_agent.capture.log import EventKind, LogTable
from forebay_agent.capture.postgresql.carrying import TEXT, bare
from forebay_agent.capture.postgresql.log.checkpoint import Known, extended
from forebay_agent.capture.postgresql.log.layout import Layout
from forebay_agent.capture.postgresql.log.relation import RelationColumn
from forebay_agent.capture.source import Column, TableShape


@dataclass(frozen=True, slots=True)
class Judgement:
    """kind: None when the table's stream goes on as it is. shape: what follows has it. doubtful: the catalogue may be of a
    later place, and is not taken for what holds here. sure: nothing that it says can have happened later."""

    kind: EventKind | None
    shape: TableShape
    reason: str = ""
    doubtful: bool = False
    sure: bool = False


def judge(
    table: LogTable,
    shape: TableShape,
    told: Sequence[RelationColumn],
    described: Mapping[str, Column],
    layout: Layout | None,
    known: Known,
) -> Judgement:
    """shape: what the stream carries now. told: all columns of the Relation message. described: the same as they would be
    carried. layout: None when the relation is gone by now."""
    now = TableShape(
        shape.table, tuple(column for name, column in described.items() if table.wants(name)), shape.key, shape.identity
    )
    gone = [name for name in shape.key if name not in described]
    if gone:
        return Judgement(EventKind.LOST, now, f"key column {', '.join(gone)} is gone")
    agrees = layout is not None and _lists(layout, told)
    sure = agrees and layout is not None and _only_grew(layout, known) and not _rewritten(layout, known)
    before = [column.name for column in shape.columns]
    names = [column.name for column in now.columns]
    if names[: len(before)] != before:
        reason = f"its columns were ({_listed(before)}), are ({_listed(names)})"
        return Judgement(EventKind.ALTERED, now, reason, sure=sure)
    touched = layout is None or layout.known(shape.columns, "").touched != known.touched
    for one, other in zip(shape.columns, now.columns, strict=False):
        if not _same(one, other, touched=touched):
            reason = f"column {one.name} was {one.origin}, is {other.origin}"
            return Judgement(EventKind.ALTERED, now, reason, sure=sure)
    added = names[len(before) :]
    reason = happened(shape, layout, known) if layout is not None else ""
    if not added:
        return Judgement(None, shape, reason, doubtful=not agrees or bool(reason))
    if not reason and (layout is None or _rewritten(layout, known) or not _hold_null(layout, added)):
        reason = f"columns were added, filled in older rows: {_listed(added)}"
    if reason:
        return Judgement(EventKind.ALTERED, now, reason, sure=sure)
    return Judgement(EventKind.GREW, now, f"columns were added: {_listed(added)}", sure=sure)


def happened(shape: TableShape, layout: Layout, known: Known) -> str:
    """What happened to the rows of a table although it has the same columns; or nothing."""
    seen = layout.known(shape.columns, "")
    if seen.places != known.places:
        return "a column is another one than it was, or carried otherwise"
    if extended(known.texts, layout.texts_of(shape.columns)) is None:
        return "the values of an enumeration, or of a composite type, are written otherwise"
    if layout.kind == "p":
        return layout.partitions_changed(known.files)
    if seen.touched != known.touched and _rewritten(layout, known):
        return "a column was altered and its rows rewritten"
    return ""


def _rewritten(layout: Layout, known: Known) -> bool:
    return layout.known((), "").files != known.files


def _lists(layout: Layout, told: Sequence[RelationColumn]) -> bool:
    """Whether the catalogue lists the same columns; generated ones may be told or not."""
    message = [(column.name, column.type, column.modifier) for column in told]
    stored = [(c.name, c.type, c.modifier) for c in layout.columns if not c.generated]
    return message in (stored, [(c.name, c.type, c.modifier) for c in layout.columns])


def _only_grew(layout: Layout, known: Known) -> bool:
    """Whether no column was dropped since, or none was added: then each stands for one that was there, or was told of."""
    added = layout.added - known.added
    return added in (0, len(layout.columns) - known.live)


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
