"""`[certificates]`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from forebay_collector.completeness.days import zone_text


@dataclass(frozen=True, slots=True)
class CertificateSettings:
    """`[certificates]`: certificates of completeness."""

    daily: bool = True  # whether one of each department is issued when a day is over
    zone: str = "+08:00"  # whose days these are
    wait: timedelta = timedelta(hours=1)  # how long after a day's end its certificates are issued


MOST_OF: Final[Mapping[str, Any]] = {"certificates.wait": timedelta(hours=23)}
PARSERS: Final[Mapping[str, Callable[[str], Any]]] = {"certificates.zone": zone_text}
