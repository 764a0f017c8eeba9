"""The followed tables of one reader, and every relation that the server told of: who gets which changes, and what happens
to a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from forebay_agent.capture.log import EventKind, LogRows, LogTable, TableEvent
from forebay_agent.capture.postgresql.log import publication
from forebay_agent.capture.postgresql.log.checkpoint import Known
from forebay_agent.capture.postgresql.log.entering import enter
from forebay_agent.capture.postgresql.log.fitness import unfit
from forebay_agent.capture.postgresql.log.following import Followed
from forebay_agent.capture.postgresql.log.judging import Judgement, judge
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
        self._position = ""
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
        return any(0 < each.known.unsure <= lsn for each in self._followed.values())

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
            now = layout.known(followed.shape.columns) if layout else None
            if now is not None and (now.places, now.touched) == (followed.known.places, followed.known.touched):
                followed.known = replace(followed.known, files=now.files)
            events.append(
                TableEvent(followed.table.name, EventKind.TRUNCATED, position, "TRUNCATE", shape=followed.shape)
            )
        return events

    def passed(self, lsn: int, position: str) -> list[TableEvent]:
        """Tables that are to be read anew once the log has come so far."""
        reason = "rows came that may be from before columns were altered and their rows rewritten"
        return [
            TableEvent(followed.table.name, EventKind.ALTERED, position, reason, shape=followed.shape)
            for followed in self._followed.values()
            if followed.passed(lsn)
        ]

    def unpublished(self, position: str) -> list[TableEvent]:
        """Followed tables that the publication holds no longer."""
        found = publication.members(self._session(), self._published.name)
        events = []
        for followed in self._followed.values():
            layout = layout_of(self._session(), followed.oid)
            if layout is not None and layout.table not in found:
                events.append(lost(followed.table, position, _not_published(followed.table, self._published.name)))
        return events

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
        else:
            captured = [column.name for column in table.shape.columns]
            member = publication.member_unfit(session, self._published.name, layout.table, captured)
            if member is not True:
                raise member or _not_published(table, self._published.name)
        return Followed(table, oid, layout.table, table.shape, known)

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
        self._learn(followed, now, layout, altered=True)
        followed.shape = now
        return followed

    def _attach(self, followed: Followed) -> None:
        """The relation may have been told of before it was followed, or as it was before its shape changed: rows that come
        in that form are decoded so, and the table is ALTERED by the first of them."""
        message = self._messages.get(followed.oid)
        if message is None:
            return
        told = parse(message, self._decode)
        self.waiting += followed.take(self._session)
        judgement = self._judged(followed, told)
        if judgement.kind is EventKind.LOST:
            self._scanner.register(message, None)  # older than the key; before any row of now, another one comes
        else:
            self._scanner.register(message, followed.decode(told, judgement.shape))

    def _told(self, followed: Followed, told: RelationMessage, lsn: int, position: str) -> list[TableEvent]:
        if lsn < followed.known.since:
            self._attach(followed)
            return []
        name = followed.table.name
        if told.table != followed.really:
            raise TableMissing(f"{name} was renamed to {told.table}")
        layout = layout_of(self._session(), followed.oid)
        judgement = self._judged(followed, told, layout)
        if judgement.kind is EventKind.LOST:
            raise TableChanged(f"{name}: {judgement.reason}")
        self._scanner.register(told.message, followed.decode(told, judgement.shape))
        if layout is not None:
            self._learn(followed, judgement.shape, layout, altered=judgement.kind is EventKind.ALTERED)
        if judgement.kind is None:
            return []
        followed.shape = judgement.shape
        return [
            TableEvent(name, judgement.kind, position, judgement.reason[:_REASON_CHARACTERS], shape=judgement.shape)
        ]

    def _judged(self, followed: Followed, told: RelationMessage, layout: Layout | None = None) -> Judgement:
        layout = layout or layout_of(self._session(), followed.oid)
        columns = described(told, self._types.origins(told.columns), followed.table.as_text)
        return judge(followed.table, followed.shape, columns, layout, followed.known)

    def _learn(self, followed: Followed, shape: TableShape, layout: Layout, *, altered: bool) -> None:
        """What is known from here on. It may hold a later rewrite already, of which the log tells only later: see
        `Known.unsure`."""
        before = followed.known
        known = layout.known(shape.columns, before.since)
        unsure = before.unsure
        if altered and known.files != before.files:
            unsure = self._end.insert()
            followed.rows_came = False
        followed.known = replace(known, unsure=unsure)

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


def _is_loss(part: LogRows | TableEvent) -> bool:
    return isinstance(part, TableEvent) and part.kind is EventKind.LOST


def _not_published(table: LogTable, name: str) -> LogGap:
    return LogGap(
        f"{table.name} was taken out of publication {name}: its changes since then are not in what the server sends",
        remedy="Take the table anew, which publishes it again: `forebay-agent snapshot STREAM --reason …`.",
    )
