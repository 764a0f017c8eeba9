"""What a person decides about a held stream: load the batch again (replay), or give it up (discard).

Both need a reason, are audited with who and why in the transaction of the deed, and are taken up by the loader by
itself. A discarded batch stays in the archive and in the ledger as `discarded`, with the reason why it was refused; the
loaded mark moves past it, and the history table has no row with its `_seq`: that is the gap, stated in both places.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forebay_collector.errors import NotKnown, NotPossible
from forebay_collector.ledger import BatchRecord, Ledger
from forebay_wire.stream import StreamName


def replay(
    ledger: Ledger,
    stream: StreamName,
    seq: int | None,
    *,
    who: str,
    why: str,
    detail: Mapping[str, Any] | None = None,
) -> BatchRecord:
    """Releases the held batch for the loader. `seq`: refuse unless it is this one that is held.

    Raises NotKnown, NotPossible (nothing is held, or another batch is, or no reason is given).
    """
    _check(ledger, stream, seq, why)
    return ledger.quarantine.release(stream, who=who, why=why.strip(), detail=detail)


def discard(
    ledger: Ledger,
    stream: StreamName,
    seq: int | None,
    *,
    who: str,
    why: str,
    detail: Mapping[str, Any] | None = None,
) -> BatchRecord:
    """Gives the held batch up; its stream goes on behind it. Raises as `replay`."""
    _check(ledger, stream, seq, why)
    return ledger.quarantine.discard(stream, who=who, why=why.strip(), detail=detail)


def _check(ledger: Ledger, name: StreamName, seq: int | None, why: str) -> None:
    if not why.strip():
        raise NotPossible("a reason is needed: it is kept for ever beside the deed", remedy="Give --reason WHY.")
    stream = ledger.streams.get(name)
    if stream is None:
        raise NotKnown(f"stream {name} is not in the ledger")
    if stream.hold is None:
        raise NotPossible(f"stream {name} is not held: there is nothing to replay or to discard")
    if seq is not None and seq != stream.hold.seq:
        raise NotPossible(
            f"stream {name} is held by batch {stream.hold.epoch}/{stream.hold.seq}, not by seq {seq}",
            remedy=f"Name the batch that is held: --seq {stream.hold.seq}.",
        )
