"""Opening: archived bytes into rows. Schemas and dictionaries are read from the ledger once and kept."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import pyarrow as pa
import zstandard

from forebay_collector.archive import Archive
from forebay_collector.errors import ArchiveDamaged
from forebay_collector.ledger import Ledger
from forebay_collector.platform.contract import RANGE_REFUSED, OpenedBatch
from forebay_wire.errors import SchemaMismatch
from forebay_wire.key_range import KeyRange
from forebay_wire.schema import TableSchema
from forebay_wire.seal import open_batch
from forebay_wire.stream import StreamName
from forebay_wire.v1 import batch_pb2


def opened(fields: batch_pb2.BatchHeader, schema: TableSchema, rows: pa.RecordBatch) -> OpenedBatch:
    """The rows, with what the header says that the platform must know. Raises as `KeyRange.from_proto`."""
    part = fields.snapshot_part
    return OpenedBatch(
        fields.epoch,
        fields.seq,
        schema,
        rows,
        part.snapshot,
        part.last,
        part.first_seq,
        KeyRange.from_proto(part.range) if part.HasField("range") else None,
        fields.ends_transaction,
    )


def shell_of(fields: batch_pb2.BatchHeader, schema: TableSchema, refused: str) -> OpenedBatch:
    """A discarded batch without its rows, in the schema of the batch that follows it. `refused`: the code of what it was
    refused for; a range that the platform refused was never begun, and so does not end."""
    made = opened(fields, schema, pa.RecordBatch.from_pylist([], schema.arrow))
    return replace(made, snapshot=0, last_of_snapshot=False, key_range=None) if refused == RANGE_REFUSED else made


class Opener:
    """Opens batches of any stream; used by any thread."""

    def __init__(self, ledger: Ledger, archive: Archive) -> None:
        self._ledger = ledger
        self._archive = archive
        self._schema = lru_cache(maxsize=2_000)(self._read_schema)
        self._dictionary = lru_cache(maxsize=200)(self._read_dictionary)

    def open(self, stream: StreamName, epoch: int, seq: int, header: bytes | None = None) -> OpenedBatch:
        """Reads a batch from the archive (which checks its digests) and opens it. header: as the ledger recorded it: a
        batch with another one is not what was received.

        Raises: ArchiveDamaged, ArchiveMissing, ArchiveUnavailable, LedgerUnavailable, kinds of `forebay_wire.errors`.
        """
        batch = self._archive.read(stream, epoch, seq)
        if header is not None and batch.header != header:
            raise ArchiveDamaged(f"archive: {stream} {epoch}/{seq} is another batch than the one that was received")
        fields = batch.fields
        schema = self._schema(stream, fields.schema_fingerprint)
        dictionary = self._dictionary(stream, fields.dictionary_id) if fields.dictionary_id else None
        rows = open_batch(batch, schema, dictionary)
        return opened(fields, schema, rows)

    def _read_schema(self, stream: StreamName, fingerprint: bytes) -> TableSchema:
        content = self._ledger.schemas.schema(stream, fingerprint)
        if content is None:
            raise SchemaMismatch(f"{stream}: the ledger does not hold the schema {fingerprint.hex()[:16]}…")
        return TableSchema.parse(content, fingerprint)

    def _read_dictionary(self, stream: StreamName, dictionary_id: str) -> zstandard.ZstdCompressionDict:
        content = self._ledger.schemas.dictionary(stream, dictionary_id)
        if content is None:
            raise SchemaMismatch(f"{stream}: the ledger does not hold the dictionary {dictionary_id}")
        return zstandard.ZstdCompressionDict(content)
