"""Opening: archived bytes into rows. Schemas and dictionaries are read from the ledger once and kept."""

from __future__ import annotations

from functools import lru_cache

import zstandard

from forebay_collector.archive import Archive
from forebay_collector.ledger import Ledger
from forebay_collector.platform.contract import OpenedBatch
from forebay_wire.errors import SchemaMismatch
from forebay_wire.schema import TableSchema
from forebay_wire.seal import open_batch
from forebay_wire.stream import StreamName


class Opener:
    """Opens batches of any stream; used by any thread."""

    def __init__(self, ledger: Ledger, archive: Archive) -> None:
        self._ledger = ledger
        self._archive = archive
        self._schema = lru_cache(maxsize=2_000)(self._read_schema)
        self._dictionary = lru_cache(maxsize=200)(self._read_dictionary)

    def open(self, stream: StreamName, epoch: int, seq: int) -> OpenedBatch:
        """Reads a batch from the archive (which checks its digests) and opens it.

        Raises: ArchiveDamaged, ArchiveMissing, ArchiveUnavailable, LedgerUnavailable, kinds of `forebay_wire.errors`.
        """
        batch = self._archive.read(stream, epoch, seq)
        fields = batch.fields
        schema = self._schema(stream, fields.schema_fingerprint)
        dictionary = self._dictionary(stream, fields.dictionary_id) if fields.dictionary_id else None
        rows = open_batch(batch, schema, dictionary)
        part = fields.snapshot_part
        return OpenedBatch(epoch, seq, schema, rows, part.snapshot, part.last)

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
