"""Proposals: what an agent would share of one stream, and what was decided about it, column by column.

A decision is about a column with its mask, because that is what leaves. An approved column may also leave under a
stronger mask (`covers`), never under a weaker or another one: that waits for a decision of its own. A decision about the
whole stream (`closed`) stands over those about its columns until something of the stream is approved.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from forebay_wire.stream import StreamName

AUTOMATIC: Final = "auto"
"""Who decided, where everything that is proposed is approved (`[approval] mode = "auto"`)."""
MIGRATION: Final = "migration"
"""Who decided about what was received before there were approvals."""
_STRONGER: Final = frozenset({("citizen_id", "citizen_id_open")})


class State(StrEnum):
    """Where a column, or a stream, stands. Of a stream: waiting when any of its columns is."""

    WAITING = "waiting"
    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Column:
    """A column after the transform. mask: its kind, empty when it is not masked."""

    name: str
    origin: str
    type: str
    mask: str

    def plain(self) -> dict[str, str]:
        return {"name": self.name, "origin": self.origin, "type": self.type, "mask": self.mask}


@dataclass(frozen=True, slots=True)
class Decision:
    state: State
    by: str
    at: int
    why: str


WAITS: Final = Decision(State.WAITING, "", 0, "")


@dataclass(frozen=True, slots=True)
class Decided:
    """All decisions about one stream. columns: name -> mask -> the decision. revision: grows with each change."""

    closed: Decision | None = None
    columns: Mapping[str, Mapping[str, Decision]] = field(default_factory=dict)
    revision: int = 0

    def of(self, name: str, mask: str, *, automatic: bool = False) -> Decision:
        """What was decided about a column under this mask. automatic: what nobody decided about is approved."""
        if self.closed is not None:
            return self.closed
        known = self.columns.get(name, {})
        if own := known.get(mask):
            return own
        for approved, decision in known.items():
            if decision.state is State.APPROVED and covers(approved, mask):
                return decision
        return Decision(State.APPROVED, AUTOMATIC, 0, "") if automatic else WAITS

    @property
    def approved(self) -> dict[str, list[str]]:
        """The columns that are approved, and under which masks; none while the stream is closed."""
        if self.closed is not None:
            return {}
        masks = {
            name: [mask for mask, decision in known.items() if decision.state is State.APPROVED]
            for name, known in self.columns.items()
        }
        return {name: approved for name, approved in masks.items() if approved}

    @property
    def narrowed(self) -> bool:
        """Whether a person said no to something of the stream."""
        states = (decision.state for known in self.columns.values() for decision in known.values())
        return self.closed is not None or any(state is not State.APPROVED for state in states)

    def lacking(self, columns: Iterable[tuple[str, str]], *, automatic: bool = False) -> list[str]:
        """Why these columns may not leave together: empty when they may."""
        if self.closed is not None:
            return [f"the stream is {self.closed.state}"]
        if not self.columns and not automatic:
            return ["the stream is not approved"]
        return [
            f"column {name}{f' with mask {mask}' if mask else ' without a mask'} is {_called(decision.state)}"
            for name, mask in columns
            if (decision := self.of(name, mask, automatic=automatic)).state is not State.APPROVED
        ]


@dataclass(frozen=True, slots=True)
class ProposalRecord:
    """What an agent proposed last. Times are microseconds; `gone_at`: since when it is not configured any more.

    code, reason: why the agent could not describe the table; `columns` are then empty.
    """

    stream: StreamName
    agent: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    mode: str
    guarantee: str
    update_cycle: str
    code: str
    reason: str
    first_seen_at: int
    changed_at: int
    gone_at: int
    decided: Decided

    def decision(self, column: Column) -> Decision:
        return self.decided.of(column.name, column.mask)

    def names(self, *states: State) -> list[str]:
        """The columns that stand so."""
        return [column.name for column in self.columns if self.decision(column).state in states]

    @property
    def state(self) -> State:
        if self.decided.closed is not None:
            return self.decided.closed.state
        states = {self.decision(column).state for column in self.columns} or {State.WAITING}
        order = (State.WAITING, State.APPROVED, State.WITHDRAWN, State.REJECTED)
        return next(state for state in order if state in states)

    @property
    def may_leave(self) -> list[tuple[str, str]]:
        """(column, mask) that may leave: as proposed now, and as approved before, for batches that wait in the agent's outbox.

        So a column may stand here under several masks, and one that is not proposed any more, too. Nothing while a key column
        may not leave.
        """
        if self.decided.closed is not None or set(self.key) - set(self.names(State.APPROVED)):
            return []
        proposed = [
            (column.name, column.mask) for column in self.columns if self.decision(column).state is State.APPROVED
        ]
        before = [(name, mask) for name, masks in self.decided.approved.items() for mask in masks]
        return [pair for pair in before if pair not in proposed] + proposed


def covers(approved: str, mask: str) -> bool:
    """Whether a column that is approved under one mask may leave under the other: the same, or a stronger one."""
    return mask == approved or not approved or (approved, mask) in _STRONGER


def column_of(values: Mapping[str, Any]) -> Column:
    return Column(values["name"], values["origin"], values["type"], values["mask"])


def _called(state: State) -> str:
    return "not approved" if state is State.WAITING else state.value
