"""What would be shared: one proposal for each configured table, made by its source's thread, sent by control.

They are kept in `<state>/proposals.json` for whoever carries them on a disk, beside the agent that runs (`kept_proposals`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

from forebay_agent import journal, kept
from forebay_agent.approval.approvals import mask_of
from forebay_agent.capture.source import TableShape
from forebay_agent.config.model import TableConfig
from forebay_agent.errors import AgentError, StateFolderUnusable
from forebay_wire.schema import TableSchema
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2

FILE_NAME: Final = "proposals.json"


@dataclass(frozen=True, slots=True)
class ProposedColumn:
    """origin: its type in the source. type: the Arrow type after the transform. mask: empty when it is not masked."""

    name: str
    origin: str
    type: str
    mask: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """One table as it is configured. code, reason: why it could not be described; then there are no columns."""

    stream: StreamName
    mode: str
    update_cycle: str = ""
    columns: tuple[ProposedColumn, ...] = ()
    key: tuple[str, ...] = ()
    guarantee: str = ""
    code: str = ""
    reason: str = ""

    @classmethod
    def of(
        cls, stream: StreamName, table: TableConfig, shape: TableShape, leaving: TableSchema, guarantee: str
    ) -> Proposal:
        """shape: as it is read. leaving: what the transform makes of it."""
        columns = tuple(
            ProposedColumn(before.name, before.origin, str(after.type), mask_of(after))
            for before, after in zip(shape.columns, leaving.columns, strict=True)
        )
        return cls(stream, table.mode, table.update_cycle, columns, shape.key, guarantee)

    @classmethod
    def failed(cls, stream: StreamName, table: TableConfig, error: AgentError) -> Proposal:
        return cls(stream, table.mode, table.update_cycle, code=error.code, reason=str(error))

    def to_proto(self) -> control_pb2.Proposal:
        return control_pb2.Proposal(
            stream=self.stream.to_proto(),
            columns=[
                control_pb2.ProposedColumn(name=each.name, origin=each.origin, type=each.type, mask=each.mask)
                for each in self.columns
            ],
            key=self.key,
            mode=self.mode,
            guarantee=self.guarantee,
            update_cycle=self.update_cycle,
            code=self.code,
            reason=self.reason,
        )


@dataclass(frozen=True, slots=True)
class News:
    """What is to be told: proposals made since `generation` of before. complete: they are all that there are, and every
    configured table has one."""

    generation: int
    proposals: tuple[Proposal, ...]
    complete: bool

    def to_proto(self) -> control_pb2.Proposals:
        return control_pb2.Proposals(proposals=[each.to_proto() for each in self.proposals], complete=self.complete)


class Proposals:
    """All of the agent. Any thread may call. state: the state folder; None: nothing is kept."""

    def __init__(self, state: Path | None = None) -> None:
        self._path = state / FILE_NAME if state is not None else None
        self._kept: tuple[int, dict[str, Any] | None] = (0, None)
        self._unkept = ""
        self._lock = threading.Lock()
        self._wanted: set[StreamName] = set()
        self._made: dict[StreamName, tuple[int, Proposal]] = {}
        self._generation = 0
        self._set_at = 0  # generation in which the set of streams changed last

    def expect(self, streams: Iterable[StreamName]) -> None:
        """These streams are configured: a proposal of each will be put."""
        with self._lock:
            self._wanted.update(streams)
            self._step(of_the_set=True)

    def forget(self, streams: Iterable[StreamName]) -> None:
        """These streams are not configured any more."""
        with self._lock:
            for stream in streams:
                self._wanted.discard(stream)
                self._made.pop(stream, None)
            self._step(of_the_set=True)

    def put(self, proposal: Proposal) -> None:
        """Counts as news when it differs from the one before."""
        with self._lock:
            before = self._made.get(proposal.stream)
            if proposal.stream in self._wanted and (before is None or before[1] != proposal):
                self._step()
                self._made[proposal.stream] = (self._generation, proposal)

    def again(self) -> None:
        """Everything counts as news."""
        with self._lock:
            self._step(of_the_set=True)

    def of(self, stream: StreamName) -> Proposal | None:
        with self._lock:
            made = self._made.get(stream)
        return made[1] if made else None

    def since(self, generation: int, complete_at: int) -> News | None:
        """What is news after `generation`; None when nothing is. complete_at: of the last complete news that was told, 0:
        none was."""
        with self._lock:
            settled = self._wanted == self._made.keys()
            complete = settled and complete_at < max(self._set_at, 1)
            if generation == self._generation and not complete:
                return None
            chosen = [
                proposal for at, proposal in self._made.values() if complete or at > generation
            ]  # a complete one tells all
            if not chosen and not complete:
                return None
            return News(self._generation, tuple(sorted(chosen, key=lambda each: each.stream)), complete)

    def keep(self) -> None:
        """Writes all of them down, when there is news. For one thread."""
        told, before = self._kept
        with self._lock:
            generation = self._generation
        if self._path is None or generation == told or (news := self.since(0, 0)) is None:
            return
        content = MessageToDict(news.to_proto(), preserving_proto_field_name=True)
        try:
            if content != (before if told else self._kept_before(self._path)):
                kept.write(self._path, content)
            self._kept, self._unkept = (generation, content), ""
        except StateFolderUnusable as error:
            if str(error) != self._unkept:
                journal.warning("proposals cannot be kept for now", reason=error)
            self._unkept = str(error)

    @staticmethod
    def _kept_before(path: Path) -> dict[str, Any] | None:
        """What the agent that ran before kept: the same is not written again."""
        try:
            return _content(path)
        except StateFolderUnusable:
            return None  # it is made anew

    def _step(self, *, of_the_set: bool = False) -> None:
        self._generation += 1
        if of_the_set:
            self._set_at = self._generation


def kept_proposals(state: Path) -> control_pb2.Proposals | None:
    """As the agent that ran last kept them; None: none did. Raises StateFolderUnusable."""
    path = state / FILE_NAME
    content = _content(path)
    try:
        return None if content is None else ParseDict(content, control_pb2.Proposals())
    except ParseError as error:
        raise StateFolderUnusable(f"{path} does not hold proposals", remedy="Remove it: it is made anew.") from error


def _content(path: Path) -> dict[str, Any] | None:
    return kept.read(path, without="a running agent makes it anew")
