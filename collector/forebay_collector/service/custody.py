"""Custody, as people ask for it: whether every batch is what its agent sealed, and where a row comes from."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from forebay_collector.archive import Archive
from forebay_collector.custody.finding import Finding
from forebay_collector.custody.trace import MOST, At, Trace
from forebay_collector.custody.trace import trace as trace_row
from forebay_collector.custody.verify import Progress, Verdict
from forebay_collector.custody.verify import verify as verify_all
from forebay_collector.errors import NotKnown
from forebay_collector.ledger import Ledger
from forebay_collector.platform.contract import Platform
from forebay_collector.service.actor import Actor, Permission
from forebay_collector.service.streams import need
from forebay_wire.stream import StreamName


def verify(
    ledger: Ledger,
    archive: Archive,
    platform: Platform,
    actor: Actor,
    stream: StreamName | None = None,
    *,
    since: int = 0,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda _: None,
    tell: Callable[[Finding], None] = lambda _: None,
) -> Verdict:
    """Goes over one stream, or all that the actor sees. It changes nothing and is no entry of the audit.

    Raises NotPermitted, NotKnown; as `custody.verify.verify`.
    """
    actor.require(Permission.AUDIT)
    streams = [one for one in ledger.streams.listing() if actor.sees(one.name.department)]
    if stream is not None:
        streams = [one for one in streams if one.name == stream]
        if not streams:
            raise NotKnown(f"stream {stream} is not in the ledger")
    return verify_all(ledger, archive, platform, streams, since=since, progress=progress, say=say, tell=tell)


def trace(
    ledger: Ledger,
    archive: Archive,
    platform: Platform,
    actor: Actor,
    stream: StreamName,
    where: Mapping[str, str],
    place: At | None = None,
    *,
    most: int = MOST,
) -> Trace:
    """Where a row comes from. Raises NotPermitted, NotKnown; as `custody.trace.trace`."""
    need(ledger, actor, stream)
    return trace_row(ledger, archive, platform, stream, where, place, most=most)
