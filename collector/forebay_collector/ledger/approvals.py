"""Approvals: what agents propose to share, and what people decided about it.

Every change of a stream's proposal or decisions takes the next revision: of the stream, for whoever checks batches
(`changed`), and of its agent, for whoever tells it (`revisions`). All deeds are in the audit, in the same transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from sqlalchemy import Connection, select

from forebay_collector.errors import NotKnown, NotPossible
from forebay_collector.ledger import audit, tables
from forebay_collector.ledger import proposal_rows as rows
from forebay_collector.ledger.database import Database
from forebay_collector.ledger.proposals import AUTOMATIC, Column, Decided, ProposalRecord, State
from forebay_wire.stream import StreamName

_NAMED_IN_AUDIT: Final = 200
"""Columns that one entry of the audit names; the rest is counted."""


class Approvals:
    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, stream: StreamName) -> ProposalRecord | None:
        with self._database.read() as connection:
            return rows.find(connection, stream)

    def listing(
        self, *, agent: str = "", departments: Collection[str] | None = None, gone: bool | None = None
    ) -> list[ProposalRecord]:
        """By name. gone: only those that are not configured any more, or that are."""
        with self._database.read() as connection:
            return rows.listing(connection, agent=agent, departments=departments, gone=gone)

    # what agents say

    def propose(
        self, agent: str, proposed: Sequence[ProposalRecord], *, complete: bool, automatic: bool
    ) -> list[StreamName]:
        """Keeps what an agent proposes; -> the streams of which something changed.

        complete: what it proposed before and not now is not configured any more. automatic: everything is approved that
        nobody rejected or withdrew.
        """
        with self._database.read() as connection:
            # an agent that connects again says what is known: nothing is written, and nobody waits
            if not _is_news(connection, agent, proposed, complete, automatic):
                return []
        changed: dict[StreamName, None] = {}
        with self._deciding() as (connection, at):
            for said in proposed:
                before = rows.find(connection, said.stream)
                one = rows.described_as_before(said, before)
                if rows.put(connection, one, before, at):
                    changed[one.stream] = None
                    audit.record(connection, at, agent, "propose", str(one.stream), detail=difference(before, one))
                if before is not None and before.agent != agent:
                    rows.next_revision(connection, [one.stream], [before.agent], at)
                if automatic and _approve_rest(connection, one.stream, at):
                    changed[one.stream] = None
            if complete:
                for stream in _missing(rows.listing(connection, agent=agent), proposed):
                    rows.mark_gone(connection, stream, at)
                    audit.record(connection, at, agent, "propose", str(stream), detail={"gone": True})
                    changed[stream] = None
            if changed:
                rows.next_revision(connection, changed, [agent], at)
        return list(changed)

    # what people decide

    def approve(
        self,
        stream: StreamName,
        columns: Collection[str] = (),
        *,
        who: str,
        why: str,
        detail: Mapping[str, object],
        as_of: int | None = None,
    ) -> list[str]:
        """Approves these columns under the masks they are proposed with; none named: all that nobody decided about.

        as_of: only while the proposal is the one that changed then. -> the columns. Raises NotKnown; NotPossible when the
        key would not be among what is approved, or the proposal is another one.
        """
        with self._deciding() as (connection, at):
            record = _need(connection, stream)
            if as_of is not None and as_of != record.changed_at:
                raise NotPossible(
                    f"{stream}: the agent proposes something else now", remedy="Look at it again, and decide then."
                )
            if not record.columns:
                raise NotPossible(
                    f"{stream}: the agent could not describe the table: {record.code} {record.reason}".rstrip(),
                    remedy="Put right what the agent names, at the department.",
                )
            chosen = _chosen(record, columns) or _undecided(record)
            if not chosen:
                raise NotPossible(f"{stream}: nothing of it waits for approval", remedy=_NAME_COLUMNS)
            rows.reopen(connection, stream)
            rows.decide(connection, stream, chosen, State.APPROVED, who, why, at)
            after = _need(connection, stream)
            if lacking := sorted(set(after.key) - set(after.names(State.APPROVED))):
                raise NotPossible(
                    f"{stream}: key column {', '.join(lacking)} would not be approved: nothing could leave",
                    remedy="Approve the key columns too.",
                )
            return _recorded(connection, after, chosen, "approve", who, why, detail, at)

    def reject(
        self, stream: StreamName, columns: Collection[str] = (), *, who: str, why: str, detail: Mapping[str, object]
    ) -> list[str]:
        """Says no to these columns; none named: to all that waits, and to the stream when nothing of it is approved.

        -> the columns. Raises NotKnown; NotPossible when one is approved: that is withdrawn.
        """
        with self._deciding() as (connection, at):
            record = _need(connection, stream)
            chosen = _chosen(record, columns)
            if approved := sorted({column.name for column in chosen} & set(record.names(State.APPROVED))):
                raise NotPossible(f"{stream}: {', '.join(approved)} is approved", remedy="Withdraw the approval.")
            whole = not columns and not record.names(State.APPROVED)
            if whole:
                rows.close(connection, stream, State.REJECTED, who, why, at)
                chosen = list(record.columns)
            else:
                chosen = chosen or _undecided(record)
                if not chosen:
                    raise NotPossible(f"{stream}: nothing of it waits for approval", remedy=_NAME_COLUMNS)
                rows.decide(connection, stream, chosen, State.REJECTED, who, why, at)
            return _recorded(connection, record, chosen, "reject", who, why, {**detail, "whole": whole}, at)

    def withdraw(
        self, stream: StreamName, columns: Collection[str] = (), *, who: str, why: str, detail: Mapping[str, object]
    ) -> list[str]:
        """Takes back what was approved of these columns, under whatever mask; none named: of the stream.

        -> the columns. Raises NotKnown; NotPossible when they are not approved, or are of the key.
        """
        with self._deciding() as (connection, at):
            record = _need(connection, stream)
            approved = set(record.decided.approved)
            wanted = set(columns) or approved
            if not approved or wanted - approved:
                what = ", ".join(sorted(wanted - approved)) or "it"
                raise NotPossible(f"{stream}: {what} is not approved", remedy=_NAME_COLUMNS)
            if columns and (of_key := sorted(wanted & set(record.key))):
                raise NotPossible(
                    f"{stream}: {', '.join(of_key)} is of the key: nothing could leave without it",
                    remedy="Withdraw the approval of the whole stream.",
                )
            chosen = [column for column in record.columns if column.name in wanted]
            gone = [Column(name, "", "", "") for name in sorted(wanted - {column.name for column in chosen})]
            rows.forget_approved(connection, stream, wanted)
            if columns:
                rows.decide(connection, stream, chosen, State.WITHDRAWN, who, why, at)
            else:
                rows.close(connection, stream, State.WITHDRAWN, who, why, at)
            noted = {**detail, "whole": not columns}
            return _recorded(connection, record, [*chosen, *gone], "withdraw", who, why, noted, at)

    # what is asked often

    def decided(self, stream: StreamName) -> Decided:
        """All decisions about the stream, at one revision."""
        with self._database.read() as connection:
            return rows.decided(connection, stream)

    def revision(self) -> int:
        """The newest of all."""
        with self._database.read() as connection:
            return rows.revision(connection)

    def changed(self, since: int) -> tuple[int, dict[StreamName, int]]:
        """The newest revision, and the streams that changed after the revision `since`, with theirs."""
        with self._database.read() as connection:
            newest = rows.revision(connection)
            return newest, rows.changed(connection, since) if newest > since else {}

    @contextmanager
    def _deciding(self) -> Iterator[tuple[Connection, int]]:
        """A transaction, and its moment. Of all that decide or propose, one at a time."""
        with self._database.write() as connection:
            rows.revision(connection, locked=True)
            yield connection, self._database.clock()

    def revisions(self, agents: Collection[str]) -> dict[str, int]:
        """The revision of what each of these agents may send; 0 for one of which nothing is known."""
        with self._database.read() as connection:
            return dict.fromkeys(agents, 0) | rows.revisions(connection, agents)

    def note_mode(self, mode: str) -> bool:
        """How this collector approves, auto or manual; whether that is news. Every agent hears of it."""
        table = tables.approval_state
        with self._database.read() as connection:
            before: str = connection.execute(select(table.c.mode)).scalar_one()
        if before == mode:
            return False
        with self._deciding() as (connection, at):
            connection.execute(table.update().values(mode=mode))
            agents = connection.execute(select(tables.agent.c.name)).scalars().all()
            rows.next_revision(connection, [], agents, at)
            if before:
                audit.record(connection, at, "collector", "approval mode", mode, f"was {before}: collector.toml")
        return True


def _need(connection: Connection, stream: StreamName) -> ProposalRecord:
    found = rows.find(connection, stream)
    if found is None:
        raise NotKnown(
            f"stream {stream} was not proposed by any agent", remedy="See `forebay-collector approvals --state all`."
        )
    return found


def _chosen(record: ProposalRecord, names: Collection[str]) -> list[Column]:
    """The columns with these names. Raises NotKnown."""
    if unknown := sorted(set(names) - {column.name for column in record.columns}):
        raise NotKnown(
            f"{record.stream}: no column {', '.join(unknown)} is proposed",
            remedy=f"See `forebay-collector approvals show {record.stream}`.",
        )
    return [column for column in record.columns if column.name in names]


def _undecided(record: ProposalRecord) -> list[Column]:
    """The columns about which nobody decided, a decision about the whole stream aside."""
    decided = replace(record.decided, closed=None)
    return [column for column in record.columns if decided.of(column.name, column.mask).state is State.WAITING]


def _is_news(
    connection: Connection, agent: str, proposed: Sequence[ProposalRecord], complete: bool, automatic: bool
) -> bool:
    """Whether anything would be written for what an agent proposes."""
    known = {record.stream: record for record in rows.listing(connection, agent=agent)}
    for said in proposed:
        before = known.get(said.stream)
        one = rows.described_as_before(said, before)
        if before is None or before.gone_at or not rows.said_alike(one, before):
            return True
        if (one.code, one.reason) != (before.code, before.reason):
            return True
        if automatic and before.decided.closed is None and _undecided(before):
            return True
    return complete and bool(_missing(known.values(), proposed))


def _missing(known: Iterable[ProposalRecord], proposed: Sequence[ProposalRecord]) -> list[StreamName]:
    """What the agent proposed before, and not now."""
    named = {one.stream for one in proposed}
    return [record.stream for record in known if not record.gone_at and record.stream not in named]


def _approve_rest(connection: Connection, stream: StreamName, at: int) -> bool:
    """Approves what nobody decided about; whether there was anything."""
    record = _need(connection, stream)
    undecided = _undecided(record)
    if record.decided.closed is not None or not undecided:
        return False
    rows.decide(connection, stream, undecided, State.APPROVED, AUTOMATIC, "", at)
    detail = {"columns": _named(undecided), "agent": record.agent}
    audit.record(connection, at, AUTOMATIC, "approve", str(stream), "everything proposed is approved", detail)
    return True


def _recorded(
    connection: Connection,
    record: ProposalRecord,
    columns: Sequence[Column],
    action: str,
    who: str,
    why: str,
    detail: Mapping[str, object],
    at: int,
) -> list[str]:
    """The end of a deed: its revision and its entry in the audit; -> the columns' names."""
    rows.next_revision(connection, [record.stream], [record.agent], at)
    noted = {**detail, "columns": _named(columns), "agent": record.agent}
    audit.record(connection, at, who, action, str(record.stream), why, noted)
    return [column.name for column in columns]


def _named(columns: Sequence[Column]) -> dict[str, str]:
    """Column -> mask, for the audit."""
    named = {column.name: column.mask for column in columns[:_NAMED_IN_AUDIT]}
    return named if len(columns) <= _NAMED_IN_AUDIT else named | {"…": f"and {len(columns) - _NAMED_IN_AUDIT} more"}


def difference(before: ProposalRecord | None, one: ProposalRecord) -> dict[str, object]:
    """What is new in a proposal, for the audit."""
    if before is None:
        return {"columns": _named(one.columns), "mode": one.mode, "agent": one.agent}
    had = {column.name: column for column in before.columns}
    has = {column.name: column for column in one.columns}
    said: dict[str, object] = {
        "added": _named([column for name, column in has.items() if name not in had]),
        "removed": sorted(had.keys() - has.keys())[:_NAMED_IN_AUDIT],
        "masks": _moves((name, had[name].mask, has[name].mask) for name in has if name in had),
        "types": _moves((name, had[name].type, has[name].type) for name in has if name in had),
    }
    described = ("agent", "mode", "guarantee", "update_cycle", "key")
    said |= _moves((name, getattr(before, name), getattr(one, name)) for name in described)
    return {name: value for name, value in said.items() if value} or {"back": True}


def _moves(pairs: Iterable[tuple[str, object, object]]) -> dict[str, list[object]]:
    moved = [(name, [old, new]) for name, old, new in pairs if old != new]
    return dict(moved[:_NAMED_IN_AUDIT])


_NAME_COLUMNS: Final = "See what was decided: `forebay-collector approvals show`; name the columns with --columns."
