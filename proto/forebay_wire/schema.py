"""How a table is described, once: an Arrow schema whose metadata says what the loader must know.

Schema metadata: `forebay.key` (JSON list of key column names, in order; empty list: the table has no key, so that only
its history is kept). Field metadata: `forebay.origin` (the column's type as the source's database names it),
`forebay.carried` (`exact`, or `text` where Arrow or Iceberg cannot hold the type exactly), `forebay.mask` (the mask's
kind, when masked). The fingerprint is SM3 over the serialised schema: any of these changing makes another schema.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from forebay_wire import limits
from forebay_wire.columns import CHANGE_FIELDS, CHANGE_NAMES
from forebay_wire.errors import DigestMismatch, LimitExceeded, Malformed

KEY: Final = b"forebay.key"
ORIGIN: Final = b"forebay.origin"
CARRIED: Final = b"forebay.carried"
MASK: Final = b"forebay.mask"


@dataclass(frozen=True, slots=True)
class TableSchema:
    """A described table: `arrow` holds the table's columns and then `columns.CHANGE_FIELDS`."""

    arrow: pa.Schema
    key: tuple[str, ...]
    serialized: bytes
    fingerprint: bytes

    @property
    def columns(self) -> list[pa.Field]:
        """The table's own columns."""
        return [field for field in self.arrow if field.name not in CHANGE_NAMES]

    @classmethod
    def of(cls, columns: Sequence[pa.Field], key: Sequence[str]) -> TableSchema:
        """Describes a table from its own columns (after the transform) and its key.

        Raises:
            Malformed: a key column is not among the columns, or a name is used twice or is one of Forebay's own.
            LimitExceeded: too many columns, or a name too long.
        """
        schema = pa.schema(
            [*columns, *CHANGE_FIELDS], metadata={KEY: json.dumps(list(key), ensure_ascii=False).encode()}
        )
        serialized = schema.serialize().to_pybytes()
        return cls.parse(serialized, hashlib.new("sm3", serialized).digest())

    @classmethod
    def parse(cls, serialized: bytes, fingerprint: bytes) -> TableSchema:
        """Reads a schema that came over the wire or out of a store.

        Raises:
            LimitExceeded, Malformed: as `of`.
            DigestMismatch: the fingerprint is not that of the bytes.
        """
        if len(serialized) > limits.MAX_SCHEMA_BYTES:
            raise LimitExceeded(f"schema of {len(serialized)} bytes; at most {limits.MAX_SCHEMA_BYTES}")
        if hashlib.new("sm3", serialized).digest() != fingerprint:
            raise DigestMismatch("schema bytes do not match their fingerprint")
        try:
            arrow = pa.ipc.read_schema(pa.py_buffer(serialized))
            key = json.loads((arrow.metadata or {})[KEY])
        except (pa.ArrowException, KeyError, ValueError, OSError) as error:
            raise Malformed(f"schema cannot be read: {error}") from error
        if not isinstance(key, list) or not all(isinstance(name, str) for name in key):
            raise Malformed("schema: forebay.key is not a list of names")
        _check_names(arrow, key)
        return cls(arrow, tuple(key), serialized, fingerprint)


def _check_names(arrow: pa.Schema, key: list[str]) -> None:
    if len(arrow) > limits.MAX_COLUMNS:
        raise LimitExceeded(f"{len(arrow)} columns; at most {limits.MAX_COLUMNS}")
    names = arrow.names
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise Malformed(f"column names used twice: {', '.join(twice)}")
    for name in names:
        if len(name.encode()) > limits.MAX_NAME_BYTES:
            raise LimitExceeded(f"column name of more than {limits.MAX_NAME_BYTES} bytes: {name[:40]!r}…")
    missing = [name for name in key if name not in names]
    if missing:
        raise Malformed(f"key columns are not among the columns: {', '.join(missing)}")
    if [arrow.field(position) for position in range(len(arrow) - len(CHANGE_FIELDS), len(arrow))] != list(
        CHANGE_FIELDS
    ):
        raise Malformed(f"schema does not end in {', '.join(CHANGE_NAMES)}")


def column(name: str, type_: pa.DataType, origin: str, *, carried: str = "exact", mask: str = "") -> pa.Field:
    """A table column with its origin. Every column is nullable: a change may carry it as absent."""
    metadata = {ORIGIN: origin.encode(), CARRIED: carried.encode()}
    if mask:
        metadata[MASK] = mask.encode()
    return pa.field(name, type_, nullable=True, metadata=metadata)
