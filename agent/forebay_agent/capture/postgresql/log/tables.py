"""The followed tables of one reader, and every relation that the server told of: who gets which changes, and what happens
to a table."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from forebay_agent.capture.log import EventKind, LogRows, LogTable, TableEvent
from forebay_agent.capture.postgresql.log import publication
from forebay_agent.capture.postgresql.log.checkpoint import Known
from forebay_agent.capture.postgresql.log.entering import enter
from forebay_agent.capture.postgresql.log.fitness import hidden_unfit, unfit
from forebay_agent.capture.postgresql.log.following import Followed
from forebay_agent.capture.postgresql.log.judging import Judgement, happened, judge
from forebay_agent.capture.postgresql.log.layout import Layout, layout_of
from forebay_agent.capture.postgresql.log.publication import Publication
from forebay_agent.capture.postgresql.log.relation import RelationMessage, TypeNames, described, oid_of, parse
from forebay_agent.capture.postgresql.log.server import LogEnd
from forebay_agent.capture.postgresql.session import Session
from forebay_agent.capture.source import TableName, TableShape
from forebay_agent.config.model import SourceConfig
from forebay_agent.errors import (
    AgentError,
    LogGap,
    LogUnfit,
    PrivilegeMissing,
    TableChanged,
    TableMissing,
    TableReplaced,
)
from forebay_agent.kernel.pgoutput import LogScanner

_OF_THE_TABLE: Final = (LogUnfit, LogGap, PrivilegeMissing, TableMissing, TableChanged)
_REASON_CHARACTERS: Final = 500
_TAKE_ANEW: Final = "Take the table anew: `forebay-agent snapshot STREAM --reason …`."


class Tables:
    """restored: what the log checkpoint knows, by relation oid; a table that it does not name enters anew."""

    def __init__(
        self,
        config: SourceConfig,
        session: Callable[[], Session],
        scanner: LogScanner,
        published: Publication,
        restored: Mapping[int, Known],
    ) -> None:
        self._config = config
        self._session = session
        self._scanner = scanner
        self._published = published
        self._restored = dict(restored)
        self._end = LogEnd(session())
        self._types = TypeNames(session)
        self._followed: dict[int, Followed] = {}
        self._messages: dict[int, bytes] = {}
        self._owed = 0.0
        self.waiting: list[LogRows | TableEvent] = []
        """what goes into the next piece before what the decoders hold"""

    @property
    def known(self) -> dict[int, Known]:
        return {oid: each.known for oid, each in self._followed.items()}

    @property
    def rows(self) -> bool:
        """Whether any decoder holds rows."""
        return any(each.decoder is not None and each.decoder.rows for each in self._followed.values())

    def due(self, lsn: int) -> bool:
        """Whether `passed` has something to say."""
        return any(
            0 < each.known.unsure <= lsn or (each.doubt is not None and each.doubt[0] <= lsn)
            for each in self._followed.values()
        )

    def unsure(self, lsn: int) -> bool:
        """Whether what is known of a table that is to be read anew may be of a later place."""
        return any(each.known.unsure > lsn and not each.exposed for each in self._followed.values())

    def copied(self, table: TableName) -> None:
        """A part of it was read, as it is now."""
        for followed in self._followed.values():
            if followed.table.name == table:
                followed.copied()

    def full(self, rows: int) -> bool:
        return any(each.decoder is not None and each.decoder.rows >= rows for each in self._followed.values())

    def follow(self, tables: Sequence[LogTable], position: str) -> None:
        """See `LogReader.follow`. What cannot be followed is LOST in the next piece. Raises SourceError and its like."""
        before, self._followed = self._followed, {}
        self.waiting = [part for part in self.waiting if not _is_loss(part)]
        for table in tables:
            oid = int(table.shape.identity)
            followed = before.pop(oid, None)
            try:
                followed = self._again(followed, table) if followed is not None else self._new(oid, table)
                self._followed[oid] = followed
                self._attach(followed)
            except _OF_THE_TABLE as error:
                self._followed.pop(oid, None)
                self._skip(oid)
                self.waiting.append(lost(table, position, error))
        for oid in before:
            self._skip(oid)
        self._restored = {}

    def hold(self, events: Sequence[TableEvent]) -> None:
        """Puts what was decoded, and then these events, before what comes next."""
        self.waiting = list(self.take(events))

    def take(self, events: Sequence[TableEvent] = ()) -> list[LogRows | TableEvent]:
        """What was decoded since the last call, table by table, then these events. A table that is LOST is followed no more."""
        parts, self.waiting = self.waiting, []
        for followed in self._followed.values():
            parts += followed.take(self._session)
        parts += events
        for part in parts:
            if _is_loss(part):
                self._leave(part.table)
        return parts

    def relation(self, message: bytes, lsn: int, position: str) -> list[TableEvent]:
        """A Relation message of a transaction committed at this LSN. Rows before it are in `waiting`. Raises ValueError when it is malformed."""
        oid = oid_of(message)
        self._messages[oid] = message
        told = parse(message, self._decode)
        followed = self._followed.get(oid)
        if followed is None:
            self._scanner.register(message, None)
            return self._replaced(told, position)
        rows = followed.take(self._session)
        self.waiting += rows
        if any(_is_loss(part) for part in rows):
            self._leave(followed.table.name)
            return []
        try:
            return self._told(followed, told, lsn, position)
        except _OF_THE_TABLE as error:
            return [lost(followed.table, position, error)]

    def truncated(self, oids: Iterable[int], lsn: int, position: str) -> list[TableEvent]:
        events = []
        for oid in oids:
            followed = self._followed.get(oid)
            if followed is None or lsn < followed.known.since:
                continue
            layout = layout_of(self._session(), oid)
            if layout is not None:
                known, now = followed.known, self._seen(followed, layout)
                if replace(now, files="", added=0, live=0) == replace(
                    known, files="", added=0, live=0, since=0, unsure=0
                ):
                    # partitions that were emptied together have rows of one version in the catalogue
                    together = len({leaf.version for leaf in layout.leaves}) <= 1
                    followed.learn(replace(known, files=now.files), 0 if together else self._end.insert())
            events.append(
                TableEvent(followed.table.name, EventKind.TRUNCATED, position, "TRUNCATE", shape=followed.shape)
            )
        return events

    def passed(self, lsn: int, position: str) -> list[TableEvent]:
        """Tables that are to be read anew once the log has come so far."""
        events = []
        for followed in self._followed.values():
            reason = ""
            if followed.passed(lsn):
                reason = "rows came that may be from before something that happened to older ones"
            if followed.doubt is not None and followed.doubt[0] <= lsn:
                reason = self._still(followed, followed.doubt[1]) or reason
            if reason:
                events.append(
                    TableEvent(followed.table.name, EventKind.ALTERED, position, reason, shape=followed.shape)
                )
        return events

    def look(self, share: float, position: str) -> list[TableEvent]:
        """At that share of the tables, in turn: what the log tells of late or never. Whether the publication still holds what
        it held of the table, and whether something happened to older rows; that is said once the log has passed it without
        a word."""
        events = []
        self._owed = min(self._owed + share * len(self._followed), len(self._followed))
        for _ in range(int(self._owed)):
            self._owed -= 1
            oid = next(iter(self._followed))
            followed = self._followed[oid] = self._followed.pop(oid)
            layout = layout_of(self._session(), followed.oid)
            try:
                self._check(followed, layout)
            except _OF_THE_TABLE as error:
                events.append(lost(followed.table, position, error))
                continue
            if layout is not None and followed.doubt is None and self._happened(followed, layout):
                self._doubt(followed, layout)
        return events

    def _check(self, followed: Followed, layout: Layout | None) -> None:
        """Raises what of the table the log would not tell."""
        name = followed.table.name
        if layout is None:
            raise TableMissing(f"there is no table {name} any more")
        if layout.table != followed.really:
            raise TableMissing(f"{name} was renamed to {layout.table}")
        hidden = hidden_unfit(layout, followed.table)
        if hidden is not None:
            raise hidden
        published = self._published.name
        if followed.known.member != publication.membership(self._session(), published, followed.oid):
            self._check_member(followed.table, followed.shape, layout)
            raise LogGap(
                f"what publication {published} holds of {name} was changed: changes meanwhile may not be in what the server "
                "sends",
                remedy=_TAKE_ANEW,
            )

    def _check_member(self, table: LogTable, shape: TableShape, layout: Layout) -> None:
        """Raises LogUnfit, LogGap when the publication does not hold all of it."""
        captured = [column.name for column in shape.columns]
        published = publication.publication_of(self._session(), self._published.name)
        if published is not None:
            publication.check(published)
            if layout.kind == "p":
                publication.check_partitioned(published)
        member = publication.member_unfit(self._session(), self._published.name, layout.table, captured)
        if member is not True:
            raise member or LogGap(
                f"{table.name} was taken out of publication {self._published.name}: its changes since then are not in what "
                "the server sends",
                remedy=_TAKE_ANEW,
            )

    def _happened(self, followed: Followed, layout: Layout) -> str:
        """Columns that are gone are told by a message, or seen by who describes the table."""
        there = {column.name for column in layout.columns}
        if any(column.name not in there for column in followed.shape.columns):
            return ""
        return happened(followed.shape, layout, followed.known)

    def _doubt(self, followed: Followed, layout: Layout) -> None:
        followed.doubt = (self._end.insert(), self._seen(followed, layout))

    def _still(self, followed: Followed, doubt: Known) -> str:
        """The log has passed a doubt. What happened, if it has not told."""
        followed.doubt = None
        layout = layout_of(self._session(), followed.oid)
        reason = self._happened(followed, layout) if layout is not None else ""
        if layout is None or not reason:
            return ""
        if self._seen(followed, layout) != doubt:  # something else has happened meanwhile
            self._doubt(followed, layout)
            return ""
        followed.learn(doubt, read_anew=True)
        return reason

    def _new(self, oid: int, table: LogTable) -> Followed:
        session = self._session()
        layout = layout_of(session, oid)
        problem = unfit(layout, table, session.server_version, publishes_generated=self._published.generated)
        if problem is not None:
            raise problem
        assert layout is not None
        if layout.kind == "p":
            publication.check_partitioned(self._published)
        known = self._restored.get(oid)
        if known is None:
            known = enter(self._config, session, self._end, self._published.name, table, layout)
            return Followed(table, oid, layout.table, table.shape, known)
        followed = Followed(table, oid, layout.table, table.shape, known)
        self._check(followed, layout)
        if self._happened(followed, layout):
            self._doubt(followed, layout)
        return followed

    def _again(self, followed: Followed, table: LogTable) -> Followed:
        """The same table, possibly with another shape than the log told, which the database says it has."""
        followed.table = table
        before, now = followed.shape, table.shape
        if (before.columns, before.key) == (now.columns, now.key):
            return followed
        layout = layout_of(self._session(), followed.oid)
        problem = unfit(layout, table, self._session().server_version, publishes_generated=self._published.generated)
        if problem is not None or layout is None:
            raise problem or TableMissing(f"there is no table {table.name}")
        self._check_member(table, now, layout)
        followed.shape = now
        followed.learn(self._seen(followed, layout), self._end.insert(), read_anew=_covers(layout))
        return followed

    def _attach(self, followed: Followed) -> None:
        """The relation may have been told of before it was followed, or as it was before its shape changed: rows that come
        in that form are decoded so, and the table is ALTERED by the first of them."""
        message = self._messages.get(followed.oid)
        if message is None:
            return
        told = parse(message, self._decode)
        self.waiting += followed.take(self._session)
        judgement = self._judged(followed, told, layout_of(self._session(), followed.oid))
        decoder = None
        if judgement.kind is not EventKind.LOST:
            with contextlib.suppress(LogUnfit):
                decoder = followed.decode(told, judgement.shape)
        # without one: older than the key, or than its identity; before any row of now, another message comes
        self._scanner.register(message, decoder)

    def _told(self, followed: Followed, told: RelationMessage, lsn: int, position: str) -> list[TableEvent]:
        if lsn < followed.known.since:
            self._attach(followed)
            return []
        name = followed.table.name
        if told.table != followed.really:
            raise TableMissing(f"{name} was renamed to {told.table}")
        layout = layout_of(self._session(), followed.oid)
        if layout is not None and layout.table == followed.really:
            self._check(followed, layout)
        judgement = self._judged(followed, told, layout)
        if judgement.kind is EventKind.LOST:
            raise TableChanged(f"{name}: {judgement.reason}")
        self._scanner.register(told.message, followed.decode(told, judgement.shape))
        followed.shape = judgement.shape
        if layout is not None and judgement.doubtful:
            if judgement.reason and followed.doubt is None:
                self._doubt(followed, layout)
        elif layout is not None:
            unsure = 0 if judgement.sure or judgement.kind is None else self._end.insert()
            read_anew = judgement.kind is EventKind.ALTERED and _covers(layout)
            followed.learn(self._seen(followed, layout), unsure, read_anew=read_anew)
        if judgement.kind is None:
            return []
        return [
            TableEvent(name, judgement.kind, position, judgement.reason[:_REASON_CHARACTERS], shape=judgement.shape)
        ]

    def _judged(self, followed: Followed, told: RelationMessage, layout: Layout | None) -> Judgement:
        columns = described(told.columns, self._types.origins(told.columns), followed.table.as_text)
        return judge(followed.table, followed.shape, told.columns, columns, layout, followed.known)

    def _seen(self, followed: Followed, layout: Layout) -> Known:
        return layout.known(followed.shape.columns, followed.known.member)

    def _replaced(self, told: RelationMessage, position: str) -> list[TableEvent]:
        """Another relation under a followed table's name."""
        return [
            lost(
                each.table,
                position,
                TableReplaced(f"{each.table.name} was dropped and created again since it was captured"),
            )
            for each in self._followed.values()
            if each.really == told.table
        ]

    def _leave(self, table: TableName) -> None:
        for oid, followed in list(self._followed.items()):
            if followed.table.name == table:
                del self._followed[oid]
                self._skip(oid)

    def _skip(self, oid: int) -> None:
        message = self._messages.get(oid)
        if message is not None:
            self._scanner.register(message, None)

    def _decode(self, name: bytes) -> str:
        charset = self._session().charset
        return charset.decode(name) if charset is not None else name.decode()


def lost(table: LogTable, position: str, error: AgentError) -> TableEvent:
    return TableEvent(table.name, EventKind.LOST, position, str(error)[:_REASON_CHARACTERS], error=error)


def _covers(layout: Layout) -> bool:
    """Whether a reading covers every row that was told before it: not where rows may leave with their partition untold."""
    return layout.kind != "p"


def _is_loss(part: LogRows | TableEvent) -> bool:
    return isinstance(part, TableEvent) and part.kind is EventKind.LOST
