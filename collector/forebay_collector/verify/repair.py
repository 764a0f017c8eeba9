"""Repair of one stream: what differs is read anew at the source and sent again, through the same chain of sealed batches.

So the log of the stream stays right: whoever replays its archive comes to the same platform. Rows that the source has are
sent as they are, keys that it does not have as deletes; the position of both names the repair.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from forebay_collector.errors import NotPossible
from forebay_collector.ledger import Ledger
from forebay_collector.platform.contract import Platform
from forebay_collector.verify import compare
from forebay_collector.verify.away import Away
from forebay_collector.verify.flow import Following, need
from forebay_collector.verify.source import Ask, Source
from forebay_collector.verify.verify import Patience, Verified, asking, mirror_of, verify
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2

MOST_KEYS: Final = 100_000
"""keys that one repair takes; of more, the table is better taken anew"""

KEYS_AT_ONCE: Final = 5_000
"""keys of one command"""


@dataclass(frozen=True, slots=True)
class Repaired:
    """sent, deleted: rows that the agent sent. left_over: keys that differ after it."""

    verified: Verified
    sent: int = 0
    deleted: int = 0
    left_over: int = 0


def repair(
    ledger: Ledger,
    platform: Platform,
    stream: StreamName,
    number: int,
    *,
    who: str,
    dry_run: bool,
    patience: Patience = Patience(),  # noqa: B008  frozen
    say: Callable[[str], None] = lambda _: None,
) -> Repaired:
    """Compares, repairs what differs, and looks at it again. number: of the repair. Raises as `verify`; NotPossible when too
    much differs."""
    verified = verify(ledger, platform, stream, who=who, patience=patience, most_keys=MOST_KEYS, say=say)
    found = verified.comparison
    if not found.complete:
        raise NotPossible(
            f"stream {stream}: {found.differing:,} keys differ, more than one repair takes ({MOST_KEYS:,})",
            remedy="Take the table anew: `forebay-collector command snapshot STREAM`.",
        )
    if dry_run or found.equal:
        return Repaired(verified)
    ask, away = asking(ledger, need(ledger, stream), who, patience), Away(patience.away, say)
    sent = deleted = 0
    keys = sorted(found.named)
    for start in range(0, len(keys), KEYS_AT_ONCE):
        say(f"reading keys anew: {start} of {len(keys)}")
        some = keys[start : start + KEYS_AT_ONCE]
        wanted = control_pb2.RepairKeys(stream=stream.to_proto(), keys=some, cause=str(number))
        answers = away.asked(partial(_answers, ask, control_pb2.Command(repair_keys=wanted)))
        sent += sum(answer.rows for answer in answers)
        deleted += sum(answer.deleted for answer in answers)
    say("comparing what was repaired")
    flow = Following(ledger, platform, stream, ask, patience.load, away)
    flow.settle()
    left = compare.still_differing(Source(ask, stream, away=away), mirror_of(ledger, platform, stream), flow, keys)
    return Repaired(verified, sent, deleted, left)


def _answers(ask: Ask, command: control_pb2.Command) -> list[control_pb2.CommandResult]:
    return list(ask(command))
