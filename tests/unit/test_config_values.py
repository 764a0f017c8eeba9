"""Durations and sizes of the configuration are read with their unit, or refused."""

from __future__ import annotations

from datetime import timedelta

import pytest

from forebay_agent.config import values


@pytest.mark.parametrize(
    ("text", "expected"),
    [("500ms", 0.5), ("15s", 15), ("2m", 120), ("1h", 3600), ("7d", 604800), ("1.5s", 1.5), ("250us", 0.00025)],
)
def test_durations_are_read_with_their_unit(text: str, expected: float) -> None:
    assert values.duration(text) == timedelta(seconds=expected)


@pytest.mark.parametrize("text", ["", "15", "s", "-1s", "1 fortnight", "1e3s", "१५s", "1s2s", "9" * 40 + "d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        values.duration(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("64KiB", 65536), ("10GiB", 10 << 30), ("1GB", 10**9), ("0B", 0), ("1.5MiB", 3 << 19)]
)
def test_sizes_are_read_with_their_unit(text: str, expected: int) -> None:
    assert values.size(text) == expected


@pytest.mark.parametrize("text", ["", "10", "10G", "10gib", "-1B", "1 MiB/s"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="size"):
        values.size(text)
