"""The rows of `proposal` and `approval`, and their revisions. Everything here works within the caller's transaction."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, RowMapping, bindparam, case, delete, insert, select, update

from forebay_collector.ledger import tables
from forebay_collector.ledger.proposals import Column, Decided, Decision, ProposalRecord, State, column_of
from forebay_wire.stream import StreamName

_PROPOSAL: Final = tables.proposal.c
_APPROVAL: Final = tables.approval.c
_STATE: Final = tables.approval_state.c
_REVISION: Final = tables.approval_revision.c
_SAID: Final = ("mode", "guarantee", "update_cycle", "code", "reason")
_OPEN: Final = {"closed": "", "closed_by": "", "closed_at": 0, "closed_why": ""}
_AT_ONCE: Final = 500
_KEY: Final = ("department", "source", "table_name", "column_name", "mask")
_FORGET: Final = delete(tables.approval).where(*(tables.approval.c[name] == bindparam(f"of_{name}") for name in _KEY))


def find(connection: Connection, stream: StreamName) -> ProposalRecord | None:
    row = connection.execute(select(tables.proposal).where(_proposal_of(stream))).mappings().one_or_none()
    if row is None:
        return None
    approvals = connection.execute(select(tables.approval).where(_approval_of(stream))).mappings().all()
    return _to_record(row, _decisions(approvals))


def listing(
    connection: Connection,
    *,
    agent: str = "",
    departments: Collection[str] | None = None,
    gone: bool | None = None,
) -> list[ProposalRecord]:
    """By name."""
    wanted: list[ColumnElement[bool]] = []
    if agent:
        wanted.append(_PROPOSAL.agent == agent)
    if departments is not None:
        wanted.append(_PROPOSAL.department.in_(list(departments)))
    if gone is not None:
        wanted.append(_PROPOSAL.gone_at > 0 if gone else _PROPOSAL.gone_at == 0)
    in_order = (_PROPOSAL.department, _PROPOSAL.source, _PROPOSAL.table_name)
    proposals = connection.execute(select(tables.proposal).where(*wanted).order_by(*in_order)).mappings().all()
    query = select(tables.approval).join(tables.proposal, _same_stream()).where(*wanted)
    of_stream: defaultdict[tuple[str, ...], list[RowMapping]] = defaultdict(list)
    for approval in connection.execute(query).mappings():
        of_stream[_texts(approval)].append(approval)
    return [_to_record(row, _decisions(of_stream[_texts(row)])) for row in proposals]


def decided(connection: Connection, stream: StreamName) -> Decided:
    """All decisions about the stream; none, at revision 0, when it was never proposed."""
    closing = [column for column in tables.proposal.c if column.name.startswith("closed") or column.name == "revision"]
    row = connection.execute(select(*closing).where(_proposal_of(stream))).mappings().one_or_none()
    if row is None:
        return Decided()
    approvals = connection.execute(select(tables.approval).where(_approval_of(stream))).mappings().all()
    return _decided(row, _decisions(approvals))


def put(connection: Connection, one: ProposalRecord, before: ProposalRecord | None, at: int) -> bool:
    """Keeps what an agent proposes; whether anything of it but `code` and `reason` is news."""
    said = {
        "agent": one.agent,
        "columns": json.dumps([column.plain() for column in one.columns], ensure_ascii=False),
        "key_columns": json.dumps(list(one.key), ensure_ascii=False),
        **{name: getattr(one, name) for name in _SAID},
    }
    if before is None:
        name = {"department": one.stream.department, "source": one.stream.source, "table_name": one.stream.table}
        new = {"first_seen_at": at, "changed_at": at, "gone_at": 0, "revision": 0, **_OPEN}
        connection.execute(insert(tables.proposal).values(**name, **said, **new))
        return True
    same = said_alike(one, before) and not before.gone_at
    changed_at = before.changed_at if same else at
    of_stream = update(tables.proposal).where(_proposal_of(one.stream))
    connection.execute(of_stream.values(**said, changed_at=changed_at, gone_at=0))
    return not same


def said_alike(one: ProposalRecord, other: ProposalRecord) -> bool:
    """Whether two proposals are the same, but for trouble in describing the table."""
    return _content(one) == _content(other)


def mark_gone(connection: Connection, stream: StreamName, at: int) -> None:
    connection.execute(update(tables.proposal).where(_proposal_of(stream)).values(gone_at=at))


def close(connection: Connection, stream: StreamName, state: State, who: str, why: str, at: int) -> None:
    """Decides about the whole stream."""
    closed = {"closed": state, "closed_by": who, "closed_at": at, "closed_why": why}
    connection.execute(update(tables.proposal).where(_proposal_of(stream)).values(**closed))


def reopen(connection: Connection, stream: StreamName) -> None:
    connection.execute(update(tables.proposal).where(_proposal_of(stream)).values(**_OPEN))


def decide(
    connection: Connection, stream: StreamName, columns: Iterable[Column], state: State, who: str, why: str, at: int
) -> None:
    """Decides about columns, each with its mask."""
    made = [
        {
            "department": stream.department,
            "source": stream.source,
            "table_name": stream.table,
            "column_name": column.name,
            "mask": column.mask,
            "state": state,
            "decided_by": who,
            "decided_at": at,
            "why": why,
        }
        for column in columns
    ]
    if made:
        connection.execute(_FORGET, [{f"of_{name}": row[name] for name in _KEY} for row in made])
        connection.execute(insert(tables.approval), made)


def forget_approved(connection: Connection, stream: StreamName, columns: Collection[str]) -> None:
    """No approval of these columns counts any more, under whatever mask."""
    chosen = _approval_of(stream) & (_APPROVAL.state == State.APPROVED) & _APPROVAL.column_name.in_(list(columns))
    connection.execute(delete(tables.approval).where(chosen))


# revisions


def next_revision(connection: Connection, streams: Iterable[StreamName], agents: Collection[str], at: int) -> int:
    """Something changed of these streams and of what these agents may send; -> the revision.

    Whoever takes one keeps others from taking the next until the transaction ends, so that they appear in order.
    """
    grown = case((_STATE.revision >= at, _STATE.revision + 1), else_=at)
    number: int = connection.execute(
        update(tables.approval_state).values(revision=grown).returning(_STATE.revision)
    ).scalar_one()
    for stream in streams:
        connection.execute(update(tables.proposal).where(_proposal_of(stream)).values(revision=number))
    names = sorted(set(agents))
    for first in range(0, len(names), _AT_ONCE):
        some = names[first : first + _AT_ONCE]
        connection.execute(delete(tables.approval_revision).where(_REVISION.agent.in_(some)))
        connection.execute(insert(tables.approval_revision), [{"agent": name, "revision": number} for name in some])
    return number


def revision(connection: Connection, *, locked: bool = False) -> int:
    """The newest. locked: nobody else decides anything until the transaction ends."""
    query = select(_STATE.revision)
    number: int = connection.execute(query.with_for_update() if locked else query).scalar_one()
    return number


def changed(connection: Connection, since: int) -> dict[StreamName, int]:
    """The streams that changed after a revision, with theirs."""
    query = select(_PROPOSAL.department, _PROPOSAL.source, _PROPOSAL.table_name, _PROPOSAL.revision)
    return {StreamName(*row[:3]): row[3] for row in connection.execute(query.where(_PROPOSAL.revision > since))}


def revisions(connection: Connection, agents: Collection[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    names = list(agents)
    for first in range(0, len(names), _AT_ONCE):
        query = select(_REVISION.agent, _REVISION.revision).where(_REVISION.agent.in_(names[first : first + _AT_ONCE]))
        found |= {row.agent: row.revision for row in connection.execute(query)}
    return found


# rows into records


def _content(one: ProposalRecord) -> object:
    return one.agent, one.columns, one.key, one.mode, one.guarantee, one.update_cycle


def _proposal_of(stream: StreamName) -> ColumnElement[bool]:
    return _of(tables.proposal.c, stream)


def _approval_of(stream: StreamName) -> ColumnElement[bool]:
    return _of(tables.approval.c, stream)


def _of(columns: Any, stream: StreamName) -> ColumnElement[bool]:
    found: ColumnElement[bool] = (
        (columns.department == stream.department)
        & (columns.source == stream.source)
        & (columns.table_name == stream.table)
    )
    return found


def _same_stream() -> ColumnElement[bool]:
    return (
        (_APPROVAL.department == _PROPOSAL.department)
        & (_APPROVAL.source == _PROPOSAL.source)
        & (_APPROVAL.table_name == _PROPOSAL.table_name)
    )


def _texts(row: RowMapping) -> tuple[str, str, str]:
    return row["department"], row["source"], row["table_name"]


def _decisions(approvals: Sequence[RowMapping]) -> dict[str, dict[str, Decision]]:
    found: defaultdict[str, dict[str, Decision]] = defaultdict(dict)
    for row in approvals:
        decision = Decision(State(row["state"]), row["decided_by"], row["decided_at"], row["why"])
        found[row["column_name"]][row["mask"]] = decision
    return dict(found)


def _decided(row: RowMapping, decisions: dict[str, dict[str, Decision]]) -> Decided:
    closed = None
    if row["closed"]:
        closed = Decision(State(row["closed"]), row["closed_by"], row["closed_at"], row["closed_why"])
    return Decided(closed, decisions, row["revision"])


def _to_record(row: RowMapping, decisions: dict[str, dict[str, Decision]]) -> ProposalRecord:
    as_they_are = ("agent", *_SAID, "first_seen_at", "changed_at", "gone_at")
    return ProposalRecord(
        stream=StreamName(*_texts(row)),
        columns=tuple(column_of(column) for column in json.loads(row["columns"])),
        key=tuple(json.loads(row["key_columns"])),
        decided=_decided(row, decisions),
        **{name: row[name] for name in as_they_are},
    )


def described_as_before(one: ProposalRecord, before: ProposalRecord | None) -> ProposalRecord:
    """The proposal; when its table could not be described just now, with the columns that are known."""
    if before is None or one.columns or not one.code:
        return one
    return replace(one, columns=before.columns, key=before.key, mode=one.mode or before.mode)
