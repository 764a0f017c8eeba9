"""Verification: asking for a comparison of source and platform, carrying it out, and what past ones found.

Whoever asks only puts it down in the ledger (`start`); a `Verifier` (`verifier.py`), in the process that has the platform, carries it out.
The command line carries out its own at once (`run`). Both ends are audited: who asked and why, and what was found.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from forebay_collector.errors import CollectorError, NotKnown
from forebay_collector.ledger import Ledger, audit, verifications
from forebay_collector.ledger.coverage import CoverageRecord
from forebay_collector.ledger.verifications import VerificationRecord, VerificationState
from forebay_collector.load.policy import remedy_of_hold
from forebay_collector.platform.contract import Platform, PlatformError
from forebay_collector.policy import remedy_of
from forebay_collector.service.actor import Actor, Permission
from forebay_collector.service.streams import need
from forebay_collector.service.touching import touched
from forebay_collector.verify.report import to_json
from forebay_collector.verify.verify import Patience, Verified, verify
from forebay_wire.stream import StreamName

ASKED: Final = "verify"
FOUND: Final = "verified"

Say = Callable[[str], None]
Found = Callable[[Verified], None]


def start(ledger: Ledger, actor: Actor, streams: Sequence[StreamName], why: str = "") -> list[int]:
    """Puts a verification of each stream down; -> their ids. Raises NotKnown, NotPermitted, before any is put down."""
    return _put(ledger, actor, streams, why, taken=False)


def _put(ledger: Ledger, actor: Actor, streams: Sequence[StreamName], why: str, *, taken: bool) -> list[int]:
    records = [need(ledger, actor, name, Permission.OPERATE) for name in streams]
    at = ledger.database.clock()
    made = []
    with ledger.database.write() as connection:
        for record in records:
            who = {"asked_by": actor.name, "via": actor.via, "why": why.strip()}
            number = verifications.ask(connection, record.id, **who, at=at, taken=taken)
            detail = {"via": actor.via, "verification": number}
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
) -> list[VerificationRecord]:
    """Newest first; `before`: only those with a smaller id. Raises NotPermitted."""
    actor.require(Permission.SEE, stream.department if stream else "")
    return ledger.verifications.listing(stream=stream, departments=actor.departments, limit=limit, before=before)


def coverage(ledger: Ledger, actor: Actor) -> list[CoverageRecord]:
    """How far the verification in the background is with each stream, by name. Raises NotPermitted."""
    actor.require(Permission.SEE)
    return ledger.coverage.listing(actor.departments)


def result(ledger: Ledger, actor: Actor, number: int) -> VerificationRecord:
    """Raises NotKnown, also where it is another department's."""
    found = ledger.verifications.get(number)
    if found is None or not actor.sees(found.stream.department):
        raise NotKnown(f"verification {number} is not in the ledger")
    return found


def run(
    ledger: Ledger,
    platform: Platform,
    actor: Actor,
    stream: StreamName,
    *,
    why: str = "",
    patience: Patience = Patience(),  # noqa: B008  frozen
    most_keys: int = 1_000,
    say: Say = lambda _: None,
    found: Found = lambda _: None,
) -> VerificationRecord:
    """Asks for a verification and carries it out at once. `found` gets the comparison itself.

    Raises as `start` and `verify.verify.verify`; what it came to is in the ledger then too.
    """
    (number,) = _put(ledger, actor, [stream], why, taken=True)
    taken = result(ledger, actor, number)
    carry_out(ledger, platform, taken, patience=patience, most_keys=most_keys, say=say, found=found)
    return result(ledger, actor, number)


def carry_out(
    ledger: Ledger,
    platform: Platform,
    taken: VerificationRecord,
    *,
    patience: Patience = Patience(),  # noqa: B008  frozen
    most_keys: int = 1_000,
    say: Say = lambda _: None,
    found: Found = lambda _: None,
) -> None:
    """Compares, and puts down what was found, or why nothing was; then raises what hindered it."""
    began = time.monotonic()
    try:
        with touched(lambda text: ledger.verifications.touch(taken.id, text), say) as telling:
            verified = verify(
                ledger,
                platform,
                taken.stream,
                who=taken.asked_by,
                patience=patience,
                most_keys=most_keys,
                say=telling,
            )
    except (CollectorError, PlatformError) as error:
        remedy = remedy_of(error) if isinstance(error, CollectorError) else remedy_of_hold(error.code)
        _end(ledger, taken, VerificationState.FAILED, code=error.code, reason=str(error), remedy=remedy)
        raise
    except BaseException as error:
        # the text of an unknown error may hold a row's value
        reason = type(error).__name__
        _end(ledger, taken, VerificationState.FAILED, code=CollectorError.code, reason=reason)
        raise
    found(verified)
    state = VerificationState.EQUAL if verified.comparison.equal else VerificationState.DIFFERENT
    _end(ledger, taken, state, found=to_json(taken.stream, verified, time.monotonic() - began))


def _end(
    ledger: Ledger,
    taken: VerificationRecord,
    state: VerificationState,
    *,
    found: Mapping[str, Any] | None = None,
    code: str = "",
    reason: str = "",
    remedy: str = "",
) -> None:
    at = ledger.database.clock()
    detail: dict[str, Any] = {"verification": taken.id, "outcome": state.value}
    if found:
        detail |= found["counts"]
    if code:
        detail["code"] = code
    with ledger.database.write() as connection:
        verifications.end(connection, taken.id, state, at, result=found, code=code, reason=reason, remedy=remedy)
        audit.record(connection, at, taken.asked_by, FOUND, str(taken.stream), taken.why, detail)
