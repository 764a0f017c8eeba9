"""Verification in the background: every table is covered again and again, at a budget, and nobody has to ask.

A round covers a table part by part, in the order of the first key column where that is a number, a date or a time; else the
whole table is one part. Each part is compared as a whole table is (`verify/compare.py`), so that rows in flight are no
differences. What differs is put down as a verification by `BACKGROUND` at once; a round in which nothing did, at its end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pyarrow as pa

from forebay_collector.errors import CollectorError, LedgerUnavailable
from forebay_collector.ledger import Ledger, audit, verifications
from forebay_collector.ledger.coverage import CoverageRecord
from forebay_collector.ledger.verifications import VerificationState
from forebay_collector.platform.contract import Platform, PlatformError
from forebay_collector.service.verification import FOUND
from forebay_collector.settings import VerifySettings
from forebay_collector.verify.flow import shown_schema
from forebay_collector.verify.report import to_json
from forebay_collector.verify.verify import Patience, Verified, verify
from forebay_wire.canary import is_canary_stream
from forebay_wire.part import WHOLE, Part

BACKGROUND: Final = "background"
"""who asked"""

FIRST_AFTER: Final = timedelta(hours=1)
"""a new stream's first round: its first snapshot is not compared while it is under way"""

AGAIN_AFTER: Final = timedelta(minutes=10)
"""after a part that could not be compared"""

PART_SECONDS: Final = 30
MOST_ROWS: Final = 200_000
_MODULUS: Final = 1 << 128
_log = logging.getLogger("forebay.verification")


class Background:
    """`step` is called by one thread."""

    def __init__(self, ledger: Ledger, open_platform: Callable[[], Platform], settings: VerifySettings) -> None:
        self._ledger = ledger
        self._open_platform = open_platform
        self._settings = settings

    def step(self) -> bool:
        """Compares the next part that is due; whether there was one. Raises LedgerUnavailable, LedgerDamaged."""
        if not self._settings.rows_per_second:
            return False
        self._ledger.coverage.begin(FIRST_AFTER)
        row = next((row for row in self._ledger.coverage.due() if not is_canary_stream(row.stream)), None)
        if row is None:
            return False
        now = self._ledger.database.clock()
        row = replace(row, began_at=row.began_at or now, looked_at=now, code="", reason="")
        try:
            verified = self._compare(row)
        except LedgerUnavailable:
            raise
        except (CollectorError, PlatformError) as error:
            _log.info("verification in the background waits stream=%s code=%s", row.stream, error.code)
            self._later(row, now, error.code, str(error))
            return True
        except Exception as error:
            # the kind only: a message may hold a row's value
            _log.exception("verification in the background failed stream=%s", row.stream)
            self._later(row, now, CollectorError.code, type(error).__name__)
            return True
        self._ledger.coverage.put(self._after(row, verified))
        return True

    def _later(self, row: CoverageRecord, now: int, code: str, reason: str) -> None:
        self._ledger.coverage.put(replace(row, code=code, reason=reason, next_at=now + _us(AGAIN_AFTER)))

    def _compare(self, row: CoverageRecord) -> Verified:
        platform = self._open_platform()
        kind = _first_key(shown_schema(self._ledger, platform, row.stream))
        part = WHOLE
        if kind is not None and _in_parts(kind):
            rows = min(MOST_ROWS, self._settings.rows_per_second * PART_SECONDS)
            part = Part(after=row.part_after or None, rows=rows)
        return verify(
            self._ledger,
            platform,
            row.stream,
            who=BACKGROUND,
            patience=Patience(),
            part=part,
            rows_per_second=self._settings.rows_per_second,
        )

    def _after(self, row: CoverageRecord, verified: Verified) -> CoverageRecord:
        """The round after this part, and what it makes known."""
        found, now = verified.comparison, self._ledger.database.clock()
        row = replace(
            row,
            source_rows=row.source_rows + found.source.rows,
            source_digest=_added(row.source_digest, found.source.digest),
            platform_rows=row.platform_rows + found.platform.rows,
            platform_digest=_added(row.platform_digest, found.platform.digest),
            missing=row.missing + found.missing.count,
            extra=row.extra + found.extra.count,
            different=row.different + found.different.count,
            in_flight=row.in_flight + found.in_flight,
        )
        whole = verified.part.through is None
        if not found.equal or (whole and not row.differing):
            self._tell(row, verified, now)
        if not whole:
            return replace(row, part_after=verified.part.through or "", next_at=now)
        due = max(now, row.began_at + _us(self._settings.cover))
        return CoverageRecord(row.stream_id, row.stream, round=row.round + 1, covered_at=now, next_at=due)

    def _tell(self, row: CoverageRecord, verified: Verified, now: int) -> None:
        result: dict[str, Any] = to_json(row.stream, verified, (now - row.began_at) / 1_000_000)
        if verified.comparison.equal:  # of the whole round
            result["source"] = {"rows": row.source_rows, "digest": row.source_digest}
            result["platform"] = {"rows": row.platform_rows, "digest": row.platform_digest}
            result["in_flight"] = row.in_flight
        state = VerificationState.EQUAL if result["equal"] else VerificationState.DIFFERENT
        with self._ledger.database.write() as connection:
            number = verifications.ask(
                connection, row.stream_id, asked_by=BACKGROUND, via=BACKGROUND, why="", at=row.began_at, taken=True
            )
            verifications.end(connection, number, state, now, result=result)
            detail = {"verification": number, "outcome": state.value, **result["counts"]}
            audit.record(connection, now, BACKGROUND, FOUND, str(row.stream), detail=detail)


def _first_key(schema: Any) -> pa.DataType | None:
    return schema.arrow.field(schema.key[0]).type if schema.key else None


def _in_parts(kind: pa.DataType) -> bool:
    """Whether keys of this type are in the same order everywhere."""
    of = pa.types
    return bool(of.is_integer(kind) or of.is_decimal(kind) or of.is_date32(kind) or of.is_timestamp(kind))


def _added(digest: str, more: bytes) -> str:
    total = (int(digest or "0", 16) + int.from_bytes(more, "big")) % _MODULUS
    return total.to_bytes(16, "big").hex()


def _us(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)
