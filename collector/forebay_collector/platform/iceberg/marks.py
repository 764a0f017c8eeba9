"""What a table's own commits say about its stream: properties set in the same commit as the data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from forebay_collector.platform.contract import PlatformMark
from forebay_wire.stream import StreamName

STREAM: Final = "forebay.stream"
THROUGH: Final = "forebay.through"
KEY: Final = "forebay.key"
COLUMNS: Final = "forebay.columns"
AHEAD: Final = "forebay.ahead"
RETIRED: Final = "forebay.retired"


def mark_of(properties: Mapping[str, str], stream: StreamName) -> PlatformMark:
    """The table's mark of the stream; (0, 0) when it has none."""
    held = json.loads(properties.get(THROUGH, "{}")).get(str(stream))
    return PlatformMark(held["epoch"], held["seq"]) if held else PlatformMark()


def through(stream: StreamName, mark: PlatformMark) -> str:
    """The property's value."""
    return json.dumps({str(stream): {"epoch": mark.epoch, "seq": mark.seq}}, ensure_ascii=False)


def names_of(properties: Mapping[str, str], name: str) -> tuple[str, ...]:
    """A property that is a JSON list of names."""
    return tuple(json.loads(properties.get(name, "[]")))


def listed(names: tuple[str, ...]) -> str:
    """The value of such a property."""
    return json.dumps(list(names), ensure_ascii=False)
