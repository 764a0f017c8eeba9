"""Schemas and dictionaries: what opens payloads, kept as long as the ledger itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from sqlalchemy import Select, insert, select

from forebay_collector.ledger import tables
from forebay_collector.ledger.database import Database
from forebay_collector.ledger.streams import named, need_id, need_ids
from forebay_wire.stream import StreamName

_AT_ONCE: Final = 500


class NewSchema(NamedTuple):
    """content: the serialised Arrow schema. agent: whose it is when the stream is new."""

    stream: StreamName
    fingerprint: bytes
    content: bytes
    agent: str


class Schemas:
    def __init__(self, database: Database) -> None:
        self._database = database

    def put_schema(self, name: StreamName, fingerprint: bytes, content: bytes, *, agent: str) -> None:
        """Keeps a serialised Arrow schema; once it is there, again is nothing."""
        self.put_schemas([NewSchema(name, fingerprint, content, agent)])

    def put_schemas(self, new: Iterable[NewSchema]) -> None:
        """As `put_schema`, of many in one transaction."""
        schema = tables.schema.c
        new = list(new)
        with self._database.write() as connection:
            ids = need_ids(connection, {one.stream: one.agent for one in new})
            at = self._database.clock()
            rows = {
                (ids[one.stream], one.fingerprint): {
                    "stream_id": ids[one.stream],
                    "fingerprint": one.fingerprint,
                    "content": one.content,
                    "received_at": at,
                }
                for one in new
            }
            wanted = list(ids.values())
            for first in range(0, len(wanted), _AT_ONCE):
                some = schema.stream_id.in_(wanted[first : first + _AT_ONCE])
                for known in connection.execute(select(schema.stream_id, schema.fingerprint).where(some)):
                    rows.pop((known[0], known[1]), None)
            if rows:
                connection.execute(insert(tables.schema), list(rows.values()))

    def schema(self, name: StreamName, fingerprint: bytes) -> bytes | None:
        """The serialised Arrow schema with this fingerprint."""
        query = select(tables.schema.c.content).join(tables.stream, tables.schema.c.stream_id == tables.stream.c.id)
        return self._one(named(query, name).where(tables.schema.c.fingerprint == fingerprint))

    def history(self, name: StreamName) -> list[tuple[bytes, bytes, int]]:
        """(fingerprint, serialised Arrow schema, microseconds when it came) of every schema of the stream, oldest first."""
        schema = tables.schema.c
        query = select(schema.fingerprint, schema.content, schema.received_at).join(
            tables.stream, schema.stream_id == tables.stream.c.id
        )
        with self._database.read() as connection:
            rows = connection.execute(named(query, name).order_by(schema.received_at, schema.fingerprint))
            return [(row[0], row[1], row[2]) for row in rows]

    def put_dictionary(self, name: StreamName, dictionary_id: str, content: bytes, *, agent: str) -> bool:
        """Keeps a dictionary; False when another content is already kept under its id."""
        with self._database.write() as connection:
            stream_id = need_id(connection, name, agent)
            kept = tables.dictionary.c
            known = select(kept.content).where(kept.stream_id == stream_id, kept.dictionary_id == dictionary_id)
            held: bytes | None = connection.execute(known).scalar_one_or_none()
            if held is None:
                values = {"stream_id": stream_id, "dictionary_id": dictionary_id, "content": content}
                connection.execute(insert(tables.dictionary).values(**values, received_at=self._database.clock()))
            return held is None or held == content

    def dictionary(self, name: StreamName, dictionary_id: str) -> bytes | None:
        query = select(tables.dictionary.c.content).join(
            tables.stream, tables.dictionary.c.stream_id == tables.stream.c.id
        )
        return self._one(named(query, name).where(tables.dictionary.c.dictionary_id == dictionary_id))

    def known(self, name: StreamName) -> tuple[set[bytes], set[str]]:
        """The fingerprints and the dictionary ids that are kept of the stream."""
        schema, kept, stream = tables.schema.c, tables.dictionary.c, tables.stream.c
        schemas = named(select(schema.fingerprint).join(tables.stream, schema.stream_id == stream.id), name)
        dictionaries = named(select(kept.dictionary_id).join(tables.stream, kept.stream_id == stream.id), name)
        with self._database.read() as connection:
            return set(connection.execute(schemas).scalars()), set(connection.execute(dictionaries).scalars())

    def _one(self, query: Select[Any]) -> bytes | None:
        with self._database.read() as connection:
            content: bytes | None = connection.execute(query).scalar_one_or_none()
            return content
