"""Gate: one source's tables between their configuration and their capture. Used on the source's thread.

It describes each table as it is configured and proposes it, and says what of it may be captured: the columns that are
approved under the mask that they have. A table whose key or cursor is not approved waits as a whole. Describing reads the
database's catalogue only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from forebay_agent import journal
from forebay_agent.approval.approvals import Approvals, Columns, listed
from forebay_agent.approval.proposals import Proposal, Proposals
from forebay_agent.capture.log import offers_log
from forebay_agent.capture.plan import describe, mode_not_offered, open_capture
from forebay_agent.capture.source import Source, TableShape
from forebay_agent.clock import Clock
from forebay_agent.config.model import TableConfig
from forebay_agent.errors import AgentError, NotApproved, SourceDenied, SourceUnreachable, StatementTimeout
from forebay_agent.log.stream import LOG, guarantee_of
from forebay_agent.transform import Transform
from forebay_wire.stream import StreamName

LOOK_SECONDS: Final = 30.0
"""between two descriptions of every table"""

_PASSING: Final = (SourceUnreachable, SourceDenied, StatementTimeout)


@dataclass(frozen=True, slots=True)
class Passage:
    """What of one table may be captured. table: None when none of it. waiting: columns that are configured and not approved.
    reason: why the table waits as a whole."""

    table: TableConfig | None
    waiting: tuple[str, ...] = ()
    reason: str = ""

    @property
    def refusal(self) -> NotApproved | None:
        return NotApproved(self.reason) if self.table is None else None


class Gate:
    """passages: by stream, as of the last `look`; every table waits before it."""

    def __init__(
        self, tables: Mapping[StreamName, TableConfig], approvals: Approvals, proposals: Proposals, clock: Clock
    ) -> None:
        self._tables = dict(tables)
        self._approvals = approvals
        self._proposals = proposals
        self._clock = clock
        self._describe_at = 0.0
        self._generation = -1
        self._heard = False
        self.passages = {name: self._passage(name, table) for name, table in self._tables.items()}
        proposals.expect(self._tables)

    @property
    def changed(self) -> bool:
        """Whether the centre approves otherwise than at the last `look`: what is being read may have to stop."""
        return self._generation != self._approvals.generation

    @property
    def due(self) -> bool:
        """Whether `look` has something to do."""
        silent = not self._heard and self._approvals.silent != ""
        return self.changed or silent or self._clock.monotonic() >= self._describe_at

    def look(self, session: Callable[[], Source]) -> None:
        """Describes what is due to be described, and settles `passages`. Raises SourceUnreachable, SourceDenied: the source
        as a whole cannot be asked; passages are settled all the same."""
        self._generation = self._approvals.generation
        self._heard = self._approvals.silent != ""
        try:
            if self._clock.monotonic() >= self._describe_at:
                self._describe_at = self._clock.monotonic() + LOOK_SECONDS
                self._describe_all(session)
        finally:
            self.passages = {name: self._passage(name, table) for name, table in self._tables.items()}

    def _describe_all(self, session: Callable[[], Source]) -> None:
        for name, table in self._tables.items():
            try:
                self._proposals.put(self._proposed(session(), name, table))
            except AgentError as error:
                # what was described stands while the database is away for a moment
                if not isinstance(error, _PASSING) or self._proposals.of(name) is None:
                    self._proposals.put(Proposal.failed(name, table, error))
                if isinstance(error, SourceUnreachable | SourceDenied):
                    for other, entry in self._tables.items():
                        if self._proposals.of(other) is None:
                            self._proposals.put(Proposal.failed(other, entry, error))
                    raise
            except MemoryError:
                raise
            except Exception as error:
                self._proposals.put(Proposal.failed(name, table, journal.unexpected(error)))

    @staticmethod
    def _proposed(source: Source, name: StreamName, table: TableConfig) -> Proposal:
        shape = describe(source, table)
        leaving = Transform(shape, table).schema
        return Proposal.of(name, table, shape, leaving, _guarantee(source, shape, table))

    def _passage(self, name: StreamName, table: TableConfig) -> Passage:
        approved = self._approvals.current.of(name)
        if approved is None:
            return Passage(table)
        proposal = self._proposals.of(name)
        columns = [(each.name, each.mask) for each in proposal.columns] if proposal is not None else []
        waiting = tuple(self._approvals.current.lacking(name, columns))
        why = self._approvals.why_waits()
        if why or not approved:
            return Passage(None, waiting, why or "the table is not approved")
        leading = [*(proposal.key if proposal else ()), *([table.cursor] if table.cursor else [])]
        missing = [each for each in dict.fromkeys(leading) if each in waiting]
        if missing:
            reason = (
                f"key or cursor column {listed(missing)} is not approved: without it no row can be told from another"
            )
            return Passage(None, waiting, reason)
        if columns and len(waiting) == len(columns):
            return Passage(None, waiting, "none of its columns is approved as it is masked now")
        return Passage(narrowed(table, approved), waiting)


def narrowed(table: TableConfig, approved: Columns) -> TableConfig:
    """The table's entry with what is approved of it, whatever the table holds besides."""
    masks = {mask.column: mask.kind for mask in table.masks}
    columns = frozenset(name for name, several in approved.items() if masks.get(name, "") in several)
    return replace(table, approved=columns, masks=tuple(mask for mask in table.masks if mask.column in columns))


def _guarantee(source: Source, shape: TableShape, table: TableConfig) -> str:
    if table.mode != LOG:
        return open_capture(source, shape, table).guarantee
    if not offers_log(source):
        raise mode_not_offered(table)
    return guarantee_of(shape, table)
