"""Refusal: why a batch is not taken. It holds up its own stream only; the mark of the stream is unchanged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from forebay_wire.errors import ChainMismatch, DigestMismatch, LimitExceeded, WireError
from forebay_wire.v1 import upload_pb2

GAP: Final = upload_pb2.REFUSAL_CODE_GAP
CHAIN: Final = upload_pb2.REFUSAL_CODE_CHAIN
DIGEST: Final = upload_pb2.REFUSAL_CODE_DIGEST
NOT_YOURS: Final = upload_pb2.REFUSAL_CODE_NOT_YOURS
LIMIT: Final = upload_pb2.REFUSAL_CODE_LIMIT
UNKNOWN_SCHEMA: Final = upload_pb2.REFUSAL_CODE_UNKNOWN_SCHEMA
MALFORMED: Final = upload_pb2.REFUSAL_CODE_MALFORMED
UNAVAILABLE: Final = upload_pb2.REFUSAL_CODE_UNAVAILABLE
EPOCH: Final = upload_pb2.REFUSAL_CODE_EPOCH
NOT_APPROVED: Final = upload_pb2.REFUSAL_CODE_NOT_APPROVED

AUDITED: Final = (CHAIN, DIGEST, NOT_YOURS, LIMIT, MALFORMED, EPOCH, NOT_APPROVED)
"""What an honest agent on a sound line never meets. Gaps and missing schemas are met after a reconnect."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """repeated: it was said before and nothing changed since: neither log nor audit need it again."""

    code: upload_pb2.RefusalCode.ValueType
    reason: str
    repeated: bool = False

    @property
    def name(self) -> str:
        return upload_pb2.RefusalCode.Name(self.code).removeprefix("REFUSAL_CODE_")

    @classmethod
    def of(cls, error: WireError) -> Refusal:
        for kind, code in ((LimitExceeded, LIMIT), (DigestMismatch, DIGEST), (ChainMismatch, CHAIN)):
            if isinstance(error, kind):
                return cls(code, str(error))
        return cls(MALFORMED, str(error))
