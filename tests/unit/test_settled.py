"""The commit-safe bound, against a simple model of a database with random transactions."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from forebay_agent.capture.settled import Settled


def test_nothing_open_settles_at_once() -> None:
    state = Settled().observed("7", frozenset())
    assert (state.known, state.bound) == (True, "7")


def test_an_empty_table_is_settled_whatever_is_open() -> None:
    state = Settled().observed(None, frozenset({"a"}))
    assert (state.known, state.bound) == (True, None)


def test_a_bound_waits_for_all_that_was_open_and_for_nothing_that_began_later() -> None:
    state = Settled().observed("7", frozenset({"a", "b"}))
    assert not state.known
    state = state.observed("9", frozenset({"b", "c"}))
    assert not state.known
    state = state.observed("12", frozenset({"c", "d"}))
    assert state.bound == "7"
    assert state.pending is not None
    assert state.pending.highest == "12"
    state = state.observed("15", frozenset({"e"}))
    assert state.bound == "12"


def test_a_bound_stands_while_a_newer_one_waits() -> None:
    state = Settled().observed("7", frozenset()).observed("9", frozenset({"a"})).observed("11", frozenset({"a"}))
    assert state.bound == "7"


@dataclass
class Model:
    """Transactions draw ascending values while they are open, and commit or roll back in any order."""

    drawn: int = 0
    begun: int = 0
    open: dict[str, list[int]] = field(default_factory=dict)
    committed: set[int] = field(default_factory=set)

    def act(self, dice: random.Random) -> None:
        what = dice.random()
        if what < 0.35 or not self.open:
            self.begun += 1
            self.open[f"t{self.begun}"] = []
        elif what < 0.75:
            self.drawn += 1
            self.open[dice.choice(list(self.open))].append(self.drawn)
        else:
            values = self.open.pop(dice.choice(list(self.open)))
            if dice.random() < 0.9:
                self.committed.update(values)


@pytest.mark.parametrize("seed", range(40))
def test_no_row_is_ever_committed_at_or_below_a_settled_bound(seed: int) -> None:
    dice, model, state = random.Random(seed), Model(), Settled()
    bounds = []
    plain_loses = 0
    for _ in range(600):
        model.act(dice)
        seen_at_bound = {n for n in model.committed if state.bound is not None and n <= int(state.bound)}
        if state.bound is not None:
            bounds.append((int(state.bound), frozenset(seen_at_bound)))
        if dice.random() < 0.3:
            highest = str(max(model.committed)) if model.committed else None
            for _ in range(dice.randrange(3)):  # others go on between the two readings
                model.act(dice)
            if highest is not None and any(n < int(highest) for values in model.open.values() for n in values):
                plain_loses += 1
            state = state.observed(highest, frozenset(model.open))
    for bound, seen in bounds:
        assert {n for n in model.committed if n <= bound} == seen
    assert plain_loses  # the plain way would have lost rows here: the model is not too tame


@pytest.mark.parametrize("seed", range(10))
def test_overlapping_transactions_never_hold_the_bound_for_ever(seed: int) -> None:
    """There is always something open, each transaction for at most five steps."""
    dice, state, ends = random.Random(seed), Settled(), dict[str, int]()
    lag = 0
    for step in range(500):
        ends = {name: end for name, end in ends.items() if end > step}
        ends[f"t{step}"] = step + dice.randrange(2, 6)
        state = state.observed(str(step), frozenset(ends))
        if step > 12:
            assert state.bound is not None
            lag = max(lag, step - int(state.bound))
    assert lag <= 12


@pytest.mark.parametrize("seed", range(40))
def test_after_two_more_settlings_all_that_was_visible_before_is_below_the_bound(seed: int) -> None:
    dice, model, state = random.Random(seed), Model(), Settled()
    waited = waits = 0
    visible: frozenset[int] = frozenset()
    since: int | None = None
    for _ in range(2_000):
        model.act(dice)
        if len(model.open) > 4:  # none stays open for ever
            model.committed.update(model.open.pop(next(iter(model.open))))
        if dice.random() < 0.3:
            if since is None:
                visible = frozenset(model.committed)
            highest = str(max(model.committed)) if model.committed else None
            state = state.observed(highest, frozenset(model.open))
            since = state.settlings if since is None else since
            waits += 1
            if state.pending is None or state.settlings >= since + 2:
                waited = max(waited, waits)
                assert not visible or (state.bound is not None and max(visible) <= int(state.bound))
                since, waits = None, 0
    assert waited > 2, "it never had to wait: the model is too tame"
