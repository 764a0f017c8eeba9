"""One stream, verified: its agent is asked, the platform is awaited, both sides are compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from forebay_collector.control.ask import Asking
from forebay_collector.errors import NotPossible
from forebay_collector.ledger import Ledger, StreamRecord
from forebay_collector.platform.contract import Platform
from forebay_collector.verify.away import Away
from forebay_collector.verify.compare import Comparison, compare
from forebay_collector.verify.flow import Following, need, shown_schema
from forebay_collector.verify.sides import Mirror
from forebay_collector.verify.source import Source
from forebay_wire.canonical import cells_for
from forebay_wire.part import WHOLE, Part
from forebay_wire.stream import StreamName


@dataclass(frozen=True, slots=True)
class Patience:
    """takes: for one answer of the agent. load: for the platform to get what was received. away: for an agent that cannot be
    reached."""

    takes: timedelta = timedelta(hours=1)
    load: timedelta = timedelta(minutes=10)
    away: timedelta = timedelta(seconds=30)


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

    away = Away(patience.away, say)
    flow = Following(ledger, platform, stream, ask, patience.load, away)
    flow.settle()
    key = shown_schema(ledger, platform, stream).key
    if not key:
        raise NotPossible(
            f"stream {stream}: its table has no key, so that the platform keeps its history only",
            remedy="Name unique columns with `key = [...]` in the table's entry at the agent, and reset the stream.",
        )
    source = Source(ask, stream, part, rows_per_second, away)
    found = compare(
        source,
        lambda: mirror_of(ledger, platform, stream, source.part),
        flow,
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
