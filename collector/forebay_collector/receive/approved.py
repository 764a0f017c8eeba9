"""Approved: whether batches of a stream may come in under a schema: all its columns, with their masks, are approved.

The agent holds to it by itself. Here it is asked again, of every batch, because what leaves the department shall not
depend on the agent's word alone. A verdict is worked out once per stream and schema and kept until something about the
stream is decided anew: `step` hears of that within a second. A canary holds nothing of the department's: it needs none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from forebay_collector.errors import CollectorError
from forebay_collector.ledger import Ledger
from forebay_collector.receive.refusal import NOT_APPROVED, UNKNOWN_SCHEMA, Refusal
from forebay_wire.canary import is_canary, is_canary_stream
from forebay_wire.schema import MASK, TableSchema
from forebay_wire.stream import StreamName

_MOST_REMEMBERED: Final = 1_000
_NAMED: Final = 20
"""Columns that one refusal names."""

Columns = Sequence[tuple[str, str]]
"""(name, mask)"""


@dataclass(slots=True)
class _Verdict:
    """refusal: None when batches may come in. revision: of the stream's decisions. told: it was said once."""

    refusal: Refusal | None
    revision: int
    told: bool = False


class Approved:
    """Used by the event loop; `judge` and `step` by threads."""

    def __init__(self, ledger: Ledger, *, automatic: bool) -> None:
        """automatic: what nobody decided about is approved. Raises LedgerUnavailable, LedgerDamaged."""
        self._ledger = ledger
        self._automatic = automatic
        self._verdicts: dict[tuple[StreamName, bytes], _Verdict] = {}
        self._refused: dict[tuple[StreamName, bytes], Columns] = {}  # of schemas that are not kept
        self._newest = ledger.approvals.revision()
        self._changed: dict[StreamName, int] = {}

    async def refusal(self, stream: StreamName, fingerprint: bytes) -> Refusal | None:
        """Why the batch may not come in; `repeated` when that was said before. Raises the ledger's errors."""
        verdict = self._known(stream, fingerprint)
        if verdict is None:
            verdict = await asyncio.to_thread(self._of_kept, stream, fingerprint)
        if verdict.refusal is None or not verdict.told:
            verdict.told = True
            return verdict.refusal
        return replace(verdict.refusal, repeated=True)

    def judge(self, stream: StreamName, schema: TableSchema) -> Refusal | None:
        """The same of a schema that just came in and is not kept yet. Blocks; raises the ledger's errors."""
        known = self._known(stream, schema.fingerprint)
        verdict = known or self._decide(stream, schema.fingerprint, _columns(schema), canary=is_canary(stream, schema))
        if verdict.refusal is not None:
            self._remember(stream, schema)
        return verdict.refusal

    def step(self) -> None:
        """Hears of what was decided since the last step."""
        try:
            self._newest, changed = self._ledger.approvals.changed(self._newest)
        except CollectorError:
            return  # whoever needs the ledger more says so
        self._changed.update(changed)

    def _remember(self, stream: StreamName, schema: TableSchema) -> None:
        if len(self._refused) >= _MOST_REMEMBERED:
            oldest = next(iter(self._refused))
            self._refused.pop(oldest, None)
            self._verdicts.pop(oldest, None)
        self._refused[stream, schema.fingerprint] = _columns(schema)

    def _known(self, stream: StreamName, fingerprint: bytes) -> _Verdict | None:
        verdict = self._verdicts.get((stream, fingerprint))
        if verdict is None or verdict.revision < self._changed.get(stream, 0):
            return None
        return verdict

    def _of_kept(self, stream: StreamName, fingerprint: bytes) -> _Verdict:
        content = self._ledger.schemas.schema(stream, fingerprint)
        if content is not None:
            schema = TableSchema.parse(content, fingerprint)
            return self._decide(stream, fingerprint, _columns(schema), canary=is_canary(stream, schema))
        columns = self._refused.get((stream, fingerprint))
        if columns is not None:
            return self._decide(stream, fingerprint, columns, canary=False)
        return _Verdict(Refusal(UNKNOWN_SCHEMA, f"schema {fingerprint.hex()} was not sent before the batch"), 0)

    def _decide(self, stream: StreamName, fingerprint: bytes, columns: Columns, *, canary: bool) -> _Verdict:
        if is_canary_stream(stream):
            why = [] if canary else ["it has a canary's name and is none"]
            verdict = _Verdict(_refusal(stream, why), 0)
        else:
            decided = self._ledger.approvals.decided(stream)
            why = decided.lacking(columns, automatic=self._automatic)
            verdict = _Verdict(_refusal(stream, why), decided.revision)
        before = self._verdicts.get((stream, fingerprint))
        if before is not None and before.refusal == verdict.refusal:
            verdict.told = before.told
        self._verdicts[stream, fingerprint] = verdict
        return verdict


def _refusal(stream: StreamName, why: list[str]) -> Refusal | None:
    if not why:
        return None
    more = f"; and {len(why) - _NAMED} more" if len(why) > _NAMED else ""
    return Refusal(NOT_APPROVED, f"{stream}: {'; '.join(why[:_NAMED])}{more}")


def _columns(schema: TableSchema) -> Columns:
    return [(field.name, (field.metadata or {}).get(MASK, b"").decode()) for field in schema.columns]
