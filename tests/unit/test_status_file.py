"""`status.json` is written when something happened, and else seldom: the disk of an appliance is often flash."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from forebay_agent.config.kept_offer import Outcome
from forebay_agent.config.model import OutboxConfig
from forebay_agent.identity import Identity
from forebay_agent.outbox import Outbox
from forebay_agent.renewal import RenewalState
from forebay_agent.report import STATUS_FILE, Report, Situation
from forebay_agent.stream_state import Board
from forebay_agent.uplink import UplinkState
from tests.receiving.batches import STREAM


class Clock:
    def __init__(self) -> None:
        self.seconds = 1_000.0

    def now_us(self) -> int:
        return int(self.seconds * 1_000_000)

    def monotonic(self) -> float:
        return self.seconds


class Agent:
    """A report over a real outbox; nothing runs."""

    def __init__(self, state: Path, outbox: Outbox) -> None:
        self.clock = Clock()
        self.board = Board()
        self.heard_at_us = 0
        own = Identity("a1", "市监局", (), b"", b"", b"", state)
        self.report = Report(own, state, outbox, self.board, self.clock, self.situation)
        self.file = state / STATUS_FILE

    def situation(self) -> Situation:
        return Situation(
            "", "", 0, Outcome(), "", UplinkState(), RenewalState(), canaries=(), heard_at_us=self.heard_at_us
        )

    def second(self) -> bool:
        """A second passes. -> whether the file was written."""
        self.clock.seconds += 1
        before = self.file.stat().st_ino
        self.report.write()
        return self.file.stat().st_ino != before

    def told(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(self.file.read_bytes())
        return content


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    with closing(Outbox.open(tmp_path, OutboxConfig())) as outbox:
        agent = Agent(tmp_path, outbox)
        agent.board.update(STREAM, rows_captured=1)
        agent.heard_at_us = 1
        agent.report.write()
        yield agent


def test_when_nothing_happens_it_is_written_every_ten_seconds(agent: Agent) -> None:
    def poll() -> bool:
        now = agent.clock.now_us()
        agent.heard_at_us = now
        agent.board.update(STREAM, last_poll_at_us=now, log_hours_left=now / 1e12, log_bytes_behind=now % 7)
        return agent.second()

    assert [poll() for _ in range(30)] == ([False] * 9 + [True]) * 3
    assert agent.told()["written_at_us"] == agent.clock.now_us()


@pytest.mark.parametrize(
    "change", [{"rows_captured": 2}, {"position": "1:2"}, {"phase": "streaming"}, {"durable": (1, 4)}], ids=str
)
def test_what_happened_is_told_within_a_round(agent: Agent, change: dict[str, Any]) -> None:
    assert not agent.second()
    agent.board.update(STREAM, **change)
    assert agent.second()
    assert not agent.second()


def test_at_its_end_an_agent_writes_in_any_case(agent: Agent) -> None:
    agent.clock.seconds += 1
    agent.report.write(at_once=True)
    assert agent.told()["written_at_us"] == agent.clock.now_us()


def test_what_could_not_be_written_is_written_later(agent: Agent) -> None:
    agent.board.update(STREAM, rows_captured=9)
    kept = agent.file.rename(agent.file.with_name("kept"))
    agent.file.mkdir()  # in the way
    agent.clock.seconds += 1
    agent.report.write()
    agent.file.rmdir()
    kept.rename(agent.file)
    assert agent.second()
    (stream,) = agent.told()["streams"]
    assert stream["rows_captured"] == 9
