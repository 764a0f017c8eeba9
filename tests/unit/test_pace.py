"""Pace: nobody does a thing more often than allowed, and remembering that costs a bounded amount."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from forebay_collector.service.pace import Pace


class Seconds:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_let_through_and_then_one_by_one() -> None:
    clock = Seconds()
    pace = Pace(0.5, 3, clock=clock)
    assert [pace.wait_s("a") for _ in range(5)] == [0, 0, 0, 2.0, 2.0]
    assert pace.wait_s("b") == 0, "others do not wait"
    clock.now += 1.5
    assert pace.wait_s("a") == 0.5
    clock.now += 0.5
    assert [pace.wait_s("a"), pace.wait_s("a")] == [0, 2.0]
    clock.now += 1_000
    assert [pace.wait_s("a") for _ in range(4)] == [0, 0, 0, 2.0]


@given(st.lists(st.floats(0, 5), min_size=1, max_size=80), st.integers(1, 5), st.sampled_from([0.25, 1.0, 3.0]))
def test_never_more_than_the_burst_and_the_rate_allow(steps: list[float], burst: int, per_s: float) -> None:
    clock = Seconds()
    pace = Pace(per_s, burst, clock=clock)
    let: list[float] = []
    for step in steps:
        clock.now += step
        wait = pace.wait_s("a")
        assert 0 <= wait <= 1 / per_s
        if not wait:
            let.append(clock.now)
    for first, start in enumerate(let):
        for count, end in enumerate(let[first:], 1):
            assert count <= burst + (end - start) * per_s + 1e-6


@given(st.lists(st.floats(0, 5), max_size=30))
def test_whoever_waits_as_told_is_let_through(steps: list[float]) -> None:
    clock = Seconds()
    pace = Pace(0.5, 2, clock=clock)
    for step in steps:
        clock.now += step
        if wait := pace.wait_s("a"):
            clock.now += wait + 1e-9
            assert pace.wait_s("a") == 0


def test_what_is_remembered_is_bounded_and_who_is_busy_is_not_forgotten() -> None:
    clock = Seconds()
    pace = Pace(0.001, 1, subjects=10, clock=clock)
    assert pace.wait_s("busy") == 0
    for number in range(1_000):
        pace.wait_s(f"{number}")
        assert pace.wait_s("busy") > 0
    assert len(pace._buckets) == 10


def test_threads_together_get_no_more_than_one() -> None:
    pace = Pace(0.001, 50)
    let: list[float] = []

    def ask() -> None:
        let.extend(pace.wait_s("a") for _ in range(100))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len([wait for wait in let if not wait]) == 50
