"""The log: one line per event on stderr, `time level part: event field=value …`. No secrets and no rows' values.

An exception is written as its type and where it came from; its text may hold a value and is left out, since what we
mean to say about an error is in the event's own words.
"""

from __future__ import annotations

import logging
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final

from forebay_collector import journald

_FRAMES: Final = 6
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\n", "\\n")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 - logging's name
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        info: _ExcInfo = ei
        frames = traceback.extract_tb(info[2])[-_FRAMES:]
        places = " < ".join(
            f"{frame.name} {frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in frames[::-1]
        )
        return f"exception={info[0].__name__ if info[0] else ''} at={places}"


def start_log(level: str) -> None:
    lines = OneLine("%(asctime)s %(levelname)s %(name)s: %(message)s")
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(lines)
    if journald.leads_there():
        handler = journald.JournaldHandler(lines)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # this library logs every file that it touches
    logging.getLogger("pyiceberg").setLevel(logging.WARNING)
    # and these log every address that they ask, with the keys in it
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
