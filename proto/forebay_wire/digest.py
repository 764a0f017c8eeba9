"""Digests of the batch chain: SM3 (GB/T 32905) by default, SHA-256 (FIPS 180-4) by choice. Both are 32 bytes."""

from __future__ import annotations

import hashlib
from enum import Enum
from typing import Final

from forebay_wire.errors import Malformed
from forebay_wire.v1 import batch_pb2

SIZE: Final = 32
GENESIS: Final = bytes(SIZE)
"""The previous chain digest of the very first batch of a stream."""


class DigestAlgorithm(Enum):
    """The value is the algorithm's name in hashlib and in configuration files."""

    SM3 = "sm3"
    SHA256 = "sha256"

    def __call__(self, *parts: bytes | memoryview) -> bytes:
        state = hashlib.new(self.value)
        for part in parts:
            state.update(part)
        return state.digest()

    @property
    def proto(self) -> batch_pb2.DigestAlgorithm.ValueType:
        return _TO_PROTO[self]

    @classmethod
    def from_proto(cls, number: int) -> DigestAlgorithm:
        """Raises Malformed when the number names no algorithm."""
        for algorithm, known in _TO_PROTO.items():
            if known == number:
                return algorithm
        raise Malformed(f"digest algorithm {number} is not known")


_TO_PROTO: Final = {
    DigestAlgorithm.SM3: batch_pb2.DIGEST_ALGORITHM_SM3,
    DigestAlgorithm.SHA256: batch_pb2.DIGEST_ALGORITHM_SHA256,
}
