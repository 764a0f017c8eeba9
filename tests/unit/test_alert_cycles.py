"""Which labels of departments say how often a table is updated, and how often that is."""

from __future__ import annotations

from datetime import timedelta

import pytest

from forebay_collector.alerts.cycles import cycle_of

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("labels", "cycle"),
    [
        (("每小时", "小时", "按小时", "hourly", "1h", "60m", "60分钟"), HOUR),
        (("每 2 小时", "每两小时", "2h", "every 2 hours"), 2 * HOUR),
        (("每日", "每天", "日", "天", "按日", "按天", "日更新", "每天更新", "daily", "Daily", " 1d "), DAY),
        (("每工作日", "工作日", "working days", "every working day"), 3 * DAY),
        (("每周", "周", "按周", "每星期", "周更新", "weekly", "7d"), 7 * DAY),
        (("每旬", "旬", "按旬"), 11 * DAY),
        (("每两周", "2w"), 14 * DAY),
        (("每半月", "半月", "双周", "fortnightly", "biweekly"), 16 * DAY),
        (("每月", "月", "按月", "月更新", "monthly"), 31 * DAY),
        (("每季度", "每季", "季度", "季", "按季", "按季度", "quarterly"), 92 * DAY),
        (("每三个月",), 93 * DAY),
        (("每半年", "半年", "按半年", "half-yearly", "semiannually"), 184 * DAY),
        (("每年", "年", "年度", "按年", "年更新", "yearly", "annually"), 366 * DAY),
        (("实时", "不定期", "real time", "0d", "每", "", "9999999999d", "每每日", "一二天", "99年代"), None),
    ],
)
def test_a_label_says_how_often_or_nothing_is_ever_overdue(labels: tuple[str, ...], cycle: timedelta | None) -> None:
    assert {label: cycle_of(label) for label in labels} == dict.fromkeys(labels, cycle)
