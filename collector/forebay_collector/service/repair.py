"""Repair: asking for it, carrying it out, and what past ones came to. As `verification`: whoever asks only puts it down; the
process that has the platform carries it out, the command line its own at once. Both ends are audited."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from forebay_collector.errors import CollectorError, NotKnown
from forebay_collector.ledger import Ledger, audit, repairs
from forebay_collector.ledger.repairs import RepairRecord, RepairState
from forebay_collector.load.policy import remedy_of_hold
from forebay_collector.platform.contract import Platform, PlatformError
from forebay_collector.policy import remedy_of
from forebay_collector.service.actor import Actor, Permission
from forebay_collector.service.streams import need
from forebay_collector.service.touching import touched
from forebay_collector.verify.repair import Repaired
from forebay_collector.verify.repair import repair as carried_out
from forebay_collector.verify.report import KINDS, shown_keys
from forebay_collector.verify.verify import Patience
from forebay_wire.stream import StreamName

ASKED: Final = "repair"
DONE: Final = "repaired"
NAMED: Final = 1_000
"""keys of each kind that the ledger names; the rest is counted"""

Say = Callable[[str], None]
Found = Callable[[Repaired], None]


def start(
    ledger: Ledger, actor: Actor, streams: Sequence[StreamName], why: str = "", *, dry_run: bool = False
) -> list[int]:
    """Puts a repair of each stream down; -> their ids. Raises NotKnown, NotPermitted, before any is put down."""
    return _put(ledger, actor, streams, why, dry_run=dry_run, taken=False)


def _put(
    ledger: Ledger, actor: Actor, streams: Sequence[StreamName], why: str, *, dry_run: bool, taken: bool
) -> list[int]:
    records = [need(ledger, actor, name, Permission.OPERATE) for name in streams]
    at = ledger.database.clock()
    made = []
    with ledger.database.write() as connection:
        for record in records:
            who = {"asked_by": actor.name, "via": actor.via, "why": why.strip()}
            number = repairs.ask(connection, record.id, **who, dry_run=dry_run, at=at, taken=taken)
            detail = {"via": actor.via, "repair": number, "dry_run": dry_run}
            audit.record(connection, at, actor.name, ASKED, str(record.name), why.strip(), detail)
            made.append(number)
    return made


def runs(
    ledger: Ledger,
    actor: Actor,
    *,
    stream: StreamName | None = None,
    limit: int = 100,
    before: int | None = None,
) -> list[RepairRecord]:
    """Newest first; `before`: only those with a smaller id. Raises NotPermitted."""
    actor.require(Permission.SEE, stream.department if stream else "")
    return ledger.repairs.listing(stream=stream, departments=actor.departments, limit=limit, before=before)


def result(ledger: Ledger, actor: Actor, number: int) -> RepairRecord:
    """Raises NotKnown, also where it is another department's."""
    found = ledger.repairs.get(number)
    if found is None or not actor.sees(found.stream.department):
        raise NotKnown(f"repair {number} is not in the ledger")
    return found


def run(
    ledger: Ledger,
    platform: Platform,
    actor: Actor,
    stream: StreamName,
    *,
    why: str = "",
    dry_run: bool = False,
    patience: Patience = Patience(),  # noqa: B008  frozen
    say: Say = lambda _: None,
    found: Found = lambda _: None,
) -> RepairRecord:
    """Asks for a repair and carries it out at once. `found` gets what was found and done.

    Raises as `start` and `verify.repair.repair`; what it came to is in the ledger then too.
    """
    (number,) = _put(ledger, actor, [stream], why, dry_run=dry_run, taken=True)
    taken = result(ledger, actor, number)
    carry_out(ledger, platform, taken, patience=patience, say=say, found=found)
    return result(ledger, actor, number)


def carry_out(
    ledger: Ledger,
    platform: Platform,
    taken: RepairRecord,
    *,
    patience: Patience = Patience(),  # noqa: B008  frozen
    say: Say = lambda _: None,
    found: Found = lambda _: None,
) -> None:
    """Repairs, and puts down what became of it; then raises what hindered it."""
    try:
        with _touched(ledger, taken.id, say) as telling:
            done = carried_out(
                ledger,
                platform,
                taken.stream,
                taken.id,
                who=taken.asked_by,
                dry_run=taken.dry_run,
                patience=patience,
                say=telling,
            )
    except (CollectorError, PlatformError) as error:
        remedy = remedy_of(error) if isinstance(error, CollectorError) else remedy_of_hold(error.code)
        _end(ledger, taken, RepairState.FAILED, code=error.code, reason=str(error), remedy=remedy)
        raise
    except Exception as error:
        # the kind only: a message may hold a row's value
        _end(ledger, taken, RepairState.FAILED, code=CollectorError.code, reason=type(error).__name__)
        raise
    found(done)
    comparison = done.verified.comparison
    counts = {kind: getattr(comparison, kind).count for kind in KINDS}
    keys = {kind: shown_keys(getattr(comparison, kind).named[:NAMED], done.verified.key) for kind in KINDS}
    state = RepairState.PLANNED if taken.dry_run else RepairState.LEFT_OVER if done.left_over else RepairState.REPAIRED
    told = {"sent": done.sent, "deleted": done.deleted, "left_over": done.left_over}
    _end(ledger, taken, state, keys=keys, **counts, **told)


@contextmanager
def _touched(ledger: Ledger, number: int, say: Say) -> Iterator[Say]:
    with touched(lambda text: ledger.repairs.touch(number, text), say) as telling:
        yield telling


def _end(ledger: Ledger, taken: RepairRecord, state: RepairState, **told: Any) -> None:
    at = ledger.database.clock()
    detail = {"repair": taken.id, "outcome": state.value}
    detail |= {name: value for name, value in told.items() if isinstance(value, int) or name == "code"}
    with ledger.database.write() as connection:
        repairs.end(connection, taken.id, state, at, **told)
        audit.record(connection, at, taken.asked_by, DONE, str(taken.stream), taken.why, detail)
