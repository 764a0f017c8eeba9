"""Which transactions were handed on, and whether a snapshot of the database holds all of them.

The server sends a transaction once its commit is in the log, and only then takes it off the list of those that are open:
some microseconds later, or much later where it waits for a synchronous standby. Until then no read sees its rows.

Transaction ids are 32 bits here, compared modulo 2^32 as PostgreSQL does. Kept are those that a look at the server has
not yet shown to be visible; a look is taken when there are `_MOST`, so their number is bounded.

What was handed on before the reader was opened is not known any more. Any of the transactions that are open when it opens
may be such a one, with its commit under way, which takes no longer than `_SETTLE_SECONDS`; but for as long as a standby
is away where commits wait for synchronous standbys. Those that wait so are seen in pg_stat_activity; a user who may not
see that waits for all of them to end.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
from pyarrow import compute

from forebay_agent.capture.postgresql.session import Session

_MOST: Final = 50_000
_SETTLE_SECONDS: Final = 1.0
_MASK: Final = 0xFFFFFFFF
_HALF: Final = 0x80000000
_SYNCHRONOUS: Final = "SELECT current_setting('synchronous_standby_names') <> ''"
_WAITING: Final = (
    "SELECT backend_xid::text FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND backend_xid IS NOT NULL"
)
_OPEN: Final = """
SELECT l.transactionid::text
FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid LEFT JOIN pg_prepared_xacts p ON p.transaction = l.transactionid
WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted
  AND coalesce(a.datname, p.database, current_database()) = current_database()
"""
_MAY_SEE: Final = "SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """end: the first transaction id that was not given out yet. open: those below that had not ended."""

    end: int
    open: frozenset[int]

    def unseen(self, xids: array[int]) -> array[int]:
        """Those of these that it does not see. There are tens of thousands: a column at once."""
        given = pa.Array.from_buffers(pa.uint32(), len(xids), [None, pa.py_buffer(xids)])
        not_given_out = compute.less(compute.subtract(given, pa.scalar(self.end, pa.uint32())), _HALF)
        still_open = compute.is_in(given, pa.array(self.open, pa.uint32()))
        return array("I", given.filter(compute.or_(not_given_out, still_open)).to_pylist())


def snapshot_of(session: Session) -> Snapshot:
    """Within REPEATABLE READ that of the whole transaction."""
    function = "pg_current_snapshot" if session.server_version >= 130_000 else "txid_current_snapshot"
    _, end, open_ones = session.rows(f"SELECT {function}()::text")[0][0].split(":")
    return Snapshot(int(end) & _MASK, frozenset(int(xid) & _MASK for xid in open_ones.split(",") if xid))


def open_xids(session: Session) -> frozenset[int]:
    """Of all transactions of this database that have written and not ended: each holds a lock on its own id. A snapshot
    lists none of those that came after the last one that ended."""
    return frozenset(int(xid) for (xid,) in session.rows(_OPEN))


class HandedOn:
    """session: asked for snapshots when many transactions came."""

    def __init__(self, session: Callable[[], Session]) -> None:
        self._session = session
        self._unseen = array("I")
        self._most = _MOST
        self._open_at_start = array("I", open_xids(session()))
        ((self._synchronous,),) = session().rows(_SYNCHRONOUS)
        self._settled_at = time.monotonic() + _SETTLE_SECONDS

    def add(self, xids: bytes) -> None:
        """xids: as the kernel gives them, native 32-bit numbers."""
        self._unseen.frombytes(xids)
        if len(self._unseen) >= self._most:
            self._forget(snapshot_of(self._session()))

    def all_seen_by(self, snapshot: Snapshot) -> bool:
        """Whether everything that was handed on, ever, is visible in the snapshot."""
        self._open_at_start = snapshot.unseen(self._open_at_start)
        if self._open_at_start and time.monotonic() >= self._settled_at:
            self._open_at_start = self._waiting()
        if self._open_at_start:
            return False
        self._forget(snapshot)
        return not self._unseen

    def _waiting(self) -> array[int]:
        """Those that were open at the start and may still be committing."""
        if not self._synchronous:
            return array("I")
        ((may_see,),) = self._session().rows(_MAY_SEE)
        if not may_see:
            return self._open_at_start
        waiting = {int(xid) for (xid,) in self._session().rows(_WAITING)}
        return array("I", waiting.intersection(self._open_at_start))

    def _forget(self, snapshot: Snapshot) -> None:
        """What is visible once is visible for good."""
        self._unseen = snapshot.unseen(self._unseen)
        self._most = len(self._unseen) + _MOST  # those that wait for a standby are not looked at again and again
