"""Which labels of departments say a time, and which time."""

from __future__ import annotations

import pytest

from forebay_collector.service import update_cycle

HOUR, DAY = 3_600, 86_400


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("每日", DAY),
        ("每天更新", DAY),
        ("每 2 小时", 2 * HOUR),
        ("每两小时", 2 * HOUR),
        ("每小时", HOUR),
        ("30分钟", 1_800),
        ("每周", 7 * DAY),
        ("每三个月", 93 * DAY),
        ("每季度", 92 * DAY),
        ("每半年", 184 * DAY),
        ("每年", 366 * DAY),
        ("每旬", 11 * DAY),
        ("Daily", DAY),
        ("every 6 hours", 6 * HOUR),
        ("15m", 900),
        ("7d", 7 * DAY),
        ("实时", None),
        ("不定期", None),
        ("real time", None),
        ("0d", None),
        ("每", None),
        ("", None),
        ("9999999999d", None),
    ],
)
def test_a_label_is_understood_or_nothing_is_ever_overdue(label: str, expected: int | None) -> None:
    assert update_cycle.seconds(label) == expected
