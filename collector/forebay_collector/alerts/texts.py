"""Texts: what each kind of alert is called, why it is so, and what to do about it, in Chinese and English.

`words/<language>.toml` holds a table for each kind: `name`, `many` (of several at once), `reason` with places that the
alert's detail fills, `remedy`. Both languages have the same; a test compares them.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.resources import files
from typing import Any, Final

from forebay_collector.ledger.alerts import AlertRecord

LANGUAGES: Final = ("zh-CN", "en")
MOMENTS: Final = frozenset({"since", "until"})
"""Places that are filled by a moment: microseconds, shown in the time zone of this machine."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_US: Final = 250_000_000_000_000_000


class _Detail(dict[str, Any]):
    """What is not there is shown as a dash: an alert may be older than the text."""

    def __missing__(self, name: str) -> str:
        return "–"


@cache
def words(language: str) -> Mapping[str, Any]:
    """Raises KeyError for a language that is not there."""
    if language not in LANGUAGES:
        raise KeyError(language)
    return tomllib.loads((files(__package__) / "words" / f"{language}.toml").read_text("utf-8"))


def name(kind: str, language: str) -> str:
    """What the kind is called; its own name when the texts do not know it."""
    said: str = words(language)["kind"].get(kind, {}).get("name", kind)
    return said


def many(kind: str, language: str, count: int) -> str:
    """So many of the kind at once."""
    known = words(language)["kind"].get(kind)
    return f"{count} × {kind}" if known is None else str(known["many"]).format(count=count)


def reason(record: AlertRecord, language: str) -> str:
    """Why it is so. What an agent or a database said stands in it in their own words."""
    known = words(language)["kind"].get(record.kind)
    if known is None:
        return record.kind
    said = record.detail.get("case", "")
    text = str(known.get(f"reason_{said}") or known["reason"])
    return text.format_map(_Detail({key: _shown(key, value) for key, value in record.detail.items()}))


def remedy(kind: str, language: str) -> str:
    """What to do about it."""
    said: str = words(language)["kind"].get(kind, {}).get("remedy", "")
    return said


def moment(at_us: int) -> str:
    """`2026-11-23 08:15:02` in the time zone of this machine."""
    if not 0 < at_us < _LAST_US:
        return "–"
    return (_EPOCH + timedelta(microseconds=at_us)).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _shown(key: str, value: Any) -> str:
    if key in MOMENTS and isinstance(value, int):
        return moment(value)
    return str(value)
