"""A stream whose rows are to be captured with other columns than those before them: approved later or no more, configured or
masked otherwise; or the table itself was altered.

    fewer columns, another type or key  the stream's next epoch, with all of the table: within an epoch no column leaves, and
                                        neither a type nor the key changes
    a column more, or another mask      the table is taken anew: rows that are in the platform already would keep NULL for the
                                        column, or what the other mask left of it

A checkpoint says which selection its rows were captured with (`selection`) and the schema of the last that were sealed
(`schema`), so that it is noticed too when the agent was not running. Columns that the table itself was given while the
selection stayed as it was are not looked at here: the modes follow those. In mode log the log tells what became of the
table; there only the selection is looked at.
"""

from __future__ import annotations

from contextlib import closing

from forebay_agent import journal
from forebay_agent.approval.approvals import listed, mask_of
from forebay_agent.capture.captured import Checkpoint
from forebay_agent.capture.table import START, selection_of
from forebay_agent.config.model import TableConfig
from forebay_agent.log.putting import AGENT
from forebay_agent.outbox import Outbox
from forebay_agent.pipeline import checkpoint_of
from forebay_wire.schema import TableSchema
from forebay_wire.stream import StreamName


def widened(outbox: Outbox, before: Checkpoint, table: TableConfig, now: TableSchema) -> list[str]:
    """Columns of `now` that rows captured up to `before` lack, or have under another mask, because the selection was another
    one then."""
    if before.selection in ("", selection_of(table)) or before.phase == START:
        return []
    sealed = _sealed(outbox, before.schema)
    known = {} if sealed is None else {each.name: mask_of(each) for each in sealed.columns}
    return [each.name for each in now.columns if known.get(each.name) != mask_of(each)]


def left_out(outbox: Outbox, before: Checkpoint, table: TableConfig, now: TableSchema) -> list[str]:
    """Columns of the rows sealed last in this epoch that `now` lacks, or has with another type, because the selection was
    another one then."""
    if before.selection in ("", selection_of(table)):
        return []
    sealed = _sealed(outbox, before.schema)
    return [] if sealed is None else _missing(sealed, now)


def take_up(outbox: Outbox, name: StreamName, table: TableConfig, now: TableSchema) -> None:
    """Before a polled table is captured: sets it back to its start, durably, where it has to be taken anew. Raises what
    `Outbox.put` raises, Superseded too."""
    record = outbox.stream(name)
    before = checkpoint_of(record)
    selection = selection_of(table)
    why = _breach(_sealed(outbox, before.schema), now)
    if why:
        journal.info("table is taken anew", stream=name, reason=why)
        outbox.reset(name, who=AGENT, why=why)
        return
    if before.selection == selection or (before.phase == START and not before.schema):
        return
    after = before.advanced(selection=selection)
    added = widened(outbox, before, table, now)
    if added:
        journal.info("table is taken anew", stream=name, columns=listed(added))
        after = after.advanced(phase=START, after=None, low=None, through=None)
    outbox.put(record, [], after.to_json())


def _breach(sealed: TableSchema | None, now: TableSchema) -> str:
    """Why rows of `now` cannot follow in the epoch of those that were sealed; empty when they can."""
    if sealed is None:
        return ""
    if gone := _missing(sealed, now):
        return f"these columns are not captured any more, or as another type: {listed(gone)}"
    if sealed.key != now.key:
        return f"the key was ({', '.join(sealed.key)}), is ({', '.join(now.key)})"
    return ""


def _missing(sealed: TableSchema, now: TableSchema) -> list[str]:
    """Columns that `now` lacks, or has with another type."""
    types = {each.name: each.type for each in now.columns}
    return [each.name for each in sealed.columns if types.get(each.name) != each.type]


def _sealed(outbox: Outbox, fingerprint: str) -> TableSchema | None:
    """A schema that the outbox keeps; None when it does not."""
    if not fingerprint:
        return None
    with closing(outbox.reader()) as reader:
        serialized = reader.schema(bytes.fromhex(fingerprint))
    return None if serialized is None else TableSchema.parse(serialized, bytes.fromhex(fingerprint))
