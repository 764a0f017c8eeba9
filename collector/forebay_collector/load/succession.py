"""Succession: that what is loaded follows what the platform holds, batch by batch, as the agent sealed it.

From the platform's mark to the last batch of a load, every row of the ledger must be what its digest says, its header what
its chain says, each must continue the chain of the one before it, and each must be in the load or have been discarded by a
person. Nothing is loaded where that is not so: an altered row could name another batch, or hide one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from forebay_collector.errors import LedgerRowDamaged
from forebay_collector.ledger import BatchState, Ledger, batch_rows
from forebay_collector.ledger.records import StreamRecord
from forebay_collector.platform.contract import PlatformMark
from forebay_wire.digest import GENESIS
from forebay_wire.errors import WireError
from forebay_wire.seal import check_header
from forebay_wire.stream import StreamName
from forebay_wire.v1 import batch_pb2

Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class GivenUp:
    """A batch that a person discarded: its header, and the code of what it was refused for."""

    header: batch_pb2.BatchHeader
    code: str


@dataclass(frozen=True, slots=True)
class Succession:
    """headers: by (epoch, seq), of the load's batches beyond the platform's mark, as they were recorded. given_up: the
    discarded batches among them that end a snapshot, in order."""

    headers: Mapping[Place, bytes]
    given_up: list[GivenUp]


def altered(stream: StreamName, place: Place, how: str) -> LedgerRowDamaged:
    return LedgerRowDamaged(f"ledger: batch {stream} {place[0]}/{place[1]}: {how}", at=place)


def follow(ledger: Ledger, stream: StreamRecord, mark: PlatformMark, chosen: Collection[Place]) -> Succession:
    """Checks the way from the platform's mark to the last of `chosen`.

    Raises LedgerUnavailable, LedgerDamaged; LedgerRowDamaged, naming the first batch at which it breaks.
    """
    at, last = (mark.epoch, mark.seq), max(chosen)
    if at >= last:
        return Succession({}, [])  # the platform passes over all of it
    chain = GENESIS
    with ledger.database.read() as connection:
        rows = batch_rows.page(connection, stream.id, at, last=last)
        if at != (0, 0) and (not rows or (rows[0]["epoch"], rows[0]["seq"]) != at):
            chain = _before_lost(connection, stream, at, rows)
    headers: dict[Place, bytes] = {}
    given_up: list[GivenUp] = []
    for row in rows:
        place = (row["epoch"], row["seq"])
        header = _checked(stream.name, place, row)
        if place == at:
            chain = header.chain
            continue
        if header.previous_chain != chain:
            raise altered(
                stream.name, place, "it does not continue the batch before it: one is missing, or was altered"
            )
        chain = header.chain
        if place in chosen:
            headers[place] = row["header"]
        elif row["state"] != BatchState.DISCARDED:
            raise altered(
                stream.name, place, f"it is {row['state']}, the platform does not hold it, and it is passed over"
            )
        elif row["last_of_snapshot"]:
            given_up.append(GivenUp(header, row["code"]))
    return Succession(headers, given_up)


def _before_lost(connection: Connection, stream: StreamRecord, at: Place, rows: Sequence[batch_rows.Row]) -> bytes:
    """The chain where the row of what the platform holds is missing: a ledger was restored, and the last batches were in no
    archive any more. An agent that starts anew then continues the last row that there is, with the first of a later epoch; from
    another batch on nothing is loaded. Raises LedgerRowDamaged."""
    anew = bool(rows) and rows[0]["epoch"] > at[0] and rows[0]["seq"] == 1
    last = batch_rows.before(connection, stream.id, at) if anew else None
    if last is None:
        raise altered(stream.name, at, "the platform holds it, and its row is missing")
    return _checked(stream.name, (last["epoch"], last["seq"]), last).chain


def _checked(stream: StreamName, place: Place, row: batch_rows.Row) -> batch_pb2.BatchHeader:
    try:
        header = check_header(row["header"])
    except WireError as error:
        raise altered(stream, place, f"header: {error}") from error
    if not batch_rows.is_whole(row):
        raise altered(stream, place, "its row is not what its digest says")
    if (StreamName.from_proto(header.stream), header.epoch, header.seq) != (stream, *place):
        raise altered(stream, place, f"its header is of {header.epoch}/{header.seq}")
    return header
