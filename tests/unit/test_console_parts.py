"""Parts of the console by themselves: charts without anything inline, readings that are kept, forms that are read."""

from __future__ import annotations

import itertools
import re
import sys
import threading
import time
from xml.etree import ElementTree as ET

import pytest

from forebay_collector.console.charts import Line, lines
from forebay_collector.console.fresh import Fresh
from forebay_collector.console.language import words_of
from forebay_collector.console.live import digest
from forebay_collector.console.pages.agent import _thinned
from forebay_collector.console.pages.batches import _place, instant
from forebay_collector.console.pages.offers import _settings
from forebay_collector.console.recent import Recent
from forebay_collector.console.rendering import agent_path, batch_path, broken, coarse, query, span, stream_path
from forebay_collector.console.visit import inside
from forebay_collector.errors import LedgerUnavailable, NotPossible
from forebay_collector.ledger.history import HealthSample
from forebay_wire.stream import StreamName

EVIL = '</svg><script>alert(1)</script>" onload="x'


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("bars", [False, True])
def test_a_chart_holds_nothing_that_a_policy_must_allow(bars: bool) -> None:
    drawn = lines(
        [EVIL, "09:00", "10:00"],
        [Line(EVIL, [1.0, None, 3.5])],
        label=EVIL,
        shown=lambda value: f"{value:.1f}<b>",
        bars=bars,
    )
    root = ET.fromstring(drawn)
    names = {element.tag for element in root.iter()}
    assert names <= {
        f"{{http://www.w3.org/2000/svg}}{name}" for name in ("svg", "g", "rect", "path", "text", "circle")
    } or names <= {
        "svg",
        "g",
        "rect",
        "path",
        "text",
        "circle",
    }
    attributes = {name for element in root.iter() for name in element.attrib}
    assert not {name for name in attributes if name.startswith("on") or name in ("style", "href", "id")}
    assert root.get("role") == "img"
    assert root.get("aria-label") == EVIL
    assert "<script" not in drawn


def test_a_charts_scale_reaches_its_least_top_so_that_noise_is_no_mountain() -> None:
    drawn = lines(["a", "b"], [Line("x", [0.1, 0.2])], label="x", shown=lambda value: f"{value:.0f}", least_top=100)
    assert re.findall(r">(\d+)</text>", drawn) == ["0", "50", "100"]


def test_drawing_leaves_no_finder_before_every_import() -> None:
    assert "PluginImportFixer" not in {type(finder).__name__ for finder in sys.meta_path}


def test_what_was_read_a_moment_ago_is_not_read_again() -> None:
    clock, read = Clock(), []
    recent = Recent(clock)

    def reading() -> int:
        read.append(1)
        return len(read)

    assert [recent.get("x", 1.0, reading), recent.get("x", 1.0, reading), recent.get("y", 1.0, reading)] == [1, 1, 2]
    clock.now = 1.0
    assert recent.get("x", 1.0, reading) == 3
    recent.forget()
    assert recent.get("x", 1.0, reading) == 4


def test_many_who_ask_at_once_cause_one_reading() -> None:
    recent, read = Recent(), []

    def reading() -> int:
        time.sleep(0.2)
        read.append(1)
        return len(read)

    threads = [threading.Thread(target=recent.get, args=("x", 60.0, reading)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read == [1]


def test_recent_readings_are_bounded() -> None:
    recent = Recent()
    for number in range(5_000):
        recent.get(number, 60.0, lambda: "x")
    assert len(recent._kept) <= 512


def test_fresh_reads_ahead_while_somebody_asks_and_then_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[float] = []
    goes_on, stuck = threading.Event(), threading.Event()
    goes_on.set()

    def reading() -> int:
        if not goes_on.is_set():
            stuck.set()
            goes_on.wait(60)
        read.append(time.monotonic())
        return len(read)

    fresh = Fresh(reading, 0.05)
    assert fresh.get() == 1
    deadline = time.monotonic() + 10
    while fresh.get() < 4:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    monkeypatch.setattr("forebay_collector.console.fresh._TOO_OLD", 10_000)
    goes_on.clear()  # whoever waits for a reading now does so for a minute
    assert stuck.wait(10)
    known = len(read)
    assert (fresh.get(), len(read)) == (known, known)
    goes_on.set()
    fresh.forget()
    before = len(read)
    assert fresh.get() > before
    fresh.stop()
    after = len(read)
    time.sleep(0.2)
    assert len(read) == after


def test_fresh_has_something_for_whoever_comes_after_a_long_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("forebay_collector.console.fresh.ASKED_WITHIN_S", 0.0)  # nobody asks
    slow = threading.Event()
    read: list[float] = []

    def reading() -> int:
        slow.wait(10)
        read.append(time.monotonic())
        return len(read)

    slow.set()
    fresh = Fresh(reading, 0.2)
    assert fresh.get() == 1
    deadline = time.monotonic() + 20
    while len(read) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    slow.clear()  # a reading now would take long
    assert fresh.get() >= 3
    slow.set()
    fresh.stop()


def test_fresh_tells_of_trouble_when_it_has_nothing_that_is_fresh_enough() -> None:
    clock, broken_now = Clock(), [True]

    def reading() -> str:
        if broken_now[0]:
            raise LedgerUnavailable
        return "read"

    fresh = Fresh(reading, 10.0, clock)
    with pytest.raises(LedgerUnavailable):
        fresh.get()
    broken_now[0] = False
    assert fresh.get() == "read"
    broken_now[0] = True
    clock.now = 20
    assert fresh.get() == "read"
    clock.now = 100
    with pytest.raises(LedgerUnavailable):
        fresh.get()
    fresh.stop()


def test_offered_settings_are_read_line_by_line() -> None:
    text = """
    # a remark
    bandwidth = "2MiB"
    "sources.djk.poll_interval" = "30s"
    sources.djk.tables = ["a", "b"]
    paused = true
    limit = 12
    windows = [{from = "08:00", to = "18:00"}]
    """
    assert _settings(text) == {
        "bandwidth": "2MiB",
        "sources.djk.poll_interval": "30s",
        "sources.djk.tables": ["a", "b"],
        "paused": True,
        "limit": 12,
        "windows": [{"from": "08:00", "to": "18:00"}],
    }


@pytest.mark.parametrize("line", ["bandwidth", "= 1", "a = ", "a = 2MiB", "a = 1\na = 2", "a = 2026-11-23", 'a = "x'])
def test_an_offered_setting_that_cannot_be_read_is_named_by_its_line(line: str) -> None:
    with pytest.raises(NotPossible) as refused:
        _settings("ok = 1\n" + line)
    assert re.search(r"line [23]", str(refused.value))


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/a?b=c#d", True),
        ("https://evil.example/", False),
        ("//evil.example", False),
        ("/\\evil.example", False),
        ("/a\nb", False),
        ("a", False),
        ("", False),
    ],
)
def test_a_way_back_stays_within_the_console(path: str, kept: bool) -> None:
    assert inside(path, "/") == (path if kept else "/")


def test_addresses_carry_any_name() -> None:
    name = StreamName("局 &?", "s#", "main.a/b%<c>")
    assert stream_path(name) == "/streams/%E5%B1%80%20%26%3F/s%23/main.a%2Fb%25%3Cc%3E"
    assert batch_path(name, 1, 2).startswith("/batch/1/2/%E5%B1%80%20")
    assert agent_path("a b") == "/agents/a%20b"
    assert query([("a", "1"), ("b", "ü&")], a="", c="x y") == "?b=%C3%BC%26&c=x+y"


def test_a_place_in_a_listing_is_four_numbers_or_none() -> None:
    assert _place("1700000000000000.3.1.41") == (1_700_000_000_000_000, 3, 1, 41)
    for text in ("", "1.2.3", "1.2.3.x", "1.2.3.-4", "9" * 30 + ".1.1.1", "1.2.3.4.5"):
        assert _place(text) is None


def test_a_moment_of_a_form_is_in_this_machines_time_zone() -> None:
    assert instant("1970-01-02T00:00") == 86_400_000_000 + time.timezone * 1_000_000
    for text in ("", "yesterday", "0001-01-01T00:00", "99999-01-01T00:00"):
        assert instant(text) in (0, instant("0001-01-01T00:00"))


def test_durations_are_said_in_the_persons_language() -> None:
    assert [span(words_of("en"), seconds) for seconds in (None, 0.04, 59, 600, 9_000, 400_000)] == [
        *("–", "0.0 s", "59 s", "10 min", "2.5 h", "4.6 d")
    ]
    assert span(words_of("zh-CN"), 59) == "59 秒"
    assert coarse(words_of("en"), 59) == "1 min"


def test_a_long_digest_may_break_and_stays_escaped() -> None:
    assert broken("abcdefgh<b>", 4) == "abcd<wbr>efgh<wbr>&lt;b&gt;"


def test_many_samples_are_thinned_evenly_and_the_newest_stays() -> None:
    samples = [HealthSample("a", at, *(0,) * 10) for at in range(1_000)]
    kept = _thinned(samples)
    assert len(kept) <= 120
    assert kept[-1].at == 999
    assert len({later.at - earlier.at for earlier, later in itertools.pairwise(kept)}) == 1


def test_two_renderings_are_the_same_only_part_by_part() -> None:
    assert digest({"a": "1", "b": "2"}) == digest({"a": "1", "b": "2"})
    assert digest({"a": "1", "b": "2"}) != digest({"a": "1b", "": "2"})
