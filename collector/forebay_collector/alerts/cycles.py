"""Update cycles: how often a table is updated, read from the label that its department gave it.

The label is free text (`update_cycle` of a table). Known are the words that departments use, in Chinese and English, and
durations such as `2h`, `1d`. What is not known, and what is updated in real time, is never overdue.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_WORDS: Final = (
    (_HOUR, ("每小时", "小时", "按小时", "hourly")),
    # weekends
    (3 * _DAY, ("每工作日", "工作日", "working days", "every working day")),
    (_DAY, ("每日", "每天", "日", "天", "按日", "按天", "日更新", "daily")),
    (7 * _DAY, ("每周", "周", "按周", "每星期", "周更新", "weekly")),
    (11 * _DAY, ("每旬", "旬", "按旬")),
    (16 * _DAY, ("每半月", "半月", "每两周", "双周", "fortnightly", "biweekly")),
    (31 * _DAY, ("每月", "月", "按月", "月更新", "monthly")),
    (92 * _DAY, ("每季度", "每季", "季度", "季", "按季", "按季度", "quarterly")),
    (184 * _DAY, ("每半年", "半年", "按半年", "half-yearly", "semiannually")),
    (366 * _DAY, ("每年", "年", "年度", "按年", "年更新", "yearly", "annually")),
)
_KNOWN: Final = {word: cycle for cycle, words in _WORDS for word in words}
_UNITS: Final = {"m": timedelta(minutes=1), "h": _HOUR, "d": _DAY}


def cycle_of(label: str) -> timedelta | None:
    """How often at least; None where it does not say."""
    text = label.strip().casefold()
    if found := re.fullmatch(r"(\d{1,4}) ?([mhd])", text):
        cycle = int(found[1]) * _UNITS[found[2]]
        return cycle or None
    return _KNOWN.get(text)
