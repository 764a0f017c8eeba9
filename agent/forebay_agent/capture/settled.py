"""Settled: up to which value a growing column can be read so that nothing arrives below it later.

Reading "everything above the last value" loses rows: a transaction draws its timestamp or sequence number, others draw
higher ones and commit, the reader moves past them, and then the first commits below the reader's mark.

An observation is (highest, open): first the column's greatest committed value `highest` is read, then `open`, the ids
of the transactions that are open at that later moment and might have drawn a value (`source.Horizon`).

Assumptions
    A. A row's value is drawn while the transaction that commits the row is open.
    B. Values are drawn in ascending order: what is drawn later is not lower. (It may be equal, unless the column is
       declared unique; equal values are read again by the next window, see `cursor.py`.)
    C. An id is never used again, and a transaction whose id is no longer listed is visible to reads that begin later.

Claim: when every id of `open` has been missing from some later observation (at once, when `open` is empty), every
row with a value below `highest` that will ever be committed is visible to reads that begin from then on: `highest` is
settled.

Proof. Let a row with value v < highest be committed by transaction T. `highest` was visible, thus drawn, before it was
read; by B, v < highest was drawn no later than that, and by A, T had then begun.
    - T ended before `open` was read: its row is visible to every read that begins after it.
    - T was still open when `open` was read: its id is in `open`. The claim's premise says that T was missing from a later
      observation, so T had ended, and by C its row is visible to reads that begin from then on.
There is no third case: T had begun before `highest` was read, and `open` was read after it.

Progress. Exactly one observation is pending at a time, and the ids it waits for are only ever taken away; new
transactions do not join it. So constant overlapping load delays a bound by the longest transaction of its own time,
never for ever. When it settles, the newest observation becomes the pending one.

Through now. Whoever must know that everything committed by a moment is below the bound waits, from an observation made
after that moment on, until nothing is pending or two more observations have settled: the first of them may have been
made before that moment, the second was made after it, and its `highest` is not lower than anything visible then.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pending:
    """An observation, and the ids of its transactions that were open in every observation since."""

    highest: str | None
    waits_for: frozenset[str]


@dataclass(frozen=True, slots=True)
class Settled:
    """A state; `observed` gives the next one. known: whether there is a bound yet. bound: the settled value, None when the
    table was empty then. settlings: how many pending observations have settled."""

    known: bool = False
    bound: str | None = None
    pending: Pending | None = None
    settlings: int = 0

    def observed(self, highest: str | None, open_ids: frozenset[str]) -> Settled:
        if highest is None or not open_ids:  # nothing is below "no value"
            return Settled(True, highest, None, self.settlings)
        fresh = Pending(highest, open_ids)
        if self.pending is None:
            return Settled(self.known, self.bound, fresh, self.settlings)
        still = self.pending.waits_for & open_ids
        if still:
            return Settled(self.known, self.bound, Pending(self.pending.highest, still), self.settlings)
        return Settled(True, self.pending.highest, fresh, self.settlings + 1)
