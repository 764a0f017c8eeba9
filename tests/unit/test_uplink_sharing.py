"""Who is sent next, when it may go, and how long to wait after a failure."""

from __future__ import annotations

import random
from collections import Counter

from forebay_agent.backoff import Backoff
from forebay_agent.uplink.bandwidth import Bandwidth
from forebay_agent.uplink.turns import Turns


def shares(priorities: dict[int, int], rounds: int = 10_000) -> Counter[int]:
    turns, sent = Turns(), Counter[int]()
    draw = random.Random(1)
    for _ in range(rounds):
        chosen = turns.pick(priorities)
        assert chosen is not None
        size = draw.randint(1, 1_000)
        turns.spent(chosen, size, priorities[chosen])
        sent[chosen] += size
    return sent


def test_streams_of_one_priority_share_the_bytes_evenly() -> None:
    sent = shares({1: 5, 2: 5, 3: 5})
    assert max(sent.values()) - min(sent.values()) < 2_000


def test_a_stream_of_priority_one_gets_three_times_the_bytes_of_priority_three() -> None:
    sent = shares({1: 1, 2: 3})
    assert 2.9 < sent[1] / sent[2] < 3.1


def test_no_stream_starves() -> None:
    assert shares({1: 1, 2: 9})[2] > 0


def test_a_stream_that_was_idle_does_not_make_the_others_wait_for_it() -> None:
    turns = Turns()
    for _ in range(1_000):
        turns.pick([1])
        turns.spent(1, 100, 5)
    row = []
    for _ in range(10):
        chosen = turns.pick([1, 2])
        assert chosen is not None
        turns.spent(chosen, 100, 5)
        row.append(chosen)
    assert 4 <= row.count(1) <= 6


def test_nothing_ready_nothing_picked() -> None:
    assert Turns().pick([]) is None


def test_bandwidth_holds_the_rate_over_time() -> None:
    now = 0.0
    bandwidth = Bandwidth(1_000_000, lambda: now)
    sent = 0
    while now < 60:
        now += bandwidth.take(64_000)
        sent += 64_000
    assert 60_000_000 <= sent <= 61_200_000


def test_no_limit_never_waits() -> None:
    bandwidth = Bandwidth(0, lambda: 0.0)
    assert all(bandwidth.take(1 << 30) == 0.0 for _ in range(10))


def test_pauses_grow_to_their_limit_differ_and_begin_anew_after_success() -> None:
    backoff = Backoff(0.5, 30.0, random.Random(7))
    pauses = [backoff.next() for _ in range(12)]
    for number, pause in enumerate(pauses):
        step = min(30.0, 0.5 * 2**number)
        assert step / 2 <= pause <= step
    assert len(set(pauses)) == len(pauses)
    backoff.succeeded()
    assert backoff.next() <= 0.5


def test_a_rate_that_is_tuned_holds_for_what_is_owed_and_for_what_follows() -> None:
    now = 0.0
    bandwidth = Bandwidth(1_000, lambda: now)
    bandwidth.take(1_000)
    assert bandwidth.take(5_000) == 5.0
    bandwidth.tune(10_000)
    assert bandwidth.owed() == 0.5
    now += 0.5
    assert bandwidth.owed() == 0.0
    bandwidth.tune(0)
    assert bandwidth.take(1 << 30) == 0.0
