"""Keeping: the schemas that come in go into the ledger together, those of all agents in one transaction.

When a fleet comes in again after a new release, or a collector begins, every stream sends its schema before its first batch;
each in a transaction of its own would be a sync of the disk each, and batches would wait behind them. There is no task while
nothing waits, and each connection has one schema waiting at most.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from forebay_collector.archive.schemas import Kept, SchemaLog
from forebay_collector.errors import CollectorError
from forebay_collector.ledger import Ledger
from forebay_collector.ledger.schemas import NewSchema
from forebay_collector.receive.approved import Approved
from forebay_collector.receive.refusal import Refusal
from forebay_wire.errors import WireError
from forebay_wire.schema import TableSchema
from forebay_wire.stream import StreamName

MOST: Final = 500
"""Schemas of one transaction."""
_Outcome: TypeAlias = Refusal | Exception | None


@dataclass(frozen=True, slots=True)
class _Waiting:
    schema: NewSchema
    outcome: asyncio.Future[Refusal | None]


class SchemaKeeper:
    """Used by the event loop."""

    def __init__(self, ledger: Ledger, approved: Approved, log: SchemaLog) -> None:
        """log: the archive's, written before the ledger: from it a ledger is rebuilt."""
        self._ledger = ledger
        self._log = log
        self._approved = approved
        self._waiting: list[_Waiting] = []
        self._keeping: asyncio.Task[None] | None = None

    async def keep(self, schema: NewSchema) -> Refusal | None:
        """Keeps it, unless what is in it is not approved; -> why not.

        Raises WireError: it is no schema, or not the one of its fingerprint; LedgerUnavailable, LedgerDamaged.
        """
        waiting = _Waiting(schema, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep_what_waits())
        return await waiting.outcome

    async def _keep_what_waits(self) -> None:
        while self._waiting:
            group, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
            outcomes = await asyncio.to_thread(self._keep_group, [one.schema for one in group])
            for one, outcome in zip(group, outcomes, strict=True):
                if one.outcome.done():  # whoever waited has gone
                    continue
                if isinstance(outcome, Exception):
                    one.outcome.set_exception(outcome)
                else:
                    one.outcome.set_result(outcome)
        self._keeping = None

    def _keep_group(self, group: Sequence[NewSchema]) -> list[_Outcome]:
        """In another thread. Never raises: each has its outcome."""
        outcomes = [self._judge(one) for one in group]
        good = [one for one, outcome in zip(group, outcomes, strict=True) if outcome is None]
        try:
            if good:
                self._log.append([Kept(one.stream, one.fingerprint, one.content) for one in good])
                self._ledger.schemas.put_schemas(good)
        except CollectorError as error:
            return [error if outcome is None else outcome for outcome in outcomes]
        return outcomes

    def keep_dictionary(self, stream: StreamName, dictionary_id: str, content: bytes, *, agent: str) -> bool:
        """As `Schemas.put_dictionary`; in another thread. Raises LedgerUnavailable, LedgerDamaged, ArchiveUnavailable."""
        self._log.append([Kept(stream, dictionary_id, content)])
        return self._ledger.schemas.put_dictionary(stream, dictionary_id, content, agent=agent)

    def _judge(self, one: NewSchema) -> _Outcome:
        try:
            return self._approved.judge(one.stream, TableSchema.parse(one.content, one.fingerprint))
        except (WireError, CollectorError) as error:
            return error
