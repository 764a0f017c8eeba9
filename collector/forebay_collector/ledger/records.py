"""What the ledger returns: frozen rows. Times are microseconds since 1970 UTC, 0 where there is none yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from forebay_wire.digest import GENESIS
from forebay_wire.seal import SealedBatch
from forebay_wire.stream import StreamName


class BatchState(StrEnum):
    """Where a batch stands. DURABLE: archived, waiting for the loader."""

    DURABLE = "durable"
    LOADED = "loaded"
    QUARANTINED = "quarantined"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class AgentRecord:
    name: str
    department: str
    serial: str  # of its current certificate, lower-case hexadecimal
    expires_at: int
    enrolled_at: int
    revoked_at: int
    last_seen_at: int
    version: str
    hostname: str
    instance: str
    health: Mapping[str, Any]
    connected_since: int  # 0: it is not connected
    heartbeat_ms: int  # how often it was asked to tell how it is; 0: it never came in
    two_places_at: int  # when its identity was last seen in two places


@dataclass(frozen=True, slots=True)
class TokenRecord:
    secret_sha256: bytes
    department: str
    agent: str
    created_at: int
    created_by: str
    expires_at: int
    used_at: int


@dataclass(frozen=True, slots=True)
class Hold:
    """Why a stream waits, and at which batch."""

    code: str
    reason: str
    at: int
    epoch: int
    seq: int


@dataclass(frozen=True, slots=True)
class StreamRecord:
    """A stream's marks. Everything up to (epoch, durable_seq) is durable, up to (loaded_epoch, loaded_seq) settled."""

    id: int
    name: StreamName
    agent: str
    epoch: int = 0
    durable_seq: int = 0
    durable_chain: bytes = GENESIS
    loaded_epoch: int = 0
    loaded_seq: int = 0
    hold: Hold | None = None

    @property
    def durable(self) -> tuple[int, int]:
        return self.epoch, self.durable_seq

    @property
    def loaded(self) -> tuple[int, int]:
        return self.loaded_epoch, self.loaded_seq


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """What the ledger knows of a batch; its header is asked for separately (`Batches.header`)."""

    stream_id: int
    stream: StreamName
    agent: str
    epoch: int
    seq: int
    rows: int
    reads: int
    inserts: int
    updates: int
    deletes: int
    bytes: int  # header and payload as archived
    first_position: str
    last_position: str
    first_committed_at: int
    last_committed_at: int
    captured_at: int
    received_at: int
    loaded_at: int
    expired_at: int  # when retention removed it from the archive
    snapshot: int  # 0: not part of a snapshot
    last_of_snapshot: bool
    state: BatchState
    code: str
    reason: str
    attempts: int


@dataclass(frozen=True, slots=True)
class AuditRecord:
    id: int
    at: int
    who: str
    action: str
    subject: str
    why: str
    detail: Mapping[str, Any]
    department: str  # whose matter it is, "" nobody's in particular
    previous: bytes  # the digest of the entry before it
    digest: bytes


@dataclass(frozen=True, slots=True)
class Arrival:
    """A batch that was checked and archived, and the agent that brought it."""

    agent: str
    stream: StreamName
    batch: SealedBatch
