"""The statement: what the tables of a department came to on a day, as the ledger has it when it is made.

All counts are of batches that were *received* on that day. `through` is the last of them or, on a day without any, the last
before: position, commit time, and the chain digest, which stands for every batch of the stream from its first one on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, case, func, select

from forebay_collector.completeness.days import Day
from forebay_collector.ledger import BatchState, Ledger, StreamRecord, batch_rows, tables
from forebay_collector.ledger.repairs import RepairState
from forebay_collector.ledger.verifications import VerificationRecord, VerificationState
from forebay_collector.ledger.verify_tables import repair
from forebay_wire.canary import is_canary_stream
from forebay_wire.errors import WireError
from forebay_wire.seal import check_header

_BATCH: Final = tables.batch.c
_COMMITTED: Final = case((_BATCH.first_committed_at > 0, _BATCH.first_committed_at), else_=_BATCH.captured_at)
_COUNTED: Final[Mapping[str, ColumnElement[Any]]] = {
    "batches": func.count(),
    "rows": func.sum(_BATCH.row_count),
    "reads": func.sum(_BATCH.reads),
    "inserts": func.sum(_BATCH.inserts),
    "updates": func.sum(_BATCH.updates),
    "deletes": func.sum(_BATCH.deletes),
    "bytes": func.sum(_BATCH.bytes),
    "loaded_batches": func.sum(case((_BATCH.state == BatchState.LOADED.value, 1), else_=0)),
    "discarded_batches": func.sum(case((_BATCH.state == BatchState.DISCARDED.value, 1), else_=0)),
    "received_late_us": func.max(_BATCH.received_at - _COMMITTED),
    "loaded_late_us": func.max(case((_BATCH.loaded_at > 0, _BATCH.loaded_at - _COMMITTED), else_=0)),
}
_OF_VERIFICATION: Final = tables.verification.c
_OF_REPAIR: Final = repair.c


def tables_of(ledger: Ledger, department: str, day: Day) -> list[dict[str, Any]]:
    """Each table of the department of which something was received by the day's end, by source and name. Raises
    LedgerUnavailable, LedgerDamaged."""
    streams = [one for one in ledger.streams.listing(department=department) if not is_canary_stream(one.name)]
    newest = ledger.verifications.newest()
    said = _said(ledger, {one.agent for one in streams})
    with ledger.database.read() as connection:
        counts, waiting = _counts(connection, day), _waiting(connection, day)
        found = []
        for stream in streams:
            through = _through(connection, stream, day)
            if through is not None:
                found.append(
                    {
                        "source": stream.name.source,
                        "table": stream.name.table,
                        "through": through,
                        "received": counts.get(stream.id, dict.fromkeys(_COUNTED, 0)),
                        "waiting": waiting.get(stream.id, {"batches": 0, "rows": 0}),
                        "held": "" if stream.hold is None else stream.hold.code,
                        "verified": _verified(newest.get(stream.id)),
                        "differences": _differences(connection, stream, day),
                        "repairs": _repairs(connection, stream, day),
                        "agent": _agent(stream, said.get(str(stream.name), {})),
                    }
                )
    return sorted(found, key=lambda table: (table["source"], table["table"]))


def _counts(connection: Connection, day: Day) -> dict[int, dict[str, int]]:
    query = (
        select(_BATCH.stream_id, *_COUNTED.values())
        .where(_BATCH.received_at >= day.from_us, _BATCH.received_at < day.until_us)
        .group_by(_BATCH.stream_id)
    )
    return {
        row[0]: {name: int(value or 0) for name, value in zip(_COUNTED, row[1:], strict=True)}
        for row in connection.execute(query)
    }


def _waiting(connection: Connection, day: Day) -> dict[int, dict[str, int]]:
    """What was received by the day's end and is not loaded when the statement is made."""
    states = (BatchState.DURABLE.value, BatchState.QUARANTINED.value)
    query = (
        select(_BATCH.stream_id, func.count(), func.sum(_BATCH.row_count))
        .where(_BATCH.state.in_(states), _BATCH.received_at < day.until_us)
        .group_by(_BATCH.stream_id)
    )
    return {row[0]: {"batches": int(row[1]), "rows": int(row[2] or 0)} for row in connection.execute(query)}


def _through(connection: Connection, stream: StreamRecord, day: Day) -> dict[str, Any] | None:
    query = (
        select(_BATCH.epoch, _BATCH.seq)
        .where(_BATCH.stream_id == stream.id, _BATCH.received_at < day.until_us)
        .order_by(_BATCH.epoch.desc(), _BATCH.seq.desc())
        .limit(1)
    )
    place = connection.execute(query).one_or_none()
    if place is None:
        return None
    (row,) = batch_rows.page(connection, stream.id, (place[0], place[1]), last=(place[0], place[1]))
    try:
        header = check_header(row["header"])
    except WireError:  # it says nothing; `whole` says why
        unknown = {"position": "", "committed_at_us": 0, "captured_at_us": 0, "chain": ""}
        return {"epoch": place[0], "seq": place[1], "whole": False, **unknown}
    return {
        "epoch": place[0],
        "seq": place[1],
        "whole": batch_rows.is_whole(row),
        "position": header.last_position,
        "committed_at_us": header.last_committed_at_us,
        "captured_at_us": header.captured_at_us,
        "chain": header.chain.hex(),
    }


def _verified(found: VerificationRecord | None) -> dict[str, Any] | None:
    """The newest comparison of source and platform; None: there was none."""
    if found is None:
        return None
    result = found.result
    return {
        "number": found.id,
        "at_us": found.ended_at,
        "equal": found.state is VerificationState.EQUAL,
        "source": {name: result.get("source", {}).get(name) for name in ("rows", "digest")},
        "platform": {name: result.get("platform", {}).get(name) for name in ("rows", "digest")},
        **found.counts,
    }


def _differences(connection: Connection, stream: StreamRecord, day: Day) -> dict[str, int]:
    """How many comparisons ended on the day, and how many found differences."""
    state = _OF_VERIFICATION.state
    query = select(func.count(), func.sum(case((state == VerificationState.DIFFERENT.value, 1), else_=0))).where(
        _OF_VERIFICATION.stream_id == stream.id,
        state.in_((VerificationState.EQUAL.value, VerificationState.DIFFERENT.value)),
        _OF_VERIFICATION.ended_at >= day.from_us,
        _OF_VERIFICATION.ended_at < day.until_us,
    )
    compared, different = connection.execute(query).one()
    return {"comparisons": int(compared), "different": int(different or 0)}


def _repairs(connection: Connection, stream: StreamRecord, day: Day) -> dict[str, int]:
    """Of those that ended on the day: keys found missing, extra and different, rows sent and deleted, keys left over."""
    names = ("missing", "extra", "different", "sent", "deleted", "left_over")
    query = select(func.count(), *(func.sum(_OF_REPAIR[name]) for name in names)).where(
        _OF_REPAIR.stream_id == stream.id,
        _OF_REPAIR.state.in_((RepairState.REPAIRED.value, RepairState.LEFT_OVER.value)),
        _OF_REPAIR.ended_at >= day.from_us,
        _OF_REPAIR.ended_at < day.until_us,
    )
    row = connection.execute(query).one()
    return {"repairs": int(row[0])} | {name: int(value or 0) for name, value in zip(names, row[1:], strict=True)}


def _said(ledger: Ledger, agents: set[str]) -> dict[str, Mapping[str, Any]]:
    told = ledger.agents.streams(agents)
    return {str(state.get("stream")): state for states in told.values() for state in states}


def _agent(stream: StreamRecord, said: Mapping[str, Any]) -> dict[str, Any]:
    """Who captures the table, how, and what it last told of it."""
    told = {name: str(said.get(name, "")) for name in ("mode", "guarantee", "state", "code")}
    return {"name": stream.agent, **told, "looked_at_us": int(said.get("last_poll_at_us", 0) or 0)}
