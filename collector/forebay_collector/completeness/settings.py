"""`[certificates]`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final

from forebay_collector.completeness.days import zone_text


@dataclass(frozen=True, slots=True)
class CertificateSettings:
    """`[certificates]`: certificates of completeness."""

    daily: Annotated[bool, "whether one of each department is issued when a day is over"] = True
    zone: Annotated[str, "whose days these are"] = "+08:00"
    wait: Annotated[timedelta, "how long after a day's end its certificates are issued"] = timedelta(hours=1)


MOST_OF: Final[Mapping[str, Any]] = {"certificates.wait": timedelta(hours=23)}
PARSERS: Final[Mapping[str, Callable[[str], Any]]] = {"certificates.zone": zone_text}
