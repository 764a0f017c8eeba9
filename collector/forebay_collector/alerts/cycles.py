"""Update cycles: how often a table is updated, read from the label that its department gave it.

The label is free text (`update_cycle` of a table). Known are the words that departments use, in Chinese and English, and
durations such as `2h`, 每两小时, `every 6 hours`. What is not known, and what is updated in real time, is never overdue.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

_MINUTE: Final = timedelta(minutes=1)
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_WORDS: Final = (
    (_HOUR, ("hourly",)),
    # weekends
    (3 * _DAY, ("工作日", "working days", "every working day")),
    (_DAY, ("daily",)),
    (7 * _DAY, ("weekly",)),
    (16 * _DAY, ("双周", "fortnightly", "biweekly")),
    (31 * _DAY, ("monthly",)),
    (92 * _DAY, ("quarterly",)),
    (184 * _DAY, ("half-yearly", "semiannually")),
    (366 * _DAY, ("yearly", "annually")),
)
_UNITS: Final = (
    (_MINUTE, ("分", "分钟", "m", "min", "minute", "minutes")),
    (_HOUR, ("时", "小时", "h", "hour", "hours")),
    (_DAY, ("日", "天", "d", "day", "days")),
    (7 * _DAY, ("周", "星期", "w", "week", "weeks")),
    (11 * _DAY, ("旬",)),
    (16 * _DAY, ("半月",)),
    (31 * _DAY, ("月", "个月", "month", "months")),
    (92 * _DAY, ("季", "季度", "quarter", "quarters")),
    (184 * _DAY, ("半年",)),
    (366 * _DAY, ("年", "年度", "year", "years")),
)
_CYCLE_OF_WORD: Final = {word: cycle for cycle, words in _WORDS for word in words}
_CYCLE_OF_UNIT: Final = {unit: cycle for cycle, units in _UNITS for unit in units}
_NUMBERS: Final = {**{word: number for number, word in enumerate("一二三四五六七八九十", 1)}, "两": 2}
_TIMES: Final = re.compile(rf"(?:每|按|every)? *(\d{{1,4}}|[{''.join(_NUMBERS)}])? *(\D{{1,12}})")


def cycle_of(label: str) -> timedelta | None:
    """How often at least; None where it does not say."""
    text = label.strip().casefold().removesuffix("更新")
    if found := _CYCLE_OF_WORD.get(text.removeprefix("每")):
        return found
    match = _TIMES.fullmatch(text)
    if match is None or match[2] not in _CYCLE_OF_UNIT:
        return None
    number = match[1] or "1"
    return (_NUMBERS.get(number) or int(number)) * _CYCLE_OF_UNIT[match[2]] or None
