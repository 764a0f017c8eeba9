"""Schemas and dictionaries as they come in: checked, kept in the ledger, and only then good for batches."""

from __future__ import annotations

import asyncio

import zstandard

from forebay_collector.errors import CollectorError
from forebay_collector.ledger.schemas import NewSchema
from forebay_collector.receive.approved import Approved
from forebay_collector.receive.keeping import SchemaKeeper
from forebay_collector.receive.lanes import Lanes
from forebay_collector.receive.refusal import (
    CHAIN,
    LIMIT,
    MALFORMED,
    NOT_APPROVED,
    NOT_YOURS,
    UNAVAILABLE,
    UNKNOWN_SCHEMA,
    Refusal,
)
from forebay_wire import limits
from forebay_wire.errors import WireError
from forebay_wire.stream import StreamName
from forebay_wire.v1 import batch_pb2

_MOST_REMEMBERED = 1_000


class Openers:
    """What one connection sent to open payloads with. What was not taken is told when a batch needs it."""

    __slots__ = ("_agent", "_approved", "_department", "_keeper", "_lanes", "_refused")

    def __init__(self, lanes: Lanes, approved: Approved, keeper: SchemaKeeper, agent: str, department: str) -> None:
        self._keeper = keeper
        self._lanes = lanes
        self._approved = approved
        self._agent = agent
        self._department = department
        self._refused: dict[tuple[StreamName, bytes | str], Refusal] = {}

    async def schema(self, message: batch_pb2.Schema) -> None:
        await self._take(message.stream, message.fingerprint, message.arrow_schema)

    async def dictionary(self, message: batch_pb2.Dictionary) -> None:
        await self._take(message.stream, message.dictionary_id, message.content)

    async def missing(self, stream: StreamName, fields: batch_pb2.BatchHeader) -> Refusal | None:
        """Why the batch could not be opened, or may not be; None when all is well. Raises the ledger's errors."""
        lane = await self._lanes.ready(stream)
        fingerprint = fields.schema_fingerprint
        if fingerprint not in lane.schemas:
            unsent = Refusal(UNKNOWN_SCHEMA, f"schema {fingerprint.hex()} was not sent before the batch")
            refused = self._refused.get((stream, fingerprint), unsent)
            if refused.code != NOT_APPROVED:
                return refused
            # it may be approved by now: then it is to be sent again, for it was not kept
            return await self._approved.refusal(stream, fingerprint) or unsent
        if refusal := await self._approved.refusal(stream, fingerprint):
            return refusal
        needs_dictionary = fields.codec == batch_pb2.CODEC_FRAME_ZSTD_DICTIONARY
        if needs_dictionary and fields.dictionary_id not in lane.dictionaries:
            unsent = Refusal(UNKNOWN_SCHEMA, f"dictionary {fields.dictionary_id} was not sent before the batch")
            return self._refused.get((stream, fields.dictionary_id), unsent)
        return None

    async def _take(self, name: batch_pb2.Stream, key: bytes | str, content: bytes) -> None:
        try:
            stream = StreamName.from_proto(name)
        except WireError:
            return  # no batch can name this stream either
        refusal = await self._keep(stream, key, content)
        if refusal is None:
            self._refused.pop((stream, key), None)
        elif len(self._refused) < _MOST_REMEMBERED:
            self._refused[stream, key] = refusal

    async def _keep(self, stream: StreamName, key: bytes | str, content: bytes) -> Refusal | None:
        if stream.department != self._department:
            return Refusal(NOT_YOURS, f"stream {stream} is not of department {self._department}")
        try:
            lane = await self._lanes.ready(stream)
            if isinstance(key, bytes):
                if key not in lane.schemas:
                    if refusal := await self._keeper.keep(NewSchema(stream, key, content, self._agent)):
                        return refusal
                    lane.schemas.add(key)
            elif key not in lane.dictionaries:
                if refusal := await asyncio.to_thread(self._keep_dictionary, stream, key, content):
                    return refusal
                lane.dictionaries.add(key)
        except WireError as error:
            return Refusal.of(error)
        except CollectorError as error:
            return Refusal(UNAVAILABLE, str(error))
        return None

    def _keep_dictionary(self, stream: StreamName, dictionary_id: str, content: bytes) -> Refusal | None:
        if len(content) > limits.MAX_DICTIONARY_BYTES:
            return Refusal(LIMIT, f"dictionary of {len(content)} bytes; at most {limits.MAX_DICTIONARY_BYTES}")
        if str(zstandard.ZstdCompressionDict(content).dict_id()) != dictionary_id:
            return Refusal(MALFORMED, f"dictionary {dictionary_id}: its content has another id")
        if not self._keeper.keep_dictionary(stream, dictionary_id, content, agent=self._agent):
            return Refusal(CHAIN, f"dictionary {dictionary_id} differs from the one that is held")
        return None
