"""Update cycles: how long a table may go without a change, by the label that the department gave it.

A label is free text (`update_cycle` of a table). The words of the exchange catalogue and durations are understood; of
anything else, 实时 (real time) and 不定期 (irregular) included, nothing is ever overdue.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_HOUR: Final = 3_600
_DAY: Final = 24 * _HOUR
_UNITS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("分", "分钟", "minute", "minutes", "min", "m"), 60),
    **dict.fromkeys(("时", "小时", "hour", "hours", "h"), _HOUR),
    **dict.fromkeys(("日", "天", "day", "days", "d"), _DAY),
    **dict.fromkeys(("周", "星期", "week", "weeks", "w"), 7 * _DAY),
    "旬": 11 * _DAY,
    "半月": 16 * _DAY,
    **dict.fromkeys(("月", "个月", "month", "months"), 31 * _DAY),
    **dict.fromkeys(("季", "季度", "quarter", "quarters"), 92 * _DAY),
    "半年": 184 * _DAY,
    **dict.fromkeys(("年", "year", "years"), 366 * _DAY),
}
_WORDS: Final[Mapping[str, int]] = {
    "hourly": _HOUR,
    "daily": _DAY,
    "weekly": 7 * _DAY,
    "monthly": 31 * _DAY,
    "quarterly": 92 * _DAY,
    "half-yearly": 184 * _DAY,
    "yearly": 366 * _DAY,
    "annually": 366 * _DAY,
}
_LABEL: Final = re.compile(r"(?:每|every)?\s*(\d{1,4}|[一二两三四五六七八九十])?\s*(\D{1,12})")
_NUMBERS: Final = "零一二三四五六七八九十"


def seconds(label: str) -> int | None:
    """The longest that one cycle takes, in seconds; None where the label says no time."""
    text = label.strip().lower().removesuffix("更新")
    if text in _WORDS:
        return _WORDS[text]
    found = _LABEL.fullmatch(text)
    if found is None or found[2] not in _UNITS:
        return None
    number = found[1] or "1"
    times = int(number) if number.isascii() else _NUMBERS.index("二" if number == "两" else number)
    return times * _UNITS[found[2]] or None
