"""Whose turn it is, what a failure means, and what one load takes: the loader's decisions, without anything around."""

from __future__ import annotations

import errno

import pytest

from forebay_collector import errors
from forebay_collector.load.group import GroupSize, Waiting, ready
from forebay_collector.load.policy import POLICIES, Kind, LoadPolicy, classify, remedy_of_hold
from forebay_collector.load.schedule import IDLE_UPKEEP_S, UPKEEP_S, Schedule
from forebay_collector.platform.contract import PlatformError
from forebay_wire.errors import SchemaMismatch
from forebay_wire.stream import StreamName
from forebay_wire.v1 import batch_pb2

A, B, C = (StreamName("d", "s", name) for name in "abc")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_stream_that_waited_longest_has_its_turn() -> None:
    clock = Clock()
    schedule = Schedule(clock)
    served = []
    for _ in range(6):
        stream = schedule.take([A, B, C])
        assert stream is not None
        served.append(stream)
        clock.now += 1
        schedule.done(stream, loaded=True)
    assert served == [A, B, C, A, B, C]


def test_a_stream_is_never_taken_by_two_threads() -> None:
    schedule = Schedule(Clock())
    assert schedule.take([A, B]) == A
    assert schedule.take([A, B]) == B
    assert schedule.take([A, B]) is None
    schedule.done(A, loaded=False)
    assert schedule.take([A, B]) == A


def test_a_pausing_stream_does_not_keep_the_others_waiting() -> None:
    clock = Clock()
    schedule = Schedule(clock)
    schedule.take([A])
    schedule.done(A, loaded=False, pause_s=5)
    assert schedule.take([A, B]) == B
    schedule.done(B, loaded=True)
    assert schedule.take([A]) is None
    clock.now += 5
    assert schedule.take([A]) == A


def test_upkeep_follows_loads_soon_and_visits_idle_streams_now_and_then() -> None:
    clock = Clock()
    schedule = Schedule(clock)
    schedule.know([A, B])
    schedule.take([A])
    schedule.done(A, loaded=True)
    assert schedule.take_for_upkeep(idle=True) is None
    clock.now += UPKEEP_S
    assert schedule.take_for_upkeep(idle=False) == A
    assert schedule.take([A]) is None, "upkeep and loads of a stream never meet"
    schedule.upkept(A, again=False)
    assert schedule.take_for_upkeep(idle=True) is None
    clock.now += IDLE_UPKEEP_S
    assert schedule.take_for_upkeep(idle=False) is None
    visited = {schedule.take_for_upkeep(idle=True), schedule.take_for_upkeep(idle=True)}
    assert visited == {A, B}


def test_pauses_grow_to_their_most_and_spread() -> None:
    policy = LoadPolicy(attempts=20, first_s=0.5, most_s=300)
    for attempt in range(1, 60):
        full = min(300, 0.5 * 2 ** (attempt - 1))
        assert full / 2 <= policy.pause(attempt) <= full
    assert len({policy.pause(5) for _ in range(20)}) > 10


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (PlatformError("x", code="FB-P", permanent=True), Kind.REFUSED, "FB-P"),
        (PlatformError("x", code="FB-P", permanent=False), Kind.FAILED, "FB-P"),
        (errors.ArchiveDamaged("f"), Kind.DAMAGED, "FB-ARCHIVE-DAMAGED"),
        (errors.ArchiveUnavailable("f"), Kind.MACHINE, "FB-ARCHIVE"),
        (SchemaMismatch("s"), Kind.UNOPENABLE, "FB-WIRE-SCHEMA"),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), Kind.MACHINE, "FB-SYSTEM"),
        (MemoryError(), Kind.MACHINE, "FB-SYSTEM"),
        (KeyError("value"), Kind.UNKNOWN, "FB-LOAD"),
    ],
)
def test_a_failure_is_classified_by_its_kind_and_has_a_policy_and_a_remedy(
    error: Exception, kind: Kind, code: str
) -> None:
    failure = classify(error)
    assert (failure.kind, failure.code) == (kind, code)
    assert POLICIES[kind].attempts >= 1
    assert remedy_of_hold(code)


def test_every_kind_of_failure_has_a_policy() -> None:
    assert set(POLICIES) == set(Kind)


def waiting(seq: int, *, ends: bool = True, received_at: int = 0) -> Waiting:
    return Waiting((1, seq), batch_pb2.BatchHeader(epoch=1, seq=seq, ends_transaction=ends), received_at, 0)


def taken(chosen: list[Waiting]) -> list[int]:
    return [one.header.seq for one in chosen]


def test_a_small_group_lingers_from_its_first_batch_on() -> None:
    size = GroupSize(linger_s=0.5)
    group = [waiting(1, received_at=1_000_000), waiting(2, received_at=1_400_000)]
    assert taken(ready(group, False, 1_499_999, size)) == []
    assert taken(ready(group, False, 1_500_000, size)) == [1, 2]
    assert taken(ready(group, True, 1_000_000, size)) == [1, 2], "a full group waits for nothing"
    assert ready([], False, 9_999_999, size) == []


def test_what_came_while_the_clock_was_ahead_does_not_wait_for_that_moment() -> None:
    month_us = 30 * 86_400 * 1_000_000
    group = [waiting(1, received_at=1_000_000 + month_us)]
    assert taken(ready(group, False, 1_000_000, GroupSize(linger_s=0.5))) == [1]


def test_a_group_ends_where_a_transaction_ends() -> None:
    size = GroupSize(linger_s=0)
    open_end = [waiting(1), waiting(2, ends=False), waiting(3), waiting(4, ends=False)]
    assert taken(ready(open_end, False, 0, size)) == [1, 2, 3]
    assert taken(ready(open_end, True, 0, size)) == [1, 2, 3]
    unended = [waiting(1, ends=False), waiting(2, ends=False)]
    assert taken(ready(unended, False, 0, size)) == []
    assert taken(ready(unended, True, 0, size)) == [1, 2], "larger than a group: in parts"
