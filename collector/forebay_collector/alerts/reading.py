"""What is looked at: read of the ledger, of the whole fleet at once, with a number of queries that does not grow with it.

Every round reads how the agents are (`agents_now.py`), what is held, what waits to be loaded, and the audit's entries that
are new. What moves slowly, update cycles and verifications, is read once a minute.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from sqlalchemy import RowMapping, func, select

from forebay_collector.alerts.agents_now import AgentNow, AgentsNow
from forebay_collector.alerts.cycles import cycle_of
from forebay_collector.alerts.kinds import IDENTITY
from forebay_collector.ledger import Ledger, StreamRecord, tables
from forebay_collector.ledger.proposals import State
from forebay_collector.ledger.verifications import VerificationState, counts_of
from forebay_collector.load.backlog import backlogs
from forebay_wire.stream import StreamName

SLOWLY_US: Final = 60_000_000
_US: Final = timedelta(microseconds=1)
_AT_ONCE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Cycle:
    """A table that is updated so often, and when something of it came last, or that it may come."""

    stream: StreamName
    agent: str
    label: str
    lasts_us: int
    since: int


@dataclass(frozen=True, slots=True)
class Difference:
    """A stream whose newest verification found that source and platform differ."""

    stream: StreamName
    agent: str
    verification: int
    found: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Incident:
    """What the audit says of one identity: the newest entry of its kind, and how often it was so."""

    action: str
    subject: str
    department: str
    peer: str
    said: str
    at: int
    times: int


@dataclass(frozen=True, slots=True)
class Late:
    """A stream of which something is received and not loaded; the oldest change of it is from `since`."""

    stream: StreamName
    agent: str
    since: int


@dataclass(frozen=True, slots=True)
class Facts:
    """All that conditions are found from. at: microseconds. late: streams that nothing holds."""

    at: int
    agents: tuple[AgentNow, ...] = ()
    held: tuple[StreamRecord, ...] = ()
    late: tuple[Late, ...] = ()
    cycles: tuple[Cycle, ...] = ()
    differences: tuple[Difference, ...] = ()
    incidents: tuple[Incident, ...] = ()


@dataclass(slots=True)
class Reading:
    """Reads `Facts`. Not for several threads. late: how long something may wait to be loaded. identity: how long an entry
    of the audit counts."""

    ledger: Ledger
    late: timedelta
    identity: timedelta
    _agents: AgentsNow = field(init=False)
    _slow_at: int = 0
    _cycles: tuple[Cycle, ...] = ()
    _differences: tuple[Difference, ...] = ()
    _last_entry: int = 0
    _incidents: dict[tuple[str, str], Incident] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._agents = AgentsNow(self.ledger)

    def facts(self) -> Facts:
        """Raises the ledger's errors."""
        at = self.ledger.database.clock()
        agents = self._agents.read()
        held = tuple(self.ledger.streams.listing(held=True))
        if not self._slow_at or at - self._slow_at >= SLOWLY_US:
            self._cycles, self._differences, self._slow_at = self._read_cycles(), self._read_differences(), at
        self._read_incidents(at)
        late = self._read_late(at)
        return Facts(at, agents, held, late, self._cycles, self._differences, tuple(self._incidents.values()))

    def _read_late(self, at: int) -> tuple[Late, ...]:
        """Only reads the batches that wait, and streams where some wait for long."""
        before = at - self.late // _US
        waiting = backlogs(self.ledger, newest_too=False)
        since = {number: one.oldest_us for number, one in waiting.items() if 0 < one.oldest_us < before}
        if not since:
            return ()
        records = self.ledger.streams.listing(held=False)
        return tuple(Late(one.name, one.agent, since[one.id]) for one in records if one.id in since)

    def _read_cycles(self) -> tuple[Cycle, ...]:
        proposal, stream, batch, approval = tables.proposal.c, tables.stream.c, tables.batch.c, tables.approval.c
        since = (
            select(approval.department, approval.source, approval.table_name, func.max(approval.decided_at).label("at"))
            .where(approval.state == State.APPROVED)
            .group_by(approval.department, approval.source, approval.table_name)
            .subquery()
        )
        of_stream = [
            stream.department == proposal.department,
            stream.source == proposal.source,
            stream.table_name == proposal.table_name,
        ]
        approved = [
            since.c.department == proposal.department,
            since.c.source == proposal.source,
            since.c.table_name == proposal.table_name,
        ]
        newest = [batch.stream_id == stream.id, batch.epoch == stream.epoch, batch.seq == stream.durable_seq]
        query = (
            select(
                proposal.department,
                proposal.source,
                proposal.table_name,
                proposal.agent,
                proposal.update_cycle,
                since.c.at,
                func.coalesce(batch.received_at, 0),
            )
            .join(since, approved[0] & approved[1] & approved[2])
            .join(tables.stream, of_stream[0] & of_stream[1] & of_stream[2], isouter=True)
            .join(tables.batch, newest[0] & newest[1] & newest[2], isouter=True)
            .where(proposal.update_cycle != "", proposal.gone_at == 0)
        )
        with self.ledger.database.read() as connection:
            rows = connection.execute(query.select_from(tables.proposal)).all()
        found = []
        for department, source, table, agent, label, approved_at, received_at in rows:
            cycle = cycle_of(label)
            if cycle is not None:
                name = StreamName(department, source, table)
                found.append(Cycle(name, agent, label, cycle // _US, max(approved_at, received_at)))
        return tuple(found)

    def _read_differences(self) -> tuple[Difference, ...]:
        verification, stream = tables.verification.c, tables.stream.c
        last = (
            select(func.max(verification.id))
            .where(verification.state.in_((VerificationState.EQUAL, VerificationState.DIFFERENT)))
            .group_by(verification.stream_id)
        )
        query = (
            select(
                verification.id,
                verification.result,
                stream.department,
                stream.source,
                stream.table_name,
                stream.agent,
            )
            .join(tables.stream, stream.id == verification.stream_id)
            .where(verification.id.in_(last), verification.state == VerificationState.DIFFERENT)
        )
        known = {one.verification: one for one in self._differences}
        found = []
        with self.ledger.database.read() as connection:
            for number, result, *name, agent in connection.execute(query):
                found.append(
                    known.get(number) or Difference(StreamName(*name), agent, number, counts_of(json.loads(result)))
                )
        return tuple(found)

    def _read_incidents(self, at: int) -> None:
        """Adds what is new in the audit, and forgets what is old. The first time it looks back for as long as it counts."""
        since = at - self.identity // _US
        self._incidents = {key: one for key, one in self._incidents.items() if one.at >= since}
        audit = tables.audit.c
        while True:
            query = select(tables.audit).order_by(audit.id).limit(_AT_ONCE)
            query = query.where(audit.id > self._last_entry) if self._last_entry else query.where(audit.at >= since)
            with self.ledger.database.read() as connection:
                rows = connection.execute(query).mappings().all()
                if not rows and not self._last_entry:
                    self._last_entry = connection.execute(select(func.coalesce(func.max(audit.id), 0))).scalar_one()
            for row in rows:
                if row["action"] in IDENTITY and row["at"] >= since:
                    self._add(row)
            if rows:
                self._last_entry = rows[-1]["id"]
            if len(rows) < _AT_ONCE:
                return

    def _add(self, row: RowMapping) -> None:
        detail = json.loads(row["detail"])
        key = row["action"], row["subject"]
        before = self._incidents.get(key)
        times = int(detail.get("count", 1)) + (before.times if before is not None else 0)
        peer = str(detail.get("peer", ""))
        self._incidents[key] = Incident(*key, row["department"], peer, row["why"], row["at"], times)
