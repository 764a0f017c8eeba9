"""What can be wrong with a batch. Each class docstring is the operator's sentence; `code` is stable."""

from __future__ import annotations

from typing import ClassVar


class WireError(Exception):
    """The batch cannot be used."""

    code: ClassVar[str] = "FB-WIRE"


class Malformed(WireError):
    """The bytes are not what the contract lays down."""

    code = "FB-WIRE-MALFORMED"


class LimitExceeded(WireError):
    """A limit of the wire contract is exceeded."""

    code = "FB-WIRE-LIMIT"


class DigestMismatch(WireError):
    """A digest does not match the bytes: they were altered or damaged."""

    code = "FB-WIRE-DIGEST"


class ChainMismatch(WireError):
    """The batch does not follow the one before it: one is missing, altered or out of order."""

    code = "FB-WIRE-CHAIN"


class SchemaMismatch(WireError):
    """The payload does not fit the schema that its header names."""

    code = "FB-WIRE-SCHEMA"
