"""How far a column can be read: its highest committed value, and then who might still commit below it.

`highest` is read by a statement of its own, then open transactions are listed: sessions of this database with a
transaction (one without a transaction id counts, since it has drawn its now() already), and then prepared transactions,
in this order, so that one that is being prepared is in at least one of the two lists.

A session's id is its process, its start and its transaction's start, and so is never used again. A prepared transaction
has another id than the session that prepared it had; while it exists, the ids of sessions that went away when it came
stay listed (`_Succession`).

A session shows its transaction some microseconds after it took the time that now() returns; therefore a moment passes
between the two readings.

Not told (`open` is None): the role may not see other users' transactions, the server does not track them, or it is a
standby, whose primary's transactions cannot be seen.
"""

from __future__ import annotations

from forebay_agent.capture.postgresql.connecting import APPLICATION
from forebay_agent.capture.postgresql.session import Session

WHY_NOT = """
SELECT CASE WHEN pg_is_in_recovery() THEN 'standby'
            WHEN NOT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') THEN 'role'
            WHEN NOT current_setting('track_activities')::bool THEN 'untracked' END
"""
_ACTIVITY = """
SELECT concat_ws('/', pid, backend_start, xact_start), coalesce(state = 'disabled', false)
FROM pg_stat_activity
WHERE datname = current_database() AND (xact_start IS NOT NULL OR state = 'disabled')
  AND backend_type NOT IN ('autovacuum worker', 'parallel worker', 'walsender')
  AND pid <> pg_backend_pid() AND NOT (application_name = %s AND usename = current_user)
"""
_PREPARED = (
    "SELECT concat_ws('/', 'prepared', transaction, gid) FROM pg_prepared_xacts WHERE database = current_database()"
)
_MOMENT = "SELECT pg_sleep(0.01)"


class OpenTransactions:
    """Lists them for one session; remembers what `_Succession` needs."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._succession = _Succession()

    def why_not(self) -> str:
        """`role`, `standby` or `untracked` when open transactions cannot be told; empty when they can."""
        return self._session.rows(WHY_NOT)[0][0] or ""

    def ids(self) -> frozenset[str] | None:
        """To be asked after the column's highest value was read."""
        if self.why_not():
            return None
        self._session.rows(_MOMENT)
        activity = self._session.rows(_ACTIVITY, (APPLICATION,))
        prepared = frozenset(row[0] for row in self._session.rows(_PREPARED))
        if any(disabled for _, disabled in activity):
            return None  # a session that switched tracking off
        return self._succession.observed(frozenset(row[0] for row in activity), prepared)


class _Succession:
    """Ids of sessions stand on while the prepared transactions exist that they may have become."""

    def __init__(self) -> None:
        self._sessions: frozenset[str] = frozenset()
        self._prepared: frozenset[str] = frozenset()
        self._heirs: dict[str, frozenset[str]] = {}  # prepared transaction -> ids that it may continue

    def observed(self, sessions: frozenset[str], prepared: frozenset[str]) -> frozenset[str]:
        gone = self._sessions - sessions
        for new in prepared - self._prepared:
            self._heirs[new] = gone
        self._heirs = {heir: ids for heir, ids in self._heirs.items() if heir in prepared}
        self._sessions, self._prepared = sessions, prepared
        return sessions.union(prepared, *self._heirs.values())
