"""Daily windows: which minutes they hold, and when one set lies in another."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forebay_agent.config import windows
from forebay_agent.config.model import DailyWindow

MOMENTS = st.builds(dt.time, st.integers(0, 23), st.integers(0, 59))
WINDOWS = st.lists(
    st.builds(DailyWindow, MOMENTS, MOMENTS).filter(lambda window: window.start != window.end), max_size=4
)


def test_a_window_over_midnight_holds_both_nights_ends() -> None:
    night = windows.window("22:00 - 06:00")
    assert [night.is_open(dt.time(hour)) for hour in (21, 22, 0, 5, 6)] == [False, True, True, True, False]
    assert str(night) == "22:00-06:00"


@pytest.mark.parametrize("text", ["", "22-6", "22:00", "24:00-01:00", "22:60-23:00", "22:00-22:00", "22:00-06:00 x"])
def test_what_is_no_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="window"):
        windows.window(text)


@given(WINDOWS, WINDOWS, MOMENTS)
def test_a_set_that_lies_in_another_is_never_open_when_that_is_closed(
    inner: list[DailyWindow], outer: list[DailyWindow], now: dt.time
) -> None:
    if windows.inside(inner, outer):
        assert not windows.is_open(inner, now) or windows.is_open(outer, now)


@given(WINDOWS, MOMENTS)
def test_the_minutes_of_a_set_are_those_in_which_it_is_open(some: list[DailyWindow], now: dt.time) -> None:
    assert (now.hour * 60 + now.minute in windows.minutes(some)) == any(window.is_open(now) for window in some)


@given(WINDOWS)
def test_every_set_lies_in_itself_and_in_the_whole_day(some: list[DailyWindow]) -> None:
    assert windows.inside(some, some)
    assert windows.inside(some, [])
    assert windows.inside([], some) == (not some)
