"""What the agent says of itself: one line per event on standard error, `key=value` fields; journald gets the fields too.

Fields name streams, batches, files and reasons; never a row's value, never a secret.
"""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from forebay_agent import journald
from forebay_agent.errors import AgentError

_LOG: Final = logging.getLogger("forebay_agent")
_KEPT_CHARACTERS: Final = 1_000


class _LineFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00")
        fields: dict[str, object] = getattr(record, "fields", {})
        parts = [f"time={at}Z", f"level={record.levelname.lower()}", f"event={_shown(record.getMessage())}"]
        return " ".join([*parts, *(f"{name}={_shown(value)}" for name, value in fields.items())])


@dataclass(frozen=True, slots=True)
class Event:
    """One line that was said."""

    at: float
    level: str
    event: str
    fields: dict[str, str]


_RECENT: Final[deque[Event]] = deque(maxlen=500)


def recent() -> list[Event]:
    """The newest events, from `info` on, oldest first; whatever the level is."""
    return list(_RECENT)


def set_level(level: str) -> None:
    """Events from `level` on go to standard error."""
    _LOG.setLevel(level.upper())


def start(level: str) -> None:
    """Sends events from `level` on (debug, info, warning, error) to standard error."""
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LineFormatter())
    if journald.leads_there():
        handler = journald.JournaldHandler(_LineFormatter())
    _LOG.handlers[:] = [handler]
    _LOG.propagate = False
    _LOG.setLevel(level.upper())


def debug(event: str, **fields: object) -> None:
    _say(logging.DEBUG, event, fields)


def info(event: str, **fields: object) -> None:
    _say(logging.INFO, event, fields)


def warning(event: str, **fields: object) -> None:
    _say(logging.WARNING, event, fields)


def error(event: str, **fields: object) -> None:
    _say(logging.ERROR, event, fields)


def unexpected(error: Exception) -> AgentError:
    """An error that nobody foresaw, told without its own text, which may hold a row's values."""
    frames = traceback.extract_tb(error.__traceback__)
    where = frames[-1].name if frames else "unknown"
    own = [frame.name for frame in frames if "forebay" in frame.filename]
    return AgentError(f"unexpected {type(error).__name__} in {where}, under {' > '.join(own) or 'nothing of ours'}")


def _say(level: int, event: str, fields: dict[str, object]) -> None:
    if level >= logging.INFO:
        told = {name: str(value)[:_KEPT_CHARACTERS] for name, value in fields.items()}
        _RECENT.append(Event(time.time(), logging.getLevelName(level).lower(), event, told))
    if _LOG.isEnabledFor(level):
        _LOG.log(level, "%s", event, extra={"fields": fields})


def _shown(value: object) -> str:
    text = str(value)
    if text and not any(character in ' "=\\' or not character.isprintable() for character in text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    return f'"{escaped}"'
