"""One stream, verified: its agent is asked, the platform is awaited, both sides are compared."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from forebay_collector.control.ask import Asking
from forebay_collector.errors import LoadStalled, NotKnown, NotPossible
from forebay_collector.ledger import Ledger, StreamRecord
from forebay_collector.load import group
from forebay_collector.load.group import GroupSize
from forebay_collector.load.policy import remedy_of_hold
from forebay_collector.platform.contract import Platform, PlatformMark
from forebay_collector.verify.compare import Comparison, compare
from forebay_collector.verify.sides import Mirror
from forebay_collector.verify.source import Ask, Source
from forebay_wire.canonical import cells_for
from forebay_wire.part import WHOLE, Part
from forebay_wire.schema import TableSchema
from forebay_wire.seal import parse_header
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2

_LOOK_S: Final = 0.1
_DRAIN: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Patience:
    """takes: for one answer of the agent. load: for the platform to get what was received."""

    takes: timedelta = timedelta(hours=1)
    load: timedelta = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Verified:
    """key: the names of the key's columns. part: that was compared, with the end that was found. mode: of the capture."""

    comparison: Comparison
    key: tuple[str, ...]
    part: Part
    mode: str


def verify(
    ledger: Ledger,
    platform: Platform,
    stream: StreamName,
    *,
    who: str,
    patience: Patience = Patience(),
    most_keys: int = 1_000,
    part: Part = WHOLE,
    rows_per_second: int = 0,
    say: Callable[[str], None] = lambda _: None,
) -> Verified:
    """Compares a stream's table, or a part of it. rows_per_second: that the agent reads at most; 0: as its own file says.

    Raises:
        NotKnown: there is no such stream.
        NotPossible: nothing was received of it yet, or its table has no key.
        AgentUnreachable, CommandFailed: the agent does not answer, or says why not.
        LoadStalled: the platform does not get what the agent sent.
        PlatformError: the platform cannot be read.
    """
    record = need(ledger, stream)
    ask = asking(ledger, record, who, patience)

    def settle() -> None:
        drain(ask, stream)
        await_load(ledger, platform, stream, patience.load)

    settle()
    key = shown_schema(ledger, platform, stream).key
    if not key:
        raise NotPossible(
            f"stream {stream}: its table has no key, so that the platform keeps its history only",
            remedy="Name unique columns with `key = [...]` in the table's entry at the agent, and reset the stream.",
        )
    source = Source(ask, stream, part, rows_per_second)
    found = compare(
        source,
        lambda: mirror_of(ledger, platform, stream, source.part),
        settle,
        cells=cells_for(part.rows or _rows(platform, stream)),
        most_keys=most_keys,
        say=say,
    )
    return Verified(found, key, source.part, mode_of(ledger, stream))


def asking(ledger: Ledger, record: StreamRecord, who: str, patience: Patience) -> Asking:
    """Asks the agent that captures the stream."""

    def last_seen() -> int:
        agent = ledger.agents.get(record.agent)
        return agent.last_seen_at if agent else 0

    return Asking(ledger.commands, record.agent, who, last_seen, takes=patience.takes)


def mirror_of(ledger: Ledger, platform: Platform, stream: StreamName, part: Part = WHOLE) -> Mirror:
    """The platform's side."""
    return Mirror(platform, stream, lambda: shown_schema(ledger, platform, stream), part, ledger.digests)


def mode_of(ledger: Ledger, stream: StreamName) -> str:
    """The mode of the stream's capture, as its agent proposed it last; empty when it is not known."""
    proposal = ledger.approvals.get(stream)
    return proposal.mode if proposal is not None else ""


def _rows(platform: Platform, stream: StreamName) -> int:
    """Of the mirror, about; 0: it is not known."""
    return max(
        (table.rows for table in platform.tables() if table.stream == stream and table.kind == "mirror"), default=0
    )


def drain(ask: Ask, stream: StreamName) -> None:
    """Has the agent capture and send what is committed now; returns when that is durable. Raises what `ask` raises."""
    asked = control_pb2.Drain(timeout_seconds=int(_DRAIN.total_seconds()), stream=stream.to_proto())
    for _ in ask(control_pb2.Command(drain=asked)):
        pass


def await_load(ledger: Ledger, platform: Platform, stream: StreamName, at_most: timedelta) -> None:
    """Returns when all that is durable now is loaded, and shown to readers. Raises LoadStalled, NotKnown, PlatformError."""
    target = need(ledger, stream).durable
    deadline = time.monotonic() + at_most.total_seconds()
    while (record := need(ledger, stream)).loaded < target or not _shows(ledger, platform, stream, target):
        if record.hold is not None:
            raise LoadStalled(
                f"stream {stream} is held at {record.hold.epoch}/{record.hold.seq}: {record.hold.code}: "
                f"{record.hold.reason}",
                remedy=remedy_of_hold(record.hold.code),
            )
        if time.monotonic() > deadline:
            waited = (
                f"stream {stream}: {target[0]}/{target[1]} is durable, but after {at_most.total_seconds():.0f} s only "
            )
            if record.loaded < target:
                raise LoadStalled(
                    f"{waited}{record.loaded_epoch}/{record.loaded_seq} is loaded",
                    remedy="Check that `forebay-collector serve` runs with the role load, and see its log.",
                )
            shown = platform.visible(stream)
            raise LoadStalled(
                f"{waited}{shown.epoch}/{shown.seq} is shown: the rest is loaded, and waits for the end of a snapshot or of "
                "a transaction",
                remedy="Verify again when the table's snapshot is complete; its agent's `status` shows how far it is.",
            )
        time.sleep(_LOOK_S)


def _shows(ledger: Ledger, platform: Platform, stream: StreamName, target: tuple[int, int]) -> bool:
    """Whether readers of the mirror see everything up to `target`, but for batches that were discarded."""
    shown = platform.visible(stream)
    return shown >= PlatformMark(*target) or (
        shown == platform.mark(stream) and not group.lost(ledger, need(ledger, stream), shown, GroupSize())
    )


def shown_schema(ledger: Ledger, platform: Platform, stream: StreamName) -> TableSchema:
    """The schema of the newest batch that readers of the mirror see. Raises NotKnown, NotPossible, PlatformError."""
    shown = platform.visible(stream)
    header = ledger.batches.header(stream, shown.epoch, shown.seq)
    if header is None:
        raise NotPossible(
            f"stream {stream}: the platform shows nothing of it yet", remedy="Wait until its first snapshot is loaded."
        )
    fingerprint = parse_header(header).schema_fingerprint
    content = ledger.schemas.schema(stream, fingerprint)
    if content is None:
        raise NotKnown(f"stream {stream}: the ledger does not hold the schema of batch {shown.epoch}/{shown.seq}")
    return TableSchema.parse(content, fingerprint)


def need(ledger: Ledger, stream: StreamName) -> StreamRecord:
    """Raises NotKnown."""
    record = ledger.streams.get(stream)
    if record is None:
        raise NotKnown(f"stream {stream} is not in the ledger")
    return record
