"""A heartbeat tells what changed since the one that the collector acknowledged last, and all of it to who knows nothing."""

from __future__ import annotations

import random
from dataclasses import replace

from forebay_agent.control.beats import POLLED_US, Beats
from forebay_agent.stream_state import STREAMING, StreamState, Trouble
from forebay_wire.stream import StreamName
from forebay_wire.v1 import control_pb2

GUARANTEE = "Sees every committed change in the order of commits, deletes included, from the database's own log."


def name(number: int) -> StreamName:
    return StreamName("dept", "civil", f"public.t{number}")


class Agent:
    """Its streams, and a collector that folds what it acknowledged."""

    def __init__(self, count: int) -> None:
        self.streams = {name(number): StreamState(name(number), phase=STREAMING) for number in range(count)}
        self.beats = Beats(control_pb2.Heartbeat, lambda: list(self.streams.values()))
        self.collector: dict[StreamName, control_pb2.StreamState] = {}
        self.has = 0  # the number of the heartbeat that it holds
        self.beats.begin()

    def change(self, number: int, **changes: object) -> None:
        self.streams[name(number)] = replace(self.streams[name(number)], **changes)  # type: ignore[arg-type]

    def beat(self, *, arrives: bool = True, answered: bool = True) -> control_pb2.Heartbeat:
        beat = self.beats.next()
        if not arrives:
            return beat
        if not beat.since:
            self.collector = {}
        assert beat.since <= self.has, "it builds on what the collector never had"
        for gone in beat.gone:
            self.collector.pop(StreamName.from_proto(gone), None)
        for state in beat.streams:
            self.collector[StreamName.from_proto(state.stream)] = state
        self.has = beat.number
        if answered:
            self.beats.acknowledged(beat.number)
        return beat

    def anew(self) -> None:
        self.beats.begin()
        self.collector, self.has = {}, 0


def told(beat: control_pb2.Heartbeat) -> list[str]:
    return [state.stream.table for state in beat.streams]


def test_the_first_tells_all_and_one_of_an_idle_agent_nothing() -> None:
    agent = Agent(3)
    first, second = agent.beat(), agent.beat()
    assert (len(first.streams), first.since, first.number) == (3, 0, 1)
    assert (told(second), list(second.gone), second.since, second.number) == ([], [], 1, 2)
    assert second.ByteSize() < 10


def test_what_changed_is_told_until_it_is_acknowledged() -> None:
    agent = Agent(3)
    agent.beat()
    agent.change(1, sealed_seq=5)
    assert told(agent.beat(answered=False)) == ["public.t1"]
    lost = agent.beat(arrives=False)
    assert (told(lost), lost.since) == (["public.t1"], 1)
    assert told(agent.beat()) == ["public.t1"]
    assert told(agent.beat()) == []


def test_a_stream_that_is_gone_is_named_until_it_is_acknowledged() -> None:
    agent = Agent(2)
    agent.beat()
    del agent.streams[name(0)]
    for answered in (False, True):
        beat = agent.beat(answered=answered)
        assert [each.table for each in beat.gone] == ["public.t0"]
    assert list(agent.beat().gone) == []


def test_a_new_connection_and_a_request_begin_with_everything() -> None:
    agent = Agent(2)
    agent.beat()
    agent.anew()
    assert (agent.beat().since, len(agent.collector)) == (0, 2)
    agent.beats.tell_all()
    full = agent.beat()
    assert (len(full.streams), full.since) == (2, 0)
    assert told(agent.beat()) == []


def test_time_that_goes_by_is_no_change_until_it_is_much() -> None:
    agent = Agent(1)
    agent.change(0, last_poll_at_us=10**15, log_hours_left=100.0, log_bytes_behind=5 << 20)
    agent.beat()
    agent.change(0, last_poll_at_us=10**15 + POLLED_US - 1, log_hours_left=101.0, log_bytes_behind=6 << 20)
    assert told(agent.beat()) == []
    agent.change(0, last_poll_at_us=10**15 + POLLED_US)
    assert told(agent.beat()) == ["public.t0"]
    changed: list[dict[str, object]] = [
        {"log_hours_left": 20.0},
        {"log_hours_left": None},
        {"log_bytes_behind": 5 << 30},
    ]
    for changes in changed:
        agent.change(0, **changes)
        assert told(agent.beat()) == ["public.t0"], changes
    agent.change(0, capturing=Trouble("FB-SOURCE", "no", "yes", held=False))
    assert told(agent.beat()) == ["public.t0"]


def test_whatever_is_lost_the_collector_comes_to_have_what_the_agent_has() -> None:
    for seed in range(200):
        draw = random.Random(seed)
        agent = Agent(4)
        for _ in range(60):
            move = draw.random()
            if move < 0.4:
                number = draw.randrange(8)
                agent.streams.setdefault(name(number), StreamState(name(number)))
                agent.change(number, sealed_seq=draw.randrange(100), paused=draw.choice(("", "paused")))
            elif move < 0.5 and agent.streams:
                del agent.streams[draw.choice(list(agent.streams))]
            elif move < 0.55:
                agent.anew()
            elif move < 0.6:
                agent.beats.tell_all()
            elif move < 0.7:
                agent.beats.acknowledged(draw.choice((0, 10_000)))  # of another connection
            else:
                arrives = draw.random() < 0.8
                agent.beat(arrives=arrives, answered=draw.random() < 0.6)
                if not arrives:
                    agent.anew()  # what is lost of one connection ends it
        agent.beat()
        assert agent.collector == {each: state.to_proto() for each, state in agent.streams.items()}, seed
