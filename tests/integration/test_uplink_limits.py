"""When the uplink may send, and how fast: bandwidth and daily windows, over real gRPC, TLS and SQLite."""

from __future__ import annotations

import datetime as dt
import time
from pathlib import Path

import pytest

from forebay_agent.config.model import CollectorConfig, DailyWindow
from forebay_agent.uplink.hours import Hours
from tests.daemon.scripted import Script
from tests.daemon.uplink_site import site, until
from tests.receiving.batches import STREAM


def test_the_bandwidth_limit_holds(tmp_path: Path) -> None:
    script = Script()
    with site(tmp_path, script, bandwidth=400_000) as agent:
        size = sum(len(batch.payload) for batch in agent.put(12, text_bytes=60_000))
        began = time.monotonic()
        agent.start()
        until(lambda: agent.waiting() == 0)
        assert time.monotonic() - began > (size - 400_000 - 70_000) / 400_000 > 0.5


def test_outside_of_its_hours_nothing_is_sent_and_the_connection_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [dt.time(12)]
    monkeypatch.setattr("forebay_agent.uplink.uplink.Hours", lambda daily: Hours(daily, lambda: now[0]))
    script = Script()
    with site(tmp_path, script, windows=(DailyWindow(dt.time(20), dt.time(6)),)) as agent:
        agent.put(3)
        agent.start()
        until(lambda: agent.uplink.state.waits != "")
        until(lambda: agent.uplink.state.connected)
        assert "20:00-06:00" in agent.uplink.state.waits
        time.sleep(1.5)
        assert (script.came, agent.waiting()) == ([], 3)
        now[0] = dt.time(21)
        until(lambda: agent.waiting() == 0)
        until(lambda: agent.uplink.state.waits == "")
        assert script.connections == 1


def test_a_batch_that_is_cut_by_the_end_of_the_hours_comes_whole_in_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [dt.time(12)]
    monkeypatch.setattr("forebay_agent.uplink.uplink.Hours", lambda daily: Hours(daily, lambda: now[0]))
    script = Script()
    window = DailyWindow(dt.time(11), dt.time(13))
    with site(tmp_path, script, windows=(window,), bandwidth=1_000_000) as agent:
        agent.put(1, text_bytes=8_000_000)
        agent.start()
        until(lambda: agent.uplink.state.connected)
        time.sleep(1.5)
        now[0] = dt.time(14)
        until(lambda: script.connections == 2)
        time.sleep(1.0)
        assert script.came == []
        now[0] = dt.time(12)
        agent.uplink.tune(CollectorConfig(windows=(window,)))
        until(lambda: agent.waiting() == 0)
        assert script.came == [(STREAM, 1, 1)]


def test_another_bandwidth_takes_force_on_the_connection_that_there_is(tmp_path: Path) -> None:
    script = Script()
    with site(tmp_path, script, bandwidth=20_000) as agent:
        agent.put(12, text_bytes=60_000)
        agent.start()
        until(lambda: len(script.came) > 0)
        assert agent.waiting() > 6, "it goes too fast to tell"
        agent.uplink.tune(CollectorConfig(bandwidth=50_000_000))
        until(lambda: agent.waiting() == 0, 5)
        assert script.connections == 1
