"""Reception: what all connections share."""

from __future__ import annotations

from dataclasses import dataclass

from forebay_collector.ledger import Ledger
from forebay_collector.receive.approved import Approved
from forebay_collector.receive.check import DigestChecks
from forebay_collector.receive.commit import Committer
from forebay_collector.receive.keeping import SchemaKeeper
from forebay_collector.receive.lanes import Lanes
from forebay_collector.receive.loaded import LoadedMarks
from forebay_collector.receive.room import Room


@dataclass(frozen=True, slots=True)
class Reception:
    """Made once by `upload.py`. window: payload bytes that one agent may have unacknowledged."""

    ledger: Ledger
    lanes: Lanes
    checks: DigestChecks
    committer: Committer
    loaded: LoadedMarks
    approved: Approved
    keeper: SchemaKeeper
    room: Room
    window: int
